//! A temporary directory with what the tests need: our binary, fixtures, a compiler, a stand-in for the driver.

use libtest_mimic::Failed;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// The default driver directory.
pub const DRIVER: &str = "/run/opengl-driver/lib";

/// Where fixtures and their sources lie.
pub fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// One test's directory; gone when dropped.
pub struct Lab {
    dir: TempDir,
}

impl Lab {
    /// An empty directory.
    pub fn new() -> Result<Self, Failed> {
        Ok(Self { dir: TempDir::new()? })
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Copies a prebuilt fixture, such as `x86_64/libopens.so`, under `name`.
    pub fn fixture(&self, fixture: &str, name: &str) -> Result<PathBuf, Failed> {
        let to = self.path(name);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        let from = testdata().join("prebuilt").join(fixture);
        fs::copy(&from, &to).map_err(|error| format!("{}: {error}", from.display()))?;
        Ok(to)
    }

    /// Runs the C compiler in the directory; sources are named as in `testdata/src`.
    pub fn cc(&self, output: &str, sources: &[&str], flags: &[&str]) -> Result<PathBuf, Failed> {
        let to = self.path(output);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut command = Command::new("cc");
        command.current_dir(self.root()).arg("-o").arg(&to);
        command.args(sources.iter().map(|source| testdata().join("src").join(source))).args(flags);
        succeed(&mut command)?;
        Ok(to)
    }

    /// A directory `driver` with `lib/libcuda.so.1`, and the option that makes it the driver.
    pub fn driver(&self) -> Result<OsString, Failed> {
        self.cc("driver/lib/libcuda.so.1", &["driver.c"], &["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"])?;
        let mut option = OsString::from("--driver-link=");
        option.push(self.path("driver"));
        Ok(option)
    }
}

/// Runs our binary.
pub fn driver_runpath<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_driver-runpath"))
        .args(args)
        // A test may itself run within a build.
        .env_remove("NIX_BUILD_TOP")
        .env_remove("NIX_STORE_DIR")
        .output();
    Ran::new(output.expect("our own binary starts"))
}

/// What a run of our binary gave.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn new(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("our output is UTF-8");
        Self { status: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Fails unless the exit status is this.
    pub fn expect(self, status: i32) -> Result<Self, Failed> {
        if self.status == status { Ok(self) } else { Err(format!("status {status} expected: {self:#?}").into()) }
    }
}

/// Runs a copy of our binary: another test that starts a program just now can hold the descriptor it was written by for
/// a moment ("Text file busy").
pub fn run_copy(command: &mut Command) -> std::io::Result<Ran> {
    loop {
        match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            result => return result.map(Ran::new),
        }
    }
}

/// Runs a program in the C locale without the library path of whoever runs the tests.
pub fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env("LC_ALL", "C").env_remove("LD_LIBRARY_PATH");
    command
}

/// Its standard output, if it succeeds.
pub fn succeed(command: &mut Command) -> Result<String, Failed> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}: {stderr}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Mode bits, time of change, inode.
pub fn stat(path: &Path) -> Result<(u32, (i64, i64), u64), Failed> {
    let stat = fs::metadata(path)?;
    Ok((stat.permissions().mode() & 0o7777, (stat.mtime(), stat.mtime_nsec()), stat.ino()))
}

/// Fails with both values unless they are equal.
pub fn same<T: PartialEq + std::fmt::Debug>(found: T, expected: T, what: &str) -> Result<(), Failed> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, expected {expected:?}").into()) }
}

/// Fails unless `text` has `part`.
pub fn contains(text: &str, part: &str) -> Result<(), Failed> {
    if text.contains(part) { Ok(()) } else { Err(format!("no {part:?} in:\n{text}").into()) }
}
