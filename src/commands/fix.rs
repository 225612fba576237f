//! The main job: walk, detect, decide, plan, verify, apply.
//!
//! ```
//! use driver_runpath::fix::{Options, fix};
//!
//! let mut options = Options::default();
//! options.dry_run = true;
//! let report = fix(&["testdata/prebuilt/x86_64".into()], &options);
//! println!("{} files would be looked at", report.files.len());
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Error;
use crate::apply::Durability;
use crate::apply::directories::holds_needed_library;
use crate::apply::edit::{Done, Edited, OpenOptions, Target};
use crate::apply::links::Protection;
use crate::apply::lock::PATIENCE;
use crate::apply::source::{Links, Source};
use crate::decide::{Current, Decision, Policy, Tag, decide, stub_directories, without_stubs};
use crate::detect::{Depth, Detection, DriverNames};
use crate::elf::{Image, NotCandidate, ParseError};
use crate::facts::Facts;
use crate::plan::{Change, NoteChange};
use crate::resolution::{self, ThisMachine, renewal};
use crate::walk::tree::Tree;
use crate::walk::watch::Watch;
use crate::walk::{Exclude, Found, Walked, for_each_file, walk};

/// Where drivers lie, by the kind of file.
///
/// ```
/// use driver_runpath::fix::DriverDirs;
///
/// assert_eq!(DriverDirs::default().of(false), b"/run/opengl-driver/lib");
/// assert_eq!(DriverDirs::one("/usr/lib/driver").of(true), b"/usr/lib/driver");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverDirs {
    /// For all files but those for 32-bit x86.
    pub native: Vec<u8>,
    /// For files for 32-bit x86.
    pub i386: Vec<u8>,
}

impl Default for DriverDirs {
    /// Those of NixOS.
    fn default() -> Self {
        Self { native: b"/run/opengl-driver/lib".to_vec(), i386: b"/run/opengl-driver-32/lib".to_vec() }
    }
}

impl DriverDirs {
    /// One for all files.
    pub fn one(directory: impl Into<Vec<u8>>) -> Self {
        let native = directory.into();
        Self { i386: native.clone(), native }
    }

    /// The directory that a file with these facts must search.
    pub fn of(&self, is_i386: bool) -> &[u8] {
        if is_i386 { &self.i386 } else { &self.native }
    }
}

/// What is asked of [`fix`]. Unless said otherwise: the files that load NVIDIA's libraries get the directory of NixOS.
///
/// ```
/// let mut options = driver_runpath::fix::Options::default();
/// options.dry_run = true;
/// options.prepend = vec![b"/opt/first".to_vec()];
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Which names are driver libraries.
    pub names: DriverNames,
    /// Where they lie.
    pub driver_dirs: DriverDirs,
    /// Directories to put before that, in order.
    pub prepend: Vec<Vec<u8>>,
    /// The tag to use whatever a file has.
    pub force: Option<Tag>,
    /// Take every dynamic file and detect nothing.
    pub all: bool,
    /// What becomes of directories of stubs in files that do not load the driver.
    pub stubs: Stubs,
    /// How much evidence is wanted, for whoever reads the report; more than the first piece takes time.
    pub depth: Depth,
    /// Do everything but write.
    pub dry_run: bool,
    /// What the edits are safe from.
    pub durability: Durability,
    /// Files that are not edited in place.
    pub protection: Protection,
    /// What the walk passes over.
    pub exclude: Exclude,
    /// How far the run has got, for whoever shows it.
    pub watch: Arc<Watch>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            names: DriverNames::default(),
            driver_dirs: DriverDirs::default(),
            prepend: Vec::new(),
            force: None,
            all: false,
            stubs: Stubs::Stay,
            depth: Depth::First,
            dry_run: false,
            durability: Durability::default(),
            protection: Protection::default(),
            exclude: Exclude::default(),
            watch: Arc::default(),
        }
    }
}

/// What becomes of directories of stubs in the search paths of files that do not load the driver.
///
/// ```
/// # use driver_runpath::fix::{Options, Stubs};
/// let mut options = Options::default();
/// options.stubs = Stubs::Drop;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stubs {
    /// The files are left alone.
    Stay,
    /// They go, but for those that hold a library which the file needs and no driver provides.
    Drop,
}

/// What a file is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// The driver's directory.
    Driver,
    /// A search path without stubs.
    NoStubs,
    /// Nothing.
    Nothing,
}

impl Options {
    fn opening(&self) -> OpenOptions {
        let mut opening = OpenOptions::default();
        (opening.protection, opening.durability) = (self.protection.clone(), self.durability);
        opening
    }

    /// Whether a file with these facts should have the driver's directory.
    fn takes(&self, facts: &Facts) -> bool {
        self.all || facts.detection.loads_driver()
    }

    fn aim(&self, facts: &Facts) -> Aim {
        match self.stubs {
            _ if self.takes(facts) => Aim::Driver,
            Stubs::Drop if !stub_directories(&facts.search, |_| false).is_empty() => Aim::NoStubs,
            Stubs::Drop | Stubs::Stay => Aim::Nothing,
        }
    }
}

/// What was done, or would be, with one ELF file.
///
/// ```
/// use driver_runpath::fix::{Options, Outcome, fix};
///
/// # let mut options = Options::default();
/// # options.dry_run = true;
/// for file in fix(&["testdata/prebuilt/x86_64".into()], &options).files {
///     match file.outcome {
///         Outcome::Changed(changed) => println!("{}: {} bytes more", file.path.display(), changed.edited.growth),
///         Outcome::Failed(why) => println!("{}: {why}", file.path.display()),
///         _ => {}
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It got a new search path.
    Changed(Changed),
    /// It does not load the driver, and its search path has no directories of stubs any more.
    StubsDropped(Changed),
    /// Its search path is what it should be.
    AlreadyRight,
    /// It does not load the driver.
    NotALoader,
    /// It names a driver library, but can open nothing itself. These may open it: files that import `dlopen`, among
    /// those that it needs.
    NamesOnly(Vec<PathBuf>),
    /// It can never have a search path.
    NotCandidate(NotCandidate),
    /// It loads the driver and was left as it is.
    Failed(Error),
}

/// How one file changed.
///
/// ```
/// # use driver_runpath::fix::Changed;
/// fn in_words(changed: &Changed) -> String {
///     format!("{} {}; {}", changed.decision.tag, String::from_utf8_lossy(&changed.decision.path), changed.edited.rung)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// The search paths before.
    pub old: Current,
    /// The tag and path now.
    pub decision: Decision,
    /// How.
    pub edited: Edited,
    /// Whether a copy took the file's name.
    pub link_broken: bool,
}

/// One ELF file of the report.
///
/// ```
/// # use driver_runpath::fix::{Options, fix};
/// # let mut options = Options::default();
/// # options.dry_run = true;
/// let report = fix(&["testdata/prebuilt/x86_64".into()], &options);
/// let taken = report.files.iter().filter(|file| file.is_taken);
/// assert!(taken.count() > 0);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Fixed {
    /// Its path.
    pub path: PathBuf,
    /// Whether the user named it.
    pub named: bool,
    /// Why it is believed to load the driver.
    pub detection: Detection,
    /// Why its section headers cannot be used.
    pub broken_sections: Option<String>,
    /// Whether it loads the driver, or all files are taken: it should have the driver's directory.
    pub is_taken: bool,
    /// What became of it.
    pub outcome: Outcome,
}

/// The result of a run.
///
/// ```
/// # use driver_runpath::fix::{Options, fix};
/// # let mut options = Options::default();
/// # options.dry_run = true;
/// let report = fix(&["testdata/prebuilt/x86_64".into()], &options);
/// assert!(report.problems.is_empty() && report.dry_run);
/// println!("{} ELF files in {:?}", report.files.len(), report.time);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The ELF files, by path.
    pub files: Vec<Fixed>,
    /// What could not be looked at.
    pub problems: Vec<(PathBuf, Error)>,
    /// Files that are not ELF.
    pub others: u64,
    /// The driver directories of the files that were taken.
    pub driver_dirs: Vec<Vec<u8>>,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Whether every dynamic file was taken, without detection.
    pub all: bool,
    /// Wall-clock time.
    pub time: Duration,
}

/// Runs the job on `paths`: directories, and files that are named.
///
/// What is wrong with one file does not keep it from the others; the report has it.
///
/// ```
/// use driver_runpath::fix::{Options, Outcome, fix};
///
/// # let dir = tempfile::tempdir()?;
/// # std::fs::copy("testdata/prebuilt/x86_64/libopens.so", dir.path().join("libopens.so"))?;
/// let report = fix(&[dir.path().to_owned()], &Options::default());
/// let [file] = &report.files[..] else { panic!("one file") };
/// assert!(matches!(&file.outcome, Outcome::Changed(changed) if changed.decision.path == b"/run/opengl-driver/lib"));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// How far it has got, from another thread:
///
/// ```
/// # use driver_runpath::fix::{Options, fix};
/// # let paths = [std::path::PathBuf::from("testdata/demo.sh")];
/// let options = Options::default();
/// std::thread::scope(|scope| {
///     let run = scope.spawn(|| fix(&paths, &options));
///     while !run.is_finished() {
///         eprint!("\r{} of {} files edited", options.watch.edited(), options.watch.to_edit());
///         std::thread::sleep(std::time::Duration::from_millis(100));
///     }
/// });
/// ```
pub fn fix(paths: &[PathBuf], options: &Options) -> Report {
    let start = Instant::now();
    let depth = (!options.all).then_some(options.depth);
    let Walked { files, problems, others } = scan(paths, &options.exclude, &options.names, depth, &options.watch);
    let tree = tree_of(&files);
    let facts = || files.iter().filter_map(|found| found.seen.as_ref().ok()?.as_deref().ok());
    let taken: Vec<&Facts> = facts().filter(|facts| options.takes(facts)).collect();
    options.watch.will_edit(facts().filter(|facts| options.aim(facts) != Aim::Nothing).count() as u64);
    let dirs: BTreeSet<&[u8]> = taken.iter().map(|facts| options.driver_dirs.of(facts.is_i386)).collect();
    let driver_dirs = dirs.into_iter().map(<[u8]>::to_vec).collect();
    let outcome_of = |found: &Found<Scanned>| {
        let facts = found.seen.as_ref().ok()?.as_ref().ok()?;
        Some(outcome(found, facts, &tree, options))
    };
    let outcomes = for_each_file(&files, outcome_of);
    let files = files.into_iter().zip(outcomes).map(|(found, outcome)| {
        let is_dynamic = matches!(found.seen, Ok(Ok(_)));
        let (facts, (outcome, taken_back)) = match (found.seen, outcome) {
            (Err(error), _) => (Box::default(), (Outcome::Failed(error), false)),
            (Ok(Err(reason)), _) => (Box::default(), (Outcome::NotCandidate(reason), false)),
            (Ok(Ok(facts)), outcome) => (facts, outcome.unwrap_or((Outcome::NotALoader, false))),
        };
        let orphaned = match &outcome {
            Outcome::Changed(changed) if found.links == Links::Follow => {
                orphaned(&found.path, &facts, changed, options)
            }
            _ => None,
        };
        let Facts { mut detection, broken_sections, is_interrupted, .. } = *facts;
        detection.warnings.extend(orphaned);
        let notice = if taken_back { Some(TAKEN_BACK) } else { is_interrupted.then_some(INTERRUPTED) };
        detection.warnings.extend(notice.map(str::to_owned));
        let is_taken = match &outcome {
            Outcome::Changed(_) | Outcome::AlreadyRight => true,
            // What could not be looked at has no evidence.
            Outcome::Failed(_) => detection.loads_driver() || options.all && is_dynamic,
            Outcome::NotALoader | Outcome::NamesOnly(_) | Outcome::NotCandidate(_) | Outcome::StubsDropped(_) => false,
        };
        let named = found.links == Links::Follow;
        Fixed { named, path: found.path, detection, broken_sections, is_taken, outcome }
    });
    Report {
        files: files.collect(),
        problems,
        others,
        driver_dirs,
        all: options.all,
        dry_run: options.dry_run,
        time: start.elapsed(),
    }
}

/// The facts of one file, or why it has none. In a box: a walk keeps them in a table that doubles as it grows.
pub(crate) type Scanned = Result<Result<Box<Facts>, NotCandidate>, Error>;

pub(crate) const INTERRUPTED: &str = "a run was killed while it edited this file, which loads all the same; \
                           \"fix\" on it takes that edit back and starts anew";
pub(crate) const TAKEN_BACK: &str = "took back the edit of a run that was killed";

/// Walks `paths` and reads the facts of every ELF file; `watch` counts them.
pub(crate) fn scan(
    paths: &[PathBuf],
    exclude: &Exclude,
    names: &DriverNames,
    depth: Option<Depth>,
    watch: &Watch,
) -> Walked<Scanned> {
    let facts = |source: &Source| -> Scanned {
        let image = ParseError::apart(Image::parse(source.bytes()))?;
        let mut facts = image.map(|image| Box::new(Facts::of(&image, names, depth)));
        if let Ok(facts) = &mut facts {
            facts.is_interrupted = source.interrupted()?.is_some();
        }
        source.check_whole()?;
        Ok(facts)
    };
    walk(paths, exclude, |path, source| {
        watch.scans(path);
        match facts(&source) {
            // Another run may be in the middle of an edit: once more, when it is done.
            Err(error @ (Error::Malformed(_) | Error::Changed)) => match source.locked(PATIENCE) {
                Ok(source) => facts(&source),
                Err(_) => Err(error),
            },
            scanned => scanned,
        }
    })
}

/// Who needs whom among the files of a scan.
pub(crate) fn tree_of(files: &[Found<Scanned>]) -> Tree<'_> {
    Tree::new(files.iter().filter_map(|found| Some((found.path.as_path(), found.seen.as_ref().ok()?.as_deref().ok()?))))
}

/// What a first `DT_RUNPATH` of a file that was named by itself can end.
fn orphaned(path: &Path, facts: &Facts, changed: &Changed, options: &Options) -> Option<String> {
    let is_first = changed.old.effective().is_none() && changed.decision.tag == Tag::Runpath;
    let is_wanted = options.force == Some(Tag::Runpath);
    let new = &changed.decision.path;
    (is_first && !is_wanted).then(|| crate::commands::orphan::warning(path, facts, new, &options.names)).flatten()
}

/// What became of one file, and whether the unfinished edit of an earlier run was taken back.
fn outcome(found: &Found<Scanned>, facts: &Facts, tree: &Tree<'_>, options: &Options) -> (Outcome, bool) {
    let aim = options.aim(facts);
    let untouched = || {
        if facts.detection.names_only() {
            return Outcome::NamesOnly(tree.openers(facts).into_iter().map(Path::to_owned).collect());
        }
        Outcome::NotALoader
    };
    if aim == Aim::Nothing && !facts.is_interrupted {
        return (untouched(), false);
    }
    match fix_file(found, facts, tree, options) {
        Ok((Some(changed), taken_back)) if aim == Aim::Driver => (Outcome::Changed(changed), taken_back),
        Ok((Some(changed), taken_back)) => (Outcome::StubsDropped(changed), taken_back),
        Ok((None, taken_back)) => (if aim == Aim::Driver { Outcome::AlreadyRight } else { untouched() }, taken_back),
        Err(error) => (Outcome::Failed(error), false),
    }
}

/// Changes one file, `None` if it needs no change; and whether the unfinished edit of an earlier run was taken back. Everything is read anew: the walk may be long past.
fn fix_file(
    found: &Found<Scanned>,
    facts: &Facts,
    tree: &Tree<'_>,
    options: &Options,
) -> Result<(Option<Changed>, bool), Error> {
    options.watch.edits(&found.path);
    let editor = found.edit(&options.opening())?;
    let (old, decision, changes) = {
        let image = Image::parse(editor.bytes())?;
        let old = image.search_paths();
        let decision = decide_for(&image, found, facts, &old, tree, options);
        let changes = decision.as_ref().map_or_else(Vec::new, |decision| {
            let wanted = Some((decision.tag, decision.path.as_slice())).filter(|(_, path)| !path.is_empty());
            let note = renewal(&image, wanted, &ThisMachine);
            match wanted {
                None => Change::between(&old, None, note),
                Some(_) if !decision.changes && !is_misled(&image, facts, decision, &note, options) => Vec::new(),
                Some((tag, path)) => vec![Change::new(tag, path).with_note(note)],
            }
        });
        (old, decision, changes)
    };
    let Done { edited, taken_back, link_broken } = match options.dry_run {
        true => Done { taken_back: false, ..editor.preview(&changes)? },
        false => editor.commit(&changes, Target::Itself)?,
    };
    let changed = edited.zip(decision).map(|(edited, decision)| Changed { old, decision, edited, link_broken });
    Ok((changed, taken_back))
}

/// Whether the file has the right search path beside a resolution note that leads past it, and that will be another one.
fn is_misled(image: &Image<'_>, facts: &Facts, decision: &Decision, note: &NoteChange, options: &Options) -> bool {
    let Some(now) = resolution::find(image).descriptor(image) else { return false };
    let is_right = matches!(note, NoteChange::Renew(fresh) if fresh == now);
    let driver_dir = options.driver_dirs.of(facts.is_i386);
    !is_right
        && resolution::of_drivers(now, &decision.path, driver_dir, &options.names).iter().any(resolution::Said::misses)
}

/// `None`: the file shall stay as it is.
fn decide_for(
    image: &Image<'_>,
    found: &Found<Scanned>,
    seen: &Facts,
    old: &Current,
    tree: &Tree<'_>,
    options: &Options,
) -> Option<Decision> {
    let path = &found.path;
    let facts = Facts::of(image, &options.names, None);
    let must_stay = |entry: &[u8]| must_stay(entry, path, &facts, tree, &options.names);
    match options.aim(seen) {
        Aim::Driver => {
            let driver_dir = options.driver_dirs.of(facts.is_i386).to_vec();
            let policy = Policy { driver_dir, prepend: options.prepend.clone(), force: options.force };
            let inherits = old.effective().is_none() && tree.inherits(path, seen, |path| path.exists());
            Some(decide(old, &policy, must_stay, inherits))
        }
        Aim::NoStubs => without_stubs(old, must_stay),
        Aim::Nothing => None,
    }
}

/// Whether a stub directory must stay for the file or, as part of a `DT_RPATH`, for what inherits it.
pub(crate) fn must_stay(entry: &[u8], path: &Path, facts: &Facts, tree: &Tree<'_>, names: &DriverNames) -> bool {
    let is_rpath = matches!(facts.search.effective(), Some((Tag::Rpath, _)));
    holds_needed_library(entry, path, facts.needed.iter().map(Vec::as_slice), names)
        || is_rpath && holds_needed_library(entry, path, tree.needed(), names)
}
