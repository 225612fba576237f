//! The explanation as JSON. The schema has a version; fields are only added within one.

use serde::Serialize;

use super::audit::{OpeningRecord, opening_record};
use super::gpu_code_json::CodeRecord;
use super::json::{DriverRecord, EvidenceRecord, Text, evidence, verdict_name};
use super::machine;
use super::note::NoteRecord;
use crate::commands::explain::{Entry, Explanation, Found, Library, Subject};
use crate::decide::Tag;
use crate::elf::NotCandidate;
use crate::loader::{Directory, Dropped, Ending, Outcome, Rule, Stage, Try};

/// The version of the schema of `explain --json`.
pub const EXPLAIN_SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Document {
    version: u32,
    path: Text,
    /// Absent where the file is no ELF file.
    #[serde(skip_serializing_if = "Option::is_none")]
    elf: Option<ElfRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_code: Option<CodeRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_a_candidate: Option<Reason>,
    #[serde(flatten)]
    subject: Option<SubjectRecord>,
}

#[derive(Serialize)]
struct Reason {
    kind: NotCandidate,
    text: String,
}

#[derive(Serialize)]
struct ElfRecord {
    bits: Option<u8>,
    byte_order: &'static str,
    machine: String,
    e_machine: u16,
    #[serde(rename = "type")]
    file_type: String,
    e_type: u16,
}

#[derive(Serialize)]
struct SubjectRecord {
    is_executable: bool,
    loads_driver: bool,
    opens_libraries: bool,
    evidence: Vec<EvidenceRecord>,
    tag: Option<Tag>,
    /// The entries of the search path that counts.
    search_path: Vec<EntryRecord>,
    /// A DT_RPATH beside a DT_RUNPATH.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution_note: Option<NoteRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignored_rpath: Option<Text>,
    /// As `check` has it.
    verdict: &'static str,
    /// What the verdict goes by.
    driver_directory: DriverRecord,
    loaded_by: Vec<Text>,
    is_chain_whole: bool,
    loader: LoaderRecord,
    ld_library_path: Option<Text>,
    libraries: Vec<LibraryRecord>,
    /// All that it likely opens.
    opens: Vec<OpeningRecord>,
    /// Only the first entries and libraries are looked at.
    is_cut: bool,
}

#[derive(Serialize)]
struct EntryRecord {
    entry: Text,
    /// Null where the loader drops the entry; empty for the current directory.
    directory: Option<Text>,
    exists: bool,
    driver_libraries: Vec<Text>,
    is_stub: bool,
    is_cuda_compat: bool,
    is_driver: bool,
}

#[derive(Serialize)]
struct LoaderRecord {
    /// Null where no loader could be read, and usual values are assumed.
    path: Option<Text>,
    glibc: Option<String>,
    default_directories: Vec<Text>,
    lib: Text,
    platform: Option<Text>,
    subdirectories: Vec<Text>,
    cache: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    foreign: Option<Text>,
}

#[derive(Serialize)]
struct LibraryRecord {
    name: Text,
    is_assumed: bool,
    /// `found`, `stub`, `not-found` or `error`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<FoundRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Where `LD_LIBRARY_PATH` decides: what is found without it, null for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    found_without_ld_library_path: Option<Option<FoundRecord>>,
    search: Vec<StageRecord>,
}

#[derive(Serialize)]
struct FoundRecord {
    path: Text,
    rule: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    real_path: Option<Text>,
    is_stub: bool,
}

#[derive(Serialize)]
struct StageRecord {
    rule: &'static str,
    /// Whose RPATH or RUNPATH.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    without: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    directories: Vec<DirectoryRecord>,
    /// All files that are tried, in order.
    tried: Vec<TryRecord>,
}

#[derive(Serialize)]
struct DirectoryRecord {
    entry: Text,
    path: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<&'static str>,
    is_missing: bool,
}

#[derive(Serialize)]
struct TryRecord {
    path: Text,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The explanation as one JSON document.
///
/// # Errors
/// What the serializer answers; it has no reason to.
pub fn explain_json(explanation: &Explanation) -> serde_json::Result<String> {
    let elf = explanation.header.as_ref().map(|header| ElfRecord {
        bits: machine::bits(header),
        byte_order: machine::byte_order(header),
        machine: machine::machine(header),
        e_machine: header.target.machine.0,
        file_type: machine::file_type(header),
        e_type: header.file_type.0,
    });
    let (subject, reason) = match &explanation.subject {
        Ok(subject) => (Some(subject_record(subject)), None),
        Err(kind) => (None, Some(Reason { kind: *kind, text: kind.to_string() })),
    };
    let path = Text::of_path(&explanation.path);
    let gpu_code = (!explanation.gpu_code.is_empty()).then(|| CodeRecord::of(&explanation.gpu_code));
    let document = Document { version: EXPLAIN_SCHEMA, path, elf, gpu_code, not_a_candidate: reason, subject };
    serde_json::to_string_pretty(&document)
}

fn subject_record(subject: &Subject) -> SubjectRecord {
    let (loader, system) = (&subject.loader, &subject.system);
    let texts = |all: &[Vec<u8>]| all.iter().map(|text| Text::of(text)).collect();
    SubjectRecord {
        is_executable: subject.is_executable,
        loads_driver: subject.detection.loads_driver(),
        opens_libraries: subject.detection.opens,
        evidence: evidence(&subject.detection),
        tag: subject.search.effective().map(|(tag, _)| tag),
        search_path: subject.entries.iter().map(entry_record).collect(),
        resolution_note: subject.note.as_ref().map(NoteRecord::of),
        ignored_rpath: subject.search.runpath.as_ref().and(subject.search.rpath.as_deref()).map(Text::of),
        verdict: verdict_name(&subject.verdict),
        driver_directory: DriverRecord::of(&subject.driver_dir),
        loaded_by: subject.chain.iter().skip(1).map(|path| Text::of_path(path)).collect(),
        is_chain_whole: subject.is_chain_whole,
        loader: LoaderRecord {
            path: loader.path.as_deref().map(Text::of_path),
            glibc: loader.built_in.version.map(|(major, minor)| format!("{major}.{minor}")),
            default_directories: texts(&system.default_dirs),
            lib: Text::of(&system.lib),
            platform: system.platform.as_deref().map(Text::of),
            subdirectories: texts(&system.subdirs),
            cache: Text::of(&loader.built_in.cache),
            foreign: loader.foreign.as_deref().map(Text::of_path),
        },
        ld_library_path: subject.library_path.as_deref().map(Text::of),
        libraries: subject.libraries.iter().map(|library| library_record(library, subject)).collect(),
        opens: subject.openings.iter().map(opening_record).collect(),
        is_cut: subject.is_cut,
    }
}

fn entry_record(entry: &Entry) -> EntryRecord {
    EntryRecord {
        entry: Text::of(&entry.entry),
        directory: entry.directory.as_deref().map(Text::of),
        exists: entry.exists,
        driver_libraries: entry.drivers.iter().map(|name| Text::of(name)).collect(),
        is_stub: entry.is_stub,
        is_cuda_compat: entry.is_cuda_compat,
        is_driver: entry.is_driver,
    }
}

fn library_record(library: &Library, subject: &Subject) -> LibraryRecord {
    let (outcome, error) = match (&library.found, &library.search.ending) {
        (Some(found), _) if found.is_stub => ("stub", None),
        (Some(_), _) => ("found", None),
        (None, Ending::Fatal(_, why)) => ("error", Some((*why).to_owned())),
        (None, _) => ("not-found", None),
    };
    LibraryRecord {
        name: Text::of(&library.name),
        is_assumed: library.is_assumed,
        outcome,
        found: library.found.as_ref().map(found_record),
        error,
        found_without_ld_library_path: library.found_without_variable.as_ref().map(|f| f.as_ref().map(found_record)),
        search: library.search.stages.iter().map(|stage| stage_record(stage, subject)).collect(),
    }
}

fn found_record(found: &Found) -> FoundRecord {
    FoundRecord {
        path: Text::of(&found.path),
        rule: rule(found.rule),
        real_path: found.real.as_deref().map(Text::of_path),
        is_stub: found.is_stub,
    }
}

pub(super) fn rule(rule: Rule) -> &'static str {
    match rule {
        Rule::Rpath(_) => "rpath",
        Rule::LibraryPath => "ld-library-path",
        Rule::Note => "resolution-note",
        Rule::Runpath => "runpath",
        Rule::Cache => "cache",
        Rule::Default => "default",
        Rule::Path => "path",
    }
}

fn stage_record(stage: &Stage, subject: &Subject) -> StageRecord {
    let owner = match stage.rule {
        Rule::Rpath(index) => subject.chain.get(index),
        Rule::Runpath | Rule::Note => subject.chain.first(),
        _ => None,
    };
    let tries = stage.file.iter().chain(stage.directories.iter().flat_map(|directory| &directory.tries));
    StageRecord {
        rule: rule(stage.rule),
        object: owner.map(|path| Text::of_path(path)),
        without: stage.without.clone(),
        directories: stage.directories.iter().map(directory_record).collect(),
        tried: tries.map(try_record).collect(),
    }
}

fn directory_record(directory: &Directory) -> DirectoryRecord {
    let dropped = directory.dropped.map(|why| match why {
        Dropped::Duplicate => "duplicate",
        Dropped::NoValue => "no-value",
    });
    DirectoryRecord {
        entry: Text::of(&directory.entry),
        path: Text::of(&directory.path),
        dropped,
        is_missing: directory.is_missing,
    }
}

fn try_record(tried: &Try) -> TryRecord {
    let (outcome, error) = match &tried.outcome {
        Outcome::Missing => ("missing", None),
        Outcome::Denied => ("denied", None),
        Outcome::Failed(why) => ("failed", Some(why.clone())),
        Outcome::OtherClass => ("other-class", None),
        Outcome::OtherMachine => ("other-machine", None),
        Outcome::Loaded => ("loaded", None),
        Outcome::Fatal(why) => ("error", Some((*why).to_owned())),
    };
    TryRecord { path: Text::of(&tried.path), outcome, error }
}
