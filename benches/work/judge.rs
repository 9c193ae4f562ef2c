//! The policy, asked what a session with one message asks.

use super::text::HEADER;
use gatepost::{
    config,
    policy::{At, Facts, Judgement, Policy, SessionTicket, Shared},
    smtp::{Tick, envelope::Path},
};
use std::net::IpAddr;

/// Lists, a rate of senders, and header rules beside the defaults.
pub const RICH: &str = "
    client_list = [{ name = 'blocked', entries = ['198.51.100.0/24'] }]
    sender_list = [{ name = 'bad', entries = ['bad.example', '.dyn.example', 'a@b.example'] }]
    recipient_list = [{ name = 'closed', entries = ['noreply@ours.example'] }]
    [sender_rate]
    messages = 4000000000
    [[header]]
    name = 'date'
    field = 'Date'
    when = 'absent'
    [[header]]
    name = 'pills'
    field = 'Subject'
    pattern = 'cheap +pills|lottery'";

/// The questions of a message on a kept connection.
pub const KEPT: &[At] = &[At::Mail, At::Rcpt, At::Body];
/// The questions of a session with one message.
pub const ALL: &[At] = &[At::Connect, At::Hello, At::Mail, At::Rcpt, At::Body];

/// A policy with one session.
pub struct Judge {
    policy: Policy,
    shared: Shared,
    judgement: Judgement,
    /// The session, which holds what is hashed once for all of its questions.
    session: Option<(IpAddr, SessionTicket)>,
    now: u64,
}

impl Judge {
    /// The policy of this `[policy]` table, its rates out of reach, so that nothing is refused for what the
    /// bench does to its own address.
    ///
    /// # Panics
    /// If the table is no policy.
    pub fn new(toml: &str) -> Judge {
        let mut config: config::Policy = toml::from_str(toml).expect("a policy");
        settle(&mut config);
        let policy = Policy::build(&config, "mx.ours.example").unwrap_or_else(|f| panic!("{f:?}"));
        Judge {
            policy,
            shared: Shared::new(&config),
            judgement: Judgement::new(),
            session: None,
            now: 0,
        }
    }

    /// Asks these questions about the message of a client, in a session of its own where the last one was another's.
    ///
    /// # Panics
    /// If the message is refused: then the bench would measure something else.
    pub fn ask(&mut self, client: IpAddr, points: &[At]) {
        self.now += 100;
        let fresh = || (client, self.shared.open_session(client, 0));
        let (_, ticket) = match &mut self.session {
            Some(session) if session.0 == client => session,
            session => session.insert(fresh()),
        };
        let facts = facts(client, ticket, self.now);
        for at in points {
            let verdict = self
                .policy
                .ask(*at, &facts, &self.shared, &mut self.judgement);
            assert!(verdict.is_accept(), "{verdict:?} at {at:?}");
        }
    }

    /// Counts a session of this client.
    pub fn open(&self, client: IpAddr) -> SessionTicket {
        self.shared.open_session(client, 0)
    }
}

/// Puts the rates out of reach.
pub fn settle(config: &mut config::Policy) {
    for rate in [
        &mut config.client_rate,
        &mut config.prefix_rate,
        &mut config.sender_rate,
    ] {
        for limit in [
            &mut rate.connections,
            &mut rate.messages,
            &mut rate.recipients,
        ] {
            if *limit > 0 {
                *limit = u32::MAX;
            }
        }
        if rate.bytes.0 > 0 {
            rate.bytes.0 = u64::from(u32::MAX) << 16;
        }
    }
}

/// What is known of the message that is judged.
pub fn facts(client: IpAddr, ticket: &SessionTicket, now: u64) -> Facts<'_> {
    Facts {
        hello: b"mail.client.example",
        sender: Path::split(b"someone@client.example"),
        recipient: Some(Path::split(b"somebody.else@ours.example")),
        recipient_is_ours: true,
        size: 4096,
        header: HEADER,
        keys: Some(ticket.keys()),
        ..Facts::of(client, Tick(now))
    }
}
