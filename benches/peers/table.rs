//! The report: a table of Markdown.

use std::fmt::{Display, Write as _};

use crate::measure::Figure;

/// Its rows so far.
#[derive(Default)]
pub struct Table(String);

impl Table {
    /// The peer's median must be `goal` times ours.
    pub fn faster(&mut self, case: &str, ours: &Figure, peer: &str, theirs: &Figure, goal: f64) {
        let ratio = theirs.median / ours.median;
        let met = ratio >= goal;
        self.row(case, ours, peer, theirs, &format!("{ratio:.0} times faster"), &format!("≥ {goal:.0}"), met);
    }

    /// Our median may be `goal` times the other.
    pub fn at_most(&mut self, case: &str, ours: &Figure, base: &str, theirs: &Figure, goal: f64) {
        let ratio = ours.median / theirs.median;
        let met = ratio <= goal;
        self.row(case, ours, base, theirs, &format!("{ratio:.2} times its time"), &format!("≤ {goal}"), met);
    }

    /// Ours may take `goal` milliseconds more.
    pub fn difference(&mut self, case: &str, ours: &Figure, base: &str, theirs: &Figure, goal: f64) {
        let more = (ours.median - theirs.median) * 1e3;
        self.row(case, ours, base, theirs, &format!("{more:.1} ms more"), &format!("≤ {goal} ms"), more <= goal);
    }

    /// What is left of files; whether ours is as it should be.
    pub fn counts(&mut self, case: &str, ours: &dyn Display, peer: &str, theirs: &dyn Display, met: bool) {
        self.row(case, ours, peer, theirs, "", "all load", met);
    }

    /// Without a goal.
    pub fn beside(&mut self, case: &str, ours: &Figure, peer: &str, theirs: &Figure) {
        let ratio = theirs.median / ours.median;
        let words = if ratio >= 1.0 {
            format!("{ratio:.0} times faster")
        } else {
            format!("{:.1} times its time", 1.0 / ratio)
        };
        writeln!(self.0, "| {case} | {ours} | {peer} | {theirs} | {words} | none | |").expect("a string grows");
    }

    /// Our bytes may be `goal` times the others.
    #[allow(clippy::cast_precision_loss)]
    pub fn bytes(&mut self, case: &str, ours: u64, beside: &str, theirs: u64, goal: f64) {
        let ratio = ours as f64 / theirs as f64;
        let met = ratio <= goal;
        let [ours, theirs] = [ours, theirs].map(|bytes| format!("{bytes} bytes"));
        self.row(case, &ours, beside, &theirs, &format!("{:.1} %", ratio * 100.0), &percent(goal), met);
    }

    #[allow(clippy::too_many_arguments)]
    fn row(
        &mut self,
        case: &str,
        ours: &dyn Display,
        peer: &str,
        theirs: &dyn Display,
        ratio: &str,
        goal: &str,
        met: bool,
    ) {
        let met = if met { "yes" } else { "no" };
        writeln!(self.0, "| {case} | {ours} | {peer} | {theirs} | {ratio} | {goal} | {met} |").expect("a string grows");
    }

    /// The whole report, with what `machine` is it about.
    pub fn finish(self, machine: &str, command: &str) -> String {
        format!(
            "# Benchmarks\n\n{machine}. Medians of the runs of one process tree, spread in brackets; warm cache unless a \
             row says otherwise.\n\n`{command}`\n\n\
             | case | driver-runpath | beside | that one | ratio | goal | met |\n|---|---|---|---|---|---|---|\n{}",
            self.0
        )
    }
}

fn percent(goal: f64) -> String {
    if goal == 0.0 { "0".to_owned() } else { format!("≤ {:.0} %", goal * 100.0) }
}
