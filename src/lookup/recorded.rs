//! Answers of the DNS from a file, in place of servers: for tests and for questions about what would be if.
//!
//! A line has a name, a type and what is there, as in a zone file: `client.example A 192.0.2.7`. Several lines for one name and
//! type are several records. In place of records there may be `NODATA`, `NXDOMAIN`, `SERVFAIL`, `BOGUS` or `TIMEOUT`. A name of which
//! the file says nothing does not exist; one that has other types has no such records. `* TIMEOUT` changes what becomes of
//! all that the file doesn't name. `#` and `;` begin a comment.

use crate::dns::{Answer, Question, Record, RecordType, Unknown};
use std::collections::{HashMap, HashSet};

/// What a file says.
#[derive(Debug)]
pub struct Recorded {
    answers: HashMap<(String, RecordType), Answer>,
    names: HashSet<String>,
    otherwise: Option<Answer>,
}

impl Recorded {
    /// Reads a file's text.
    ///
    /// # Errors
    /// The first mistake, with its line.
    pub fn parse(text: &str) -> Result<Recorded, String> {
        let mut read = Recorded {
            answers: HashMap::new(),
            names: HashSet::new(),
            otherwise: None,
        };
        let mut lines = text.lines().zip(1..);
        while let Some((line, number)) = lines.next() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let told = match opened(line) {
                None => read.line(line),
                Some((before, after)) => {
                    let rest = lines.by_ref().map(|(line, _)| line);
                    enclosed(before, after, rest).and_then(|line| read.line(&line))
                }
            };
            told.map_err(|why| format!("line {number}: {why}"))?;
        }
        Ok(read)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (name, rest) = split(line);
        if name == "*" {
            let answer = without_records(rest);
            self.otherwise = Some(answer.ok_or_else(|| {
                format!(
                    "`*` takes NODATA, NXDOMAIN, SERVFAIL, BOGUS or TIMEOUT, not {:?}",
                    rest
                )
            })?);
            return Ok(());
        }
        let (mut word, mut data) = split(rest);
        // A TTL and the class, in either order (RFC 1035 §5.1). No type begins with a digit.
        for _ in 0..2 {
            if word.eq_ignore_ascii_case("IN") || word.starts_with(|c: char| c.is_ascii_digit()) {
                (word, data) = split(data);
            }
        }
        let record_type = type_of(word).ok_or_else(|| {
            format!("{word:?} is no type: write A, AAAA, MX, PTR or TXT after the name")
        })?;
        let name = plain(name);
        self.names.insert(name.clone());
        let key = (name, record_type);
        let answer = match without_records(data) {
            Some(answer) => answer,
            None => {
                let record = record(record_type, data)?;
                let before = match self.answers.get(&key) {
                    Some(Answer::Found(records)) => records.to_vec(),
                    _ => Vec::new(),
                };
                Answer::Found(before.into_iter().chain([record]).collect())
            }
        };
        self.answers.insert(key, answer);
        Ok(())
    }

    /// The answer to a question about `name`: [`Question::name`], or what stands for it in the file.
    #[must_use]
    pub fn answer(&self, name: &str, question: &Question) -> Answer {
        let key = (name.to_ascii_lowercase(), question.record_type);
        if let Some(answer) = self.answers.get(&key) {
            return answer.clone();
        }
        match (&self.otherwise, self.names.contains(&key.0)) {
            (_, true) => Answer::NoRecords,
            (Some(answer), false) => answer.clone(),
            (None, false) => Answer::NoName,
        }
    }
}

/// What stands before and after the parenthesis in which texts go on over several lines (RFC 1035 §5.1): the last character but
/// blanks before the first text.
fn opened(line: &str) -> Option<(&str, &str)> {
    let text = line.find('"').unwrap_or(line.len());
    let before = line[..text].trim_end().strip_suffix('(')?;
    let parted = before.ends_with(char::is_whitespace);
    parted.then_some((before, &line[text..]))
}

/// The record in one line, up to the parenthesis that closes.
fn enclosed<'a>(
    before: &str,
    after: &'a str,
    rest: impl Iterator<Item = &'a str>,
) -> Result<String, String> {
    let mut whole = before.to_string();
    for line in [after].into_iter().chain(rest) {
        let (mut quoted, mut escaped) = (false, false);
        for c in line.trim().chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = !quoted,
                ')' if !quoted => return Ok(whole),
                ';' if !quoted => break,
                _ => {}
            }
            whole.push(c);
        }
        whole.push(' ');
    }
    Err("the parenthesis is not closed".to_string())
}

fn split(text: &str) -> (&str, &str) {
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (first, rest.trim())
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn type_of(word: &str) -> Option<RecordType> {
    Some(match &*word.to_ascii_uppercase() {
        "A" => RecordType::A,
        "AAAA" => RecordType::Aaaa,
        "MX" => RecordType::Mx,
        "PTR" => RecordType::Ptr,
        "TXT" => RecordType::Txt,
        "SRV" => RecordType::Srv,
        _ => return None,
    })
}

fn without_records(word: &str) -> Option<Answer> {
    Some(match word {
        "NODATA" => Answer::NoRecords,
        "NXDOMAIN" => Answer::NoName,
        "SERVFAIL" => Answer::Unknown(Unknown::Broken),
        "BOGUS" => Answer::Unknown(Unknown::Bogus),
        "TIMEOUT" => Answer::Unknown(Unknown::Timeout),
        _ => return None,
    })
}

fn record(record_type: RecordType, data: &str) -> Result<Record, String> {
    let wrong = |what: &str| format!("{data:?} is no {what}");
    Ok(match record_type {
        RecordType::A => Record::A(data.parse().map_err(|_| wrong("IPv4 address"))?),
        RecordType::Aaaa => Record::Aaaa(data.parse().map_err(|_| wrong("IPv6 address"))?),
        RecordType::Mx => {
            let (preference, exchange) = split(data);
            let number = preference.parse();
            Record::Mx {
                preference: number
                    .map_err(|_| wrong("MX record: write `10 mx.example.net`, or `0 .`"))?,
                exchange: plain(exchange).into(),
            }
        }
        RecordType::Ptr if data.is_empty() => return Err(wrong("name")),
        RecordType::Ptr => Record::Ptr(plain(data).into()),
        RecordType::Txt => Record::Txt(strings(data).into()),
        RecordType::Srv => {
            let mut words = data.split_whitespace();
            let wrong = || wrong("SRV record: write `10 60 25 mx.example.net`");
            let mut number = || words.next()?.parse().ok();
            let numbers = (number(), number(), number());
            let ((Some(priority), Some(weight), Some(port)), Some(target)) =
                (numbers, words.next())
            else {
                return Err(wrong());
            };
            Record::Srv {
                priority,
                weight,
                port,
                target: plain(target).into(),
            }
        }
    })
}

/// Text in quotes, all strings joined as in a zone file; or all of it as it stands.
fn strings(data: &str) -> Vec<u8> {
    if !data.starts_with('"') {
        return data.into();
    }
    let (mut text, mut quoted) = (Vec::new(), false);
    let mut octets = data.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => quoted = !quoted,
            b'\\' if quoted => text.extend(octets.next()),
            octet if quoted => text.push(octet),
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(recorded: &Recorded, name: &str, record_type: RecordType) -> Answer {
        let question = Question {
            name: name.into(),
            record_type,
        };
        recorded.answer(name, &question)
    }

    #[test]
    fn a_file_answers() {
        let text = "# who\n; what\n\nA.Example. A 192.0.2.7\na.example A 192.0.2.8\n\
            a.example mx 10 mx.a.example.\nnull.example MX 0 .\n\
            a.example 3600 IN TXT \"v=spf1 \" \"\\\"-all\"\n\
            k.example. in TXT (\n \"k=(;\" ; first\n \"p=1;\" )\nplain.example TXT v=spf1 -all\nslow.example A TIMEOUT\nforged.example A BOGUS\n";
        let read = Recorded::parse(text).expect("it is sound");
        let a = |last| Record::A([192, 0, 2, last].into());
        for (name, record_type, answer) in [
            (
                "a.example",
                RecordType::A,
                Answer::Found([a(7), a(8)].into()),
            ),
            ("a.example", RecordType::Aaaa, Answer::NoRecords),
            (
                "a.example",
                RecordType::Txt,
                Answer::Found([Record::Txt((*b"v=spf1 \"-all").into())].into()),
            ),
            (
                "k.example",
                RecordType::Txt,
                Answer::Found([Record::Txt((*b"k=(;p=1;").into())].into()),
            ),
            (
                "plain.example",
                RecordType::Txt,
                Answer::Found([Record::Txt((*b"v=spf1 -all").into())].into()),
            ),
            (
                "slow.example",
                RecordType::A,
                Answer::Unknown(Unknown::Timeout),
            ),
            (
                "forged.example",
                RecordType::A,
                Answer::Unknown(Unknown::Bogus),
            ),
            ("none.example", RecordType::A, Answer::NoName),
        ] {
            assert_eq!(ask(&read, name, record_type), answer, "{name}");
        }
        let Answer::Found(records) = ask(&read, "null.example", RecordType::Mx) else {
            panic!("it is there");
        };
        assert!(matches!(&records[0], Record::Mx { exchange, .. } if exchange.is_empty()));
        let read = Recorded::parse("* SERVFAIL\n").expect("it is sound");
        assert_eq!(
            ask(&read, "none.example", RecordType::A),
            Answer::Unknown(Unknown::Broken)
        );
    }

    #[test]
    fn mistakes_have_their_line() {
        for (text, why) in [
            ("\na.example", "line 2: \"\" is no type"),
            ("a.example NAPTR 1", "\"NAPTR\" is no type"),
            ("a.example A 300.1.1.1", "is no IPv4 address"),
            ("a.example AAAA 192.0.2.1", "is no IPv6 address"),
            ("a.example MX mx.a.example", "is no MX record"),
            ("a.example PTR", "is no name"),
            ("* A 192.0.2.1", "`*` takes NODATA"),
            ("a.example IN 60", "\"\" is no type"),
            (
                "\na.example TXT (\n\"x\"\n\")\"",
                "line 2: the parenthesis is not closed",
            ),
        ] {
            let told = Recorded::parse(text).expect_err(text);
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
