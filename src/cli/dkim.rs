//! `gatepost dkim`: makes a key and says what the DNS must have; looks whether the DNS has it.

use super::{
    load::{Flags, complain, load},
    output::{exit, say},
};
use clap::{Args, Subcommand, ValueEnum};
use gatepost::{
    files::{Folder, OWN},
    policy::authentication::dkim::{KeyKind, PrivateKey, publish},
    supervisor::{
        explain::Recorded,
        published::{self, Entry},
    },
};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

pub const HELP: &str = "\
Examples:
  gatepost dkim new --domain example.net --selector s2026a -o /etc/gatepost/dkim/example.net-s2026a.pem
  gatepost dkim new --domain example.net --selector s2026b --algorithm ed25519 -o s2026b.pem
  gatepost dkim check -c /etc/gatepost/mx.toml              whether the DNS has what the keys need

`new` never overwrites a file. It prints the record for the DNS and the table for the configuration. Publish the record,
wait until `check` finds it, then reload.";

const NEW: &str = "\
Examples:
  gatepost dkim new --domain example.net --selector s2026a -o /etc/gatepost/dkim/example.net-s2026a.pem
  gatepost dkim new --domain example.net --selector s2026b --algorithm ed25519 -o s2026b.pem
  gatepost dkim new --domain example.net --selector s2026a --json -o s2026a.pem | jq -r .record

The file is readable by its owner alone (mode 0600) and is never overwritten. Where the service runs as another user than
root, root may keep it: `run` reads keys before it gives root's rights up, and through a helper afterwards.";

const CHECK: &str = "\
Examples:
  gatepost dkim check -c /etc/gatepost/mx.toml
  gatepost dkim check -c mx.toml --json
  gatepost dkim check -c mx.toml --answers dns.txt          the DNS from a file, as in `gatepost explain`

Asks the DNS (`[dns]` of the configuration) for the record of each key of `[[dkim]]`.
Exit codes: 0 every record fits its key, 65 one does not, 69 the DNS could not be asked about one.";

/// What `dkim` does.
#[derive(Debug, Subcommand)]
pub enum Dkim {
    /// Make a key that signs, and print the record for the DNS and the table for the configuration.
    #[command(after_help = NEW)]
    New(New),
    /// Compare the keys of the configuration with their records in the DNS.
    #[command(after_help = CHECK)]
    Check(Check),
}

/// Which key is made.
#[derive(Args, Debug)]
pub struct New {
    /// The domain that signs [key: dkim.domain].
    #[arg(long, value_name = "DOMAIN")]
    domain: String,
    /// The selector: a new one for each key [key: dkim.selector].
    #[arg(long, value_name = "NAME")]
    selector: String,
    /// The kind of the key. Every verifier knows RSA; Ed25519 is for a second key beside it.
    #[arg(long, value_enum, default_value_t = Kind::Rsa)]
    algorithm: Kind,
    /// The size of an RSA key: 2048, 3072 or 4096. The default for RSA is 2048: longer records don't fit into one UDP answer
    /// everywhere.
    #[arg(long, value_name = "BITS", value_parser = ["2048", "3072", "4096"])]
    bits: Option<String>,
    /// The file to write the key to [key: dkim.key].
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    file: PathBuf,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

/// The kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// rsa-sha256
    Rsa,
    /// ed25519-sha256
    Ed25519,
}

/// Which keys are compared.
#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    flags: Flags,
    /// Take the answers of the DNS from this file, and ask no server.
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

/// Does what was asked.
pub fn dkim(what: Dkim) -> ExitCode {
    let (code, text) = match what {
        Dkim::New(new) => match make(&new) {
            Ok(text) => return say(&text),
            Err(why) => why,
        },
        Dkim::Check(asked) => match check(asked) {
            Ok(code) => return code,
            Err(why) => why,
        },
    };
    eprintln!("gatepost: {text}");
    code.into()
}

/// Makes the key: what to say of it. An error has its exit code.
fn make(new: &New) -> Result<String, (u8, String)> {
    let kind = match (new.algorithm, new.bits.as_deref()) {
        (Kind::Ed25519, None) => KeyKind::Ed25519,
        (Kind::Ed25519, Some(_)) => {
            let why = "--bits is for RSA: an Ed25519 key has one size";
            return Err((exit::USAGE, why.into()));
        }
        (Kind::Rsa, Some("3072")) => KeyKind::Rsa3072,
        (Kind::Rsa, Some("4096")) => KeyKind::Rsa4096,
        (Kind::Rsa, _) => KeyKind::Rsa2048,
    };
    let question = publish::question(&new.domain, &new.selector).ok_or_else(|| {
        let why = format!(
            "\"{}._domainkey.{}\" is no name for a record",
            new.selector, new.domain
        );
        (exit::USAGE, why)
    })?;
    let software = |why: &str| (exit::SOFTWARE, why.to_string());
    // First the place, which is more likely to be wrong, then the key, which may take seconds.
    let (folder, name, mut file) = create(&new.file).map_err(|why| (exit::OUTPUT, why))?;
    let written = PrivateKey::generate(kind)
        .map_err(|why| software(&why.to_string()))
        .and_then(|(key, pem)| {
            let record = publish::record(&key).ok_or_else(|| software("the key has no record"))?;
            file.write_all(pem.as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(|why| (exit::OUTPUT, unwritten(&new.file, &why)))?;
            Ok(record)
        });
    let record = written.inspect_err(|_| {
        // It is ours, and holds no key.
        let _ = folder.remove(&name);
    })?;
    Ok(match new.json {
        true => json(new, &question.name, &record),
        false => text(new, &question.name, &record),
    })
}

fn create(path: &Path) -> Result<(Folder, OsString, File), String> {
    let (folder, name) = Folder::of(path).map_err(|why| unwritten(path, &why))?;
    let made = folder.create(&name, OWN).map_err(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => format!(
            "{} is there already, and a key is never overwritten: choose another selector and file",
            path.display()
        ),
        _ => unwritten(path, &why),
    });
    made.map(|file| (folder, name, file))
}

fn unwritten(path: &Path, why: &io::Error) -> String {
    format!("can't write {}: {why}", path.display())
}

/// The table of the configuration.
fn table(new: &New) -> String {
    let file = std::path::absolute(&new.file).unwrap_or_else(|_| new.file.clone());
    // A text of JSON is one of TOML.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "[[dkim]]\ndomain   = {}\nselector = {}\nkey      = {}\n",
        quoted(&new.domain),
        quoted(&new.selector),
        quoted(&file.to_string_lossy()),
    )
}

fn text(new: &New, name: &str, record: &str) -> String {
    format!(
        "; the key is in {}; for the zone file:\n{}\n# for the configuration, once the record is there (gatepost dkim check):\n{}",
        new.file.display(),
        publish::zone_entry(name, record),
        table(new),
    )
}

fn json(new: &New, name: &str, record: &str) -> String {
    let value = serde_json::json!({
        "domain": new.domain,
        "selector": new.selector,
        "file": new.file,
        "name": name,
        "record": record,
        "strings": publish::strings(record),
        "zone": publish::zone_entry(name, record),
        "table": table(new),
    });
    format!("{value:#}\n")
}

fn answers(file: &Path) -> Result<Recorded, (u8, String)> {
    let told = |why: String| (exit::DATA, format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|why| told(why.to_string()))?;
    Recorded::parse(&text).map_err(told)
}

/// Compares all keys with the DNS. An error has its exit code.
fn check(asked: Check) -> Result<ExitCode, (u8, String)> {
    let recorded = match &asked.answers {
        Some(file) => Some(answers(file)?),
        None => None,
    };
    let loaded = match load(&asked.flags.source(), complain) {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    if loaded.config.dkim.is_empty() {
        let why = "the configuration has no `[[dkim]]`: gatepost dkim new makes a key";
        return Err((exit::CONFIG, why.into()));
    }
    let entries = published::look(&loaded.config, recorded.as_ref())
        .map_err(|why| (exit::UNAVAILABLE, why))?;
    let text = match asked.json {
        true => {
            let all: Vec<_> = entries.iter().map(Entry::json).collect();
            format!("{:#}\n", serde_json::Value::from(all))
        }
        false => entries.iter().map(Entry::line).collect(),
    };
    let written = say(&text);
    if written != ExitCode::SUCCESS {
        return Ok(written);
    }
    Ok(if entries.iter().any(Entry::is_wrong) {
        exit::DATA.into()
    } else if entries.iter().any(Entry::is_unknown) {
        exit::UNAVAILABLE.into()
    } else {
        ExitCode::SUCCESS
    })
}
