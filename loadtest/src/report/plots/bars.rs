//! Bars: one number each, or a median with its spread.

use super::{
    AROUND_PX, Chart, ROW_PX, Unit, curves::escape, curves::rows_axis, layout, linear_axis,
};
use plotly::{
    Bar as Trace, Plot,
    common::{ConstrainText, ErrorData, ErrorType, HoverInfo, Marker, Orientation, TextPosition},
    layout::{BarMode, Shape, ShapeLayer, ShapeLine, ShapeType},
};
use serde::{Deserialize, Serialize};

/// A bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// What it is.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Whether it is bad to have: drawn in red.
    pub bad: bool,
}

/// A bar for each of many things, in the order given.
#[must_use]
pub fn bars(unit: Unit, bars: &[Bar]) -> Chart {
    let mut plot = Plot::new();
    for (bad, colour) in [(false, "#d98a1f"), (true, "#d64545")] {
        let chosen: Vec<_> = bars.iter().filter(|bar| bar.bad == bad).collect();
        if chosen.is_empty() {
            continue;
        }
        let texts: Vec<_> = chosen.iter().map(|bar| unit.text(bar.value)).collect();
        plot.add_trace(
            Trace::new(
                chosen.iter().map(|bar| bar.value).collect(),
                chosen.iter().map(|bar| escape(&bar.name)).collect(),
            )
            .orientation(Orientation::Horizontal)
            .marker(Marker::new().color(colour))
            .show_legend(false)
            .hover_info(HoverInfo::Skip)
            .text_array(texts)
            .text_position(TextPosition::Auto)
            .constrain_text(ConstrainText::None),
        );
    }
    let names: Vec<String> = bars.iter().map(|bar| escape(&bar.name)).collect();
    let axis = rows_axis(bars.len()).category_array(names);
    plot.set_layout(
        layout()
            .bar_mode(BarMode::Overlay)
            .x_axis(linear_axis(unit, bars.iter().map(|bar| bar.value)))
            .y_axis(axis),
    );
    Chart::new(plot, AROUND_PX + ROW_PX * bars.len().max(1))
}

/// What several rounds of one thing gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The one in the middle.
    pub median: f64,
    /// The least of all rounds.
    pub min: f64,
    /// The greatest of all rounds.
    pub max: f64,
}

impl Spread {
    /// Of some rounds' numbers; `None` where there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Spread { median, min, max })
    }
}

/// One server's numbers: one for each group, `None` where it was left out.
#[derive(Clone, Debug, PartialEq)]
pub struct SpreadSeries {
    /// The server.
    pub name: String,
    /// As many as there are groups.
    pub values: Vec<Option<Spread>>,
}

/// Bars in groups, medians with a whisker from the least to the greatest. `reference` is a line across all groups:
/// 1 where the numbers are ratios to a server that is 1.
#[must_use]
pub fn spreads(
    unit: Unit,
    groups: &[String],
    series: &[SpreadSeries],
    reference: Option<f64>,
) -> Chart {
    const BAR_PX: usize = 20;
    let mut plot = Plot::new();
    let all = series.iter().flat_map(|one| one.values.iter().flatten());
    let greatest = all.fold(reference.unwrap_or_default(), |g, s| g.max(s.max));
    let mut beyond = Vec::new();
    for (place, one) in series.iter().enumerate() {
        let (bars, numbers) = group(unit, groups, one, &place.to_string());
        plot.add_trace(bars);
        beyond.push(numbers);
    }
    // Behind all bars, so that these take their colours in order.
    for numbers in beyond {
        plot.add_trace(numbers);
    }
    let names: Vec<String> = groups.iter().map(|group| escape(group)).collect();
    let mut layout = layout()
        .bar_mode(BarMode::Group)
        .bar_gap(0.25)
        .x_axis(linear_axis(unit, [greatest * 1.06].into_iter()))
        .y_axis(rows_axis(groups.len()).category_array(names));
    if let Some(reference) = reference {
        layout.add_shape(
            Shape::new()
                .shape_type(ShapeType::Line)
                .layer(ShapeLayer::Above)
                .y_ref("paper")
                .x0(reference)
                .x1(reference)
                .y0(0)
                .y1(1)
                .line(ShapeLine::new().color("#8792a2").width(1.5)),
        );
    }
    plot.set_layout(layout);
    let bars = groups.len() * (series.len() * BAR_PX + ROW_PX / 2);
    Chart::new(plot, AROUND_PX + bars)
}

/// Bars along, things across.
type Drawn = Trace<f64, String>;

/// The bars of one server with their whiskers, and the numbers beside them.
fn group(
    unit: Unit,
    groups: &[String],
    one: &SpreadSeries,
    beside: &str,
) -> (Box<Drawn>, Box<Drawn>) {
    let (mut x, mut y, mut texts, mut labels) = (vec![], vec![], vec![], vec![]);
    let (mut above, mut below, mut ends) = (vec![], vec![], vec![]);
    for (group, spread) in groups.iter().zip(&one.values) {
        let Some(spread) = spread else { continue };
        x.push(spread.median);
        y.push(escape(group));
        ends.push(spread.max);
        above.push(spread.max - spread.median);
        below.push(spread.median - spread.min);
        texts.push(unit.text(spread.median));
        labels.push(format!(
            "<b>{}</b>, {}<br><b>{}</b> ({} to {})",
            escape(&one.name),
            escape(group),
            unit.text(spread.median),
            unit.text(spread.min),
            unit.text(spread.max)
        ));
    }
    let whiskers = ErrorData::new(ErrorType::Data)
        .array(above)
        .array_minus(below)
        .symmetric(false)
        .color("#8792a2")
        .thickness(1.5)
        .width(3);
    let bars = Trace::new(x, y.clone())
        .name(escape(&one.name))
        .orientation(Orientation::Horizontal)
        .offset_group(beside)
        .error_x(whiskers)
        .hover_info(HoverInfo::Text)
        .hover_text_array(labels);
    // The number stands after the whisker: it is that of a bar that is not seen, as long as both.
    let numbers = Trace::new(ends, y)
        .orientation(Orientation::Horizontal)
        .offset_group(beside)
        .marker(Marker::new().color("rgba(0,0,0,0)"))
        .show_legend(false)
        .hover_info(HoverInfo::Skip)
        .text_array(texts)
        .text_position(TextPosition::Outside)
        .constrain_text(ConstrainText::None);
    (bars, numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_that_of_the_rounds() {
        let spread = |values: &[f64]| Spread::of(values).map(|s| (s.min, s.median, s.max));
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
        assert_eq!(spread(&[4.0, 1.0]), Some((1.0, 2.5, 4.0)));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[f64::NAN]), None);
    }

    #[test]
    fn who_was_left_out_has_no_bar() {
        let series = [SpreadSeries {
            name: "nginx".to_owned(),
            values: vec![None, Spread::of(&[1.5])],
        }];
        let groups = ["kept".to_owned(), "one each".to_owned()];
        let json = spreads(Unit::Ratio, &groups, &series, Some(1.0)).json();
        assert!(json.contains(r#""y":["one each"]"#), "{json}");
        assert!(json.contains("shapes"), "{json}");
    }
}
