//! Reports, as people meet them: files, the command, and pages in a browser.

mod command;
mod files;
mod rendering;
mod sample;
