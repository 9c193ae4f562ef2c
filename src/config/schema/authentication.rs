//! The tables of `[policy]` about the author of a message.

use crate::config::{choice::*, effect::*, value::*};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// DKIM (RFC 6376): whether a domain answers for the message by a signature. It decides at the end of the message. Where a
/// message has several signatures, one that holds is enough for `pass`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy.dkim]
fail = 2.0"#))]
pub struct DkimRules {
    /// Whether signatures are verified, and have an effect.
    pub mode: Mode,
    /// A signature holds.
    pub pass: Effect,
    /// No signature holds; the message or a signature was changed.
    pub fail: Effect,
    /// There is no signature.
    pub none: Effect,
    /// The signatures can't be read.
    pub neutral: Effect,
    /// The signatures are none that we accept: they have expired, or their key is too short.
    pub policy: Effect,
    /// A key could not be had in time; the sender may try again.
    pub temperror: Effect,
    /// The signatures can't hold: their key does not exist, or was withdrawn.
    pub permerror: Effect,
    /// The reply instead of the built-in one.
    pub reply: Option<String>,
}

/// DMARC (RFC 9989): whether SPF or DKIM has proved a domain that belongs to the author in From, and if not, what the
/// author's domain asks for. It decides at the end of the message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy.dmarc]
reject     = "reject"
quarantine = 4.0"#))]
pub struct DmarcRules {
    /// Whether it is looked up, and has an effect.
    pub mode: Mode,
    /// A domain of the author's is proved.
    pub pass: Effect,
    /// None is, whatever the author's domain asks for: this counts where `reject` or `quarantine` below does not apply or
    /// is not set. It refuses mail whose domain wants to hear of failures only (`p=none`).
    pub fail: Effect,
    /// None is, and the author's domain asks to reject such mail (`p=reject`).
    pub reject: Effect,
    /// None is, and the author's domain asks to take such mail for suspicious (`p=quarantine`).
    pub quarantine: Effect,
    /// The author's domain has no DMARC record.
    pub none: Effect,
    /// There was no answer in time; the sender may try again.
    pub temperror: Effect,
    /// From does not name one domain.
    pub permerror: Effect,
    /// The reply instead of the built-in one.
    pub reply: Option<String>,
    /// Reports to the domains that ask for them.
    pub reports: DmarcReports,
}

/// Aggregate reports (RFC 9990) for the domains whose DMARC record asks for them (`rua=`): once an interval one file a domain,
/// which tells from which addresses its mail came, and what DMARC said of it. They are collected and not sent: beside each
/// report lies a file that says who should get it. A change needs a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy.dmarc.reports]
directory = "/var/lib/gatepost/dmarc"
email     = "postmaster@example.net""#))]
pub struct DmarcReports {
    /// The folder that they are written to; empty: there are none. One process at a time writes there.
    pub directory: PathBuf,
    /// The name of your organization in the reports; `hostname` by default.
    pub org_name: String,
    /// An address of yours that readers of a report may write to.
    pub email: String,
    /// How long a report is about: a day or less. Days begin at midnight UTC.
    pub interval: Time,
}

impl DmarcReports {
    /// Whether there are any.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.directory.as_os_str().is_empty()
    }

    /// All of it, in a line.
    pub(in crate::config) fn shown(&self) -> String {
        match self.is_on() {
            false => "none".into(),
            true => format!(
                "{} (\"{}\", \"{}\", {})",
                self.directory.display(),
                self.org_name,
                self.email,
                self.interval
            ),
        }
    }
}

impl Default for DmarcReports {
    fn default() -> DmarcReports {
        DmarcReports {
            directory: PathBuf::new(),
            org_name: String::new(),
            email: String::new(),
            interval: Time::secs(24 * 60 * 60),
        }
    }
}

/// ARC (RFC 8617): what servers that handled the message before have found, under their seals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy.arc]
trusted = ["lists.example.net"]"#))]
pub struct ArcRules {
    /// Whether chains of seals are verified, and `trusted` is heeded.
    pub mode: Mode,
    /// Domains whose seals are believed, with the domains below them: mailing lists and forwarders. A message that fails
    /// DMARC is treated as if DMARC said nothing of it, where its chain holds, the newest seal is by one of these, and the
    /// results under that seal say that DMARC passed.
    pub trusted: Vec<String>,
}

impl Default for DkimRules {
    fn default() -> DkimRules {
        DkimRules {
            mode: Mode::On,
            pass: Effect::Nothing,
            fail: Effect::Nothing,
            none: Effect::Nothing,
            neutral: Effect::Nothing,
            policy: Effect::Nothing,
            temperror: Effect::Nothing,
            permerror: Effect::Nothing,
            reply: None,
        }
    }
}

impl Default for DmarcRules {
    fn default() -> DmarcRules {
        DmarcRules {
            mode: Mode::On,
            pass: Effect::Nothing,
            fail: Effect::Nothing,
            reject: Effect::Nothing,
            quarantine: Effect::Nothing,
            none: Effect::Nothing,
            temperror: Effect::Nothing,
            permerror: Effect::Nothing,
            reply: None,
            reports: DmarcReports::default(),
        }
    }
}

impl Default for ArcRules {
    fn default() -> ArcRules {
        ArcRules {
            mode: Mode::On,
            trusted: Vec::new(),
        }
    }
}
