//! Domains, networks and recipients that stand in files of their own, one a line: read into the configuration, so that
//! every other room finds them where those of the main file are.

use super::{
    Config, RecipientFile, RecipientSet, RouteRecipients, document::Document, entry, open_file,
};
use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A file larger than this is refused: it is read into memory at each reload.
const FILE_MAX: u64 = 64 << 20;

/// Mistakes of one file of recipients that are told.
const MISTAKES_MAX: usize = 20;

/// Reads the files of `trusted_files`, of each route's `domain_files`, and of its recipients; what is wrong is told with
/// file and line.
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
        if let RouteRecipients::Listed(list) = &mut route.recipients {
            recipients(list, &format!("route[{i}].recipients"), at);
        }
    }
}

fn recipients(list: &mut RecipientFile, path: &str, at: &mut Document) {
    let odd = |c: char| !c.is_ascii_punctuation() || c == '@' || c == '"' || c == '\\';
    if list.delimiter.contains(odd) {
        let message = format!("\"{}\" can't begin a subaddress", list.delimiter);
        let hint = "write delimiter = \"+\"".to_string();
        at.error(&format!("{path}.delimiter"), message, hint);
    }
    let file = &list.file;
    let path = format!("{path}.file");
    let text = match text_of(file) {
        Ok(text) => text,
        Err(why) => {
            at.error(&path, format!("can't read {}: {why}", file.display()), None);
            return;
        }
    };
    let mut set = RecipientSet::default();
    let mut mistakes = 0;
    for (line, whole) in text.lines().enumerate() {
        let Err(hint) = set.add_line(whole) else {
            continue;
        };
        mistakes += 1;
        if mistakes > MISTAKES_MAX {
            let message = format!("{} has more lines like these", file.display());
            at.error(&path, message, None);
            return;
        }
        let message = format!("\"{}\" is no recipient", whole.trim());
        at.error_in(file, line + 1, whole, &path, message, Some(hint));
    }
    if set.is_empty() && mistakes == 0 {
        let message = format!(
            "{} lists no recipient: all of this route are refused",
            file.display()
        );
        at.warning(&path, message, None);
    }
    list.set = Arc::new(set);
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
/// In words: it can't be read, is no file, is too large or no UTF-8.
fn text_of(file: &Path) -> Result<String, String> {
    let open = open_file(file).map_err(|why| why.to_string())?;
    let mut text = String::new();
    // What is given by a pipe has no length before its end.
    let read = open.take(FILE_MAX + 1).read_to_string(&mut text);
    let octets = read.map_err(|why| why.to_string())? as u64;
    if octets > FILE_MAX {
        return Err(format!("it has more than {FILE_MAX} octets"));
    }
    Ok(text)
}
