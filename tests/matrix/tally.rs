//! Counts what the cells did, and prints it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use driver_runpath::plan::{EntryFor, Plan, Rung};

use super::cells::Cell;

const RUNGS: [Rung; 7] = [Rung::Slot, Rung::Slack, Rung::Last, Rung::Evict, Rung::Append, Rung::AppendHead, Rung::Bss];
const ENTRIES: [&str; 3] = ["spare entry", "given up", "moved table"];

/// The counts of one toolchain.
#[derive(Default)]
struct Row {
    begun: usize,
    passed: usize,
    rungs: BTreeMap<Rung, usize>,
    entries: BTreeMap<&'static str, usize>,
    refused: usize,
}

#[derive(Default)]
struct Counts {
    rows: BTreeMap<&'static str, Row>,
    refusals: BTreeMap<&'static str, usize>,
    growth: BTreeMap<Rung, Vec<u64>>,
    strip_breaks: BTreeMap<String, usize>,
    lint: usize,
    replayed: BTreeSet<(&'static str, &'static str, Rung, &'static str)>,
}

/// What all cells did.
#[derive(Default)]
pub struct Tally {
    counts: Mutex<Counts>,
}

impl Tally {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begins(&self, cell: &Cell) {
        self.counts().rows.entry(cell.toolchain().name).or_default().begun += 1;
    }

    pub fn passed(&self, cell: &Cell) {
        self.counts().rows.entry(cell.toolchain().name).or_default().passed += 1;
    }

    pub fn took(&self, cell: &Cell, plan: &Plan<'_>) {
        let mut counts = self.counts();
        let row = counts.rows.entry(cell.toolchain().name).or_default();
        *row.rungs.entry(plan.rung).or_default() += 1;
        *row.entries.entry(entry_name(plan.entry)).or_default() += 1;
        counts.growth.entry(plan.rung).or_default().push(plan.growth());
    }

    pub fn refused(&self, cell: &Cell, reason: &'static str) {
        let mut counts = self.counts();
        counts.rows.entry(cell.toolchain().name).or_default().refused += 1;
        *counts.refusals.entry(reason).or_default() += 1;
    }

    pub fn strip_breaks(&self, cell: &Cell, tool: &str) {
        let what = format!("{} of {}", tool, cell.toolchain().name);
        *self.counts().strip_breaks.entry(what).or_default() += 1;
    }

    pub fn lint(&self, found: usize) {
        self.counts().lint += found;
    }

    /// Whether this is a new combination of toolchain, kind of file, rung and entry: those are stopped after each edit.
    pub fn wants_prefixes(&self, cell: &Cell, plan: &Plan<'_>) -> bool {
        let combination = (cell.toolchain().name, cell.get("kind"), plan.rung, entry_name(plan.entry));
        self.counts().replayed.insert(combination)
    }

    /// The table, and the rungs that no cell took.
    pub fn table(&self) -> (String, Vec<Rung>) {
        let counts = self.counts();
        let mut text = String::new();
        let mut line = |cells: &[String]| {
            let _ = write!(text, "{:<10}", cells.first().map_or("", String::as_str));
            for cell in cells.iter().skip(1) {
                let _ = write!(text, "{cell:>12}");
            }
            text.push('\n');
        };
        let head = ["cells", "passed"].map(String::from).into_iter().chain(RUNGS.map(|rung| rung.to_string()));
        let head = head.chain(ENTRIES.map(String::from)).chain(["refused".into()]);
        line(&[String::new()].into_iter().chain(head).collect::<Vec<_>>());
        for (name, row) in &counts.rows {
            let rungs = RUNGS.map(|rung| row.rungs.get(&rung).copied().unwrap_or(0));
            let entries = ENTRIES.map(|entry| row.entries.get(entry).copied().unwrap_or(0));
            let numbers = [row.begun, row.passed].into_iter().chain(rungs).chain(entries).chain([row.refused]);
            line(&[name.to_string()].into_iter().chain(numbers.map(|n| n.to_string())).collect::<Vec<_>>());
        }
        for (rung, growth) in &counts.growth {
            let (sum, most) = (growth.iter().sum::<u64>(), growth.iter().max().copied().unwrap_or(0));
            let mean = sum / growth.len().max(1) as u64;
            let _ = writeln!(text, "growth by {rung}: {mean} bytes on average, at most {most}");
        }
        for (reason, count) in &counts.refusals {
            let _ = writeln!(text, "refused {count} times: {reason}");
        }
        for (what, count) in &counts.strip_breaks {
            let _ = writeln!(text, "{count} files that {what} breaks as they are linked");
        }
        let _ = writeln!(text, "stopped after each edit: {} kinds of plan", counts.replayed.len());
        let _ = writeln!(text, "new findings of eu-elflint: {}", counts.lint);
        let taken: BTreeSet<Rung> = counts.growth.keys().copied().collect();
        (text, RUNGS.into_iter().filter(|rung| !taken.contains(rung)).collect())
    }
}

fn entry_name(entry: EntryFor) -> &'static str {
    match entry {
        EntryFor::Spare => "spare entry",
        EntryFor::GivenUp(_) => "given up",
        EntryFor::MovedTable => "moved table",
        _ => "new",
    }
}
