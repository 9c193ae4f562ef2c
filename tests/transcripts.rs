//! Runs `tests/transcripts/*.txt`: dialogues with the server machine.
//!
//! Each file is run unsplit, split in two at every byte, one byte at a time, and a piece for each CRLF; what
//! is said and done must be the same each time (architecture: *any split of the input gives the same
//! actions*). The lines of a file:
//!
//! ```text
//! # comment
//! C: text              the client sends text and CRLF; \r \n \0 \t \\ \xHH are escapes
//! c: text              the same without CRLF
//! C* n text            text, n times over, without CRLF
//! S: text              the server says this line ("S:" alone: says nothing more up to here)
//! S~ text              a line that begins so
//! ! action             what the machine asks of its shell: connect, client ATTRIBUTES, hello NAME, mail <path>, rcpt <path>, body,
//!                      auth MECHANISM OCTETS, payload TEXT (escaped; all of the message), payload# SIZE (its length alone),
//!                      discard, end, starttls, close, signal NAME
//! ? question verdict   the answer to the next such question (connect, client, hello, mail, rcpt, body, auth, end):
//!                      accept, challenge OCTETS (of auth alone), refuse REPLY, close REPLY, ok REPLY; not said: accept
//! ? discard REPLY      at the next payload the shell loses interest
//! = setting value      size_max, line, recipients, errors, junk, messages, resync, bare_newline,
//!                      requires_tls (yes), auth (mechanisms), auth_requires_tls (yes), auth_required (yes), banner,
//!                      extensions (+NAME or -NAME), grant (XCLIENT or XFORWARD), proxy (an address that keeps what is granted where XCLIENT names it)
//! = start connect      begins before the greeting; without it the client is greeted and has said EHLO
//! ```
//!
//! A file is a list of exchanges: the client's lines, then what must come of them. Input after an
//! expectation is sent only after it, so it is never pipelined with what stands before.

mod transcript;

use transcript::{Script, Split};

fn check(name: &str) {
    let path = format!("{}/tests/transcripts/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("readable");
    let script = Script::parse(name, &text);
    let whole = script.run(Split::Whole);
    script.compare(&whole, Split::Whole);
    for split in [Split::Bytes, Split::Lines] {
        script.compare(&script.run(split), split);
    }
    for at in 1..script.longest().min(3_000) {
        script.compare(&script.run(Split::At(at)), Split::At(at));
    }
}

#[test]
fn every_transcript_holds_however_it_is_split() {
    let folder = format!("{}/tests/transcripts", env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("readable")
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name.ends_with(".txt"))
        .collect();
    names.sort();
    assert!(names.len() > 20, "transcripts are missing");
    let failed: Vec<String> = names
        .iter()
        .filter_map(|name| {
            let failure = std::panic::catch_unwind(|| check(name)).err()?;
            Some(match failure.downcast::<String>() {
                Ok(text) => *text,
                Err(_) => format!("{name}: failed"),
            })
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
