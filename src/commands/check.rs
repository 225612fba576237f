//! Says of each file that loads the driver whether its search path has the driver's directory. Changes nothing.
//!
//! ```
//! use driver_runpath::check::{Options, check};
//!
//! let report = check(&["testdata/prebuilt/x86_64".into()], &Options::default());
//! assert!(report.files.iter().any(|file| file.lacks_it()));
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::apply::directories::holds_needed_library;
use crate::apply::links::Protection;
use crate::apply::source::Links;
use crate::commands::fix::{DriverDirs, INTERRUPTED, Scanned, must_stay, scan, tree_of};
use crate::commands::here::{Here, Loading};
use crate::commands::stub_references::{self, Reference};
use crate::decide::{Tag, entries, is_stub_directory, same_directory_key, stub_directories};
use crate::detect::{Depth, Detection, DriverNames};
use crate::elf::NotCandidate;
use crate::facts::Facts;
use crate::loader::{Loaders, Reader};
use crate::resolution::{LeadsTo, Said, of_drivers};
use crate::walk::watch::Watch;
use crate::walk::{Exclude, Found, Walked};

/// What a file's search path means for the driver.
///
/// ```
/// use driver_runpath::check::{Options, Verdict, check};
///
/// let report = check(&["testdata/prebuilt/x86_64/libopens.so".into()], &Options::default());
/// let judged = report.files[0].result.as_ref().unwrap().as_ref().unwrap();
/// assert_eq!(judged.verdict, Verdict::Misses);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The driver directory is in it.
    Finds,
    /// The driver directory is not in it.
    Misses,
    /// This directory of stubs comes before the driver directory: the program would load a stub.
    FindsStub(Vec<u8>),
    /// The search path is right, but the resolution note, which is asked before it, leads past the driver.
    Misled(Said),
    /// The file names a driver library, but can open nothing itself.
    NamesOnly,
    /// The file does not load the driver.
    NotALoader,
}

/// What directories of stubs mean where they cannot keep the driver from being found.
///
/// ```
/// # use driver_runpath::check::{Options, StubRule};
/// let mut options = Options::default();
/// options.stubs = StubRule::Forbidden;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StubRule {
    /// They are worth a note.
    #[default]
    Noted,
    /// They are wrong, in search paths and in resolution notes, and so is each reference to a package of stubs.
    Forbidden,
}

/// One ELF file of the report.
///
/// ```
/// # use driver_runpath::check::{Options, check};
/// for file in check(&["testdata/prebuilt/x86_64".into()], &Options::default()).files {
///     if file.lacks_it() {
///         println!("{}: {}", file.path.display(), file.refusal.map_or("fix would mend it".into(), |why| why.to_string()));
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Checked {
    /// Its path.
    pub path: PathBuf,
    /// Whether the user named it.
    pub named: bool,
    /// Why `fix` would not change it in place, where it lacks the driver's directory.
    pub refusal: Option<Error>,
    /// What was found.
    pub result: Result<Result<Judged, NotCandidate>, Error>,
}

/// A dynamic file with its verdict.
///
/// ```
/// # use driver_runpath::check::{Options, check};
/// for file in check(&["testdata/prebuilt/x86_64".into()], &Options::default()).files {
///     let Ok(Ok(judged)) = file.result else { continue };
///     println!("{:?} for {} reasons: {:?}", judged.search_path, judged.detection.evidence.len(), judged.verdict);
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// The search path that loaders go by.
    pub search_path: Option<(Tag, Vec<u8>)>,
    /// What its resolution note says, if it has one.
    pub note: Option<Note>,
    /// Directories of stubs in its search path that nothing needs.
    pub stubs: Vec<Vec<u8>>,
    /// Why the file is believed to load the driver.
    pub detection: Detection,
    /// Why its section headers cannot be used.
    pub broken_sections: Option<String>,
    /// The driver directory that it was judged by.
    pub driver_dir: Vec<u8>,
    /// Where it only names a driver library: the files that may open it, which import `dlopen`, among those it needs.
    pub openers: Vec<PathBuf>,
}

/// What is known of a resolution note.
///
/// ```
/// # use driver_runpath::check::{Judged, Note};
/// /// Whether the file has a resolution note that says anything of the driver.
/// fn is_spoken_for(judged: &Judged) -> bool {
///     judged.note.as_ref().is_some_and(|Note { said, .. }| !said.is_empty())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// What it says of each driver library that it names.
    pub said: Vec<Said>,
    /// Whether a loader reads it.
    pub reader: Reader,
}

/// The result of a run.
///
/// ```
/// # use driver_runpath::check::{Options, check};
/// let report = check(&["testdata/prebuilt/x86_64".into(), "no/such/directory".into()], &Options::default());
/// assert_eq!(report.problems.len(), 1);
/// println!("{} ELF files, {} others", report.files.len(), report.others);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The ELF files, by path.
    pub files: Vec<Checked>,
    /// What could not be looked at.
    pub problems: Vec<(PathBuf, Error)>,
    /// Files that are not ELF.
    pub others: u64,
    /// What this machine has of a driver.
    pub here: Here,
    /// What stubs mean.
    pub stubs: StubRule,
    /// The files of any kind that refer to a package of stubs, where that is forbidden.
    pub references: Vec<Reference>,
}

/// What is asked of [`check`].
///
/// ```
/// let mut options = driver_runpath::check::Options::default();
/// options.driver_dirs = driver_runpath::fix::DriverDirs::one("/usr/lib/driver");
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// Which names are driver libraries.
    pub names: DriverNames,
    /// Where they lie.
    pub driver_dirs: DriverDirs,
    /// What `fix` would not change in place, for the report.
    pub protection: Protection,
    /// What stubs mean.
    pub stubs: StubRule,
    /// What the walk passes over.
    pub exclude: Exclude,
    /// How far the run has got, but for the search for references to stubs, which reads every byte of every file.
    pub watch: Arc<Watch>,
}

/// Runs the check on `paths`: directories, and files that are named.
///
/// ```
/// use driver_runpath::check::{Options, check};
///
/// let report = check(&["testdata/prebuilt/x86_64/libopens.so".into()], &Options::default());
/// assert!(report.files[0].lacks_it());
/// ```
pub fn check(paths: &[PathBuf], options: &Options) -> Report {
    let Options { names, driver_dirs, protection, stubs, exclude, watch } = options;
    let stubs = *stubs;
    let Walked { files, mut problems, others } = scan(paths, exclude, names, Some(Depth::All), watch);
    let beside = beside(&files, names);
    let facts = |found: &Found<Scanned>| found.seen.as_ref().ok()?.as_ref().ok()?.interpreter.clone();
    let has_note = |found: &Found<Scanned>| matches!(&found.seen, Ok(Ok(facts)) if facts.note.is_some());
    // Without a note, no loader is looked at.
    let interpreters: Vec<_> =
        if files.iter().any(has_note) { files.iter().filter_map(facts).collect() } else { Vec::new() };
    let loaders = Loaders::of(interpreters.iter().map(Vec::as_slice));
    let files = files.into_iter().zip(beside).map(|(mut found, beside)| {
        let seen = std::mem::replace(&mut found.seen, Ok(Err(NotCandidate::NotElf)));
        let result = judge_survey(seen, &found.path, beside, names, driver_dirs, &loaders);
        let named = found.links == Links::Follow;
        let mut checked = Checked { path: found.path.clone(), named, refusal: None, result };
        if checked.lacks_it() {
            checked.refusal = refusal(&found, protection);
        }
        checked
    });
    let files: Vec<Checked> = files.collect();
    let here = Here::look(files.iter().filter_map(loading), names);
    let references = match stubs {
        StubRule::Noted => Vec::new(),
        StubRule::Forbidden => {
            let (references, unread) = stub_references::scan(paths, exclude);
            let new = unread.into_iter().filter(|(path, _)| problems.iter().all(|(known, _)| known != path));
            problems.extend(new.collect::<Vec<_>>());
            references
        }
    };
    Report { files, problems, others, here, stubs, references }
}

impl Checked {
    /// Whether it loads the driver and its search path is wrong.
    pub fn lacks_it(&self) -> bool {
        let verdict = self.result.as_ref().ok().and_then(|result| result.as_ref().ok()).map(|judged| &judged.verdict);
        matches!(verdict, Some(Verdict::Misses | Verdict::FindsStub(_) | Verdict::Misled(_)))
    }
}

impl Judged {
    /// Whether its search path or its resolution note has stubs in it that nothing needs.
    pub fn has_stubs(&self) -> bool {
        !self.stubs.is_empty() || self.stub_in_note().is_some()
    }

    /// What its resolution note says of a driver library that it sends to a stub.
    pub fn stub_in_note(&self) -> Option<&Said> {
        self.note.iter().flat_map(|note| &note.said).find(|said| matches!(said.leads_to, LeadsTo::Stub(_)))
    }
}

fn refusal(found: &Found<Scanned>, protection: &Protection) -> Option<Error> {
    let source = found.place().look_up().ok()?.source().ok()??;
    protection.method(&source, &found.other_names()).err()
}

fn loading(file: &Checked) -> Option<Loading<'_>> {
    let judged = file.result.as_ref().ok()?.as_ref().ok().filter(|judged| judged.detection.loads_driver())?;
    let has_it = judged.verdict == Verdict::Finds;
    Some(Loading { path: &file.path, detection: &judged.detection, directory: &judged.driver_dir, has_it })
}

/// The verdict on the file at `path`.
pub(crate) fn verdict(facts: &Facts, path: &Path, names: &DriverNames, driver_dirs: &DriverDirs) -> Verdict {
    judge(facts, driver_dirs.of(facts.is_i386), |entry| {
        is_stub_directory(entry) && !holds_needed_library(entry, path, facts.needed.iter().map(Vec::as_slice), names)
    })
}

/// What it takes the other files to know of one.
#[derive(Default)]
struct Beside {
    /// Who may open what it only names.
    openers: Vec<PathBuf>,
    /// Directories of stubs that nothing needs.
    stubs: Vec<Vec<u8>>,
}

fn beside(files: &[Found<Scanned>], names: &DriverNames) -> Vec<Beside> {
    let tree = tree_of(files);
    let of = |found: &Found<Scanned>| {
        let Ok(Ok(facts)) = &found.seen else { return Beside::default() };
        let openers = if facts.detection.names_only() { tree.openers(facts) } else { Vec::new() };
        let stubs = stub_directories(&facts.search, |entry| must_stay(entry, &found.path, facts, &tree, names));
        Beside {
            openers: openers.into_iter().map(Path::to_owned).collect(),
            stubs: stubs.into_iter().map(<[u8]>::to_vec).collect(),
        }
    };
    files.iter().map(of).collect()
}

fn judge_survey(
    seen: Scanned,
    path: &Path,
    beside: Beside,
    names: &DriverNames,
    driver_dirs: &DriverDirs,
    loaders: &Loaders,
) -> Result<Result<Judged, NotCandidate>, Error> {
    Ok(seen?.map(|facts| {
        let driver_dir = driver_dirs.of(facts.is_i386).to_vec();
        let directories = facts.search.effective().map_or(&b""[..], |(_, path)| path);
        let note = facts.note.as_deref().map(|descriptor| Note {
            said: of_drivers(descriptor, directories, &driver_dir, names),
            reader: loaders.reader(facts.interpreter.as_deref()),
        });
        let verdict = with_note(verdict(&facts, path, names, driver_dirs), note.as_ref());
        let search_path = facts.search.effective().map(|(tag, path)| (tag, path.to_vec()));
        let Facts { mut detection, broken_sections, is_interrupted, .. } = *facts;
        detection.warnings.extend(is_interrupted.then(|| INTERRUPTED.to_owned()));
        let Beside { openers, stubs } = beside;
        Judged { verdict, search_path, note, stubs, detection, broken_sections, driver_dir, openers }
    }))
}

/// The verdict where there is a note. One that nobody is known to read is there for a loader that reads it.
fn with_note(verdict: Verdict, note: Option<&Note>) -> Verdict {
    let note = note.filter(|note| verdict == Verdict::Finds && !matches!(note.reader, Reader::Ignores(_)));
    match note.and_then(|note| note.said.iter().find(|said| said.misses())) {
        Some(said) => Verdict::Misled(said.clone()),
        None => verdict,
    }
}

/// The verdict on one file. Pure. `is_stub` says which entries would give the loader a stub.
fn judge(facts: &Facts, driver_dir: &[u8], is_stub: impl Fn(&[u8]) -> bool) -> Verdict {
    if facts.detection.names_only() {
        return Verdict::NamesOnly;
    }
    if !facts.detection.loads_driver() {
        return Verdict::NotALoader;
    }
    let path = facts.search.effective().map_or(&b""[..], |(_, path)| path);
    for entry in entries(path) {
        if is_stub(entry) {
            return Verdict::FindsStub(entry.to_vec());
        }
        if same_directory_key(entry) == same_directory_key(driver_dir) {
            return Verdict::Finds;
        }
    }
    Verdict::Misses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Current;
    use crate::detect::{Evidence, EvidenceKind};
    use crate::elf::FileOffset;

    fn verdict(runpath: &str) -> Verdict {
        let evidence = Evidence {
            kind: EvidenceKind::Needed,
            what: "libcuda.so.1".into(),
            place: ".dynstr".into(),
            offset: FileOffset(0),
        };
        let facts = Facts {
            search: Current { runpath: Some(runpath.into()), rpath: None },
            detection: Detection { evidence: vec![evidence], ..Detection::default() },
            ..Facts::default()
        };
        judge(&facts, b"/run/opengl-driver/lib", is_stub_directory)
    }

    #[test]
    fn a_note_that_leads_past_the_driver_counts_unless_its_loader_ignores_it() {
        let stub = Said { name: b"libcuda.so.1".into(), leads_to: crate::resolution::LeadsTo::Stub(b"/s".into()) };
        let with =
            |reader: Reader, verdict: Verdict| with_note(verdict, Some(&Note { said: vec![stub.clone()], reader }));
        assert_eq!(with(Reader::Reads("/ld".into()), Verdict::Finds), Verdict::Misled(stub.clone()));
        assert_eq!(with(Reader::Unknown, Verdict::Finds), Verdict::Misled(stub.clone()));
        assert_eq!(with(Reader::Ignores("/ld".into()), Verdict::Finds), Verdict::Finds);
        assert_eq!(with(Reader::Unknown, Verdict::Misses), Verdict::Misses);
    }

    #[test]
    fn stubs_in_the_search_path_or_in_the_note_are_stubs_of_the_file() {
        let judged = |stubs: &[&str], leads_to: LeadsTo| Judged {
            verdict: Verdict::NotALoader,
            search_path: None,
            note: Some(Note {
                said: vec![Said { name: b"libcuda.so.1".into(), leads_to }],
                reader: Reader::Ignores("/ld".into()),
            }),
            stubs: stubs.iter().map(|stub| stub.as_bytes().to_vec()).collect(),
            detection: Detection::default(),
            broken_sections: None,
            driver_dir: b"/run/opengl-driver/lib".to_vec(),
            openers: Vec::new(),
        };
        assert!(judged(&["/c/lib/stubs"], LeadsTo::Driver).has_stubs());
        assert!(judged(&[], LeadsTo::Stub(b"/c/lib/stubs/libcuda.so.1".to_vec())).has_stubs());
        assert!(!judged(&[], LeadsTo::Elsewhere(b"/c/lib/libcuda.so.1".to_vec())).has_stubs());
    }

    #[test]
    fn the_driver_directory_must_come_before_stubs() {
        assert_eq!(verdict("/a:/run/opengl-driver/lib"), Verdict::Finds);
        assert_eq!(verdict("/run/opengl-driver/lib/:/c/lib/stubs"), Verdict::Finds);
        assert_eq!(verdict("/a"), Verdict::Misses);
        assert_eq!(verdict("/c/lib/stubs:/run/opengl-driver/lib"), Verdict::FindsStub(b"/c/lib/stubs".to_vec()));
    }
}
