//! What came of a message: one value, made once, which says all that a reply, a log line or a bounce needs.

use crate::{
    smtp::{Tick, backend_session::Unsupported},
    upstream::{Backend, BackendReply, Broken, Lease, LeaseError, Trouble},
};
use std::sync::Arc;

/// What came of a message that was handed to a pool.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// The recipients (places in the envelope) that were refused, each with the backend's own words.
    pub refused: Vec<(usize, BackendReply)>,
    /// The backend that had the last word; `None` where no connection was had.
    pub backend: Option<Arc<Backend>>,
    /// The TLS version that it was talked to in; `None`: in the clear.
    pub tls: Option<&'static str>,
    /// The moments of its steps, for the log and the histograms.
    pub times: Times,
}

/// How it ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// The backend took it, and said so in these words.
    Accepted(BackendReply),
    /// The backend refused it, at this step.
    Refused(Step, BackendReply),
    /// Recipients were refused ([`Outcome::refused`]), so no recipient got the message.
    Recipients,
    /// No backend can take such a message; nothing was sent.
    Unsupported(Unsupported),
    /// The same, but one of them could of late, and the client may have been offered it for that.
    Lapsed(Unsupported),
    /// No connection could be had.
    NoConnection(LeaseError),
    /// The connection failed before the end of data was sent: no backend has the message.
    Lost(Trouble),
    /// The connection failed with the end of data sent and no reply read: the backend may have the message. It is never
    /// sent again by itself (INV-ONCE).
    Uncertain(Trouble),
}

/// What a backend answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The reply to XCLIENT.
    Client,
    /// The reply to MAIL.
    Sender,
    /// The reply to RCPT.
    Recipient,
    /// DATA, or a chunk that was not the last: the wish to send a body.
    Data,
    /// The end of data: it has seen the message.
    Message,
}

/// Moments of a delivery; `None` where it never got there. Of several tries: of the one that is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// A connection was had.
    pub leased: Option<Tick>,
    /// The envelope was answered; `None` where it went out together with the body.
    pub envelope: Option<Tick>,
    /// The end of data was sent.
    pub sent: Option<Tick>,
    /// It was answered.
    pub heard: Option<Tick>,
}

impl Outcome {
    /// What came of it on this lease.
    pub(super) fn on(lease: &Lease, ending: Ending, times: Times) -> Outcome {
        Outcome {
            ending,
            refused: Vec::new(),
            backend: Some(Arc::clone(lease.backend())),
            tls: lease.tls(),
            times,
        }
    }

    /// No lease was had.
    #[must_use]
    pub fn without(why: LeaseError) -> Outcome {
        Outcome {
            ending: match why {
                LeaseError::Refused(said) => Ending::Refused(Step::Client, said),
                why => Ending::NoConnection(why),
            },
            refused: Vec::new(),
            backend: None,
            tls: None,
            times: Times::default(),
        }
    }

    /// It ended like this, and no connection was had.
    pub(super) fn ended(ending: Ending) -> Outcome {
        Outcome {
            ending,
            refused: Vec::new(),
            backend: None,
            tls: None,
            times: Times::default(),
        }
    }

    /// Whether a backend took the message.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        matches!(self.ending, Ending::Accepted(_))
    }

    /// Whether a backend may have taken it without saying so.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        matches!(self.ending, Ending::Uncertain(_))
    }
}

impl From<Broken> for Ending {
    fn from(broken: Broken) -> Ending {
        match broken.uncertain {
            true => Ending::Uncertain(broken.trouble),
            false => Ending::Lost(broken.trouble),
        }
    }
}
