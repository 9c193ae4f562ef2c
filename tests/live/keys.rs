//! Keys of DKIM, and what others say of the signatures that they have made.

use crate::harness::{leave_out, need};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

/// Exit code and what was said, standard output first.
pub fn dkim(words: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .arg("dkim")
        .args(words)
        .output()
        .expect("runs");
    let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    (output.status.code().unwrap_or(-1), said)
}

/// Keys that `gatepost dkim new` has made, and their records.
pub struct Keys {
    pub folder: tempfile::TempDir,
    pub records: BTreeMap<String, String>,
}

impl Keys {
    pub fn new() -> Keys {
        Keys {
            folder: tempfile::tempdir().expect("a folder"),
            records: BTreeMap::new(),
        }
    }

    pub fn path(&self, selector: &str) -> PathBuf {
        self.folder.path().join(selector).with_extension("pem")
    }

    /// Makes one for example.org; the table for the configuration. It signs for trusted clients too.
    pub fn make(&mut self, selector: &str, algorithm: &str) -> String {
        self.make_plain(selector, algorithm) + "clients = [\"authenticated\", \"trusted\"]\n"
    }

    /// The same with the default clients.
    pub fn make_plain(&mut self, selector: &str, algorithm: &str) -> String {
        let path = self.path(selector).display().to_string();
        let words = ["--domain", "example.org", "--selector", selector];
        let more = ["--algorithm", algorithm, "--json", "-o", &path];
        let (code, said) = dkim(&[&["new"][..], &words, &more].concat());
        assert_eq!(code, 0, "{said}");
        let made: Value = serde_json::from_str(&said).expect("JSON");
        let text = |key: &str| made[key].as_str().expect("text").to_string();
        self.records.insert(text("name"), text("record"));
        text("table")
    }

    /// What dkimpy says of each signature. `None`, and a note: it is not installed.
    pub fn dkimpy(&self, message: &[u8]) -> Option<Vec<bool>> {
        let has = |python: &&str| {
            let mut asked = Command::new(python);
            let asked = asked
                .args(["-c", "import dkim, nacl"])
                .stderr(Stdio::null());
            asked.status().is_ok_and(|status| status.success())
        };
        let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has) else {
            leave_out("verification by dkimpy: python3 has no modules dkim and nacl");
            return None;
        };
        let mut child = Command::new(python)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/data/dkim/peer.py"
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("runs");
        let question =
            json!({"do": "verify", "message": STANDARD.encode(message), "keys": self.records});
        let mut input = child.stdin.take().expect("piped");
        writeln!(input, "{question}").expect("it reads");
        drop(input);
        let output = child.wait_with_output().expect("ends");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let holds = answer["holds"].as_array();
        let holds = holds.unwrap_or_else(|| panic!("{answer}")).iter();
        Some(holds.map(|holds| holds == true).collect())
    }

    /// The lines of opendkim about each signature. `None`, and a note: it is not installed.
    pub fn opendkim(&self, message: &[u8]) -> Option<String> {
        let program = need("opendkim")?;
        let folder = self.folder.path();
        let keys: String = self
            .records
            .iter()
            .map(|(name, record)| format!("{name} {record}\n"))
            .collect();
        fs::write(folder.join("records"), keys).expect("written");
        let config = format!(
            "Mode v\nTestPublicKeys {}\n",
            folder.join("records").display()
        );
        fs::write(folder.join("opendkim.conf"), config).expect("written");
        fs::write(folder.join("message.eml"), message).expect("written");
        let output = Command::new(program)
            .arg("-x")
            .arg(folder.join("opendkim.conf"))
            .arg("-t")
            .arg(folder.join("message.eml"))
            .output()
            .expect("runs");
        Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// All who can be asked say that the message has so many signatures, and that all hold.
    #[track_caller]
    pub fn all_hold(&self, message: &[u8], count: usize) {
        let text = String::from_utf8_lossy(message);
        assert_eq!(
            text.matches("DKIM-Signature: ").count(),
            count,
            "{text:.3000}"
        );
        // dkimpy reads no header that is malformed.
        if count > 0
            && let Some(holds) = self.dkimpy(message)
        {
            assert_eq!(holds, vec![true; count], "{text:.3000}");
        }
    }
}
