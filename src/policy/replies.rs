//! The replies that the policy originates. Each rule may have its own text instead (`reply = "…"`).

use super::What;
use crate::smtp::{Known, Status};

/// The replies of one kind of check, by what it does.
#[derive(Debug)]
pub(super) struct Defaults {
    pub defer: &'static Known,
    pub reject: &'static Known,
    pub close: &'static Known,
}

impl Defaults {
    /// The built-in reply. Rules that refuse nothing have one too; it is never sent.
    pub fn of(&self, what: What) -> &'static Known {
        match what {
            What::Defer => self.defer,
            What::Close => self.close,
            _ => self.reject,
        }
    }
}

macro_rules! known {
    ($($name:ident = $code:literal ($class:literal, $subject:literal, $detail:literal) $text:literal:
        $cause:literal, $advice:literal;)*) => {
        $(
            #[doc = $cause]
            pub const $name: Known = Known {
                code: $code,
                status: Status($class, $subject, $detail),
                text: $text,
                cause: $cause,
                advice: $advice,
            };
        )*
        /// All of them, for `docs/replies.md`.
        pub const ALL: &[Known] = &[$($name),*];
    };
}

known! {
    CLOSED = 421 (4, 7, 0) "Closing the connection":
        "A check with `then = \"close\"` and without a `reply` matched. The code is the one that RFC 5321 (section 3.8) has for closing a connection, so mail is tried again.",
        "The sender's administrator should ask the receiving site which check it was; its log says so.";
    EARLY_TALK = 554 (5, 5, 1) "Protocol error: you spoke before it was your turn":
        "The client talked before the greeting, or sent on past EHLO, DATA or STARTTLS without awaiting the reply.",
        "Mail software that waits for replies does not meet this; spam engines do. Check what is sending.";
    EARLY_TALK_DEFERRED = 450 (4, 5, 1) "Protocol error: you spoke before it was your turn":
        "The same, where early talk is set to defer.",
        "Mail software that waits for replies does not meet this; spam engines do. Check what is sending.";
    GREYLISTED = 451 (4, 7, 1) "We don't know you yet: please try again in a few minutes":
        "The message looks bad, and client, sender and recipient were not seen together before (`policy.greylist`).",
        "Mail servers try again by themselves and get through. The receiving site can let a client in at once with a client list.";
    CLIENT_LISTED = 554 (5, 7, 1) "Your address is on our list of clients that are not served":
        "The client's address is in a client list.",
        "The sender's administrator should ask the receiving site to take the address off its list.";
    CLIENT_LISTED_DEFERRED = 450 (4, 7, 1) "Your address is not served at the moment":
        "The client's address is in a client list that defers.",
        "The message is tried again by itself; ask the receiving site if it stays.";
    HELO_REFUSED = 550 (5, 7, 1) "The name you said in HELO is not accepted":
        "The HELO name has no dot, is an address without brackets or another address than the client's, is our own name, or is in a HELO list. Where clients can log in, this is told at MAIL.",
        "Set the sending server's HELO name to its own full name in DNS.";
    HELO_DEFERRED = 450 (4, 7, 1) "The name you said in HELO is not accepted":
        "The same, where the rule is set to defer.",
        "Set the sending server's HELO name to its own full name in DNS.";
    LISTED = 554 (5, 7, 1) "Service unavailable; blocked using a list":
        "A list in the DNS (`policy.dnsbl`) has the client's address, or a name that it used, and refuses for that. The reply names the address and the list.",
        "The sender's administrator should look the address up at the list that the reply names, and have it taken off there.";
    LISTED_DEFERRED = 450 (4, 7, 1) "Service unavailable; blocked using a list":
        "The same, where the list defers.",
        "The message is tried again by itself; have the address taken off the list.";
    LIST_UNKNOWN = 450 (4, 7, 1) "A list that your server is looked up in does not answer":
        "A list in the DNS (`policy.dnsbl`) gave no answer in time, or an error, and its `on_failure` defers.",
        "The message is tried again by itself. The receiving site looks after its DNS servers, or sets `on_failure`.";
    LIST_UNKNOWN_REFUSED = 554 (5, 7, 1) "A list that your server is looked up in does not answer":
        "The same, where `on_failure` refuses.",
        "The receiving site should let `on_failure` defer.";
    RDNS_REFUSED = 550 (5, 7, 25) "Your address has no valid name in the DNS":
        "The client's address has no PTR record, or none whose name leads back to it (`policy.rdns`), and that refuses.",
        "Set the reverse DNS of the sending server's address to a name that has this address.";
    RDNS_DEFERRED = 450 (4, 7, 25) "Your address has no valid name in the DNS":
        "The same, where it defers.",
        "Set the reverse DNS of the sending server's address to a name that has this address.";
    RDNS_UNKNOWN = 450 (4, 7, 25) "The name of your address could not be looked up":
        "The DNS gave no answer in time about the client's address, or an error, and `policy.rdns.unknown` defers.",
        "The message is tried again by itself. If it stays, the sender's administrator looks at the servers of its reverse DNS, the receiving site at its own resolver.";
    HELO_DOMAIN_REFUSED = 550 (5, 7, 1) "The name you said in HELO is not in the DNS":
        "The HELO name does not exist, or leads elsewhere (`policy.helo_domain`), and that refuses.",
        "Set the sending server's HELO name to its own full name in DNS.";
    HELO_DOMAIN_DEFERRED = 450 (4, 7, 1) "The name you said in HELO is not in the DNS":
        "The same, where it defers.",
        "Set the sending server's HELO name to its own full name in DNS.";
    HELO_DOMAIN_UNKNOWN = 450 (4, 7, 1) "The name you said in HELO could not be looked up":
        "The DNS gave no answer in time about the HELO name, or an error, and `policy.helo_domain.unknown` defers.",
        "The message is tried again by itself. If it stays, the sender's administrator looks at the servers of that domain, the receiving site at its own resolver.";
    SENDER_DOMAIN_REFUSED = 550 (5, 1, 8) "No mail can be sent to the sender's domain":
        "The domain in MAIL FROM does not exist, has no mail exchanger, or none that can be reached (`policy.sender_domain`), and that refuses.",
        "Use a sender address that a reply can be sent to.";
    SENDER_DOMAIN_DEFERRED = 450 (4, 1, 8) "No mail can be sent to the sender's domain for now":
        "The same, where it defers; also where the DNS did not answer in time.",
        "Use a sender address that a reply can be sent to; if the DNS was at fault, the message is tried again by itself.";
    NULL_MX_REFUSED = 550 (5, 7, 27) "The sender's domain says that it takes no mail":
        "The domain in MAIL FROM has a null MX (RFC 7505), so that no reply can reach the sender, and `policy.sender_domain.null_mx` refuses.",
        "Use a sender address that a reply can be sent to.";
    SPF_REFUSED = 550 (5, 7, 23) "The sender's domain does not allow your server to use it (SPF)":
        "SPF had a result that refuses (`policy.spf`): mostly `fail`.",
        "The domain's administrator should look at its SPF record; a forwarder should rewrite the sender.";
    SPF_WRONG_REFUSED = 550 (5, 7, 24) "The SPF record of the sender's domain is wrong":
        "SPF had the result `permerror`, and `policy.spf.permerror` refuses.",
        "The domain's administrator should mend its SPF record.";
    SPF_DEFERRED = 451 (4, 7, 24) "The sender's domain could not be checked (SPF)":
        "SPF had a result that defers (`policy.spf`): mostly `temperror`.",
        "The message is tried again by itself; if it stays, the domain's administrator should look at its SPF record and DNS servers.";
    DKIM_REFUSED = 550 (5, 7, 20) "No valid DKIM signature":
        "DKIM had a result that refuses (`policy.dkim`).",
        "The sender's administrator should look at the DKIM keys in the DNS, and at what changes messages after they are signed.";
    DKIM_DEFERRED = 451 (4, 7, 20) "The DKIM signature could not be checked":
        "DKIM had a result that defers (`policy.dkim`): mostly `temperror`.",
        "The message is tried again by itself; if it stays, the domain's administrator should look at its DNS servers.";
    DMARC_REFUSED = 550 (5, 7, 1) "Refused by the DMARC policy of the author's domain":
        "Neither SPF nor DKIM proved a domain of the author's, or From names no one domain (`policy.dmarc`), and that refuses.",
        "The administrator of the domain in From should sign its mail with DKIM; a mailing list should write its own address in From, or seal with ARC.";
    DMARC_DEFERRED = 451 (4, 7, 1) "The DMARC policy of the author's domain could not be checked":
        "DMARC had a result that defers (`policy.dmarc`): mostly `temperror`.",
        "The message is tried again by itself; if it stays, the domain's administrator should look at its DNS servers.";
    SENDER_REFUSED = 550 (5, 7, 1) "Sender refused":
        "The envelope sender, or its domain, is in a sender list.",
        "The sender should ask the receiving site to take the address or domain off its list.";
    SENDER_DEFERRED = 450 (4, 7, 1) "Sender refused for now":
        "The envelope sender, or its domain, is in a sender list that defers.",
        "The message is tried again by itself; ask the receiving site if it stays.";
    RECIPIENT_REFUSED = 550 (5, 7, 1) "Recipient refused":
        "The recipient, or its domain, is in a recipient list.",
        "The address takes no mail from outside; ask the receiving site.";
    RECIPIENT_DEFERRED = 450 (4, 7, 1) "Recipient refused for now":
        "The recipient, or its domain, is in a recipient list that defers.",
        "The message is tried again by itself; ask the receiving site if it stays.";
    RELAY_DENIED = 550 (5, 7, 1) "Relaying denied":
        "The recipient's domain is none of ours (or its local part names another host), and the client is not trusted.",
        "Check the address. Users of this site: send through the submission service. Its administrator: add the \
         domain to a route, or the client's network to `trusted`.";
    RELAY_DEFERRED = 450 (4, 7, 1) "Relaying denied":
        "The same, where relay control is set to defer.",
        "Check the address. Its administrator: add the domain to a route, or the client's network to `trusted`.";
    TOO_MANY_CONNECTIONS = 421 (4, 7, 0) "Too many connections from you, come back later":
        "The client's address or prefix has more sessions open, or connects more often, than its limit.",
        "The client should send more messages over fewer connections. Limits: `policy.client_rate`, `policy.prefix_rate`.";
    TOO_MUCH_MAIL = 450 (4, 7, 1) "Too much mail from you for now, slow down":
        "The client's address, its prefix or the sender's domain is above its rate of messages, recipients or octets.",
        "The message is tried again by itself. Limits: `policy.client_rate`, `prefix_rate`, `sender_rate`.";
    TOO_MUCH_MAIL_REFUSED = 550 (5, 7, 1) "Too much mail from you":
        "The same, where the rate is set to reject.",
        "Send less in one go. Limits: `policy.client_rate`, `prefix_rate`, `sender_rate`.";
    NOT_YOUR_SENDER = 553 (5, 7, 1) "The sender address is not yours":
        "The authenticated account doesn't own the address in MAIL FROM, and the listener's `sender_identity` asks for that.",
        "The user sends with an address of their own. The operator gives the account that address, or sets `sender_identity`.";
    NOT_YOUR_FROM = 550 (5, 7, 1) "An address in From is not yours":
        "The authenticated account doesn't own each address in the From field, or the field can't be read (it has more than 8 KiB or 100 addresses, say), and the listener's `sender_identity` asks for that.",
        "The user sends with an address of their own in From. The operator gives the account that address, or sets `sender_identity`.";
    LOOP = 554 (5, 4, 6) "Too many hops: the message has more Received fields than limits.received":
        "The message went round in a circle (RFC 5321 section 6.3).",
        "Look for an address that forwards mail to an address that forwards it back.";
    HEADER_TOO_LARGE = 552 (5, 3, 4) "The header section is larger than limits.header":
        "The header section didn't end within `limits.header`, so it can't be judged.",
        "The sender sends a smaller header; the operator raises the limit if that is normal mail.";
    OWN_DEFERRED = 451 (4, 7, 1) "Message refused for now by a rule of this site":
        "`policy.loop`, `policy.header_size`, `policy.identity.sender` or `policy.identity.from` is set to defer, and matched.",
        "The message is tried again by itself. The receiving site's log names the check.";
    HEADER_REFUSED = 550 (5, 7, 1) "Message refused for what its header says":
        "A header rule matched.",
        "The sender should ask the receiving site which rule it was; its log says so.";
    HEADER_DEFERRED = 451 (4, 7, 1) "Message refused for now for what its header says":
        "A header rule that defers matched.",
        "The message is tried again by itself; ask the receiving site if it stays.";
    RULE_REFUSED = 550 (5, 7, 1) "Message refused by a rule of this site":
        "A rule of `policy.rule` matched, and has no reply of its own.",
        "The sender should ask the receiving site which rule it was; its log says so.";
    RULE_DEFERRED = 451 (4, 7, 1) "Message refused for now by a rule of this site; try later":
        "A rule of `policy.rule` that defers matched, and has no reply of its own.",
        "The message is tried again by itself; ask the receiving site if it stays.";
    SCORE_REFUSED = 550 (5, 7, 1) "Message refused: too much speaks against it":
        "The scores of all checks came to `policy.reject_score`.",
        "The receiving site's log names each check and its score.";
    QUARANTINE_LATE = 550 (5, 7, 1) "Message refused: too large for what speaks against it":
        "What was found at the end of a message larger than `limits.window` asks for quarantine (its signatures, its size, the sum of its scores), and the most of it was on its way to its own pool by then. That pool has thrown it away.",
        "The receiving site's log names each check. It raises `limits.window`, or lets the rule read what is known from the header.";
    SCORE_DEFERRED = 451 (4, 7, 1) "Message refused for now: much speaks against it":
        "The scores of all checks came to `policy.defer_score`.",
        "The message is tried again by itself. The receiving site's log names each check and its score.";
}

const fn defaults(defer: &'static Known, reject: &'static Known) -> Defaults {
    Defaults {
        defer,
        reject,
        close: &CLOSED,
    }
}

pub(super) const EARLY: Defaults = Defaults {
    defer: &EARLY_TALK_DEFERRED,
    reject: &EARLY_TALK,
    close: &EARLY_TALK,
};
/// It only defers.
pub(super) const GREYLIST: Defaults = defaults(&GREYLISTED, &GREYLISTED);
pub(super) const CLIENT: Defaults = defaults(&CLIENT_LISTED_DEFERRED, &CLIENT_LISTED);
pub(super) const HELO: Defaults = defaults(&HELO_DEFERRED, &HELO_REFUSED);
pub(super) const DNSBL: Defaults = defaults(&LISTED_DEFERRED, &LISTED);
pub(super) const DNSBL_UNKNOWN: Defaults = defaults(&LIST_UNKNOWN, &LIST_UNKNOWN_REFUSED);
pub(super) const RDNS: Defaults = defaults(&RDNS_DEFERRED, &RDNS_REFUSED);
pub(super) const HELO_DOMAIN: Defaults = defaults(&HELO_DOMAIN_DEFERRED, &HELO_DOMAIN_REFUSED);
pub(super) const RDNS_NOT_KNOWN: Defaults = defaults(&RDNS_UNKNOWN, &RDNS_REFUSED);
pub(super) const HELO_DOMAIN_NOT_KNOWN: Defaults =
    defaults(&HELO_DOMAIN_UNKNOWN, &HELO_DOMAIN_REFUSED);
pub(super) const SENDER_DOMAIN: Defaults =
    defaults(&SENDER_DOMAIN_DEFERRED, &SENDER_DOMAIN_REFUSED);
/// RFC 7505 section 4.2.
pub(super) const NULL_MX: Defaults = defaults(&SENDER_DOMAIN_DEFERRED, &NULL_MX_REFUSED);
/// RFC 7372 section 3.2.
pub(super) const SPF_WRONG: Defaults = defaults(&SPF_DEFERRED, &SPF_WRONG_REFUSED);
pub(super) const SPF: Defaults = defaults(&SPF_DEFERRED, &SPF_REFUSED);
pub(super) const DKIM: Defaults = defaults(&DKIM_DEFERRED, &DKIM_REFUSED);
pub(super) const DMARC: Defaults = defaults(&DMARC_DEFERRED, &DMARC_REFUSED);
pub(super) const SENDER: Defaults = defaults(&SENDER_DEFERRED, &SENDER_REFUSED);
pub(super) const RECIPIENT: Defaults = defaults(&RECIPIENT_DEFERRED, &RECIPIENT_REFUSED);
pub(super) const RELAY: Defaults = defaults(&RELAY_DEFERRED, &RELAY_DENIED);
pub(super) const RATE: Defaults = Defaults {
    defer: &TOO_MUCH_MAIL,
    reject: &TOO_MUCH_MAIL_REFUSED,
    close: &TOO_MANY_CONNECTIONS,
};
pub(super) const NOT_YOUR_SENDER_BY: Defaults = defaults(&OWN_DEFERRED, &NOT_YOUR_SENDER);
pub(super) const NOT_YOUR_FROM_BY: Defaults = defaults(&OWN_DEFERRED, &NOT_YOUR_FROM);
pub(super) const LOOPING: Defaults = defaults(&OWN_DEFERRED, &LOOP);
pub(super) const HEADER_SIZE: Defaults = defaults(&OWN_DEFERRED, &HEADER_TOO_LARGE);
pub(super) const HEADER: Defaults = defaults(&HEADER_DEFERRED, &HEADER_REFUSED);
pub(super) const RULE: Defaults = defaults(&RULE_DEFERRED, &RULE_REFUSED);
pub(super) const SCORE: Defaults = defaults(&SCORE_DEFERRED, &SCORE_REFUSED);
