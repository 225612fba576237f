//! The programs of `examples/`, on trees of files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use goblin::elf::Elf;

/// The example, built as this test is.
fn example(name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--offline", "--locked", "--example", name]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.arg("--").args(arguments).env_remove("NIX_BUILD_TOP").output();
    output.expect("cargo runs")
}

fn prebuilt(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/prebuilt").join(name)
}

/// A tree with two libraries, a program, a text and a link.
fn tree(at: &Path) {
    fs::create_dir_all(at.join("lib")).expect("a directory");
    for (from, to) in [
        ("x86_64/libopens.so", "lib/libopens.so"),
        ("aarch64/libneeds.so", "lib/libneeds.so"),
        ("x86_64/program", "program"),
    ] {
        fs::copy(prebuilt(from), at.join(to)).expect("a copy");
    }
    fs::write(at.join("README"), "text").expect("a file");
    std::os::unix::fs::symlink("lib/libopens.so", at.join("link.so")).expect("a link");
}

/// All files below a directory with their bytes; links with what they lead to.
fn contents(of: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(of).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_symlink() {
            found.insert(path.clone(), fs::read_link(path).expect("a link").into_os_string().into_encoded_bytes());
        } else if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(path).expect("a file"));
        }
    }
    found
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
fn all_files_of_a_wheel_get_the_directory_and_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let wheel = dir.path().join("wheel");
    tree(&wheel);
    let before = contents(&wheel);
    let first = example("relink_wheel", [wheel.as_os_str(), OsStr::new("$ORIGIN/../wheel.libs")]);
    assert!(first.status.success(), "{}", text(&first));
    let after = contents(&wheel);
    assert!(before.keys().eq(after.keys()));
    let mut edited = 0;
    for (path, bytes) in &after {
        if bytes.starts_with(b"\x7fELF") {
            let elf = Elf::parse(bytes).expect("an ELF file");
            let path = elf.runpaths.iter().chain(&elf.rpaths).flat_map(|path| path.split(':')).last();
            assert_eq!(path, Some("$ORIGIN/../wheel.libs"));
            edited += 1;
        } else {
            assert_eq!(bytes, &before[path]);
        }
    }
    assert_eq!((edited, text(&first).lines().count()), (3, 3), "{}", text(&first));
    let names: Vec<_> =
        fs::read_dir(dir.path()).expect("a directory").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(names, ["wheel"], "nothing is left behind");

    let second = example("relink_wheel", [wheel.as_os_str(), OsStr::new("$ORIGIN/../wheel.libs")]);
    assert!(second.status.success() && text(&second).matches("already there").count() == 3, "{}", text(&second));
    assert_eq!(contents(&wheel), after);
}

#[test]
fn a_wheel_with_a_file_that_cannot_be_edited_stays_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let wheel = dir.path().join("wheel");
    tree(&wheel);
    let mut cut = fs::read(prebuilt("x86_64/libopens.so")).expect("a file");
    cut.truncate(cut.len() / 2);
    fs::write(wheel.join("lib/libzcut.so"), cut).expect("a file");
    let before = contents(&wheel);
    let output = example("relink_wheel", [wheel.as_os_str(), OsStr::new("/opt/lib")]);
    assert!(!output.status.success());
    assert!(
        text(&output).contains("libzcut.so: damaged ELF file: ") && text(&output).contains("is as it was"),
        "{}",
        text(&output)
    );
    assert_eq!(contents(&wheel), before);
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1, "nothing is left behind");
}

#[test]
fn who_opens_the_driver_is_told_with_the_evidence() {
    let dir = tempfile::tempdir().expect("a directory");
    tree(dir.path());
    let output = example("who_opens_the_driver", [dir.path()]);
    assert!(output.status.success(), "{}", text(&output));
    let told = String::from_utf8_lossy(&output.stdout);
    for wanted in
        ["lib/libopens.so: lacks /run/opengl-driver/lib", "Soname: libcuda.so.1 in .rodata at 0x", "lib/libneeds.so: "]
    {
        assert!(told.contains(wanted), "no {wanted:?} in {told}");
    }
    assert!(!told.contains("README"));
}
