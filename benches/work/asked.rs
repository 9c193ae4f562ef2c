//! A policy of 20 rules that reads the DNS as well, asked about an envelope of which all answers are there.

use super::judge::{self, settle};
use gatepost::{
    config,
    dns::{Answer, Answers, Question},
    lookup::Recorded,
    policy::{At, Facts, Inquiry, Judgement, Policy, SessionTicket, Shared},
    smtp::Tick,
};
use std::{collections::HashMap, fmt::Write, net::IpAddr};

/// What the DNS says: the client has a name, SPF passes by an include, and no list has the client.
const ANSWERS: &str = "
    7.2.0.192.in-addr.arpa PTR mail.client.example
    mail.client.example A 192.0.2.7
    client.example MX 10 mail.client.example
    client.example A 192.0.2.7
    client.example TXT \"v=spf1 include:spf.client.example mx -all\"
    spf.client.example TXT \"v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/28 ~all\"";

/// Of the kinds that people write, each of them false for this message.
const RULES: [&str; 20] = [
    "dnsbl_hits >= 2 && rdns != \"confirmed\"",
    "rdns.generic && spf != \"pass\"",
    "rdns == \"none\" && !client.trusted",
    "spf == \"fail\" && sender.domain.under(\"bank.example\")",
    "client.address in cidr(\"198.51.100.0/24\", \"203.0.113.0/24\")",
    "helo == \"localhost\" || helo.endsWith(\".local\")",
    "helo.matches(\"^[0-9]+-[0-9]+-[0-9]+-[0-9]+\")",
    "sender.local.startsWith(\"bounce-\") && dnsbl_hits > 0",
    "sender.local.matches(\"^[a-z]{12,}[0-9]{4,}$\")",
    "sender.domain in list(\"freemail\") && spf == \"softfail\"",
    "sender_domain == \"no_mail\"",
    "client.sessions > 20",
    "client.early_talk && rdns == \"unconfirmed\"",
    "message.declared_size > bytes(\"50MiB\")",
    "recipient.local.lowerAscii() == \"abuse\" && dnsbl_hits == 5",
    "recipient.domain == \"closed.example\" && !tls",
    "recipient.local.glob(\"*-request\") && spf == \"none\"",
    "recipients.size() > 50 && !has(auth.account)",
    "header(\"Subject\").contains(\"lottery\") && spf != \"pass\"",
    "score >= 4.0 && rdns != \"confirmed\"",
];

/// The `[policy]` table, with five lists.
fn table() -> String {
    let mut table = "
        [rdns]
        none = 1.0
        [spf]
        fail = 3.0
        [sender_domain]
        no_name = 2.0
        [dkim]
        mode = 'off'
        [dmarc]
        mode = 'off'
        [arc]
        mode = 'off'
        [[list]]
        name = 'freemail'
        entries = ['mail.example', 'post.example']\n"
        .to_string();
    for n in 1..=5 {
        writeln!(
            table,
            "[[dnsbl]]\nzone = 'bl{n}.example'\ntest_entries = false\nthen = 'score'\nscore = 2.0"
        )
        .expect("a String takes it");
    }
    for (n, when) in RULES.iter().enumerate() {
        writeln!(
            table,
            "[[rule]]\nname = 'r{n}'\nwhen = '{when}'\nscore = 1.0"
        )
        .expect("a String takes it");
    }
    table
}

/// All that was ever answered.
struct Known(HashMap<Question, Answer>);

impl Answers for Known {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        self.0.get(question)
    }
}

/// The policy with a session of this client.
pub struct Asked {
    policy: Policy,
    shared: Shared,
    judgement: Judgement,
    inquiry: Inquiry,
    known: Known,
    ticket: SessionTicket,
    client: IpAddr,
    now: u64,
}

impl Asked {
    /// One whose client is known to the DNS, and that has judged a message before.
    ///
    /// # Panics
    /// If the message is refused, or something is not answered: then the bench would measure something else.
    pub fn new(client: IpAddr) -> Asked {
        let mut config: config::Policy = toml::from_str(&table()).expect("a policy");
        settle(&mut config);
        let policy = Policy::build(&config, "mx.ours.example").unwrap_or_else(|f| panic!("{f:?}"));
        let shared = Shared::new(&config);
        let ticket = shared.open_session(client, 0);
        let mut asked = Asked {
            policy,
            shared,
            judgement: Judgement::new(),
            inquiry: Inquiry::default(),
            known: Known(HashMap::new()),
            ticket,
            client,
            now: 0,
        };
        let recorded = Recorded::parse(ANSWERS).expect("answers");
        for at in [At::Connect, At::Hello, At::Mail] {
            asked.begin(at);
            while let Some(need) = asked.step() {
                for question in need {
                    let answer = recorded.answer(&question.name, &question);
                    asked.known.0.insert(question, answer);
                }
            }
        }
        assert!(
            asked
                .inquiry
                .spf()
                .is_some_and(|spf| spf.code.as_str() == "pass")
        );
        assert!(asked.inquiry.reverse().is_some());
        asked.judge();
        asked
    }

    /// All of an envelope: what is asked about it, and each question of the policy.
    pub fn envelope(&mut self) {
        self.begin(At::Mail);
        assert!(self.step().is_none(), "all was asked before");
        self.judge();
    }

    /// The questions of the policy alone.
    pub fn judge(&mut self) {
        self.now += 100;
        let facts = facts(self.client, &self.ticket, &self.inquiry, self.now);
        for at in [At::Mail, At::Answers, At::Rcpt, At::Header, At::Body] {
            let verdict = self
                .policy
                .ask(at, &facts, &self.shared, &mut self.judgement);
            assert!(verdict.is_accept(), "{verdict:?} at {at:?}");
        }
        assert_eq!(
            self.judgement.hits().len(),
            0,
            "{:?}",
            self.judgement.hits()
        );
    }

    fn begin(&mut self, at: At) {
        let none = Inquiry::default();
        let facts = facts(self.client, &self.ticket, &none, self.now);
        self.policy
            .begin_inquiry(at, &facts, &self.judgement, &mut self.inquiry);
    }

    /// Goes on with what is asked; `None` where all is known.
    fn step(&mut self) -> Option<Vec<Question>> {
        let mut need = Vec::new();
        let now = Tick(self.now);
        self.policy
            .inquire(0, &mut self.inquiry, &self.known, now, &mut need);
        (!need.is_empty()).then_some(need)
    }
}

fn facts<'a>(
    client: IpAddr,
    ticket: &'a SessionTicket,
    inquiry: &'a Inquiry,
    now: u64,
) -> Facts<'a> {
    Facts {
        inquiry: Some(inquiry),
        ..judge::facts(client, ticket, now)
    }
}
