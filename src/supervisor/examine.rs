//! What can be wrong with a configuration that is right by itself: the files that it leads to.
//!
//! `gatepost check` looks at them as the start and a reload do, and each fault has its place in the configuration.

use super::{
    candidate::{self, checks, rules},
    descriptors,
    exposed::{exposed, open_folders},
};
use crate::{
    auth,
    config::{ConfigSource, Draft, Loaded, Problem, Severity},
    policy::authentication::dkim::Signers,
    process::user,
    tls::{Error, Front, Identity, TlsFault},
    upstream,
};

/// Loads a configuration and looks at the certificates and keys that its listeners and pools name, at its rules and at its
/// accounts: also where the file itself has errors, so that all are told at once.
///
/// # Errors
/// Every problem that was found, warnings with them.
pub fn load(source: &ConfigSource) -> Result<Loaded, Vec<Problem>> {
    let mut draft = source.draft()?;
    let mut found = secrets(&draft);
    found.extend(process(&draft));
    let config = draft.config();
    let warn = |key: &str, problem, hint| draft.problem(Severity::Warning, key, problem, hint);
    for (key, problem, hint) in exposed(config) {
        found.push(warn(&key, problem, Some(hint)));
    }
    for (key, problem, hint) in open_folders(config) {
        found.push(warn(key, problem, Some(hint)));
    }
    found.extend(descriptors::check(&draft));
    found.extend(rules(&draft));
    found.extend(checks(&draft));
    if let Some(Err(of_candidate)) = candidate::load(config) {
        let message = "the candidate has errors, which are told as well".to_string();
        found.push(draft.problem(Severity::Error, "shadow_config", message, None));
        found.extend(of_candidate);
    }
    draft.add(found);
    draft.finish()
}

/// What is wrong with certificates, keys and accounts. What is told of their place already, such as that the file is not named,
/// leads to faults of its own here.
fn secrets(draft: &Draft) -> Vec<Problem> {
    let config = draft.config();
    let (shown, faults) = match Front::build(config, None) {
        Ok(front) => (front.store().all(), Vec::new()),
        Err(faults) => (Vec::new(), faults),
    };
    let (faults_of_pools, shown_to_pools) = upstream::look_at_tls(config);
    let shown = shown.into_iter().enumerate();
    let shown = shown.map(|(i, one)| (format!("certificate[{i}].chain"), one));
    let to_pools = shown_to_pools.into_iter();
    let to_pools = to_pools.map(|(i, one)| (format!("pool[{i}].tls_certificate"), one));
    let dated = shown.chain(to_pools);
    let dated = dated.filter_map(|(key, one)| dated_warning(draft, &key, &one));
    let faults = faults.into_iter().chain(faults_of_pools);
    let faults = faults.map(|TlsFault { key, error }| (key, error.problem, error.advice));
    let signers = Signers::build(&config.dkim).err().unwrap_or_default();
    let signers = signers.into_iter();
    let signers = signers.map(|fault| (fault.key, fault.problem, fault.advice));
    // A source may ask a pool.
    let sources = match draft.is_broken("pool") {
        true => Vec::new(),
        false => auth::faults(config),
    };
    let sources = sources.into_iter().map(|(key, why)| (key, why, None));
    let errors = faults.chain(signers).chain(sources);
    let errors = errors.filter(|(key, _, _)| !draft.is_told(key));
    let errors = errors.map(|(key, why, hint)| draft.problem(Severity::Error, &key, why, hint));
    dated.chain(errors).collect()
}

/// A certificate that has ended, ends soon or is not good yet. It stops neither the start nor a reload, and does not have `check`
/// fail, which scripts ask before a reload: the file is right, and mail goes on.
fn dated_warning(draft: &Draft, key: &str, one: &Identity) -> Option<Problem> {
    let Error { problem, advice } = one.warning_now()?;
    Some(draft.problem(Severity::Warning, key, problem, advice))
}

/// Whether the process can become the user that it shall run as.
fn process(draft: &Draft) -> Option<Problem> {
    let why = user::wanted(&draft.config().process).err()?;
    let (key, why) = why.split_once(':').unwrap_or(("process.user", &*why));
    let key = key.split(' ').next().unwrap_or(key);
    // The file may be checked by another user than the one that starts the service.
    let severity = match user::is_root() {
        true => Severity::Error,
        false => Severity::Warning,
    };
    let problem = draft.problem(severity, key, why.trim().to_string(), None);
    (!draft.is_told(key)).then_some(problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn told(more: &str) -> Vec<String> {
        let text = format!(
            "hostname = \"mx.example\"\n[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:25\"]\n{more}\n\
             [[pool]]\nname = \"mta\"\nbackends = [\"127.0.0.2:25\"]\n\
             [[route]]\ndomains = [\"example.net\"]\npool = \"mta\"\n"
        );
        let draft = config::draft("t.toml", &text);
        let draft = draft.unwrap_or_else(|found| panic!("{found:#?}"));
        let found = rules(&draft);
        assert!(draft.finish().is_ok(), "{more}");
        found.iter().map(Problem::brief).collect()
    }

    /// The least that a file needs.
    fn least(top: &str) -> String {
        format!(
            "{top}hostname = \"mx.example\"\n[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:25\"]\n\
             [[pool]]\nname = \"mta\"\nbackends = [\"127.0.0.2:25\"]\n\
             [[route]]\ndomains = [\"example.net\"]\npool = \"mta\"\n"
        )
    }

    /// What loading a whole file tells, briefly, without the file's name.
    fn loaded(top: &str, more: &str) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mx.toml");
        std::fs::write(&file, least(top) + more).expect("written");
        let source = ConfigSource {
            file: Some(file.clone()),
            ..ConfigSource::default()
        };
        let found = match load(&source) {
            Ok(loaded) => loaded.warnings,
            Err(found) => found,
        };
        let name = format!("{}:", file.display());
        let told = found
            .iter()
            .map(|problem| problem.brief().replace(&name, ""));
        told.collect()
    }

    #[test]
    fn a_mistake_in_a_list_of_the_dns_stops_the_check() {
        let told = loaded(
            "",
            "[[policy.dnsbl]]\nzone = \"bl.example\"\ncodes = [\"127.0.0.[2..11\"]\n",
        );
        assert_eq!(
            told,
            ["13:9: codes: \"127.0.0.[2..11\": a bracket is not closed"]
        );
    }

    #[test]
    fn a_mistake_is_told_where_it_stands_and_once() {
        let bad = "zone = \"bl.example\"\ncodes = [\"127.0.0.[2..11\"]\n";
        let says = "codes: \"127.0.0.[2..11\": a bracket is not closed";
        let list = "[[policy.list]]\nname = \"l\"\nentries = [\"192.0.2.1\"]\n";
        let profile = "[[profile]]\nname = \"p\"\nclass = \"partner\"\nlist = \"l\"\n";
        let more = format!("{list}{profile}[[profile.policy.dnsbl]]\n{bad}");
        assert_eq!(loaded("", &more), [format!("20:9: {says}")]);
        let strict = "[profile.policy]\npreset = \"strict\"\n";
        let more = format!("[[policy.dnsbl]]\n{bad}{list}{profile}{strict}");
        assert_eq!(loaded("", &more), [format!("13:9: {says}")]);

        let folder = tempfile::tempdir().expect("a folder");
        let candidate = folder.path().join("candidate.toml");
        let least = least("") + "[[policy.dnsbl]]\n" + bad;
        std::fs::write(&candidate, least).expect("written");
        let told = loaded(&format!("shadow_config = {candidate:?}\n"), "");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[1].ends_with(&format!("candidate.toml:13:9: {says}")),
            "{told:?}"
        );
    }

    #[test]
    fn checks_may_share_a_named_list() {
        let named = "[[policy.list]]\nname = \"partners\"\nentries = [\"192.0.2.0/24\", \"partner.example\"]\n";
        for kind in ["client_list", "helo_list", "sender_list", "recipient_list"] {
            let shares = format!("[[policy.{kind}]]\nname = \"p\"\nlist = \"partners\"\n");
            let none: [String; 0] = [];
            assert_eq!(loaded("", &format!("{named}{shares}")), none, "{kind}");
            let told = loaded("", &shares.replace("partners", "partner"));
            assert!(told.len() == 1 && told[0].contains("no list"), "{told:?}");
        }
    }

    #[test]
    fn a_mistake_in_a_rule_has_its_line_and_column() {
        let rule = |when: &str| {
            told(&format!(
                "[[policy.rule]]\nname = \"a\"\nthen = \"reject\"\nwhen = {when}"
            ))
        };
        let says = "int and string can't be compared with `>`; write a number without quotes";
        for (when, place) in [
            ("\"dnsbl_hits > 'x'\"", "8:9"),
            ("\"tls && dnsbl_hits > 'x'\"", "8:16"),
            ("\"\"\"\n  tls &&\n   dnsbl_hits > 'x'\"\"\"", "10:4"),
            ("'\'\'\ntls && dnsbl_hits > \"x\"\'\'\'", "9:8"),
            ("\"helo == \\\"ä\\\" && dnsbl_hits > 'x'\"", "8:26"),
        ] {
            assert_eq!(rule(when), [format!("t.toml:{place}: {says}")], "{when}");
        }
        let near = "there is no fact `client.adress`; did you mean `client.address`?";
        assert_eq!(
            rule("'client.adress == \"192.0.2.1\"'"),
            [format!("t.toml:8:9: {near}")]
        );
        assert_eq!(
            rule("'1 == 1'"),
            ["t.toml:8:8: the condition is always true"]
        );
        let reply = rule("'spf == \"fail\"'\nreply = '550 5.7.1 {recipient}'");
        assert!(
            reply.len() == 1
                && reply[0].contains("`recipient` is known at rcpt, and the rule is judged before there is one; a rule is judged once"),
            "{reply:?}"
        );
        let size = rule("'message.size > \"10MB\"'");
        assert!(
            size[0].ends_with("; write a size as bytes(\"10MiB\")"),
            "{size:?}"
        );
        let reply = rule("'tls'\nreply = '550 5.7.1 {helo} {hello}'");
        assert_eq!(
            reply,
            ["t.toml:9:27: there is no fact `hello`; did you mean `helo`?"]
        );
        let early = rule("'helo == \"a\"'\nat = 'connect'");
        assert_eq!(early.len(), 1);
        assert!(
            early[0].starts_with("t.toml:9:6: `helo` is known at helo, and not at connect"),
            "{early:?}"
        );
        assert_eq!(rule("'helo == \"a\"'"), [""; 0]);
        let shared = rule("'tls && rate_window(auth.account, 2, \"1d\")'");
        assert_eq!(
            shared,
            [
                "t.toml:8:28: `auth.account` may be empty: all mail without it would be counted together; write \
                 `has(auth.account) && …` before it, or add to the key what is always there"
            ]
        );
    }

    #[test]
    fn a_listeners_own_rules_are_looked_at_in_their_place() {
        let own = told("[[listener.policy.rule]]\nname = \"a\"\nthen = \"reject\"\nwhen = 'tsl'");
        assert_eq!(
            own,
            ["t.toml:8:9: there is no fact `tsl`; did you mean `tls`?"]
        );
        let never = told(
            "[[policy.list]]\nname = \"b\"\nentries = [\"a.example\"]\n[[policy.rule]]\nname = \"a\"\nthen = \"reject\"\nwhen = 'client.address in list(\"b\")'",
        );
        assert_eq!(never, ["t.toml:11:8: the condition is always false"]);
        let lists = told(
            "[[policy.list]]\nname = \"b\"\nentries = [\"a.example\"]\n[[policy.rule]]\nname = \"a\"\nthen = \"reject\"\nwhen = 'sender in list(\"zzzz\")'",
        );
        assert_eq!(
            lists,
            ["t.toml:11:24: there is no list \"zzzz\"; there is \"b\""]
        );
    }

    /// What is told of a rule with this condition.
    fn of_rule(when: &str, more: &str) -> Vec<String> {
        told(&format!(
            "[[policy.rule]]\nname = \"a\"\nthen = \"reject\"\nwhen = '{when}'\n{more}"
        ))
    }

    fn dnsbl(keys: &str) -> String {
        format!("[[policy.dnsbl]]\nzone = \"bl.example\"\n{keys}\n")
    }

    #[test]
    fn a_rule_that_reads_lists_in_the_dns_has_one_to_read() {
        let none = "add a list as a `[[policy.dnsbl]]`, or leave out";
        for (when, more, place, says) in [
            ("tls && dnsbl_hits > 1", "", "8:16", format!("`dnsbl_hits` is always 0; {none} `dnsbl_hits`")),
            ("has(dnsbl.zone)", "", "8:13", format!("`dnsbl.zone` is always empty; {none} `dnsbl.zone`")),
            (
                "tls",
                "reply = \"550 5.7.1 {dnsbl.zone}\"\n",
                "9:9",
                format!("`dnsbl.zone` is always empty; {none} `dnsbl.zone`"),
            ),
            (
                "dnsbl_hits > 1",
                &dnsbl("score = 2.0\nmode = \"off\""),
                "8:9",
                "`dnsbl_hits` is always 0; all lists of `policy.dnsbl` are off: write mode = \"on\", or mode = \"shadow\" to only watch".into(),
            ),
            (
                "dnsbl_hits > 1",
                &dnsbl("score = -2.0"),
                "8:9",
                "`dnsbl_hits` is always 0; lists with a negative `score` are not counted: add one that lists bad clients".into(),
            ),
            (
                "dnsbl.score > 1.0",
                &dnsbl("then = \"reject\""),
                "8:9",
                "`dnsbl.score` is always 0; give a list of `policy.dnsbl` a `score`".into(),
            ),
            (
                "dnsbl_hits > 0",
                &dnsbl("then = \"reject\"\nof = [\"sender\"]"),
                "8:9",
                "`dnsbl_hits` is always 0; the lists are asked about the sender, and the rule is judged at connect".into(),
            ),
        ] {
            let more = match when.starts_with("dnsbl_hits > 0") {
                true => format!("at = \"connect\"\n{more}"),
                false => more.to_string(),
            };
            assert_eq!(of_rule(when, &more), [format!("t.toml:{place}: {says}")], "{when} {more}");
        }
    }

    #[test]
    fn rules_that_lists_in_the_dns_can_feed_are_left_alone() {
        for (when, more) in [
            ("dnsbl_hits > 1", dnsbl("score = 2.0")),
            ("dnsbl_hits > 1", dnsbl("score = 2.0\nmode = \"shadow\"")),
            (
                "dnsbl_hits > 1",
                dnsbl("entries = [{ codes = [\"127.0.0.2\"], score = 1.0 }]"),
            ),
            ("dnsbl.score < -1.0", dnsbl("score = -2.0")),
            (
                "dnsbl_hits > 1",
                dnsbl("then = \"reject\"\nof = [\"sender\"]"),
            ),
            // The lists are those of one listener.
            (
                "dnsbl_hits > 1",
                dnsbl("score = 2.0").replace("policy", "listener.policy"),
            ),
        ] {
            assert_eq!(of_rule(when, &more), [""; 0], "{when} {more}");
        }
        // A list that could not be read may have been one.
        let rule = "[[policy.rule]]\nname = \"a\"\nthen = \"reject\"\nwhen = 'dnsbl_hits > 1'\n";
        let broken = loaded("", &format!("{rule}{}", dnsbl("score = \"high\"")));
        assert!(
            broken.len() == 1 && broken[0].contains("score"),
            "{broken:?}"
        );
    }

    #[test]
    fn rules_are_looked_at_where_other_things_are_wrong() {
        let more = "[limits]\nsessions = 0\n[[policy.rule]]\nname = \"a\"\nthen = \"greylist\"\nwhen = 'spf == 1'\n\
                    [[policy.rule]]\nname = \"b\"\nthen = \"drop\"\nat = \"soon\"\nwhen = 'tsl'\n\
                    [[policy.rule]]\nname = \"c\"\nwhen = ''\n\
                    [[policy.rule]]\nname = \"d\"\nthen = \"reject\"\nreply = '550 5.7.1 {hello}'\nat = \"connect\"\nwhen = 'header(\"To\") == \"\"'\n\
                    [[policy.dnsbl]]\nzone = \"bl.example\"\nthen = \"greylist\"\ncodes = [\"127.0.0.[2..11\"]\n";
        let told = loaded("", more);
        let starts = [
            "12:12: `sessions = 0`",
            "15:8: the greylist is off",
            "16:9: ",
            "19:8: `policy.rule[1].then` must be",
            "20:6: `policy.rule[1].at` must be",
            "21:9: there is no fact `tsl`",
            "24:8: `policy.rule[2]` has no condition",
            "22:1: `then = \"score\"` with a score of 0",
            "28:20: there is no fact `hello`",
            "29:6: the header is known at",
            "33:8: the greylist is off",
            "34:9: codes: ",
        ];
        let mut missing = starts.iter();
        let missing = missing.find(|start| !told.iter().any(|line| line.starts_with(**start)));
        assert_eq!((missing, told.len()), (None, starts.len()), "{told:#?}");
    }

    #[test]
    fn what_could_not_be_read_leads_to_no_other_error() {
        let told = loaded(
            "",
            "[policy.greylist]\nmode = \"onn\"\n[policy.helo.ours]\nthen = \"greylist\"\n[[policy.list]]\nname = 5\nentries = [\"192.0.2.1\"]\n\
             [[policy.client_list]]\nname = \"c\"\nlist = \"five\"\n\
             [[policy.rule]]\nname = \"a\"\nthen = \"reject\"\nwhen = 'client.address in list(\"five\")'\n\
             [[dkim]]\ndomain = \"example.net\"\nselector = \"s\"\nkey = 5\n",
        );
        let starts = [
            "12:8: `policy.greylist.mode` must be",
            "16:8: `policy.list[0].name` must be",
            "28:7: `dkim[0].key` must be",
        ];
        let all = starts
            .iter()
            .zip(&told)
            .all(|(start, line)| line.starts_with(start));
        assert!(all && told.len() == starts.len(), "{told:#?}");
    }

    #[test]
    fn more_than_a_hundred_are_counted() {
        let rules: String = (0..150)
            .map(|i| {
                format!("[[policy.rule]]\nname = \"r{i}\"\nthen = \"reject\"\nwhen = '1 == 1'\n")
            })
            .collect();
        let told = loaded(
            "",
            &format!("{rules}[[policy.rule]]\nname = \"last\"\nthen = \"reject\"\nwhen = 'tsl'\n"),
        );
        assert_eq!(told.len(), 101);
        assert_eq!(told[100].trim(), "51 more, which are not shown");
    }
}
