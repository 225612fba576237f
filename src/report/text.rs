//! Lines for people.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Damaged;
use super::note;
use super::screen::{Screen, fix_groups};
use super::totals::Totals;
use crate::Error;
use crate::commands::fix::{self, Changed, Outcome};
use crate::commands::here::is_directory;
use crate::decide::{Current, Decision, Tag};
use crate::detect::{Detection, Evidence, EvidenceKind};
pub(super) use crate::error::harmless;
use crate::plan::EntryFor;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors alone.
    Errors,
    /// Errors and the summary.
    Summary,
    /// A line for each changed file.
    Lines,
    /// A line for each ELF file.
    All,
}

/// How a report is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presentation {
    /// How much is said.
    pub verbosity: Verbosity,
    /// Which errors are only warnings.
    pub damaged: Damaged,
    /// The terminal that is written to; without one each file has a line of its own, with all that is known.
    pub screen: Option<Screen>,
}

impl Presentation {
    /// The terminal, unless every detail is wanted.
    pub(super) fn table_on(&self) -> Option<Screen> {
        self.screen.filter(|_| self.verbosity == Verbosity::Lines)
    }

    /// What is odd about a file; no errors, so that `-qq` is without it.
    pub(super) fn warnings(
        &self,
        errors: &mut impl Write,
        path: &Path,
        broken_sections: Option<&str>,
        detection: &Detection,
    ) -> io::Result<()> {
        if self.verbosity < Verbosity::Summary {
            return Ok(());
        }
        let broken =
            broken_sections.map(|why| format!("its section headers cannot be used ({why}); loaders do without"));
        for warning in broken.iter().chain(&detection.warnings) {
            writeln!(errors, "warning: {}: {}", name(path), harmless(warning.as_bytes()))?;
        }
        Ok(())
    }

    /// What went wrong with an ELF file; where that is forgiven it is a warning, too.
    pub(super) fn failed(&self, errors: &mut impl Write, path: &Path, error: &Error, named: bool) -> io::Result<()> {
        let forgiven = self.damaged.forgives(error, named);
        if forgiven && self.verbosity < Verbosity::Summary {
            return Ok(());
        }
        problem(errors, path, error, forgiven)
    }

    /// What concerns the whole run.
    pub(super) fn notes(&self, out: &mut impl Write, notes: &[String]) -> io::Result<()> {
        notes.iter().try_for_each(|note| self.prose(out, "note: ", note))
    }

    /// A line, on a terminal as many as it takes.
    pub(super) fn prose(&self, out: &mut impl Write, word: &str, text: &str) -> io::Result<()> {
        match self.screen {
            Some(screen) => out.write_all(screen.wrapped(word, text).as_bytes()),
            None => writeln!(out, "{word}{text}"),
        }
    }

    /// What the walk could not look at. "skipped" is no trouble, so that `-q` is without it.
    pub(super) fn problems(&self, errors: &mut impl Write, problems: &[(PathBuf, Error)]) -> io::Result<()> {
        let is_shown = |error: &Error| !matches!(error, Error::NotCandidate(_)) || self.verbosity >= Verbosity::Lines;
        problems
            .iter()
            .filter(|(_, error)| is_shown(error))
            .try_for_each(|(path, error)| problem(errors, path, error, false))
    }
}

pub(super) fn name(path: &Path) -> String {
    harmless(path.as_os_str().as_bytes())
}

/// The evidence in words.
pub(super) fn evidence(found: &Evidence) -> String {
    let what = harmless(found.what.as_bytes());
    let place = harmless(found.place.as_bytes());
    match found.kind {
        EvidenceKind::Needed => format!("needs {what}"),
        EvidenceKind::DlopenNote => format!("declares {what} in {place} at {}", found.offset),
        EvidenceKind::Soname | EvidenceKind::Format => format!("names {what} in {place} at {}", found.offset),
        EvidenceKind::EntryPoint => format!("names the driver's function {what} in {place} at {}", found.offset),
        EvidenceKind::Immediate => format!("builds {what} in {place} at {}", found.offset),
        EvidenceKind::Probe => format!(
            "asks whether {what} is loaded already (RTLD_NOLOAD), and opens it nowhere: the name is in {place} at {}",
            found.offset
        ),
    }
}

pub(super) fn reasons(detection: &Detection) -> String {
    match detection.evidence.as_slice() {
        [] => "taken without detection".to_owned(),
        all => all.iter().map(evidence).collect::<Vec<_>>().join(", "),
    }
}

/// The evidence in a few words: what it was, not where.
pub(super) fn evidence_in_short(detection: &Detection) -> String {
    const MOST: usize = 2;
    if detection.evidence.is_empty() {
        return "was taken undetected".to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    let mut verb = "";
    let mut strongest_first: Vec<&Evidence> = detection.evidence.iter().collect();
    strongest_first.sort_by_key(|found| weakness(found.kind));
    for found in strongest_first {
        let this = match found.kind {
            EvidenceKind::Needed => "needs",
            EvidenceKind::DlopenNote => "declares",
            EvidenceKind::Soname | EvidenceKind::Format => "names",
            EvidenceKind::EntryPoint => "uses",
            EvidenceKind::Immediate => "builds",
            EvidenceKind::Probe => "asks for",
        };
        let what = harmless(found.what.as_bytes());
        if words.iter().any(|word| word.ends_with(&what)) {
            continue;
        }
        words.push(if this == verb { what } else { format!("{this} {what}") });
        verb = this;
    }
    let more = words.len().saturating_sub(MOST);
    words.truncate(MOST);
    let named = words.join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}

/// What is declared says more than what may be so, and a library more than one of its functions.
fn weakness(kind: EvidenceKind) -> u8 {
    match kind {
        EvidenceKind::Needed => 0,
        EvidenceKind::DlopenNote => 1,
        EvidenceKind::Soname => 2,
        EvidenceKind::Format => 3,
        EvidenceKind::Immediate => 4,
        EvidenceKind::EntryPoint => 5,
        EvidenceKind::Probe => 6,
    }
}

/// Who is likely to open what the file only names.
pub(super) fn with_openers(openers: &[PathBuf]) -> String {
    match openers {
        [] => "; opens nothing itself".to_owned(),
        [first, ..] => format!("; likely opened by {}", name(first)),
    }
}

pub(super) fn search_path(path: Option<(Tag, &[u8])>) -> String {
    match path {
        None => "no search path".to_owned(),
        Some((tag, path)) => format!("{tag} {}", quoted(path)),
    }
}

pub(super) fn quoted(path: &[u8]) -> String {
    if path.is_empty() { "(empty)".to_owned() } else { harmless(path) }
}

pub(super) fn old_search_path(old: &Current) -> String {
    match (&old.runpath, &old.rpath) {
        (Some(runpath), Some(rpath)) => format!("RUNPATH {} beside RPATH {}", quoted(runpath), quoted(rpath)),
        _ => search_path(old.effective()),
    }
}

/// An empty path is none: there was nothing but directories of stubs.
pub(super) fn new_search_path(decision: &Decision) -> String {
    let path = decision.path.as_slice();
    search_path((!path.is_empty()).then_some((decision.tag, path)))
}

/// What is said of a file that is not given the driver's directory.
pub(super) const NO_LOADER: &str = "does not load the driver";

/// The same, and why, where it names a driver library all the same.
pub(super) fn no_loader(detection: &Detection) -> String {
    if detection.asks_only() { format!("{NO_LOADER}: {}", reasons(detection)) } else { NO_LOADER.to_owned() }
}

/// What is said of a file that names a driver library and can open nothing.
pub(super) fn likely_openers(openers: &[PathBuf]) -> String {
    const MOST: usize = 3;
    let cannot = "it cannot open it (it imports neither dlopen nor dlmopen)";
    if openers.is_empty() {
        return format!("{cannot}; no dependency of it that was looked at opens libraries");
    }
    let named: Vec<String> = openers.iter().take(MOST).map(|path| name(path)).collect();
    let more = match openers.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!(" or one of {more} more"),
    };
    format!("{cannot}; the opener is likely {}{more}", named.join(" or "))
}

pub(super) fn problem(errors: &mut impl Write, path: &Path, error: &Error, forgiven: bool) -> io::Result<()> {
    let word = match error {
        Error::NotCandidate(_) => "skipped",
        _ if forgiven => "warning",
        _ => "error",
    };
    writeln!(errors, "{word}: {}: {}", name(path), harmless(error.to_string().as_bytes()))
}

/// Writes what went wrong with one file.
///
/// # Errors
/// Errors of the writer.
pub fn error_line(path: &Path, error: &Error, errors: &mut impl Write) -> io::Result<()> {
    problem(errors, path, error, false)
}

/// Writes the report of `fix`: `out` gets the lines and the summary, `errors` the rest.
///
/// # Errors
/// Errors of the writer.
pub fn fix_text(
    report: &fix::Report,
    presentation: &Presentation,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<()> {
    let verbosity = presentation.verbosity;
    let dry_run = report.dry_run;
    let totals = Totals::of(report);
    let mut rows = Vec::new();
    let mut refusals = Vec::new();
    for file in &report.files {
        let is_loader = matches!(file.outcome, Outcome::Changed(_) | Outcome::AlreadyRight);
        let broken_sections = file.broken_sections.as_deref().filter(|_| is_loader || file.named);
        presentation.warnings(errors, &file.path, broken_sections, &file.detection)?;
        match &file.outcome {
            Outcome::Changed(changed) | Outcome::StubsDropped(changed) if presentation.table_on().is_some() => {
                rows.push((file, changed));
            }
            Outcome::Changed(changed) | Outcome::StubsDropped(changed) if verbosity >= Verbosity::Lines => {
                writeln!(out, "{}", changed_line(file, changed, dry_run))?;
            }
            // Told below, those that are alike together.
            Outcome::Failed(error) if error.is_refusal() && verbosity < Verbosity::All => refusals.push((file, error)),
            Outcome::Failed(error) => presentation.failed(errors, &file.path, error, file.named)?,
            Outcome::NotCandidate(reason)
                if file.named && verbosity >= Verbosity::Lines || verbosity >= Verbosity::All =>
            {
                writeln!(errors, "skipped: {}: {reason}", name(&file.path))?;
            }
            Outcome::AlreadyRight if verbosity >= Verbosity::All => {
                writeln!(out, "right: {}: {}", name(&file.path), reasons(&file.detection))?;
            }
            Outcome::NamesOnly(openers) if verbosity >= Verbosity::All => {
                let (name, reasons) = (name(&file.path), reasons(&file.detection));
                writeln!(out, "left: {name}: {reasons}; {}", likely_openers(openers))?;
            }
            Outcome::NotALoader if verbosity >= Verbosity::All => {
                writeln!(out, "left: {}: {}", name(&file.path), no_loader(&file.detection))?;
            }
            _ => {}
        }
    }
    if let Some(screen) = presentation.table_on().filter(|_| !rows.is_empty()) {
        write!(out, "{}", fix_groups(&rows, screen))?;
    }
    told_together(&refusals, errors)?;
    presentation.problems(errors, &report.problems)?;
    if verbosity >= Verbosity::Summary {
        let line =
            if presentation.table_on().is_some() { totals.in_short(report) } else { totals.line(report, dry_run) };
        presentation.prose(out, "", &line)?;
    }
    if presentation.table_on().is_some() {
        let gone = |dir: &Vec<u8>| format!("{} does not exist on this machine", harmless(dir));
        let missing = report.driver_dirs.iter().filter(|dir| !is_directory(dir));
        presentation.notes(out, &missing.map(gone).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Refusals for the same reason in one line, with the way out.
fn told_together(refusals: &[(&fix::Fixed, &Error)], errors: &mut impl Write) -> io::Result<()> {
    let mut groups: Vec<(String, Vec<(&fix::Fixed, &Error)>)> = Vec::new();
    for (file, error) in refusals {
        let words = error.of_several();
        match groups.iter_mut().find(|(known, _)| *known == words) {
            Some((_, files)) => files.push((file, error)),
            None => groups.push((words, vec![(file, error)])),
        }
    }
    for (words, files) in &groups {
        match files.as_slice() {
            [(file, error)] => problem(errors, &file.path, error, false)?,
            [(first, _), others @ ..] => {
                let (path, words) = (name(&first.path), harmless(words.as_bytes()));
                writeln!(errors, "error: {} files, {path} and {} more: {words}", files.len(), others.len())?;
            }
            [] => {}
        }
    }
    Ok(())
}

fn changed_line(file: &fix::Fixed, changed: &Changed, dry_run: bool) -> String {
    let new = new_search_path(&changed.decision);
    let mut line = format!(
        "{}: {}: {}; {} -> {new}; {}, +{} bytes",
        if dry_run { "would change" } else { "changed" },
        name(&file.path),
        if file.is_taken { reasons(&file.detection) } else { NO_LOADER.to_owned() },
        old_search_path(&changed.old),
        changed.edited.rung,
        changed.edited.growth,
    );
    if changed.decision.inherits {
        line.push_str("; RPATH, because a RUNPATH would end the search path that it inherits");
    }
    line.push_str(&remarks(changed.edited.entry, changed.link_broken));
    line.push_str(note::became(changed.edited.note));
    line
}

/// What else became of a file.
pub(super) fn remarks(entry: EntryFor, link_broken: bool) -> String {
    let entry = match entry {
        EntryFor::Spare => "",
        EntryFor::GivenUp(_) => "; its entry was a hint (the number of relative relocations)",
        EntryFor::MovedTable => "; .dynamic moved, RELRO no longer covers it",
    };
    format!("{entry}{}", if link_broken { "; now a file of its own" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn terminal_escapes_are_printed_harmless() {
        assert_eq!(harmless(b"lib\x1b[31m.so"), "lib\\x1b[31m.so");
        assert_eq!(harmless(b"a\nb"), "a\\x0ab");
        assert_eq!(harmless(b"caf\xe9"), "caf\\xe9");
        assert_eq!(harmless("café".as_bytes()), "café");
        assert_eq!(harmless("a\u{202e}b".as_bytes()), "a\\xe2\\x80\\xaeb");
    }
}
