//! Real CUDA libraries: `testdata/fetch-wheels.sh DIR`, then `DRIVER_RUNPATH_WHEELS=DIR cargo test`.
//!
//! Any tree of files will do: every file that `fix` changes is checked by readelf, eu-elflint, the referee and, where it
//! is for this machine, ld.so.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};
use support::lab::{DRIVER, Lab, driver_runpath, program, succeed};
use support::referee::{Expect, Tag, judge};
use support::tools::{elflint_findings, readelf_runpath, tool};

/// Where the tree is.
const WHEELS: &str = "DRIVER_RUNPATH_WHEELS";

/// Takes every dynamic file of the tree, whether it loads the driver or not.
const ALL: &str = "DRIVER_RUNPATH_WHEELS_ALL";

fn main() {
    let tree = std::env::var_os(WHEELS).map(PathBuf::from);
    let trial = match tree {
        Some(tree) => Trial::test("every_changed_file_of_a_real_tree_is_sound", move || real_tree(&tree)),
        None => Trial::test("every_changed_file_of_a_real_tree_is_sound", || Ok(()))
            .with_kind(format!("needs {WHEELS}"))
            .with_ignored_flag(true),
    };
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}

fn real_tree(tree: &Path) -> Result<(), Failed> {
    let copy = tempfile::tempdir()?;
    succeed(Command::new("cp").arg("-a").arg(tree).arg(copy.path().join("tree")))?;
    let root = copy.path().join("tree");
    let all = std::env::var_os(ALL).map(|_| OsStr::new("--all"));
    let run = driver_runpath([OsStr::new("fix")].into_iter().chain(all).chain([root.as_os_str()]));
    print!("{}{}", run.err, run.out);
    if run.status != 0 {
        return Err(format!("status {}", run.status).into());
    }
    let mut faults = Vec::new();
    let mut changed = 0;
    for line in run.out.lines().filter_map(|line| line.strip_prefix("changed: ")) {
        let Some((path, rest)) = line.split_once(": ") else { continue };
        let path = Path::new(path);
        changed += 1;
        let original = tree.join(path.strip_prefix(&root)?);
        // What the program says that it did is what the referee must find.
        let said = rest.split_once(" -> ").and_then(|(_, new)| new.split_once(';'));
        let (tag, value) = said.and_then(|(new, _)| new.split_once(' ')).ok_or("an odd line")?;
        let tag = if tag == "RPATH" { Tag::Rpath } else { Tag::Runpath };
        faults.extend(
            compare(&original, path, &Expect { tag: Some(tag), search_path: Some(value.as_bytes()) })?
                .into_iter()
                .map(|fault| format!("{}: {fault}", path.display())),
        );
    }
    if changed == 0 {
        faults.push("no file was changed: the test shows nothing".into());
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

fn compare(original: &Path, patched: &Path, expect: &Expect<'_>) -> Result<Vec<String>, Failed> {
    let mut faults = Vec::new();
    let objections = judge(&fs::read(original)?, &fs::read(patched)?, expect);
    faults.extend(objections.iter().map(|found| format!("{found:?}")));
    if tool("readelf").is_some() {
        let drivers = [DRIVER, "/run/opengl-driver-32/lib"];
        let starts = readelf_runpath(patched)
            .is_some_and(|(_, path)| drivers.iter().any(|driver| path.starts_with(driver.as_bytes())));
        faults.extend((!starts).then(|| "readelf: the driver does not come first".to_owned()));
    }
    if tool("eu-elflint").is_some() {
        let before = elflint_findings(original);
        faults.extend(elflint_findings(patched).difference(&before).map(|found| format!("eu-elflint: {found}")));
    }
    faults.extend(search_by_loader(patched)?);
    let is_cudart = patched.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libcudart.so"));
    if is_cudart && tool("cc").is_some() && cfg!(target_arch = "x86_64") {
        faults.extend(search_by_cudart(original)?);
    }
    Ok(faults)
}

/// Patches a copy of libcudart for a stand-in of the driver and calls it: the loader says where it looks for
/// libcuda.so.1. (A driver directory that does not exist is passed over without a word.)
fn search_by_cudart(original: &Path) -> Result<Option<String>, Failed> {
    const CALLER: &str = r#"
        #include <dlfcn.h>
        int main(int argc, char **argv) {
            int count = 0;
            void *cudart = dlopen(argv[argc - 1], RTLD_NOW);
            if (!cudart) return 2;
            ((int (*)(int *))dlsym(cudart, "cudaGetDeviceCount"))(&count);
            return 0;
        }"#;
    let lab = Lab::new()?;
    let link = lab.driver()?;
    let cudart = lab.path("libcudart.so");
    fs::copy(original, &cudart)?;
    driver_runpath([OsStr::new("fix"), &link, cudart.as_os_str()]).expect(0)?;
    let (source, caller) = (lab.path("caller.c"), lab.path("caller"));
    fs::write(&source, CALLER)?;
    succeed(Command::new("cc").arg("-o").arg(&caller).arg(&source))?;
    let output = program(&caller).arg(&cudart).env("LD_DEBUG", "libs").output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let search = said.split_once("find library=libcuda.so.1").map(|(_, behind)| behind);
    let first = search.and_then(|behind| behind.lines().find(|line| line.contains("trying file=")));
    let wanted = format!("trying file={}", lab.path("driver/lib/libcuda.so.1").display());
    let right = first.is_some_and(|line| line.ends_with(&wanted));
    Ok((!right).then(|| format!("libcudart looks for libcuda.so.1 elsewhere: {first:?}")))
}

/// Loads the file, and what it needs, with ld.so.
fn search_by_loader(path: &Path) -> Result<Option<String>, Failed> {
    let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
    if !loader.exists() || !cfg!(target_arch = "x86_64") {
        return Ok(None);
    }
    let output = program(loader).arg("--list").arg(path).output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // A dependency that is not in the tree is no fault of the file.
    let is_foreign = said.contains("wrong ELF class");
    let refused = !output.status.success() && !is_foreign && !said.contains("cannot open shared object file");
    Ok(refused.then(|| format!("ld.so: {said}")))
}
