//! The replies that this room originates: what a client is told when a recipient can't be asked about.

use crate::smtp::{Known, Status};

/// A recipient could not be verified.
pub const UNVERIFIED: Known = Known {
    code: 451,
    status: Status(4, 4, 3),
    text: "The recipient can't be verified now, try again later",
    cause: "The route verifies recipients and no backend could say whether it takes this one.",
    advice: "The sender tries again by itself. The operator looks at the backends.",
};

/// All of them.
pub const ALL: &[Known] = &[UNVERIFIED];
