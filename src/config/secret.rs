//! Reading files that may be closed to the user that the service runs as: the configuration itself, private keys and
//! what stands beside them, secrets.
//!
//! Such a file is read with [`read_secret`], wherever that is. While the process may read everything, or was never more
//! than it is, that is a plain read; once it has given privileges up, the supervisor has put something in the way that
//! still can ([`set_reader`]). That reads nothing but the configuration and its [`secret_files`].

use super::{Config, open_file};
use std::{
    io::{self, Read},
    path::Path,
    sync::OnceLock,
};

/// Octets of the largest file that is read so.
pub const SECRET_MAX: u64 = 4 << 20;

type Reader = Box<dyn Fn(&Path) -> io::Result<Vec<u8>> + Send + Sync>;

static READER: OnceLock<Reader> = OnceLock::new();

/// The files of a configuration that may be closed to the user that the service runs as: keys with their certificates
/// (which stand in one closed folder, as `/etc/letsencrypt/live`), secrets, account files. Lists, logs, and folders that
/// are written to are not among them: they are the user's own.
#[must_use]
pub fn secret_files(config: &Config) -> Vec<&Path> {
    let mut found: Vec<&Path> = Vec::new();
    for certificate in &config.certificate {
        found.extend([&*certificate.chain, &*certificate.key]);
    }
    for listener in &config.listener {
        found.extend(listener.client_ca.as_deref());
    }
    for pool in &config.pool {
        let files = [&pool.tls_ca, &pool.tls_certificate, &pool.tls_key];
        found.extend(files.into_iter().filter_map(|file| file.as_deref()));
    }
    for credentials in &config.credentials {
        found.extend([
            &*credentials.file,
            &*credentials.ca,
            &*credentials.secret.file,
        ]);
    }
    let acme = [&config.acme.ca, &config.acme.external_key];
    found.extend(acme.into_iter().filter_map(|file| file.as_deref()));
    found.extend(config.dkim.iter().map(|table| table.key.file()));
    found.push(&config.admin.token.file);
    // A configuration, as the main one.
    found.extend(config.shadow_config.as_deref());
    found.extend(config.policy.dnsbl.iter().map(|list| &*list.key.file));
    found.retain(|file| !file.as_os_str().is_empty());
    found
}

/// Reads a whole file, of [`SECRET_MAX`] octets at most: as the user that the service runs as where that may read it,
/// else with the privileges that the process began with. Blocks.
///
/// # Errors
/// As for any read; the file is larger; or the way to the reader is gone.
pub fn read_secret(path: &Path) -> io::Result<Vec<u8>> {
    match (read_plainly(path), READER.get()) {
        (Err(why), Some(read)) if why.kind() == io::ErrorKind::PermissionDenied => read(path),
        (outcome, _) => outcome,
    }
}

/// The same with the privileges that the process has now.
///
/// # Errors
/// As for any read, or the file is larger.
pub fn read_plainly(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    open_file(path)?
        .take(SECRET_MAX + 1)
        .read_to_end(&mut octets)?;
    if octets.len() as u64 > SECRET_MAX {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    Ok(octets)
}

/// Has secrets that are closed to the process read by `read` from now on. The first call counts.
pub fn set_reader(read: impl Fn(&Path) -> io::Result<Vec<u8>> + Send + Sync + 'static) {
    // A second one would be a second process; there is one.
    let _ = READER.set(Box::new(read));
}

#[cfg(test)]
mod tests {
    use crate::config::named_secrets;
    use std::path::Path;

    const TEXT: &str = r#"
            hostname = "/etc/hostname"
            shadow_config = "/yes/candidate"
            [admin]
            histogram_log = "/no/histograms"
            token = { file = "/yes/token" }
            [[certificate]]
            chain = "/yes/chain"
            key = "/yes/key"
            [[listener]]
            name = "mx"
            address = ["127.0.0.1:25"]
            banner = "/no/banner"
            client_ca = "/yes/client_ca"
            [[pool]]
            name = "mta"
            backends = ["127.0.0.1:2600"]
            tls_ca = "/yes/tls_ca"
            tls_certificate = "/yes/tls_certificate"
            tls_key = "/yes/tls_key"
            [[policy.client_list]]
            name = "list"
            files = ["/no/list"]
            [[credentials]]
            name = "staff"
            file = "/yes/accounts"
            ca = "/yes/ca"
            socket = "/no/socket"
            secret = { file = "/yes/secret" }
            [[dkim]]
            domain = "example.net"
            selector = "a"
            key = "/yes/dkim_a"
            [[dkim]]
            domain = "example.net"
            selector = "b"
            key = { file = "/yes/dkim_b" }
            [acme]
            store = "/no/store"
            ca = "/yes/acme_ca"
            external_key = "/yes/external_key"
            [maildir]
            directory = "/no/maildir"
            [log]
            to = "/no/log"
        "#;

    #[test]
    fn keys_and_their_like_are_secret_and_other_texts_are_not() {
        let own = Path::new("/own/mx.toml");
        let named = |text: &str| named_secrets(own, &|_: &Path| Ok(text.into()));
        let mut found = named(TEXT).expect("sound");
        assert_eq!(found.remove(0), own);
        found.sort();
        let expected = [
            "accounts",
            "acme_ca",
            "ca",
            "candidate",
            "chain",
            "client_ca",
            "dkim_a",
            "dkim_b",
            "external_key",
            "key",
            "secret",
            "tls_ca",
            "tls_certificate",
            "tls_key",
            "token",
        ];
        let found: Vec<&str> = found.iter().filter_map(|file| file.to_str()).collect();
        assert_eq!(found, expected.map(|name| format!("/yes/{name}")));
        for broken in [
            "[log",
            "unknown = \"/etc/shadow\"",
            "[[certificate]]\nkey = 7",
        ] {
            assert_eq!(named(broken), None, "{broken}");
        }
    }
}
