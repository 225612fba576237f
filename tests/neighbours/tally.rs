//! Counts the cells, and prints them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use driver_runpath::plan::Rung;

use super::bench::Case;
use super::editors::Editor;

/// How one editor went with one file of ours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    Passed,
    /// It breaks the file that ours has not touched, too.
    BreaksAnyway,
    Failed,
}

#[derive(Default)]
struct Row {
    passed: usize,
    anyway: usize,
    failed: usize,
    refused: usize,
    broken_before: usize,
}

#[derive(Default)]
struct Counts {
    /// By the kind of row and its name.
    rows: BTreeMap<(&'static str, &'static str), Row>,
    growth: BTreeMap<(Rung, &'static str), Vec<usize>>,
    objections: usize,
    findings: usize,
    judged: usize,
}

/// What all cases did.
#[derive(Default)]
pub struct Tally {
    counts: Mutex<Counts>,
}

impl Tally {
    fn counts_now(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn for_rows(&self, case: &Case, after: Option<&Editor>, change: impl Fn(&mut Row)) {
        let mut counts = self.counts_now();
        let rows = [("linker", case.linker.name), ("way", case.way.name), ("before", case.before.name)];
        for row in rows.into_iter().chain(after.map(|after| ("after", after.name))) {
            change(counts.rows.entry(row).or_default());
        }
    }

    pub fn counts(&self, case: &Case, after: &Editor, cell: Cell) {
        self.for_rows(case, Some(after), |row| match cell {
            Cell::Passed => row.passed += 1,
            Cell::BreaksAnyway => row.anyway += 1,
            Cell::Failed => row.failed += 1,
        });
    }

    pub fn refused(&self, case: &Case) {
        self.for_rows(case, None, |row| row.refused += 1);
    }

    pub fn broken_before(&self, case: &Case) {
        self.for_rows(case, None, |row| row.broken_before += 1);
    }

    pub fn judged(&self, objections: usize, findings: usize) {
        let mut counts = self.counts_now();
        counts.judged += 1;
        counts.objections += objections;
        counts.findings += findings;
    }

    pub fn grew(&self, rung: Rung, editor: &'static str, bytes: usize) {
        self.counts_now().growth.entry((rung, editor)).or_default().push(bytes);
    }

    pub fn table(&self) -> String {
        let counts = self.counts_now();
        let mut text = format!(
            "\n{:<8}{:<20}{:>8}{:>16}{:>8}{:>9}{:>16}\n",
            "", "", "passed", "breaks anyway", "failed", "refused", "not edited"
        );
        for ((kind, name), row) in &counts.rows {
            let Row { passed, anyway, failed, refused, broken_before } = row;
            let _ =
                writeln!(text, "{kind:<8}{name:<20}{passed:>8}{anyway:>16}{failed:>8}{refused:>9}{broken_before:>16}");
        }
        for ((rung, editor), bytes) in &counts.growth {
            let (sum, most) = (bytes.iter().sum::<usize>(), bytes.iter().max().copied().unwrap_or(0));
            let mean = sum / bytes.len().max(1);
            let _ = writeln!(
                text,
                "growth of {} files by {rung}, {editor}: {mean} bytes on average, at most {most}",
                bytes.len()
            );
        }
        let _ = writeln!(
            text,
            "{} files judged: {} objections of the referee, {} new findings of eu-elflint",
            counts.judged, counts.objections, counts.findings
        );
        text
    }
}
