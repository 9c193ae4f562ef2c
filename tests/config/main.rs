//! The configuration from outside: the files that come with it, the manual, each kind of mistake.
#![allow(clippy::unwrap_used)]

mod credentials;
mod documents;
mod policy;
mod reading;
mod recipes;
mod shipped;
mod tables;

use gatepost::config::{self, Problem};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn problems(text: &str) -> Vec<Problem> {
    match config::parse("t.toml", text) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    }
}

/// The least that a file needs, with more after it.
fn with(more: &str) -> String {
    let least = "hostname = \"mx.example.net\"\n[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:2525\"]\n\
        [[pool]]\nname = \"mta\"\nbackends = [\"127.0.0.1:2600\"]\n[[route]]\ndomains = [\"example.net\"]\npool = \"mta\"\n";
    format!("{least}{more}")
}

/// Asserts the one problem of a text: its line's text from the column on, its message, its help.
#[track_caller]
fn one(text: &str, place: &str, message: &str, help: &str) {
    let found = problems(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    let problem = &found[0];
    let at: String = problem
        .text
        .chars()
        .skip(problem.column.saturating_sub(1))
        .take(problem.width)
        .collect();
    assert_eq!(
        (
            &*at,
            &*problem.message,
            problem.hint.as_deref().unwrap_or("")
        ),
        (place, message, help)
    );
}
