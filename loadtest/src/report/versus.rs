//! Two runs against each other, as text and as a page.

use super::{
    figures::{Better, Pair, pairs},
    histogram::Unreadable,
    page::Page,
    plots::{LineKind, Unit, lines, percentiles},
    run_page::{curve_of, rates},
    text::{columns, moment, steps},
    units::micros,
    verdict::verdict,
};
use crate::result::RunResult;
use console::Style;
use std::fmt::Write as _;

const CAVEAT: &str = "One run each: a few percent are noise. gatepost-load compare repeats in turns and shows the spread.";

/// Both as text, in colour where stdout is a terminal.
#[must_use]
pub fn text(first: &RunResult, second: &RunResult) -> String {
    in_colour(first, second, console::colors_enabled())
}

/// Both as text without colour.
#[must_use]
pub fn plain(first: &RunResult, second: &RunResult) -> String {
    in_colour(first, second, false)
}

fn in_colour(first: &RunResult, second: &RunResult, colour: bool) -> String {
    let mut out = String::new();
    for (letter, run) in [("A", first), ("B", second)] {
        // Writing to a String can't fail, here and below.
        let _ = writeln!(
            out,
            "{letter}  {} to {}, {}\n   {}",
            run.name,
            run.target,
            moment(&run.started),
            verdict(run).line
        );
    }
    let pairs = pairs(first, second);
    let _ = writeln!(out, "\n{}", columns(&HEAD, rows(&pairs)));
    let bold = Style::new().bold().force_styling(colour);
    let _ = writeln!(out, "{}\n{CAVEAT}", bold.apply_to(summary(&pairs)));
    let differences = plans(first, second);
    if !differences.is_empty() {
        let _ = writeln!(out, "\nThe plans differ:");
        for line in differences {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}

const HEAD: [&str; 5] = ["", "A", "B", "B / A", "better"];

fn rows(pairs: &[Pair]) -> Vec<Vec<String>> {
    pairs
        .iter()
        .map(|pair| {
            let unit = pair.first.unit;
            vec![
                pair.first.name.clone(),
                unit.text(pair.first.value),
                unit.text(pair.second),
                pair.ratio()
                    .map_or_else(String::new, |ratio| Unit::Ratio.text(ratio)),
                match pair.better() {
                    Better::First => "A",
                    Better::Second => "B",
                    Better::Neither => "same",
                }
                .to_owned(),
            ]
        })
        .collect()
}

/// Which is better in what, in a sentence.
fn summary(pairs: &[Pair]) -> String {
    let names = |better: Better| -> Vec<&str> {
        pairs
            .iter()
            .filter(|pair| pair.better() == better)
            .map(|pair| pair.first.name.as_str())
            .collect()
    };
    let (first, second) = (names(Better::First), names(Better::Second));
    match (first.is_empty(), second.is_empty()) {
        (true, true) => "A and B are the same in all figures.".to_owned(),
        (true, false) => format!(
            "B is better in {}, and worse in nothing.",
            second.join(", ")
        ),
        (false, true) => format!("B is worse in {}, and better in nothing.", first.join(", ")),
        (false, false) => format!(
            "B is better in {}; worse in {}.",
            second.join(", "),
            first.join(", ")
        ),
    }
}

/// The lines of the plans that only one of them has.
fn plans(first: &RunResult, second: &RunResult) -> Vec<String> {
    let only = |letter: &str, one: &RunResult, other: &RunResult| -> Vec<String> {
        one.plan
            .lines()
            .filter(|line| !line.trim().is_empty())
            .filter(|line| !other.plan.lines().any(|one| one == *line))
            .map(|line| format!("{letter}: {line}"))
            .collect()
    };
    let mut all = only("A", first, second);
    all.extend(only("B", second, first));
    all
}

/// Both as HTML in one file.
///
/// # Errors
/// Where one of their histograms can't be read.
pub fn page(first: &RunResult, second: &RunResult) -> Result<String, Unreadable> {
    let pairs = pairs(first, second);
    let mut page = Page::new(format!("{} against {}", first.name, second.name));
    for (letter, run) in [("A", first), ("B", second)] {
        page = page.fact(format!(
            "{letter}: {} to {}, {}",
            run.name,
            run.target,
            moment(&run.started)
        ));
    }
    page = page
        .section("Figures")
        .text(summary(&pairs))
        .text(CAVEAT)
        .table(&HEAD, rows(&pairs));
    let curves = [
        curve_of("A", &first.latency)?,
        curve_of("B", &second.latency)?,
    ];
    page = page
        .section("Latency")
        .chart(percentiles(&curves).caption("Lower is better; to the right stand the rare ones."));
    let acknowledged = [("A", first), ("B", second)]
        .map(|(name, run)| rates(run, name, LineKind::Plain, |i| i.acknowledged));
    if acknowledged.iter().any(|line| !line.points.is_empty()) {
        page = page
            .section("Acknowledged messages a second")
            .chart(lines(Unit::PerSecond, &acknowledged));
    }
    let steps = step_rows(first, second);
    if !steps.is_empty() {
        page = page
            .section("Steps of a message")
            .table(&["", "p50, A", "p50, B", "p99, A", "p99, B"], steps);
    }
    let differences = plans(first, second);
    page = page.section("The plans");
    page = if differences.is_empty() {
        page.text("Both had the same plan.")
            .code(first.plan.trim_end())
    } else {
        page.text("They differ in:").code(differences.join("\n"))
    };
    Ok(page.render())
}

fn step_rows(first: &RunResult, second: &RunResult) -> Vec<Vec<String>> {
    steps(first)
        .into_iter()
        .filter_map(|(name, a)| {
            let b = second.steps.get(name)?;
            let mut row = vec![name.to_owned()];
            row.extend([a.p50_us, b.p50_us, a.p99_us, b.p99_us].map(|value| micros(value as f64)));
            Some(row)
        })
        .collect()
}
