//! JSON for programs. The schema has a version; fields are only added within one.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

use super::Leniency;
use super::text::harmless;
use crate::check::{self, Judged, Verdict};
use crate::decide::{Tag, entries};
use crate::detect::{Detection, EvidenceKind};

/// The version of the schema of `check --json`.
pub const CHECK_SCHEMA: u32 = 1;

#[derive(Serialize)]
struct CheckDocument {
    version: u32,
    files: Vec<CheckedFile>,
    summary: Summary,
}

#[derive(Serialize)]
struct Summary {
    elf_files: usize,
    other_files: u64,
    status: u8,
}

/// A path or a search path entry: text, and the bytes where the text is not all of them.
#[derive(Serialize)]
pub(super) struct Text {
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<Vec<u8>>,
}

impl Text {
    pub(super) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { text: text.to_owned(), bytes: None },
            Err(_) => Self { text: harmless(bytes), bytes: Some(bytes.to_vec()) },
        }
    }

    pub(super) fn of_path(path: &Path) -> Self {
        Self::of(path.as_os_str().as_bytes())
    }
}

#[derive(Serialize)]
struct CheckedFile {
    path: Text,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_path: Option<Vec<Text>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<EvidenceRecord>,
}

#[derive(Serialize)]
pub(super) struct EvidenceRecord {
    kind: EvidenceKind,
    what: String,
    place: String,
    offset: u64,
}

pub(super) fn evidence(detection: &Detection) -> Vec<EvidenceRecord> {
    let records = detection.evidence.iter().map(|found| EvidenceRecord {
        kind: found.kind,
        what: found.what.clone(),
        place: found.place.clone(),
        offset: found.offset.0,
    });
    records.collect()
}

/// The report of `check` as one JSON document.
///
/// # Errors
/// What the serializer answers; it has no reason to.
pub fn check_json(report: &check::Report, leniency: Leniency) -> serde_json::Result<String> {
    let plain = |path: &Path, verdict, reason| CheckedFile {
        path: Text::of_path(path),
        verdict,
        reason: Some(reason),
        tag: None,
        search_path: None,
        evidence: Vec::new(),
    };
    let files = report.files.iter().map(|file| match &file.result {
        Ok(Ok(judged)) => judged_file(&file.path, judged),
        Ok(Err(reason)) => plain(&file.path, "not-a-candidate", reason.to_string()),
        Err(error) => plain(&file.path, "error", error.to_string()),
    });
    let problems = report.problems.iter().map(|(path, error)| {
        let verdict = if matches!(error, crate::Error::NotCandidate(_)) { "not-a-candidate" } else { "error" };
        plain(path, verdict, error.to_string())
    });
    let document = CheckDocument {
        version: CHECK_SCHEMA,
        files: files.chain(problems).collect(),
        summary: Summary {
            elf_files: report.files.len(),
            other_files: report.others,
            status: report.status(leniency).code(),
        },
    };
    serde_json::to_string_pretty(&document)
}

fn judged_file(path: &Path, judged: &Judged) -> CheckedFile {
    let verdict = match judged.verdict {
        Verdict::Finds => "finds",
        Verdict::Misses => "misses",
        Verdict::FindsStub(_) => "finds-stub",
        Verdict::NamesOnly => "names-only",
        Verdict::NotALoader => "not-a-loader",
    };
    CheckedFile {
        path: Text::of_path(path),
        verdict,
        reason: None,
        tag: judged.search_path.as_ref().map(|(tag, _)| *tag),
        search_path: judged.search_path.as_ref().map(|(_, path)| entries(path).map(Text::of).collect()),
        evidence: evidence(&judged.detection),
    }
}
