//! What a session asks elsewhere, and what came of it.
//!
//! A check never waits: what it needs from the DNS is a *finding* of a machine (`dns/`, `spf/`) that is begun as soon as its
//! inputs are known, and is given the answers as they come. Only machines whose findings something reads are begun:
//! [`Wants`] says which, once a configuration. One [`Inquiry`] goes with a session; MAIL begins anew what is about a sender,
//! HELO what is about the name, the connection everything.

pub(super) use super::wants::{Want, Wants};
use super::{
    authentication::{BodyHashes, Message, UnixTime, Wanted, dmarc::Conclusion, under},
    dns::{
        domain::{self, Domain},
        helo::{self, Helo},
        listing::{Listing, Lookup, Outcome},
        reverse::{Names, Reverse},
        runaway::Said,
        watched::Watched,
        zone::{Kind, Proofs, Proven, Role, Zone},
    },
    spf::{ResultCode, Spf, SpfResult, Subject},
};
use crate::{
    dns::{Answers, Question, Step, Unknown},
    smtp::{
        domain::{address_to_ascii, to_ascii},
        envelope::Path,
    },
};
use std::{net::IpAddr, sync::Arc};

/// A machine, or what it found.
#[derive(Clone, Default)]
enum Slot<M, F> {
    /// It has not been begun.
    #[default]
    Idle,
    /// It needs answers.
    Asking(M),
    /// It is done.
    Found(F),
}

impl<M, F> Slot<M, F> {
    /// What it found, or why that is not known: `None` where nothing was asked.
    fn known(&self) -> Result<&F, Option<Unknown>> {
        match self {
            Slot::Found(found) => Ok(found),
            Slot::Asking(_) => Err(Some(Unknown::Timeout)),
            Slot::Idle => Err(None),
        }
    }

    fn found(&self) -> Option<&F> {
        match self {
            Slot::Found(found) => Some(found),
            Slot::Idle | Slot::Asking(_) => None,
        }
    }

    /// Goes on as far as the answers allow.
    fn step(&mut self, need: &mut Vec<Question>, step: impl FnOnce(&mut M) -> Step<F>) {
        if let Slot::Asking(machine) = self {
            match step(machine) {
                Step::Need(questions) => need.extend(questions),
                Step::Done(found) => *self = Slot::Found(found),
            }
        }
    }
}

/// What is known of one message at MAIL.
pub(super) struct Envelope<'a> {
    /// Whose it is.
    pub client: IpAddr,
    /// The reverse-path.
    pub sender: Path<'a>,
    /// Our own name.
    pub receiver: &'a Arc<str>,
    /// When, in seconds since 1970.
    pub unix_seconds: u64,
}

/// What is known of a name in HELO: kept while another is judged.
#[derive(Clone)]
pub struct Greeting {
    hello: Box<[u8]>,
    helo: Slot<Helo, helo::Outcome>,
}

/// What one session asks, and has found.
#[derive(Default)]
pub struct Inquiry {
    /// A client list has accepted the client.
    welcome: bool,
    reverse: Slot<Reverse, Names>,
    helo: Slot<Helo, helo::Outcome>,
    sender: Slot<Domain, domain::Outcome>,
    spf: Slot<Spf, SpfResult>,
    message: Option<Box<Message>>,
    /// One for each of [`Wants::lists`].
    lists: Vec<Listed>,
    /// What lists of names are asked about: the sender's domain, the HELO name.
    sender_domain: Box<[u8]>,
    hello: Box<[u8]>,
    /// MAIL has been said.
    has_sender: bool,
    /// All is found that has been begun.
    settled: bool,
}

impl Inquiry {
    /// Begins with a new client: what is about its address.
    pub(super) fn begin_client(&mut self, wants: &Wants, client: IpAddr, welcome: bool) {
        *self = Inquiry {
            welcome,
            ..Inquiry::default()
        };
        if wants.reverse.of(client) || wants.of_names(Role::Rdns) {
            self.reverse = Slot::Asking(Reverse::new(client));
        }
        self.lists = wants
            .lists
            .iter()
            .map(|(list, says_why)| Listed::new(list, *says_why, client))
            .collect();
    }

    /// Whether it is about a client that a client list has accepted.
    pub(super) fn is_of_welcome(&self) -> bool {
        self.welcome
    }

    /// Goes on with the name that it says.
    pub(super) fn begin_hello(&mut self, wants: &Wants, client: IpAddr, hello: &[u8]) {
        self.settled = false;
        self.hello = to_ascii(hello).unwrap_or_default().into();
        self.helo = match wants.helo {
            true => Slot::Asking(Helo::new(&self.hello, client)),
            false => Slot::Idle,
        };
    }

    /// What is known of the name that it has said.
    #[must_use]
    pub fn greeting(&self) -> Greeting {
        Greeting {
            hello: self.hello.clone(),
            helo: self.helo.clone(),
        }
    }

    /// Goes back to a name: another was refused.
    pub fn go_back(&mut self, to: Greeting) {
        (self.hello, self.helo) = (to.hello, to.helo);
        self.settled = false;
    }

    /// Forgets what was about the message before.
    pub fn forget_message(&mut self) {
        (self.has_sender, self.sender_domain, self.message) = (false, Box::default(), None);
        (self.sender, self.spf) = (Slot::Idle, Slot::Idle);
        for listed in &mut self.lists {
            if listed.is_of_names() {
                listed.slot = Slot::Idle;
            }
        }
    }

    /// Begins with a new sender.
    pub(super) fn begin_sender(&mut self, wants: &Wants, message: &Envelope<'_>) {
        let (client, path) = (message.client, message.sender);
        let sender = address_to_ascii(path.whole);
        self.forget_message();
        self.settled = false;
        self.has_sender = true;
        self.sender_domain = to_ascii(path.domain).unwrap_or_default().into();
        self.sender = match wants.sender && !path.domain.is_empty() {
            true => Slot::Asking(Domain::new(&self.sender_domain).with_addresses()),
            false => Slot::Idle,
        };
        self.spf = match wants.spf.of(client) {
            true => Slot::Asking(
                Spf::new(&Subject {
                    client_ip: client,
                    mail_from: &sender,
                    helo: &self.hello,
                    receiver: message.receiver,
                    unix_seconds: message.unix_seconds,
                })
                // It is not told to anybody.
                .without_explanation(),
            ),
            false => Slot::Idle,
        };
    }

    /// Begins with a message whose header section is complete.
    pub(super) fn begin_message(
        &mut self,
        wants: &Wants,
        client: IpAddr,
        header: &[u8],
        now: UnixTime,
    ) -> BodyHashes {
        let wanted = Wanted {
            dkim: wants.dkim.of(client),
            dmarc: wants.dmarc.of(client),
            arc: wants.arc.of(client),
        };
        if wanted == Wanted::default() {
            return BodyHashes::new();
        }
        let (message, hashes) = Message::new(header, now, wanted);
        self.message = Some(Box::new(message));
        self.settled = false;
        hashes
    }

    /// Goes on as far as the answers allow; `need` gets what must be asked now. Nothing put there: all is known that can be
    /// by now.
    pub(super) fn step(
        &mut self,
        wants: &Wants,
        answers: &dyn Answers,
        now_ms: u64,
        need: &mut Vec<Question>,
    ) {
        if self.settled {
            return;
        }
        let before = need.len();
        self.reverse.step(need, |machine| machine.step(answers));
        self.helo.step(need, |machine| machine.step(answers));
        self.sender.step(need, |machine| machine.step(answers));
        self.spf.step(need, |machine| machine.step(answers));
        if let Some(message) = &mut self.message {
            message.step(self.spf.found(), &wants.sealers, answers, need);
        }
        let names = self.names(wants);
        for listed in &mut self.lists {
            if let (true, Slot::Idle, Some(names)) = (listed.is_of_names(), &listed.slot, &names) {
                listed.ask_names(names);
            }
            listed.step(answers, now_ms, need);
        }
        self.settled = need.len() == before;
    }

    /// A server is asked this, not the cache.
    pub fn sent(&mut self, question: &Question) {
        for listed in &mut self.lists {
            listed.sent(question);
        }
    }

    /// What lists of names are asked about; `None` while that is not known.
    fn names(&self, wants: &Wants) -> Option<Vec<(Role, Arc<[u8]>)>> {
        let of_names =
            |(list, _): &(Arc<Watched>, bool)| matches!(list.zone().kind, Kind::Names(_));
        let pointers = match wants.of_names(Role::Rdns) {
            true => Some(self.reverse.found()?),
            false => None,
        };
        if !self.has_sender || !wants.lists.iter().any(of_names) {
            return None;
        }
        let own = [
            (Role::Sender, &self.sender_domain),
            (Role::Helo, &self.hello),
        ];
        let own = own.into_iter().filter(|(_, name)| !name.is_empty());
        let own = own.map(|(role, name)| (role, Arc::from(&**name)));
        let pointers = pointers.into_iter().flat_map(|found| found.names.iter());
        let pointers = pointers.map(|name| (Role::Rdns, Arc::from(name.as_bytes())));
        Some(own.chain(pointers).collect())
    }

    /// The names of the client's address.
    #[must_use]
    pub fn reverse(&self) -> Option<&Names> {
        self.reverse.found()
    }

    /// What is known of the name in HELO.
    #[must_use]
    pub fn helo(&self) -> Option<&helo::Outcome> {
        self.helo.found()
    }

    /// What is known of the sender's domain; `None` also for the empty sender.
    #[must_use]
    pub fn sender(&self) -> Option<&domain::Outcome> {
        self.sender.found()
    }

    /// What SPF says.
    #[must_use]
    pub fn spf(&self) -> Option<&SpfResult> {
        self.spf.found()
    }

    /// What is known of the present message.
    #[must_use]
    pub fn message(&self) -> Option<&Message> {
        self.message.as_deref()
    }

    /// Lends what is known of the present message to another inquiry, or gives it back.
    pub fn lend_message(&mut self, other: &mut Inquiry) {
        other.settled = false;
        other.message = self.message.take();
    }

    /// The same, to go on with it.
    pub fn message_mut(&mut self) -> Option<&mut Message> {
        self.settled = false;
        self.message.as_deref_mut()
    }

    /// The names of the client's address, or why they are not known.
    pub(super) fn known_reverse(&self) -> Result<&Names, Option<Unknown>> {
        self.reverse.known()
    }

    /// What is known of the name in HELO, or why nothing is.
    pub(super) fn known_helo(&self) -> Result<&helo::Outcome, Option<Unknown>> {
        self.helo.known()
    }

    /// What is known of the sender's domain, or why nothing is.
    pub(super) fn known_sender(&self) -> Result<&domain::Outcome, Option<Unknown>> {
        self.sender.known()
    }

    /// What SPF says, or why that is not known.
    pub(super) fn known_spf(&self) -> Result<&SpfResult, Option<Unknown>> {
        self.spf.known()
    }

    /// What each list that is in use says, or why that is not known.
    pub(super) fn listings(
        &self,
    ) -> impl Iterator<Item = (&Zone, Result<&Listing, Option<Unknown>>)> {
        let used = self.lists.iter().filter(|listed| !listed.list.is_off());
        used.map(|listed| {
            let said = match listed.list.is_probed() {
                true => listed.slot.known(),
                false => Err(Some(Unknown::Timeout)),
            };
            (&**listed.list.zone(), said)
        })
    }

    /// What a list says that has this place in the configuration. Where the client is of another class by now, the lists of
    /// another profile were asked.
    pub(super) fn listing(&self, place: usize, list: &Arc<Watched>) -> Option<&Listing> {
        let is_it = |listed: &&Listed| Arc::ptr_eq(&listed.list, list);
        let here = self.lists.get(place).filter(is_it);
        let listed = here.or_else(|| self.lists.iter().find(is_it))?;
        listed.slot.found()
    }

    /// What is proven of the names that lists are asked about.
    pub(super) fn proven(&self) -> Proven {
        let mut proven = Proven::default();
        if let Some(spf) = self.spf()
            && spf.code == ResultCode::Pass
        {
            let role = match spf.identity {
                super::spf::Identity::MailFrom => Role::Sender,
                super::spf::Identity::Helo => Role::Helo,
            };
            proven.add(role, Proofs::SPF);
        }
        if let Some(message) = self.message() {
            let sender = String::from_utf8_lossy(&self.sender_domain).to_ascii_lowercase();
            if let Some(dkim) = message.dkim()
                && dkim.domains().any(|domain| under(&sender, domain))
            {
                proven.add(Role::Sender, Proofs::DKIM);
            }
            if let Some(dmarc) = message.dmarc()
                && dmarc.conclusion == Conclusion::Pass
                && *dmarc.author == *sender
            {
                proven.add(Role::Sender, Proofs::DMARC);
            }
        }
        if self.reverse().is_some_and(|names| names.confirmed > 0) {
            proven.add(Role::Rdns, Proofs::FCRDNS);
            proven.add(Role::Address, Proofs::FCRDNS);
        }
        proven
    }
}

/// One list: what it is asked, and what it said.
struct Listed {
    list: Arc<Watched>,
    says_why: bool,
    slot: Slot<Lookup, Listing>,
    /// A server was asked, not the cache.
    fresh: bool,
}

impl Listed {
    fn new(list: &Arc<Watched>, says_why: bool, client: IpAddr) -> Listed {
        let mut listed = Listed {
            list: Arc::clone(list),
            says_why,
            slot: Slot::Idle,
            fresh: false,
        };
        if !listed.is_of_names() {
            listed.ask(Lookup::of_client(Arc::clone(list.zone()), client));
        }
        listed
    }

    fn is_of_names(&self) -> bool {
        matches!(self.list.zone().kind, Kind::Names(_))
    }

    fn ask_names(&mut self, names: &[(Role, Arc<[u8]>)]) {
        let names = names.iter().map(|(role, name)| (*role, &**name));
        self.ask(Lookup::of_names(Arc::clone(self.list.zone()), names));
    }

    /// A list that is off is not asked.
    fn ask(&mut self, lookup: Lookup) {
        self.fresh = false;
        self.slot = match (self.list.is_off(), self.says_why) {
            (true, _) => Slot::Idle,
            (false, true) => Slot::Asking(lookup.with_text()),
            (false, false) => Slot::Asking(lookup),
        };
    }

    fn sent(&mut self, question: &Question) {
        if let Slot::Asking(lookup) = &self.slot {
            self.fresh |= lookup.asks(question);
        }
    }

    fn step(&mut self, answers: &dyn Answers, now_ms: u64, need: &mut Vec<Question>) {
        self.slot.step(need, |machine| machine.step(answers));
        if let (true, Slot::Found(listing)) = (self.fresh, &self.slot) {
            self.fresh = false;
            match listing.outcome() {
                Outcome::Listed => self.list.count(Said::Yes, now_ms),
                Outcome::NotListed => self.list.count(Said::No, now_ms),
                Outcome::Error(_) => self.list.count(Said::Error, now_ms),
                Outcome::Unknown(_) => {}
            }
        }
    }
}
