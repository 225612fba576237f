//! The editors that come before ours, and those that come after.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use libtest_mimic::Failed;

use super::linkers::{Kind, OLD, Shelf};
use super::support::lab::succeed;
use super::support::tools::{readelf_runpath, tool};

/// What is done with a file.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Run(&'static str, &'static [&'static str]),
    /// `patchelf --set-rpath`, with another directory behind the path that the file has.
    AppendToPath,
    /// `patchelf --set-interpreter`, with the loader's path made longer.
    SetInterpreter,
    /// Debug information into a file of its own, and a link to it.
    SplitDebug,
    /// `chrpath -r`.
    Chrpath,
    /// Ours again, with another directory, much longer.
    FixAgain,
}

/// One editor, or two of them.
#[derive(Debug)]
pub struct Editor {
    pub name: &'static str,
    pub needs: &'static [&'static str],
    pub steps: &'static [Step],
}

use Step::*;

/// patchelf, of a version that does not itself break what it edits. 0.14 and 0.15 write program headers over section
/// headers, and tables of a program at a fixed address where no segment maps them.
pub const PATCHELF: &str = "patchelf of version 0.18";

/// Whether a tool is there, in a version that will do.
pub fn is_there(name: &str) -> bool {
    static IS_NEW: LazyLock<bool> = LazyLock::new(|| {
        let version = tool("patchelf").and_then(|path| succeed(Command::new(path).arg("--version")).ok());
        let minor =
            version.as_ref().and_then(|text| text.trim().strip_prefix("patchelf 0.")?.split('.').next()?.parse().ok());
        minor.is_some_and(|minor: u32| minor >= 18)
    });
    if name == PATCHELF { *IS_NEW } else { tool(name).is_some() }
}

pub const BEFORE: [Editor; 9] = [
    Editor { name: "nothing", needs: &[], steps: &[] },
    Editor { name: "set-rpath", needs: &[PATCHELF], steps: &[AppendToPath] },
    Editor { name: "set-interpreter", needs: &[PATCHELF], steps: &[SetInterpreter] },
    Editor { name: "shrink-rpath", needs: &[PATCHELF], steps: &[Run("patchelf", &["--shrink-rpath"])] },
    Editor { name: "add-needed", needs: &[PATCHELF], steps: &[Run("patchelf", &["--add-needed", "libm.so.6"])] },
    Editor { name: "resolution-cache", needs: &[PATCHELF], steps: &[Run("patchelf", &["--build-resolution-cache"])] },
    Editor { name: "auto-patchelf", needs: &[PATCHELF], steps: &[SetInterpreter, AppendToPath] },
    Editor { name: "chrpath", needs: &["chrpath"], steps: &[Chrpath] },
    Editor { name: "patchelf-and-strip", needs: &[PATCHELF, "strip"], steps: &[AppendToPath, Run("strip", &[])] },
];

pub const AFTER: [Editor; 12] = [
    Editor { name: "nothing", needs: &[], steps: &[] },
    Editor { name: "strip", needs: &["strip"], steps: &[Run("strip", &[])] },
    Editor { name: "strip-g", needs: &["strip"], steps: &[Run("strip", &["-g"])] },
    Editor { name: "llvm-strip", needs: &["llvm-strip"], steps: &[Run("llvm-strip", &[])] },
    Editor { name: "llvm-strip-g", needs: &["llvm-strip"], steps: &[Run("llvm-strip", &["-g"])] },
    Editor { name: "eu-strip", needs: &["eu-strip"], steps: &[Run("eu-strip", &[])] },
    Editor { name: "objcopy-compress", needs: &["objcopy"], steps: &[Run("objcopy", &["--compress-debug-sections"])] },
    Editor { name: "split-debug", needs: &["objcopy"], steps: &[SplitDebug] },
    Editor { name: "set-rpath", needs: &[PATCHELF], steps: &[AppendToPath] },
    Editor { name: "set-interpreter", needs: &[PATCHELF], steps: &[SetInterpreter] },
    Editor { name: "add-needed", needs: &[PATCHELF], steps: &[Run("patchelf", &["--add-needed", "libdl.so.2"])] },
    Editor { name: "fix-again", needs: &[], steps: &[FixAgain] },
];

impl Editor {
    /// Edits the file.
    pub fn edit(&self, shelf: &Shelf, kind: Kind, file: &Path) -> Result<(), Failed> {
        self.steps.iter().try_for_each(|step| step.take(shelf, kind, file))
    }

    pub fn fixes_again(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, FixAgain))
    }
}

impl Step {
    fn take(&self, shelf: &Shelf, kind: Kind, file: &Path) -> Result<(), Failed> {
        let run = |tool: &str, args: &[&str]| succeed(Command::new(tool).args(args).arg(file)).map(drop);
        match self {
            Run(tool, args) => run(tool, args),
            AppendToPath => {
                let path = readelf_runpath(file).map(|(_, path)| String::from_utf8_lossy(&path).into_owned());
                let more = format!("/appended/by/another/editor/{}", "x".repeat(100));
                let path = path.map_or(more.clone(), |path| format!("{path}:{more}"));
                run("patchelf", &["--set-rpath", &path])
            }
            SetInterpreter if kind == Kind::Shared => Ok(()),
            SetInterpreter => {
                let old = succeed(Command::new("patchelf").arg("--print-interpreter").arg(file))?;
                // The same file by a longer name.
                let new = format!("/proc/self/root/proc/self/root/.{}", old.trim());
                run("patchelf", &["--set-interpreter", &new])
            }
            SplitDebug => {
                let debug = file.with_extension("debug");
                succeed(Command::new("objcopy").arg("--only-keep-debug").arg(file).arg(&debug))?;
                run("strip", &["-g"])?;
                run("objcopy", &[&format!("--add-gnu-debuglink={}", debug.display())])?;
                fs::remove_file(debug).map_err(Failed::from)
            }
            Chrpath => run("chrpath", &["-r", OLD.trim_end_matches("/that/leads/nowhere")]),
            FixAgain => fix(file, &shelf.driver(2).join("lib/..").join("lib/../".repeat(40))),
        }
    }
}

/// Runs ours on one file; it must change it.
pub fn fix(file: &Path, driver: &Path) -> Result<(), Failed> {
    let mut link = std::ffi::OsString::from("--driver-link=");
    link.push(driver);
    let args = ["fix".into(), "--all".into(), link, file.as_os_str().to_owned()];
    let run = super::support::lab::driver_runpath(args);
    match run.status {
        0 if run.out.contains("1 changed") => Ok(()),
        _ => Err(format!("fix: status {}: {}{}", run.status, run.out, run.err).into()),
    }
}
