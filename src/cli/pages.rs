//! `gatepost completions` and `gatepost man`: made of the same definition as the parser.

use super::{
    Cli,
    output::{say, written},
};
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use gatepost::files::{Folder, InPlaceOf};
use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

/// The mode of a page.
const PAGE: u32 = 0o644;

/// Writes the completion script for `shell`.
pub fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gatepost", &mut script);
    say(&String::from_utf8_lossy(&script))
}

/// Writes the man page to standard output, or those of all commands to the folder `to`.
pub fn man(to: Option<&Path>) -> ExitCode {
    written(match to {
        Some(folder) => Folder::open(folder).and_then(|folder| {
            let mut top = Cli::command().disable_help_subcommand(true);
            top.build();
            pages(top, &folder)
        }),
        None => Man::new(Cli::command()).render(&mut io::stdout()),
    })
}

/// The pages of a command and of those below it, as `clap_mangen::generate_to` makes them; but that writes through links.
fn pages(command: Command, folder: &Folder) -> io::Result<()> {
    let below = command.get_subcommands().filter(|c| !c.is_hide_set());
    for command in below.cloned() {
        pages(command, folder)?;
    }
    let page = Man::new(command);
    let name = page.get_filename();
    folder.put(name.as_ref(), InPlaceOf::Any(PAGE), |file| {
        let mut text = Vec::new();
        page.render(&mut text)?;
        file.write_all(&text)
    })
}
