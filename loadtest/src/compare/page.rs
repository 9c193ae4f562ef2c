//! A comparison as a page: a chart of all works, then each work with its table.

use super::{rounds::Comparison, table::Table};
use crate::report::{
    page::{Figure, Page},
    plots::{SpreadSeries, Unit, spreads},
};

/// The page.
#[must_use]
pub fn render(comparison: &Comparison) -> String {
    let mut page = Page::new("The same work through several proxies")
        .fact(comparison.machine.clone())
        .fact(format!("{} rounds, in turns", comparison.rounds));
    for version in &comparison.versions {
        page = page.fact(version.clone());
    }
    for table in &comparison.tables {
        if let Some(row) = table.best() {
            page = page.figure(Figure::new(
                table.title.clone(),
                format!("{:.2} ×", row.ratio.median),
                format!("{}, where {} is 1", row.title, table.base()),
            ));
        }
    }
    page = page
        .section("Ratios to HAProxy, and to nginx where STARTTLS is spoken")
        .chart(ratios(&comparison.tables));
    for table in &comparison.tables {
        page = page.section(table.title.clone()).table(
            &[
                "proxy",
                table.what(),
                "CPU a message",
                "messages/s",
                "p50",
                "p99",
                "p99.9",
                "memory",
                "lost",
            ],
            table.cells(),
        );
        for bar in &table.bars {
            page = page.text(bar.replace("**", ""));
        }
    }
    for peer in &comparison.left_out {
        page = page.text(format!("Left out: {peer}"));
    }
    page.render()
}

/// Every peer's ratio in every work.
fn ratios(tables: &[Table]) -> crate::report::plots::Chart {
    let groups: Vec<String> = tables.iter().map(|table| table.work.clone()).collect();
    let mut series: Vec<SpreadSeries> = Vec::new();
    for table in tables {
        // The first is 1 by definition: the line.
        for row in table.rows.iter().skip(1) {
            if !series.iter().any(|one| one.name == row.title) {
                series.push(SpreadSeries {
                    name: row.title.clone(),
                    values: tables
                        .iter()
                        .map(|table| {
                            let found = table.rows.iter().find(|other| other.title == row.title);
                            found.map(|row| row.ratio)
                        })
                        .collect(),
                });
            }
        }
    }
    spreads(Unit::Ratio, &groups, &series, Some(1.0))
        .caption("Median of the rounds, with the smallest and the largest. Less is better, but for throughput.")
}
