//! Answers "why?" for one file: what it is, why it is believed to load the driver, and what the loader finds for it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object::elf;

use crate::Error;
use crate::apply::source::{Links, Source};
use crate::commands::audit::{Asker, Opening, openings_of};
use crate::commands::check::Note;
use crate::commands::check::{Verdict, verdict};
use crate::commands::fix::DriverDirs;
use crate::commands::gpu_code::{self, GpuCode};
use crate::decide::{Current, entries, is_cuda_compat, is_stub_directory};
use crate::detect::{Depth, Detection, DriverNames};
use crate::elf::{Image, Malformed, NotCandidate, ParseError};
use crate::facts::Facts;
use crate::loader::Reader;
use crate::loader::sysroot::Sysroot;
use crate::loader::{
    BuiltIn, Cache, Ending, Files, Fit, Header, Object, Opened, Processor, Rule, Search, System, Target, Tokens,
    expand, legacy_bits, legacy_subdirs, platform, search, well_known,
};
use crate::resolution;
use crate::walk::archive::not_elf;

/// What the user asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The root of the system that the file is for.
    pub sysroot: Sysroot,
    /// Who loaded the file, then who loaded that, up to the executable.
    pub loaded_by: Vec<PathBuf>,
    /// Which SONAMEs are driver libraries.
    pub names: DriverNames,
    /// The driver directories.
    pub driver_dirs: DriverDirs,
    /// `LD_LIBRARY_PATH`.
    pub library_path: Option<Vec<u8>>,
}

/// All that is known of one file.
#[derive(Debug)]
pub struct Explanation {
    /// Its path, from the root of its system on.
    pub path: PathBuf,
    /// What its ELF header says, if it has one.
    pub header: Option<Header>,
    /// The code for GPUs that it carries.
    pub gpu_code: GpuCode,
    /// A dynamic file, or why it is none.
    pub subject: Result<Subject, NotCandidate>,
}

/// A dynamic file.
#[derive(Debug)]
pub struct Subject {
    /// Whether the kernel starts it: `$ORIGIN` is then the directory of the file that links lead to.
    pub is_executable: bool,
    /// Why it is believed to load the driver.
    pub detection: Detection,
    /// Why its section headers cannot be used.
    pub broken_sections: Option<String>,
    /// The search paths.
    pub search: Current,
    /// What its resolution note says of driver libraries, and whether the loader reads it.
    pub note: Option<Note>,
    /// The entries of the one that counts.
    pub entries: Vec<Entry>,
    /// What `check` says of that search path.
    pub verdict: Verdict,
    /// The driver directory that it is judged by, and whether the system has it.
    pub driver_dir: (Vec<u8>, bool),
    /// The file itself, who loaded it, and so on.
    pub chain: Vec<PathBuf>,
    /// Whether the chain ends with an executable. If not, an RPATH of those that are missing would count, too.
    pub is_chain_whole: bool,
    /// The loader whose values the search goes by.
    pub loader: Loader,
    /// Those values.
    pub system: System,
    /// `LD_LIBRARY_PATH`.
    pub library_path: Option<Vec<u8>>,
    /// The driver libraries that it wants.
    pub libraries: Vec<Library>,
    /// What it likely opens.
    pub openings: Vec<Opening>,
    /// Whether search paths or libraries are too many, so that only the first ones are looked at.
    pub is_cut: bool,
}

/// How many entries of a search path are looked at. Real ones have some hundred.
pub const MOST_ENTRIES: usize = 1024;

/// How many libraries are searched for.
pub const MOST_LIBRARIES: usize = 32;

/// A loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loader {
    /// The file that was read; `None` where none could be, and usual values are assumed.
    pub path: Option<PathBuf>,
    /// What it has built in.
    pub built_in: BuiltIn,
    /// Whether it reads resolution notes.
    pub reads_notes: bool,
    /// The loader that the executable names, where that is none of glibc's: its search is another one.
    pub foreign: Option<PathBuf>,
}

/// One entry of the file's search path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As the file has it.
    pub entry: Vec<u8>,
    /// The directory; `None` where a token has no value. Empty for the current directory.
    pub directory: Option<Vec<u8>>,
    /// Whether it exists.
    pub exists: bool,
    /// The driver libraries in it.
    pub drivers: Vec<Vec<u8>>,
    /// Whether its name is that of a directory of stubs.
    pub is_stub: bool,
    /// Whether its name is that of nixpkgs' cuda_compat.
    pub is_cuda_compat: bool,
    /// Whether it is the driver directory.
    pub is_driver: bool,
}

/// One driver library that the file wants.
#[derive(Debug)]
pub struct Library {
    /// Its name.
    pub name: Vec<u8>,
    /// Whether no evidence has a whole name, so that the usual one is assumed.
    pub is_assumed: bool,
    /// The search for it.
    pub search: Search,
    /// What is found.
    pub found: Option<Found>,
    /// What is found without `LD_LIBRARY_PATH`, where that variable decides.
    pub found_without_variable: Option<Option<Found>>,
}

/// A library that the loader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its path.
    pub path: Vec<u8>,
    /// By which rule.
    pub rule: Rule,
    /// The file that links lead to, where that is another path.
    pub real: Option<PathBuf>,
    /// Whether it lies in a directory of stubs: it has the real SONAME, and its functions only return errors.
    pub is_stub: bool,
}

/// Explains `path`.
///
/// # Errors
/// The file that cannot be looked at, and why.
pub fn explain(path: &Path, options: &Options) -> Result<Explanation, (PathBuf, Error)> {
    let of = |path: &Path| {
        let path = path.to_owned();
        move |error: Error| (path, error)
    };
    let root = &options.sysroot;
    let name = root.name(path).map_err(Error::io("cannot look at it")).map_err(of(path))?;
    let Some(source) = open(root, &name).map_err(of(path))? else {
        if let archive @ Error::Archive(_) = not_elf(path) {
            return Err(of(path)(archive));
        }
        let gpu_code = GpuCode::default();
        return Ok(Explanation { path: name, header: None, gpu_code, subject: Err(NotCandidate::NotElf) });
    };
    let header = Header::read(source.bytes());
    // What cannot be read is reported for the file itself.
    let gpu_code = gpu_code::read(source.bytes()).unwrap_or_default();
    let image = match ParseError::apart(Image::parse(source.bytes())).map_err(Error::Malformed).map_err(of(path))? {
        Ok(image) => image,
        Err(reason) => return Ok(Explanation { path: name, header, gpu_code, subject: Err(reason) }),
    };
    let Some(target) = header.map(|header| header.target) else {
        return Err(of(path)(Error::Malformed(Malformed::CutOff)));
    };
    let mut chain = vec![Link::of(&image, &name, root)];
    for loaded_by in &options.loaded_by {
        chain.push(Link::open(loaded_by, root).map_err(of(loaded_by))?);
    }
    let facts = Facts::of(&image, &options.names, Some(Depth::All));
    let objects: Vec<Object> = chain.iter().map(|link| link.object.clone()).collect();
    let mut subject = Subject::of(facts, &target, chain, options);
    let system = Arc::new(subject.system.clone());
    let asker = Asker::new(&image, objects, system, root.clone(), &options.driver_dirs);
    subject.openings = openings_of(&image, &asker, &options.names);
    Ok(Explanation { path: name, header, gpu_code, subject: Ok(subject) })
}

pub(crate) fn open(root: &Sysroot, path: &Path) -> Result<Option<Source>, Error> {
    let place = root.locate(path).map_err(Error::io("cannot open"))?;
    // Below another root all links are followed already.
    Source::open(&place, if root.is_other() { Links::Refuse } else { Links::Follow })
}

/// One object of the chain from the file to the executable.
pub(crate) struct Link {
    path: PathBuf,
    pub(crate) object: Object,
    is_executable: bool,
    pub(crate) interpreter: Option<PathBuf>,
    /// Whether its search path is cut.
    is_cut: bool,
}

impl Link {
    fn open(path: &Path, root: &Sysroot) -> Result<Self, Error> {
        let name = root.name(path).map_err(Error::io("cannot look at it"))?;
        let source = open(root, &name)?.ok_or(Error::NotCandidate(NotCandidate::NotElf))?;
        let image = Image::parse(source.bytes())?;
        Ok(Self::of(&image, &name, root))
    }

    pub(crate) fn of(image: &Image<'_>, name: &Path, root: &Sysroot) -> Self {
        let interpreter = interpreter(image);
        let flags = image.dynamic.value(elf::DT_FLAGS_1).unwrap_or(0);
        let has_soname = image.dynamic.value(elf::DT_SONAME).is_some();
        let is_executable =
            image.file_type == elf::ET_EXEC || flags & elf::DF_1_PIE.0 != 0 || interpreter.is_some() && !has_soname;
        // The kernel tells the loader where the executable is, links followed (glibc,
        // sysdeps/unix/sysv/linux/dl-origin.c); a library is where it was found.
        let real = if is_executable { root.canonical(name).ok() } else { None };
        let origin = real.as_deref().unwrap_or(name).parent().map(|dir| dir.as_os_str().as_bytes().to_vec());
        let Current { runpath, rpath } = image.search_paths();
        let no_default_libs = flags & elf::DF_1_NODEFLIB.0 != 0;
        let is_cut = [&runpath, &rpath].into_iter().flatten().any(|path| cut(path).len() < path.len());
        let [runpath, rpath] = [runpath, rpath].map(|path| path.map(|path| cut(&path).to_vec()));
        let note = resolution::find(image).descriptor(image).map(<[u8]>::to_vec);
        let object = Object { origin, runpath, rpath, note, no_default_libs };
        Self { path: name.to_owned(), object, is_executable, interpreter, is_cut }
    }
}

/// The first entries of a search path.
fn cut(path: &[u8]) -> &[u8] {
    let colon = memchr::memchr_iter(b':', path).nth(MOST_ENTRIES.saturating_sub(1));
    colon.and_then(|end| path.get(..end)).unwrap_or(path)
}

fn interpreter(image: &Image<'_>) -> Option<PathBuf> {
    image.interpreter().map(|path| PathBuf::from(OsStr::from_bytes(path)))
}

impl Subject {
    fn of(facts: Facts, target: &Target, chain: Vec<Link>, options: &Options) -> Self {
        let root = &options.sysroot;
        let executable = chain.last().filter(|link| link.is_executable);
        let loader = Loader::find(executable.and_then(|link| link.interpreter.as_deref()), target, root);
        let system = system(&loader, target, root);
        let note = facts.note.as_deref().map(|descriptor| {
            let path = facts.search.effective().map_or(&b""[..], |(_, path)| path);
            let said = resolution::of_drivers(descriptor, path, options.driver_dirs.of(facts.is_i386), &options.names);
            Note { said, reader: loader.reader() }
        });
        let mut objects: Vec<Object> = chain.iter().map(|link| link.object.clone()).collect();
        if !loader.reads_notes {
            objects.iter_mut().for_each(|object| object.note = None);
        }
        let origin = objects.first().and_then(|object| object.origin.as_deref());
        let search_path = cut(facts.search.effective().map_or(&b""[..], |(_, path)| path));
        let entry = |entry| Entry::of(entry, origin, &system, facts.is_i386, options);
        let entries = if search_path.is_empty() { Vec::new() } else { entries(search_path).map(entry).collect() };
        let verdict = verdict(
            &facts,
            chain.first().map_or(Path::new(""), |link| &link.path),
            &options.names,
            &options.driver_dirs,
        );
        let driver_dir = options.driver_dirs.of(facts.is_i386).to_vec();
        let place = root.locate(Path::new(OsStr::from_bytes(&driver_dir)));
        let driver_dir = (driver_dir, place.is_ok_and(|place| place.is_dir()));
        let mut names = wanted(&facts.detection, &options.names);
        let is_cut = names.len() > MOST_LIBRARIES || chain.iter().any(|link| link.is_cut);
        names.truncate(MOST_LIBRARIES);
        let library = |(name, is_assumed)| Library::of(name, is_assumed, &objects, &system, options);
        let libraries = names.into_iter().map(library).collect();
        Self {
            is_executable: chain.first().is_some_and(|link| link.is_executable),
            detection: facts.detection,
            broken_sections: facts.broken_sections,
            search: facts.search,
            note,
            entries,
            verdict,
            driver_dir,
            is_chain_whole: executable.is_some(),
            chain: chain.into_iter().map(|link| link.path).collect(),
            loader,
            system,
            library_path: options.library_path.clone(),
            libraries,
            openings: Vec::new(),
            is_cut,
        }
    }
}

impl Loader {
    /// The loader that the executable names, else the one of the architecture's ABI, else our own.
    pub(crate) fn find(named: Option<&Path>, target: &Target, root: &Sysroot) -> Self {
        let read = |path: &Path| {
            let source = open(root, path).ok()??;
            let fits = target.judge(source.bytes()) == Fit::Loads;
            let built_in = fits.then(|| BuiltIn::read(source.bytes())).flatten()?;
            Some((path.to_owned(), built_in, crate::loader::reads_notes(source.bytes())))
        };
        let found = named.and_then(read);
        let foreign = named.filter(|_| found.is_none()).map(Path::to_owned);
        let usual = || well_known(target).iter().find_map(|path| read(Path::new(path)));
        let own = || (!root.is_other()).then(own_loader).flatten().and_then(|path| read(&path));
        match found.or_else(usual).or_else(own) {
            Some((path, built_in, reads_notes)) => Self { path: Some(path), built_in, reads_notes, foreign },
            None => Self { path: None, built_in: BuiltIn::usual(target), reads_notes: false, foreign },
        }
    }
}

impl Loader {
    /// Whether somebody reads the note of a file that this one loads.
    fn reader(&self) -> Reader {
        match (&self.path, &self.foreign) {
            (Some(path), None) if self.reads_notes => Reader::Reads(path.clone()),
            (Some(path), None) => Reader::Ignores(path.clone()),
            _ => Reader::Unknown,
        }
    }
}

/// On NixOS no loader lies where the ABI says, but our own has the same values as those of other programs.
fn own_loader() -> Option<PathBuf> {
    let source = Source::open(Path::new("/proc/self/exe"), Links::Follow).ok()??;
    interpreter(&Image::parse(source.bytes()).ok()?)
}

pub(crate) fn system(loader: &Loader, target: &Target, root: &Sysroot) -> System {
    let processor = Processor::of_this_machine();
    // glibc-hwcaps came with 2.33, which is also the first loader that tells its version; 2.37 dropped what was before.
    let (has_hwcaps, has_legacy) = match (&loader.path, loader.built_in.version) {
        (None, _) => (true, false),
        (Some(_), None) => (false, true),
        (Some(_), Some(version)) => (version >= (2, 33), version < (2, 37)),
    };
    let mut subdirs = if has_hwcaps { processor.hwcaps_subdirs(target) } else { Vec::new() };
    if has_legacy {
        subdirs.extend(legacy_subdirs(target, &processor));
    }
    System {
        target: *target,
        default_dirs: loader.built_in.default_dirs.clone(),
        lib: loader.built_in.lib.clone(),
        platform: platform(target, &processor).map(|name| name.as_bytes().to_vec()),
        subdirs,
        cache: read_cache(&loader.built_in.cache, target, root),
        level: processor.level,
        legacy: has_legacy.then(|| legacy_bits(target, &processor)),
    }
}

fn read_cache(path: &[u8], target: &Target, root: &Sysroot) -> Result<Cache, String> {
    /// A cache of 100,000 libraries has 10 MB.
    const MOST_BYTES: u64 = 64 << 20;
    let place = root.locate(Path::new(OsStr::from_bytes(path))).map_err(|error| error.to_string())?;
    let stat = fs::metadata(&place).map_err(|error| error.to_string())?;
    if !stat.is_file() || stat.len() > MOST_BYTES {
        return Err("no cache of ld.so".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(&place).map_err(|error| error.to_string())?;
    file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Cache::parse(bytes, target.endian()).map_err(str::to_owned)
}

/// The driver libraries that the evidence names, each once; and whether they are assumed.
pub(crate) fn wanted(detection: &Detection, names: &DriverNames) -> Vec<(Vec<u8>, bool)> {
    /// What nearly every file without a whole name wants.
    const USUAL: &[u8] = b"libcuda.so.1";
    let mut wanted: Vec<(Vec<u8>, bool)> = Vec::new();
    for name in detection.evidence.iter().map(|found| found.what.as_bytes()) {
        if names.is_driver_soname(name) && !wanted.iter().any(|(known, _)| known == name) {
            wanted.push((name.to_vec(), false));
        }
        // One more than is looked at tells that there are more.
        if wanted.len() > MOST_LIBRARIES {
            break;
        }
    }
    if wanted.is_empty() && !detection.evidence.is_empty() {
        wanted.push((USUAL.to_vec(), true));
    }
    wanted
}

impl Entry {
    fn of(entry: &[u8], origin: Option<&[u8]>, system: &System, is_i386: bool, options: &Options) -> Self {
        let tokens = Tokens { origin, lib: &system.lib, platform: system.platform.as_deref() };
        let directory = expand(entry, &tokens);
        let place = directory.as_deref().map(|dir| if dir.is_empty() { &b"."[..] } else { dir });
        let place = place.and_then(|dir| options.sysroot.locate(Path::new(OsStr::from_bytes(dir))).ok());
        let shown = directory.as_deref().unwrap_or(entry);
        Self {
            exists: place.as_deref().is_some_and(Path::is_dir),
            drivers: place.map(|place| drivers_in(&place, &options.names)).unwrap_or_default(),
            is_stub: is_stub_directory(shown),
            is_cuda_compat: is_cuda_compat(shown),
            is_driver: shown.strip_suffix(b"/").unwrap_or(shown) == options.driver_dirs.of(is_i386),
            entry: entry.to_vec(),
            directory,
        }
    }
}

fn drivers_in(directory: &Path, names: &DriverNames) -> Vec<Vec<u8>> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let files = files.map(|file| file.file_name().as_bytes().to_vec());
    let mut drivers: Vec<Vec<u8>> = files.filter(|name| names.is_driver_soname(name)).collect();
    drivers.sort();
    drivers
}

impl Library {
    fn of(name: Vec<u8>, is_assumed: bool, chain: &[Object], system: &System, options: &Options) -> Self {
        let files = Disk(&options.sysroot);
        let with = search(&name, chain, options.library_path.as_deref(), system, &files);
        let found = Found::by(&with, &options.sysroot);
        let by_variable = with.stages.last().is_some_and(|stage| stage.rule == Rule::LibraryPath);
        let without = by_variable.then(|| Found::by(&search(&name, chain, None, system, &files), &options.sysroot));
        Self { name, is_assumed, search: with, found, found_without_variable: without }
    }
}

impl Found {
    fn by(search: &Search, root: &Sysroot) -> Option<Self> {
        let Ending::Found(path) = &search.ending else { return None };
        let rule = search.stages.last()?.rule;
        let named = Path::new(OsStr::from_bytes(path));
        let real = root.canonical(named).ok();
        let in_stubs =
            |path: &Path| path.parent().is_some_and(|parent| is_stub_directory(parent.as_os_str().as_bytes()));
        let is_stub = in_stubs(named) || real.as_deref().is_some_and(in_stubs);
        Some(Self { path: path.clone(), rule, real: real.filter(|real| real != named), is_stub })
    }
}

/// What the loader finds for the file at `path` without any search path, and without `LD_LIBRARY_PATH`.
pub(crate) fn found_anyway(path: &Path, name: &[u8]) -> Option<Found> {
    let root = Sysroot::default();
    let source = open(&root, path).ok()??;
    let target = Header::read(source.bytes())?.target;
    let image = Image::parse(source.bytes()).ok()?;
    let loader = Loader::find(interpreter(&image).as_deref(), &target, &root);
    let system = system(&loader, &target, &root);
    Found::by(&search(name, &[Object::default()], None, &system, &Disk(&root)), &root)
}

/// The files of a system.
pub(crate) struct Disk<'a>(pub(crate) &'a Sysroot);

impl Files for Disk<'_> {
    fn open(&self, path: &[u8]) -> Opened {
        const HEADER: usize = 64;
        match open(self.0, Path::new(OsStr::from_bytes(path))) {
            Ok(Some(source)) => Opened::File(source.bytes().iter().take(HEADER).copied().collect()),
            // No ELF magic: what the bytes are makes no difference to the loader, their number hardly.
            Ok(None) => Opened::File(vec![0; HEADER]),
            Err(Error::Io { source, .. }) => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Opened::Missing,
                io::ErrorKind::PermissionDenied => Opened::Denied,
                io::ErrorKind::IsADirectory => Opened::File(Vec::new()),
                _ => Opened::Failed(source.to_string()),
            },
            Err(error) => Opened::Failed(error.to_string()),
        }
    }

    fn is_directory(&self, path: &[u8]) -> bool {
        self.0.locate(Path::new(OsStr::from_bytes(path))).is_ok_and(|place| place.is_dir())
    }
}
