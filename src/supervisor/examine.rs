//! What can be wrong with a configuration that is right by itself: the files that it leads to.
//!
//! `gatepost check` looks at them as the start and a reload do, and each fault has its place in the configuration.

use super::{
    candidate::{self, checks, rules},
    exposed::{exposed, open_folders},
};
use crate::{
    auth,
    config::{ConfigSource, Loaded, Problem, Severity},
    policy::authentication::dkim::Signers,
    process::user,
    tls::{Front, TlsFault},
    upstream,
};

/// Loads a configuration and looks at the certificates and keys that its listeners and pools name, and at its accounts.
///
/// # Errors
/// Every problem that was found, warnings with them.
pub fn load(source: &ConfigSource) -> Result<Loaded, Vec<Problem>> {
    let mut loaded = source.load()?;
    let (ending, mut faults) = match Front::build(&loaded.config, None) {
        Ok(front) => (front.ending(), Vec::new()),
        Err(faults) => (Vec::new(), faults),
    };
    faults.extend(upstream::tls_faults(&loaded.config));
    let mut warnings: Vec<Problem> = ending
        .into_iter()
        .map(|line| loaded.problem(Severity::Warning, "certificate", line, None))
        .collect();
    let mut errors: Vec<Problem> = faults
        .into_iter()
        .map(|TlsFault { key, error }| {
            loaded.problem(Severity::Error, &key, error.problem, error.advice)
        })
        .collect();
    for fault in Signers::build(&loaded.config.dkim)
        .err()
        .unwrap_or_default()
    {
        errors.push(loaded.problem(Severity::Error, &fault.key, fault.problem, fault.advice));
    }
    if let Err(why) = user::wanted(&loaded.config.process) {
        let (key, why) = why.split_once(':').unwrap_or(("process.user", &*why));
        let key = key.split(' ').next().unwrap_or(key);
        let problem = |severity| loaded.problem(severity, key, why.trim().to_string(), None);
        // The file may be checked by another user than the one that starts the service.
        match user::is_root() {
            true => errors.push(problem(Severity::Error)),
            false => warnings.push(problem(Severity::Warning)),
        }
    }
    for (key, problem, hint) in exposed(&loaded.config) {
        warnings.push(loaded.problem(Severity::Warning, &key, problem, Some(hint)));
    }
    for (key, problem, hint) in open_folders(&loaded.config) {
        warnings.push(loaded.problem(Severity::Warning, key, problem, Some(hint)));
    }
    for (problem, is_warning) in rules(&loaded) {
        match is_warning {
            true => warnings.push(problem),
            false => errors.push(problem),
        }
    }
    errors.extend(checks(&loaded));
    if let Some(Err(found)) = candidate::load(&loaded.config) {
        let message = "the candidate has errors, which are told as well".to_string();
        errors.push(loaded.problem(Severity::Error, "shadow_config", message, None));
        errors.extend(found);
    }
    loaded.warnings.extend(warnings);
    let sources = auth::faults(&loaded.config).into_iter();
    let errors: Vec<Problem> = errors
        .into_iter()
        .chain(sources.map(|(key, why)| loaded.problem(Severity::Error, &key, why, None)))
        .collect();
    match errors.is_empty() {
        true => Ok(loaded),
        false => Err(loaded.warnings.into_iter().chain(errors).collect()),
    }
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
        let loaded = config::parse("t.toml", &text);
        let loaded = loaded.unwrap_or_else(|found| panic!("{found:#?}"));
        let found = rules(&loaded).into_iter();
        found.map(|(problem, _)| problem.brief()).collect()
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
    }

    #[test]
    fn a_listeners_own_rules_are_looked_at_in_their_place() {
        let own = told("[[listener.policy.rule]]\nname = \"a\"\nthen = \"reject\"\nwhen = 'tsl'");
        assert_eq!(
            own,
            ["t.toml:8:9: there is no fact `tsl`; did you mean `tls`?"]
        );
        let lists = told(
            "[[policy.list]]\nname = \"b\"\nentries = [\"a.example\"]\n[[policy.rule]]\nname = \"a\"\nthen = \"reject\"\nwhen = 'sender in list(\"zzzz\")'",
        );
        assert_eq!(
            lists,
            ["t.toml:11:24: there is no list \"zzzz\"; there is \"b\""]
        );
    }
}
