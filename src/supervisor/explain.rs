//! `gatepost explain`: a site as `run` would build it, and the DNS, asked about one message.

mod text;

pub use crate::{lookup::Recorded, proxy::explain::Described};

use super::{RunError, build_site, lists};
use crate::{
    config::Config,
    dns::{Answer, Question, RecordType, Unknown},
    lookup::Dns,
    metrics::Registry,
    net::{calendar, now},
    policy::Verdict,
    proxy::{
        ListenerSite, Site,
        explain::{Explained, explain},
    },
    record::text::table,
    upstream::Names,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::timeout};

/// One question, as it may be shown.
pub struct Asked {
    /// The name, without keys of lists.
    pub name: String,
    /// `A`, `MX` …
    pub record_type: &'static str,
    /// What came back.
    pub answer: Answer,
    /// What it took.
    pub took: Duration,
}

/// What becomes of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is taken.
    Accepted,
    /// 4xx.
    Deferred,
    /// 5xx.
    Refused,
}

/// What was found, and what it took.
pub struct Report {
    /// The verdict, check by check.
    pub explained: Explained,
    /// What the DNS was asked.
    pub asked: Vec<Asked>,
    /// All of it, the waits for the DNS with it.
    pub took: Duration,
}

impl Report {
    /// What becomes of the message.
    #[must_use]
    pub fn fate(&self) -> Fate {
        match &self.explained.told.verdict {
            Verdict::Accept | Verdict::Quarantine | Verdict::Discard => Fate::Accepted,
            Verdict::Defer(_) => Fate::Deferred,
            Verdict::Close(reply) if reply.is_transient() => Fate::Deferred,
            Verdict::Reject(_) | Verdict::Close(_) => Fate::Refused,
        }
    }

    /// As a table for readers.
    #[must_use]
    pub fn table(&self, described: &Described<'_>, listener: &str) -> String {
        table(&text::json(described, listener, self))
    }

    /// As JSON for programs.
    #[must_use]
    pub fn json(&self, described: &Described<'_>, listener: &str) -> String {
        format!("{:#}\n", text::json(described, listener, self))
    }
}

/// A site that nothing is sent through.
pub struct Bench {
    site: Site,
}

impl Bench {
    /// Builds it.
    ///
    /// # Errors
    /// What is wrong with the files that the configuration names.
    pub fn new(config: Config) -> Result<Bench, RunError> {
        let registry = Registry::new();
        match build_site(config, None, &registry, &Names::new(), None) {
            Ok(site) => Ok(Bench { site }),
            Err(problems) => Err(RunError::Config(problems)),
        }
    }

    /// The listeners' names, in the file's order.
    pub fn listeners(&self) -> impl Iterator<Item = &str> {
        self.site.listeners.iter().map(|listener| &*listener.name)
    }

    /// The name of a listener.
    #[must_use]
    pub fn listener(&self, place: usize) -> &str {
        self.site
            .listeners
            .get(place)
            .map_or("", |listener| &*listener.name)
    }

    /// Whether a client of the listener can log in, or be named with a login by a proxy.
    #[must_use]
    pub fn takes_logins(&self, place: usize) -> bool {
        let listener = self.site.listeners.get(place);
        listener.is_some_and(ListenerSite::takes_logins)
    }

    /// Judges a message. Without `recorded` the DNS is asked, and the lists are probed first, as at a start.
    ///
    /// # Errors
    /// The machine has no room for a runtime.
    pub fn explain(
        &self,
        described: &Described<'_>,
        recorded: Option<&Recorded>,
    ) -> Result<Report, RunError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|why| RunError::Unavailable(format!("no runtime: {why}")))?;
        let begun = Instant::now();
        let mut asked = Vec::new();
        let explained = runtime.block_on(async {
            match recorded {
                Some(_) => self.site.policy.take_lists_for_probed(),
                None => lists::probe(&self.site).await,
            }
            let ask = async |questions: Vec<Question>| {
                let answered = match recorded {
                    Some(recorded) => self.read(recorded, &questions),
                    None => self.resolve(&questions).await,
                };
                let answers = answered.iter().map(|(answer, _)| answer.clone()).collect();
                let questions = questions.iter().zip(answered);
                asked.extend(questions.map(|(question, (answer, took))| Asked {
                    name: self.site.policy.shown(question),
                    record_type: word(question.record_type),
                    answer,
                    took,
                }));
                answers
            };
            explain(&self.site, described, ask).await
        });
        Ok(Report {
            explained,
            asked,
            took: begun.elapsed(),
        })
    }

    fn read(&self, recorded: &Recorded, questions: &[Question]) -> Vec<(Answer, Duration)> {
        let answer = |question: &Question| {
            let name = self.site.policy.shown(question);
            (recorded.answer(&name, question), Duration::ZERO)
        };
        questions.iter().map(answer).collect()
    }

    /// Asks all at once, each within the time that a session waits.
    async fn resolve(&self, questions: &[Question]) -> Vec<(Answer, Duration)> {
        let patience = self.site.config.timeouts.lookups.0;
        let mut flights = JoinSet::new();
        for (place, question) in questions.iter().cloned().enumerate() {
            let dns: Arc<Dns> = Arc::clone(&self.site.dns);
            flights.spawn(async move {
                let begun = Instant::now();
                let answer = timeout(patience, dns.resolve(&question)).await;
                let answer = answer.unwrap_or(Answer::Unknown(Unknown::Timeout));
                (place, answer, begun.elapsed())
            });
        }
        let lost = (Answer::Unknown(Unknown::Broken), Duration::ZERO);
        let mut answers = vec![lost; questions.len()];
        while let Some(flight) = flights.join_next().await {
            if let Ok((place, answer, took)) = flight {
                answers[place] = (answer, took);
            }
        }
        answers
    }
}

fn word(record_type: RecordType) -> &'static str {
    match record_type {
        RecordType::A => "A",
        RecordType::Aaaa => "AAAA",
        RecordType::Mx => "MX",
        RecordType::Ptr => "PTR",
        RecordType::Txt => "TXT",
        RecordType::Srv => "SRV",
    }
}

/// Seconds since 1970.
#[must_use]
pub fn unix_seconds() -> u64 {
    calendar(now()) / 1_000_000
}
