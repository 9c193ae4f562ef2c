//! What is judged and signed: each kind of mistake, and its help.

use crate::{one, problems, with};
use gatepost::config;

#[test]
fn checks_of_the_policy() {
    let header = |more: &str| {
        with(&format!(
            "[[policy.header]]\nname = \"h\"\nfield = \"Subject\"\n{more}\n"
        ))
    };
    one(
        &header("pattern = \"a(\""),
        "\"a(\"",
        "the pattern is no regular expression: unclosed group",
        "",
    );
    one(
        &header(""),
        "[[policy.header]]",
        "`when = \"matches\"` needs a `pattern`",
        "write pattern = '…', or when = \"present\"",
    );
    one(
        &header("when = \"absent\"\npattern = \"a\""),
        "\"a\"",
        "`pattern` has no effect with `when = \"absent\"`",
        "write when = \"matches\", or remove the pattern",
    );
    let list = |more: &str| with(&format!("[[policy.client_list]]\nname = \"l\"\n{more}\n"));
    one(
        &list("entries = [\"10.0.0.0/8\", \"300.1.1.1\"]"),
        "\"300.1.1.1\"",
        "\"300.1.1.1\" can't be an entry of this list",
        "write an address or a network like \"10.0.0.0/8\" or \"2001:db8::/32\"",
    );
    one(
        &list(""),
        "[[policy.client_list]]",
        "`policy.client_list[0]` is empty",
        "give it `entries` or `files`",
    );
    let ten = "entries = [\"10.0.0.0/8\"]\n";
    one(
        &list(&format!("{ten}score = 3")),
        "3",
        "`score` has no effect with `then = \"reject\"`",
        "write then = \"score\", or remove the score",
    );
    one(
        &list(&format!("{ten}reply = \"450 4.7.1 Later\"")),
        "\"450 4.7.1 Later\"",
        "a 4xx reply defers, it doesn't reject",
        "write 5xx, or then = \"defer\"",
    );
    one(
        &list(&format!("{ten}reply = \"550 4.7.1 No\"")),
        "\"550 4.7.1 No\"",
        "\"550 4.7.1 No\" is no reply",
        "the enhanced code of 550 starts with 5, not 4",
    );
    one(
        &with("[policy.relay]\nmode = \"shadow\"\n"),
        "\"shadow\"",
        "`relay` with `mode = \"shadow\"` is an open relay",
        "put the clients that may relay into `trusted`",
    );
    one(
        &with("[policy.client_rate]\nthen = \"score\"\n"),
        "\"score\"",
        "a rate can't `score`",
        "use \"defer\", \"reject\" or \"close\", or `mode = \"shadow\"` to only watch",
    );
}

#[test]
fn reports_are_those_of_all() {
    let reports = |part: &str| {
        format!("[{part}.policy.dmarc.reports]\ndirectory = \"/tmp\"\nemail = \"a@b.example\"\n")
    };
    let profile = "[[profile]]\nname = \"p\"\nclass = \"stranger\"\n";
    let listener = "[[listener]]\nname = \"b\"\naddress = [\"127.0.0.1:2526\"]\n";
    for (table, part) in [(profile, "profile"), (listener, "listener")] {
        let found = problems(&with(&format!("{table}{}", reports(part))));
        assert!(
            found.len() == 1 && found[0].message == "reports are those of all listeners",
            "{found:#?}"
        );
    }
}

#[test]
fn the_greylist_is_for_what_is_judged_by_rcpt() {
    let on = "[policy.greylist]\nmode = \"on\"\n";
    let list =
        "[[policy.dnsbl]]\nzone = \"good.example\"\nof = [\"sender\"]\nthen = \"greylist\"\n";
    let late = [
        "[policy.dkim]\nfail = \"greylist\"\n".to_string(),
        "[policy.dmarc]\nquarantine = \"greylist\"\n".into(),
        "[policy.loop]\nthen = \"greylist\"\n".into(),
        "[policy.header_size]\nthen = \"greylist\"\n".into(),
        "[policy.identity.from]\nthen = \"greylist\"\n".into(),
        "[[policy.header]]\nname = \"h\"\nfield = \"X\"\nwhen = \"present\"\nthen = \"greylist\"\n"
            .into(),
        format!("{list}requires = [\"dkim\"]\n"),
    ];
    for late in late {
        one(
            &with(&format!("{on}{late}")),
            "\"greylist\"",
            "the greylist is asked at RCPT, before there is a header",
            "write a score, or \"defer\"",
        );
    }
    for early in [
        list,
        "[policy.spf]\nfail = \"greylist\"\n",
        "[policy.helo.unqualified]\nthen = \"greylist\"\n",
    ] {
        assert!(
            problems(&with(&format!("{on}{early}"))).is_empty(),
            "{early}"
        );
        let off = problems(&with(early));
        assert!(
            off.len() == 1 && off[0].message == "the greylist is off",
            "{off:?}"
        );
    }
}

#[test]
fn a_signature_for_trusted_servers_that_pass_on_mail_of_strangers() {
    let table = "[[dkim]]\ndomain = \"example.net\"\nselector = \"s1\"\nkey = \"/etc/s1.pem\"\n\
        [limits]\nmessage_size = \"32MiB\"\n";
    let file = |trusted: &str, role: &str, clients: &str| {
        let text = with(table)
            .replace("[[listener]]", &format!("{trusted}\n[[listener]]\n{role}"))
            .replace("[limits]", &format!("{clients}\n[limits]"));
        problems(&text)
            .into_iter()
            .filter(|problem| problem.message.contains("of strangers"))
            .count()
    };
    let (network, both) = (
        "trusted = [\"127.0.0.1\", \"10.0.0.0/8\"]",
        "clients = [\"authenticated\", \"trusted\"]",
    );
    let submission = "role = \"submission\"\n";
    assert_eq!(file(network, "", both), 1);
    assert_eq!(file("", "", both), 0, "this machine alone is trusted");
    assert_eq!(
        file(network, submission, both),
        0,
        "strangers can't send here"
    );
    assert_eq!(file(network, "", ""), 0, "only accounts are signed for");
}

#[test]
fn warnings_that_say_nothing_are_left_out() {
    let dkim = "[[dkim]]\ndomain = \"example.net\"\nselector = \"s\"\nkey = { file = \"k.pem\" }\n";
    assert_eq!(problems(&with(dkim)), []);
    let own = problems(&with(&format!(
        "{dkim}[limits]\nmessage_size = \"40MiB\"\n"
    )));
    assert!(
        own.len() == 1 && own[0].message.ends_with("are not signed"),
        "{own:#?}"
    );
    // Of a file without a listener, which quarantine is asked for can't be told.
    let pool = "[[pool]]\nname = \"quarantine\"\nbackends = [\"127.0.0.1:2601\"]\n[policy.quarantine]\npool = \"quarantine\"\n";
    assert_eq!(problems(&with(pool)), []);
    let text = with(pool);
    let (start, end) = (
        text.find("[[listener]]").unwrap(),
        text.find("[[pool]]").unwrap(),
    );
    let found = problems(&text.replace(&text[start..end], ""));
    assert!(found.iter().all(config::Problem::is_error), "{found:#?}");
}

#[test]
fn help_fits_the_mistake() {
    let profile =
        "[[profile]]\nname = \"p\"\nclass = \"partner\"\ncertificates = [\"x.example\"]\n";
    one(
        &with(&format!("{profile}reject_score = 5.0\n")),
        "reject_score",
        "unknown key `reject_score` in `[[profile]]`",
        "that key belongs in `[profile.policy]`",
    );
    one(
        &with("[policy.helo]\nunqualified = \"reject\"\n"),
        "\"reject\"",
        "`policy.helo.unqualified` must be a table, not text",
        "write it as a section of its own, `[policy.helo.unqualified]`, or in one line: { then = VALUE }",
    );
    let spf = |word: &str| {
        problems(&with(&format!("[policy.spf]\nfail = {word}\n")))[0]
            .hint
            .clone()
    };
    assert_eq!(
        spf("\"Reject\"").as_deref(),
        Some("did you mean \"reject\"?")
    );
    assert_eq!(
        spf("\"2.5\"").as_deref(),
        Some("a score is a number without quotes")
    );
    assert_eq!(spf("\"discard\""), None);
    let list = "[[policy.client_list]]\nname = \"c\"\nentries = [\"198.51.100.0/24     reject\"]\n";
    one(
        &with(list),
        "\"198.51.100.0/24     reject\"",
        "\"198.51.100.0/24     reject\" can't be an entry of this list",
        "write \"198.51.100.0/24\" alone: what is done with all entries is the list's `then`",
    );
}

#[test]
fn lists_that_never_match() {
    let named = "[[policy.list]]\nname = \"names\"\nentries = [\"a.example\"]\n";
    one(
        &with(&format!(
            "{named}[[policy.client_list]]\nname = \"c\"\nlist = \"names\"\n"
        )),
        "\"names\"",
        "the list \"names\" has no address, so no client is in it",
        "",
    );
    one(
        &with("[[policy.recipient_list]]\nname = \"r\"\nentries = [\"abuse\"]\n"),
        "\"abuse\"",
        "\"abuse\" is taken for a domain",
        "write \"abuse@example.net\", or \"/^abuse@/\" for all domains",
    );
}

#[test]
fn limits_by_which_as_much_is_signed_as_by_default_are_not_spoken_of() {
    let dkim = "[[dkim]]\ndomain = \"example.net\"\nselector = \"s\"\nkey = \"k.pem\"\n";
    let limits = config::Limits::default();
    let all = format!(
        "message_size = \"{}\"\nsigning_window = \"{}\"\nbody_memory = \"{}\"\n",
        limits.message_size, limits.signing_window, limits.body_memory
    );
    for limits in ["window = \"128KiB\"\n", &all] {
        let found = problems(&with(&format!("{dkim}[limits]\n{limits}")));
        assert_eq!(found, [], "{limits}");
    }
}

#[test]
fn entries_that_could_not_be_read_lead_to_no_warning() {
    let list = "[[policy.list]]\nname = \"l\"\nentries = \"192.0.2.1\"\n";
    let client = "[[policy.client_list]]\nname = \"c\"\nlist = \"l\"\n";
    one(
        &with(&format!("{list}{client}")),
        "\"192.0.2.1\"",
        "`policy.list[0].entries` must be a list, not the text \"192.0.2.1\"",
        "write [\"192.0.2.1\"]",
    );
    // The warning is about one list: another that could not be read changes nothing.
    let names = "[[policy.list]]\nname = \"names\"\nentries = [\"a.example\"]\n";
    let client = client.replace("\"l\"", "\"names\"");
    let found = problems(&with(&format!("{list}{names}{client}")));
    assert!(
        found.len() == 2 && found[1].message.contains("has no address"),
        "{found:#?}"
    );
}
