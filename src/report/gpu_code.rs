//! What is said about a run of `gpu-code`, and the words for code that `explain` has, too.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::text::{harmless, name};
use super::totals::counted;
use super::{Damaged, Presentation, Status, Verbosity};
use crate::commands::gpu_code::{Capability, GpuCode, Kind, Linkage, Report, Tally};

impl Report {
    /// How the run ended.
    pub fn status(&self, damaged: Damaged) -> Status {
        let problems = self.problems.iter().map(|(_, error)| Status::of_error(error));
        let files = self.files.iter().map(|file| match &file.code {
            Err(error) if damaged.forgives(error, file.named) => Status::Good,
            Err(error) => Status::of_error(error),
            Ok(_) if !file.missed.is_empty() => Status::Misses,
            Ok(_) => Status::Good,
        });
        let unasked = if self.unasked.is_empty() { Status::Good } else { Status::Misses };
        Status::of_all(problems.chain(files).chain([unasked]))
    }
}

/// Writes the report: `out` gets the lines and the summary, `errors` the rest.
///
/// # Errors
/// Errors of the writer.
pub fn gpu_code_text(
    report: &Report,
    presentation: &Presentation,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<()> {
    for file in &report.files {
        let code = match &file.code {
            Ok(code) => code,
            Err(error) => {
                presentation.failed(errors, &file.path, error, file.named)?;
                continue;
            }
        };
        if presentation.verbosity >= Verbosity::Summary {
            for warning in &code.warnings {
                writeln!(errors, "warning: {}: {}", name(&file.path), harmless(warning.as_bytes()))?;
            }
        }
        let is_wanted = !code.is_empty() || file.named || presentation.verbosity >= Verbosity::All;
        if is_wanted && presentation.verbosity >= Verbosity::Lines {
            writeln!(out, "{}: {}", name(&file.path), in_words(code))?;
        }
        if presentation.verbosity >= Verbosity::All {
            details(code, out)?;
        }
    }
    presentation.problems(errors, &report.problems)?;
    if presentation.verbosity >= Verbosity::Summary {
        summary(report, presentation.verbosity, out)?;
    }
    Ok(())
}

/// The code of a file in a few words: that which counts, by form.
pub(super) fn in_words(code: &GpuCode) -> String {
    let mut parts = Vec::new();
    let mut part = |word: &str, all: Vec<String>| {
        if !all.is_empty() {
            parts.push(format!("{word} {}", all.join(" ")));
        }
    };
    let capabilities = |of: fn(&Kind) -> Option<Capability>| -> Vec<String> {
        let all: BTreeSet<Capability> = code.kinds().filter_map(of).collect();
        all.into_iter().map(|capability| capability.to_string()).collect()
    };
    part("cubins", capabilities(|kind| if let Kind::Cubin(own) = kind { Some(*own) } else { None }));
    part("PTX", capabilities(|kind| if let Kind::Ptx(own) = kind { Some(*own) } else { None }));
    part("LTO-IR", capabilities(|kind| if let Kind::LtoIr(own) = kind { Some(*own) } else { None }));
    let amd = code.kinds().filter_map(|kind| if let Kind::Amd(own) = kind { Some(own) } else { None });
    part("AMD", amd.map(|target| harmless(target.as_bytes())).collect());
    parts.extend(others(code));
    if parts.is_empty() {
        let unregistered = code.pieces.keys().any(|(linkage, _)| *linkage == Linkage::Unregistered);
        return if unregistered { "no code for GPUs that the CUDA runtime is given" } else { "no code for GPUs" }
            .to_owned();
    }
    let relocatable = if code.is_relocatable() { " (relocatable)" } else { "" };
    format!("{}{relocatable}", parts.join("; "))
}

/// What is there and not understood, counted.
fn others(code: &GpuCode) -> Option<String> {
    const MOST: usize = 3;
    let others: Vec<(&str, &Tally)> = code
        .pieces
        .iter()
        .filter_map(|((_, kind), tally)| if let Kind::Other(what) = kind { Some((what.as_str(), tally)) } else { None })
        .collect();
    let shown =
        others.iter().take(MOST).map(|(what, tally)| format!("{} x {}", tally.count, harmless(what.as_bytes())));
    let shown: Vec<String> = shown.collect();
    let more = match others.len().checked_sub(MOST) {
        Some(more) if more > 0 => format!(" and {more} more"),
        _ => String::new(),
    };
    (!shown.is_empty()).then(|| format!("not understood: {}{more}", shown.join(", ")))
}

/// Counts and bytes, a line a kind.
fn details(code: &GpuCode, out: &mut impl Write) -> io::Result<()> {
    for ((linkage, kind), tally) in &code.pieces {
        let (form, target) = match kind {
            Kind::Cubin(capability) => ("cubin", format!("sm_{}", capability.number())),
            Kind::Ptx(capability) => ("PTX", format!("compute_{}", capability.number())),
            Kind::LtoIr(capability) => ("LTO-IR", format!("lto_{}", capability.number())),
            Kind::Amd(target) => ("AMD", harmless(target.as_bytes())),
            Kind::Other(what) => ("?", harmless(what.as_bytes())),
        };
        let linkage = match linkage {
            Linkage::Executable => "",
            Linkage::Resource => "  in its data",
            Linkage::Relocatable => "  relocatable",
            Linkage::Unregistered => "  not registered",
        };
        let Tally { count, bytes } = tally;
        writeln!(out, "  {form:<7}{target:<14} {count:>7} {:>13} bytes{linkage}", thousands(*bytes))?;
    }
    Ok(())
}

/// A number with a comma before every three digits.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn summary(report: &Report, verbosity: Verbosity, out: &mut impl Write) -> io::Result<()> {
    let with = report.files.iter().filter(|file| file.code.as_ref().is_ok_and(|code| !code.is_empty())).count();
    let all = counted(report.files.len() as u64, "file");
    let verb = if with == 1 { "carries" } else { "carry" };
    writeln!(out, "{all} looked at, {with} {verb} code for GPUs")?;
    let gpus: Vec<String> = report.all_run_on.iter().map(ToString::to_string).collect();
    let later = report.later_from.map(|first| format!("all from {first} on"));
    // What comes later is in that.
    let gpus = gpus.into_iter().zip(&report.all_run_on);
    let single = gpus.filter(|(_, gpu)| report.later_from.is_none_or(|first| **gpu < first)).map(|(text, _)| text);
    let run: Vec<String> = single.chain(later).collect();
    if !run.is_empty() {
        writeln!(out, "all of it for NVIDIA runs on: {}", run.join(" "))?;
    } else if !report.held.is_empty() {
        writeln!(out, "all of it for NVIDIA runs on: no GPU")?;
    }
    if !report.amd.is_empty() {
        let names: Vec<String> = report.amd.iter().map(|target| harmless(target.as_bytes())).collect();
        writeln!(out, "all of it for AMD is there for: {}", names.join(" "))?;
    }
    if verbosity >= Verbosity::Lines {
        held(report, verbosity, out)?;
    }
    missed(report, out)
}

/// GPUs that some files do not run on, those held back by the same files in one line.
fn held(report: &Report, verbosity: Verbosity, out: &mut impl Write) -> io::Result<()> {
    for group in report.held.chunk_by(|one, next| one.by == next.by) {
        let gpus: Vec<String> = group.iter().map(|held| held.gpu.to_string()).collect();
        let by = group.first().map_or(&[][..], |held| held.by.as_slice());
        writeln!(out, "not on {}: {}", gpus.join(" "), files(by, verbosity))?;
    }
    Ok(())
}

fn files(paths: &[PathBuf], verbosity: Verbosity) -> String {
    let most = if verbosity >= Verbosity::All { usize::MAX } else { 3 };
    let last = |path: &PathBuf| name(path.file_name().map_or(path.as_path(), Path::new));
    let shown: Vec<String> = paths.iter().take(most).map(last).collect();
    match paths.len().checked_sub(most) {
        Some(more) if more > 0 => format!("{} and {more} more", shown.join(", ")),
        _ => shown.join(", "),
    }
}

/// What is required and not there.
fn missed(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for file in report.files.iter().filter(|file| !file.missed.is_empty()) {
        let missed: Vec<String> = file.missed.iter().map(ToString::to_string).collect();
        let has = file.code.as_ref().map(in_words).unwrap_or_default();
        writeln!(out, "MISSES {}: {}: has {has}", missed.join(", "), name(&file.path))?;
    }
    if !report.unasked.is_empty() {
        let unasked: Vec<String> = report.unasked.iter().map(ToString::to_string).collect();
        writeln!(out, "MISSES {}: no file has code for GPUs of that make", unasked.join(", "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn bytes_are_written_in_groups_of_three() {
        let shown = [0, 7, 999, 1000, 123_456, 1_234_567].map(thousands);
        assert_eq!(shown, ["0", "7", "999", "1,000", "123,456", "1,234,567"]);
    }
}
