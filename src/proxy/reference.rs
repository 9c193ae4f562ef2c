//! `docs/replies.md`, made from the replies themselves: the index for readers of bounces and logs.

use crate::{delivery, policy, smtp, smtp::Known, upstream};
use std::fmt::Write;

const INTRODUCTION: &str = "# Replies

Every reply that Gatepost itself originates: what it means and what to do. A text ending in `…` is followed by a
detail. Texts that the configuration replaces (`reply = …`) are not here; nor are a backend's own refusals, which
are passed on with their code and text.

Made from the code; `UPDATE_DOCS=1 cargo test reference` writes it anew.
";

/// Where a reply comes from, and the list of that room.
const ROOMS: &[(&str, &str, &[Known])] = &[
    (
        "The protocol",
        "Syntax, sequence and sizes, before policy or backends are asked.",
        smtp::replies::ALL,
    ),
    (
        "The policy",
        "Checks; each can have a text of its own in the configuration.",
        policy::replies::ALL,
    ),
    (
        "The way of a message",
        "Capacity, routes and logins.",
        super::replies::ALL,
    ),
    (
        "Delivery",
        "What became of a message at the backends of its pool.",
        delivery::replies::ALL,
    ),
    (
        "Verification",
        "When no backend says whether it takes a recipient.",
        upstream::replies::ALL,
    ),
];

/// The page.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(INTRODUCTION);
    for (title, what, replies) in ROOMS {
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            "\n## {title}\n\n{what}\n\n| reply | cause | what to do |\n|---|---|---|\n"
        );
        let mut replies: Vec<&Known> = replies.iter().collect();
        replies.sort_by_key(|known| (known.code, known.status.0, known.status.1, known.status.2));
        for known in replies {
            let more = if known.text.ends_with(':') {
                " …"
            } else {
                ""
            };
            let (reply, cause, advice) = (known.reply(), cell(known.cause), cell(known.advice));
            let _ = writeln!(
                page,
                "| `{}{more}` | {cause} | {advice} |",
                cell(&reply.to_string())
            );
        }
    }
    page
}

/// Text as one cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/replies.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, reference()).expect("docs can be written");
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            page == reference(),
            "docs/replies.md is stale: UPDATE_DOCS=1 cargo test reference"
        );
    }

    #[test]
    fn every_reply_says_why_and_what_to_do() {
        for known in ROOMS.iter().flat_map(|(_, _, replies)| *replies) {
            assert!(
                !known.cause.is_empty() && !known.advice.is_empty(),
                "{}",
                known.reply()
            );
            let class = u16::from(known.status.0);
            assert!(class == 0 || class == known.code / 100, "{}", known.reply());
        }
    }
}
