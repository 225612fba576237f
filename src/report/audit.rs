//! What is said about a run of `audit`: text and JSON.

use std::io::{self, Write};

use serde::Serialize;

use super::json::{AnyRun, Text, document, failure};
use super::text::{harmless, name};
use super::totals::counted;
use super::{Damaged, Presentation, Status, Verbosity};
use crate::commands::audit::{Audited, Lookup, Opening, Reason, Report, Tally};
use crate::loader::Rule;

/// Which names are shown, and whether missing ones are a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditView {
    /// Which names.
    pub names: Told,
    /// Whether they are.
    pub rigour: Rigour,
}

/// The names that are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// All.
    All,
    /// Those that are not found.
    Missing,
}

/// Whether unexpected names are a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rigour {
    /// They are only shown.
    Lax,
    /// They are one.
    Strict,
}

impl Report {
    /// How the run ended.
    pub fn status(&self, damaged: Damaged, view: AuditView) -> Status {
        let problems = self.problems.iter().map(|(_, error)| Status::of_error(error));
        let files = self.files.iter().filter_map(|file| file.openings.as_ref().err().map(|error| (file, error)));
        let files = files.map(
            |(file, error)| {
                if damaged.forgives(error, file.named) { Status::Good } else { Status::of_error(error) }
            },
        );
        let is_exact = self.unexpected.is_empty() && self.not_missing.is_empty();
        let exact = if is_exact || view.rigour == Rigour::Lax { Status::Good } else { Status::Misses };
        Status::of_all(problems.chain(files).chain([exact]))
    }
}

/// Writes the report: `out` gets the lines and the summary, `errors` the rest.
///
/// # Errors
/// Errors of the writer.
pub fn audit_text(
    report: &Report,
    view: AuditView,
    presentation: &Presentation,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<()> {
    for file in &report.files {
        match &file.openings {
            Err(error) => presentation.failed(errors, &file.path, error, file.named)?,
            Ok(None) if file.named && presentation.verbosity >= Verbosity::Lines => {
                writeln!(out, "{}: opens nothing (it imports neither dlopen nor dlmopen)", name(&file.path))?;
            }
            Ok(None) => {}
            Ok(Some(openings)) => file_text(file, openings, view, presentation, out)?,
        }
        if presentation.verbosity >= Verbosity::Summary {
            for warning in &file.warnings {
                writeln!(errors, "warning: {}: {}", name(&file.path), harmless(warning.as_bytes()))?;
            }
        }
    }
    presentation.problems(errors, &report.problems)?;
    if presentation.verbosity >= Verbosity::Summary { summary(report, out) } else { Ok(()) }
}

fn is_told(opening: &Opening, view: AuditView, verbosity: Verbosity) -> bool {
    let is_likely = opening.named.reason != Reason::Text || verbosity >= Verbosity::All;
    is_likely && (view.names == Told::All || opening.lookup.is_missing())
}

fn file_text(
    file: &Audited,
    openings: &[Opening],
    view: AuditView,
    presentation: &Presentation,
    out: &mut impl Write,
) -> io::Result<()> {
    let shown: Vec<&Opening> =
        openings.iter().filter(|opening| is_told(opening, view, presentation.verbosity)).collect();
    if shown.is_empty() || presentation.verbosity < Verbosity::Lines {
        return Ok(());
    }
    writeln!(out, "{}", name(&file.path))?;
    for opening in shown {
        let named = &opening.named;
        writeln!(out, "  {}: {}", harmless(named.name.as_bytes()), found(&opening.lookup))?;
        writeln!(out, "    {} in {} at {}", why(opening), harmless(named.place.as_bytes()), named.offset)?;
    }
    Ok(())
}

pub(super) fn found(lookup: &Lookup) -> String {
    match lookup {
        Lookup::Own => "its own name".to_owned(),
        Lookup::Needed => "needed, so it is there".to_owned(),
        Lookup::Found(path, rule) => format!("found by {}: {}", self::rule(*rule), name(path)),
        Lookup::Versioned(path) => format!("found with a version: {}", name(path)),
        Lookup::Driver => "the driver's, whose directory is searched".to_owned(),
        Lookup::InTree(path) => format!("NOT FOUND, though the tree has {}", name(path)),
        Lookup::Missing => "NOT FOUND".to_owned(),
        Lookup::Unknown => "only a run would tell".to_owned(),
    }
}

fn rule(rule: Rule) -> &'static str {
    match rule {
        Rule::Rpath(_) => "RPATH",
        Rule::LibraryPath => "LD_LIBRARY_PATH",
        Rule::Note => "the resolution note",
        Rule::Runpath => "RUNPATH",
        Rule::Cache => "the cache",
        Rule::Default => "the default directories",
        Rule::Path => "its path",
    }
}

fn why(opening: &Opening) -> String {
    match opening.named.reason {
        Reason::Declared => {
            let priority = opening.named.priority.as_deref().map_or(String::new(), |priority| format!(" ({priority})"));
            harmless(format!("declared{priority}").as_bytes())
        }
        Reason::String => "a string".to_owned(),
        Reason::Constants => "built by the code,".to_owned(),
        Reason::Format => "a format".to_owned(),
        Reason::Text => "within other text".to_owned(),
    }
}

fn summary(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let openers = report.files.iter().filter(|file| matches!(file.openings, Ok(Some(_)))).count();
    let all = counted(report.files.len() as u64, "ELF file");
    let verb = if openers == 1 { "opens" } else { "open" };
    let names = counted(report.tally.len() as u64, "name");
    writeln!(out, "{all}, {openers} {verb} libraries, by {names}")?;
    for name in &report.unexpected {
        let tally = report.tally.get(name).cloned().unwrap_or_default();
        let Tally { opened_by, found, .. } = &tally;
        let by = counted(opened_by.len() as u64, "file");
        let found = if *found == 0 { "none".to_owned() } else { found.to_string() };
        writeln!(out, "{}: opened by {by}, found by {found}", harmless(name.as_bytes()))?;
    }
    for name in &report.not_missing {
        writeln!(out, "{}: expected to be missing, but it is not", harmless(name.as_bytes()))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct FileRecord {
    path: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Whether it imports `dlopen` or `dlmopen`.
    can_open: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    opens: Vec<OpeningRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// One name, also of `explain`.
#[derive(Serialize)]
pub(super) struct OpeningRecord {
    name: String,
    reason: Reason,
    place: String,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    lookup: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'static str>,
}

#[derive(Serialize)]
struct Summary {
    elf_files: usize,
    other_files: u64,
    names: Vec<NameRecord>,
    unexpected: Vec<String>,
    not_missing: Vec<String>,
    status: u8,
}

#[derive(Serialize)]
struct NameRecord {
    name: String,
    opened_by: usize,
    found_by: usize,
    unknown: usize,
}

pub(super) fn opening_record(opening: &Opening) -> OpeningRecord {
    let named = &opening.named;
    let (lookup, found) = match &opening.lookup {
        Lookup::Own => ("own", None),
        Lookup::Needed => ("needed", None),
        Lookup::Found(path, _) => ("found", Some(path)),
        Lookup::Versioned(path) => ("versioned", Some(path)),
        Lookup::Driver => ("driver", None),
        Lookup::InTree(path) => ("in-tree", Some(path)),
        Lookup::Missing => ("missing", None),
        Lookup::Unknown => ("unknown", None),
    };
    let rule = match &opening.lookup {
        Lookup::Found(_, rule) => Some(super::explain_json::rule(*rule)),
        _ => None,
    };
    OpeningRecord {
        name: named.name.clone(),
        reason: named.reason,
        place: named.place.clone(),
        offset: named.offset.0,
        priority: named.priority.clone(),
        description: named.description.clone(),
        lookup,
        found: found.map(|path| Text::of_path(path)),
        rule,
    }
}

/// The report as one JSON document.
///
/// # Errors
/// What the serializer answers; it has no reason to.
pub fn audit_json(report: &Report, view: AuditView, damaged: Damaged) -> serde_json::Result<String> {
    let is_told = |opening: &&Opening| view.names == Told::All || opening.lookup.is_missing();
    let file = |file: &Audited| FileRecord {
        path: Text::of_path(&file.path),
        outcome: file.openings.as_ref().err().map(|error| failure(error, damaged.forgives(error, file.named))),
        error: file.openings.as_ref().err().map(ToString::to_string),
        can_open: matches!(file.openings, Ok(Some(_))),
        opens: match &file.openings {
            Ok(Some(openings)) => openings.iter().filter(is_told).map(opening_record).collect(),
            _ => Vec::new(),
        },
        warnings: file.warnings.clone(),
    };
    let problems = report.problems.iter().map(|(path, error)| FileRecord {
        path: Text::of_path(path),
        outcome: Some(failure(error, false)),
        error: Some(error.to_string()),
        can_open: false,
        opens: Vec::new(),
        warnings: Vec::new(),
    });
    let names = report.tally.iter().map(|(name, tally)| NameRecord {
        name: name.clone(),
        opened_by: tally.opened_by.len(),
        found_by: tally.found,
        unknown: tally.unknown,
    });
    let files = report.files.iter().map(file).chain(problems);
    let summary = Summary {
        elf_files: report.files.len(),
        other_files: report.others,
        names: names.collect(),
        unexpected: report.unexpected.iter().cloned().collect(),
        not_missing: report.not_missing.iter().cloned().collect(),
        status: report.status(damaged, view).code(),
    };
    document("audit", AnyRun {}, files, summary)
}
