//! The code for GPUs of a whole tree: what all of its files run on, and which hold it back.

use crate::walk::watch::Watch;
use std::collections::BTreeSet;
use std::path::PathBuf;

use super::capability::GPUS;
use super::{Capability, GpuCode, Judgement, Kind, MAGICS, Requirement, Scope, read};
use crate::Error;
use crate::apply::source::{Links, Take};
use crate::walk::{Exclude, Found, walk_for};

/// One file that can hold code for GPUs.
#[derive(Debug)]
pub struct Scanned {
    /// Its path.
    pub path: PathBuf,
    /// Whether the user named it.
    pub named: bool,
    /// What code it has.
    pub code: Result<GpuCode, Error>,
    /// The requirements that it does not meet.
    pub missed: Vec<Requirement>,
}

/// GPUs on which some files run and others do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Their compute capability.
    pub gpu: Capability,
    /// The files that do not.
    pub by: Vec<PathBuf>,
}

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    /// The files, by path.
    pub files: Vec<Scanned>,
    /// What could not be looked at.
    pub problems: Vec<(PathBuf, Error)>,
    /// Files of other kinds.
    pub others: u64,
    /// The GPUs on which every file with code for NVIDIA's runs.
    pub all_run_on: Vec<Capability>,
    /// The first GPU from which on every file runs on all later ones.
    pub later_from: Option<Capability>,
    /// The GPUs on which some run.
    pub held: Vec<Held>,
    /// The names of AMD's targets that every file with code for AMD's has.
    pub amd: Vec<String>,
    /// Requirements that no file has code to be asked about.
    pub unasked: Vec<Requirement>,
}

/// Looks at `paths`. `watch` knows how far that is, for whoever shows it.
pub fn scan(paths: &[PathBuf], exclude: &Exclude, required: &[Requirement], watch: &Watch) -> Report {
    let walked = walk_for(Take::ElfOr(&MAGICS), paths, exclude, |path, source| {
        let code = read(source.bytes()).map_err(Error::Malformed);
        watch.scans(path);
        code
    });
    let mut unasked = required.to_vec();
    let mut judge = |code: &GpuCode| {
        let judged = required.iter().map(|wish| (wish, wish.judge(code)));
        let asked = judged.filter(|(_, judgement)| *judgement != Judgement::NotAsked);
        let asked: Vec<(&Requirement, Judgement)> = asked.collect();
        unasked.retain(|wish| !asked.iter().any(|(own, _)| *own == wish));
        let missed = asked.into_iter().filter(|(_, judgement)| *judgement == Judgement::Missed);
        missed.map(|(wish, _)| wish.clone()).collect()
    };
    let files = walked.files.into_iter().map(|found: Found<Result<GpuCode, Error>>| Scanned {
        named: found.links == Links::Follow,
        missed: found.seen.as_ref().map(&mut judge).unwrap_or_default(),
        code: found.seen,
        path: found.path,
    });
    let files: Vec<Scanned> = files.collect();
    let (all_run_on, held) = gpus(&files);
    Report {
        later_from: later_from(&files),
        amd: amd(&files),
        all_run_on,
        held,
        files,
        problems: walked.problems,
        others: walked.others,
        unasked,
    }
}

/// The files with code for NVIDIA's GPUs that a driver can load.
fn cuda(files: &[Scanned]) -> impl Iterator<Item = (&Scanned, &GpuCode)> {
    let code = files.iter().filter_map(|file| Some((file, file.code.as_ref().ok()?)));
    code.filter(|(_, code)| code.kinds().any(|kind| matches!(kind, Kind::Cubin(_) | Kind::Ptx(_))))
}

fn gpus(files: &[Scanned]) -> (Vec<Capability>, Vec<Held>) {
    let known = GPUS.map(|(major, minor)| Capability { major, minor, scope: Scope::Portable });
    let present = cuda(files).flat_map(|(_, code)| code.kinds()).filter_map(Kind::capability);
    let present = present.map(Capability::gpu).filter(|gpu| gpu.is_of_a_gpu());
    let asked: BTreeSet<Capability> = known.into_iter().chain(present).collect();
    let (mut all, mut held) = (Vec::new(), Vec::new());
    for gpu in asked {
        let (run, do_not): (Vec<_>, Vec<_>) = cuda(files).partition(|(_, code)| code.runs_on(gpu));
        if do_not.is_empty() && !run.is_empty() {
            all.push(gpu);
        } else if !run.is_empty() {
            held.push(Held { gpu, by: do_not.into_iter().map(|(file, _)| file.path.clone()).collect() });
        }
    }
    (all, held)
}

fn later_from(files: &[Scanned]) -> Option<Capability> {
    let firsts: Option<Vec<Capability>> = cuda(files).map(|(_, code)| code.later_from()).collect();
    firsts?.into_iter().max()
}

fn amd(files: &[Scanned]) -> Vec<String> {
    let names = |code: &GpuCode| -> BTreeSet<String> {
        let kinds = code.kinds().filter_map(|kind| match kind {
            Kind::Amd(name) => Some(name.clone()),
            _ => None,
        });
        kinds.collect()
    };
    let all = files.iter().filter_map(|file| file.code.as_ref().ok()).map(names).filter(|names| !names.is_empty());
    all.reduce(|all, names| all.intersection(&names).cloned().collect()).unwrap_or_default().into_iter().collect()
}
