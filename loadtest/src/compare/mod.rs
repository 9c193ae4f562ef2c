//! Several proxies, one work after the other, in turns.
//!
//! For each work all peers are started in front of one backend, pinned to the same core, and loaded one after the
//! other (A B C A B C …) by a source on the other core, so that a change of the machine's speed meets all of them.
//!
//! Rejected: all peers at once (they would share the core), and one peer after the other with all of its rounds (the
//! machine's mood would be one peer's).

mod awake;
mod backend;
mod bench;
mod greeting;
mod names;
mod page;
mod peer;
mod process;
mod rounds;
mod source;
mod table;
mod works;

use clap::builder::PossibleValuesParser;
use std::{fs, path::PathBuf, process::ExitCode};

pub use rounds::Comparison;

/// What the command line said.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The peers, by name; HAProxy is always among them [default: all that are installed].
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    peers: Vec<String>,
    /// The works, by name [default: all].
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = PossibleValuesParser::new(names()))]
    works: Vec<String>,
    /// How many turns each peer has.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long one turn may take; slow peers get fewer messages.
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
    seconds: f64,
    /// The gatepost binary to measure [default: the one in this program's folder].
    #[arg(long, value_name = "PATH")]
    gatepost: Option<PathBuf>,
    /// Put the tables into this Markdown file, between `<!-- compare -->` and `<!-- end -->`.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Save the figures (compare.json) and a page with plots (compare.html) here.
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  gatepost-load compare                                     every work, every peer that is installed
  gatepost-load compare --works kept,one --rounds 3
  gatepost-load compare --peers gatepost-ring,nginx --out /tmp/compare

It needs two cores and `taskset`: one for the proxy, the other for source and backend. All traffic is on loopback.
Run it on a machine that does nothing else.";

fn names() -> impl Iterator<Item = &'static str> {
    works::WORKS.iter().map(|work| work.name)
}

/// Runs the command.
#[must_use]
pub fn main(args: &Args) -> ExitCode {
    match run(args) {
        Ok(comparison) if comparison.lost() == 0 => ExitCode::SUCCESS,
        Ok(comparison) => {
            eprintln!(
                "gatepost-load: {} acknowledged messages did not arrive",
                comparison.lost()
            );
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("gatepost-load: {error}");
            ExitCode::from(69)
        }
    }
}

fn run(args: &Args) -> Result<Comparison, Box<dyn std::error::Error>> {
    let gatepost = match &args.gatepost {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("gatepost"),
    };
    if !gatepost.is_file() {
        return Err(format!(
            "there is no gatepost at {}: build it (cargo build --release), or say where it is with --gatepost",
            gatepost.display()
        )
        .into());
    }
    let comparison = rounds::run(&rounds::Wishes {
        peers: &args.peers,
        works: &args.works,
        rounds: args.rounds,
        seconds: args.seconds,
        gatepost: &gatepost.display().to_string(),
    })?;
    let text = comparison.markdown();
    println!("{text}");
    if let Some(path) = &args.write {
        let page =
            fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        fs::write(path, put_between(&page, &text)?)?;
    }
    if let Some(folder) = &args.out {
        fs::create_dir_all(folder)?;
        fs::write(
            folder.join("compare.json"),
            serde_json::to_string_pretty(&comparison)?,
        )?;
        fs::write(folder.join("compare.html"), page::render(&comparison))?;
        eprintln!("saved in {}", folder.display());
    }
    Ok(comparison)
}

const BEGIN: &str = "<!-- compare -->\n";
const END: &str = "<!-- end -->";

/// Replaces what stands between the marks.
fn put_between(page: &str, text: &str) -> Result<String, String> {
    let missing = || format!("it has no {} with an {END} behind it", BEGIN.trim());
    let (before, rest) = page.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}{}\n{END}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_table_takes_the_place_of_the_old_one() {
        let page = "a\n<!-- compare -->\nold\n<!-- end -->\nb\n<!-- end -->\n";
        let new = put_between(page, "new\n\n").unwrap();
        assert_eq!(
            new,
            "a\n<!-- compare -->\nnew\n<!-- end -->\nb\n<!-- end -->\n"
        );
        assert!(put_between("nothing", "new").is_err());
    }
}
