//! The replies that originate in the join of client and backend.

use crate::smtp::{Known, Status};

/// The worker or the listener is full.
pub const FULL: Known = Known {
    code: 421,
    status: Status(4, 3, 2),
    text: "Too many sessions, try again later",
    cause: "`limits.sessions` of a worker or `sessions_max` of the listener is reached.",
    advice: "The sender tries again by itself. The operator raises the limit, or adds cores.",
};

/// No memory for a body.
pub const NO_MEMORY: Known = Known {
    code: 452,
    status: Status(4, 3, 1),
    text: "Out of memory for messages, try again later",
    cause: "Messages that are being received hold all of `limits.body_memory`, or those of the client's address an eighth of it, or those that are to be signed half of it, and none went in time. Large envelopes count too.",
    advice: "The sender tries again by itself. The operator raises `limits.body_memory`.",
};

/// A recipient of another route.
pub const OTHER_ROUTE: Known = Known {
    code: 452,
    status: Status(4, 5, 3),
    text: "Send to this recipient in a message of its own",
    cause: "The transaction has recipients that go to another pool, or to an LMTP pool, which takes one recipient a message so that one answer says it all; or that are judged by another profile (`[[profile]]` of their route); or a rule sends the message to quarantine, or discards it, for some of its recipients and not for others; or the recipient was refused when such a message came before, by what may have been about its size, so that the backend is to answer for this one alone.",
    advice: "Nothing: a mail server sends to the rest in another transaction by itself.",
};

/// More recipients than a backend takes in one message.
pub const TOO_MANY_HERE: Known = Known {
    code: 452,
    status: Status(4, 5, 3),
    text: "Too many recipients for this domain's mail system, send to the rest in another message",
    cause: "A backend of the recipient's pool takes fewer recipients of one message: it says so in LIMITS (RCPTMAX), or has of late refused more in messages of this sender and network, or in those of several networks.",
    advice: "Nothing: a mail server sends to the rest in another transaction by itself.",
};

/// A message that is too large for the pool of a recipient.
pub const TOO_LARGE_HERE: Known = Known {
    code: 552,
    status: Status(5, 3, 4),
    text: "The message is too large for this recipient's mail system",
    cause: "The size that the client declared is more than the SIZE of every backend of the recipient's pool.",
    advice: "The sender sends a smaller message.",
};

/// No pool for a recipient.
pub const NO_ROUTE: Known = Known {
    code: 550,
    status: Status(5, 1, 2),
    text: "No mail system is known for this domain",
    cause: "The configuration has no `[[route]]` at all, or a reload took its pool away.",
    advice: "The operator adds a route.",
};

/// A recipient that its route's list doesn't have.
pub const UNLISTED: Known = Known {
    code: 550,
    status: Status(5, 1, 1),
    text: "There is no such recipient here",
    cause: "The route takes the recipients of a list (`recipients = { file = … }`), and this one is not among them.",
    advice: "The sender corrects the address. The operator adds it to the file and reloads.",
};

/// A stranger on a submission listener.
pub const SUBMISSION_ONLY: Known = Known {
    code: 530,
    status: Status(5, 7, 0),
    text: "This listener takes mail from trusted clients alone",
    cause: "The listener's role is `submission` and the client is in none of the `trusted` networks.",
    advice: "Users send from a trusted network. Mail from other servers belongs to a listener with `role = \"mx\"`.",
};

/// Wrong credentials.
pub const AUTH_FAILED: Known = Known {
    code: 535,
    status: Status(5, 7, 8),
    text: "Authentication failed",
    cause: "The name is unknown, the password or token wrong, or so many logins failed from this address or at this account (`limits.auth_failures_client`, `limits.auth_failures_account`) that nothing is checked for a while. The client is not told which.",
    advice: "The user corrects name and password. The operator looks for lines with `verdict=denied` in the log.",
};

/// The credentials could not be checked.
pub const AUTH_UNAVAILABLE: Known = Known {
    code: 454,
    status: Status(4, 7, 0),
    text: "Temporary authentication failure, try again later",
    cause: "The credential source doesn't answer, or too many passwords wait to be checked.",
    advice: "The client tries again. The operator finds the reason in the log.",
};

/// Too many sessions wait to hear of their failure.
pub const AUTH_SLOWED: Known = Known {
    code: 421,
    status: Status(4, 7, 0),
    text: "Too many failed logins, try again later",
    cause: "`limits.auth_slowed` sessions wait to hear that their login failed, or an eighth as many of one address or a quarter of one network: passwords are being guessed.",
    advice: "The client tries again. The operator looks for lines with `verdict=denied` in the log, and shuts those addresses out.",
};

/// A reload took away what the client was let in by.
pub const ACCESS_CHANGED: Known = Known {
    code: 421,
    status: Status(4, 7, 0),
    text: "Your login no longer holds, connect and log in again",
    cause: "A reload since the session began: the account is gone or has another password, or its credential source is another one; or the client is not among the `trusted` networks or certificates any more, or the proxy that named it not among `xclient_from`.",
    advice: "The client connects again and logs in with what is right now. A server that was trusted hears there as what it counts now.",
};

/// A rate has refused the session so often that it ends.
pub const STILL_TOO_MUCH_MAIL: Known = Known {
    code: 421,
    status: Status(4, 7, 0),
    text: "Too much mail from you for now; closing",
    cause: "A rate (`policy.client_rate`, `prefix_rate` or `sender_rate`) has put off 20 messages of the session in a row, or 20 recipients of a message that has no other.",
    advice: "Nothing: a sending server tries again by itself, later.",
};

/// Gatepost goes down.
pub const GOING_DOWN: Known = Known {
    code: 421,
    status: Status(4, 3, 2),
    text: "Going down, try again later",
    cause: "The process was told to stop or is being replaced.",
    advice: "Nothing: the sender tries again by itself.",
};

/// All of them.
pub const ALL: &[Known] = &[
    FULL,
    NO_MEMORY,
    OTHER_ROUTE,
    TOO_MANY_HERE,
    TOO_LARGE_HERE,
    NO_ROUTE,
    UNLISTED,
    SUBMISSION_ONLY,
    AUTH_FAILED,
    AUTH_UNAVAILABLE,
    AUTH_SLOWED,
    ACCESS_CHANGED,
    STILL_TOO_MUCH_MAIL,
    GOING_DOWN,
];
