//! What `explain` says, without the real loader.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::cases::What;
use crate::support::lab::{Lab, Ran, contains, driver_runpath, program, same, succeed, testdata};
use crate::support::tools::trial;
use crate::{Done, put};

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("what_can_never_load_the_driver_is_named_with_its_reason", never_candidates),
        Trial::test("what_cannot_be_explained_is_an_error", errors),
        Trial::test("names_and_search_paths_are_printed_harmless", harmless),
        trial("a_stub_is_called_a_stub_wherever_its_link_lies", &["cc"], stubs),
        trial("the_work_ends_with_a_search_path_of_any_length", &["cc"], endless_search_path),
        trial("the_environment_is_told_apart_from_the_file", &["cc"], environment),
        trial("no_link_leads_out_of_the_sysroot", &["cc"], links_out_of_the_sysroot),
        trial("a_broken_cache_is_no_cache", &["cc"], broken_cache),
    ]
}

fn explain(args: &[&OsStr]) -> Result<Ran, Failed> {
    driver_runpath([OsStr::new("explain")].iter().chain(args)).expect(0)
}

fn never_candidates() -> Done {
    let lab = Lab::new()?;
    let text = lab.path("script");
    fs::write(&text, "#!/bin/sh\n")?;
    contains(&explain(&[text.as_os_str()])?.out, "never a candidate: not an ELF file")?;
    let object = lab.fixture("aarch64/libopens.so", "object.o")?;
    let mut bytes = fs::read(&object)?;
    *bytes.get_mut(16).ok_or("too short")? = 1;
    fs::write(&object, bytes)?;
    let said = explain(&[object.as_os_str()])?.out;
    contains(&said, "ELF 64-bit, little-endian, AArch64, relocatable")?;
    contains(&said, "never a candidate: a relocatable object file")?;
    let document: Value = serde_json::from_str(&explain(&[OsStr::new("--json"), object.as_os_str()])?.out)?;
    same(document["version"].as_u64(), Some(1), "the version of the schema")?;
    same(document["not_a_candidate"]["kind"].as_str(), Some("relocatable"), "the kind")
}

fn errors() -> Done {
    let lab = Lab::new()?;
    let whole = fs::read(testdata().join("prebuilt/x86_64/libopens.so"))?;
    let path = lab.path("lib.so");
    for len in (4..whole.len()).step_by(211) {
        fs::write(&path, whole.get(..len).ok_or("past the end")?)?;
        let run = driver_runpath([OsStr::new("explain"), path.as_os_str()]);
        same(run.status == 0 || run.status == 2, true, &format!("{len} bytes: {run:?}"))?;
        same(run.status == 2, run.err.contains("error: "), "an error has a reason")?;
    }
    let missing = driver_runpath([OsStr::new("explain"), lab.path("missing").as_os_str()]).expect(2)?;
    contains(&missing.err, "missing: cannot open: No such file")?;
    let args = ["explain", "--sysroot", "/nonexistent", "/bin/sh"];
    contains(&driver_runpath(args).expect(2)?.err, "--sysroot /nonexistent: No such file")
}

fn harmless() -> Done {
    let lab = Lab::new()?;
    let path = lab.path("evil\x1b[2J\n.so");
    fs::copy(testdata().join("prebuilt/x86_64/libopens.so"), &path)?;
    let mut fix = program(Path::new(env!("CARGO_BIN_EXE_driver-runpath")));
    succeed(fix.args(["fix", "--prepend", "/x\x1b[31m\ny"]).arg(&path))?;
    let said = explain(&[path.as_os_str()])?.out;
    contains(&said, "evil\\x1b[2J\\x0a")?;
    contains(&said, "├─ /x\\x1b[31m\\x0ay: no such directory")?;
    same(said.contains('\x1b'), false, "an escape character in the output")?;
    let document: Value = serde_json::from_str(&explain(&[OsStr::new("--json"), path.as_os_str()])?.out)?;
    same(document["search_path"][0]["entry"]["text"].as_str(), Some("/x\x1b[31m\ny"), "an entry")
}

/// A file may have a search path of any length; the work must end.
fn endless_search_path() -> Done {
    let lab = Lab::new()?;
    let path: Vec<String> = (0..5_000).map(|number| format!("/gone/{number}")).collect();
    let library =
        lab.cc("libopens.so", &["opens.c"], &["-shared", "-fPIC", &format!("-Wl,-rpath,{}", path.join(":"))])?;
    let said = explain(&[library.as_os_str()])?.out;
    contains(&said, "/gone/1023: no such directory\n")?;
    same(said.contains("/gone/1024: "), false, "an entry past the limit")?;
    contains(&said, "note: only the first 1024 entries of a search path")
}

fn stubs() -> Done {
    let lab = Lab::new()?;
    let library = lab.cc("lib/libopens.so", &["opens.c"], &["-shared", "-fPIC", "-Wl,-rpath,$ORIGIN/links"])?;
    put(&lab, &[("cuda/lib64/stubs/libcuda.so.1", What::Driver)])?;
    fs::create_dir_all(lab.path("lib/links"))?;
    symlink(lab.path("cuda/lib64/stubs/libcuda.so.1"), lab.path("lib/links/libcuda.so.1"))?;
    let said = explain(&[library.as_os_str()])?.out;
    contains(&said, "libcuda.so.1: finds a STUB: ")?;
    contains(&said, "cuda/lib64/stubs/libcuda.so.1, by RUNPATH of ")?;
    contains(&said, "/lib/links: holds libcuda.so.1\n")?;
    let direct =
        lab.cc("lib/libother.so", &["opens.c"], &["-shared", "-fPIC", "-Wl,-rpath,$ORIGIN/../cuda/lib64/stubs"])?;
    contains(&explain(&[direct.as_os_str()])?.out, "stubs: a directory of STUBS; holds libcuda.so.1\n")?;
    // The name says it, too, where the directory is a link to a better-sounding one.
    fs::rename(lab.path("cuda/lib64/stubs"), lab.path("cuda/good"))?;
    symlink("../good", lab.path("cuda/lib64/stubs"))?;
    contains(&explain(&[direct.as_os_str()])?.out, "libcuda.so.1: finds a STUB: ")?;
    let document: Value = serde_json::from_str(&explain(&[OsStr::new("--json"), direct.as_os_str()])?.out)?;
    same(document["libraries"][0]["outcome"].as_str(), Some("stub"), "the outcome")
}

fn environment() -> Done {
    let lab = Lab::new()?;
    let library = lab.cc("lib/libopens.so", &["opens.c"], &["-shared", "-fPIC"])?;
    put(&lab, &[("a/libcuda.so.1", What::Driver)])?;
    let mut command = program(Path::new(env!("CARGO_BIN_EXE_driver-runpath")));
    let said = succeed(command.arg("explain").arg(&library).env("LD_LIBRARY_PATH", lab.path("a")))?;
    contains(&said, "by LD_LIBRARY_PATH of this environment\n")?;
    contains(&said, "└─ without this environment's LD_LIBRARY_PATH: NOT FOUND\n")?;
    contains(&said, "note: who loads this file is not known: RPATH of the objects that do")
}

fn links_out_of_the_sysroot() -> Done {
    let lab = Lab::new()?;
    lab.cc("root/lib/libopens.so", &["opens.c"], &["-shared", "-fPIC", "-Wl,-rpath,/out:/out-by-dots:/in:/etc"])?;
    put(&lab, &[("outside/libcuda.so.1", What::Driver), ("root/really/libcuda.so.1", What::Driver)])?;
    symlink(lab.path("outside"), lab.path("root/out"))?;
    symlink("../../../../outside", lab.path("root/out-by-dots"))?;
    symlink("/really", lab.path("root/in"))?;
    let (root, file) = (lab.path("root"), lab.path("root/lib/libopens.so"));
    let sysroot = [OsStr::new("--sysroot"), root.as_os_str()];
    for file in [file.as_os_str(), OsStr::new("/lib/libopens.so")] {
        let said = explain(&[&sysroot[..], &[file]].concat())?.out;
        contains(&said, "/lib/libopens.so\n  ELF 64-bit")?;
        contains(&said, "├─ /out: no such directory\n")?;
        contains(&said, "├─ /out-by-dots: no such directory\n")?;
        contains(
            &said,
            "libcuda.so.1: found: /in/libcuda.so.1 -> /really/libcuda.so.1, by RUNPATH of /lib/libopens.so\n",
        )?;
        contains(&said, "loader: none could be read, usual values are assumed")?;
    }
    Ok(())
}

fn broken_cache() -> Done {
    let lab = Lab::new()?;
    lab.cc("root/lib/libopens.so", &["opens.c"], &["-shared", "-fPIC"])?;
    fs::create_dir_all(lab.path("root/etc"))?;
    let (root, cache) = (lab.path("root"), lab.path("root/etc/ld.so.cache"));
    let args = [OsStr::new("--sysroot"), root.as_os_str(), OsStr::new("/lib/libopens.so")];
    for (bytes, why) in [
        (&b"no cache"[..], "not a cache of ld.so"),
        (b"glibc-ld.so.cache1.1", "truncated"),
        (b"ld.so-1.7.0\0\xff\xff\xff\xff", "truncated"),
    ] {
        fs::write(&cache, bytes)?;
        contains(&explain(&args)?.out, &format!("├─ the cache /etc/ld.so.cache: {why}\n"))?;
    }
    fs::remove_file(&cache)?;
    fs::create_dir(&cache)?;
    contains(&explain(&args)?.out, "├─ the cache /etc/ld.so.cache: no cache of ld.so\n")
}
