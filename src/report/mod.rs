//! What is said about a run: lines for people, JSON for programs.

mod audit;
mod check_text;
mod explain_json;
mod explain_text;
mod gpu_code;
mod gpu_code_json;
mod json;
mod machine;
mod note;
mod runpath;
mod screen;
mod text;
mod totals;

pub use audit::{AuditView, Rigour, Told, audit_json, audit_text};
pub use check_text::{CheckView, Mending, check_text};
pub use explain_json::{EXPLAIN_SCHEMA, explain_json};
pub use explain_text::explain_text;
pub use gpu_code::gpu_code_text;
pub use gpu_code_json::gpu_code_json;
pub use json::{SCHEMA, check_json, fix_json};
pub use runpath::{Printed, printed, runpath_text};
pub use screen::{Folded, Screen};
pub use text::{Presentation, Verbosity, error_line, fix_text};

use crate::Error;
use crate::commands::check::{self, StubRule, Verdict};
use crate::commands::fix::{self, Outcome};

/// Bytes of a file's name or search path, harmless on a terminal.
pub fn printable(bytes: &[u8]) -> String {
    text::harmless(bytes)
}

/// How a run ended, for the exit status. Worse ones are larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Every file that loads the driver finds it.
    Good = 0,
    /// Some file that loads the driver would miss it.
    Misses = 1,
    /// Something could not be looked at, or is damaged.
    Error = 2,
}

impl Status {
    /// The exit status: 0, 1 or 2.
    pub fn code(self) -> u8 {
        self as u8
    }

    fn of_error(error: &Error) -> Self {
        match error {
            Error::NotCandidate(_) => Self::Good,
            error if error.is_refusal() => Self::Misses,
            _ => Self::Error,
        }
    }

    fn of_all(statuses: impl Iterator<Item = Self>) -> Self {
        statuses.max().unwrap_or(Self::Good)
    }
}

/// Whether damaged files in a tree are errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damaged {
    /// They are.
    Fail,
    /// They are worth a warning where a walk came upon them. Packages ship broken files as test data.
    Skip,
}

impl Damaged {
    fn forgives(self, error: &Error, named: bool) -> bool {
        self == Self::Skip && !named && matches!(error, Error::Malformed(_))
    }
}

impl fix::Report {
    /// How the run ended.
    pub fn status(&self, damaged: Damaged) -> Status {
        let problems = self.problems.iter().map(|(_, error)| Status::of_error(error));
        let files = self.files.iter().map(|file| match &file.outcome {
            Outcome::Failed(error) if damaged.forgives(error, file.named) => Status::Good,
            Outcome::Failed(error) => Status::of_error(error),
            _ => Status::Good,
        });
        Status::of_all(problems.chain(files))
    }
}

impl check::Report {
    /// How the run ended.
    pub fn status(&self, damaged: Damaged) -> Status {
        let problems = self.problems.iter().map(|(_, error)| Status::of_error(error));
        let files = self.files.iter().map(|file| match &file.result {
            Err(error) if damaged.forgives(error, file.named) => Status::Good,
            Err(error) => Status::of_error(error),
            Ok(Ok(judged)) => match judged.verdict {
                Verdict::Misses | Verdict::FindsStub(_) | Verdict::Misled(_) => Status::Misses,
                Verdict::Finds | Verdict::NamesOnly | Verdict::NotALoader => Status::Good,
            },
            Ok(Err(_)) => Status::Good,
        });
        let has_stubs =
            self.stubs == StubRule::Forbidden && (self.with_stubs().next().is_some() || !self.references.is_empty());
        let stubs = if has_stubs { Status::Misses } else { Status::Good };
        Status::of_all(problems.chain(files).chain([stubs]))
    }

    /// The files with stubs in their search paths or resolution notes that nothing needs.
    pub(crate) fn with_stubs(&self) -> impl Iterator<Item = (&check::Checked, &check::Judged)> {
        let judged = self.files.iter().filter_map(|file| Some((file, file.result.as_ref().ok()?.as_ref().ok()?)));
        judged.filter(|(_, judged)| judged.has_stubs())
    }
}
