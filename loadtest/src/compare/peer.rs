//! What can stand in the middle: the files in `loadtest/peers/`, one a proxy, with its configuration in it.
//!
//! A peer file says which programs it needs, how to install them, which files to write and what to run. In all of its
//! texts these words are replaced: `@address@` (where it listens), `@sink@`, `@sink_host@`, `@sink_port@` (the
//! backend), `@dns@` (a server that answers what a policy asks), `@spare@` (another free address), `@folder@` (its own, gone afterwards), `@user@` (who runs this),
//! `@workers@`, `@connections@` (how many it can hold with the descriptors it has), `@variant@`, `@gatepost@`. In the
//! folder lie `certificate.pem`, `key.pem` and `both.pem`, for peers with TLS.
//!
//! What only some works want stands below `when`: for `implicit` and `starttls` (the client speaks TLS) and `behind` (the
//! backend does) it has words of the peer's own, which are empty in all other works. A peer that has no such entry can't
//! do those works. `policy` is the same for a policy with answers from the DNS: a peer that has none does those works as it is.

use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Those that are compiled in, in the order of the table. The first one is what the others are held against.
const BUILT_IN: &[(&str, &str)] = &[
    ("haproxy", include_str!("../../peers/haproxy.toml")),
    ("gatepost", include_str!("../../peers/gatepost.toml")),
    ("nginx", include_str!("../../peers/nginx.toml")),
    (
        "postfix-filter",
        include_str!("../../peers/postfix-filter.toml"),
    ),
    (
        "postfix-queue",
        include_str!("../../peers/postfix-queue.toml"),
    ),
    ("haraka", include_str!("../../peers/haraka.toml")),
];

/// The file as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    title: String,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    install: String,
    #[serde(default)]
    root: bool,
    #[serde(default)]
    variants: Vec<String>,
    version: Vec<String>,
    #[serde(default)]
    prepare: Vec<Vec<String>>,
    run: Vec<String>,
    #[serde(default)]
    when: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    files: BTreeMap<String, String>,
}

/// A proxy that can be started.
#[derive(Clone, Debug)]
pub struct Peer {
    /// As on the command line: `haproxy`, `gatepost-ring`.
    pub name: String,
    /// As in the table.
    pub title: String,
    variant: String,
    described: Described,
}

/// The words that a peer's texts may hold, and what stands for them.
pub type Words = BTreeMap<String, String>;

/// All peers that are known, each variant by itself.
///
/// # Panics
/// A compiled-in file is wrong: a test reads them all.
#[must_use]
pub fn known() -> Vec<Peer> {
    let mut peers = Vec::new();
    for (name, text) in BUILT_IN {
        let described: Described =
            toml::from_str(text).expect("the compiled-in peers are read by a test");
        if described.variants.is_empty() {
            peers.push(Peer {
                name: (*name).to_owned(),
                title: described.title.clone(),
                variant: String::new(),
                described,
            });
            continue;
        }
        for variant in &described.variants {
            peers.push(Peer {
                name: format!("{name}-{variant}"),
                title: format!("{}, {variant}", described.title),
                variant: variant.clone(),
                described: described.clone(),
            });
        }
    }
    peers
}

/// Finds a program, also where only root's PATH looks.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    let path = search_path();
    path.split(':')
        .map(|folder| Path::new(folder).join(name))
        .find(|file| file.is_file())
}

/// PATH with the folders of system programs after it.
#[must_use]
pub fn search_path() -> String {
    std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin"
}

impl Peer {
    /// Is it one of Gatepost's engines?
    #[must_use]
    pub fn is_gatepost(&self) -> bool {
        !self.variant.is_empty()
    }

    /// Which of Gatepost's engines it is.
    #[must_use]
    pub fn engine(&self) -> Option<&str> {
        Some(self.variant.as_str()).filter(|variant| !variant.is_empty())
    }

    /// Why it can't be measured here, and what to do about it; `None` where it can.
    #[must_use]
    pub fn missing(&self, is_root: bool) -> Option<String> {
        let absent: Vec<&str> = self
            .described
            .needs
            .iter()
            .map(String::as_str)
            .filter(|name| program(name).is_none())
            .collect();
        if !absent.is_empty() {
            return Some(format!(
                "{} is not installed ({})",
                absent.join(" and "),
                self.described.install
            ));
        }
        (self.described.root && !is_root).then(|| "only root can start it".to_owned())
    }

    /// Can it do a work that wants these?
    #[must_use]
    pub fn can(&self, modes: &[&str]) -> bool {
        modes
            .iter()
            .all(|mode| self.described.when.contains_key(*mode))
    }

    /// The first line that its `version` command prints with a digit in it.
    #[must_use]
    pub fn version(&self, words: &Words) -> String {
        let Ok(output) = self.command(&self.described.version, words).output() else {
            return String::new();
        };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let text = console::strip_ansi_codes(&text);
        let line = text
            .lines()
            .find(|line| line.contains(|c: char| c.is_ascii_digit()));
        let line = line.unwrap_or_default();
        // What follows is a home page.
        let end = line.find("http").unwrap_or(line.len());
        let trim: &[char] = &[' ', '-', '.'];
        line[..end].trim_matches(trim).to_owned()
    }

    /// Writes its files for works that want `modes`, and runs what has to be run before it; returns the command that
    /// starts it.
    ///
    /// # Errors
    /// A file can't be written, or one of the commands failed: with what it printed.
    pub fn prepare(&self, words: &Words, modes: &[&str]) -> io::Result<Command> {
        let words = self.complete(words, modes);
        let folder = Path::new(&words["folder"]);
        for (name, text) in &self.described.files {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, fill(text, &words))?;
        }
        for words_of in &self.described.prepare {
            let output = self.command(words_of, &words).output()?;
            if !output.status.success() {
                let said = [output.stdout, output.stderr].concat();
                return Err(io::Error::other(format!(
                    "`{}` failed: {}",
                    words_of.join(" "),
                    String::from_utf8_lossy(&said).trim()
                )));
            }
        }
        Ok(self.command(&self.described.run, &words))
    }

    fn complete(&self, words: &Words, modes: &[&str]) -> Words {
        let mut words = words.clone();
        words.insert("variant".into(), self.variant.clone());
        let mut own = Words::new();
        for (mode, values) in &self.described.when {
            let holds = modes.contains(&&**mode);
            for (word, value) in values {
                let place = own.entry(word.clone()).or_default();
                if holds {
                    *place = fill(value, &words).trim_end().to_owned();
                }
            }
        }
        words.extend(own);
        words
    }

    fn command(&self, line: &[String], words: &Words) -> Command {
        let mut filled = line.iter().map(|word| fill(word, words));
        let name = filled.next().unwrap_or_default();
        let path = program(&name).unwrap_or_else(|| PathBuf::from(&name));
        let mut command = Command::new(path);
        command.args(filled).env("PATH", search_path());
        command
    }
}

/// Replaces each `@word@`.
fn fill(text: &str, words: &Words) -> String {
    let mut text = text.trim_start_matches('\n').to_owned();
    for (word, value) in words {
        text = text.replace(&format!("@{word}@"), value);
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_compiled_in_peers_are_right_and_haproxy_comes_first() {
        let peers = known();
        let names: Vec<&str> = peers.iter().map(|peer| &*peer.name).collect();
        assert_eq!(names[0], "haproxy");
        for name in ["gatepost-ring", "gatepost-epoll", "nginx", "haraka"] {
            assert!(names.contains(&name), "{names:?}");
        }
    }

    #[test]
    fn gatepost_reads_its_file() {
        let peer = known().into_iter().find(Peer::is_gatepost).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let words = words(folder.path());
        for modes in [
            &[][..],
            &["implicit"],
            &["starttls"],
            &["behind"],
            &["implicit", "behind"],
        ] {
            let words = peer.complete(&words, modes);
            let text = fill(&peer.described.files["gatepost.toml"], &words);
            if let Err(problems) = gatepost::config::parse("gatepost.toml", &text) {
                panic!("{modes:?}: {problems:?}");
            }
        }
    }

    #[test]
    fn files_are_written_with_their_words_filled_in() {
        let folder = tempfile::tempdir().unwrap();
        let words = words(folder.path());
        for mut peer in known() {
            peer.described.prepare.clear();
            let command = peer.prepare(&words, &["implicit", "behind"]).unwrap();
            assert!(!format!("{command:?}").contains('@'), "{command:?}");
            let known = peer.complete(&words, &[]);
            for name in peer.described.files.keys() {
                let text = fs::read_to_string(folder.path().join(name)).unwrap();
                for word in known.keys() {
                    assert!(!text.contains(&format!("@{word}@")), "{name}: {word}");
                }
            }
        }
    }

    fn words(folder: &Path) -> Words {
        let mut words: Words = [
            ("address", "127.0.0.1:25"),
            ("sink", "127.0.0.1:26"),
            ("sink_host", "127.0.0.1"),
            ("sink_port", "26"),
            ("spare", "127.0.0.1:27"),
            ("user", "root"),
            ("workers", "1"),
            ("connections", "9000"),
            ("gatepost", "/bin/true"),
        ]
        .map(|(word, value)| (word.to_owned(), value.to_owned()))
        .into();
        words.insert("folder".into(), folder.display().to_string());
        words
    }
}
