//! How many files there are of each kind: the last line of a report, and the JSON document's summary.

use serde::Serialize;

use crate::Error;
use crate::commands::check::{self, Verdict};
use crate::commands::fix::{self, Outcome};

/// `1 file`, `2 files`.
pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What became of the files of `fix`.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(super) struct Totals {
    /// Those that load the driver; under --all, those that are dynamic.
    loaders: u64,
    changed: u64,
    /// Files that do not load the driver, but lost directories of stubs.
    stubs_dropped: u64,
    already_right: u64,
    refused: u64,
    errors: u64,
}

impl Totals {
    /// Counts.
    pub(super) fn of(report: &fix::Report) -> Self {
        let mut totals = Self::default();
        for file in &report.files {
            totals.loaders += u64::from(file.is_taken);
            match &file.outcome {
                Outcome::Changed(_) => totals.changed += 1,
                Outcome::StubsDropped(_) => totals.stubs_dropped += 1,
                Outcome::AlreadyRight => totals.already_right += 1,
                Outcome::Failed(error) => totals.failed(error),
                Outcome::NotALoader | Outcome::NamesOnly(_) | Outcome::NotCandidate(_) => {}
            }
        }
        report.problems.iter().for_each(|(_, error)| totals.failed(error));
        totals
    }

    fn failed(&mut self, error: &Error) {
        match error {
            Error::NotCandidate(_) => {}
            error if error.is_refusal() => self.refused += 1,
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
    pub(super) fn in_short(&self, report: &fix::Report) -> String {
        let changed = if report.dry_run { "would change" } else { "changed" };
        let counts = [(self.changed, changed), (self.already_right, "already right"), (self.refused, "refused")];
        let mut parts: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if self.errors > 0 {
            parts.push(counted(self.errors, "error"));
        }
        parts.extend(self.without_stubs(report.dry_run));
        let parts = if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") };
        format!("{}: {parts}; {:.3} s", self.taken(report), report.time.as_secs_f64())
    }

    /// Under --drop-stubs, if there are any.
    fn without_stubs(&self, dry_run: bool) -> Option<String> {
        let lost = if dry_run { "would lose" } else { "lost" };
        (self.stubs_dropped > 0)
            .then(|| format!("{} {lost} directories of stubs", counted(self.stubs_dropped, "other file")))
    }

    pub(super) fn line(&self, report: &fix::Report, dry_run: bool) -> String {
        let without_stubs = self.without_stubs(dry_run).map(|lost| format!(", {lost}")).unwrap_or_default();
        format!(
            "{}: {} {}{without_stubs}, {} already right, {} refused; {}; {:.3} s",
            self.taken(report),
            self.changed,
            if dry_run { "would change" } else { "changed" },
            self.already_right,
            self.refused,
            counted(self.errors, "error"),
            report.time.as_secs_f64(),
        )
    }
}

/// What `check` found of the files.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(super) struct Judgements {
    /// Those that load the driver.
    pub(super) loaders: u64,
    /// Those that have the driver's directory.
    pub(super) finds: u64,
    /// Those that lack it, or have a stub in front of it.
    pub(super) misses: u64,
    /// What could not be looked at, or is damaged.
    pub(super) errors: u64,
}

impl Judgements {
    /// Counts.
    pub(super) fn of(report: &check::Report) -> Self {
        let mut totals = Self::default();
        for file in &report.files {
            match &file.result {
                Ok(Ok(judged)) => match judged.verdict {
                    Verdict::Finds => totals.finds += 1,
                    Verdict::Misses | Verdict::FindsStub(_) | Verdict::Misled(_) => totals.misses += 1,
                    Verdict::NamesOnly | Verdict::NotALoader => {}
                },
                Ok(Err(_)) => {}
                Err(_) => totals.errors += 1,
            }
        }
        let problems = report.problems.iter().filter(|(_, error)| !matches!(error, Error::NotCandidate(_)));
        totals.errors += problems.count() as u64;
        totals.loaders = totals.finds + totals.misses;
        totals
    }

    pub(super) fn line(&self, report: &check::Report) -> String {
        let verb = |count: u64, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
        let errors = if self.errors > 0 { format!("; {}", counted(self.errors, "error")) } else { String::new() };
        format!(
            "{}, {}: {}, {}{errors}",
            counted(report.files.len() as u64, "ELF file"),
            verb(self.loaders, "loads the driver", "load the driver"),
            verb(self.finds, "has its directory", "have its directory"),
            verb(self.misses, "lacks it", "lack it"),
        )
    }
}
