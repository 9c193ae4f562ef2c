//! The account file: one line an account, as `gatepost user` writes it.
//!
//! ```text
//! # name    addresses that it owns            verifiers
//! amy       amy@example.net,@amy.example      $argon2id$v=19$…  SCRAM-SHA-256$100000:…
//! print     -                                 $2b$12$…
//! # scram-seed: 3q2+7w…
//! ```
//!
//! Fields are separated by blanks. Names and addresses are compared in the forms of [`names`]; an account that is named
//! like an address and says `-` owns that address. The file is read as a whole, at the start and at a reload; one with a
//! bad line is not used at all.
//!
//! Of the comments one counts: the seed of the salts that SCRAM tells clients for names that don't exist. It stays while accounts and
//! passwords change, or else the salts that stay would be those of the accounts that exist.

use super::{
    Account, Attempt, Credential, Outcome, Secret,
    names::{self, folded},
    verifier::{self, ScramKeys, Verifier},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    collections::HashMap,
    io::{ErrorKind, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Octets of a file at most.
pub(super) const FILE_MAX: u64 = 64 * 1024 * 1024;
/// Octets of a name at most.
pub const NAME_MAX: usize = 320;
/// Octets of an address's local part at most: what a path has room for (RFC 5321 §4.5.3.1.3).
const LOCAL_MAX: usize = 252;
/// What the line with the seed begins with.
const SEED: &str = "# scram-seed:";
/// Permission bits that it must not have: others read passwords' hashes, or the group writes them.
const MODE_BAD: u32 = 0o027;

/// One account.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name and its addresses.
    pub account: Account,
    /// What its password is checked against; none: the account can't log in.
    pub verifiers: Vec<Verifier>,
}

/// All accounts of a file.
#[derive(Debug)]
pub struct Accounts {
    entries: HashMap<Box<str>, Entry>,
    /// What an unknown name's password is checked against, so that it takes as long as a known one's.
    dummy: Option<Verifier>,
    iterations: u32,
    /// Makes salts for names that don't exist.
    seed: [u8; 32],
}

/// The line that keeps a seed.
#[must_use]
pub(super) fn seed_line(seed: &[u8; 32]) -> String {
    format!("{SEED} {}\n", STANDARD.encode(seed))
}

/// The seed, where a line is the one that keeps it. An error: it is broken.
pub(super) fn seed(line: &str) -> Option<Result<[u8; 32], String>> {
    let text = line.trim().strip_prefix(SEED)?;
    let octets = STANDARD.decode(text.trim()).ok();
    let seed = octets.and_then(|octets| octets.try_into().ok());
    Some(seed.ok_or_else(|| format!("after `{SEED}` come 32 octets in base64")))
}

/// The seed where the file has none: of the first account's key, so that machines with the same file show the same salts. A client
/// that asked two machines with different ones would see which names exist. It changes with that account's password.
fn own_seed(first: Option<&ScramKeys>) -> [u8; 32] {
    let key = first.map_or(&[][..], |keys| &keys.server_key);
    verifier::keyed(key, b"gatepost: salts of nobody")
}

/// Why a name can't be one; `None`: it can.
#[must_use]
pub fn bad_name(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Some("a name has 1 to 320 octets");
    }
    let odd = name.starts_with('#') || name.chars().any(|c| c.is_whitespace() || c.is_control());
    if odd {
        return Some("a name has no blanks, and does not begin with `#`");
    }
    let may_not = names::prepared(name).is_none();
    may_not.then_some("a name has no characters that SASLprep forbids (RFC 4013 §2.3)")
}

/// Reads an address, or `@domain`, in the form in which it is compared. Errors: why it is none.
pub fn address(text: &str) -> Result<Box<str>, String> {
    let form = names::address(text);
    let sound = form.rsplit_once('@').is_some_and(|(local, domain)| {
        !domain.is_empty()
            && local.len() <= LOCAL_MAX
            && domain.len() <= 255
            && domain
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-'))
    });
    match sound {
        true => Ok(form.into()),
        false => Err(format!("\"{text}\" is neither an address nor `@domain`")),
    }
}

impl Entry {
    /// Reads a line that is no comment. Errors: what is wrong with it.
    pub fn parse(line: &str) -> Result<Entry, String> {
        let mut fields = line.split_whitespace();
        let name = folded(fields.next().unwrap_or_default());
        if let Some(why) = bad_name(&name) {
            return Err(why.into());
        }
        let addresses = fields
            .next()
            .ok_or("after the name come its addresses, or `-`")?;
        let mut owned = Vec::new();
        for text in addresses.split(',').filter(|text| *text != "-") {
            owned.push(address(text)?);
        }
        if addresses == "-" && name.contains('@') {
            owned.extend(address(&name).ok());
        }
        let verifiers = fields.map(Verifier::parse).collect::<Result<_, _>>()?;
        let account = Account {
            name: name.into(),
            addresses: owned.into(),
        };
        Ok(Entry { account, verifiers })
    }

    /// The verifier for SCRAM, where it has one.
    #[must_use]
    pub fn scram(&self) -> Option<&ScramKeys> {
        self.verifiers.iter().find_map(|verifier| match verifier {
            Verifier::Scram(keys) => Some(keys),
            _ => None,
        })
    }

    /// What a password is checked against: a hash before a SCRAM verifier.
    fn checked(&self) -> Option<&Verifier> {
        let is_hash = |verifier: &&Verifier| !matches!(verifier, Verifier::Scram(_));
        let hash = self.verifiers.iter().find(is_hash);
        hash.or(self.verifiers.first())
    }
}

impl Accounts {
    /// Reads a file. Errors: everything that is wrong, a line each.
    pub fn read(path: &Path) -> Result<Accounts, Vec<String>> {
        let shown = path.display();
        let failed = |why: std::io::Error| vec![format!("can't read {shown}: {why}")];
        let file = match crate::config::open_file(path) {
            Ok(file) => file,
            // Closed to the user that the process has become, and so to others: the key reader still reads it.
            Err(why) if why.kind() == ErrorKind::PermissionDenied => {
                let octets = crate::config::read_secret(path).map_err(failed)?;
                let text = String::from_utf8(octets);
                let text = text.map_err(|_| vec![format!("{shown} is no UTF-8 text")])?;
                return Accounts::parse_file(path, &text);
            }
            Err(why) => return Err(failed(why)),
        };
        let about = file.metadata().map_err(failed)?;
        let mode = about.permissions().mode();
        if mode & MODE_BAD != 0 {
            let mode = mode & 0o777;
            return Err(vec![format!(
                "{shown} has mode {mode:03o}: others could read its hashes or write them; chmod 640"
            )]);
        }
        let mut text = String::new();
        let mut whole = file.take(FILE_MAX + 1);
        whole.read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > FILE_MAX {
            return Err(vec![format!("{shown} is larger than 64 MiB")]);
        }
        Accounts::parse_file(path, &text)
    }

    /// The same of the file with this path, which each line names.
    pub(super) fn parse_file(path: &Path, text: &str) -> Result<Accounts, Vec<String>> {
        let shown = path.display();
        let named = |(line, why)| format!("{shown}:{line}: {why}");
        Accounts::parse(text).map_err(|bad| bad.into_iter().map(named).collect())
    }

    /// Reads a file's text. Errors: the lines that are no account, and why.
    pub fn parse(text: &str) -> Result<Accounts, Vec<(usize, String)>> {
        let (mut entries, mut bad) = (HashMap::new(), Vec::new());
        let (mut first, mut kept) = (None, None);
        let mut kinds: HashMap<&'static str, (usize, Verifier)> = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            match seed(line) {
                Some(Ok(seed)) => kept = kept.or(Some(seed)),
                Some(Err(why)) => bad.push((at + 1, why)),
                None => {}
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = match Entry::parse(line) {
                Ok(entry) => entry,
                Err(why) => {
                    bad.push((at + 1, why));
                    continue;
                }
            };
            first = first.or(entry.scram().cloned());
            if let Some(verifier) = entry.checked() {
                let new = || (0, verifier.clone());
                kinds.entry(verifier.kind()).or_insert_with(new).0 += 1;
            }
            let name: Box<str> = (*entry.account.name).into();
            if entries.contains_key(&name) {
                bad.push((at + 1, format!("the name \"{name}\" is listed twice")));
            }
            entries.insert(name, entry);
        }
        if !bad.is_empty() {
            return Err(bad);
        }
        let dummy = kinds.into_values().max_by_key(|(count, _)| *count);
        Ok(Accounts {
            entries,
            dummy: dummy.map(|(_, verifier)| verifier),
            iterations: first
                .as_ref()
                .map_or(verifier::ITERATIONS, |keys| keys.iterations),
            seed: kept.unwrap_or_else(|| own_seed(first.as_ref())),
        })
    }

    /// The seed that clients may have seen the salts of; `None`: there is no account that SCRAM could be used with.
    #[must_use]
    pub(super) fn seed_in_use(&self) -> Option<[u8; 32]> {
        let mut entries = self.entries.values();
        entries
            .any(|entry| entry.scram().is_some())
            .then_some(self.seed)
    }

    /// The account of this name, in any of its forms.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.get(&*folded(name))
    }

    /// Checks a password, or a token that is an account's password. Takes as long for a name that doesn't exist.
    #[must_use]
    pub fn check(&self, attempt: &Attempt) -> Outcome {
        let (user, secret) = match &attempt.credential {
            Credential::Password { user, password } => (Some(user), password),
            Credential::Token { user, token } => (user.as_ref(), token),
        };
        let entry = user.and_then(|user| self.find(user));
        match self.is_right(entry, secret).then_some(entry).flatten() {
            Some(entry) => Outcome::Granted(entry.account.clone()),
            None => Outcome::Denied,
        }
    }

    fn is_right(&self, entry: Option<&Entry>, secret: &Secret) -> bool {
        match (entry.and_then(Entry::checked), &self.dummy) {
            (Some(verifier), _) => verifier.is(secret),
            (None, Some(dummy)) => {
                // What it says doesn't matter, but that it was asked does.
                std::hint::black_box(dummy.is(secret));
                false
            }
            (None, None) => false,
        }
    }

    /// SCRAM's verifier of this name. A name that has none gets one that no password fits and whose salt is the same each
    /// time: a client must not see from it which accounts exist.
    #[must_use]
    pub fn scram(&self, name: &str) -> ScramKeys {
        if let Some(keys) = self.find(name).and_then(Entry::scram) {
            return keys.clone();
        }
        let name = folded(name);
        let own = |what: &[u8]| verifier::keyed(&self.seed, &[what, name.as_bytes()].concat());
        ScramKeys {
            iterations: self.iterations,
            salt: own(b"salt ")[..16].into(),
            stored_key: own(b"stored "),
            server_key: own(b"server "),
        }
    }
}

/// Accounts for tests: Amy with all verifiers, Ben with bcrypt alone, Cid with none.
#[cfg(test)]
pub(super) fn sample() -> std::sync::Arc<Accounts> {
    let secret = Secret::new(*b"amys secret");
    let made = |verifier: Result<Verifier, String>| verifier.expect("made").to_string();
    let text = format!(
        "# ours\namy amy@example.net,@amy.example {} {}\n\nBen@Example.net - {}\ncid -\n",
        made(Verifier::argon2(&secret)),
        made(Verifier::scram(&secret)),
        made(Verifier::bcrypt(&Secret::new(*b"bens"))),
    );
    std::sync::Arc::new(Accounts::parse(&text).expect("sound"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(accounts: &Accounts, user: &str, password: &str) -> Option<String> {
        match accounts.check(&Attempt::plain(user, password)) {
            Outcome::Granted(account) => Some(account.name.to_string()),
            _ => None,
        }
    }

    #[test]
    fn only_the_right_password_of_a_known_name_gets_in() {
        let accounts = sample();
        assert_eq!(accounts.entries.len(), 3);
        assert_eq!(
            granted(&accounts, "AMY", "amys secret").as_deref(),
            Some("amy")
        );
        assert_eq!(
            granted(&accounts, "ben@example.net", "bens").as_deref(),
            Some("ben@example.net")
        );
        for (user, password) in [
            ("amy", "bens"),
            ("amy", ""),
            ("cid", ""),
            ("cid", "bens"),
            ("dora", "amys secret"),
            ("", ""),
        ] {
            assert_eq!(
                granted(&accounts, user, password),
                None,
                "{user} {password}"
            );
        }
        let ben = accounts.find("BEN@example.NET").expect("there");
        assert_eq!(*ben.account.addresses, ["ben@example.net".into()]);
    }

    #[test]
    fn an_unknown_name_has_a_salt_like_a_known_one() {
        let accounts = sample();
        let (amy, nobody) = (accounts.scram("Amy"), accounts.scram("nobody"));
        assert_eq!(amy.iterations, nobody.iterations);
        assert_eq!(amy.salt.len(), nobody.salt.len());
        assert_eq!(nobody, accounts.scram("NOBODY"));
        assert_ne!(nobody.salt, accounts.scram("anybody").salt);
        assert_ne!(nobody.stored_key[..16], *nobody.salt);
    }

    #[test]
    fn without_a_seed_the_salts_come_from_the_file_alone() {
        let made = |secret: &[u8]| {
            let verifier = Verifier::scram(&Secret::new(secret.to_vec()));
            format!("amy - {}\n", verifier.expect("made"))
        };
        let (one, other) = (made(b"one"), made(b"other"));
        let salt = |text: &str| Accounts::parse(text).expect("sound").scram("nobody").salt;
        assert_eq!(
            salt(&one),
            salt(&format!("# a copy elsewhere\n{one}ben -\n"))
        );
        // Of another file they are others: nothing of the machine is in them.
        assert_ne!(salt(&one), salt(&other));
    }

    #[test]
    fn a_name_is_known_in_all_its_forms() {
        let accounts = Accounts::parse("Jose\u{301}@B\u{fc}cher.example -\n").expect("sound");
        for name in [
            "jos\u{e9}@b\u{fc}cher.example",
            "JOS\u{c9}@XN--BCHER-KVA.example",
            "\u{ff4a}ose\u{301}@b\u{fc}cher.example",
        ] {
            let found = accounts.find(name).expect(name);
            assert_eq!(
                *found.account.addresses,
                ["jos\u{e9}@xn--bcher-kva.example".into()]
            );
            assert_eq!(
                accounts.scram(name),
                accounts.scram("jos\u{e9}@b\u{fc}cher.example")
            );
        }
        let bad = Accounts::parse("a\u{200e}b -\n").expect_err("a mark of direction");
        assert!(bad[0].1.contains("SASLprep"), "{bad:?}");
    }

    #[test]
    fn each_bad_line_is_named() {
        let text = "amy\nben x\ncid - secret\ncid -\ncid -\n# scram-seed: c2VjcmV0\n";
        let bad = Accounts::parse(text).expect_err("bad");
        let lines: Vec<usize> = bad.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 3, 5, 6]);
        assert!(
            !bad.iter().any(|(_, why)| why.contains("secret")),
            "{bad:?}"
        );
    }

    #[test]
    fn a_file_that_others_may_read_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("accounts");
        std::fs::write(&path, "cid -\n").expect("written");
        for (mode, fine) in [(0o644, false), (0o660, false), (0o640, true), (0o600, true)] {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode.clone()).expect("set");
            assert_eq!(Accounts::read(&path).is_ok(), fine, "{mode:?}");
        }
        assert!(Accounts::read(&folder.path().join("none")).is_err());
    }
}
