//! The report of `gpu-code` as JSON, as `docs/json.md` describes it.

use serde::Serialize;

use super::Damaged;
use super::json::{AnyRun, Text, document, failure};
use crate::commands::gpu_code::{Capability, GpuCode, Kind, Linkage, Report, Scanned, Tally};

#[derive(Serialize)]
struct FileRecord {
    path: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    code: Option<CodeRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    misses: Vec<String>,
}

#[derive(Serialize)]
struct Problem {
    outcome: &'static str,
    reason: String,
}

/// The code of one file, also that of `explain`.
#[derive(Serialize)]
pub(super) struct CodeRecord {
    code: Vec<PieceRecord>,
    /// How many fat binaries and bundles hold the code that counts.
    units: u64,
    /// From which GPU on all later ones run its PTX.
    later_from: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct PieceRecord {
    /// `cubin`, `ptx`, `lto-ir`, `amd` or `other`.
    form: &'static str,
    /// `sm_90a`, `gfx90a:xnack-`, or what is not understood.
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    capability: Option<String>,
    count: u64,
    bytes: u64,
    /// `executable`, `resource`, `relocatable` or `unregistered`.
    linkage: &'static str,
}

#[derive(Serialize)]
struct Summary {
    files: usize,
    other_files: u64,
    files_with_code: usize,
    all_run_on: Vec<GpuRecord>,
    later_from: Option<String>,
    held_back: Vec<HeldRecord>,
    amd: Vec<String>,
    /// Requirements that no file has code to be asked about.
    unasked: Vec<String>,
    status: u8,
}

/// A GPU, and how many of the fat binaries have code for it.
#[derive(Serialize)]
struct GpuRecord {
    capability: String,
    units: u64,
    of: u64,
}

#[derive(Serialize)]
struct HeldRecord {
    capability: String,
    by: Vec<Text>,
}

impl CodeRecord {
    pub(super) fn of(code: &GpuCode) -> Self {
        Self {
            code: code.pieces.iter().map(|((linkage, kind), tally)| piece(*linkage, kind, tally)).collect(),
            units: code.all_units(),
            later_from: code.later_from().map(|first| first.to_string()),
            warnings: code.warnings.clone(),
        }
    }
}

fn piece(linkage: Linkage, kind: &Kind, tally: &Tally) -> PieceRecord {
    let form = match kind {
        Kind::Cubin(_) => "cubin",
        Kind::Ptx(_) => "ptx",
        Kind::LtoIr(_) => "lto-ir",
        Kind::Amd(_) => "amd",
        Kind::Other(_) => "other",
    };
    let target = match kind {
        Kind::Amd(target) | Kind::Other(target) => target.clone(),
        _ => kind.capability().map(|capability| format!("sm_{}", capability.number())).unwrap_or_default(),
    };
    PieceRecord {
        form,
        target,
        capability: kind.capability().map(|capability| capability.to_string()),
        count: tally.count,
        bytes: tally.bytes,
        linkage: match linkage {
            Linkage::Executable => "executable",
            Linkage::Resource => "resource",
            Linkage::Relocatable => "relocatable",
            Linkage::Unregistered => "unregistered",
        },
    }
}

/// The report as one JSON document.
///
/// # Errors
/// What the serializer answers; it has no reason to.
pub fn gpu_code_json(report: &Report, damaged: Damaged) -> serde_json::Result<String> {
    let texts =
        |all: &[crate::commands::gpu_code::Requirement]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let file = |file: &Scanned| {
        let problem = file.code.as_ref().err().map(|error| Problem {
            outcome: failure(error, damaged.forgives(error, file.named)),
            reason: error.to_string(),
        });
        let code = file.code.as_ref().ok().map(CodeRecord::of);
        FileRecord { path: Text::of_path(&file.path), problem, code, misses: texts(&file.missed) }
    };
    let problems = report.problems.iter().map(|(path, error)| FileRecord {
        path: Text::of_path(path),
        problem: Some(Problem { outcome: failure(error, false), reason: error.to_string() }),
        code: None,
        misses: Vec::new(),
    });
    let code = || report.files.iter().filter_map(|file| file.code.as_ref().ok());
    let all_units = code().map(GpuCode::all_units).fold(0, u64::saturating_add);
    let gpu = |gpu: &Capability| {
        let units = code().map(|code| code.units_for(*gpu)).fold(0, u64::saturating_add);
        GpuRecord { capability: gpu.to_string(), units, of: all_units }
    };
    let summary = Summary {
        files: report.files.len(),
        other_files: report.others,
        files_with_code: code().filter(|code| !code.is_empty()).count(),
        all_run_on: report.all_run_on.iter().map(gpu).collect(),
        later_from: report.later_from.map(|first| first.to_string()),
        held_back: report
            .held
            .iter()
            .map(|held| HeldRecord { capability: held.gpu.to_string(), by: Text::of_paths(&held.by) })
            .collect(),
        amd: report.amd.clone(),
        unasked: texts(&report.unasked),
        status: report.status(damaged).code(),
    };
    let files = report.files.iter().map(file).chain(problems);
    document("gpu-code", AnyRun {}, files, summary)
}
