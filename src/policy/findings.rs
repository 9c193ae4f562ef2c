//! What a session's questions came to, in words: for an operator who asks why a message was treated so.

use super::{
    Inquiry, Policy,
    dns::{
        domain, helo,
        listing::{Listing, Outcome},
        reverse, tally,
        watched::Watched,
    },
};
use crate::dns::{Question, Unknown};

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

impl Policy {
    /// All that was found for a client of this listener.
    #[must_use]
    pub fn findings(&self, listener: usize, inquiry: &Inquiry) -> Vec<Finding> {
        let mut all = Vec::new();
        let mut add = |name: &str, result: &str, detail: String| {
            all.push(Finding {
                name: name.into(),
                result: result.into(),
                detail,
            });
        };
        if let Some(names) = inquiry.reverse() {
            let result = match names.outcome {
                reverse::Outcome::Confirmed => "confirmed",
                reverse::Outcome::Unconfirmed => "unconfirmed",
                reverse::Outcome::None => "none",
                reverse::Outcome::Unknown(why) => unknown(why),
            };
            add("rdns", result, names.names.join(" "));
        }
        if let Some(found) = inquiry.helo() {
            add("helo_domain", of_helo(found), String::new());
        }
        if let Some(found) = inquiry.sender() {
            let detail = match found {
                domain::Outcome::Unusable(addresses) => {
                    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                    texts.join(" ")
                }
                _ => String::new(),
            };
            add("sender_domain", of_sender(found), detail);
        }
        if let Some(spf) = inquiry.spf() {
            let mut detail = format!("{} {}", spf.identity.as_str(), spf.domain);
            if let Some(problem) = &spf.problem {
                detail = format!("{detail}: {problem}");
            }
            add("spf", spf.code.as_str(), detail);
        }
        if let Some(message) = inquiry.message() {
            if let Some(dkim) = message.dkim() {
                let domains: Vec<&str> = dkim.domains().collect();
                add("dkim", dkim.as_str(), domains.join(" "));
            }
            if let Some(arc) = message.arc() {
                add("arc", arc.chain.as_str(), String::new());
            }
            if let Some(dmarc) = message.dmarc() {
                let asks = dmarc
                    .requested
                    .map_or_else(String::new, |(policy, _)| format!(" p={}", policy.as_str()));
                let detail = format!("{}{asks}", dmarc.author);
                add("dmarc", dmarc.conclusion.as_str(), detail);
            }
        }
        for (place, (list, _)) in self.profile(listener).wants.lists.iter().enumerate() {
            let zone = list.zone();
            let (result, detail) = of_list(list, inquiry.listing(place));
            add(&format!("dnsbl.{}", zone.name.label()), result, detail);
        }
        all
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

fn unknown(why: Unknown) -> &'static str {
    match why {
        Unknown::Timeout => "no answer in time",
        Unknown::Overload => "not asked: too many questions",
        Unknown::Broken => "the DNS servers failed",
    }
}

fn of_list(list: &Watched, listing: Option<&Listing>) -> (&'static str, String) {
    let zone = list.zone();
    match listing {
        _ if list.is_off() => ("off", String::new()),
        None => ("not asked", String::new()),
        Some(_) if !list.is_probed() => ("not probed yet", String::new()),
        Some(listing) => match listing.outcome() {
            Outcome::Listed => ("listed", tally::detail(zone, listing)),
            Outcome::NotListed => ("not listed", String::new()),
            Outcome::Error(error) => ("error", error.to_string()),
            Outcome::Unknown(why) => (unknown(why), String::new()),
        },
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
        helo::Outcome::Unknown(why) => unknown(*why),
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
        domain::Outcome::Unknown(why) => unknown(*why),
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
