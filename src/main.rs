//! The command line; nothing else.

mod cli;
mod user;

use clap::{CommandFactory, Parser};
use cli::{About, Cli, Command};
use gatepost::{
    admin,
    config::{self, Loaded, Problem, Source},
    log,
    supervisor::{self, Process, RunError},
};
use std::{io::Write, path::Path, process::ExitCode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit codes of sysexits.h.
mod exit {
    pub const USAGE: u8 = 64;
    pub const DATA: u8 = 65;
    pub const UNAVAILABLE: u8 = 69;
    pub const SOFTWARE: u8 = 70;
    pub const OUTPUT: u8 = 74;
    pub const CONFIG: u8 = 78;
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(why) => {
            // A reader that has closed its end is no error.
            let _ = why.print();
            return if why.use_stderr() {
                exit::USAGE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match cli.command {
        Command::Run(place) => run(place.source()),
        Command::Check(place) => check(&place.source()),
        Command::Config(About::Reference) => say(&config::reference()),
        Command::Config(About::Schema) => say(&config::schema_text()),
        Command::Config(About::Show(place)) => show(&place.source()),
        Command::User(user) => match user::run(user) {
            Ok(text) => say(&text),
            Err(why) => {
                eprintln!("gatepost: {why}");
                exit::DATA.into()
            }
        },
        Command::ServeFiles {
            config,
            keep: false,
        } => written(gatepost::process::reader::serve(&config)),
        Command::ServeFiles { config, keep: true } => {
            written(gatepost::process::keeper::keep(&config))
        }
        Command::Completions { shell } => completions(shell),
        Command::Man { to } => man(to.as_deref()),
    }
}

fn run(source: Source) -> ExitCode {
    // Nothing that is said from here on waits for a reader of standard error.
    log::queue_up();
    let code = serve(source);
    log::finish();
    code
}

fn serve(source: Source) -> ExitCode {
    let process = match Process::begin() {
        Ok(process) => process,
        Err(why) => return failed(&why),
    };
    let loaded = match load(&source, log::write_plain) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    match process.run(loaded.config, source) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => failed(&why),
    }
}

fn failed(why: &RunError) -> ExitCode {
    for line in why.to_string().lines() {
        log::say!(Error, "{line}");
    }
    match why {
        RunError::Config(_) => exit::CONFIG,
        RunError::Unavailable(_) => exit::UNAVAILABLE,
        RunError::Internal(_) => exit::SOFTWARE,
    }
    .into()
}

fn check(source: &Source) -> ExitCode {
    match load(source, complain) {
        Err(code) => code,
        Ok(loaded) if !token_is_sound(&loaded) => exit::CONFIG.into(),
        Ok(_) => {
            let name = match source.file.as_deref() {
                None => "the command line".into(),
                Some(file) if file == Path::new("-") => "standard input".into(),
                Some(file) => file.to_string_lossy(),
            };
            say(&format!("{name}: no errors\n"))
        }
    }
}

fn show(source: &Source) -> ExitCode {
    match load(source, complain) {
        Err(code) => code,
        Ok(loaded) => say(&config::show(&loaded.config)),
    }
}

/// Whether the admin endpoint's token can be used; tells why not.
fn token_is_sound(loaded: &Loaded) -> bool {
    let problem = admin::Rules::build(&loaded.config).err();
    if let Some(problem) = &problem {
        eprintln!("gatepost: {problem}");
    }
    problem.is_none()
}

/// Says what is wrong on standard error, and waits for its reader: for commands.
fn complain(text: &str) {
    eprintln!("{text}");
}

/// Loads, and tells what is wrong.
fn load(source: &Source, tell: fn(&str)) -> Result<Loaded, ExitCode> {
    let (result, problems) = match supervisor::examine::load(source) {
        Ok(mut loaded) => {
            let warnings = std::mem::take(&mut loaded.warnings);
            (Ok(loaded), warnings)
        }
        Err(problems) => (Err(exit::CONFIG.into()), problems),
    };
    for problem in &problems {
        tell(&problem.to_string());
    }
    if result.is_err() {
        match problems
            .iter()
            .filter(|problem: &&Problem| problem.is_error())
            .count()
        {
            1 => tell("gatepost: 1 error in the configuration"),
            count => tell(&format!("gatepost: {count} errors in the configuration")),
        }
    }
    result
}

fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gatepost", &mut script);
    say(&String::from_utf8_lossy(&script))
}

fn man(to: Option<&Path>) -> ExitCode {
    let outcome = match to {
        Some(folder) => clap_mangen::generate_to(Cli::command(), folder),
        None => clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout()),
    };
    written(outcome)
}

fn say(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// What became of the output. A reader that has seen enough (`| head`) is no error.
fn written(outcome: std::io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("gatepost: can't write: {why}");
            exit::OUTPUT.into()
        }
    }
}
