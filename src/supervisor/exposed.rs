//! Files with secrets that other users of the machine can read. The service runs all the same: where the machine has no
//! other users nothing is lost, and a mode is mended without a restart.
//!
//! Account files are held to more: they are refused (`auth::accounts`), because hashes are guessed at leisure.

use crate::config::Config;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// What everyone may do with a file, and with a folder on the way to it.
const OTHERS_READ: u32 = 0o004;
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
        let mode = readable_mode(file)?;
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

/// The mode of a file that everyone can read; `None` where the mode, or a folder on the way, keeps them out.
fn readable_mode(file: &Path) -> Option<u32> {
    let whole = fs::canonicalize(file).ok()?;
    let mode = |path: &Path| {
        fs::metadata(path)
            .ok()
            .map(|facts| facts.permissions().mode())
    };
    let own = mode(&whole)?;
    let passes = |folder: &Path| mode(folder).is_some_and(|mode| mode & OTHERS_PASS != 0);
    let reaches = whole.ancestors().skip(1).all(passes);
    (own & OTHERS_READ != 0 && reaches).then_some(own & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Certificate;

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
