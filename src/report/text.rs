//! Lines for people.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Leniency;
use super::note;
use super::screen::{Screen, check_groups, fix_table};
use crate::Error;
use crate::check::{self, Judged, Verdict};
use crate::decide::{Current, Tag};
use crate::detect::{Detection, Evidence, EvidenceKind};
use crate::fix::{self, Changed, Outcome};
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

/// How a report is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voice {
    /// How much is said.
    pub verbosity: Verbosity,
    /// Which errors are only warnings.
    pub leniency: Leniency,
    /// The terminal that is written to; without one each file has a line of its own, with all that is known.
    pub screen: Option<Screen>,
}

impl Voice {
    /// The terminal, unless every detail is wanted.
    fn table_on(&self) -> Option<Screen> {
        self.screen.filter(|_| self.verbosity == Verbosity::Lines)
    }

    /// What is odd about a file; no errors, so that `-qq` is without it.
    fn warnings(
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
    fn failed(&self, errors: &mut impl Write, path: &Path, error: &Error, named: bool) -> io::Result<()> {
        let forgiven = self.leniency.forgives(error, named);
        if forgiven && self.verbosity < Verbosity::Summary {
            return Ok(());
        }
        problem(errors, path, error, forgiven)
    }

    /// What the walk could not look at. "skipped" is no trouble, so that `-q` is without it.
    fn problems(&self, errors: &mut impl Write, problems: &[(PathBuf, Error)]) -> io::Result<()> {
        let told = |error: &Error| !matches!(error, Error::NotCandidate(_)) || self.verbosity >= Verbosity::Lines;
        problems
            .iter()
            .filter(|(_, error)| told(error))
            .try_for_each(|(path, error)| problem(errors, path, error, false))
    }
}

/// Bytes of a file's name or search path, harmless on a terminal: control characters and bytes that are not UTF-8 are
/// written as `\xNN`.
pub(super) fn harmless(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            // Bidirectional marks can make one name look like another.
            if character.is_control()
                || matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    text.push_str(&format!("\\x{byte:02x}"));
                }
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
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
    }
}

fn reasons(detection: &Detection) -> String {
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
    // A library says more than one of its functions.
    let is_function = |found: &&Evidence| found.kind == EvidenceKind::EntryPoint;
    let (functions, libraries): (Vec<&Evidence>, Vec<&Evidence>) = detection.evidence.iter().partition(is_function);
    for found in libraries.into_iter().chain(functions) {
        let this = match found.kind {
            EvidenceKind::Needed => "needs",
            EvidenceKind::DlopenNote => "declares",
            EvidenceKind::Soname | EvidenceKind::Format => "names",
            EvidenceKind::EntryPoint => "uses",
            EvidenceKind::Immediate => "builds",
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

/// What is said of a file that names a driver library and can open nothing.
fn likely_openers(openers: &[PathBuf]) -> String {
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
/// What writing answers.
pub fn error_line(path: &Path, error: &Error, errors: &mut impl Write) -> io::Result<()> {
    problem(errors, path, error, false)
}

/// Writes the report of `fix`: `out` gets the lines and the summary, `errors` the rest.
///
/// # Errors
/// What writing answers.
pub fn fix_text(report: &fix::Report, voice: &Voice, out: &mut impl Write, errors: &mut impl Write) -> io::Result<()> {
    let verbosity = voice.verbosity;
    let dry_run = report.dry_run;
    let mut totals = Totals::default();
    let mut rows = Vec::new();
    for file in &report.files {
        totals.count(&file.outcome);
        let is_loader = matches!(file.outcome, Outcome::Changed(_) | Outcome::AlreadyRight);
        let broken_sections = file.broken_sections.as_deref().filter(|_| is_loader || file.named);
        voice.warnings(errors, &file.path, broken_sections, &file.detection)?;
        match &file.outcome {
            Outcome::Changed(changed) if voice.table_on().is_some() => rows.push((file, changed)),
            Outcome::Changed(changed) if verbosity >= Verbosity::Lines => {
                writeln!(out, "{}", changed_line(file, changed, dry_run))?;
            }
            Outcome::Failed(error) => voice.failed(errors, &file.path, error, file.named)?,
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
                writeln!(out, "left: {}: does not load the driver", name(&file.path))?;
            }
            _ => {}
        }
    }
    if let Some(screen) = voice.table_on().filter(|_| !rows.is_empty()) {
        write!(out, "{}", fix_table(&rows, dry_run, screen))?;
    }
    voice.problems(errors, &report.problems)?;
    report.problems.iter().for_each(|(_, error)| totals.failed(error));
    if verbosity >= Verbosity::Summary {
        let line = if voice.table_on().is_some() { totals.in_short(report) } else { totals.line(report, dry_run) };
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// `1 file`, `2 files`.
fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn changed_line(file: &fix::Fixed, changed: &Changed, dry_run: bool) -> String {
    let new = search_path(Some((changed.decision.tag, &changed.decision.path)));
    let mut line = format!(
        "{}: {}: {}; {} -> {new}; {}, +{} bytes",
        if dry_run { "would change" } else { "changed" },
        name(&file.path),
        reasons(&file.detection),
        old_search_path(&changed.old),
        changed.rung,
        changed.growth,
    );
    if changed.decision.inherits {
        line.push_str("; RPATH, because a RUNPATH would end the search path that it inherits");
    }
    line.push_str(&remarks(changed.entry, changed.link_broken));
    line.push_str(note::became(changed.note));
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

#[derive(Default)]
struct Totals {
    loaders: u64,
    changed: u64,
    right: u64,
    refused: u64,
    errors: u64,
}

impl Totals {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Changed(_) => (self.loaders, self.changed) = (self.loaders + 1, self.changed + 1),
            Outcome::AlreadyRight => (self.loaders, self.right) = (self.loaders + 1, self.right + 1),
            Outcome::Failed(error) => self.failed(error),
            Outcome::NotALoader | Outcome::NamesOnly(_) | Outcome::NotCandidate(_) => {}
        }
    }

    fn failed(&mut self, error: &Error) {
        match error {
            Error::Refused(_) | Error::Protected(_) => {
                (self.loaders, self.refused) = (self.loaders + 1, self.refused + 1)
            }
            Error::NotCandidate(_) => {}
            _ => self.errors += 1,
        }
    }

    /// How many files there are, and how many of them were to be looked after.
    fn taken(&self, report: &fix::Report) -> String {
        let verb = match (report.all, self.loaders) {
            (true, _) => "taken without detection",
            (false, 1) => "loads the driver",
            (false, _) => "load the driver",
        };
        format!("{}, {} {verb}", counted(report.files.len() as u64, "ELF file"), self.loaders)
    }

    /// Without what there is none of.
    fn in_short(&self, report: &fix::Report) -> String {
        let changed = if report.dry_run { "would change" } else { "changed" };
        let counts = [(self.changed, changed), (self.right, "already right"), (self.refused, "refused")];
        let mut parts: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if self.errors > 0 {
            parts.push(counted(self.errors, "error"));
        }
        let parts = if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") };
        format!("{}: {parts}; {:.3} s", self.taken(report), report.time.as_secs_f64())
    }

    fn line(&self, report: &fix::Report, dry_run: bool) -> String {
        format!(
            "{}: {} {}, {} already right, {} refused; {}; {:.3} s",
            self.taken(report),
            self.changed,
            if dry_run { "would change" } else { "changed" },
            self.right,
            self.refused,
            counted(self.errors, "error"),
            report.time.as_secs_f64(),
        )
    }
}

/// Writes the report of `check`. `mending` is the command that mends what is wrong.
///
/// # Errors
/// What writing answers.
pub fn check_text(
    report: &check::Report,
    mending: &str,
    voice: &Voice,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<()> {
    let verbosity = voice.verbosity;
    let (mut loaders, mut missing) = (0u64, 0u64);
    let mut rows: Vec<(&Path, &Judged)> = Vec::new();
    for file in &report.files {
        let judged = match &file.result {
            Ok(Ok(judged)) => judged,
            Ok(Err(reason)) => {
                if file.named && verbosity >= Verbosity::Lines || verbosity >= Verbosity::All {
                    writeln!(errors, "skipped: {}: {reason}", name(&file.path))?;
                }
                continue;
            }
            Err(error) => {
                voice.failed(errors, &file.path, error, file.named)?;
                continue;
            }
        };
        let misses = matches!(judged.verdict, Verdict::Misses | Verdict::FindsStub(_) | Verdict::Misled(_));
        loaders += u64::from(misses || judged.verdict == Verdict::Finds);
        missing += u64::from(misses);
        let broken_sections = judged.broken_sections.as_deref();
        let broken_sections = broken_sections.filter(|_| file.named || judged.verdict != Verdict::NotALoader);
        voice.warnings(errors, &file.path, broken_sections, &judged.detection)?;
        let wanted = file.named || judged.verdict != Verdict::NotALoader || verbosity >= Verbosity::All;
        if wanted && voice.table_on().is_some() {
            rows.push((&file.path, judged));
        } else if wanted && verbosity >= Verbosity::Lines {
            writeln!(out, "{}", verdict_line(&file.path, judged))?;
        }
    }
    if let Some(screen) = voice.table_on() {
        write!(out, "{}", check_groups(&rows, screen))?;
    }
    voice.problems(errors, &report.problems)?;
    if verbosity >= Verbosity::Summary {
        let good = loaders - missing;
        let verb = |count: u64, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
        writeln!(
            out,
            "{}, {}: {}, {}",
            counted(report.files.len() as u64, "ELF file"),
            verb(loaders, "loads the driver", "load the driver"),
            verb(good, "finds it", "find it"),
            verb(missing, "misses it", "miss it"),
        )?;
    }
    if missing > 0 && verbosity >= Verbosity::Lines {
        writeln!(out, "mend with: {}", harmless(mending.as_bytes()))?;
    }
    Ok(())
}

fn verdict_line(path: &Path, judged: &Judged) -> String {
    let now = search_path(judged.search_path.as_ref().map(|(tag, path)| (*tag, path.as_slice())));
    let (word, what) = match &judged.verdict {
        Verdict::Finds => ("finds the driver", now),
        Verdict::Misses => ("MISSES the driver", now),
        Verdict::FindsStub(stub) => {
            ("MISSES the driver", format!("{} comes first and holds a stub; {now}", harmless(stub)))
        }
        Verdict::Misled(said) => {
            ("MISSES the driver", format!("{now}; {}", note::misleads(said, judged.note.as_ref())))
        }
        Verdict::NamesOnly => ("names it only", likely_openers(&judged.openers)),
        Verdict::NotALoader => return format!("does not load the driver: {}", name(path)),
    };
    format!("{word}: {}: {}; {what}", name(path), reasons(&judged.detection))
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
