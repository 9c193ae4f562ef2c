//! What is counted (only ever grows) and gauged (goes up and down).
//!
//! A variant is one time series for each scope; variants of one family differ in fixed labels. One
//! definition makes the enums, the export and the manual.

use super::scope::Kind;

/// What the exports and the manual say of a [`Counter`] or a [`Gauge`].
#[derive(Debug)]
pub struct Meta {
    /// Name of the metric, without labels.
    pub family: &'static str,
    /// Help of the family.
    pub help: &'static str,
    /// The kind of scope it is recorded under.
    pub kind: Kind,
    /// Fixed labels, apart from those of the scope.
    pub labels: &'static [(&'static str, &'static str)],
    /// What this variant says; empty where the family's help says it all.
    pub doc: &'static str,
}

macro_rules! metrics {
    (
        $(#[$attr:meta])* $name:ident
        $( $family:literal $kind:ident $help:literal {
            $( $variant:ident $([$($key:ident = $value:literal),+])? $doc:literal, )+
        } )+
    ) => {
        $(#[$attr])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $( $( #[doc = $help] #[doc = ""] #[doc = $doc] $variant, )+ )+
        }

        impl $name {
            /// All of them, families together.
            pub const ALL: &'static [$name] = &[$( $( $name::$variant, )+ )+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Name, labels and documentation.
            #[must_use]
            pub fn meta(self) -> &'static Meta {
                const TABLE: &[Meta] = &[$( $( Meta {
                    family: $family,
                    help: $help,
                    kind: Kind::$kind,
                    labels: &[$( $( (stringify!($key), $value) ),+ )?],
                    doc: $doc,
                }, )+ )+];
                &TABLE[self as usize]
            }
        }
    };
}

metrics! {
    /// Something that is counted.
    Counter

    "gatepost_connections_accepted_total" Listener "Connections accepted." {
        Accepted "",
    }
    "gatepost_connections_refused_total" Listener "Connections closed before a session began." {
        RefusedSessions [reason = "sessions"] "The worker has as many sessions as it may have.",
        RefusedClient [reason = "client"] "The client's address or network has as many sessions as it may have, or connects too often.",
        RefusedPolicy [reason = "policy"] "A check at connect refused it.",
        RefusedDrain [reason = "drain"] "The process is ending.",
        RefusedHandshake [reason = "tls"] "The TLS handshake of an implicit-TLS listener failed.",
        RefusedProxyHeader [reason = "proxy_header"] "A PROXY header was due and missing, broken or too long.",
    }
    "gatepost_health_checks_total" Listener "Sessions of trusted clients and proxies that asked for nothing: health checks of load balancers. They leave no log line." {
        HealthChecks "",
    }
    "gatepost_accept_pauses_total" Listener "Pauses of accept for want of descriptors or memory (EMFILE, ENFILE, ENOBUFS, ENOMEM), and connections that were closed at once for the former." {
        AcceptPauses "",
    }
    "gatepost_sessions_ended_total" End "Sessions ended, by the side that ended them (`client`, `gatepost`) and by phase." {
        Ended "",
    }
    "gatepost_timeouts_total" Phase "Deadlines that passed, by the phase of the session." {
        Timeouts "",
    }
    "gatepost_tls_handshakes_total" Listener "TLS handshakes with clients." {
        HandshakeFull13 [outcome = "full", version = "1.3"] "Full handshake.",
        HandshakeFull12 [outcome = "full", version = "1.2"] "Full handshake.",
        HandshakeResumed13 [outcome = "resumed", version = "1.3"] "Resumed from a ticket.",
        HandshakeResumed12 [outcome = "resumed", version = "1.2"] "Resumed from a ticket.",
        HandshakeFailed [outcome = "failed", version = ""] "Failed, or the client left; the log line says why.",
    }
    "gatepost_authentications_total" Listener "AUTH exchanges." {
        PlainAccepted [mechanism = "PLAIN", outcome = "accepted"] "The credentials were right.",
        PlainRejected [mechanism = "PLAIN", outcome = "rejected"] "They were wrong, or there were too many failures before.",
        PlainFailed [mechanism = "PLAIN", outcome = "failed"] "The source of credentials gave no answer; the client got 454.",
        LoginAccepted [mechanism = "LOGIN", outcome = "accepted"] "The credentials were right.",
        LoginRejected [mechanism = "LOGIN", outcome = "rejected"] "They were wrong, or there were too many failures before.",
        LoginFailed [mechanism = "LOGIN", outcome = "failed"] "The source of credentials gave no answer; the client got 454.",
        ScramAccepted [mechanism = "SCRAM-SHA-256", outcome = "accepted"] "The credentials were right.",
        ScramRejected [mechanism = "SCRAM-SHA-256", outcome = "rejected"] "They were wrong, or there were too many failures before.",
        ScramFailed [mechanism = "SCRAM-SHA-256", outcome = "failed"] "The source of credentials gave no answer; the client got 454.",
        BoundAccepted [mechanism = "SCRAM-SHA-256-PLUS", outcome = "accepted"] "The credentials were right.",
        BoundRejected [mechanism = "SCRAM-SHA-256-PLUS", outcome = "rejected"] "They were wrong, or there were too many failures before.",
        BoundFailed [mechanism = "SCRAM-SHA-256-PLUS", outcome = "failed"] "The source of credentials gave no answer; the client got 454.",
        BearerAccepted [mechanism = "OAUTHBEARER", outcome = "accepted"] "The credentials were right.",
        BearerRejected [mechanism = "OAUTHBEARER", outcome = "rejected"] "They were wrong, or there were too many failures before.",
        BearerFailed [mechanism = "OAUTHBEARER", outcome = "failed"] "The source of credentials gave no answer; the client got 454.",
        Xoauth2Accepted [mechanism = "XOAUTH2", outcome = "accepted"] "The credentials were right.",
        Xoauth2Rejected [mechanism = "XOAUTH2", outcome = "rejected"] "They were wrong, or there were too many failures before.",
        Xoauth2Failed [mechanism = "XOAUTH2", outcome = "failed"] "The source of credentials gave no answer; the client got 454.",
    }
    "gatepost_received_bytes_total" Listener "Octets read from clients, without what TLS adds." {
        BytesIn "",
    }
    "gatepost_sent_bytes_total" Listener "Octets written to clients, without what TLS adds." {
        BytesOut "",
    }
    "gatepost_body_bytes_total" Listener "Octets of message bodies taken, dots unstuffed." {
        BodyBytes "",
    }
    "gatepost_recipients_total" Listener "Answers to RCPT." {
        RecipientAccepted [verdict = "accepted"] "2xx.",
        RecipientDeferred [verdict = "deferred"] "4xx.",
        RecipientRejected [verdict = "rejected"] "5xx.",
    }
    "gatepost_messages_total" Listener "Transactions ended, by what the client was told." {
        MessageAccepted [verdict = "accepted"] "250 after the end of data.",
        MessageQuarantined [verdict = "quarantined"] "250 after the end of data, from the pool for suspicious mail.",
        MessageDiscarded [verdict = "discarded"] "250 after the end of data, and delivered nowhere: a rule said `discard`.",
        MessageDeferred [verdict = "deferred"] "4xx at MAIL, DATA or the end of data, or to every recipient.",
        MessageRejected [verdict = "rejected"] "5xx at MAIL, DATA or the end of data, or to every recipient.",
        MessageAbandoned [verdict = "abandoned"] "The client left, or sent RSET or EHLO, with at least one recipient accepted.",
    }
    "gatepost_tarpit_total" Listener "Sessions that a check slows (`tarpit`)." {
        TarpitHeld [result = "slowed"] "Its replies are slow.",
        TarpitFull [result = "full"] "It is not: `limits.tarpit` sessions are slowed already.",
    }
    "gatepost_messages_streamed_total" Listener "Bodies larger than the window, streamed to the backend while they came." {
        Streamed "",
    }
    "gatepost_dkim_messages_total" Listener "Messages of clients whose mail is signed (`[[dkim]]`), by what came of it." {
        DkimSigned [result = "signed"] "Each key of the author's domain has signed it.",
        DkimNoKey [result = "no_key"] "No key is for the domain in From and this client.",
        DkimNoAuthor [result = "no_author"] "From is missing or names no one domain, the header has lines that are no fields, or too many fields.",
        DkimTooLarge [result = "too_large"] "It is larger than `limits.signing_window` or half of `limits.body_memory`: it went on without a signature.",
        DkimFailed [result = "failed"] "The library could not sign: it went on without a signature.",
    }
    "gatepost_streams_ended_total" None "Streams ended because they came slower than `timeouts.stress_rate` while other messages waited for a connection." {
        StreamsEnded "",
    }
    "gatepost_bodies_refused_total" Listener "Bodies refused with 452 because body memory was spent." {
        BodyRefused "",
    }
    "gatepost_check_hits_total" Check "Hits of a check; `shadow=\"true\"` had no effect." {
        HitAccept [verdict = "accept", shadow = "false"] "Accepted at once.",
        HitScore [verdict = "score", shadow = "false"] "Added to the score.",
        HitDefer [verdict = "defer", shadow = "false"] "Asked for a 4xx.",
        HitReject [verdict = "reject", shadow = "false"] "Asked for a 5xx.",
        HitClose [verdict = "close", shadow = "false"] "Asked to close the connection.",
        HitTag [verdict = "tag", shadow = "false"] "Tagged the message.",
        HitTarpit [verdict = "tarpit", shadow = "false"] "Slowed the session.",
        HitGreylist [verdict = "greylist", shadow = "false"] "Asked the greylist.",
        HitQuarantine [verdict = "quarantine", shadow = "false"] "Asked for quarantine.",
        HitDiscard [verdict = "discard", shadow = "false"] "Asked to discard the message.",
        HitUnknown [verdict = "unknown", shadow = "false"] "Did nothing: what the rule reads was not known.",
        ShadowAccept [verdict = "accept", shadow = "true"] "Would have accepted at once.",
        ShadowScore [verdict = "score", shadow = "true"] "Would have added to the score.",
        ShadowDefer [verdict = "defer", shadow = "true"] "Would have asked for a 4xx.",
        ShadowReject [verdict = "reject", shadow = "true"] "Would have asked for a 5xx.",
        ShadowClose [verdict = "close", shadow = "true"] "Would have asked to close.",
        ShadowTag [verdict = "tag", shadow = "true"] "Would have tagged the message.",
        ShadowTarpit [verdict = "tarpit", shadow = "true"] "Would have slowed the session.",
        ShadowGreylist [verdict = "greylist", shadow = "true"] "Would have asked the greylist.",
        ShadowQuarantine [verdict = "quarantine", shadow = "true"] "Would have asked for quarantine.",
        ShadowDiscard [verdict = "discard", shadow = "true"] "Would have asked to discard.",
        ShadowUnknown [verdict = "unknown", shadow = "true"] "What the rule reads was not known.",
    }
    "gatepost_shadow_config_total" None "Messages, and sessions refused without one, that `shadow_config` was judged on as well: by the verdict of the policy in force, and by the candidate's." {
        CandidateAcceptAccept [live = "accept", candidate = "accept"] "Both would say the same.",
        CandidateAcceptDefer [live = "accept", candidate = "defer"] "The candidate would defer what the policy in force accepts.",
        CandidateAcceptReject [live = "accept", candidate = "reject"] "The candidate would reject what the policy in force accepts.",
        CandidateDeferAccept [live = "defer", candidate = "accept"] "The candidate would accept what the policy in force defers.",
        CandidateDeferDefer [live = "defer", candidate = "defer"] "Both would say the same.",
        CandidateDeferReject [live = "defer", candidate = "reject"] "The candidate would reject what the policy in force defers.",
        CandidateRejectAccept [live = "reject", candidate = "accept"] "The candidate would accept what the policy in force rejects.",
        CandidateRejectDefer [live = "reject", candidate = "defer"] "The candidate would defer what the policy in force rejects.",
        CandidateRejectReject [live = "reject", candidate = "reject"] "Both would say the same.",
    }
    "gatepost_verifications_total" Pool "Recipients verified, by where the answer came from." {
        VerifyHitGood [result = "hit_good"] "The cache has it as accepted.",
        VerifyHitBad [result = "hit_bad"] "The cache has it as refused.",
        VerifyMiss [result = "miss"] "A backend was asked.",
        VerifyJoined [result = "joined"] "Waited for an answer that another session had asked for.",
        VerifyFailed [result = "failed"] "No backend could say.",
    }
    "gatepost_leases_total" Backend "Connections leased for a message." {
        LeaseReused [source = "pool"] "A warm connection.",
        LeaseFresh [source = "connect"] "A connection opened for it.",
        LeaseMoved [source = "worker"] "An idle connection handed over by another worker.",
    }
    "gatepost_leases_failed_total" Pool "Messages that got no backend connection." {
        LeaseTimeout [reason = "timeout"] "None came free, or none was opened, in time.",
        LeaseDown [reason = "down"] "No backend of the pool is usable.",
        LeaseBusy [reason = "busy"] "Too many were waiting already.",
    }
    "gatepost_backend_connections_opened_total" Backend "Connections opened to a backend, greeted and ready." {
        BackendOpened "",
    }
    "gatepost_backend_connections_failed_total" Backend "Attempts to open a connection to a backend that failed." {
        ConnectRefused [reason = "refused"] "Connection refused, or reset at once.",
        ConnectTimeout [reason = "timeout"] "No connection or no greeting in time.",
        ConnectUnreachable [reason = "unreachable"] "No route, no address, no descriptor.",
        ConnectGreeting [reason = "greeting"] "Greeted with a code other than 220.",
        ConnectHello [reason = "hello"] "EHLO and HELO refused.",
        ConnectTls [reason = "tls"] "STARTTLS missing or refused where required, or the handshake failed.",
        ConnectProtocol [reason = "protocol"] "Sent something invalid, or more than it was asked for.",
        ConnectOther [reason = "other"] "Anything else.",
    }
    "gatepost_backend_connections_closed_total" Backend "Connections to a backend closed." {
        ClosedIdle [reason = "idle"] "Idle for too long, or one idle too many.",
        ClosedStale [reason = "stale"] "Found closed or talking while idle.",
        ClosedStrain [reason = "strain"] "Has had as many refusals or RSETs between two messages as a backend tolerates.",
        ClosedAge [reason = "age"] "Reached its limit of messages or of age.",
        ClosedFailed [reason = "failed"] "Failed during a transaction.",
        ClosedAborted [reason = "aborted"] "A transaction was broken off on purpose, so that the backend discards it.",
        ClosedShed [reason = "shed"] "Given up so that another worker may open one.",
        ClosedDrain [reason = "drain"] "The process is ending, or the backend is no longer in the configuration.",
    }
    "gatepost_backend_tls_total" Backend "Connections opened to a backend, by TLS version." {
        BackendTls13 [version = "TLSv1.3"] "TLS 1.3.",
        BackendTls12 [version = "TLSv1.2"] "TLS 1.2.",
        BackendClear [version = "none"] "No TLS: not wanted, not offered, or refused where it's opportunistic.",
        BackendFallback [version = "fallback"] "No TLS: the handshake failed where it's opportunistic.",
    }
    "gatepost_backend_identity_total" Backend "Connections and messages with which a backend was to be told the client's identity (`pool.identity`)." {
        IdentityTold [result = "told"] "It was told, by XCLIENT, XFORWARD or a PROXY header.",
        IdentityUnoffered [result = "unoffered"] "It offers no XCLIENT or XFORWARD: it saw our address.",
        IdentityRefused [result = "refused"] "It refused: by its reply, or by closing before it greeted.",
    }
    "gatepost_backend_messages_total" Backend "Final replies of a backend to a message." {
        BackendAccepted [reply = "2xx"] "Accepted.",
        BackendDeferred [reply = "4xx"] "Deferred.",
        BackendRejected [reply = "5xx"] "Rejected.",
        BackendNonsense [reply = "invalid"] "Not a valid SMTP reply.",
    }
    "gatepost_backend_retries_total" Backend "Transactions begun again, unseen by the client, after this backend failed before the end of data." {
        RetryStale [reason = "stale"] "On a fresh connection, the pooled one being stale.",
        RetryOther [reason = "failover"] "On another backend.",
    }
    "gatepost_uncertain_total" Backend "Connections lost between the end of data sent and the final reply: delivered or not is unknown." {
        Uncertain "",
    }
    "gatepost_backend_surplus_replies_total" Backend "Times that a backend said more than it was asked (without 421), so that its replies fit the commands no longer. Its connection was closed, and its messages go by DATA from then on." {
        BackendSurplus "",
    }
    "gatepost_backend_health_changes_total" Backend "Changes of a backend's health." {
        HealthUp [to = "up"] "It became usable.",
        HealthDown [to = "down"] "It became unusable.",
    }
    "gatepost_lookups_total" None "Questions of the checks to the DNS, by how they were answered." {
        LookupCached [how = "cached"] "The answer was there.",
        LookupJoined [how = "joined"] "The same was being asked already.",
        LookupSent [how = "sent"] "A server was asked.",
        LookupRefused [how = "refused"] "Not asked, or not kept: too many questions were on their way, the answers of the message took too much memory, or no server had answered for some time.",
    }
    "gatepost_lookups_late_total" None "Waits for answers that ended at `timeouts.lookups` without all of them." {
        LookupLate "",
    }
    "gatepost_lookups_bogus_total" None "Answers of the DNS that its servers found forged (`dns.dnssec`), and that count as no answer." {
        LookupBogus "",
    }
    "gatepost_messages_unverified_total" None "Messages of which DKIM signatures or the ARC chain were not verified, because too much of that was under way." {
        UnverifiedShare [reason = "share"] "The client's address (IPv6: its /64) or network (/24, /48) had its share under way.",
        UnverifiedFull [reason = "full"] "The queue was full.",
        UnverifiedLate [reason = "late"] "The results did not come within five seconds.",
    }
    "gatepost_dmarc_reports_total" None "DMARC reports written (`policy.dmarc.reports`)." {
        ReportsWritten "",
    }
    "gatepost_dmarc_messages_lost_total" None "Messages that no DMARC report tells of." {
        ReportQueue [reason = "queue"] "They came faster than they could be added up, or after the thread that adds them up had ended.",
        ReportRoom [reason = "room"] "There was no room for another row, or the disk took no reports for three intervals.",
    }
    "gatepost_acme_orders_total" None "Tries to get a certificate by ACME." {
        AcmeIssued [result = "issued"] "It came and is in force.",
        AcmeRefused [result = "refused"] "The authority refused, or found a challenge unanswered.",
        AcmeUnreached [result = "unreached"] "The authority could not be reached, or the store not be written.",
    }
    "gatepost_log_lines_dropped_total" None "Lines that were lost, by the log that they belong to: that of transactions (`log.to`) or that of the service itself (standard error)." {
        LogQueue [log = "transactions", reason = "queue"] "The queue was full: the output accepts lines too slowly, or not at all.",
        LogWrite [log = "transactions", reason = "write"] "The write failed: a full disk, a closed pipe.",
        ServiceQueue [log = "service", reason = "queue"] "The queue was full: the output accepts lines too slowly, or not at all.",
        ServiceWrite [log = "service", reason = "write"] "The write failed: a full disk, a closed pipe.",
    }
    "gatepost_state_writes_total" None "Writes of what is to outlive a restart (`state.directory`)." {
        StateWritten [result = "written"] "It is on the disk.",
        StateFailed [result = "failed"] "The file system refused it: a full disk, a folder that can't be written to. The file before stays.",
    }
    "gatepost_admin_bind_failures_total" None "Tries to listen on `admin.listen` or `admin.public` that failed; mail is served meanwhile." {
        AdminBind "",
    }
    "gatepost_panics_total" None "Panics caught; each cost one session." {
        Panics "",
    }
    "gatepost_reloads_total" None "Reloads of the configuration." {
        ReloadApplied [result = "applied"] "The new file is in force.",
        ReloadRefused [result = "refused"] "It had an error; the old one stays in force.",
    }
}

metrics! {
    /// A level that goes up and down. Those of all workers are added up.
    Gauge

    "gatepost_sessions_open" Listener "Sessions open." {
        Sessions "",
    }
    "gatepost_body_memory_bytes" None "Memory in use of `limits.body_memory`: bodies that wait or stream, and what sessions hold of large envelopes and answers." {
        BodyMemory "",
    }
    "gatepost_lookup_memory_bytes" None "What sessions hold of questions and their answers, also of answers that the cache has." {
        LookupMemory "",
    }
    "gatepost_backend_connections" Backend "Connections to a backend." {
        BackendIdle [state = "idle"] "Warm, in a pool.",
        BackendLeased [state = "leased"] "Carrying a message or a verification.",
        BackendOpening [state = "opening"] "Being opened.",
    }
    "gatepost_lease_waiters" Pool "Messages that wait for a backend connection." {
        LeaseWaiters "",
    }
    "gatepost_backend_up" Backend "1 while a backend is usable, else 0." {
        BackendUp "",
    }
    "gatepost_backend_weight" Backend "Share of the traffic that a backend is given, relative to the others of its pool." {
        BackendWeight "",
    }
    "gatepost_verification_cache_entries" None "Recipients that the verification cache remembers." {
        VerifyEntries "",
    }
    "gatepost_acme_next_order_timestamp_seconds" None "When a certificate is ordered next by ACME, in seconds since 1970; in the past while it is under way." {
        AcmeNext "",
    }
    "gatepost_certificate_ends_timestamp_seconds" Certificate "When a certificate ends, in seconds since 1970; of those for one name the first to end." {
        CertificateEnds "",
    }
    "gatepost_draining" None "1 while the process drains, else 0." {
        Draining "",
    }
    "gatepost_dns_servers_not_validating" None "DNS servers that were found not to validate, where they should (`dns.dnssec`)." {
        NotValidating "",
    }
    "gatepost_state_written_timestamp_seconds" None "When what is to outlive a restart was written last, in seconds since 1970." {
        StateWrittenAt "",
    }
    "gatepost_config_applied_timestamp_seconds" None "When the configuration in force was applied, in seconds since 1970." {
        ConfigApplied "",
    }
}

/// A fact told by labels; its value is always 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Info {
    /// `version`, `revision`, …
    Build,
    /// `engine` and `why` it was chosen.
    Engine,
}

impl Info {
    /// All of them.
    pub const ALL: &'static [Info] = &[Info::Build, Info::Engine];

    /// Name of the metric.
    #[must_use]
    pub fn family(self) -> &'static str {
        match self {
            Info::Build => "gatepost_build_info",
            Info::Engine => "gatepost_engine_info",
        }
    }

    /// Help of the metric.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            Info::Build => "The build: its version and other facts about it.",
            Info::Engine => "The I/O engine in use and why it was chosen.",
        }
    }
}
