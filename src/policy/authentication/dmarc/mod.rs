//! DMARC (RFC 9989): does a domain that SPF or DKIM has authenticated belong to the author, and if not, what does the
//! author's domain ask for?

mod destination;
mod record;
#[cfg(test)]
mod tests;
mod walk;

pub use destination::{Consent, consent};
pub use record::{FailureOptions, Policy, Record, Suffix};

use super::dkim::{Dkim, Outcome};
use super::names;
use crate::dns::{Answer, Answers, Question, RecordType, Step};
use walk::Walk;

/// Questions for one message at most: a walk for the author, one for each domain that may be aligned, and one about the
/// author's existence.
pub const QUESTIONS_MAX: usize = walk::QUESTIONS_MAX * (2 + super::dkim::SIGNATURES_MAX) + 1;

/// What From says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Author {
    /// One domain, in lower case and A-labels.
    Domain(Box<str>),
    /// There is no From, or no address with a domain in it.
    Missing,
    /// Several domains, or several From fields: programs show one or the other (RFC 9989 §11.5).
    Several,
    /// The domain is no name.
    Malformed,
}

impl Author {
    /// From the addresses in From. Several in one domain are fine.
    pub fn of<'a>(addresses: impl IntoIterator<Item = &'a [u8]>) -> Author {
        let mut author = Author::Missing;
        for address in addresses {
            let Some(at) = memchr::memrchr(b'@', address) else {
                continue;
            };
            let Some(domain) = names::normal(&address[at + 1..]) else {
                return Author::Malformed;
            };
            match &author {
                Author::Domain(other) if *other != domain => return Author::Several,
                _ => author = Author::Domain(domain),
            }
        }
        author
    }
}

/// What SPF has found about MAIL FROM (with a null path: about HELO, RFC 7208 §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spf<'a> {
    /// It passes, for this domain.
    Pass(&'a str),
    /// It might have passed for this domain: the DNS failed.
    Unknown(&'a str),
    /// Anything else.
    NotPassed,
}

/// What is to be weighed.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Of From.
    pub author: &'a Author,
    /// Of MAIL.
    pub spf: Spf<'a>,
    /// Of the signatures.
    pub dkim: &'a Dkim,
}

/// The result words of RFC 9989 §9.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conclusion {
    /// A domain that is authenticated belongs to the author.
    Pass,
    /// None does.
    Fail,
    /// The author's domain says nothing.
    None,
    /// The DNS failed.
    TempError,
    /// From has no one domain.
    PermError,
}

impl Conclusion {
    /// The word for it in Authentication-Results.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Conclusion::Pass => "pass",
            Conclusion::Fail => "fail",
            Conclusion::None => "none",
            Conclusion::TempError => "temperror",
            Conclusion::PermError => "permerror",
        }
    }
}

/// Which tag the policy is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyTag {
    /// `p=`
    Domain,
    /// `sp=`
    Subdomains,
    /// `np=`
    Nonexistent,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dmarc {
    /// The result.
    pub conclusion: Conclusion,
    /// The domain of From. Empty: there is no one domain.
    pub author: Box<str>,
    /// Its organizational domain, where the walk has found one.
    pub organizational: Box<str>,
    /// The record that applies, and the domain that has it.
    pub record: Option<(Box<str>, Record)>,
    /// What it asks for, and by which tag.
    pub requested: Option<(Policy, PolicyTag)>,
    /// What is to be done: nothing unless it fails; one level less than requested in test mode.
    pub disposition: Policy,
    /// SPF passes for a domain of the author's.
    pub spf_aligned: bool,
    /// A signature of such a domain holds.
    pub dkim_aligned: bool,
}

impl Dmarc {
    fn of(author: &str, conclusion: Conclusion) -> Dmarc {
        Dmarc {
            conclusion,
            author: author.into(),
            organizational: Box::default(),
            record: None,
            requested: None,
            disposition: Policy::None,
            spf_aligned: false,
            dkim_aligned: false,
        }
    }
}

/// The questions that weighing begins with. They can be asked before there is any evidence.
pub fn first_questions(author: &Author, answers: &dyn Answers) -> Vec<Question> {
    match author {
        Author::Domain(author) => Walk::new(author, answers).missing,
        Author::Missing | Author::Several | Author::Malformed => Vec::new(),
    }
}

/// Weighs the evidence with the answers that are there. Whatever is unknown by then is unknown: the caller gives
/// [`Answer::Unknown`] for what did not come in time.
pub fn step(evidence: &Evidence<'_>, answers: &dyn Answers) -> Step<Dmarc> {
    let Author::Domain(author) = evidence.author else {
        return Step::Done(Dmarc::of("", Conclusion::PermError));
    };
    let walk = Walk::new(author, answers);
    if !walk.missing.is_empty() {
        return Step::Need(walk.missing);
    }
    // A failure above the record that applies leaves only the organizational domain open.
    let Some((owner, record)) = walk.policy() else {
        let nothing = if walk.failed {
            Conclusion::TempError
        } else {
            Conclusion::None
        };
        return Step::Done(Dmarc::of(author, nothing));
    };
    let mut dmarc = Dmarc {
        organizational: walk.organizational().into(),
        record: Some((owner.into(), record.clone())),
        ..Dmarc::of(author, Conclusion::None)
    };
    let Some(policy) = record.policy else {
        return Step::Done(dmarc);
    };
    if walk.failed && owner != &**author {
        // A record that was not seen might be the one that applies.
        dmarc.conclusion = Conclusion::TempError;
        return Step::Done(dmarc);
    }
    conclude(dmarc, policy, evidence, &walk, answers)
}

/// Weighs what is authenticated against `policy`, of the record in `dmarc`.
fn conclude(
    mut dmarc: Dmarc,
    policy: Policy,
    evidence: &Evidence<'_>,
    walk: &Walk<'_>,
    answers: &dyn Answers,
) -> Step<Dmarc> {
    let Some((owner, record)) = walk.policy() else {
        return Step::Done(dmarc);
    };
    let author = &*dmarc.author.clone();
    let mut alignment = Alignment {
        author,
        walk,
        answers,
        missing: Vec::new(),
        open: false,
    };
    alignment.weigh(evidence, record, &mut dmarc);
    if !alignment.missing.is_empty() {
        return Step::Need(alignment.missing);
    }
    let open = alignment.open;
    let aligned = dmarc.spf_aligned || dmarc.dkim_aligned;
    let mut requested = requested(author, owner, record, policy);
    // Only where it makes a difference is the DNS asked whether the author exists.
    if let (false, Some(nonexistent)) = (aligned || owner == author, record.nonexistent) {
        match exists(author, answers) {
            Ok(true) => {}
            Ok(false) => requested = (nonexistent, PolicyTag::Nonexistent),
            Err(question) => return Step::Need(vec![question]),
        }
    }
    dmarc.requested = Some(requested);
    dmarc.conclusion = match (aligned, open) {
        (true, _) => Conclusion::Pass,
        (false, true) => Conclusion::TempError,
        (false, false) => Conclusion::Fail,
    };
    if dmarc.conclusion == Conclusion::Fail {
        let policy = requested.0;
        dmarc.disposition = if record.testing {
            policy.in_test()
        } else {
            policy
        };
    }
    Step::Done(dmarc)
}

/// The policy for this author, if it exists (RFC 9989 §4.10.1).
fn requested(author: &str, owner: &str, record: &Record, policy: Policy) -> (Policy, PolicyTag) {
    match record.subdomains {
        Some(policy) if owner != author => (policy, PolicyTag::Subdomains),
        _ => (policy, PolicyTag::Domain),
    }
}

/// Whether a name exists, or the question that tells. It does not if the DNS says so of it (RFC 8020), whatever type is
/// asked for; where that can't be found out, it does.
fn exists(name: &str, answers: &dyn Answers) -> Result<bool, Question> {
    let question = Question {
        name: name.into(),
        record_type: RecordType::A,
    };
    match answers.answer(&question) {
        None => Err(question),
        Some(answer) => Ok(*answer != Answer::NoName),
    }
}

/// Which of the domains that are authenticated belong to the author (RFC 9989 §4.4, §4.10.2).
struct Alignment<'a> {
    author: &'a str,
    walk: &'a Walk<'a>,
    answers: &'a dyn Answers,
    missing: Vec<Question>,
    /// Something that might be aligned could not be found out.
    open: bool,
}

/// Whether a domain is the author's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aligned {
    Yes,
    No,
    Unknown,
}

impl Alignment<'_> {
    fn weigh(&mut self, evidence: &Evidence<'_>, record: &Record, dmarc: &mut Dmarc) {
        let (spf, passed) = match evidence.spf {
            Spf::Pass(domain) => (domain, true),
            Spf::Unknown(domain) => (domain, false),
            Spf::NotPassed => ("", false),
        };
        let spf = names::normal(spf.as_bytes()).unwrap_or_default();
        dmarc.spf_aligned = self.take(&spf, record.spf_strict, passed);
        for signature in &evidence.dkim.signatures {
            let passed = match signature.outcome() {
                Outcome::Pass => true,
                Outcome::TempError => false,
                _ => continue,
            };
            dmarc.dkim_aligned |= self.take(&signature.domain, record.dkim_strict, passed);
        }
        if dmarc.spf_aligned || dmarc.dkim_aligned {
            // It passes, whatever the others are: their questions need not be asked.
            self.missing.clear();
        }
    }

    fn take(&mut self, domain: &str, strict: bool, passed: bool) -> bool {
        match self.aligned(domain, strict) {
            Aligned::No => false,
            Aligned::Yes if passed => true,
            _ => {
                self.open = true;
                false
            }
        }
    }

    fn aligned(&mut self, domain: &str, strict: bool) -> Aligned {
        if domain == self.author {
            return Aligned::Yes;
        }
        let organizational = self.walk.organizational();
        // The organizational domain of a name is that name or above it, so others need no walk.
        if strict || domain.is_empty() {
            return Aligned::No;
        }
        if self.walk.failed {
            let possible = self.author.rsplit('.').next() == domain.rsplit('.').next();
            return if possible {
                Aligned::Unknown
            } else {
                Aligned::No
            };
        }
        if !names::under(domain, organizational) {
            return Aligned::No;
        }
        let walk = Walk::new(domain, self.answers);
        for question in walk.missing.iter() {
            if !self.missing.contains(question) {
                self.missing.push(question.clone());
            }
        }
        match (
            walk.failed || !walk.missing.is_empty(),
            walk.organizational() == organizational,
        ) {
            (true, _) => Aligned::Unknown,
            (false, true) => Aligned::Yes,
            (false, false) => Aligned::No,
        }
    }
}
