//! What is said about a run of `runpath`.

use std::io::{self, Write};
use std::path::Path;

use super::note;
use super::text::{harmless, name, old_search_path, problem, remarks, search_path};
use super::{Status, Verbosity};
use crate::Error;
use crate::commands::fix::TAKEN_BACK;
use crate::commands::runpath::{Changed, Outcome, Report};
use crate::decide::Tag;
use crate::elf::NotCandidate;

impl Report {
    /// How the run ended.
    pub fn status(&self) -> Status {
        Status::of_all(self.files.iter().map(|(_, result)| result.as_ref().err().map_or(Status::Good, of_error)))
    }
}

/// Named one by one, a file that takes no search path is refused; what has no ELF tables is an error.
fn of_error(error: &Error) -> Status {
    match error {
        Error::NotCandidate(NotCandidate::NotElf) => Status::Error,
        Error::NotCandidate(_) => Status::Misses,
        other => Status::of_error(other),
    }
}

/// Writes the report: `out` gets a line for each changed file, `errors` the rest.
///
/// # Errors
/// Errors of the writer.
pub fn runpath_text(
    report: &Report,
    verbosity: Verbosity,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<()> {
    for path in report.taken_back.iter().filter(|_| verbosity >= Verbosity::Summary) {
        writeln!(errors, "warning: {}: {TAKEN_BACK}", name(path))?;
    }
    for (path, result) in &report.files {
        match result {
            Ok(_) if verbosity < Verbosity::Lines => {}
            Ok(Outcome::Changed(changed)) => writeln!(out, "{}", changed_line(path, changed, report.dry_run))?,
            Ok(Outcome::AlreadyRight(now)) => {
                let now = search_path(now.as_ref().map(|(tag, path)| (*tag, path.as_slice())));
                writeln!(out, "already right: {}: {now}", name(path))?;
            }
            Err(Error::NotCandidate(reason)) => writeln!(errors, "error: {}: {reason}", name(path))?,
            Err(error) => problem(errors, path, error, false)?,
        }
    }
    Ok(())
}

fn changed_line(path: &Path, changed: &Changed, dry_run: bool) -> String {
    format!(
        "{}: {}: {} -> {}; {}, +{} bytes{}{}",
        if dry_run { "would change" } else { "changed" },
        name(path),
        old_search_path(&changed.old),
        search_path(changed.new.as_ref().map(|(tag, path)| (*tag, path.as_slice()))),
        changed.edited.rung,
        changed.edited.growth,
        remarks(changed.edited.entry, changed.link_broken),
        note::became(changed.edited.note),
    )
}

/// How `runpath print` prints a search path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Printed {
    /// One of several: with the file's name and the tag.
    WithName,
    /// Alone, on a terminal, which would obey control characters.
    Harmless,
    /// Alone, for a script: nothing but the bytes.
    Bytes,
}

/// Writes what `runpath print` found out about `path`; how that ends.
///
/// # Errors
/// Errors of the writer.
pub fn printed(
    path: &Path,
    found: &Result<Option<(Tag, Vec<u8>)>, Error>,
    how: Printed,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<Status> {
    let found = match found {
        Ok(found) => found.as_ref(),
        Err(error) => {
            writeln!(errors, "error: {}: {}", name(path), harmless(error.to_string().as_bytes()))?;
            return Ok(of_error(error));
        }
    };
    let bytes = found.map_or(&b""[..], |(_, path)| path);
    match how {
        Printed::WithName => {
            writeln!(out, "{}: {}", name(path), search_path(found.map(|(tag, path)| (*tag, path.as_slice()))))?;
        }
        Printed::Harmless => writeln!(out, "{}", harmless(bytes))?,
        Printed::Bytes => {
            out.write_all(bytes)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(Status::Good)
}
