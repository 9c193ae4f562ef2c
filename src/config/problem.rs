//! What is wrong with a configuration, and how an operator is told: in the form of rustc's errors, with the
//! line, a caret, and what to write instead.

use crate::characters::is_hidden;
use std::fmt;

/// Whether a problem stops the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It doesn't, but the operator should look.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it stops the start.
    pub severity: Severity,
    /// The file as it was named, or `command line`.
    pub file: String,
    /// Line, from 1; 0 where the problem has no place in the file (something is missing from it).
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters that the caret underlines; at least 1.
    pub width: usize,
    /// The line's text, without its end; with `*` for what may be a secret.
    pub text: String,
    /// Path of the key: `pool[0].backends[1]`; the flag (`--listen`) for the command line; else empty.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do or write instead.
    pub hint: Option<String>,
}

impl Problem {
    /// An error about a whole file.
    #[must_use]
    pub fn of_file(file: &str, message: String, hint: Option<String>) -> Problem {
        Problem {
            severity: Severity::Error,
            file: file.into(),
            line: 0,
            column: 0,
            width: 0,
            text: String::new(),
            key: String::new(),
            message,
            hint,
        }
    }

    /// Whether it stops the start.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The problem on one line, for the log: `file:line:column: key: message; hint`.
    #[must_use]
    pub fn brief(&self) -> String {
        let mut brief = self.file.clone();
        if self.line > 0 {
            brief += &format!(":{}:{}", self.line, self.column);
        }
        brief += &format!(": {}", self.message);
        if let Some(hint) = &self.hint {
            brief += &format!("; {hint}");
        }
        brief
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{word}: {}", self.message)?;
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        if self.line == 0 {
            writeln!(f, " --> {}", self.file)?;
        } else {
            writeln!(f, "{gutter}--> {}:{}:{}", self.file, self.line, self.column)?;
            writeln!(f, "{gutter} |")?;
            writeln!(f, "{number} | {}", printable(&self.text))?;
            let before = " ".repeat(self.column.saturating_sub(1));
            writeln!(f, "{gutter} | {before}{}", "^".repeat(self.width.max(1)))?;
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "{gutter} = help: {hint}")?;
        }
        Ok(())
    }
}

/// The line with each control character as one space, so that the caret stays below its place and a
/// terminal gets no escape sequence.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if is_hidden(c) { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_at_the_place() {
        let problem = Problem {
            line: 12,
            column: 2,
            width: 6,
            text: "\tadress = 1\x1b".into(),
            ..Problem::of_file(
                "a.toml",
                "unknown key `adress`".into(),
                Some("did you mean `address`?".into()),
            )
        };
        let seen = problem.to_string();
        assert_eq!(
            seen,
            "error: unknown key `adress`\n  --> a.toml:12:2\n   |\n12 |  adress = 1 \n   |  ^^^^^^\n   = help: did you mean `address`?\n"
        );
        assert_eq!(
            problem.brief(),
            "a.toml:12:2: unknown key `adress`; did you mean `address`?"
        );
    }
}
