//! One message on its way from the end of its header section to its results.

use super::{
    UnixTime,
    arc::{self, Arc},
    body::{BodyDigests, BodyHashes},
    crypto::Verified,
    dkim::{self, Dkim},
    dmarc::{self, Author, Dmarc, Evidence},
    sealed,
    work::Work,
};
use crate::{
    dns::{Answers, Question, Step},
    policy::spf::{ResultCode, SpfResult},
    smtp::{fields::mailboxes, header},
};

/// What is to be found out of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Which signatures hold. DMARC needs it.
    pub dkim: bool,
    /// Whether one of the domains that are proven is the author's.
    pub dmarc: bool,
    /// Whether the chain of earlier hops holds.
    pub arc: bool,
}

/// What a message says of its origin, and what is known of that so far.
#[derive(Debug)]
pub struct Message {
    wanted: Wanted,
    author: Author,
    state: State,
    dmarc: Option<Dmarc>,
    vouched: bool,
}

#[derive(Debug)]
enum State {
    /// The body is still to come, or keys are.
    Open(Open),
    /// The mathematics is being done.
    Computing(Open, BodyDigests),
    Done(Dkim, Option<Arc>),
}

#[derive(Debug, Default)]
struct Open {
    dkim: Option<dkim::Verification>,
    arc: Option<arc::Verification>,
    has_keys: bool,
}

impl Message {
    /// Reads a header section, with or without its empty line, and keeps nothing of it. The body must be shown to the
    /// hashes that come with it.
    #[must_use]
    pub fn new(header: &[u8], now: UnixTime, wanted: Wanted) -> (Message, BodyHashes) {
        let mut hashes = BodyHashes::new();
        let dkim = wanted
            .dkim
            .then(|| dkim::Verification::new(header, now, &mut hashes));
        let arc = wanted
            .arc
            .then(|| arc::Verification::new(header, &mut hashes));
        let message = Message {
            wanted,
            author: match wanted.dmarc {
                true => author(header),
                false => Author::Missing,
            },
            state: State::Open(Open {
                dkim,
                arc,
                has_keys: false,
            }),
            dmarc: None,
            vouched: false,
        };
        (message, hashes)
    }

    /// Goes on as far as the answers allow; `need` gets what must be asked now. `spf` is what SPF has found, and `sealers`
    /// are the domains whose seals are believed.
    pub fn step(
        &mut self,
        spf: Option<&SpfResult>,
        sealers: &[Box<str>],
        answers: &dyn Answers,
        need: &mut Vec<Question>,
    ) {
        match &mut self.state {
            State::Open(open) => {
                if self.wanted.dmarc {
                    // Asked along with the keys, so that there is one wait and not two.
                    need.extend(dmarc::first_questions(&self.author, answers));
                }
                open.step(answers, need);
            }
            State::Computing(..) => {}
            State::Done(dkim, arc) => {
                if !self.wanted.dmarc || self.dmarc.is_some() {
                    return;
                }
                let evidence = Evidence {
                    author: &self.author,
                    spf: spf.map_or(dmarc::Spf::NotPassed, spf_evidence),
                    dkim,
                };
                match dmarc::step(&evidence, answers) {
                    Step::Need(questions) => need.extend(questions),
                    Step::Done(dmarc) => {
                        self.vouched = dmarc.conclusion == dmarc::Conclusion::Fail
                            && sealed::vouches(arc.as_ref(), sealers);
                        self.dmarc = Some(dmarc);
                    }
                }
            }
        }
    }

    /// The body has ended. What is left to compute: nothing for what the body does not fit.
    pub fn close(&mut self, body: BodyHashes) -> Work {
        let State::Open(open) = &mut self.state else {
            return Work::default();
        };
        let mut open = std::mem::take(open);
        let digests = body.finish();
        let mut work = Work::default();
        if let Some(dkim) = &mut open.dkim {
            dkim.compare(&digests);
            work.signatures = dkim.jobs().collect();
        }
        if let Some(arc) = &mut open.arc {
            arc.compare(&digests);
            work.chain = arc.jobs();
        }
        self.state = State::Computing(open, digests);
        work
    }

    /// What the work of [`Message::close`] came to. A job without a result has failed for now.
    pub fn conclude(&mut self, verified: &[Verified]) {
        if let State::Computing(open, digests) = &mut self.state {
            let open = std::mem::take(open);
            let dkim = open.dkim.map(|dkim| dkim.finish(verified, digests));
            let arc = open.arc.map(|arc| arc.finish(verified, digests));
            self.state = State::Done(dkim.unwrap_or_default(), arc);
        }
    }

    /// What came of the signatures.
    #[must_use]
    pub fn dkim(&self) -> Option<&Dkim> {
        match &self.state {
            State::Done(dkim, _) if self.wanted.dkim => Some(dkim),
            _ => None,
        }
    }

    /// What came of the chain.
    #[must_use]
    pub fn arc(&self) -> Option<&Arc> {
        match &self.state {
            State::Done(_, arc) => arc.as_ref(),
            _ => None,
        }
    }

    /// What DMARC says.
    #[must_use]
    pub fn dmarc(&self) -> Option<&Dmarc> {
        self.dmarc.as_ref()
    }

    /// DMARC fails, but a sealer that is believed says that it passed there.
    #[must_use]
    pub fn is_vouched_for(&self) -> bool {
        self.vouched
    }
}

impl Open {
    fn step(&mut self, answers: &dyn Answers, need: &mut Vec<Question>) {
        if self.has_keys {
            return;
        }
        let before = need.len();
        if let Some(dkim) = &mut self.dkim {
            dkim.missing(answers, need);
        }
        if let Some(arc) = &mut self.arc {
            arc.missing(answers, need);
        }
        self.has_keys = need.len() == before;
    }
}

fn spf_evidence(spf: &SpfResult) -> dmarc::Spf<'_> {
    match spf.code {
        ResultCode::Pass => dmarc::Spf::Pass(&spf.domain),
        ResultCode::TempError => dmarc::Spf::Unknown(&spf.domain),
        _ => dmarc::Spf::NotPassed,
    }
}

/// The author by the From fields. A field that only some programs take for From is one. One that is longer than what is read is judged
/// by its start, which programs show: otherwise blanks or a comment after an address would hide it from its domain's policy.
pub(super) fn author(header: &[u8]) -> Author {
    let mut fields = header::fields(header).filter(|field| field.may_be("from"));
    let Some(field) = fields.next() else {
        return Author::Missing;
    };
    if fields.next().is_some() {
        return Author::Several;
    }
    let mut line = Vec::new();
    let of = |found: mailboxes::Addresses| Author::of(found.mailboxes.iter().map(Vec::as_slice));
    if let Some(found) = mailboxes::of_field(&field, &mut line) {
        return of(found);
    }
    match mailboxes::of_start(&field, &mut line).map(of) {
        Some(Author::Missing) | None => Author::Malformed,
        Some(author) => author,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_domain_in_from_is_the_authors_however_it_is_written() {
        let of = |from: &str| author(format!("From: {from}\r\n\r\n").as_bytes());
        let domain = |name: &str| Author::Domain(name.into());
        for from in [
            "Amy (at work) <amy@X.example>",
            "amy@x.example, \"Doe, Ben\" <ben@x.example>",
            "us: amy@x.example,\r\n Ben <ben@x.example>;",
            "Amy (ben@y.example) <amy@x.example>",
            &"Amy Doe <amy@x.example>,\r\n ".repeat(mailboxes::ADDRESSES_MAX),
        ] {
            assert_eq!(of(from), domain("x.example"), "{from}");
        }
        let idn = "a@b\u{fc}cher.example, b@xn--bcher-kva.example";
        assert_eq!(of(idn), domain("xn--bcher-kva.example"));
        assert_eq!(of("amy@x.example, ben@y.example"), Author::Several);
        assert_eq!(of("us:;"), Author::Missing);
        for many in ["@,", "amy@x.example <", "(", "x "] {
            let from = many.repeat(mailboxes::OCTETS_MAX);
            assert_eq!(of(&from), Author::Malformed, "{many}");
        }
    }

    #[test]
    fn what_follows_an_address_does_not_hide_its_domain() {
        let of = |from: &str| author(format!("From: {from}\r\n\r\n").as_bytes());
        let domain = |name: &str| Author::Domain(name.into());
        let fold = |octets: &str| octets.repeat(mailboxes::OCTETS_MAX);
        let (blanks, text) = (fold(" "), fold("x"));
        for from in [
            &format!("boss@x.example{blanks}"),
            &format!("boss@x.example ({text})"),
            &format!("\"a@y.example\" <boss@x.example>{blanks}({text})"),
            &format!("(a@y.example) boss@x.example,{blanks} ben@x.example"),
            &fold("boss@x.example,"),
            &"boss@x.example,".repeat(mailboxes::ADDRESSES_MAX + 1),
        ] {
            assert_eq!(of(from), domain("x.example"), "{:.40}", from);
        }
        // As in a short one.
        let two = format!("boss@x.example, a@y.example, ({text})");
        assert_eq!(of(&two), Author::Several);
        // Half a domain is none.
        let octets = mailboxes::OCTETS_MAX - "boss@x.exa".len() - 1;
        let half = format!(
            "{}boss@x.example{blanks}",
            "y,".repeat(octets / 2) + &" ".repeat(1 + octets % 2)
        );
        assert_eq!(of(&half), Author::Malformed);
        // An open comment in a field that is within the limits.
        assert_eq!(of("boss@x.example ("), Author::Malformed);
    }
}
