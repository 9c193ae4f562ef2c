//! What a submission server may add to a message that lacks it (RFC 6409 §8): Date and Message-ID, above the payload,
//! which stays as it came.
//!
//! Left undone: Sender (§8.1 allows it where From is not the account's own address). `sender_identity` refuses such a
//! message, and where it is off, the account's name is not to be shown to the recipients.

use super::message_id::MessageId;
use crate::smtp::header::Field;
use std::{collections::hash_map::RandomState, hash::BuildHasher, io::Write, sync::LazyLock};

/// What makes our ids differ from those of another process with our name: an id alone is unique within one process.
static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));

/// Which of the two a header section has. Told field by field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    date: bool,
    message_id: bool,
    fields: usize,
    /// A line that is no field: other software takes it for the end of the header.
    over: bool,
}

impl Found {
    /// Looks at the next field.
    pub fn look(&mut self, field: &Field<'_>) {
        // A mailbox's own line on top of the header is ignored by all software.
        let overlooked = self.fields == 0 && field.body.starts_with(b"From ");
        self.fields += 1;
        if field.name.is_empty() && !overlooked {
            self.over = true;
        }
        if !self.over {
            self.date |= field.is("Date");
            self.message_id |= field.is("Message-ID");
        }
    }

    /// Appends the fields that are missing.
    pub fn add_missing(self, id: MessageId, hostname: &str, date: &str, out: &mut Vec<u8>) {
        if !self.date {
            out.extend_from_slice(b"Date: ");
            out.extend_from_slice(date.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if !self.message_id {
            // Writing to memory does not fail.
            let _ = write!(out, "Message-ID: <{id}.{:x}@{hostname}>\r\n", *PROCESS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{proxy::message_id::Ids, smtp::header};

    fn added(section: &str) -> String {
        let mut found = Found::default();
        header::fields(section.as_bytes()).for_each(|field| found.look(&field));
        let mut out = Vec::new();
        let id = Ids::new(0).next(0);
        found.add_missing(id, "edge.example", "a date", &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn adds_what_is_missing_and_no_more() {
        let id = Ids::new(0).next(0);
        let message_id = format!("Message-ID: <{id}.{:x}@edge.example>\r\n", *PROCESS);
        let both = format!("Date: a date\r\n{message_id}");
        for (section, wanted) in [
            ("", &*both),
            ("Subject: x\r\n\r\n", &both),
            ("Subject: x\r\n", &both),
            ("\r\nDate: in the body\r\n", &both),
            ("just text\r\nDate: in the body\r\n", &both),
            ("DATE : x\r\n\r\n", &message_id),
            ("From a@b Mon\r\nDate: x\r\n\r\n", &message_id),
            ("message-id: <x>\r\n\r\n", "Date: a date\r\n"),
            ("Date: x\r\nMessage-Id:\r\n\r\n", ""),
            ("Resent-Date: x\r\nX: y\r\n Date: folded\r\n\r\n", &both),
        ] {
            assert_eq!(added(section), wanted, "{section:?}");
        }
    }
}
