//! Files with secrets that other users of the machine can read, and folders of ours that they can write in. The service runs all
//! the same: where the machine has no other users nothing is lost, and a mode is corrected without a restart.
//!
//! Account files are held to more: they are refused (`auth::accounts`), because hashes are guessed at leisure.

use crate::{config::Config, process::confine};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// What everyone may do with a file, and with a folder on the way to it.
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
const OTHERS_PASS: u32 = 0o001;

/// The files of a configuration that must be nobody else's, each with its key.
fn secrets(config: &Config) -> Vec<(String, &Path)> {
    let mut found: Vec<(String, &Path)> = Vec::new();
    for (i, certificate) in config.certificate.iter().enumerate() {
        found.push((format!("certificate[{i}].key"), &certificate.key));
    }
    for (i, pool) in config.pool.iter().enumerate() {
        // A key may stand in the file of its certificate.
        if let Some(file) = pool.tls_key.as_ref().or(pool.tls_certificate.as_ref()) {
            let key = match pool.tls_key {
                Some(_) => "tls_key",
                None => "tls_certificate",
            };
            found.push((format!("pool[{i}].{key}"), file));
        }
    }
    for (i, credentials) in config.credentials.iter().enumerate() {
        found.push((format!("credentials[{i}].secret"), &credentials.secret.file));
    }
    for (i, table) in config.dkim.iter().enumerate() {
        found.push((format!("dkim[{i}].key"), table.key.file()));
    }
    if let Some(file) = &config.acme.external_key {
        found.push(("acme.external_key".into(), file));
    }
    found.push(("admin.token".into(), &config.admin.token.file));
    found.retain(|(_, file)| !file.as_os_str().is_empty());
    found
}

/// Secrets that others can read: the key, what is wrong, what to do.
#[must_use]
pub fn exposed(config: &Config) -> Vec<(String, String, String)> {
    let secrets = secrets(config).into_iter();
    let open = secrets.filter_map(|(key, file)| {
        let mode = open_mode(file, OTHERS_READ)?;
        let file = file.display();
        let problem = format!("every user of this machine can read {file} (mode {mode:03o})");
        Some((
            key,
            problem,
            format!("chmod 600 {file}, or 640 with a group of its own"),
        ))
    });
    open.collect()
}

/// Folders that the process writes in and others can write in too, who could put files, links and sockets there in place of
/// ours: the key, what is wrong, what to do.
#[must_use]
pub fn open_folders(config: &Config) -> Vec<(&'static str, String, String)> {
    let folders = confine::written(config).into_iter();
    let folders = folders.chain(confine::socket_folders(config));
    let open = folders.filter_map(|(key, folder)| {
        let mode = open_mode(&folder, OTHERS_WRITE)?;
        let folder = folder.display();
        let problem = format!("every user of this machine can write in {folder} (mode {mode:03o})");
        Some((
            key,
            problem,
            format!("use a folder of its own, or chmod o-w {folder}"),
        ))
    });
    open.collect()
}

/// The mode of a file or folder that everyone may use so; `None` where the mode, or a folder on the way, keeps them out.
fn open_mode(file: &Path, right: u32) -> Option<u32> {
    let whole = fs::canonicalize(file).ok()?;
    let mode = |path: &Path| {
        fs::metadata(path)
            .ok()
            .map(|facts| facts.permissions().mode())
    };
    let own = mode(&whole)?;
    let passes = |folder: &Path| mode(folder).is_some_and(|mode| mode & OTHERS_PASS != 0);
    let reaches = whole.ancestors().skip(1).all(passes);
    (own & right != 0 && reaches).then_some(own & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Certificate;

    #[test]
    fn a_folder_of_ours_that_everyone_can_write_in_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.state.directory = Some(folder.path().join("state"));
        config.log.to = folder.path().join("log/mail.log").display().to_string();
        config.policy.dmarc.reports.directory = folder.path().join("reports");
        let socket = format!("unix:{}/run/admin.sock", folder.path().display());
        config.admin.listen = socket.parse().expect("a socket");
        for (name, mode) in [
            ("state", 0o777),
            ("log", 0o1777),
            ("reports", 0o775),
            ("run", 0o777),
        ] {
            let inner = folder.path().join(name);
            fs::create_dir(&inner).expect("made");
            fs::set_permissions(&inner, fs::Permissions::from_mode(mode)).expect("ours");
        }
        let set = |mode| {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).expect("ours");
        };
        set(0o755);
        let found = open_folders(&config);
        let keys: Vec<&str> = found.iter().map(|(key, ..)| *key).collect();
        assert_eq!(keys, ["log.to", "state.directory", "admin.listen"]);
        assert!(found[1].1.contains("(mode 777)"), "{}", found[1].1);
        set(0o700);
        assert!(
            open_folders(&config).is_empty(),
            "the others don't get there"
        );
    }

    #[test]
    fn a_key_that_everyone_can_read_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("key.pem");
        fs::write(&key, "x").expect("written");
        let config = Config {
            certificate: vec![Certificate {
                chain: key.clone(),
                key: key.clone(),
            }],
            ..Config::default()
        };
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
        };
        for (of_folder, of_file, open) in [
            (0o755, 0o644, true),
            (0o711, 0o604, true),
            (0o755, 0o640, false),
            (0o700, 0o644, false),
            (0o750, 0o644, false),
        ] {
            set(folder.path(), of_folder);
            set(&key, of_file);
            let found = exposed(&config);
            assert_eq!(found.len(), usize::from(open), "{of_folder:o} {of_file:o}");
            if let Some((path, problem, hint)) = found.first() {
                assert_eq!(path, "certificate[0].key");
                assert!(problem.contains(&format!("mode {of_file:o}")), "{problem}");
                assert!(hint.starts_with("chmod 600"), "{hint}");
            }
        }
        fs::remove_file(&key).expect("there");
        assert!(exposed(&config).is_empty(), "told by what reads it");
    }
}
