//! `gatepost explain ID`: the running process is asked.

use super::{
    endpoint::{Answer, Endpoint},
    load::Flags,
    output::{exit, say},
};
use gatepost::{
    process::user,
    record::text::{list, table},
};
use serde_json::Value;
use std::process::ExitCode;

/// Prints why the message or the session with this id was treated so.
pub fn one(id: &str, flags: Flags, json: bool) -> Result<ExitCode, (u8, String)> {
    if id.is_empty() || !id.bytes().all(|octet| octet.is_ascii_alphanumeric()) {
        let why = format!(
            "{id:?} is no id of a log line; to judge a message, say --client, --from and --to as well"
        );
        return Err((exit::USAGE, why));
    }
    let answer = endpoint(flags)?.get(&format!("/explain/{id}"))?;
    let value = read(&answer)?;
    if answer.status != 200 {
        let why = value["error"].as_str().unwrap_or("it is not known");
        return Err((exit::DATA, why.to_string()));
    }
    Ok(match json {
        true => say(&answer.body),
        false => say(&table(&value)),
    })
}

/// Prints the latest messages that the candidate would have treated otherwise.
pub fn differences(flags: Flags, json: bool) -> Result<ExitCode, (u8, String)> {
    let answer = endpoint(flags)?.get("/shadow")?;
    let value = read(&answer)?;
    Ok(match json {
        true => say(&answer.body),
        false => say(&list(&value, "differences")),
    })
}

fn read(answer: &Answer) -> Result<Value, (u8, String)> {
    let read = serde_json::from_str(&answer.body);
    read.map_err(|_| {
        let why = format!(
            "the admin endpoint answers strangely: {}",
            answer.body.trim()
        );
        (exit::UNAVAILABLE, why)
    })
}

/// Where the process is asked: `--admin`, or the file's `admin.listen`; with the file's token.
fn endpoint(flags: Flags) -> Result<Endpoint, (u8, String)> {
    if let (None, Some(listen)) = (&flags.file, &flags.admin) {
        return Ok(Endpoint {
            listen: listen.clone(),
            token: None,
            user: None,
        });
    }
    let loaded = flags.source().load().map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        (exit::CONFIG, lines.join("\n"))
    })?;
    let user = user::number(&loaded.config.process.user);
    let admin = loaded.config.admin;
    let token = match admin.token.is_empty() {
        true => None,
        false => Some(
            admin
                .token
                .read()
                .map_err(|why| (exit::CONFIG, format!("admin.token: {why}")))?,
        ),
    };
    Ok(Endpoint {
        listen: admin.listen,
        token,
        user,
    })
}
