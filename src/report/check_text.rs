//! The report of `check` for people.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use super::note;
use super::screen::check_groups;
use super::text::{Presentation, Verbosity, harmless, likely_openers, name, reasons, search_path};
use super::totals::{Judgements, counted};
use crate::Error;
use crate::commands::check::{self, Judged, StubRule, Verdict};
use crate::commands::here::Here;
use crate::detect::Purpose;
use crate::error::IN_STORE;
use crate::loader::Rule;

/// Of which files something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckView {
    /// Of all that load the driver, with what it means and what mends it.
    All,
    /// Of those that are not as they should be.
    Failing,
}

/// The commands that mend what `check` found, as a shell reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mending {
    /// Where the files can be edited.
    pub in_place: String,
    /// Where some can be replaced only.
    pub by_copies: String,
}

/// Writes the report of `check`. `mending` has the commands that mend what is wrong; who wants to hear of failing files
/// alone has other means.
///
/// # Errors
/// Errors of the writer.
pub fn check_text(
    report: &check::Report,
    mending: &Mending,
    view: CheckView,
    presentation: &Presentation,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<()> {
    let verbosity = presentation.verbosity;
    files_text(report, view, presentation, out, errors)?;
    if report.stubs == StubRule::Forbidden && verbosity >= Verbosity::Lines {
        forbidden_stubs(report, out)?;
    }
    presentation.problems(errors, &report.problems)?;
    let totals = Judgements::of(report);
    if verbosity >= Verbosity::Summary {
        presentation.prose(out, "", &totals.line(report))?;
    }
    if verbosity < Verbosity::Lines || view == CheckView::Failing {
        return Ok(());
    }
    if totals.loaders > 0 {
        presentation.prose(out, "it is wanted for: ", &purposes(report))?;
    }
    presentation.notes(out, &notes(&report.here, totals.misses > 0))?;
    presentation.notes(out, &noted_stubs(report))?;
    if totals.misses > 0 || report.stubs == StubRule::Forbidden && report.with_stubs().next().is_some() {
        mended(report, mending, presentation, out)?;
    }
    Ok(())
}

/// What is said of each file.
fn files_text(
    report: &check::Report,
    view: CheckView,
    presentation: &Presentation,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<()> {
    let verbosity = presentation.verbosity;
    let mut rows: Vec<(&Path, &Judged)> = Vec::new();
    for file in &report.files {
        let judged = match &file.result {
            Ok(Ok(judged)) => judged,
            Ok(Err(reason)) => {
                let wanted = file.named && verbosity >= Verbosity::Lines || verbosity >= Verbosity::All;
                if wanted && view == CheckView::All {
                    writeln!(errors, "skipped: {}: {reason}", name(&file.path))?;
                }
                continue;
            }
            Err(error) => {
                presentation.failed(errors, &file.path, error, file.named)?;
                continue;
            }
        };
        let broken_sections = judged.broken_sections.as_deref();
        let broken_sections = broken_sections.filter(|_| file.named || judged.verdict != Verdict::NotALoader);
        presentation.warnings(errors, &file.path, broken_sections, &judged.detection)?;
        let wanted = match view {
            CheckView::All => file.named || judged.verdict != Verdict::NotALoader || verbosity >= Verbosity::All,
            CheckView::Failing => file.lacks_it(),
        };
        if wanted && presentation.table_on().is_some() {
            rows.push((&file.path, judged));
        } else if wanted && verbosity >= Verbosity::Lines {
            writeln!(out, "{}", verdict_line(&file.path, judged))?;
        }
    }
    if let Some(screen) = presentation.table_on() {
        write!(out, "{}", check_groups(&rows, screen))?;
    }
    Ok(())
}

/// A line for each finding about stubs that the verdict on the driver has not named.
fn forbidden_stubs(report: &check::Report, out: &mut impl Write) -> io::Result<()> {
    for (file, judged) in report.with_stubs() {
        let path = name(&file.path);
        if !judged.stubs.is_empty() && !matches!(judged.verdict, Verdict::FindsStub(_)) {
            let stubs: Vec<String> = judged.stubs.iter().map(|stub| harmless(stub)).collect();
            writeln!(out, "has STUBS in its search path, which nothing needs: {path}: {}", stubs.join(", "))?;
        }
        if let Some(said) = judged.stub_in_note().filter(|_| !matches!(judged.verdict, Verdict::Misled(_))) {
            writeln!(out, "has a STUB in its resolution note: {path}: {}", note::sends(said))?;
        }
    }
    for reference in &report.references {
        let package = harmless(&reference.package);
        writeln!(out, "REFERS to a package of stubs: {}: {package}", name(&reference.path))?;
    }
    Ok(())
}

/// How many files have stubs that do no harm to the driver.
fn noted_stubs(report: &check::Report) -> Vec<String> {
    let count = report.with_stubs().filter(|(file, _)| !file.lacks_it()).count() as u64;
    let have = if count == 1 { "has" } else { "have" };
    let note = || {
        let files = counted(count, "file");
        format!(
            "{files} {have} directories of stubs in the search path that nothing needs; \"fix --drop-stubs\" takes them out"
        )
    };
    if count > 0 && report.stubs == StubRule::Noted { vec![note()] } else { Vec::new() }
}

/// What the driver is wanted for, and by how many files each.
fn purposes(report: &check::Report) -> String {
    let mut counts: BTreeMap<Purpose, u64> = BTreeMap::new();
    let judged = report.files.iter().filter_map(|file| file.result.as_ref().ok()?.as_ref().ok());
    for judged in judged.filter(|judged| judged.detection.loads_driver()) {
        for purpose in judged.detection.purposes() {
            let count = counts.entry(purpose).or_default();
            *count = count.saturating_add(1);
        }
    }
    let purposes: Vec<String> = counts.iter().map(|(purpose, count)| format!("{purpose} ({count})")).collect();
    purposes.join(", ")
}

/// What a search path was judged by: not what the loader finds here, which `explain` asks.
pub(super) fn verdict_words(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Finds => "has the driver's directory",
        Verdict::Misses => "LACKS the driver's directory",
        Verdict::FindsStub(_) => "has a STUB in front of the driver's directory",
        Verdict::Misled(_) => "has the driver's directory, but a resolution note MISLEADS the loader",
        Verdict::NamesOnly | Verdict::NotALoader => "does not load the driver",
    }
}

/// How far this machine shows what the search paths mean.
fn notes(here: &Here, some_lack: bool) -> Vec<String> {
    let gone = |dir: &[u8]| {
        format!("{} does not exist on this machine: search paths are judged, not what is found here", harmless(dir))
    };
    let mut notes: Vec<String> = here.missing().map(gone).collect();
    let is_gone = !notes.is_empty();
    for (name, found) in &here.libraries {
        let name = harmless(name);
        match found {
            Some(found) => notes.push(format!(
                "without that directory, the loader finds {name} here: {}, by {}",
                harmless(&found.path),
                if found.rule == Rule::Cache { "its cache" } else { "the default directories" },
            )),
            None if is_gone || some_lack => {
                notes.push(format!("without that directory, the loader finds no {name} here"))
            }
            None => {}
        }
    }
    notes
}

/// What mends the files that lack the directory: a command that will do it.
fn mended(
    report: &check::Report,
    mending: &Mending,
    presentation: &Presentation,
    out: &mut impl Write,
) -> io::Result<()> {
    let lacking = || report.files.iter().filter(|file| file.lacks_it());
    let is_linked = lacking().any(|file| matches!(file.refusal, Some(Error::Linked(_))));
    let in_store = lacking().filter(|file| matches!(file.refusal, Some(Error::InStore))).count();
    if in_store > 0 {
        presentation.prose(out, "in the Nix store: ", IN_STORE)?;
    }
    if in_store > 0 && in_store == lacking().count() {
        return Ok(());
    }
    if !is_linked {
        return writeln!(out, "mend with: {}", mending.in_place);
    }
    writeln!(out, "mend with: {}", mending.by_copies)?;
    presentation.prose(
        out,
        "",
        "(some have hard links elsewhere, as in a cache of uv or conda, and get a copy of their own)",
    )
}

fn verdict_line(path: &Path, judged: &Judged) -> String {
    let now = search_path(judged.search_path.as_ref().map(|(tag, path)| (*tag, path.as_slice())));
    let (word, what) = match &judged.verdict {
        Verdict::Finds | Verdict::Misses => (verdict_words(&judged.verdict), now),
        Verdict::FindsStub(stub) => {
            (verdict_words(&judged.verdict), format!("{} comes first and holds a stub; {now}", harmless(stub)))
        }
        Verdict::Misled(said) => {
            (verdict_words(&judged.verdict), format!("{now}; {}", note::misleads(said, judged.note.as_ref())))
        }
        Verdict::NamesOnly => ("names it only", likely_openers(&judged.openers)),
        Verdict::NotALoader if judged.detection.asks_only() => {
            return format!("does not load the driver: {}: {}", name(path), reasons(&judged.detection));
        }
        Verdict::NotALoader => return format!("does not load the driver: {}", name(path)),
    };
    format!("{word}: {}: {}; {what}", name(path), reasons(&judged.detection))
}
