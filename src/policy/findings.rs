//! What a session's questions came to, in words: for an operator who asks why a message was treated so.

use super::{
    Inquiry, Policy,
    dns::{domain, helo, listing::Outcome, reverse, tally},
};
use crate::dns::Question;
use std::fmt;

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked up: `rdns`, `spf`, `dnsbl.zen`.
    pub name: String,
    /// The result, in the words of the configuration.
    pub result: String,
    /// What belongs to it: names, return codes.
    pub detail: String,
}

/// Told of one finding: its name in two parts, the result, and what belongs to it.
pub type Tell<'a> = &'a mut dyn FnMut([&str; 2], &str, fmt::Arguments<'_>);

impl Policy {
    /// All that was found for a client of this listener.
    #[must_use]
    pub fn findings(&self, listener: usize, inquiry: &Inquiry) -> Vec<Finding> {
        let mut all = Vec::new();
        self.each_finding(listener, inquiry, &mut |name, result, detail| {
            all.push(Finding {
                name: name.concat(),
                result: result.into(),
                detail: detail.to_string(),
            });
        });
        all
    }

    /// The same one by one. Allocates only where a list has the client.
    pub fn each_finding(&self, listener: usize, inquiry: &Inquiry, tell: Tell<'_>) {
        of_client(inquiry, tell);
        of_message(inquiry, tell);
        for (place, (list, _)) in self.profile(listener).wants.lists.iter().enumerate() {
            let name = &list.zone().name;
            let name = name.label();
            let mut tell = |result: &str, detail: fmt::Arguments<'_>| {
                tell(["dnsbl.", name], result, detail);
            };
            match inquiry.listing(place, list) {
                _ if list.is_off() => tell("off", format_args!("")),
                None => tell("not asked", format_args!("")),
                Some(_) if !list.is_probed() => tell("not probed yet", format_args!("")),
                Some(listing) => match listing.outcome() {
                    Outcome::Listed => {
                        let detail = tally::detail(list.zone(), listing);
                        tell("listed", format_args!("{detail}"));
                    }
                    Outcome::NotListed => tell("not listed", format_args!("")),
                    Outcome::Error(error) => tell("error", format_args!("{error}")),
                    Outcome::Unknown(why) => tell(why.as_str(), format_args!("")),
                },
            }
        }
    }

    /// The name that is asked for, with `{key}` in place of a list's key.
    #[must_use]
    pub fn shown(&self, question: &Question) -> String {
        let lists = self.lists();
        let hidden = lists
            .iter()
            .find_map(|list| list.zone().name.hidden(&question.name));
        hidden.unwrap_or_else(|| question.name.to_string())
    }
}

/// What was found of the client and its envelope.
fn of_client(inquiry: &Inquiry, tell: Tell<'_>) {
    if let Some(names) = inquiry.reverse() {
        let result = match names.outcome {
            reverse::Outcome::Confirmed => "confirmed",
            reverse::Outcome::Unconfirmed => "unconfirmed",
            reverse::Outcome::None => "none",
            reverse::Outcome::Unknown(why) => why.as_str(),
        };
        tell(
            ["rdns", ""],
            result,
            format_args!("{}", Spaced(|| names.names.iter())),
        );
    }
    if let Some(found) = inquiry.helo() {
        tell(["helo_domain", ""], of_helo(found), format_args!(""));
    }
    if let Some(found) = inquiry.sender() {
        let addresses = match found {
            domain::Outcome::Unusable(addresses) => &**addresses,
            _ => &[],
        };
        tell(
            ["sender_domain", ""],
            of_sender(found),
            format_args!("{}", Spaced(|| addresses.iter())),
        );
    }
    if let Some(spf) = inquiry.spf() {
        let (identity, domain) = (spf.identity.as_str(), &spf.domain);
        let (before, problem) = match &spf.problem {
            Some(problem) => (": ", &**problem),
            None => ("", ""),
        };
        tell(
            ["spf", ""],
            spf.code.as_str(),
            format_args!("{identity} {domain}{before}{problem}"),
        );
    }
}

/// What was found of its message.
fn of_message(inquiry: &Inquiry, tell: Tell<'_>) {
    let Some(message) = inquiry.message() else {
        return;
    };
    if let Some(dkim) = message.dkim() {
        tell(
            ["dkim", ""],
            dkim.as_str(),
            format_args!("{}", Spaced(|| dkim.domains())),
        );
    }
    if let Some(arc) = message.arc() {
        tell(["arc", ""], arc.chain.as_str(), format_args!(""));
    }
    if let Some(dmarc) = message.dmarc() {
        let asks = dmarc.requested.map(|(policy, _)| policy.as_str());
        let before = if asks.is_some() { " p=" } else { "" };
        tell(
            ["dmarc", ""],
            dmarc.conclusion.as_str(),
            format_args!("{}{before}{}", dmarc.author, asks.unwrap_or_default()),
        );
    }
}

/// What an iterator has, with blanks between.
struct Spaced<F>(F);

impl<F, I> fmt::Display for Spaced<F>
where
    F: Fn() -> I,
    I: Iterator,
    I::Item: fmt::Display,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, item) in (self.0)().enumerate() {
            let blank = if place > 0 { " " } else { "" };
            write!(f, "{blank}{item}")?;
        }
        Ok(())
    }
}

fn of_helo(found: &helo::Outcome) -> &'static str {
    match found {
        helo::Outcome::OwnLiteral => "the client's address",
        helo::Outcome::OtherLiteral => "another address",
        helo::Outcome::BadLiteral => "no address",
        helo::Outcome::Malformed => "no domain name",
        helo::Outcome::LeadsToClient => "leads to the client",
        helo::Outcome::Exists(_) => "not_client",
        helo::Outcome::NoHost => "no_host",
        helo::Outcome::NoName => "no_name",
        helo::Outcome::Unknown(why) => why.as_str(),
    }
}

fn of_sender(found: &domain::Outcome) -> &'static str {
    match found {
        domain::Outcome::Exists => "takes mail",
        domain::Outcome::Literal => "an address",
        domain::Outcome::Malformed => "no domain name",
        domain::Outcome::NullMx => "null_mx",
        domain::Outcome::NoMail => "no_mail",
        domain::Outcome::NoName => "no_name",
        domain::Outcome::NoExchange => "no_mail",
        domain::Outcome::Unusable(_) => "unusable",
        domain::Outcome::Unknown(why) => why.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::{Facts, testing::*};
    use crate::smtp::envelope::Path;

    #[test]
    fn what_was_found_is_told_in_words() {
        let mut rig = rig("rdns.none = 1.0
            spf.fail = 1.0
            sender_domain.null_mx = 1.0
            dnsbl = [{ zone = 'bl.example', score = 1.0 }, { zone = 'silent.example' }]");
        let facts = Facts {
            hello: b"mx.a.example",
            sender: Path::split(b"a@a.example"),
            ..stranger()
        };
        let _ = rig.judge_with(
            &facts,
            &[
                ("A 7.2.0.192.bl.example", "127.0.0.4"),
                ("A 7.2.0.192.silent.example", "timeout"),
                ("TXT a.example", "v=spf1 -all"),
                ("MX a.example", "0 ."),
            ],
        );
        let found = rig.policy.findings(0, &rig.inquiry);
        let lines: Vec<String> = found
            .iter()
            .map(|found| format!("{} {} {}", found.name, found.result, found.detail))
            .collect();
        assert_eq!(
            lines,
            [
                "rdns none ",
                "sender_domain null_mx ",
                "spf fail mailfrom a.example",
                "dnsbl.bl.example listed bl.example 127.0.0.4",
                "dnsbl.silent.example no answer in time ",
            ]
        );
    }
}
