//! A configuration's text with the place of every key, and the problems found in it so far.
//!
//! Checks name a key by its path (`pool[0].backends[1]`); the document knows where that stands, whether it
//! came from a flag, and whether it was found broken already, so that one mistake gives one error.

use super::{
    problem::{Problem, Severity},
    quoted,
    urls::without_users,
};
use std::{borrow::Cow, collections::HashMap, ops::Range, path::Path};

/// Problems shown at most, so that a file of another kind doesn't fill the terminal; the others are counted.
pub(super) const PROBLEMS_MAX: usize = 100;

/// Where a key and its value stand.
#[derive(Clone, Debug)]
struct Mark {
    key: Range<usize>,
    value: Range<usize>,
}

/// The text, the places, the problems.
#[derive(Clone, Debug)]
pub struct Document {
    name: String,
    /// Of all files, one after the other.
    text: String,
    /// Where each file but the first begins in it, and what it is called.
    more: Vec<(usize, String)>,
    marks: HashMap<String, Mark>,
    flags: HashMap<String, &'static str>,
    /// What is shown as `*`.
    secrets: Vec<Range<usize>>,
    broken: Vec<String>,
    problems: Vec<Problem>,
    /// How many were not kept, and whether errors are among them.
    left_out: usize,
    left_out_errors: bool,
}

impl Document {
    /// A document without marks; `name` is what problems call it.
    #[must_use]
    pub fn new(name: &str, text: &str) -> Document {
        Document {
            name: name.into(),
            text: text.into(),
            more: Vec::new(),
            marks: HashMap::new(),
            flags: HashMap::new(),
            secrets: Vec::new(),
            broken: Vec::new(),
            problems: Vec::new(),
            left_out: 0,
            left_out_errors: false,
        }
    }

    /// Adds the text of another file; where it begins.
    pub fn append(&mut self, name: &str, text: &str) -> usize {
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        let base = self.text.len();
        self.text.push_str(text);
        self.more.push((base, name.into()));
        base
    }

    /// `FILE:LINE` of a span.
    #[must_use]
    pub fn place_of(&self, span: Range<usize>) -> String {
        let problem = self.place(span, Problem::of_file("", String::new(), None));
        format!("{}:{}", problem.file, problem.line)
    }

    /// What stands elsewhere, by its name and with the place of the key at `path`: `` `pool[0]` (mx.toml:7) ``.
    #[must_use]
    pub fn cite(&self, name: &str, path: &str) -> String {
        let place = self.problem(Severity::Error, path, String::new(), None);
        match place.line {
            0 if place.key == path => format!("`{name}`"),
            0 => format!("`{name}` ({})", place.key),
            line => format!("`{name}` ({}:{line})", place.file),
        }
    }

    /// Remembers where a key stands.
    pub fn mark(&mut self, path: &str, key: Range<usize>, value: Range<usize>) {
        self.marks.insert(path.into(), Mark { key, value });
    }

    /// Remembers that a value came from a flag.
    pub fn mark_flag(&mut self, path: &str, flag: &'static str) {
        self.marks.retain(|marked, _| !covers(path, marked));
        self.flags.insert(path.into(), flag);
    }

    /// A part of the text that may be a secret: no problem that is found from now on shows it.
    pub fn mark_secret(&mut self, span: Range<usize>) {
        self.secrets.push(span);
    }

    /// Whether the key is written in the file or given by a flag.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.marks.contains_key(path) || self.flags.contains_key(path)
    }

    /// A path already known to be wrong: nothing more is said of it, of what it holds, or of what holds it.
    pub fn mark_broken(&mut self, path: &str) {
        self.broken.push(path.into());
    }

    /// Whether something was found wrong at the path, in it, or around it.
    #[must_use]
    pub fn is_broken(&self, path: &str) -> bool {
        self.broken
            .iter()
            .any(|broken| covers(broken, path) || covers(path, broken))
    }

    /// Whether the path is broken ([`Document::is_broken`]), or an error was told at it, in it, or around it. Of errors that are
    /// left out, because there are so many, the places are not known.
    #[must_use]
    pub fn is_told(&self, path: &str) -> bool {
        let told = |key: &str| !key.is_empty() && (covers(key, path) || covers(path, key));
        let mut errors = self.problems.iter().filter(|problem| problem.is_error());
        self.is_broken(path) || errors.any(|problem| told(&problem.key))
    }

    /// An error at a value.
    pub fn error(&mut self, path: &str, message: String, hint: impl Into<Option<String>>) {
        self.say(Severity::Error, path, message, hint.into());
    }

    /// A warning at a value.
    pub fn warning(&mut self, path: &str, message: String, hint: impl Into<Option<String>>) {
        self.say(Severity::Warning, path, message, hint.into());
    }

    /// An error at a place in the text, for what has no path yet (syntax) or only a key (an unknown one).
    pub fn error_at(
        &mut self,
        span: Range<usize>,
        key: &str,
        message: String,
        hint: Option<String>,
    ) {
        let problem = self.placed(span, key, message, hint);
        self.push(problem);
    }

    /// An error in a line of another file that the configuration names.
    pub fn error_in(
        &mut self,
        file: &Path,
        line: usize,
        text: &str,
        key: &str,
        message: String,
        hint: Option<String>,
    ) {
        let indent = text.chars().take_while(|c| c.is_whitespace()).count();
        self.push(Problem {
            line,
            column: indent + 1,
            width: text.trim().chars().count(),
            text: text.into(),
            key: key.into(),
            ..Problem::of_file(&file.display().to_string(), message, hint)
        });
    }

    /// Every problem, in the order of the file; errors alone decide whether it may be used.
    #[must_use]
    pub fn into_problems(mut self) -> Vec<Problem> {
        self.take_problems()
    }

    /// [`Document::into_problems`], of a document that is still needed for its places.
    pub fn take_problems(&mut self) -> Vec<Problem> {
        let mut problems = std::mem::take(&mut self.problems);
        let order = |file: &str| match file == self.name {
            true => 0,
            false => {
                let mut more = self.more.iter();
                more.position(|(_, name)| name == file)
                    .map_or(usize::MAX, |at| at + 1)
            }
        };
        problems.sort_by_key(|problem| (order(&problem.file), problem.line, problem.column));
        if self.left_out > 0 {
            let message = format!("{} more, which are not shown", self.left_out);
            let severity = match self.left_out_errors {
                true => Severity::Error,
                false => Severity::Warning,
            };
            problems.push(Problem {
                severity,
                ..Problem::of_file(&self.name, message, None)
            });
        }
        problems
    }

    /// A problem at a value, which is not kept here.
    #[must_use]
    pub fn problem(
        &self,
        severity: Severity,
        path: &str,
        message: String,
        hint: Option<String>,
    ) -> Problem {
        let problem = Problem {
            severity,
            key: path.into(),
            ..Problem::of_file(&self.name, message, hint)
        };
        // What is missing is told at what should hold it.
        let mut holder = Some(path);
        while let Some(at) = holder {
            if let Some(flag) = self.flags.get(at) {
                return Problem {
                    file: "command line".into(),
                    key: (*flag).into(),
                    ..problem
                };
            }
            if let Some(mark) = self.marks.get(at) {
                let span = if at == path {
                    mark.value.clone()
                } else {
                    mark.key.clone()
                };
                return self.place(span, problem);
            }
            holder = parent(at);
        }
        problem
    }

    /// The same about a part of a text, which is `value`. Where its place can't be told, it is the text's.
    #[must_use]
    pub fn problem_within(&self, problem: Problem, value: &str, part: Range<usize>) -> Problem {
        let Some(mark) = self.marks.get(&problem.key) else {
            return problem;
        };
        let raw = self.text.get(mark.value.clone()).unwrap_or_default();
        match quoted::place(raw, value, part) {
            None => problem,
            Some(part) => {
                let base = mark.value.start;
                self.place(base + part.start..base + part.end, problem)
            }
        }
    }

    /// Whether nothing was found that stops a start.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.left_out_errors && self.problems.iter().all(|problem| !problem.is_error())
    }

    /// The text of the line that holds an offset.
    #[must_use]
    pub fn line_at(&self, offset: usize) -> &str {
        let offset = self.floor(offset);
        let start = self.text[..offset].rfind('\n').map_or(0, |at| at + 1);
        self.text[start..].lines().next().unwrap_or_default()
    }

    fn say(&mut self, severity: Severity, path: &str, message: String, hint: Option<String>) {
        if self.is_broken(path) {
            return;
        }
        let problem = self.problem(severity, path, message, hint);
        self.push(problem);
    }

    /// Keeps a problem, or counts it where there are too many. An error takes the place of a warning then: it stops the start.
    pub fn push(&mut self, problem: Problem) {
        let hint = problem.hint.as_deref().map(without_users);
        let hint = hint.map(Cow::into_owned);
        let problem = Problem {
            text: without_users(&problem.text).into_owned(),
            message: without_users(&problem.message).into_owned(),
            hint,
            ..problem
        };
        if self.problems.contains(&problem) {
            return;
        }
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
            return;
        }
        self.left_out += 1;
        if !problem.is_error() {
            return;
        }
        match self.problems.iter().rposition(|kept| !kept.is_error()) {
            Some(warning) => self.problems[warning] = problem,
            None => self.left_out_errors = true,
        }
    }

    fn placed(
        &self,
        span: Range<usize>,
        key: &str,
        message: String,
        hint: Option<String>,
    ) -> Problem {
        let problem = Problem {
            key: key.into(),
            ..Problem::of_file(&self.name, message, hint)
        };
        self.place(span, problem)
    }

    /// Gives a problem its file, line and column.
    fn place(&self, span: Range<usize>, problem: Problem) -> Problem {
        let start = self.floor(span.start);
        let (base, file) = self.file_at(start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let text = self.line_at(start);
        let end = self.floor(span.end.min(line_start + text.len()).max(start));
        Problem {
            file: file.into(),
            line: self.text[base..start].matches('\n').count() + 1,
            column: self.text[line_start..start].chars().count() + 1,
            width: self.text[start..end].chars().count().max(1),
            text: self.without_secrets(line_start, text),
            ..problem
        }
    }

    /// A line that begins at an offset, as it may be shown.
    fn without_secrets(&self, start: usize, line: &str) -> String {
        let whole = start..start + line.len();
        let secrets = self.secrets.iter();
        let secrets: Vec<_> = secrets
            .filter(|secret| secret.start < whole.end && whole.start < secret.end)
            .collect();
        let shown = |(at, c)| match secrets.iter().any(|secret| secret.contains(&(start + at))) {
            true => '*',
            false => c,
        };
        line.char_indices().map(shown).collect()
    }

    /// Where the file that holds an offset begins, and its name.
    fn file_at(&self, offset: usize) -> (usize, &str) {
        let mut more = self.more.iter().rev();
        let found = more.find(|(base, _)| *base <= offset);
        found.map_or((0, &*self.name), |(base, name)| (*base, name))
    }

    /// The nearest offset at or below this one that a slice may start at.
    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

/// Whether `inner` is `outer` or lies in it.
fn covers(outer: &str, inner: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| outer.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The path that holds this one: `a[0].b` → `a[0]` → `a`.
fn parent(path: &str) -> Option<&str> {
    path.rfind(['.', '[']).map(|at| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_at_its_holder() {
        let text = "a = 1\n[[pool]]\nnäme = 'x'\n";
        let mut document = Document::new("t", text);
        document.mark("pool[0]", 6..14, 6..26);
        document.error("pool[0].backends", "none".into(), None);
        document.error("else", "where".into(), None);
        let problems = document.into_problems();
        assert_eq!(
            (problems[0].line, problems[0].column, problems[0].width),
            (0, 0, 0)
        );
        assert_eq!(
            (problems[1].line, problems[1].column, problems[1].width),
            (2, 1, 8)
        );
    }

    #[test]
    fn what_is_cited_has_its_place() {
        let mut document = Document::new("a.toml", "x = 1\n[[pool]]\nname = 'x'\n");
        document.mark("pool[0].name", 15..19, 22..25);
        document.mark_flag("listener[0].address", "--listen");
        for (name, path, cited) in [
            ("pool[0]", "pool[0].name", "`pool[0]` (a.toml:3)"),
            (
                "listener[0]",
                "listener[0].address",
                "`listener[0]` (--listen)",
            ),
            ("route[0]", "route[0].name", "`route[0]`"),
        ] {
            assert_eq!(document.cite(name, path), cited);
        }
    }

    #[test]
    fn an_error_is_shown_after_many_warnings() {
        let mut document = Document::new("t", "");
        for number in 0..PROBLEMS_MAX + 5 {
            document.warning(&format!("a[{number}]"), "look".into(), None);
        }
        document.error("b", "wrong".into(), None);
        assert!(!document.is_sound() && document.is_told("b"));
        let problems = document.into_problems();
        let errors = problems.iter().filter(|problem| problem.is_error());
        assert_eq!(errors.count(), 1);
        assert_eq!(problems.len(), PROBLEMS_MAX + 1);
        assert_eq!(
            problems[PROBLEMS_MAX].message,
            "6 more, which are not shown"
        );
    }

    #[test]
    fn one_mistake_is_one_error() {
        let mut document = Document::new("t", "");
        document.mark_broken("pool[0].backends[1]");
        document.error("pool[0].backends", "no backends".into(), None);
        document.error("pool[0].backends[1].weight", "weight".into(), None);
        assert!(document.is_sound());
        document.error("pool[0].backends_max", "other".into(), None);
        assert!(!document.is_sound());
    }
}
