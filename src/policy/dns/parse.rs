//! From the configuration's words to a [`Zone`], with every mistake in plain words.
//!
//! ```toml
//! [[policy.dnsbl]]
//! zone   = "{key}.zen.dq.example.net"     # {key} stands for the secret
//! name   = "zen"                          # what logs call it; default: the zone without the key
//! codes  = ["127.0.0.2-11"]
//! score  = 6.0
//!
//! [[policy.dnsbl]]
//! zone    = "zen.example.net"
//! entries = [                             # instead of codes and score: several weights
//!   { codes = ["127.0.0.2-3"], score = 6.0 },
//!   { codes = ["127.0.0.[10;11]"], score = 2.0 },
//! ]
//!
//! [[policy.dnsbl]]
//! zone     = "allowed.example.net"
//! of       = ["sender"]                   # a list of names: sender, helo, rdns; default: the client's address
//! score    = -3.0
//! requires = ["dmarc"]                    # all of them must hold
//! ```

use super::{
    codes::Codes,
    names::{NAME_MAX, REVERSED_MAX},
    secret::ZoneName,
    zone::{
        ENTRIES_MAX, Entry, FILTERS_MAX, Families, Kind, Proofs, Role, Roles, WEIGHT_MAX, Zone,
    },
};

/// A list as the configuration has it.
#[derive(Clone, Copy, Default)]
pub struct Words<'a> {
    /// The zone's name, perhaps with `{key}` in it.
    pub zone: &'a str,
    /// The key, read from its file or variable.
    pub key: Option<&'a str>,
    /// What to call it.
    pub name: Option<&'a str>,
    /// `sender`, `helo`, `rdns`; empty: it is a list of addresses.
    pub of: &'a [&'a str],
    /// `ipv4`, `ipv6`; empty: both.
    pub families: &'a [&'a str],
    /// Filters on return codes; empty: any.
    pub codes: &'a [&'a str],
    /// The weight.
    pub score: f64,
    /// Several weights, instead of `codes` and `score`.
    pub entries: &'a [EntryWords<'a>],
    /// Filters of codes that are errors of this list.
    pub errors: &'a [&'a str],
    /// `dmarc`, `dkim`, `spf`, `fcrdns`.
    pub requires: &'a [&'a str],
    /// It has no test entries (RFC 5782 section 5).
    pub lacks_test_entries: bool,
}

/// One of several weights.
#[derive(Clone, Copy, Default)]
pub struct EntryWords<'a> {
    /// Filters on return codes; empty: any.
    pub codes: &'a [&'a str],
    /// The weight.
    pub score: f64,
}

/// Reads a list.
///
/// # Errors
/// Every mistake, in words, without the key in them.
pub fn zone(words: &Words<'_>) -> Result<Zone, Vec<String>> {
    let mut faults = Vec::new();
    let name = ZoneName::new(words.zone, words.key, words.name)
        .map_err(|why| faults.push(why))
        .ok();
    let kind = kind(words, &mut faults);
    if let (Some(name), Kind::Addresses(_)) = (&name, kind)
        && name.asked().len() > NAME_MAX - REVERSED_MAX
    {
        faults.push(format!(
            "the zone {:?} is too long: with an address before it, a name has at most {NAME_MAX} characters",
            name.label()
        ));
    }
    let entries = entries(words, &mut faults);
    let errors = filters(words.errors, Codes::parse_any, &mut faults);
    let mut requires = Proofs::NONE;
    for word in words.requires {
        match Proofs::named(word) {
            Some(proof) => requires = requires.and(proof),
            None => faults.push(format!(
                "requires: {word:?} is none of dmarc, dkim, spf, fcrdns"
            )),
        }
    }
    let allows = entries.iter().any(|entry| entry.weight < 0.0);
    if !words.requires.is_empty() && !allows {
        faults.push("requires is for negative scores: there is none".into());
    }
    if allows && words.requires.is_empty() && matches!(kind, Kind::Names(_)) {
        faults.push(
            "a negative score for names needs requires (dmarc, dkim, spf, fcrdns): a name alone can be spoofed".into(),
        );
    }
    match name {
        Some(name) if faults.is_empty() => Ok(Zone {
            name,
            kind,
            entries,
            errors,
            requires,
            has_test_entries: !words.lacks_test_entries,
        }),
        _ => Err(faults),
    }
}

fn kind(words: &Words<'_>, faults: &mut Vec<String>) -> Kind {
    let mut roles = Roles::NONE;
    for word in words.of {
        match *word {
            "sender" => roles = roles.with(Role::Sender),
            "helo" => roles = roles.with(Role::Helo),
            "rdns" => roles = roles.with(Role::Rdns),
            _ => faults.push(format!("of: {word:?} is none of sender, helo, rdns")),
        }
    }
    let mut families = Families {
        v4: words.families.is_empty(),
        v6: words.families.is_empty(),
    };
    for word in words.families {
        match *word {
            "ipv4" => families.v4 = true,
            "ipv6" => families.v6 = true,
            _ => faults.push(format!("families: {word:?} is none of ipv4, ipv6")),
        }
    }
    if words.of.is_empty() {
        return Kind::Addresses(families);
    }
    if !words.families.is_empty() {
        faults.push("families is for lists of addresses: a list with `of` is one of names".into());
    }
    Kind::Names(roles)
}

fn entries(words: &Words<'_>, faults: &mut Vec<String>) -> Box<[Entry]> {
    let single = [EntryWords {
        codes: words.codes,
        score: words.score,
    }];
    let written = match words.entries {
        [] => &single[..],
        several => several,
    };
    if !words.entries.is_empty() && (!words.codes.is_empty() || words.score != 0.0) {
        faults.push("write codes and score in entries, or beside it, not both".into());
    }
    if written.len() > ENTRIES_MAX {
        faults.push(format!("a list has at most {ENTRIES_MAX} entries"));
    }
    let entry = |entry: &EntryWords<'_>| {
        let weight = entry.score;
        if !weight.is_finite() || weight.abs() > WEIGHT_MAX {
            faults.push(format!(
                "the score {weight} is out of range: -{WEIGHT_MAX} to {WEIGHT_MAX}"
            ));
        }
        Entry {
            codes: filters(entry.codes, Codes::parse, faults),
            weight,
        }
    };
    written.iter().take(ENTRIES_MAX).map(entry).collect()
}

fn filters(
    written: &[&str],
    parse: fn(&str) -> Result<Codes, String>,
    faults: &mut Vec<String>,
) -> Box<[Codes]> {
    if written.len() > FILTERS_MAX {
        faults.push(format!(
            "at most {FILTERS_MAX} filters of codes can stand together"
        ));
    }
    let mut filters = Vec::new();
    for filter in written.iter().take(FILTERS_MAX) {
        match parse(filter) {
            Ok(filter) => filters.push(filter),
            Err(why) => faults.push(format!("codes: {why}")),
        }
    }
    filters.into()
}

/// One of postscreen's `postscreen_dnsbl_sites`: `zone`, `zone=filter`, `zone*weight`, `zone=filter*weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site<'a> {
    /// The zone's name.
    pub zone: &'a str,
    /// The filter on return codes: one of those that [`Codes::parse`] reads.
    pub filter: Option<&'a str>,
    /// The weight, 1 where none is written.
    pub weight: i32,
}

/// Reads one of postscreen's sites. Sites of one zone make one list with several entries.
///
/// # Errors
/// In words, if it is none.
pub fn site(text: &str) -> Result<Site<'_>, String> {
    let (rest, weight) = match text.rsplit_once('*') {
        None => (text, 1),
        Some((rest, digits)) => match digits.parse::<i32>() {
            Ok(weight) if f64::from(weight).abs() <= WEIGHT_MAX => (rest, weight),
            _ => {
                return Err(format!(
                    "{text:?}: {digits:?} is no weight of -{WEIGHT_MAX} to {WEIGHT_MAX}"
                ));
            }
        },
    };
    let (zone, filter) = match rest.split_once('=') {
        None => (rest, None),
        Some((zone, filter)) => (zone, Some(filter)),
    };
    if let Some(filter) = filter {
        Codes::parse(filter).map_err(|why| format!("{text:?}: {why}"))?;
    }
    ZoneName::new(zone, None, None)?;
    Ok(Site {
        zone,
        filter,
        weight,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn faults(words: Words<'_>) -> Vec<String> {
        match zone(&words) {
            Ok(_) => Vec::new(),
            Err(faults) => faults,
        }
    }

    #[test]
    fn lists_of_each_kind() {
        let plain = zone(&Words {
            zone: "bl.example.org",
            codes: &["127.0.0.2-11"],
            score: 6.0,
            ..Words::default()
        })
        .expect("a list");
        assert_eq!(plain.name.label(), "bl.example.org");
        assert_eq!(plain.kind, Kind::Addresses(Families::BOTH));
        assert_eq!((plain.entries.len(), plain.entries[0].weight), (1, 6.0));
        assert!(plain.has_test_entries && !plain.is_allow_list());
        let keyed = zone(&Words {
            zone: "{key}.zen.dq.example.net",
            key: Some("abcdef"),
            name: Some("zen"),
            families: &["ipv6"],
            entries: &[
                EntryWords {
                    codes: &["127.0.0.2-3", "127.0.0.[9]"],
                    score: 6.0,
                },
                EntryWords {
                    codes: &["127.0.0.10/31"],
                    score: 2.5,
                },
            ],
            lacks_test_entries: true,
            ..Words::default()
        })
        .expect("a list");
        assert_eq!(keyed.name.label(), "zen");
        assert_eq!(
            keyed.kind,
            Kind::Addresses(Families {
                v4: false,
                v6: true
            })
        );
        assert!(!format!("{keyed:?}").contains("abcdef") && !keyed.has_test_entries);
        let allow = zone(&Words {
            zone: "wl.example.net",
            of: &["sender", "helo", "rdns"],
            score: -3.0,
            requires: &["spf", "fcrdns"],
            errors: &["127.0.0.255"],
            ..Words::default()
        })
        .expect("a list");
        assert!(allow.is_allow_list());
        assert_eq!(allow.requires, Proofs::SPF.and(Proofs::FCRDNS));
    }

    #[test]
    fn every_mistake_is_told() {
        let told = faults(Words {
            zone: "bl example",
            of: &["sender", "body"],
            families: &["ipv5"],
            codes: &["127.0.0.300", "127.0.0.9-2"],
            score: f64::NAN,
            requires: &["arc"],
            ..Words::default()
        });
        let words = [
            "the zone \"bl example\" is not a domain name",
            "of: \"body\" is none of sender, helo, rdns",
            "families: \"ipv5\" is none of ipv4, ipv6",
            "families is for lists of addresses: a list with `of` is one of names",
            "the score NaN is out of range: -1000 to 1000",
            "codes: \"127.0.0.300\": \"300\" is not an octet of 0 to 255",
            "codes: \"127.0.0.9-2\": the range \"9-2\" runs backwards",
            "requires: \"arc\" is none of dmarc, dkim, spf, fcrdns",
            "requires is for negative scores: there is none",
        ];
        assert_eq!(told, words);
    }

    #[test]
    fn limits() {
        let bl = Words {
            zone: "bl.example",
            score: 1.0,
            ..Words::default()
        };
        let long = ["abcdefg"; 23].join(".");
        let longer = ["abcdefg"; 26].join(".");
        let names = Words {
            zone: &longer,
            of: &["helo"],
            ..bl
        };
        assert!(faults(Words { zone: &long, ..bl }).is_empty() && faults(names).is_empty());
        let told = faults(Words {
            zone: &longer,
            ..bl
        });
        assert!(
            told.len() == 1 && told[0].contains("is too long"),
            "{told:?}"
        );
    }

    #[test]
    fn ranges() {
        let bl = Words {
            zone: "bl.example",
            score: 1.0,
            ..Words::default()
        };
        let filters = ["127.0.0.2"; FILTERS_MAX + 1];
        let entries = [EntryWords::default(); ENTRIES_MAX + 1];
        for (words, why) in [
            (
                Words {
                    codes: &filters,
                    ..bl
                },
                "at most 32 filters",
            ),
            (
                Words {
                    entries: &entries,
                    score: 0.0,
                    ..bl
                },
                "at most 32 entries",
            ),
            (
                Words {
                    entries: &entries[..1],
                    ..bl
                },
                "not both",
            ),
            (
                Words {
                    score: -1_000.5,
                    ..bl
                },
                "out of range",
            ),
            (
                Words {
                    score: f64::INFINITY,
                    ..bl
                },
                "out of range",
            ),
            (
                Words {
                    score: -1.0,
                    of: &["helo"],
                    ..bl
                },
                "needs requires",
            ),
            (
                Words {
                    errors: &["x"],
                    ..bl
                },
                "\"x\" is not an octet",
            ),
        ] {
            let told = faults(words);
            assert!(told.len() == 1 && told[0].contains(why), "{why}: {told:?}");
        }
        assert!(
            faults(Words { score: -1.0, ..bl }).is_empty(),
            "addresses can't be made up"
        );
    }

    #[test]
    fn sites_of_postscreen() {
        let site_of = |zone, filter, weight| {
            Ok(Site {
                zone,
                filter,
                weight,
            })
        };
        assert_eq!(site("zen.example.org"), site_of("zen.example.org", None, 1));
        assert_eq!(site("bl.example*2"), site_of("bl.example", None, 2));
        let wl = "list.dnswl.example=127.0.[0..255].[1..3]*-2";
        let filter = Some("127.0.[0..255].[1..3]");
        assert_eq!(site(wl), site_of("list.dnswl.example", filter, -2));
        for (text, why) in [
            ("", "not a domain name"),
            ("bl.example*x", "is no weight"),
            ("bl.example*99999", "is no weight"),
            ("bl.example=127.0.0.[9..2]", "runs backwards"),
            ("bl.example=", "is not an octet"),
        ] {
            let told = site(text).expect_err(text);
            assert!(told.contains(why), "{told}");
        }
    }

    proptest! {
        #[test]
        fn no_words_panic(zone_name in "\\PC{0,30}|[a-z{}.]{0,20}", key in "\\PC{0,20}|[a-z0-9]{24}", code in "\\PC{0,20}", score: f64) {
            let words = Words { zone: &zone_name, key: Some(&key), codes: &[&code], score, ..Words::default() };
            if let Ok(zone) = zone(&words) {
                let shown = zone.name.shows_key(&format!("{zone:?}"));
                prop_assert!(!shown || key.len() < 24);
            }
            let _ = site(&zone_name);
        }

        #[test]
        fn faults_hide_the_key(key in "[A-Z0-9!]{24}", zone_name in "[a-z.]{0,9}|(\\{key\\}\\.){1,2}[a-z]{1,5}") {
            let words = Words { zone: &zone_name, key: Some(&key), ..Words::default() };
            for fault in faults(words) {
                prop_assert!(!fault.contains(&key), "{}", fault);
            }
        }
    }
}
