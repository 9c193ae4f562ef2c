//! Pebble, the authority that Let's Encrypt tests with, and the names that it looks up.

use crate::harness::{Running, free_address, need, wait_until};
use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
};

/// The authority, and the DNS server that tells it where names lead. Both end with the value.
pub struct Pebble {
    _process: Running,
    _names: Running,
    folder: tempfile::TempDir,
    /// Where its directory is.
    pub directory: String,
    /// Where it asks for the answers to challenges, whatever the name.
    pub asks_at: SocketAddr,
}

impl Pebble {
    /// Starts it. `reject` is how many of a hundred good nonces it calls bad; `more` goes into its configuration.
    /// `None`, and a note, where it isn't installed.
    pub fn start(reject: u32, more: serde_json::Value) -> Option<Pebble> {
        let (program, names) = (need("pebble")?, need("pebble-challtestsrv")?);
        let folder = tempfile::tempdir().expect("a folder");
        let (api, asks_at) = (free_address(), free_address());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).expect("a name");
        params
            .subject_alt_names
            .push(rcgen::SanType::IpAddress(api.ip()));
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::KeyPair::generate().expect("a key");
        let issuer = rcgen::Issuer::from_params(&params, &authority);
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut own = params.clone();
        own.is_ca = rcgen::IsCa::NoCa;
        let own = own.signed_by(&key, &issuer).expect("signed");
        let root = params.self_signed(&authority).expect("signed");
        fs::write(path("ca.pem"), root.pem()).expect("written");
        fs::write(path("cert.pem"), own.pem()).expect("written");
        fs::write(path("key.pem"), key.serialize_pem()).expect("written");
        let mut settings = serde_json::json!({
            "listenAddress": api.to_string(),
            "managementListenAddress": free_address().to_string(),
            "certificate": path("cert.pem"),
            "privateKey": path("key.pem"),
            "httpPort": asks_at.port(),
            "tlsPort": free_address().port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            settings[key] = value.clone();
        }
        let settings = serde_json::json!({ "pebble": settings }).to_string();
        fs::write(path("config.json"), settings).expect("written");
        let dns = free_address();
        let management = free_address();
        let names = Running::start(
            Command::new(names)
                .args([
                    "-dns01",
                    &dns.to_string(),
                    "-management",
                    &management.to_string(),
                ])
                .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
                .args([
                    "-defaultIPv4",
                    &asks_at.ip().to_string(),
                    "-defaultIPv6",
                    "",
                ])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        wait_until("the names are there", || {
            TcpStream::connect(management).ok()
        });
        let log = fs::File::create(path("log")).expect("made");
        let errors = log.try_clone().expect("a file");
        let process = Running::start(
            Command::new(program)
                .args([
                    "-config",
                    &path("config.json"),
                    "-dnsserver",
                    &dns.to_string(),
                ])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_WFE_NONCEREJECT", reject.to_string())
                .stdin(Stdio::null())
                .stdout(log)
                .stderr(errors),
        );
        wait_until("Pebble listens", || TcpStream::connect(api).ok());
        Some(Pebble {
            _process: process,
            _names: names,
            directory: format!("https://{api}/dir"),
            asks_at,
            folder,
        })
    }

    /// The certificate that its own API is known by.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// What it did.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}
