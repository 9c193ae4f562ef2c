//! The folder with the account, the certificate and the history of orders: readable for its owner alone, each file
//! written beside the old one and then put in its place, so that a crash leaves the old one or the new one.
//!
//! A certificate and its key are one file, for two could be of two orders.

use super::{certificate::Certificate, schedule::History};
use crate::{files, log::say};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::{self, DirBuilder},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

const ACCOUNT: &str = "account.json";
const CERTIFICATE: &str = "certificate.pem";
const HISTORY: &str = "history.json";
/// Octets of a file that is read at most.
const FILE_MAX: u64 = 1 << 20;
/// What the certificate's file says of where it came from, before its PEM.
const FROM: &str = "Directory: ";

/// The account as it is kept: the credentials are of use with one authority alone.
#[derive(Serialize, Deserialize)]
pub struct Kept<T> {
    /// The authority's directory.
    pub directory: String,
    /// The name of the external account that it is bound to, if any.
    pub external: Option<String>,
    /// Whom it may write to, as last told.
    pub contact: Vec<String>,
    /// What the ACME client makes of it.
    pub credentials: T,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// A store in this folder, which need not be there yet.
    #[must_use]
    pub fn new(folder: &Path) -> Store {
        let folder = folder.to_path_buf();
        Store { folder }
    }

    /// Makes the folder if it isn't there, and sees that it can be written.
    ///
    /// # Errors
    /// It can't be, with what to do about it.
    pub fn open(&self) -> Result<(), String> {
        let folder = self.folder.display();
        let hint = |why: io::Error| {
            format!(
                "acme.store = \"{folder}\": {why}; make it, and give it to the user that Gatepost runs as, with mode 0700"
            )
        };
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder);
        made.map_err(hint)?;
        let mode = fs::metadata(&self.folder)
            .map_err(hint)?
            .permissions()
            .mode();
        let empty = || fs::read_dir(&self.folder).is_ok_and(|mut all| all.next().is_none());
        if mode & 0o077 != 0 && empty() {
            // Another process made it first, for us.
            fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700)).map_err(hint)?;
        } else if mode & 0o077 != 0 {
            say!(
                Warn,
                "acme: {folder} has mode {:04o}, and holds keys; chmod 0700 it",
                mode & 0o7777
            );
        }
        self.write("probe", b"").map_err(hint)?;
        fs::remove_file(self.folder.join("probe")).map_err(hint)
    }

    /// The stored certificate, and the directory that it came from. `None`: there is none, or it is of no use, which is
    /// said.
    #[must_use]
    pub fn certificate(&self) -> Option<(Certificate, String)> {
        let text = self.read(CERTIFICATE)?;
        let from = text.lines().find_map(|line| line.strip_prefix(FROM));
        match Certificate::parse(&text) {
            Ok(certificate) => Some((certificate, from.unwrap_or_default().to_string())),
            Err(why) => {
                self.complain(CERTIFICATE, &why);
                None
            }
        }
    }

    /// Keeps a certificate: its PEM holds the key and the chain.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn keep_certificate(&self, pem: &str, directory: &str) -> Result<(), String> {
        // A line that ended early could begin another PEM.
        let directory = directory.replace(|c: char| c.is_control(), "");
        self.put(CERTIFICATE, format!("{FROM}{directory}\n{pem}").as_bytes())
    }

    /// The stored account.
    #[must_use]
    pub fn account<T: DeserializeOwned>(&self) -> Option<Kept<T>> {
        self.load(ACCOUNT)
    }

    /// Keeps an account.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn keep_account<T: Serialize>(&self, account: &Kept<T>) -> Result<(), String> {
        self.save(ACCOUNT, account)
    }

    /// Forgets the account, which the authority doesn't know any more.
    pub fn forget_account(&self) {
        match fs::remove_file(self.folder.join(ACCOUNT)) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                self.complain(ACCOUNT, &why.to_string());
            }
            _ => {}
        }
    }

    /// What is remembered of orders; nothing, if there is nothing.
    #[must_use]
    pub fn history(&self) -> History {
        self.load(HISTORY).unwrap_or_default()
    }

    /// Remembers orders.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn keep_history(&self, history: &History) -> Result<(), String> {
        self.save(HISTORY, history)
    }

    fn load<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let text = self.read(name)?;
        serde_json::from_str(&text)
            .map_err(|why| self.complain(name, &why.to_string()))
            .ok()
    }

    fn save<T: Serialize>(&self, name: &str, value: &T) -> Result<(), String> {
        let text = serde_json::to_string_pretty(value).map_err(|why| why.to_string())?;
        self.put(name, text.as_bytes())
    }

    fn put(&self, name: &str, text: &[u8]) -> Result<(), String> {
        self.write(name, text)
            .map_err(|why| format!("can't write {}: {why}", self.folder.join(name).display()))
    }

    fn write(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let path = self.folder.join(name);
        files::replace(&path, files::OWN, |file| file.write_all(text)).map(drop)
    }

    fn read(&self, name: &str) -> Option<String> {
        let mut text = String::new();
        let file = match files::open(&self.folder.join(name)) {
            Ok(file) => file,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return None,
            Err(why) => {
                self.complain(name, &why.to_string());
                return None;
            }
        };
        match file.take(FILE_MAX).read_to_string(&mut text) {
            Ok(_) => Some(text),
            Err(why) => {
                self.complain(name, &why.to_string());
                None
            }
        }
    }

    fn complain(&self, name: &str, why: &str) {
        let file = self.folder.join(name);
        say!(
            Warn,
            "acme: {} can't be used: {why}; continuing without it",
            file.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::certificate::self_signed;

    fn mode(path: &Path) -> u32 {
        let facts = fs::metadata(path).expect("it is there");
        facts.permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_kept_comes_back_and_is_nobodys_business() {
        let outer = tempfile::tempdir().expect("a folder");
        let folder = outer.path().join("a/b");
        let store = Store::new(&folder);
        assert!(store.certificate().is_none(), "nothing is there yet");
        // Made by somebody else, as everybody's.
        fs::create_dir_all(&folder).expect("made");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("set");
        assert_eq!(store.history(), History::default());
        store.open().expect("it can be made");
        assert_eq!(mode(&folder), 0o700);
        let made = self_signed(&["mx.example.net".into()]).expect("it can be made");
        store
            .keep_certificate(&made.pem(), "https://ca.example/dir\n-----")
            .expect("kept");
        let (certificate, from) = store.certificate().expect("it is there");
        assert_eq!(certificate.names(), ["mx.example.net"]);
        assert_eq!(from, "https://ca.example/dir-----");
        let mut history = History::default();
        history.ordered(7);
        store.keep_history(&history).expect("kept");
        assert_eq!(store.history(), history);
        for name in [CERTIFICATE, HISTORY] {
            assert_eq!(mode(&folder.join(name)), 0o600);
        }
        let mut left: Vec<_> = fs::read_dir(&folder)
            .expect("a folder")
            .map(|entry| entry.expect("readable").file_name())
            .collect();
        left.sort();
        assert_eq!(left, [CERTIFICATE, HISTORY], "no halves are left");
    }

    #[test]
    fn what_a_crash_left_does_no_harm() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        let at = |name: &str| folder.path().join(name);
        for name in ["certificate.pem.new", "history.json.new", HISTORY] {
            fs::write(at(name), "half").expect("written");
        }
        assert_eq!(store.history(), History::default());
        let made = self_signed(&["a.example".into()]).expect("it can be made");
        store.keep_certificate(&made.pem(), "x").expect("kept");
        assert_eq!(mode(&at(CERTIFICATE)), 0o600, "not that of the half");
        // A file that was cut has no key, or half a certificate.
        let text = fs::read_to_string(at(CERTIFICATE)).expect("there");
        for cut in [0, 30, text.len() / 2, text.len() - 40] {
            fs::write(at(CERTIFICATE), &text[..cut]).expect("written");
            assert!(store.certificate().is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn a_store_that_can_t_be_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        let told = Store::new(&file).open().expect_err("a file is no folder");
        assert!(
            told.contains("acme.store = ") && told.contains("0700"),
            "{told}"
        );
    }
}
