//! `gatepost dkim check`: the keys of `[[dkim]]` and what the DNS has of them.

use crate::{
    config::Config,
    dns::{Answer, Question, Unknown},
    lookup::{Dns, Recorded},
    policy::authentication::dkim::{
        Outcome, Signer, Signers,
        publish::{self, Published},
    },
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long one record may take: nothing waits for it but the one who asked.
const PATIENCE: Duration = Duration::from_secs(15);

/// One key, and what was found of it.
pub struct Entry {
    signer: Arc<Signer>,
    /// Where its record stands.
    name: String,
    /// What the record is to be.
    record: String,
    found: Published,
    shown: Answer,
}

/// Reads the keys of a configuration and asks the DNS for their records. Without `recorded` the servers of `[dns]` are asked.
///
/// # Errors
/// A key can't be read, or there is no runtime, in words.
pub fn look(config: &Config, recorded: Option<&Recorded>) -> Result<Vec<Entry>, String> {
    let signers = Signers::build(&config.dkim).map_err(|faults| {
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        told.join("\n")
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| format!("no runtime: {why}"))?;
    let entries = async {
        let dns = Dns::new(&config.dns, None);
        let mut entries = Vec::new();
        for signer in signers.all() {
            let Some(question) = publish::question(signer.domain(), signer.selector()) else {
                continue;
            };
            let answer = match recorded {
                Some(recorded) => recorded.answer(&question.name, &question),
                None => ask(&dns, &question).await,
            };
            entries.push(Entry::new(signer, &question, answer));
        }
        entries
    };
    Ok(runtime.block_on(entries))
}

async fn ask(dns: &Arc<Dns>, question: &Question) -> Answer {
    let answer = timeout(PATIENCE, dns.resolve(question)).await;
    answer.unwrap_or(Answer::Unknown(Unknown::Timeout))
}

impl Entry {
    fn new(signer: Arc<Signer>, question: &Question, answer: Answer) -> Entry {
        Entry {
            name: question.name.to_string(),
            record: signer.record().unwrap_or_default(),
            found: signer.compare(&answer),
            signer,
            shown: answer,
        }
    }

    /// The DNS has something else than the key needs.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        match self.found {
            Published::Fits { .. } => false,
            Published::Other => true,
            Published::Unusable(_) => !self.is_unknown(),
        }
    }

    /// The DNS could not be asked.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self.found, Published::Unusable(reason) if reason.outcome() == Outcome::TempError)
    }

    /// What was found, in words.
    fn says(&self) -> String {
        match (self.found, &self.shown) {
            (Published::Fits { testing: false }, _) => "the record fits the key".into(),
            (Published::Fits { testing: true }, _) => {
                "the record fits the key, and says t=y: verifiers are told that the domain only tests DKIM"
                    .into()
            }
            (Published::Other, _) => "the record is that of another key".into(),
            (Published::Unusable(_), Answer::NoName | Answer::NoRecords) => {
                "there is no record".into()
            }
            (Published::Unusable(_), Answer::Unknown(Unknown::Timeout)) => {
                "the DNS did not answer in time".into()
            }
            (Published::Unusable(_), Answer::Unknown(Unknown::Bogus)) => {
                "the DNS's answer is bogus: DNSSEC validation failed".into()
            }
            (Published::Unusable(_), Answer::Unknown(_)) => "the DNS could not be asked".into(),
            (Published::Unusable(reason), Answer::Found(_)) => {
                format!("the record can't be used: {}", reason.as_str())
            }
        }
    }

    /// For readers: a line, and where something is wrong the record that is due.
    #[must_use]
    pub fn line(&self) -> String {
        let word = match (self.is_unknown(), self.is_wrong()) {
            (true, _) => "unknown",
            (_, true) => "wrong",
            _ => "good",
        };
        let algorithm = self.signer.algorithm().as_str();
        let mut text = format!("{word:8}{} ({algorithm}): {}\n", self.name, self.says());
        if self.is_wrong() {
            text.push_str(&publish::zone_entry(&self.name, &self.record));
        }
        text
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "domain": self.signer.domain(),
            "selector": self.signer.selector(),
            "algorithm": self.signer.algorithm().as_str(),
            "name": self.name,
            "fits": matches!(self.found, Published::Fits { .. }),
            "known": !self.is_unknown(),
            "says": self.says(),
            "record": self.record,
        })
    }
}
