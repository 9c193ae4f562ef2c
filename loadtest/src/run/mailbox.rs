//! Messages from files: a folder of `.eml` files, or an mbox.

use std::{fs, io, path::Path};

/// Octets of all messages together; those after are left out.
const OCTETS_MAX: usize = 1 << 30;

/// Reads the messages, all lines ending in CRLF.
///
/// # Errors
/// What the file system says, with the path; or there is no message.
pub fn read(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let found = if path.is_dir() {
        folder(path)
    } else {
        mbox(path)
    };
    let explain = |why: io::Error| io::Error::new(why.kind(), format!("{}: {why}", path.display()));
    let messages = found.map_err(explain)?;
    if messages.is_empty() {
        let none = "no message in it (.eml files, or an mbox, whose messages begin with `From `)";
        return Err(explain(io::Error::new(io::ErrorKind::InvalidData, none)));
    }
    Ok(messages)
}

fn folder(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        if file
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("eml"))
        {
            files.push(file);
        }
    }
    // The order of a folder is not the same everywhere.
    files.sort();
    let (mut messages, mut octets) = (Vec::new(), 0);
    for file in files {
        let message = canonical(&fs::read(file)?);
        octets += message.len();
        if octets > OCTETS_MAX {
            break;
        }
        messages.push(message);
    }
    Ok(messages)
}

fn mbox(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let file = io::BufReader::new(fs::File::open(path)?);
    let (mut messages, mut octets) = (Vec::new(), 0);
    for message in mail_parser::mailbox::mbox::MessageIterator::new(file) {
        let message = message?.unwrap_contents();
        // The empty line ahead of the next `From ` is the file's, not the message's.
        let text = message
            .strip_suffix(b"\r\n")
            .or(message.strip_suffix(b"\n"));
        let text = text
            .filter(|text| text.ends_with(b"\n"))
            .unwrap_or(&message);
        let message = canonical(text);
        octets += message.len();
        if octets > OCTETS_MAX {
            break;
        }
        messages.push(message);
    }
    Ok(messages)
}

/// Every line ends in CRLF, and there is no other CR or LF.
fn canonical(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 32);
    for line in text.split_inclusive(|c| *c == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        out.extend(line.iter().map(|c| if *c == b'\r' { b' ' } else { *c }));
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_and_an_mbox_give_their_messages() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b.eml"), "Subject: b\n\n.dot\r\nbare\rcr").unwrap();
        fs::write(dir.path().join("a.EML"), "Subject: a\r\n\r\n").unwrap();
        fs::write(dir.path().join("notes.txt"), "no mail").unwrap();
        let found = read(dir.path()).unwrap();
        assert_eq!(
            found,
            [
                b"Subject: a\r\n\r\n".to_vec(),
                b"Subject: b\r\n\r\n.dot\r\nbare cr\r\n".to_vec(),
            ]
        );
        let mbox = dir.path().join("mbox");
        let text = "From a@b Thu Jan  1 00:00:00 1970\nSubject: 1\n\n>From me\n\n\
                    From a@b Thu Jan  1 00:00:00 1970\nSubject: 2\n\nx\n";
        fs::write(&mbox, text).unwrap();
        let found = read(&mbox).unwrap();
        assert_eq!(
            found,
            [
                b"Subject: 1\r\n\r\nFrom me\r\n".to_vec(),
                b"Subject: 2\r\n\r\nx\r\n".to_vec(),
            ]
        );
    }

    #[test]
    fn what_holds_no_message_is_told_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let error = read(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&dir.path().display().to_string()), "{error}");
        assert!(read(&dir.path().join("none")).is_err());
    }
}
