//! JSON for programs, as `docs/json.md` describes it. The schema has a version; fields are only added within one.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::note::NoteRecord;
use super::text::harmless;
use super::totals::{Judgements, Totals};
use super::{Damaged, Status};
use crate::Error;
use crate::commands::check::{self, Judged, Verdict};
use crate::commands::fix::{self, Changed, Outcome};
use crate::commands::stub_references::Reference;
use crate::decide::{Current, Tag, entries};
use crate::detect::{Detection, EvidenceKind, Purpose};
use crate::plan::NoteOutcome;

/// The version of the schema.
pub const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Document<Files, Run, Summary> {
    version: u32,
    command: &'static str,
    #[serde(flatten)]
    run: Run,
    files: Files,
    summary: Summary,
}

/// A list whose items are made when they are written, one by one.
struct Each<Items>(Items);

impl<Items: Iterator<Item: Serialize> + Clone> Serialize for Each<Items> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

/// What a document says of a run that has nothing of its own to say.
#[derive(Serialize)]
pub(super) struct AnyRun {}

#[derive(Serialize)]
struct Summary<Totals> {
    elf_files: usize,
    other_files: u64,
    searched_bytes: u64,
    status: u8,
    #[serde(flatten)]
    totals: Totals,
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

    pub(super) fn of_paths(paths: &[PathBuf]) -> Vec<Self> {
        paths.iter().map(|path| Self::of_path(path)).collect()
    }

    fn of_entries(search_path: &[u8]) -> Vec<Self> {
        entries(search_path).map(Self::of).collect()
    }
}

/// A search path and its tag.
#[derive(Serialize)]
struct SearchPath {
    tag: Tag,
    search_path: Vec<Text>,
}

/// What is said of a file under both commands.
#[derive(Default, Serialize)]
struct Found {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<EvidenceRecord>,
    /// What the driver is wanted for.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    wanted_for: BTreeSet<Purpose>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    openers: Vec<Text>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
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

impl Found {
    fn of(detection: &Detection, broken_sections: Option<&str>, openers: &[PathBuf]) -> Self {
        let broken = broken_sections.map(|why| format!("its section headers cannot be used ({why})"));
        Self {
            evidence: evidence(detection),
            wanted_for: detection.purposes(),
            openers: Text::of_paths(openers),
            warnings: broken.into_iter().chain(detection.warnings.iter().cloned()).collect(),
        }
    }
}

#[derive(Serialize)]
struct CheckRun {
    driver_directories: Vec<DriverRecord>,
    found_without: Vec<FoundRecord>,
    /// Under `--no-stubs`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stub_references: Vec<ReferenceRecord>,
}

/// A file that refers to a package of stubs.
#[derive(Serialize)]
struct ReferenceRecord {
    path: Text,
    package: Text,
}

/// A driver directory, and whether this machine has it.
#[derive(Serialize)]
pub(super) struct DriverRecord {
    path: Text,
    exists: bool,
}

impl DriverRecord {
    pub(super) fn of((path, exists): &(Vec<u8>, bool)) -> Self {
        Self { path: Text::of(path), exists: *exists }
    }
}

/// What the loader finds here for a name without any search path.
#[derive(Serialize)]
struct FoundRecord {
    name: Text,
    found: Option<Text>,
}

impl CheckRun {
    fn of(report: &check::Report) -> Self {
        let here = &report.here;
        let reference = |reference: &Reference| ReferenceRecord {
            path: Text::of_path(&reference.path),
            package: Text::of(&reference.package),
        };
        let found = here.libraries.iter().map(|(name, found)| FoundRecord {
            name: Text::of(name),
            found: found.as_ref().map(|found| Text::of(&found.path)),
        });
        Self {
            driver_directories: here.directories.iter().map(DriverRecord::of).collect(),
            found_without: found.collect(),
            stub_references: report.references.iter().map(reference).collect(),
        }
    }
}

#[derive(Serialize)]
struct CheckedFile {
    path: Text,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    search_path: Option<SearchPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stub: Option<Text>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stubs: Vec<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution_note: Option<NoteRecord>,
    #[serde(flatten)]
    found: Found,
}

/// The report of `check` as one JSON document.
///
/// # Errors
/// What the serializer answers; it has no reason to.
pub fn check_json(report: &check::Report, damaged: Damaged) -> serde_json::Result<String> {
    let plain = |path: &Path, verdict, reason: String| CheckedFile {
        path: Text::of_path(path),
        verdict,
        reason: Some(reason),
        search_path: None,
        stub: None,
        stubs: Vec::new(),
        resolution_note: None,
        found: Found::default(),
    };
    let files = report.files.iter().map(|file| match &file.result {
        Ok(Ok(judged)) => judged_file(&file.path, judged),
        Ok(Err(reason)) => plain(&file.path, "not-a-candidate", reason.to_string()),
        Err(error) => plain(&file.path, failure(error, damaged.forgives(error, file.named)), error.to_string()),
    });
    let problems = report.problems.iter().map(|(path, error)| plain(path, failure(error, false), error.to_string()));
    let judged = report.files.iter().filter_map(|file| file.result.as_ref().ok()?.as_ref().ok());
    document(
        "check",
        CheckRun::of(report),
        files.chain(problems),
        Summary {
            elf_files: report.files.len(),
            other_files: report.others,
            searched_bytes: judged.map(|judged| judged.detection.searched).sum(),
            status: report.status(damaged).code(),
            totals: Judgements::of(report),
        },
    )
}

pub(super) fn verdict_name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Finds => "finds",
        Verdict::Misses | Verdict::Misled(_) => "misses",
        Verdict::FindsStub(_) => "finds-stub",
        Verdict::NamesOnly => "names-only",
        Verdict::NotALoader => "not-a-loader",
    }
}

fn judged_file(path: &Path, judged: &Judged) -> CheckedFile {
    let verdict = verdict_name(&judged.verdict);
    let stub = match &judged.verdict {
        Verdict::FindsStub(stub) => Some(Text::of(stub)),
        _ => None,
    };
    let search_path = judged.search_path.as_ref();
    CheckedFile {
        path: Text::of_path(path),
        verdict,
        reason: None,
        search_path: search_path.map(|(tag, path)| SearchPath { tag: *tag, search_path: Text::of_entries(path) }),
        stub,
        stubs: judged.stubs.iter().map(|stub| Text::of(stub)).collect(),
        resolution_note: judged.note.as_ref().map(NoteRecord::of),
        found: Found::of(&judged.detection, judged.broken_sections.as_deref(), &judged.openers),
    }
}

#[derive(Serialize)]
struct FixRun {
    dry_run: bool,
    all: bool,
    seconds: f64,
}

#[derive(Serialize)]
struct FixedFile {
    path: Text,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<ChangeRecord>,
    #[serde(flatten)]
    found: Found,
}

#[derive(Serialize)]
struct ChangeRecord {
    old: Vec<SearchPath>,
    new: SearchPath,
    placement: String,
    growth: u64,
    inherits: bool,
    link_broken: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution_note: Option<NoteOutcome>,
}

impl ChangeRecord {
    fn of(changed: &Changed) -> Self {
        let Current { runpath, rpath } = &changed.old;
        let old = [(Tag::Runpath, runpath), (Tag::Rpath, rpath)].into_iter();
        let old =
            old.filter_map(|(tag, path)| Some(SearchPath { tag, search_path: Text::of_entries(path.as_deref()?) }));
        let decision = &changed.decision;
        Self {
            old: old.collect(),
            // Empty: the tag is gone.
            new: SearchPath {
                tag: decision.tag,
                search_path: if decision.path.is_empty() { Vec::new() } else { Text::of_entries(&decision.path) },
            },
            placement: changed.edited.rung.to_string(),
            growth: changed.edited.growth,
            inherits: decision.inherits,
            link_broken: changed.link_broken,
            resolution_note: Some(changed.edited.note).filter(|note| *note != NoteOutcome::None),
        }
    }
}

/// The report of `fix` as one JSON document.
///
/// # Errors
/// What the serializer answers; it has no reason to.
pub fn fix_json(report: &fix::Report, damaged: Damaged) -> serde_json::Result<String> {
    let files = report.files.iter().map(|file| fixed_file(file, damaged));
    let problems = report.problems.iter().map(|(path, error)| FixedFile {
        path: Text::of_path(path),
        outcome: failure(error, false),
        reason: Some(error.to_string()),
        change: None,
        found: Found::default(),
    });
    document(
        "fix",
        FixRun { dry_run: report.dry_run, all: report.all, seconds: report.time.as_secs_f64() },
        files.chain(problems),
        Summary {
            elf_files: report.files.len(),
            other_files: report.others,
            searched_bytes: report.files.iter().map(|file| file.detection.searched).sum(),
            status: report.status(damaged).code(),
            totals: Totals::of(report),
        },
    )
}

fn fixed_file(file: &fix::Fixed, damaged: Damaged) -> FixedFile {
    let (outcome, reason) = match &file.outcome {
        Outcome::Changed(_) => ("changed", None),
        Outcome::StubsDropped(_) => ("stubs-dropped", None),
        Outcome::AlreadyRight => ("already-right", None),
        Outcome::NotALoader => ("not-a-loader", None),
        Outcome::NamesOnly(_) => ("names-only", None),
        Outcome::NotCandidate(reason) => ("not-a-candidate", Some(reason.to_string())),
        Outcome::Failed(error) => (failure(error, damaged.forgives(error, file.named)), Some(error.to_string())),
    };
    let (change, openers) = match &file.outcome {
        Outcome::Changed(changed) | Outcome::StubsDropped(changed) => (Some(ChangeRecord::of(changed)), &[][..]),
        Outcome::NamesOnly(openers) => (None, openers.as_slice()),
        _ => (None, &[][..]),
    };
    let found = Found::of(&file.detection, file.broken_sections.as_deref(), openers);
    FixedFile { path: Text::of_path(&file.path), outcome, reason, change, found }
}

/// The word for a file that something is wrong with. It goes with the exit status.
pub(super) fn failure(error: &Error, forgiven: bool) -> &'static str {
    match (error, Status::of_error(error)) {
        (Error::NotCandidate(_), _) => "not-a-candidate",
        _ if forgiven => "damaged",
        (_, Status::Misses) => "refused",
        _ => "error",
    }
}

/// The document of `command`.
pub(super) fn document<Run: Serialize, Summary: Serialize>(
    command: &'static str,
    run: Run,
    files: impl Iterator<Item: Serialize> + Clone,
    summary: Summary,
) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&Document { version: SCHEMA, command, run, files: Each(files), summary })
}
