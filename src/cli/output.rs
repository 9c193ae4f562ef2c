//! How a command ends: its text on standard output, and the exit code.

use gatepost::characters::is_hidden;
use std::{fmt::Write as _, io::Write, process::ExitCode};

/// Exit codes of sysexits.h.
pub mod exit {
    pub const USAGE: u8 = 64;
    pub const DATA: u8 = 65;
    pub const UNAVAILABLE: u8 = 69;
    pub const SOFTWARE: u8 = 70;
    pub const OUTPUT: u8 = 74;
    pub const CONFIG: u8 = 78;
}

/// Writes `text` to standard output.
pub fn say(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// A text of others in lines, in which characters that a terminal would obey, or not show, are escaped as in JSON; a text in JSON stays
/// the same value.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

/// What became of the output. A reader that has seen enough (`| head`) is no error.
pub fn written(outcome: std::io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("gatepost: can't write: {why}");
            exit::OUTPUT.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn no_text_of_others_moves_a_terminal_and_json_stays_the_same() {
        let text = "{\"a\": \"é \u{1b}[31m\u{9b}2J \u{202e}\u{e0041}\"}\n\r";
        let shown = harmless(text);
        let expected = "{\"a\": \"é \\u001b[31m\\u009b2J \\u202e\\udb40\\udc41\"}\n\\u000d";
        assert_eq!(shown, expected);
        let value: serde_json::Value =
            serde_json::from_str(shown.trim_end_matches("\\u000d")).expect("still JSON");
        assert_eq!(value["a"], "é \u{1b}[31m\u{9b}2J \u{202e}\u{e0041}");
    }
}
