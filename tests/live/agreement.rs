//! Others judge the same messages: opendkim the signatures, opendmarc's library the policies. Where they come to something else,
//! the case says which RFC is on our side.
//!
//! Messages, and the keys that they are signed with, are in `tests/data/agreement`. Our word is that of `gatepost explain`, which
//! takes the DNS from the same file; both others have ways to be told what the DNS says.

use crate::{
    harness::{free_address, leave_out, need},
    postfix::runs,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const MESSAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/agreement");
const CLIENT: &str = "93.184.216.34";
const CONFIG: &str = "hostname = \"edge.example\"\n[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:2525\"]\n\
    [[pool]]\nname = \"cluster\"\nbackends = [\"127.0.0.1:2600\"]\n\
    [[route]]\ndomains = [\"example.net\"]\npool = \"cluster\"\nrecipients = \"accept\"\n\
    [policy.dmarc]\nreject = \"reject\"\nquarantine = \"defer\"\n";

/// What opendkim says otherwise, and why it is wrong.
const SIGNATURES: &[(&str, &str)] = &[(
    "sha1",
    "RFC 8301 section 3.1: \"rsa-sha1 MUST NOT be used for signing or verifying\"",
)];

/// Asks `libopendmarc`: its result, and whether DKIM and SPF are aligned.
const OPENDMARC: &str = r#"
import ctypes, json, sys
case = json.loads(sys.argv[1])
lib = ctypes.CDLL("libopendmarc.so.2")
pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
lib.opendmarc_policy_connect_init.restype = pointer
for name, arguments in {
    "policy_connect_init": [text, number],
    "policy_store_from_domain": [pointer, text],
    "policy_store_spf": [pointer, text, number, number, text],
    "policy_store_dkim": [pointer, text, text, number, text],
    "policy_query_dmarc": [pointer, text],
    "get_policy_to_enforce": [pointer],
    "policy_fetch_alignment": [pointer, pointer, pointer],
    "dns_fake_record": [text, text],
}.items():
    getattr(lib, "opendmarc_" + name).argtypes = arguments
assert lib.opendmarc_tld_read_file(case["suffixes"].encode(), b"//", b"*.", b"!") == 0
for name, record in case["records"]:
    lib.opendmarc_dns_fake_record(name.encode(), record.encode())
context = lib.opendmarc_policy_connect_init(b"192.0.2.1", 4)
author = case["author"].encode()
lib.opendmarc_policy_store_from_domain(context, author)
if case["spf"]:
    lib.opendmarc_policy_store_spf(context, case["spf"].encode(), 1, 1, None)
for domain in case["dkim"]:
    lib.opendmarc_policy_store_dkim(context, domain.encode(), b"long", 1, None)
lib.opendmarc_policy_query_dmarc(context, author)
result = lib.opendmarc_get_policy_to_enforce(context)
print({14: "none", 15: "pass", 16: "reject", 17: "quarantine", 18: "fail"}[result])
"#;

/// What `gatepost explain` finds of a message.
fn explained(
    folder: &Path,
    answers: &str,
    sender: &str,
    message: &Path,
) -> (i32, BTreeMap<String, (String, String)>) {
    let (config, file) = (folder.join("edge.toml"), folder.join("answers"));
    fs::write(&config, CONFIG).expect("written");
    fs::write(&file, answers).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args([
            "explain",
            "--json",
            "--client",
            CLIENT,
            "--helo",
            "mx.helo.example",
        ])
        .args(["--to", "b@example.net", "--from", sender, "-c"])
        .arg(config)
        .arg("--answers")
        .arg(file)
        .arg(message)
        .output()
        .expect("runs");
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_string();
    let found = said["found"].as_array().expect("an array").iter();
    let found = found.map(|one| {
        (
            text(&one["name"]),
            (text(&one["result"]), text(&one["detail"])),
        )
    });
    (output.status.code().unwrap_or(-1), found.collect())
}

fn keys() -> String {
    fs::read_to_string(Path::new(MESSAGES).join("answers")).expect("it is there")
}

fn messages() -> Vec<PathBuf> {
    let files = fs::read_dir(MESSAGES).expect("it is there").flatten();
    let files = files.map(|file| file.path());
    let mut all: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|end| end == "eml"))
        .collect();
    all.sort_unstable();
    all
}

fn name(message: &Path) -> &str {
    message
        .file_stem()
        .and_then(|name| name.to_str())
        .expect("a name")
}

/// A text as Lua writes it.
fn quoted(text: &str) -> String {
    let octet = |octet: u8| match octet {
        b'"' | b'\\' | 0..=31 | 127.. => format!("\\{octet:03}"),
        _ => char::from(octet).to_string(),
    };
    format!("\"{}\"", text.bytes().map(octet).collect::<String>())
}

/// Has opendkim verify all messages: the domains whose signatures hold, by the message's name.
fn opendkim() -> Option<BTreeMap<String, Vec<String>>> {
    let (opendkim, miltertest) = (need("opendkim")?, need("miltertest")?);
    let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
    let path = |name: &str| folder.path().join(name);
    let records = keys();
    let records = records
        .lines()
        .filter_map(|line| line.split_once(" TXT \""));
    let records: String = records
        .map(|(name, text)| format!("{name} {}\n", text.trim_end_matches('"')))
        .collect();
    fs::write(path("records"), records).expect("written");
    let socket = format!("inet:{}@{}", address.port(), address.ip());
    let config = format!(
        "Mode v\nSocket {socket}\nTestDNSData file:{}\nAuthservID opendkim\nAlwaysAddARHeader yes\nSyslog no\n\
         Background no\n",
        path("records").display()
    );
    fs::write(path("conf"), config).expect("written");
    let mut script = format!(
        "mt.startfilter({}, \"-f\", \"-x\", {})\n",
        quoted(&opendkim.display().to_string()),
        quoted(&path("conf").display().to_string())
    );
    for message in messages() {
        let text = fs::read_to_string(&message).expect("UTF-8");
        let (header, body) = text.split_once("\n\n").expect("a body");
        let mut say = |line: String| writeln!(script, "{line}").expect("a string");
        say(format!("c = mt.connect({}, 200, 0.05)", quoted(&socket)));
        say("if c == nil then error(\"opendkim does not listen\") end".into());
        say(format!("mt.conninfo(c, \"mx.helo.example\", \"{CLIENT}\")"));
        say("mt.mailfrom(c, \"<a@a.example>\") mt.rcptto(c, \"<b@example.net>\")".into());
        let mut fields: Vec<String> = Vec::new();
        for line in header.lines() {
            match fields.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
                Some(field) => *field += &format!("\n{line}"),
                None => fields.push(line.into()),
            }
        }
        for field in fields {
            let (name, value) = field.split_once(':').expect("a field");
            // A mail server leaves the first space out, unless a filter has asked for it.
            let value = value.strip_prefix(' ').unwrap_or(value);
            say(format!("mt.header(c, {}, {})", quoted(name), quoted(value)));
        }
        say(format!(
            "mt.eoh(c) mt.bodystring(c, {}) mt.eom(c)",
            quoted(&body.replace('\n', "\r\n"))
        ));
        say("result = tostring(mt.getheader(c, \"Authentication-Results\", 0))".into());
        say(format!(
            "print({} .. \" \" .. string.gsub(result, \"%s+\", \" \")) mt.disconnect(c)",
            quoted(name(&message))
        ));
    }
    fs::write(path("script"), script).expect("written");
    let said = runs(Command::new(miltertest).arg("-s").arg(path("script")));
    let held = said.lines().filter_map(|line| {
        let (name, results) = line.split_once(' ')?;
        let passed = results
            .split("; ")
            .filter(|result| result.starts_with("dkim=pass"));
        let domains =
            passed.filter_map(|result| result.split("header.d=").nth(1)?.split(' ').next());
        Some((name.to_string(), domains.map(str::to_string).collect()))
    });
    Some(held.collect())
}

#[test]
fn opendkim_believes_the_same_signatures() {
    let Some(theirs) = opendkim() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (mut held, mut broken) = (0, 0);
    for message in messages() {
        let (_, found) = explained(folder.path(), &keys(), "a@sender.example", &message);
        let (_, domains) = &found["dkim"];
        let mut ours: Vec<String> = domains.split_whitespace().map(str::to_string).collect();
        let name = name(&message);
        let mut theirs = theirs.get(name).cloned().unwrap_or_default();
        ours.sort_unstable();
        theirs.sort_unstable();
        match SIGNATURES.iter().find(|(of, _)| *of == name) {
            Some((_, why)) => assert_ne!(ours, theirs, "{name}: they agree now, and {why}"),
            None => assert_eq!(ours, theirs, "{name}: {:?}", found["dkim"]),
        }
        held += usize::from(!ours.is_empty());
        broken += usize::from(ours.is_empty());
    }
    assert!(held >= 15 && broken >= 15, "{held} hold, {broken} don't");
}

/// A message, what the DNS says of its author, and for which domain SPF passes.
struct Case {
    message: &'static str,
    author: &'static str,
    /// By domain.
    records: &'static [(&'static str, &'static str)],
    spf: &'static str,
    /// What both say; or what we say, what opendmarc says, and why.
    result: Result<&'static str, (&'static str, &'static str, &'static str)>,
}

const fn case(
    message: &'static str,
    author: &'static str,
    records: &'static [(&'static str, &'static str)],
    spf: &'static str,
    result: &'static str,
) -> Case {
    Case {
        message,
        author,
        records,
        spf,
        result: Ok(result),
    }
}

/// The author's domain lies below these records, for a mistake of opendmarc's (the last case) concerns those that don't.
const REJECT: &[(&str, &str)] = &[("a.example", "v=DMARC1; p=reject")];
const STRICT: &[(&str, &str)] = &[("a.example", "v=DMARC1; p=reject; aspf=s; adkim=s")];
const ELSEWHERE: &str = "mail.elsewhere.example";
/// What is wrong in opendmarc 1.4.2.
const SUFFIX: &str = "RFC 9989 section 4.4: the organizational domains must be the same; opendmarc takes the public suffix for \
                      that of a domain right below it, and so believes all that is below the suffix";
/// SPF proves nothing.
const NO_SPF: &str = "";

const CASES: &[Case] = &[
    // SPF: the same domain, one below, above and beside, strict, elsewhere.
    case("unsigned", "x.a.example", REJECT, "x.a.example", "pass"),
    case("unsigned", "x.a.example", REJECT, "y.x.a.example", "pass"),
    case("unsigned", "x.a.example", REJECT, "a.example", "pass"),
    case("unsigned", "x.a.example", REJECT, "other.a.example", "pass"),
    case("unsigned", "x.a.example", STRICT, "x.a.example", "pass"),
    case("unsigned", "x.a.example", STRICT, "y.x.a.example", "reject"),
    case(
        "unsigned",
        "x.a.example",
        STRICT,
        "other.a.example",
        "reject",
    ),
    case("unsigned", "x.a.example", REJECT, ELSEWHERE, "reject"),
    case(
        "unsigned",
        "x.a.example",
        &[("a.example", "v=DMARC1; p=quarantine")],
        ELSEWHERE,
        "quarantine",
    ),
    case(
        "unsigned",
        "x.a.example",
        &[("a.example", "v=DMARC1; p=none")],
        ELSEWHERE,
        "fail",
    ),
    case("unsigned", "a.example", REJECT, NO_SPF, "reject"),
    // DKIM: the same.
    case("relaxed-relaxed", "a.example", REJECT, NO_SPF, "pass"),
    case("relaxed-relaxed", "a.example", STRICT, NO_SPF, "pass"),
    case("body-changed", "a.example", REJECT, NO_SPF, "reject"),
    case("expired", "a.example", REJECT, NO_SPF, "reject"),
    case("author-above", "a.example", REJECT, NO_SPF, "pass"),
    case("author-below", "news.a.example", REJECT, ELSEWHERE, "pass"),
    case(
        "author-below",
        "news.a.example",
        STRICT,
        ELSEWHERE,
        "reject",
    ),
    case("two-both-hold", "a.example", STRICT, NO_SPF, "pass"),
    // One of both is enough.
    case(
        "author-below",
        "news.a.example",
        STRICT,
        "news.a.example",
        "pass",
    ),
    case("body-changed", "a.example", REJECT, "a.example", "pass"),
    // The policy for names below, and one of their own.
    case(
        "author-below",
        "news.a.example",
        &[("a.example", "v=DMARC1; p=reject; sp=none; adkim=s")],
        ELSEWHERE,
        "fail",
    ),
    case(
        "author-below",
        "news.a.example",
        &[("a.example", "v=DMARC1; p=none; sp=quarantine; adkim=s")],
        ELSEWHERE,
        "quarantine",
    ),
    case(
        "author-below",
        "news.a.example",
        &[
            ("a.example", "v=DMARC1; p=reject"),
            ("news.a.example", "v=DMARC1; p=none; adkim=s"),
        ],
        ELSEWHERE,
        "fail",
    ),
    // Records that are none.
    case("unsigned", "x.a.example", &[], ELSEWHERE, "none"),
    case(
        "unsigned",
        "x.a.example",
        &[("a.example", "v=DMARC2; p=reject")],
        ELSEWHERE,
        "none",
    ),
    case(
        "unsigned",
        "x.a.example",
        &[("a.example", "v=DMARC1; p=bogus")],
        ELSEWHERE,
        "none",
    ),
    case(
        "unsigned",
        "x.a.example",
        &[("a.example", "v=DMARC1; p=reject; unknown=x")],
        ELSEWHERE,
        "reject",
    ),
    // What RFC 9989 has changed since opendmarc was written, and one mistake.
    Case {
        message: "unsigned",
        author: "x.a.example",
        records: &[("a.example", "v=DMARC1; p=reject; t=y")],
        spf: ELSEWHERE,
        result: Err((
            "quarantine",
            "reject",
            "RFC 9989 section 4.7 has t=y, one level less than is asked for; RFC 7489 has no such tag",
        )),
    },
    Case {
        message: "author-below",
        author: "news.a.example",
        records: &[("a.example", "v=DMARC1; p=reject; np=none; adkim=s")],
        spf: ELSEWHERE,
        result: Err((
            "fail",
            "reject",
            "RFC 9989 section 4.7 has np= for subdomains that don't exist; RFC 7489 has no such tag",
        )),
    },
    Case {
        message: "unsigned",
        author: "a.example",
        records: REJECT,
        spf: ELSEWHERE,
        result: Err(("reject", "pass", SUFFIX)),
    },
    Case {
        message: "author-elsewhere",
        author: "x.b.example",
        records: &[("b.example", "v=DMARC1; p=reject")],
        spf: NO_SPF,
        result: Err(("reject", "pass", SUFFIX)),
    },
];

/// The message; an unsigned one is given this author.
fn by(message: &str, author: &str, folder: &Path) -> PathBuf {
    let path = Path::new(MESSAGES).join(format!("{message}.eml"));
    let text = fs::read_to_string(&path).expect("UTF-8");
    if text.contains(&format!("From: Ann <ann@{author}>")) {
        return path;
    }
    assert_eq!(message, "unsigned", "its author is signed");
    let text = text.replace("ann@a.example>\nTo", &format!("ann@{author}>\nTo"));
    let path = folder.join("message");
    fs::write(&path, text).expect("written");
    path
}

#[test]
fn opendmarc_comes_to_the_same_policies() {
    let python = Path::new("/usr/bin/python3");
    let folder = tempfile::tempdir().expect("a folder");
    let suffixes = folder.path().join("suffixes");
    fs::write(&suffixes, "example\n").expect("written");
    let has_library = |python: &Path| {
        let mut command = Command::new(python);
        let load = "import ctypes; ctypes.CDLL('libopendmarc.so.2')";
        command
            .args(["-c", load])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if !has_library(python) {
        return leave_out("the comparison with opendmarc: its library or Python is not installed");
    }
    for case in CASES {
        let records = case.records.iter();
        let records: Vec<(String, &str)> = records
            .map(|(domain, text)| (format!("_dmarc.{domain}"), *text))
            .collect();
        let mut answers = keys();
        for (name, text) in &records {
            writeln!(answers, "{name} TXT \"{text}\"").expect("a string");
        }
        let mut sender = String::new();
        if !case.spf.is_empty() {
            writeln!(answers, "{} TXT \"v=spf1 ip4:{CLIENT} -all\"", case.spf).expect("a string");
            sender = format!("bounces@{}", case.spf);
        }
        let message = by(case.message, case.author, folder.path());
        let (code, found) = explained(folder.path(), &answers, &sender, &message);
        let ours = match (&*found["dmarc"].0, code) {
            ("fail", 77) => "reject",
            ("fail", 75) => "quarantine",
            (result, _) => result,
        };
        let dkim: Vec<&str> = found["dkim"].1.split_whitespace().collect();
        let question = json!({
            "suffixes": suffixes,
            "records": records,
            "author": case.author,
            "spf": case.spf,
            "dkim": dkim,
        });
        let theirs = runs(
            Command::new(python)
                .args(["-c", OPENDMARC])
                .arg(question.to_string()),
        );
        let expected = match case.result {
            Ok(both) => (both, both, ""),
            Err(argued) => argued,
        };
        assert_eq!(
            (ours, theirs.trim()),
            (expected.0, expected.1),
            "{} of {} with {:?}, SPF of {}; {}",
            case.message,
            case.author,
            case.records,
            case.spf,
            expected.2
        );
    }
}
