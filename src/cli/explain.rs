//! `gatepost explain`.

use super::{
    explained,
    load::{Flags, complain, load},
    output::{exit, harmless, say},
};
use clap::{Args, ValueEnum};
use gatepost::supervisor::explain::{Bench, Described, Fate, Recorded, unix_seconds};
use jiff::Timestamp;
use std::{fs, io::Read, net::IpAddr, path::PathBuf, process::ExitCode};

pub const HELP: &str = "\
Examples:
  gatepost explain -c mx.toml 1MGA4ZJQH0001
  gatepost explain --admin 127.0.0.1:9025 1MGA4ZJQH0001
  gatepost explain -c mx.toml --shadow
  gatepost explain -c mx.toml --client 192.0.2.7 --helo mx.a.example --from a@a.example --to b@example.net
  gatepost explain -c mx.toml --client 192.0.2.7 --from a@a.example --to b@example.net message.eml
  gatepost explain -c mx.toml --client 192.0.2.7 --from a@a.example --to b@example.net --answers dns.txt --json

With an id and no --client, --from and --to, the running process is asked, at its admin endpoint: why the message or the session
with this id in its log line was treated so. It keeps the last `admin.explanations`. Without a file (-c), --admin says where
it is; where the endpoint asks for a token, the file says which.

Otherwise a message is judged that you describe. This asks the DNS as the proxy would, and sends nothing: no backend is asked about
the recipient. Rates and limits on sessions are those of a first client. Without a message, one with an ordinary header is judged,
and neither DKIM nor DMARC are.

A client logs in (--login) after EHLO: until then it is judged as a stranger. It needs --tls where the listener's
`auth_requires_tls` says so, and an account that is in the file of `credentials`. Other sources are not asked, as they want the
password: an account of theirs owns the addresses that its name says. Where the listener has no `auth`, the login is one
that a proxy has named by XCLIENT.

A line of the file for --answers has a name, a type (A, AAAA, MX, PTR, TXT) and a record, as in a zone file (a TTL and IN may
stand before the type, and the texts of a TXT record in parentheses over several lines); or NODATA, NXDOMAIN, SERVFAIL, BOGUS
or TIMEOUT in place of the record. What it does not name does not exist; `* TIMEOUT` changes that. The key of a
list is written {key}.

Exit codes for an id: 0 it is known, 65 it is not. For a message: 0 the message is accepted, 75 it is deferred (4xx), 77 it is refused (5xx); others as `gatepost --help` says.";

/// The message was put off.
const DEFERRED: u8 = 75;
/// The message was refused.
const REFUSED: u8 = 77;
/// Octets of a message, or of a file of answers, that are read.
const FILE_MAX: u64 = 256 << 20;

/// The message that is asked about.
#[derive(Args, Debug)]
pub struct Explain {
    #[command(flatten)]
    flags: Flags,
    /// The client's address.
    #[arg(long, value_name = "ADDRESS", requires = "from", requires = "to")]
    client: Option<IpAddr>,
    /// The name that the client says in EHLO. Without it: its address in brackets.
    #[arg(long, value_name = "NAME")]
    helo: Option<String>,
    /// The sender (MAIL FROM); empty for a bounce.
    #[arg(long, value_name = "ADDRESS", requires = "client")]
    from: Option<String>,
    /// The recipient (RCPT TO); may be given several times.
    #[arg(long, value_name = "ADDRESS", requires = "client")]
    to: Vec<String>,
    /// The account that the client logs in as, with the right password.
    #[arg(long, visible_alias = "auth", value_name = "ACCOUNT")]
    login: Option<String>,
    /// The client talks before it is greeted.
    #[arg(long)]
    early_talk: bool,
    /// The client speaks TLS; 1.3 unless 1.2 is given.
    #[arg(long, value_name = "VERSION", num_args = 0..=1, require_equals = true, default_missing_value = "1.3")]
    tls: Option<TlsVersion>,
    /// Judge as at this time, in RFC 3339: 2026-11-27T12:00:00Z. Without it: now.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// The listener that the client connects to. Without it: the first one.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Take the answers of the DNS from this file, and ask no server.
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// List the latest messages that the candidate of `shadow_config` would have treated otherwise.
    #[arg(long, conflicts_with_all = ["client", "message"])]
    shadow: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    /// The message, header and body; `-` for standard input. Or the id in a log line.
    #[arg(value_name = "MESSAGE|ID", required_unless_present_any = ["client", "shadow"])]
    message: Option<PathBuf>,
}

/// A version of TLS that a client may speak.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum TlsVersion {
    #[value(name = "1.2")]
    V12,
    #[value(name = "1.3")]
    V13,
}

impl TlsVersion {
    const fn as_str(self) -> &'static str {
        match self {
            TlsVersion::V12 => "TLSv1.2",
            TlsVersion::V13 => "TLSv1.3",
        }
    }
}

/// Prints why a message was treated so, or the verdict for one that is described.
pub fn explain(asked: Explain) -> ExitCode {
    let told = match asked.client {
        Some(client) => run(asked, client),
        None if asked.shadow => explained::differences(asked.flags, asked.json),
        None => {
            let id = asked.message.unwrap_or_default();
            explained::one(&id.to_string_lossy(), asked.flags, asked.json)
        }
    };
    match told {
        Ok(code) => code,
        Err((code, why)) => {
            // It may be what another process answered.
            eprintln!("gatepost: {}", harmless(&why));
            code.into()
        }
    }
}

fn run(asked: Explain, client: IpAddr) -> Result<ExitCode, (u8, String)> {
    let recorded = match &asked.answers {
        None => None,
        Some(file) => {
            let text = String::from_utf8(read(file)?);
            let text = text.map_err(|_| (exit::DATA, format!("{}: it is no text", file.display())));
            let read = Recorded::parse(&text?);
            Some(read.map_err(|why| (exit::DATA, format!("{}: {why}", file.display())))?)
        }
    };
    let from = asked.from.unwrap_or_default();
    let message = match &asked.message {
        Some(file) => lines(read(file)?),
        None => made_up(&from, &asked.to).into_bytes(),
    };
    let loaded = match load(&asked.flags.source(), complain) {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    let bench = Bench::new(loaded.config).map_err(|why| (exit::CONFIG, why.to_string()))?;
    let listener = place(&bench, asked.listener.as_deref())?;
    if asked.login.is_some() && !bench.takes_logins(listener) {
        eprintln!(
            "gatepost: listener {} has no `auth`: the message is judged as if a proxy had named the login (`xclient_from`)",
            bench.listener(listener)
        );
    }
    let hello = asked.helo.unwrap_or_else(|| match client {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    });
    let bare = |path: &str| {
        let inside = path
            .strip_prefix('<')
            .and_then(|path| path.strip_suffix('>'));
        inside.unwrap_or(path).to_string()
    };
    let recipients: Vec<String> = asked.to.iter().map(|to| bare(to)).collect();
    let described = Described {
        listener,
        client: client.to_canonical(),
        hello: hello.as_bytes(),
        sender: &bare(&from),
        recipients: &recipients,
        account: asked.login.as_deref(),
        early_talk: asked.early_talk,
        tls: asked.tls.map(TlsVersion::as_str),
        message: &message,
        is_whole: asked.message.is_some(),
        unix_seconds: asked.at.map_or_else(unix_seconds, |at| {
            u64::try_from(at.as_second()).unwrap_or(0)
        }),
    };
    let report = bench
        .explain(&described, recorded.as_ref())
        .map_err(|why| (exit::UNAVAILABLE, why.to_string()))?;
    let text = match asked.json {
        true => report.json(&described, bench.listener(listener)),
        false => report.table(&described, bench.listener(listener)),
    };
    let written = say(&text);
    if written != ExitCode::SUCCESS {
        return Ok(written);
    }
    Ok(match report.fate() {
        Fate::Accepted => ExitCode::SUCCESS,
        Fate::Deferred => DEFERRED.into(),
        Fate::Refused => REFUSED.into(),
    })
}

fn place(bench: &Bench, name: Option<&str>) -> Result<usize, (u8, String)> {
    let Some(name) = name else { return Ok(0) };
    let found = bench.listeners().position(|listener| listener == name);
    found.ok_or_else(|| {
        let all: Vec<&str> = bench.listeners().collect();
        let why = format!(
            "there is no listener {name:?}; the configuration has {}",
            all.join(", ")
        );
        (exit::USAGE, why)
    })
}

fn read(file: &PathBuf) -> Result<Vec<u8>, (u8, String)> {
    let told = |why: std::io::Error| (exit::DATA, format!("can't read {}: {why}", file.display()));
    let mut octets = Vec::new();
    let source: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(fs::File::open(file).map_err(told)?),
    };
    source
        .take(FILE_MAX + 1)
        .read_to_end(&mut octets)
        .map_err(told)?;
    match octets.len() as u64 > FILE_MAX {
        true => Err((
            exit::DATA,
            format!("{} is larger than {} MiB", file.display(), FILE_MAX >> 20),
        )),
        false => Ok(octets),
    }
}

/// A file's line ends as they are on the wire.
fn lines(octets: Vec<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + octets.len() / 32);
    let mut last = 0;
    for octet in octets {
        if octet == b'\n' && last != b'\r' {
            out.push(b'\r');
        }
        out.push(octet);
        last = octet;
    }
    out
}

/// A message that no ordinary rule has anything against.
fn made_up(from: &str, to: &[String]) -> String {
    let from = match from.trim_matches(['<', '>']) {
        "" => "MAILER-DAEMON",
        from => from,
    };
    format!(
        "From: <{from}>\r\nTo: {}\r\nSubject: explain\r\nDate: Fri, 27 Nov 2026 12:00:00 +0000\r\n\
         Message-ID: <explain@gatepost>\r\n\r\nexplain\r\n",
        to.join(", ")
    )
}
