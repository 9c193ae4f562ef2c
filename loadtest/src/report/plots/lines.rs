//! Numbers over time.

use super::{Chart, Unit, curves::escape, layout, linear_axis, time_axis};
use plotly::{
    Plot, Scatter,
    common::{DashType, Fill, Line as Stroke, Mode},
    layout::HoverMode,
};

/// What a line stands for decides how it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// One of several equals; the page gives it a colour.
    Plain,
    /// What was wished for: grey, broken.
    Wanted,
    /// What was reached: filled.
    Reached,
    /// What went wrong, but in order: refused.
    Odd,
    /// What went wrong.
    Bad,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// How it is drawn.
    pub kind: LineKind,
    /// Seconds since the start, and the number.
    pub points: Vec<(f64, f64)>,
}

/// Lines over time, from zero.
#[must_use]
pub fn lines(unit: Unit, lines: &[Line]) -> Chart {
    const HEIGHT_PX: usize = 300;
    let mut plot = Plot::new();
    for line in lines {
        let (x, y): (Vec<f64>, Vec<f64>) = line.points.iter().copied().unzip();
        let texts: Vec<String> = y.iter().map(|value| unit.text(*value)).collect();
        let stroke = Stroke::new().width(2.0);
        let stroke = match line.kind {
            LineKind::Plain => stroke,
            LineKind::Wanted => stroke.color("#8792a2").dash(DashType::Dash),
            LineKind::Reached => stroke.color("#2f9e6e"),
            LineKind::Odd => stroke.color("#d98a1f"),
            LineKind::Bad => stroke.color("#d64545"),
        };
        let trace = Scatter::new(x, y)
            .name(escape(&line.name))
            .mode(Mode::Lines)
            .line(stroke)
            .text_array(texts)
            .hover_template("<b>%{text}</b>");
        plot.add_trace(if line.kind == LineKind::Reached {
            trace
                .fill(Fill::ToZeroY)
                .fill_color("rgba(47,158,110,0.16)")
        } else {
            trace
        });
    }
    let values = lines.iter().flat_map(|line| line.points.iter());
    let end = values.clone().fold(1.0, |end, (at, _)| f64::max(end, *at));
    plot.set_layout(
        layout()
            .x_axis(time_axis(end))
            .y_axis(linear_axis(unit, values.map(|(_, value)| *value)))
            .hover_mode(HoverMode::XUnified),
    );
    Chart::new(plot, HEIGHT_PX)
}
