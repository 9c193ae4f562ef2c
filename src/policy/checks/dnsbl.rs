//! Lists in the DNS: of client addresses, and of the names that a client uses. Each listing scores or refuses; the detail of
//! its hit says which list, and by which code.

use super::{
    Check, Whom,
    results::{point, wish},
};
use crate::{
    config::{self, Mode, Secret},
    policy::{
        At, Facts, Shared, What,
        builder::{Builder, RuleSettings},
        dns::{
            listing::Outcome,
            parse::{self, EntryWords, Words},
            tally,
            watched::Watched,
            zone::{Kind, Proofs, Role, Zone},
        },
        inquiry::Wants,
        replies,
        rule::{Rule, Say},
    },
    smtp::{Reply, Text},
};
use std::sync::Arc;

/// Lists that are asked about one client.
pub const LISTS_MAX: usize = 64;

struct List {
    list: Arc<Watched>,
    at: At,
    rule: Rule,
    /// What happens where it does not answer.
    failure: Option<Rule>,
    own_reply: bool,
}

struct Lists {
    lists: Vec<List>,
    points: Vec<At>,
}

pub fn build(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let configured = &builder.config.dnsbl;
    if configured.len() > LISTS_MAX {
        builder.fault("dnsbl", format!("there are more than {LISTS_MAX} lists"));
    }
    let lists: Vec<List> = configured
        .iter()
        .filter(|list| list.mode != Mode::Off)
        .filter_map(|list| one(builder, list))
        .collect();
    let mut points: Vec<At> = lists.iter().map(|list| list.at).collect();
    points.sort_unstable();
    points.dedup();
    (!lists.is_empty()).then(|| Arc::new(Lists { lists, points }) as Arc<dyn Check>)
}

fn one(builder: &mut Builder<'_>, list: &config::Dnsbl) -> Option<List> {
    let shown = if list.name.is_empty() {
        &list.zone
    } else {
        &list.name
    };
    let at = format!("dnsbl \"{shown}\"");
    let zone = match zone(list) {
        Ok(zone) => zone,
        Err(faults) => {
            faults.into_iter().for_each(|why| builder.fault(&at, why));
            return None;
        }
    };
    let name = format!("dnsbl.{}", zone.name.label());
    let listed = RuleSettings {
        then: list.then,
        score: list.score,
        reply: list.reply.as_deref(),
        mode: list.mode,
    };
    let doc = "The client's address, or a name that it uses, is in this list.";
    let rule = builder.rule(name.clone(), doc, &at, listed, &replies::DNSBL)?;
    let doc = "The list could not be asked, or did not answer in time.";
    let failure = wish(list.on_failure, None, list.mode).and_then(|wish| {
        let name = format!("{name}.unknown");
        builder.rule(name, doc, &at, wish, &replies::DNSBL_UNKNOWN)
    });
    Some(List {
        at: match (zone.kind, point(list.at)) {
            // Before the end of a message nothing is known of its signatures.
            _ if wants_signatures(&zone) => At::Body,
            // A list of names is asked at MAIL.
            (Kind::Names(_), At::Greeting | At::Hello) => At::Mail,
            (_, at) => at,
        },
        list: Arc::new(Watched::new(zone, list.runaway)),
        rule,
        failure,
        own_reply: list.reply.is_some(),
    })
}

/// Whether a listing counts only with a proof that comes at the end of the message.
fn wants_signatures(zone: &Zone) -> bool {
    zone.requires.contains(Proofs::DKIM) || zone.requires.contains(Proofs::DMARC)
}

/// A list as the machine wants it.
fn zone(list: &config::Dnsbl) -> Result<Zone, Vec<String>> {
    let key = key(&list.key).map_err(|why| vec![why])?;
    let texts = |all: &[String]| -> Vec<String> { all.to_vec() };
    let (codes, errors) = (texts(&list.codes), texts(&list.errors));
    let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
    let errors: Vec<&str> = errors.iter().map(String::as_str).collect();
    let of: Vec<&str> = list.of.iter().map(|of| of.as_str()).collect();
    let families: Vec<&str> = list.families.iter().map(|family| family.as_str()).collect();
    let requires: Vec<&str> = list.requires.iter().map(|proof| proof.as_str()).collect();
    let of_entries: Vec<Vec<&str>> = list
        .entries
        .iter()
        .map(|entry| entry.codes.iter().map(String::as_str).collect())
        .collect();
    let entries: Vec<EntryWords<'_>> = list
        .entries
        .iter()
        .zip(&of_entries)
        .map(|(entry, codes)| EntryWords {
            codes,
            score: entry.score,
        })
        .collect();
    parse::zone(&Words {
        zone: &list.zone,
        key: key.as_deref(),
        name: (!list.name.is_empty()).then_some(&*list.name),
        of: &of,
        families: &families,
        codes: &codes,
        score: list.score,
        entries: &entries,
        errors: &errors,
        requires: &requires,
        lacks_test_entries: !list.test_entries,
    })
}

fn key(secret: &Secret) -> Result<Option<String>, String> {
    if secret.is_empty() {
        return Ok(None);
    }
    let octets = secret.read()?;
    let text = String::from_utf8(octets).map_err(|_| "the key is no text".to_string())?;
    Ok(Some(text))
}

impl Check for Lists {
    fn name(&self) -> &'static str {
        "dnsbl"
    }

    fn stages(&self) -> &[At] {
        &self.points
    }

    fn wants(&self, wants: &mut Wants, welcome: bool) {
        if welcome {
            // The list that let the client in has the last word about it, for rules as well.
            return;
        }
        for list in &self.lists {
            let refuses = matches!(list.rule.what, What::Defer | What::Reject | What::Close);
            let says_why = !list.own_reply && refuses;
            wants.lists.push((Arc::clone(&list.list), says_why));
            wants.waits |= 1 << list.at as u16;
            if wants_signatures(list.list.zone()) {
                wants.need_dmarc();
            }
        }
    }

    fn reads_answers(&self, _: At) -> bool {
        true
    }

    fn whom(&self) -> Whom {
        Whom::Strangers
    }

    fn look(&self, at: At, facts: &Facts<'_>, _: &Shared, say: &mut Say<'_>) {
        let Some(inquiry) = facts.inquiry else {
            return;
        };
        let proven = inquiry.proven();
        for (place, list) in self.lists.iter().enumerate() {
            if list.at != at {
                continue;
            }
            let listing = match inquiry.listing(place, &list.list) {
                Some(listing) if !list.list.is_off() => listing,
                _ => continue,
            };
            let flow = match listing.outcome() {
                _ if !list.list.is_probed() => match &list.failure {
                    Some(rule) => say.hit(rule, "not probed yet"),
                    None => continue,
                },
                Outcome::NotListed => continue,
                Outcome::Listed => {
                    let detail = tally::detail(list.list.zone(), listing);
                    let weight = tally::weight(list.list.zone(), listing, &proven);
                    let rule = Rule {
                        score: weight,
                        ..list.rule.clone()
                    };
                    if rule.what == What::Score && weight == 0.0 {
                        continue;
                    }
                    say.hit_as(&rule, rule.what, detail, |rule| {
                        list.reply(rule, facts, listing.text.as_deref())
                    })
                }
                Outcome::Error(error) => match &list.failure {
                    Some(rule) => say.hit(rule, error.to_string()),
                    None => continue,
                },
                Outcome::Unknown(why) => match &list.failure {
                    Some(rule) => say.hit(rule, why.as_str()),
                    None => continue,
                },
            };
            if flow.is_break() {
                return;
            }
        }
    }
}

impl List {
    /// The built-in reply says which list it was, so that an honest sender knows where to go.
    fn reply(&self, rule: &Rule, facts: &Facts<'_>, why: Option<&str>) -> Reply {
        if self.own_reply {
            return rule.reply.clone();
        }
        let label = self.list.zone().name.label();
        let mut text = match self.list.zone().kind {
            Kind::Addresses(_) => format!(
                "Service unavailable; client [{}] blocked using {label}",
                facts.client
            ),
            Kind::Names(roles) => {
                let of = match roles.contains(Role::Sender) {
                    true => "sender's domain",
                    false => "name",
                };
                format!("Service unavailable; your {of} is blocked using {label}")
            }
        };
        // What the list itself says of it: mostly where to ask to be taken off.
        if let Some(why) = why {
            text = format!("{text}; {why}");
        }
        Reply {
            text: Text::Shared(text.into()),
            ..rule.reply.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::{Facts, testing::*};
    use crate::smtp::envelope::Path;

    fn says<'a>(sender: &'a str) -> Facts<'a> {
        Facts {
            hello: b"mx.a.example",
            sender: Path::split(sender.as_bytes()),
            ..stranger()
        }
    }

    const LISTED: &str = "A 7.2.0.192.bl.example";

    #[test]
    fn a_listing_scores_or_refuses() {
        let scoring = "dnsbl = [{ zone = 'bl.example', codes = ['127.0.0.2-11'], score = 6.0 }]";
        let refusing = "dnsbl = [{ zone = 'bl.example', then = 'reject', on_failure = 'defer' }]";
        let said =
            "reject 554 5.7.1 Service unavailable; client [192.0.2.7] blocked using bl.example";
        for (config, answer, verdict, hits) in [
            (
                scoring,
                "127.0.0.4",
                "accept",
                "dnsbl.bl.example score(bl.example 127.0.0.4)",
            ),
            (scoring, "127.0.0.12", "accept", ""),
            (scoring, "timeout", "accept", ""),
            (
                refusing,
                "127.0.0.2|127.0.0.3",
                said,
                "dnsbl.bl.example reject(bl.example 127.0.0.2,127.0.0.3)",
            ),
            (
                refusing,
                "timeout",
                "defer 450 4.7.1",
                "dnsbl.bl.example.unknown defer(no answer in time)",
            ),
            (refusing, "nodata", "accept", ""),
        ] {
            let mut rig = rig(config);
            let told = rig.judge_with(&says("a@a.example"), &[(LISTED, answer)]);
            assert!(told.starts_with(verdict), "{answer}: {told}");
            assert_eq!(rig.hits(), hits);
        }
        // An error of the list is no listing.
        let mut rig = rig(refusing);
        let told = rig.judge_with(&says("a@a.example"), &[(LISTED, "127.255.255.254")]);
        assert!(told.starts_with("defer 450 4.7.1"), "{told}");
    }

    #[test]
    fn a_list_of_names_is_asked_about_what_was_said() {
        let mut rig = rig("dnsbl = [
                { zone = 'rhs.example', of = ['sender', 'helo'], then = 'reject' },
                { zone = 'wl.example', of = ['sender'], score = -3.0, requires = ['spf'] },
                { zone = 'bl.example', score = 4.0 },
            ]
            spf.softfail = 1.0");
        let bl = (LISTED, "127.0.0.2");
        let listed = ("A bad.example.rhs.example", "127.0.0.2");
        let told = rig.judge_with(&says("a@bad.example"), &[listed]);
        assert!(
            told.ends_with("your sender's domain is blocked using rhs.example"),
            "{told}"
        );
        let good = ("A good.example.wl.example", "127.0.0.2");
        let passes = ("TXT good.example", "v=spf1 +all");
        assert_eq!(
            rig.judge_with(&says("a@good.example"), &[bl, good]),
            "accept"
        );
        assert_eq!(rig.judgement.score(), 4.0, "a name alone proves nothing");
        assert_eq!(
            rig.judge_with(&says("a@good.example"), &[bl, good, passes]),
            "accept"
        );
        assert_eq!(rig.judgement.score(), 1.0);
    }

    #[test]
    fn mistakes_are_told() {
        for (list, fault) in [
            ("{ zone = 'no domain' }", "is not a domain name"),
            ("{ zone = '{key}.zen.example' }", "needs a key"),
            (
                "{ zone = 'bl.example', codes = ['127.0.0.2-1'] }",
                "127.0.0.2-1",
            ),
            (
                "{ zone = 'bl.example', of = ['sender'], score = -1.0 }",
                "needs requires",
            ),
            (
                "{ zone = 'bl.example' }, { zone = 'bl.example' }",
                "is taken",
            ),
        ] {
            let found = faults(&format!("dnsbl = [{list}]"));
            assert!(
                found.iter().any(|told| told.contains(fault)),
                "{list}: {found:?}"
            );
        }
    }
}
