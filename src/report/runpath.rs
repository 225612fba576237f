//! What is said about a run of `runpath`.

use std::io::{self, Write};
use std::path::Path;

use super::note;
use super::text::{harmless, name, old_search_path, problem, remarks, search_path};
use super::{Status, Verbosity};
use crate::Error;
use crate::decide::Tag;
use crate::elf::NotCandidate;
use crate::runpath::{Changed, Report};

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
/// What writing answers.
pub fn runpath_text(
    report: &Report,
    verbosity: Verbosity,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<()> {
    for (path, result) in &report.files {
        match result {
            Ok(Some(changed)) if verbosity >= Verbosity::Lines => {
                writeln!(out, "{}", changed_line(path, changed, report.dry_run))?;
            }
            Ok(_) => {}
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
        changed.rung,
        changed.growth,
        remarks(changed.entry, changed.link_broken),
        note::became(changed.note),
    )
}

/// Writes what `runpath print` found out about `path`; how that ends.
///
/// # Errors
/// What writing answers.
pub fn printed(
    path: &Path,
    found: &Result<Option<(Tag, Vec<u8>)>, Error>,
    with_name: bool,
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
    if with_name {
        writeln!(out, "{}: {}", name(path), search_path(found.map(|(tag, path)| (*tag, path.as_slice()))))?;
    } else {
        // For scripts: nothing but the bytes.
        out.write_all(found.map_or(&b""[..], |(_, path)| path))?;
        out.write_all(b"\n")?;
    }
    Ok(Status::Good)
}
