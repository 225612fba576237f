//! The linkers, what they make, and in which ways.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use libtest_mimic::Failed;
use tempfile::TempDir;

use super::support::lab::succeed;
use super::support::tools::tool;

/// What is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Pie,
    NoPie,
    Shared,
}

pub const KINDS: [Kind; 3] = [Kind::Pie, Kind::NoPie, Kind::Shared];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pie => "pie",
            Self::NoPie => "nopie",
            Self::Shared => "shared",
        }
    }
}

/// A compiler with its linker.
#[derive(Debug)]
pub struct Linker {
    pub name: &'static str,
    pub needs: &'static [&'static str],
    /// Whether continuous integration may be without it.
    pub is_optional: bool,
    how: How,
}

#[derive(Debug, PartialEq, Eq)]
enum How {
    Gcc(&'static str),
    Mold,
    Zig,
    Tcc,
    Go,
    Rustc,
}

const fn linker(name: &'static str, how: How, needs: &'static [&'static str]) -> Linker {
    Linker { name, needs, is_optional: matches!(how, How::Zig), how }
}

pub const LINKERS: [Linker; 8] = [
    linker("bfd", How::Gcc("bfd"), &["ld.bfd"]),
    linker("gold", How::Gcc("gold"), &["ld.gold"]),
    linker("lld", How::Gcc("lld"), &["ld.lld"]),
    linker("mold", How::Mold, &["mold"]),
    linker("zig", How::Zig, &["python-zig"]),
    linker("tcc", How::Tcc, &["tcc"]),
    linker("go", How::Go, &["go"]),
    linker("rustc", How::Rustc, &["rustc"]),
];

/// A way of linking: options, and what is done with the file then.
#[derive(Debug)]
pub struct Way {
    pub name: &'static str,
    options: &'static [&'static str],
    /// The linkers that know it.
    linkers: &'static [&'static str],
    objcopy: Option<&'static str>,
}

const GNU: &[&str] = &["bfd", "gold", "lld", "mold"];

const fn way(name: &'static str, options: &'static [&'static str], linkers: &'static [&'static str]) -> Way {
    Way { name, options, linkers, objcopy: None }
}

pub const WAYS: [Way; 12] = [
    way("plain", &[], &["bfd", "gold", "lld", "mold", "zig", "tcc", "go", "rustc"]),
    way("norelro", &["-Wl,-z,norelro"], GNU),
    way("emit-relocs", &["-Wl,--emit-relocs"], GNU),
    way("relr", &["-Wl,-z,pack-relative-relocs"], &["bfd"]),
    way("page-2M", &["-Wl,-z,max-page-size=0x200000"], GNU),
    way("page-64K", &["-Wl,-z,max-page-size=0x10000"], GNU),
    way("separate", &["-Wl,-z,separate-loadable-segments"], &["lld", "mold"]),
    way("sysv-hash", &["-Wl,--hash-style=sysv"], GNU),
    way("no-build-id", &["-Wl,--build-id=none"], &["bfd", "gold", "lld", "mold", "rustc"]),
    way("split-dwarf", &["-g", "-gsplit-dwarf"], GNU),
    Way { objcopy: Some("--compress-debug-sections"), ..way("compressed", &["-g"], GNU) },
    way("large-bss", &["-DLARGE_BSS"], &["bfd", "gold", "lld", "mold", "tcc"]),
];

impl Linker {
    pub fn knows_kind(&self, kind: Kind) -> bool {
        match self.how {
            How::Go => kind != Kind::Shared,
            How::Tcc => kind != Kind::Pie,
            _ => true,
        }
    }

    pub fn knows_way(&self, way: &Way) -> bool {
        way.linkers.contains(&self.name)
    }
}

/// The directory in the file's first search path, if it has one. chrpath needs room in it.
pub const OLD: &str = "/an/older/directory/that/leads/nowhere";

/// What all cases share: linked files, made once each, and the libraries that they look for.
pub struct Shelf {
    dir: TempDir,
    linked: Mutex<HashMap<String, PathBuf>>,
}

impl Default for Shelf {
    fn default() -> Self {
        let shelf = Self { dir: TempDir::new().expect("a temporary directory"), linked: Mutex::default() };
        shelf.fill().expect("the libraries");
        shelf
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/matrix/sources").join(name)
}

impl Shelf {
    /// The directory `number/lib`, which holds the probe of that number.
    pub fn driver(&self, number: i32) -> PathBuf {
        self.path(&number.to_string())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn fill(&self) -> Result<(), Failed> {
        for number in 1..=2 {
            let dir = self.driver(number).join("lib");
            fs::create_dir_all(&dir)?;
            let mut cc = Command::new("cc");
            cc.args(["-shared", "-fPIC", "-Wl,-soname,libprobe.so"]).arg(format!("-DNUMBER={number}"));
            succeed(cc.arg("-o").arg(dir.join("libprobe.so")).arg(source("probe.c")))?;
        }
        succeed(Command::new("cc").arg("-o").arg(self.path("host")).arg(source("host.c")))?;
        fs::create_dir(self.path("mold"))?;
        if let Some(mold) = tool("mold") {
            std::os::unix::fs::symlink(mold, self.path("mold/ld"))?;
        }
        Ok(())
    }

    /// The file of a linker, with a search path or without.
    pub fn linked(&self, linker: &Linker, kind: Kind, way: &Way, has_path: bool) -> Result<PathBuf, Failed> {
        let name = format!("{}.{}.{}.{has_path}", linker.name, kind.name(), way.name);
        let mut linked = self.linked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = linked.get(&name) {
            return Ok(file.clone());
        }
        let file = self.path(&format!("{name}.linked"));
        self.link(linker, kind, way, has_path, &file)?;
        if let Some(option) = way.objcopy {
            succeed(Command::new("objcopy").arg(option).arg(&file))?;
        }
        linked.insert(name, file.clone());
        Ok(file)
    }

    fn link(&self, linker: &Linker, kind: Kind, way: &Way, has_path: bool, file: &Path) -> Result<(), Failed> {
        let mut command = match linker.how {
            How::Gcc(name) => {
                let mut cc = Command::new("cc");
                cc.arg(format!("-fuse-ld={name}"));
                cc
            }
            How::Mold => {
                let mut cc = Command::new("cc");
                cc.arg(format!("-B{}", self.path("mold").display()));
                cc
            }
            How::Zig => {
                let mut zig = Command::new("python-zig");
                zig.arg("cc");
                zig
            }
            How::Tcc => Command::new("tcc"),
            How::Go => return go(kind, has_path, file),
            How::Rustc => return rustc(kind, way, has_path, file),
        };
        match kind {
            Kind::Shared => command.args(["-shared", "-fPIC"]),
            _ if linker.how == How::Tcc => command.arg(source("main.c")),
            Kind::Pie => command.args(["-pie", "-fPIE"]).arg(source("main.c")),
            Kind::NoPie => command.args(["-no-pie", "-fno-pie"]).arg(source("main.c")),
        };
        command.arg(source("asks.c")).args(way.options);
        match linker.how {
            How::Tcc if has_path => command.arg(format!("-Wl,-rpath={OLD}")),
            _ if has_path => command.arg(format!("-Wl,--enable-new-dtags,-rpath,{OLD}")),
            _ => &mut command,
        };
        if linker.how == How::Tcc {
            command.arg("-ldl");
        }
        // split DWARF leaves a file in the directory it is called in.
        succeed(command.arg("-o").arg(file).current_dir(self.dir.path())).map(drop)
    }

    /// Runs the file, or a program that loads it: the number of the probe that it found.
    pub fn ask(&self, kind: Kind, file: &Path) -> Result<i32, Failed> {
        let mut command = Command::new(if kind == Kind::Shared { self.path("host") } else { file.to_owned() });
        if kind == Kind::Shared {
            command.arg(file);
        }
        command.env("LC_ALL", "C").env_remove("LD_LIBRARY_PATH");
        let output = patiently(&mut command)?;
        let text = String::from_utf8_lossy(&output.stdout);
        // The host says -1, too, where the library does not load, and why.
        let number = text.trim().parse().ok().filter(|_| output.status.success() && output.stderr.is_empty());
        number.ok_or_else(|| format!("{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// Starts a program that was written a moment ago: another thread's child may still hold it open for writing.
fn patiently(command: &mut Command) -> Result<std::process::Output, Failed> {
    for _ in 0..200 {
        match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            other => return other.map_err(|error| format!("{command:?}: {error}").into()),
        }
    }
    Err(format!("{command:?}: still busy after a second").into())
}

fn go(kind: Kind, has_path: bool, file: &Path) -> Result<(), Failed> {
    let mut go = Command::new("go");
    go.args(["build", "-buildmode", if kind == Kind::Pie { "pie" } else { "exe" }]);
    let path = if has_path { format!(" -r {OLD}") } else { String::new() };
    go.arg(format!("-ldflags=-linkmode=internal{path}"));
    go.envs([("GO111MODULE", "off"), ("CGO_ENABLED", "1"), ("GOFLAGS", ""), ("GOPROXY", "off")]);
    succeed(go.arg("-o").arg(file).arg(source("asks.go"))).map(drop)
}

fn rustc(kind: Kind, way: &Way, has_path: bool, file: &Path) -> Result<(), Failed> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-C", "opt-level=s", "-C", "panic=abort"]);
    match kind {
        Kind::Shared => rustc.args(["--crate-type", "cdylib"]),
        Kind::Pie => &mut rustc,
        Kind::NoPie => rustc.args(["-C", "relocation-model=static"]),
    };
    let path = has_path.then(|| format!("-Wl,--enable-new-dtags,-rpath,{OLD}"));
    let options = way.options.iter().map(ToString::to_string).chain(path);
    rustc.args(options.flat_map(|option| ["-C".into(), format!("link-arg={option}")]));
    succeed(rustc.arg("-o").arg(file).arg(source("asks.rs"))).map(drop)
}
