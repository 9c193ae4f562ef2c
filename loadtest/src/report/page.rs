//! A page of HTML in one file: text, figures, tables and charts. It loads nothing, so it works offline, in a mail, and
//! years later; the browser is told to refuse whatever would be loaded all the same.
//!
//! ```
//! use gatepost_load::report::{
//!     page::{Figure, Page},
//!     plots::{Spread, SpreadSeries, Unit, spreads},
//! };
//! let groups = ["kept connections".to_owned(), "one a connection".to_owned()];
//! let series = [SpreadSeries {
//!     name: "gatepost".to_owned(),
//!     values: vec![Spread::of(&[0.64, 0.66, 0.65]), Spread::of(&[0.45, 0.47])],
//! }];
//! let html = Page::new("Several servers, the same work")
//!     .fact("2 cores, 5 rounds of 10 s")
//!     .figure(Figure::new("CPU a message", "0.65 ×", "HAProxy is 1"))
//!     .section("CPU")
//!     .chart(spreads(Unit::Ratio, &groups, &series, Some(1.0)).caption("Less is better."))
//!     .table(&["", "msg/s"], vec![vec!["gatepost".into(), "12,345".into()]])
//!     .render();
//! assert!(html.starts_with("<!doctype html>"));
//! ```

use super::{
    plots::Chart,
    verdict::{Tone, Verdict},
};
use askama::Template;
use plotly::Plot;

/// A page that is being put together. What belongs to a section goes to the last one begun.
#[derive(Clone, Default)]
pub struct Page {
    title: String,
    facts: Vec<String>,
    verdict: Option<Verdict>,
    figures: Vec<Figure>,
    sections: Vec<Section>,
    charts: usize,
}

/// A number to see first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    name: String,
    value: String,
    note: String,
}

impl Figure {
    /// A name, the number with its unit, and a remark in small.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        value: impl Into<String>,
        note: impl Into<String>,
    ) -> Figure {
        Figure {
            name: name.into(),
            value: value.into(),
            note: note.into(),
        }
    }
}

#[derive(Clone)]
struct Section {
    heading: String,
    parts: Vec<Part>,
}

#[derive(Clone)]
enum Part {
    Text(String),
    Charts(Vec<Placed>),
    Table {
        head: Vec<String>,
        rows: Vec<Vec<String>>,
    },
    Code(String),
}

#[derive(Clone)]
struct Placed {
    id: String,
    title: String,
    chart: Chart,
}

impl Page {
    /// An empty page.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Page {
        Page {
            title: title.into(),
            ..Page::default()
        }
    }

    /// Adds a fact below the title: when, where, with what. An empty one is left out.
    #[must_use]
    pub fn fact(mut self, fact: impl Into<String>) -> Page {
        let fact = fact.into();
        if !fact.is_empty() {
            self.facts.push(fact);
        }
        self
    }

    /// Sets the line to read first.
    #[must_use]
    pub fn verdict(mut self, verdict: Verdict) -> Page {
        self.verdict = Some(verdict);
        self
    }

    /// Adds a number to see first.
    #[must_use]
    pub fn figure(mut self, figure: Figure) -> Page {
        self.figures.push(figure);
        self
    }

    /// Begins a section.
    #[must_use]
    pub fn section(mut self, heading: impl Into<String>) -> Page {
        self.sections.push(Section {
            heading: heading.into(),
            parts: Vec::new(),
        });
        self
    }

    /// Adds a paragraph.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Page {
        self.part(Part::Text(text.into()))
    }

    /// Adds a chart.
    #[must_use]
    pub fn chart(self, chart: Chart) -> Page {
        self.charts(vec![(String::new(), chart)])
    }

    /// Adds charts beside each other where there is room, each under a title.
    #[must_use]
    pub fn charts(mut self, charts: Vec<(String, Chart)>) -> Page {
        let mut placed = Vec::new();
        for (title, chart) in charts {
            self.charts += 1;
            placed.push(Placed {
                id: format!("chart-{}", self.charts),
                title,
                chart,
            });
        }
        self.part(Part::Charts(placed))
    }

    /// Adds a table: the first column to the left, the others to the right.
    #[must_use]
    pub fn table(self, head: &[&str], rows: Vec<Vec<String>>) -> Page {
        let head = head.iter().map(|cell| (*cell).to_owned()).collect();
        self.part(Part::Table { head, rows })
    }

    /// Adds text as it is, in a fixed width.
    #[must_use]
    pub fn code(self, text: impl Into<String>) -> Page {
        self.part(Part::Code(text.into()))
    }

    fn part(mut self, part: Part) -> Page {
        if self.sections.is_empty() {
            self = self.section("Results");
        }
        if let Some(section) = self.sections.last_mut() {
            section.parts.push(part);
        }
        self
    }

    /// The HTML: some 5 MB, most of it plotly.js.
    #[must_use]
    pub fn render(&self) -> String {
        let markup = Markup {
            title: &self.title,
            facts: &self.facts,
            tone: self.verdict.as_ref().map_or("", |v| tone(v.tone)),
            verdict: self.verdict.as_ref(),
            figures: &self.figures,
            sections: &self.sections,
            maker: concat!("gatepost-load ", env!("CARGO_PKG_VERSION")),
            library: if self.charts == 0 {
                String::new()
            } else {
                library()
            },
            style: include_str!("../../templates/page.css"),
            script: include_str!("../../templates/page.js"),
        };
        markup
            .render()
            .expect("a String takes all that is written to it")
    }
}

fn tone(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Unsure => "unsure",
        Tone::Bad => "bad",
    }
}

/// plotly.js as a script element. The crate gives it together with MathJax, which draws formulas; we have none.
fn library() -> String {
    const END: &str = "</script>";
    let mut sources = Plot::offline_js_sources();
    if let Some(end) = sources.find(END) {
        sources.truncate(end + END.len());
    }
    sources
}

#[derive(Template)]
#[template(path = "page.html")]
struct Markup<'a> {
    title: &'a str,
    facts: &'a [String],
    tone: &'a str,
    verdict: Option<&'a Verdict>,
    figures: &'a [Figure],
    sections: &'a [Section],
    maker: &'a str,
    library: String,
    style: &'a str,
    script: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_text_and_not_markup() {
        let html = Page::new("<b>&")
            .fact("")
            .fact("<i>")
            .section("<u>")
            .text("</section>")
            .code("</pre><script>")
            .table(&["<a>"], vec![vec!["<td>".to_owned()]])
            .render();
        for wrong in [
            "<b>&",
            "<i>",
            "<u>",
            "<a>",
            "</pre><script>",
            "<td><",
            "<li></li>",
        ] {
            assert!(!html.contains(wrong), "{wrong}");
        }
        assert!(!html.contains("plotly.js v"), "no chart, no library");
        assert_eq!(html.matches("</section>").count(), 1);
    }

    #[test]
    fn the_library_is_plotly_alone() {
        let library = library();
        assert!(library.contains("plotly.js v"));
        assert!(!library.contains("MathJax.loader"));
        assert_eq!(library.matches("</script>").count(), 1);
    }
}
