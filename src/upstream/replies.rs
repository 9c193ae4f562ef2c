//! The replies that this room originates: what a client is told when no backend says anything.

use crate::smtp::{Known, Status};

/// Every backend tried failed, or there is none.
pub const DOWN: Known = Known {
    code: 451,
    status: Status(4, 4, 1),
    text: "The mail system behind this one can't be reached now, try again later",
    cause: "No backend of the recipient's pool took a connection, greeted and answered EHLO in time.",
    advice: "The sender tries again by itself. The operator looks at the backends and at gatepost_backend_up.",
};

/// No connection came free in time.
pub const BUSY: Known = Known {
    code: 451,
    status: Status(4, 3, 2),
    text: "The mail system behind this one is busy, try again later",
    cause: "All connections that the pool may hold carried messages for longer than lease_wait.",
    advice: "The sender tries again by itself. The operator raises `connections`, or adds a backend.",
};

/// A backend failed in the middle.
pub const LOST: Known = Known {
    code: 451,
    status: Status(4, 4, 2),
    text: "The connection to the mail system behind this one was lost, try again later",
    cause: "A backend closed the connection, fell silent or stopped speaking SMTP before it had the whole message.",
    advice: "The sender tries again by itself; the message was not delivered.",
};

/// A backend failed after it had the whole message.
pub const UNCERTAIN: Known = Known {
    code: 451,
    status: Status(4, 4, 2),
    text: "The mail system behind this one did not confirm the message, try again later",
    cause: "A backend had the whole message and was lost before its reply: whether it delivered is unknown.",
    advice: "The sender tries again by itself; the recipient may get the message twice.",
};

/// A recipient could not be verified.
pub const UNVERIFIED: Known = Known {
    code: 451,
    status: Status(4, 4, 3),
    text: "The recipient can't be verified now, try again later",
    cause: "The route verifies recipients and no backend could say whether it takes this one.",
    advice: "The sender tries again by itself. The operator looks at the backends.",
};

/// A recipient with characters that the backend can't take.
pub const NO_UTF8: Known = Known {
    code: 553,
    status: Status(5, 6, 7),
    text: "The mail system of this recipient takes no internationalized addresses",
    cause: "The address is not ASCII and the backend does not offer SMTPUTF8 (RFC 6531).",
    advice: "The sender uses an ASCII address of the recipient.",
};

/// All of them.
pub const ALL: &[Known] = &[DOWN, BUSY, LOST, UNCERTAIN, UNVERIFIED, NO_UTF8];
