//! External tools that tests run when they are there.

use super::lab::Lab;
use super::referee::Image;
use goblin::elf::program_header::PF_W;
use goblin::elf::section_header::SHT_RELA;
use libtest_mimic::{Failed, Trial};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Under this variable a missing tool is a failure, as in CI.
pub const REQUIRE_TOOLS: &str = "DRIVER_RUNPATH_REQUIRE_TOOLS";

/// Finds a program on `PATH`.
pub fn tool(name: &str) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        let found = path.metadata();
        found.is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(is_program)
}

/// Whether a need is there: a program, and with a number behind its name one of that version or a later one.
fn is_there(need: &str) -> bool {
    let Some((program, least)) = need.split_once(' ') else { return tool(need).is_some() };
    let numbers = |text: &str| text.split('.').map(|number| number.parse().ok()).collect::<Option<Vec<u64>>>();
    let version = || {
        let output = Command::new(tool(program)?).arg("--version").output().ok()?;
        String::from_utf8_lossy(&output.stdout).split_whitespace().find_map(numbers)
    };
    version().is_some_and(|version| Some(version) >= numbers(least))
}

/// A test that needs tools; without one of them it is reported as ignored, by name.
pub fn trial(name: &str, needs: &[&str], body: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    let missing = needs.iter().find(|need| !is_there(need));
    let Some(missing) = missing.map(|m| m.to_string()) else {
        return Trial::test(name, body);
    };
    let is_required = std::env::var_os(REQUIRE_TOOLS).is_some_and(|v| v == "1");
    let kind = format!("needs {missing}");
    Trial::test(name, move || Err(format!("{missing} is not on PATH").into()))
        .with_kind(kind)
        .with_ignored_flag(!is_required)
}

/// A test that only root can run; ignored for others.
pub fn root_trial(name: &str, needs: &[&str], body: fn() -> Result<(), Failed>) -> Trial {
    if rustix::process::geteuid().is_root() {
        return trial(name, needs, body);
    }
    Trial::test(name, || Ok(())).with_kind("needs root").with_ignored_flag(true)
}

/// `fix FILE` under strace, which makes some of the system `calls` fail as `inject` says.
pub fn fix_with_faults(lab: &Lab, file: &Path, calls: &str, inject: &str) -> std::io::Result<Output> {
    Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(lab.path("trace"))
        .args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{inject}")])
        .arg(env!("CARGO_BIN_EXE_driver-runpath"))
        .arg("fix")
        .arg(file)
        .output()
}

/// Runs a program; its output whatever its status is.
///
/// # Panics
/// When the program cannot be started.
pub fn run(program: &str, args: &[&OsStr]) -> Output {
    Command::new(program).args(args).env("LC_ALL", "C").output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Runs a program that must succeed.
pub fn must_run(program: &str, args: &[&OsStr]) -> Result<Vec<u8>, Failed> {
    let output = run(program, args);
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {args:?}: {}: {stderr}", output.status).into())
}

/// What `eu-elflint --gnu-ld` objects to in a file, without the addresses, so that a file
/// can be compared with its original.
///
/// # Panics
/// When `eu-elflint` cannot be started.
pub fn elflint_findings(path: &Path) -> BTreeSet<String> {
    let output = run("eu-elflint", &[OsStr::new("--gnu-ld"), path.as_os_str()]);
    let bytes = std::fs::read(path).unwrap_or_default();
    let all = [output.stdout, output.stderr].concat();
    let lines = all.split(|byte| *byte == b'\n');
    lines
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .filter(|line| !line.is_empty() && line != "No errors")
        .filter(|line| !is_false_text_relocation(&bytes, line))
        .map(|line| without_addresses(&line.replace(&*path.to_string_lossy(), "FILE")))
        .collect()
}

/// elfutils 0.188 takes the section of a jump slot's function for the one that the
/// relocation stores into, and reports a text relocation where a read-only segment follows.
/// The relocation itself says where it stores.
fn is_false_text_relocation(bytes: &[u8], line: &str) -> bool {
    let target = || {
        let line = line.strip_suffix("read-only section modified but text relocation flag not set")?;
        let section = line.strip_prefix("section [")?.split(']').next()?;
        let (_, number) = line.split_once("': relocation ")?;
        let number: u64 = number.trim().strip_suffix(':')?.parse().ok()?;
        let image = Image::read(bytes).ok()?;
        let section = image.sections.get(section.trim().parse::<usize>().ok()?)?;
        let words = if section.kind == SHT_RELA { 3 } else { 2 };
        let entry = number.checked_mul(words * image.word_size())?;
        let place = image.word(section.offset.checked_add(entry)?)?;
        let load = image.loads().find(|l| l.vaddr <= place && place < l.end())?;
        Some(load.flags & u64::from(PF_W) != 0)
    };
    target() == Some(true)
}

/// Replaces hexadecimal numbers.
fn without_addresses(line: &str) -> String {
    let mut parts = line.split("0x");
    let mut plain = parts.next().unwrap_or_default().to_string();
    for part in parts {
        plain.push_str("0x?");
        plain.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    plain
}

/// The tag (`RPATH` or `RUNPATH`) and the search path that `readelf -dW` shows.
///
/// # Panics
/// When `readelf` cannot be started.
pub fn readelf_runpath(path: &Path) -> Option<(String, Vec<u8>)> {
    let output = run("readelf", &[OsStr::new("-dW"), path.as_os_str()]);
    let mut lines = output.stdout.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let tag =
            ["(RPATH)", "(RUNPATH)"].into_iter().find(|tag| memchr::memmem::find(line, tag.as_bytes()).is_some())?;
        let open = memchr::memchr(b'[', line)?;
        let close = memchr::memrchr(b']', line)?;
        let value = line.get(open + 1..close)?.to_vec();
        Some((tag.trim_matches(['(', ')']).to_string(), value))
    })
}

/// Bytes as a path or an argument.
pub fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}
