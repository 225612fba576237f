//! Links and prepares the file of a cell, and runs it.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use goblin::elf::dynamic::{DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SYMTAB};
use libtest_mimic::Failed;
use tempfile::TempDir;

use super::cells::Cell;
use super::support::hand::Draft;
use super::support::lab::succeed;
use super::support::referee::Image;
use super::toolchain::{Linker, Toolchain};

/// Bytes of a search path that is long already.
const LONG: usize = 20 * 1024;

/// Names that the shape *names* exports: they make a string table that does not fit into every gap.
const NAMES: usize = 48;

/// What all cells share: a directory with the probe libraries of each libc. Removed when dropped.
pub struct Workshop {
    dir: TempDir,
    ready: Mutex<HashSet<&'static str>>,
}

impl Workshop {
    pub fn new() -> Result<Self, Failed> {
        Ok(Self { dir: TempDir::new()?, ready: Mutex::default() })
    }

    /// A directory for one cell.
    pub fn room(&self, cell: &str) -> Result<PathBuf, Failed> {
        let room = self.dir.path().join("cells").join(cell);
        fs::create_dir_all(&room)?;
        Ok(room)
    }

    /// The libraries for a toolchain's libc, made at the first call.
    pub fn shelf(&self, toolchain: &'static Toolchain) -> Result<Shelf, Failed> {
        let shelf = Shelf { toolchain, dir: self.dir.path().join(toolchain.libc()) };
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(toolchain.libc()) {
            shelf.fill()?;
            ready.insert(toolchain.libc());
        }
        Ok(shelf)
    }
}

/// Where a source of the matrix lies.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/matrix/sources").join(name)
}

/// The libraries for one libc.
pub struct Shelf {
    pub toolchain: &'static Toolchain,
    dir: PathBuf,
}

impl Shelf {
    /// The directory that holds probe `number`, of 1 to 4.
    pub fn probe_dir(&self, number: usize) -> String {
        format!("{}/{number}/lib", self.dir.display())
    }

    /// The directory of probe 0, which the file's first search path names. Its last part is the name of a symbol.
    pub fn old_dir(&self, symbol: &str) -> String {
        format!("{}/0/an-older-directory/{symbol}", self.dir.display())
    }

    fn ignored_rpath(&self) -> String {
        format!("{}/an-rpath-that-loaders-ignore", self.dir.display())
    }

    fn fill(&self) -> Result<(), Failed> {
        let probe = |dir: &str, number: usize| {
            fs::create_dir_all(dir)?;
            let mut cc = Command::new(self.toolchain.cc());
            cc.args(["-shared", "-fPIC", "-Wl,-soname,libprobe.so"]).arg(format!("-DNUMBER={number}"));
            succeed(cc.arg("-o").arg(format!("{dir}/libprobe.so")).arg(source("probe.c"))).map(drop)
        };
        for number in 1..=4 {
            probe(&self.probe_dir(number), number)?;
        }
        for symbol in ["dlopen", "probe_number"] {
            probe(&self.old_dir(symbol), 0)?;
        }
        let mut cc = Command::new(self.toolchain.cc());
        succeed(cc.arg("-o").arg(self.dir.join("host")).arg(source("host.c")))?;
        let mut cc = Command::new(self.toolchain.cc());
        cc.args(["-shared", "-fPIC", "-DNUMBER=9"]).arg(format!("-Wl,-soname,{}", self.ignored_rpath()));
        succeed(cc.arg("-o").arg(self.dir.join("libignored.so")).arg(source("probe.c")))?;
        let names = (0..NAMES)
            .map(|n| format!("int a_name_that_is_long_enough_to_fill_a_string_table_{n}(void) {{ return {n}; }}\n"));
        fs::write(self.dir.join("names.c"), names.collect::<String>())?;
        fs::create_dir(self.dir.join("mold"))?;
        if let Some(mold) = super::support::tools::tool("mold") {
            std::os::unix::fs::symlink(mold, self.dir.join("mold/ld"))?;
        }
        Ok(())
    }

    /// The search path that the cell's file is linked with.
    fn linked_path(&self, cell: &Cell) -> Option<String> {
        let dir = self.old_dir(shared_symbol(cell));
        match cell.get("path") {
            "none" => None,
            "long" => {
                let mut path: String = (0..).map(|n| format!("/filler/{n:0>40}:")).take(LONG / 49).collect();
                path.push_str(&dir);
                Some(path)
            }
            _ => Some(dir),
        }
    }

    /// What the file of the cell must say before any edit.
    pub fn finds_at_first(&self, cell: &Cell) -> i32 {
        if cell.is("path", "none") || cell.is("path", "empty") { NOT_FOUND } else { 0 }
    }

    /// Links the file of the cell and gives it its form.
    pub fn make(&self, cell: &Cell, file: &Path) -> Result<(), Failed> {
        let mut link = match self.toolchain.linker {
            Linker::Rustc => self.rustc(cell),
            Linker::Go => self.go(cell),
            _ => self.c(cell),
        };
        succeed(link.arg("-o").arg(file).args(match self.toolchain.linker {
            Linker::Rustc => vec![source("asks.rs")],
            Linker::Go => vec![source("asks.go")],
            _ => Vec::new(),
        }))?;
        let bytes = by_hand(cell, fs::read(file)?, self.linked_path(cell).as_deref(), &self.ignored_rpath())?;
        fs::write(file, bytes)?;
        let tool = |name: &str, args: &[&str]| {
            let mut command = Command::new(self.toolchain.tool(name));
            succeed(command.args(args).arg(file)).map(drop)
        };
        match cell.get("form") {
            "stripped" => tool("strip", &[])?,
            "split" => {
                let debug = file.with_extension("debug");
                let mut split = Command::new(self.toolchain.tool("objcopy"));
                succeed(split.arg("--only-keep-debug").arg(file).arg(&debug))?;
                tool("strip", &["-g"])?;
                tool("objcopy", &[&format!("--add-gnu-debuglink={}", debug.display())])?;
            }
            form @ ("zeroed" | "cut") => fs::write(file, without_sections(&fs::read(file)?, form == "cut")?)?,
            _ => {}
        }
        if cell.is("payload", "payload") {
            let mut bytes = fs::read(file)?;
            bytes.extend(b"a payload that finds itself from the end of the file ".repeat(40));
            fs::write(file, bytes)?;
        }
        Ok(())
    }

    fn c(&self, cell: &Cell) -> Command {
        let mut cc = Command::new(self.toolchain.cc());
        cc.arg("-O1").arg(source("asks.c"));
        match cell.get("kind") {
            "shared" => cc.args(["-shared", "-fPIC"]),
            "pie" => cc.args(["-pie", "-fPIE"]).arg(source("main.c")),
            _ => cc.args(["-no-pie", "-fno-pie"]).arg(source("main.c")),
        };
        match self.toolchain.linker {
            Linker::Fuse(name) => cc.arg(format!("-fuse-ld={name}")),
            Linker::Mold => cc.arg(format!("-B{}", self.dir.join("mold").display())),
            _ => &mut cc,
        };
        if asks_by_needed(cell) {
            cc.arg("-DLINKED").arg(format!("{}/libprobe.so", self.old_dir("dlopen")));
        }
        if cell.is("form", "split") {
            cc.arg("-g");
        }
        match cell.get("shape") {
            "verdef" => cc
                .args(["-DVERSIONS", "-rdynamic"])
                .arg(format!("-Wl,--version-script={}", source("versions.map").display())),
            "bss" => cc.arg("-DLARGE_BSS"),
            "names" => cc.arg("-rdynamic").arg(self.dir.join("names.c")),
            _ => &mut cc,
        };
        cc.arg(match cell.get("relro") {
            "norelro" => "-Wl,-z,norelro",
            "relro" => "-Wl,-z,relro,-z,lazy",
            _ => "-Wl,-z,relro,-z,now",
        });
        cc.args(self.options(cell));
        cc
    }

    fn rustc(&self, cell: &Cell) -> Command {
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "-C", "opt-level=s", "-C", "panic=abort"]);
        match cell.get("kind") {
            "shared" => rustc.args(["--crate-type", "cdylib"]),
            "pie" => &mut rustc,
            _ => rustc.args(["-C", "relocation-model=static"]),
        };
        if cell.is("form", "split") {
            rustc.args(["-C", "debuginfo=1"]);
        }
        if cell.is("shape", "bss") {
            rustc.args(["--cfg", "large_bss"]);
        }
        rustc.arg("-C").arg(match cell.get("relro") {
            "norelro" => "relro-level=off",
            "relro" => "relro-level=partial",
            _ => "relro-level=full",
        });
        rustc.args(self.options(cell).into_iter().flat_map(|option| ["-C".into(), format!("link-arg={option}")]));
        rustc
    }

    fn go(&self, cell: &Cell) -> Command {
        let mut go = Command::new("go");
        go.args(["build", "-buildmode", if cell.is("kind", "pie") { "pie" } else { "exe" }]);
        let path = self.linked_path(cell).map(|path| format!(" -r {path}")).unwrap_or_default();
        go.arg(format!("-ldflags=-linkmode=internal{path}"));
        go.envs([("GO111MODULE", "off"), ("CGO_ENABLED", "1"), ("GOFLAGS", ""), ("GOPROXY", "off")]);
        go
    }

    /// Options that all linkers have in common.
    fn options(&self, cell: &Cell) -> Vec<String> {
        let mut all = vec![format!("-Wl,--hash-style={}", cell.get("hash"))];
        if self.toolchain.knows("code", "separate") {
            all.push(format!("-Wl,-z,{}separate-code", if cell.is("code", "separate") { "" } else { "no" }));
        }
        if cell.is("relocations", "relr") {
            all.push("-Wl,-z,pack-relative-relocs".into());
        }
        let page = [("4K", "0x1000"), ("16K", "0x4000"), ("64K", "0x10000"), ("2M", "0x200000")];
        let page = page.iter().find(|(name, _)| cell.is("page", name)).map_or("0x1000", |(_, bytes)| bytes);
        all.push(format!("-Wl,-z,max-page-size={page}"));
        if let Some(path) = self.linked_path(cell) {
            let tags = if cell.is("path", "rpath") { "disable" } else { "enable" };
            all.push(format!("-Wl,--{tags}-new-dtags,-rpath,{path}"));
        }
        if cell.is("path", "both") {
            all.push("-Wl,--no-as-needed".into());
            all.push(self.dir.join("libignored.so").display().to_string());
        }
        all
    }

    /// Runs the file; the number of the probe that it found.
    pub fn ask(&self, cell: &Cell, file: &Path) -> Result<i32, Failed> {
        let mut command = if cell.is("kind", "shared") {
            let mut command = self.toolchain.command(&self.dir.join("host"));
            command.arg(file);
            command
        } else {
            self.toolchain.command(file)
        };
        let output = patiently(&mut command)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let number = text.trim().parse().ok().filter(|_| output.status.success());
        number.ok_or_else(|| format!("{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// What a file says that finds no probe.
pub const NOT_FOUND: i32 = -1;

/// Starts a program that was written a moment ago: another thread's child may still hold it open for writing.
pub fn patiently(command: &mut Command) -> Result<std::process::Output, Failed> {
    for _ in 0..200 {
        match command.output() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => std::thread::sleep(Duration::from_millis(5)),
            other => return other.map_err(|error| format!("{command:?}: {error}").into()),
        }
    }
    Err(format!("{command:?}: still busy after a second").into())
}

/// musl's dlopen goes by the program's search path, never by that of the library which calls it.
fn asks_by_needed(cell: &Cell) -> bool {
    cell.toolchain().linker == Linker::Musl && cell.is("kind", "shared")
}

/// The symbol whose name can be the tail of the search path.
fn shared_symbol(cell: &Cell) -> &'static str {
    if asks_by_needed(cell) { "probe_number" } else { "dlopen" }
}

/// What no linker makes: both tags, an empty search path, a name that lies in the search path's tail.
fn by_hand(cell: &Cell, bytes: Vec<u8>, path: Option<&str>, ignored_rpath: &str) -> Result<Vec<u8>, Failed> {
    let mut draft = Draft::new(&bytes);
    let (table, word) = draft.dynamic(|table| (table.offset, draft.image().word_size()));
    let place = |slot: usize| table + 2 * word * slot as u64;
    let find = |draft: &Draft, tag: u64, text: Option<&str>| {
        draft.dynamic(|table| {
            let is_it = |e: &(u64, u64)| e.0 == tag && text.is_none_or(|t| table.string(e.1) == Some(t.as_bytes()));
            table.entries.iter().position(is_it)
        })
    };
    if cell.is("path", "both") {
        let slot =
            find(&draft, DT_NEEDED, Some(ignored_rpath)).ok_or("the library that becomes an RPATH is missing")?;
        draft.put(place(slot), word, DT_RPATH);
    }
    let runpath = find(&draft, DT_RUNPATH, None);
    if cell.is("path", "empty") {
        draft.put(place(runpath.ok_or("no DT_RUNPATH to empty")?) + word, word, 0);
    }
    // Go writes a DT_RUNPATH only.
    if let Some(slot) = runpath.filter(|_| cell.is("path", "rpath")) {
        draft.put(place(slot), word, DT_RPATH);
    }
    if cell.is("shape", "tail") {
        let name = shared_symbol(cell).as_bytes();
        let slot = runpath.or(find(&draft, DT_RPATH, path)).ok_or("no search path to share")?;
        let (symbol, tail) = draft
            .dynamic(|table| {
                let symbols = table.symbols()?;
                let index = symbols.iter().position(|s| table.string(s.name_at) == Some(name))?;
                let start = table.extent(DT_SYMTAB)?.start;
                let size = if word == 8 { 24 } else { 16 };
                let (_, value) = table.entries.get(slot)?;
                let tail = value + path?.len() as u64 - name.len() as u64;
                Some((start + index as u64 * size, tail))
            })
            .ok_or("no symbol whose name could be the tail")?;
        draft.put(symbol, 4, tail);
        let shared = draft.dynamic(|table| table.string(tail) == Some(name));
        if !shared {
            return Err("the tail of the search path is not the symbol's name".into());
        }
    }
    Ok(draft.bytes)
}

/// Takes the section headers away; `cut` also takes what lies behind the last segment.
fn without_sections(bytes: &[u8], cut: bool) -> Result<Vec<u8>, Failed> {
    let image = Image::read(bytes)?;
    let end = image.loads().map(|load| load.file_range().end).max().ok_or("no PT_LOAD")?;
    let (shoff, shnum) = if image.wide { (40, 60) } else { (32, 48) };
    let word = image.word_size();
    let mut draft = Draft::new(bytes);
    draft.put(shnum, 2, 0);
    draft.put(shnum + 2, 2, 0);
    draft.put(shoff, word, 0);
    let mut bytes = draft.bytes;
    if cut {
        bytes.truncate(usize::try_from(end)?);
    }
    Ok(bytes)
}
