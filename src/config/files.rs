//! Domains and networks that stand in files of their own, one a line: read into the configuration, so that every
//! other room finds them where those of the main file are.

use super::{Config, document::Document, entry};
use std::path::{Path, PathBuf};

/// A file larger than this is refused: it is read into memory at each reload.
const FILE_MAX: u64 = 64 << 20;

/// Reads the files of `trusted_files` and of each route's `domain_files`; what is wrong is told with file and line.
pub fn read(config: &mut Config, at: &mut Document) {
    let files = std::mem::take(&mut config.trusted_files);
    let trusted = &mut config.trusted;
    each_line(&files, "trusted_files", at, |text| {
        trusted.push(entry::network(text)?);
        Ok(())
    });
    for (i, route) in config.route.iter_mut().enumerate() {
        let files = std::mem::take(&mut route.domain_files);
        let domains = &mut route.domains;
        let key = format!("route[{i}].domain_files");
        each_line(&files, &key, at, |text| {
            entry::route_domain(text)?;
            domains.push(text.into());
            Ok(())
        });
    }
}

/// Gives each entry of these files to `take`, which says what should stand there instead.
fn each_line(
    files: &[PathBuf],
    key: &str,
    at: &mut Document,
    mut take: impl FnMut(&str) -> Result<(), String>,
) {
    for (number, file) in files.iter().enumerate() {
        let path = format!("{key}[{number}]");
        let text = match text_of(file) {
            Ok(text) => text,
            Err(why) => {
                at.error(&path, format!("can't read {}: {why}", file.display()), None);
                continue;
            }
        };
        for (line, whole) in text.lines().enumerate() {
            let entry = entry::of_line(whole);
            if entry.is_empty() {
                continue;
            }
            if let Err(hint) = take(entry) {
                let message = format!("\"{entry}\" can't be an entry of this list");
                at.error_in(file, line + 1, whole, &path, message, Some(hint));
            }
        }
    }
}

/// The text of a list.
///
/// # Errors
/// In words: it can't be read, is no regular file, is too large or no UTF-8.
fn text_of(file: &Path) -> Result<String, String> {
    let facts = std::fs::metadata(file).map_err(|why| why.to_string())?;
    if !facts.is_file() {
        return Err("it is no regular file".into());
    }
    if facts.len() > FILE_MAX {
        return Err(format!("{} octets are more than {FILE_MAX}", facts.len()));
    }
    std::fs::read_to_string(file).map_err(|why| why.to_string())
}
