//! The completions and the manual pages, for who has nothing but the binary. `tests/manual.rs` makes them of the command
//! line's definition.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;

use crate::cli::Shell;

/// The completions of a shell.
pub fn completions(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("../../completions/driver-runpath.bash"),
        Shell::Fish => include_str!("../../completions/driver-runpath.fish"),
        Shell::Zsh => include_str!("../../completions/_driver-runpath"),
    }
}

macro_rules! pages {
    ($($name:literal),* $(,)?) => { [$(($name, include_str!(concat!("../../man/", $name)))),*] };
}

/// The manual pages by file name; the first one is that of the program.
const PAGES: [(&str, &str); 17] = pages![
    "driver-runpath.1",
    "driver-runpath-audit.1",
    "driver-runpath-check.1",
    "driver-runpath-completions.1",
    "driver-runpath-explain.1",
    "driver-runpath-fix.1",
    "driver-runpath-gpu-code.1",
    "driver-runpath-man.1",
    "driver-runpath-patchelf.1",
    "driver-runpath-runpath-append.1",
    "driver-runpath-runpath-clear.1",
    "driver-runpath-runpath-prepend.1",
    "driver-runpath-runpath-print.1",
    "driver-runpath-runpath-remove.1",
    "driver-runpath-runpath-set.1",
    "driver-runpath-runpath-shrink.1",
    "driver-runpath-runpath.1",
];

/// Prints the program's page, or writes all of them into a directory.
///
/// # Errors
/// Errors of the system call.
pub fn manual(dir: Option<&Path>, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(dir) = dir else {
        return Ok(PAGES.iter().take(1).try_for_each(|(_, page)| out.write_all(page.as_bytes()))?);
    };
    let write = || -> io::Result<()> {
        fs::create_dir_all(dir)?;
        PAGES.iter().try_for_each(|(name, page)| fs::write(dir.join(name), page))
    };
    write()
        .with_context(|| format!("{}: cannot write the manual pages", crate::cli::arguments::shown(dir.as_os_str())))?;
    Ok(writeln!(out, "{} pages in {}", PAGES.len(), crate::cli::arguments::shown(dir.as_os_str()))?)
}
