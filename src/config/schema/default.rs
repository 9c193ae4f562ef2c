//! The default of every key: useful for a first start, and safe on the internet.

use super::*;
use crate::config::{AdminListen, Dnssec, Io, Mode, Preset, Role, Size, Then, Time, Workers};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

impl Default for Config {
    fn default() -> Config {
        let loopback_v4 = IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);
        let loopback_v6 = IpNet::new_assert(IpAddr::V6(Ipv6Addr::LOCALHOST), 128);
        Config {
            include: Vec::new(),
            workers: Workers::default(),
            io: Io::default(),
            hostname: String::new(),
            trusted: vec![loopback_v4, loopback_v6],
            trusted_files: Vec::new(),
            admin: Admin::default(),
            acme: Acme::default(),
            listener: Vec::new(),
            certificate: Vec::new(),
            pool: Vec::new(),
            route: Vec::new(),
            dns: Dns::default(),
            credentials: Vec::new(),
            dkim: Vec::new(),
            policy: Policy::default(),
            shadow_config: None,
            places: None,
            state: State::default(),
            profile: Vec::new(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            log: Log::default(),
            process: Process::default(),
            maildir: Maildir::default(),
        }
    }
}

impl Default for Acme {
    fn default() -> Acme {
        Acme {
            domains: Vec::new(),
            agree: false,
            contact: Vec::new(),
            directory: "https://acme-v02.api.letsencrypt.org/directory".into(),
            store: "/var/lib/gatepost/acme".into(),
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 80))],
            renew_before: Time::secs(30 * 86_400),
            ca: None,
            external_account: None,
            external_key: None,
        }
    }
}

impl Default for Listener {
    fn default() -> Listener {
        Listener {
            name: String::new(),
            address: Vec::new(),
            role: Role::default(),
            tls: Default::default(),
            tls_min: Default::default(),
            client_certificates: Default::default(),
            client_ca: None,
            client_trusted: Vec::new(),
            submission_fixes: true,
            banner: "Gatepost".into(),
            sessions_max: 20_000,
            greeting_delay: Time::secs(0),
            greeting_pass: Time::secs(86_400),
            proxy_protocol_from: Vec::new(),
            xclient_from: Vec::new(),
            xforward_from: Vec::new(),
            auth: Vec::new(),
            credentials: String::new(),
            auth_requires_tls: true,
            sender_identity: Default::default(),
            recipient_delimiter: "+".into(),
            backlog: 4096,
            profile: String::new(),
            policy: PolicyPart::default(),
        }
    }
}

impl Default for Pool {
    fn default() -> Pool {
        Pool {
            name: String::new(),
            backends: Vec::new(),
            protocol: Default::default(),
            balance: Default::default(),
            connections: 64,
            lease_wait: Time::secs(10),
            idle: Time::secs(60),
            lifetime: Time::secs(600),
            messages: 1000,
            chunking: true,
            hello: String::new(),
            tls: Default::default(),
            tls_implicit: false,
            tls_ca: None,
            tls_name: String::new(),
            tls_certificate: None,
            tls_key: None,
            identity: Default::default(),
            verify_sender: "<>".into(),
            health: Health::default(),
        }
    }
}

impl Default for Health {
    fn default() -> Health {
        Health {
            backoff: Time::secs(1),
            backoff_max: Time::secs(60),
            interval: Time::secs(30),
            timeout: Time::secs(5),
            slow_start: Time::secs(10),
            eject_max: 50,
        }
    }
}

impl Default for Policy {
    fn default() -> Policy {
        let score = |score| Outcome {
            then: Then::Score,
            score,
            ..Outcome::default()
        };
        Policy {
            preset: Preset::default(),
            reject_score: 10.0,
            defer_score: 0.0,
            quarantine_score: 0.0,
            tag_score: 0.0,
            tag: TagSettings::default(),
            quarantine: QuarantineSettings::default(),
            log_rejected: LogRejected::default(),
            explain_header: ExplainHeader::None,
            rate_table: 100_000,
            client_list: Vec::new(),
            helo_list: Vec::new(),
            sender_list: Vec::new(),
            recipient_list: Vec::new(),
            // Generous: far above what a busy provider's one address does to one site, far below a flood.
            client_rate: Rate {
                sessions: 100,
                connections: 600,
                messages: 3000,
                recipients: 10_000,
                ..Rate::default()
            },
            prefix_rate: Rate {
                sessions: 500,
                connections: 3000,
                messages: 15_000,
                recipients: 50_000,
                ..Rate::default()
            },
            // Off: a large provider's domain sends from thousands of addresses, and only a site knows its own traffic.
            sender_rate: Rate::default(),
            helo: HeloRules {
                unqualified: score(2.0),
                address: score(4.0),
                ours: Outcome::default(),
            },
            early_talk: Outcome {
                then: Then::Close,
                ..Outcome::default()
            },
            relay: Outcome::default(),
            identity: IdentityRules::default(),
            r#loop: Outcome::default(),
            header_size: Outcome::default(),
            dnsbl: Vec::new(),
            rdns: RdnsRules::default(),
            helo_domain: HeloDomainRules::default(),
            sender_domain: SenderDomainRules::default(),
            spf: SpfRules::default(),
            dkim: DkimRules::default(),
            dmarc: DmarcRules::default(),
            arc: ArcRules::default(),
            greylist: GreylistRules::default(),
            reputation: ReputationRules::default(),
            header: Vec::new(),
            list: Vec::new(),
            rule: Vec::new(),
        }
    }
}

impl Default for Outcome {
    fn default() -> Outcome {
        Outcome {
            then: Then::Reject,
            score: 0.0,
            reply: None,
            mode: Mode::On,
        }
    }
}

impl Default for List {
    fn default() -> List {
        List {
            name: String::new(),
            entries: Vec::new(),
            files: Vec::new(),
            list: String::new(),
            then: Then::Reject,
            score: 0.0,
            reply: None,
            mode: Mode::On,
        }
    }
}

impl Default for Rate {
    fn default() -> Rate {
        Rate {
            sessions: 0,
            connections: 0,
            messages: 0,
            recipients: 0,
            bytes: Size(0),
            per: Time::secs(60),
            table: 100_000,
            then: Then::Defer,
            reply: None,
            mode: Mode::On,
        }
    }
}

impl Default for HeloRules {
    fn default() -> HeloRules {
        Policy::default().helo
    }
}

impl Default for HeaderRule {
    fn default() -> HeaderRule {
        HeaderRule {
            name: String::new(),
            field: String::new(),
            when: Default::default(),
            pattern: None,
            then: Then::Reject,
            score: 0.0,
            reply: None,
            mode: Mode::On,
        }
    }
}

impl Default for Admin {
    fn default() -> Admin {
        Admin {
            listen: AdminListen::At(SocketAddr::from(([127, 0, 0, 1], 9025))),
            public: AdminListen::Off,
            hosts: Vec::new(),
            token: Secret::default(),
            explanations: 10_000,
            histogram_log: None,
            histogram_interval: Time::secs(60),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message_size: Size::mib(50),
            recipients: 1000,
            line: Size::kib(8),
            received: 100,
            messages: 0,
            errors: 20,
            junk: 100,
            window: Size::kib(256),
            signing_window: Size::mib(32),
            body_memory: Size::mib(64),
            header: Size::kib(128),
            bare_newline: Default::default(),
            sessions: 20_000,
            auth_failures_client: 30,
            auth_failures_account: 20,
            auth_slowed: 1_000,
            tarpit: 500,
        }
    }
}

impl Default for Dns {
    fn default() -> Dns {
        Dns {
            servers: Vec::new(),
            timeout: Time::secs(3),
            dnssec: Dnssec::Off,
            cache: Size(16 * 1024 * 1024),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            command: Time::secs(300),
            proxy_header: Time::secs(5),
            data: Time::secs(180),
            body_rate: Size(500),
            stress: Time::secs(10),
            stress_rate: Size::kib(8),
            handshake: Time::secs(30),
            send: Time::secs(60),
            connect: Time::secs(10),
            backend: Time::secs(60),
            commit: Time::secs(600),
            lookups: Time::secs(10),
            drain: Time::secs(60),
            drain_delay: Time::secs(0),
            verify_good: Time::secs(3600),
            verify_bad: Time::secs(300),
            auth_delay: Time::secs(1),
            tarpit: Time::secs(5),
            auth_lockout: Time::secs(900),
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log {
            to: "stdout".into(),
            format: Default::default(),
            level: Default::default(),
            queue: 8192,
        }
    }
}

impl Default for Maildir {
    fn default() -> Maildir {
        Maildir {
            listen: AdminListen::Off,
            directory: "var/maildir".into(),
        }
    }
}
