//! Files that are refused, each with a message of its own, untouched and as sound as before; and, as the counter-test,
//! files that look like those and are patched.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use goblin::elf::dynamic::{DT_NEEDED, DT_RUNPATH};
use libtest_mimic::{Failed, Trial};

use super::support::hand::Draft;
use super::support::lab::{Lab, contains, driver_runpath, program, same, succeed};
use super::support::referee::{Expect, Image, Tag, judge};
use super::support::tools::trial;
use super::workshop::patiently;

type Done = Result<(), Failed>;

/// A program that says something.
const HELLO: &str = "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n";
const PAYLOAD: &[u8] = b"a payload that a program finds from the end of its own file";

/// The trials of this file.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_static_pie_program_is_refused_and_still_runs", &["cc"], static_pie),
        trial("the_dynamic_loader_is_refused_and_still_runs", &["cc"], loader),
        trial("a_static_program_is_refused_and_still_runs", &["cc"], static_program),
        trial("an_object_file_is_refused_and_still_links", &["cc"], object_file),
        trial("a_core_file_is_refused", &["cc"], core_file),
        trial("a_debug_file_of_objcopy_is_refused", &["cc", "objcopy"], debug_file_of_objcopy),
        trial(
            "a_debug_file_of_eu_strip_is_refused_and_still_fits",
            &["cc", "eu-strip", "eu-unstrip"],
            debug_file_of_eu_strip,
        ),
        trial("code_for_a_gpu_or_bpf_is_refused", &["cc"], device_code),
        trial("a_file_of_another_system_is_refused", &["cc"], foreign_abi),
        trial("a_payload_that_only_a_new_segment_would_fit_is_refused_and_still_found", &["cc", "ld.lld"], payload),
        trial("a_library_of_data_alone_is_patched_and_loads", &["cc"], || unneeding("data", &["-DDATA"])),
        trial("a_stub_of_the_driver_is_patched_and_loads", &["cc"], || {
            unneeding("stub", &["-Wl,-soname,libcuda.so.1"])
        }),
        trial("a_plugin_without_libraries_is_patched_and_loads", &["cc"], || unneeding("plugin", &["-DPLUGIN"])),
        trial("one_stray_byte_behind_a_patchelfed_file_is_no_payload", &["cc", "patchelf 0.18"], stray_byte),
    ]
}

/// Compiles a source that is given as text.
fn cc(lab: &Lab, output: &str, text: &str, flags: &[&str]) -> Result<PathBuf, Failed> {
    let source = lab.path(&format!("{output}.c"));
    fs::write(&source, text)?;
    let to = lab.path(output);
    succeed(Command::new("cc").arg("-o").arg(&to).arg(&source).args(flags))?;
    Ok(to)
}

/// `fix` and `fix --all` name the file and the reason, and leave every byte and the mode.
fn is_refused(file: &Path, reason: &str) -> Done {
    let (bytes, mode) = (fs::read(file)?, fs::metadata(file)?.permissions().mode());
    for flags in [&["--all"][..], &["--all", "--force-rpath"], &[]] {
        let args = [OsStr::new("fix")].into_iter().chain(flags.iter().map(OsStr::new)).chain([file.as_os_str()]);
        let run = driver_runpath(args).expect(0)?;
        contains(&run.err, &format!("skipped: {}: {reason}", file.display()))?;
        contains(&run.out, "0 changed")?;
        same(fs::read(file)? == bytes, true, "same bytes")?;
        same(fs::metadata(file)?.permissions().mode(), mode, "mode")?;
    }
    Ok(())
}

fn says_hello(file: &Path) -> Done {
    let output = patiently(&mut program(file))?;
    same(String::from_utf8_lossy(&output.stdout).trim(), "hello", &format!("{} says", file.display()))
}

/// Turns the first spare `DT_NULL` into a `DT_RUNPATH`, by hand.
fn with_runpath(bytes: &[u8]) -> Result<Vec<u8>, Failed> {
    let mut draft = Draft::new(bytes);
    let (count, spare) = draft.dynamic(|table| (table.entries.len() as u64, table.spare.len()));
    same(spare > 1, true, "a spare DT_NULL is there")?;
    draft.set_entry(count, DT_RUNPATH, 1);
    Ok(draft.bytes)
}

fn static_pie() -> Done {
    let lab = Lab::new()?;
    let file = cc(&lab, "hello", HELLO, &["-static-pie"])?;
    says_hello(&file)?;
    is_refused(&file, "a static-PIE executable, it relocates itself and must not have a DT_RUNPATH")?;
    says_hello(&file)?;
    // The counter-test: what the refusal is for.
    fs::write(&file, with_runpath(&fs::read(&file)?)?)?;
    match says_hello(&file) {
        Ok(()) => Err("it runs with a DT_RUNPATH: the case tests nothing".into()),
        Err(_) => Ok(()),
    }
}

fn loader() -> Done {
    let lab = Lab::new()?;
    let hello = cc(&lab, "hello", HELLO, &[])?;
    let bytes = fs::read(&hello)?;
    let image = Image::read(&bytes)?;
    let interp = image.segment(goblin::elf::program_header::PT_INTERP).ok_or("no PT_INTERP")?;
    let name = image.slice(interp.offset, interp.filesz.saturating_sub(1)).ok_or("PT_INTERP outside the file")?;
    let file = lab.path("the-loader");
    fs::copy(Path::new(super::support::tools::os(name)), &file)?;
    let runs = |file: &Path| {
        let output = patiently(program(file).arg(&hello))?;
        same(String::from_utf8_lossy(&output.stdout).trim(), "hello", "it says")
    };
    runs(&file)?;
    is_refused(&file, "the dynamic loader itself, it must not have a DT_RUNPATH")?;
    runs(&file)?;
    fs::write(&file, with_runpath(&fs::read(&file)?)?)?;
    match runs(&file) {
        Ok(()) => Err("it runs with a DT_RUNPATH: the case tests nothing".into()),
        Err(_) => Ok(()),
    }
}

fn static_program() -> Done {
    let lab = Lab::new()?;
    let file = cc(&lab, "hello", HELLO, &["-static"])?;
    is_refused(&file, "a static executable, nothing loads libraries for it")?;
    says_hello(&file)
}

fn object_file() -> Done {
    let lab = Lab::new()?;
    let file = cc(&lab, "hello.o", HELLO, &["-c"])?;
    is_refused(&file, "a relocatable object file")?;
    let linked = lab.path("linked");
    succeed(Command::new("cc").arg("-o").arg(&linked).arg(&file))?;
    says_hello(&linked)
}

/// A file with another word in its header.
fn poked(lab: &Lab, name: &str, at: u64, width: u64, value: u64) -> Result<PathBuf, Failed> {
    let file = cc(lab, name, HELLO, &["-shared", "-fPIC"])?;
    let mut draft = Draft::new(&fs::read(&file)?);
    draft.put(at, width, value);
    fs::write(&file, draft.bytes)?;
    Ok(file)
}

fn core_file() -> Done {
    const E_TYPE: u64 = 16;
    is_refused(&poked(&Lab::new()?, "core", E_TYPE, 2, 4)?, "a core file")
}

fn device_code() -> Done {
    const E_MACHINE: u64 = 18;
    let lab = Lab::new()?;
    for (name, machine) in [("cuda", 190), ("amdgpu", 224), ("bpf", 247)] {
        is_refused(&poked(&lab, name, E_MACHINE, 2, machine)?, "code for a GPU or BPF, not for ld.so")?;
    }
    Ok(())
}

fn foreign_abi() -> Done {
    const EI_OSABI: u64 = 7;
    let lab = Lab::new()?;
    for (name, abi) in [("netbsd", 2), ("solaris", 6), ("freebsd", 9), ("cuda", 51), ("standalone", 255)] {
        is_refused(&poked(&lab, name, EI_OSABI, 1, abi)?, "a file of another operating system's ABI")?;
    }
    Ok(())
}

fn debug_file_of_objcopy() -> Done {
    let lab = Lab::new()?;
    for (name, flags) in
        [("library", &["-g", "-shared", "-fPIC"][..]), ("pie", &["-g", "-pie"]), ("nopie", &["-g", "-no-pie"])]
    {
        let file = cc(&lab, name, HELLO, flags)?;
        let debug = file.with_extension("debug");
        succeed(Command::new("objcopy").arg("--only-keep-debug").arg(&file).arg(&debug))?;
        is_refused(&debug, "a separate debug file, its .dynamic has no bytes")?;
    }
    Ok(())
}

fn debug_file_of_eu_strip() -> Done {
    let lab = Lab::new()?;
    let file = cc(&lab, "hello", HELLO, &["-g"])?;
    let debug = lab.path("hello.debug");
    succeed(Command::new("eu-strip").arg("-f").arg(&debug).arg(&file))?;
    is_refused(&debug, "a separate debug file, its .dynamic has no bytes")?;
    let whole = lab.path("whole");
    succeed(Command::new("eu-unstrip").arg("-o").arg(&whole).arg(&file).arg(&debug))?;
    says_hello(&whole)
}

fn payload() -> Done {
    let lab = Lab::new()?;
    let file = cc(&lab, "hello", HELLO, &["-fuse-ld=lld"])?;
    let mut bytes = fs::read(&file)?;
    bytes.extend(PAYLOAD);
    fs::write(&file, &bytes)?;
    let link = format!("--driver-link=/{}", "d".repeat(3000));
    let run =
        driver_runpath([OsStr::new("fix"), OsStr::new("--all"), OsStr::new(&link), file.as_os_str()]).expect(1)?;
    contains(&run.err, &format!("error: {}: no placement for the new search path fits", file.display()))?;
    contains(&run.err, &format!("{} bytes of payload behind the ELF image must stay at the end", PAYLOAD.len()))?;
    contains(&run.err, "the file is unchanged")?;
    same(fs::read(&file)? == bytes, true, "same bytes")?;
    says_hello(&file)
}

/// Three libraries in one: data, a function, a call into whatever loads it.
const UNNEEDING: &str = "
#if defined DATA
const int answer[] = {42, 43};
#elif defined PLUGIN
int given_by_the_host(void);
int call(void) { return given_by_the_host(); }
#else
int cuInit(unsigned flags) { return flags ? 1 : 34; }
#endif
";

/// Loads a library and uses what it has.
const HOST: &str = "
#include <dlfcn.h>
#include <stdio.h>
int given_by_the_host(void) { return 7; }
int main(int count, char **values) {
    void *library = count > 1 ? dlopen(values[1], RTLD_NOW) : 0;
    if (!library)
        return puts(dlerror()), 1;
    int *answer = dlsym(library, \"answer\");
    int (*stub)(unsigned) = dlsym(library, \"cuInit\");
    int (*call)(void) = dlsym(library, \"call\");
    return printf(\"%d\\n\", answer ? answer[1] : stub ? stub(0) : call ? call() : -1) < 0;
}
";

fn unneeding(name: &str, flags: &[&str]) -> Done {
    let lab = Lab::new()?;
    let host = cc(&lab, "host", HOST, &["-rdynamic"])?;
    let flags = [&["-shared", "-fPIC", "-nostdlib"], flags].concat();
    let file = cc(&lab, &format!("lib{name}.so"), UNNEEDING, &flags)?;
    let before = fs::read(&file)?;
    let needs = |bytes: &[u8]| Draft::new(bytes).dynamic(|table| table.value(DT_NEEDED).is_some());
    same(needs(&before), false, "it needs a library")?;
    let load = || succeed(program(&host).arg(&file));
    let said = load()?;
    driver_runpath([OsStr::new("fix"), OsStr::new("--all"), file.as_os_str()]).expect(0)?;
    let expect = Expect { tag: Some(Tag::Runpath), search_path: Some(super::support::lab::DRIVER.as_bytes()) };
    let objections = judge(&before, &fs::read(&file)?, &expect);
    if !objections.is_empty() {
        return Err(format!("{objections:#?}").into());
    }
    same(load()?, said, "it says")
}

fn stray_byte() -> Done {
    let lab = Lab::new()?;
    let file = cc(&lab, "hello", HELLO, &[])?;
    let long = "/a/directory/that/only/patchelf/knows".repeat(20);
    succeed(Command::new("patchelf").arg("--set-rpath").arg(&long).arg(&file))?;
    let mut patched = fs::read(&file)?;
    // patchelf itself leaves up to seven.
    let end = Image::read(&patched)?.image_end();
    patched.truncate(usize::try_from(end)?);
    for (stray, grows) in [(1, true), (7, true), (8, false)] {
        let mut before = patched.clone();
        before.extend(std::iter::repeat_n(b'\n', stray));
        fs::write(&file, &before)?;
        let link = format!("--driver-link=/{}", "d".repeat(3000));
        let run = driver_runpath([OsStr::new("fix"), OsStr::new("--all"), OsStr::new(&link), file.as_os_str()]);
        run.expect(if grows { 0 } else { 1 })?;
        let after = fs::read(&file)?;
        same(after.len() > before.len(), grows, "it grows")?;
        let wanted = format!("/{}/lib:{long}", "d".repeat(3000));
        let expect = Expect { tag: Some(Tag::Runpath), search_path: Some(wanted.as_bytes()) };
        let objections = if grows { judge(&before, &after, &expect) } else { Vec::new() };
        if !objections.is_empty() {
            return Err(format!("{stray} bytes: {objections:#?}").into());
        }
        says_hello(&file)?;
    }
    Ok(())
}
