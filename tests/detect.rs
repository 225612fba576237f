//! Detection, end to end: each kind of evidence in a file that a compiler made, and files whose headers lie.

mod support;

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use driver_runpath::detect::{Depth, DriverNames, Group, detect};
use driver_runpath::elf::Image;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use support::hand::{Draft, Phdr, Shdr};
use support::lab::{Lab, contains, driver_runpath, same, succeed, testdata};
use support::tools::trial;

type Done = Result<(), Failed>;

const SHARED: [&str; 3] = ["-shared", "-fPIC", "-O2"];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = kind_trials();
    trials.extend(names_only_trials());
    trials.extend(json_trials());
    trials.extend(bad_input_trials());
    libtest_mimic::run(&arguments, trials).exit();
}

/// What `check --json` says of everything at `path`.
fn check(path: &Path, options: &[&str]) -> Result<Value, Failed> {
    let options = options.iter().map(OsStr::new);
    let run = driver_runpath(
        [OsStr::new("check"), OsStr::new("--json")].into_iter().chain(options).chain([path.as_os_str()]),
    );
    if run.status == 2 {
        return Err(format!("{run:#?}").into());
    }
    Ok(serde_json::from_str(&run.out)?)
}

/// The same of one file.
fn check_file(path: &Path, options: &[&str]) -> Result<Value, Failed> {
    let document = check(path, options)?;
    Ok(document["files"].get(0).ok_or("no file")?.clone())
}

/// The first evidence is of this kind, says this, and lies in this section, where these bytes are.
fn evidence(path: &Path, file: &Value, kind: &str, what: &str, place: &str, bytes: &[u8]) -> Done {
    let first = &file["evidence"][0];
    same(first["kind"].as_str(), Some(kind), "kind")?;
    same(first["what"].as_str(), Some(what), "what")?;
    same(first["place"].as_str(), Some(place), "place")?;
    let offset = usize::try_from(first["offset"].as_u64().ok_or("no offset")?)?;
    let there = fs::read(path)?.get(offset..offset + bytes.len()).map(<[u8]>::to_vec);
    same(there.as_deref(), Some(bytes), "the bytes at the offset")
}

fn kind_trials() -> Vec<Trial> {
    // A source, and what is found in it: kind, what, place, bytes.
    type Case = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static [u8]);
    const CASES: [Case; 4] = [
        ("a_soname_as_a_string", "opens.c", "soname", "libcuda.so.1", ".rodata.str1.1", b"libcuda.so.1\0"),
        ("a_function_of_the_driver", "asks.c", "entry-point", "cuInit", ".rodata.str1.1", b"cuInit\0"),
        ("a_format_of_driver_names", "formats.c", "format", "libGLX_%s.so", ".rodata.str1.1", b"libGLX_%s.so.0\0"),
        ("a_dlopen_note", "declares.c", "dlopen-note", "libcuda.so.1", ".note.dlopen", b"[{\"feature\":\"gpu\""),
    ];
    let mut trials: Vec<Trial> = CASES
        .into_iter()
        .map(|(name, source, kind, what, place, bytes)| {
            trial(&format!("evidence_is_told_with_its_place::{name}"), &["cc"], move || {
                let lab = Lab::new()?;
                let path = lab.cc("libfound.so", &[source], &SHARED)?;
                let file = check_file(&path, &[])?;
                same(&file["verdict"], &json!("misses"), "verdict")?;
                // The linker merges .rodata.str1.1 into .rodata.
                evidence(&path, &file, kind, what, place.trim_end_matches(".str1.1"), bytes)?;
                let fixed = driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(0)?;
                contains(&fixed.out, "1 changed")
            })
        })
        .collect();
    let is_x86 = cfg!(any(target_arch = "x86_64", target_arch = "x86"));
    trials.push(
        trial("evidence_is_told_with_its_place::a_soname_in_constants_of_the_code", &["cc"], constants)
            .with_ignored_flag(!is_x86),
    );
    for (compiler, is_ours) in [("cc", is_x86), ("aarch64-linux-gnu-gcc", true)] {
        let name = format!("a_name_that_the_compiler_makes_of_constants_is_found::{compiler}");
        let found = trial(&name, &[compiler], move || arrays(compiler));
        trials.push(if is_ours { found } else { found.with_ignored_flag(true) });
    }
    trials.push(trial("a_name_in_wide_characters_is_found", &["cc"], wide));
    trials.push(trial("names_that_only_begin_as_a_drivers_do_are_none", &["cc"], other_arrays));
    trials.push(Trial::test("evidence_is_told_with_its_place::a_needed_library", needed));
    trials.push(trial("functions_in_the_import_table_are_no_evidence", &["cc"], imports));
    trials.push(trial("names_of_the_graphics_group_count_when_asked_for", &["cc"], graphics));
    trials.push(trial("a_broken_dlopen_note_is_a_warning", &["cc"], broken_note));
    trials
}

fn needed() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libneeds.so", "libneeds.so")?;
    evidence(&path, &check_file(&path, &[])?, "needed", "libcuda.so.1", ".dynstr", b"libcuda.so.1\0")
}

fn constants() -> Done {
    let lab = Lab::new()?;
    let path = lab.cc("libbuilds.so", &["builds.c"], &SHARED)?;
    let in_file = memchr::memmem::find(&fs::read(&path)?, b"libcuda.so").is_some();
    same(in_file, false, "the whole name is in the file: the case tests nothing")?;
    let file = check_file(&path, &[])?;
    evidence(&path, &file, "immediate", "libcuda.so.1", ".text", b"libc")?;
    same(&file["wanted_for"], &json!(["cuda"]), "what it is wanted for")?;
    contains(
        &driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(0)?.out,
        "builds libcuda.so.1 in .text at 0x",
    )
}

/// Ways to optimise, and for x86 what its processors can have.
const OPTIMISATIONS: [&[&str]; 5] = [&["-O1"], &["-O2"], &["-O3"], &["-Os"], &["-O2", "-march=x86-64-v3"]];

/// Compiles `array.c` with this name and these options.
fn array(lab: &Lab, compiler: &str, name: &str, options: &[&str]) -> Result<std::path::PathBuf, Failed> {
    let path = lab.path("libarray.so");
    let mut command = std::process::Command::new(compiler);
    command.args(["-shared", "-fPIC", "-o"]).arg(&path).arg(testdata().join("src/array.c")).args(options);
    succeed(command.arg(format!("-DNAME=\"{name}\"")))?;
    Ok(path)
}

/// Names with and without a directory, of lengths that are cut in each way that there is.
fn arrays(compiler: &str) -> Done {
    let lab = Lab::new()?;
    let directories = ["", "/usr/lib64/", "/usr/lib/wsl/lib/", "/run/opengl-driver/lib/", "/usr/lib/x86_64-linux-gnu/"];
    let (mut hidden, mut whole, mut all, mut missed) = (0, 0, 0, Vec::new());
    for soname in ["libcuda.so.1", "libnvidia-ml.so.1", "libnvidia-encode.so.1", "libnvidia-ptxjitcompiler.so.1"] {
        for directory in directories {
            for options in OPTIMISATIONS {
                if compiler != "cc" && options.len() > 1 {
                    continue;
                }
                let name = format!("{directory}{soname}");
                let path = array(&lab, compiler, &name, options)?;
                hidden += usize::from(memchr::memmem::find(&fs::read(&path)?, soname.as_bytes()).is_none());
                let file = check_file(&path, &[])?;
                let what = file["evidence"][0]["what"].as_str().unwrap_or_default();
                // Where a member's name is cut and its two vectors overlap, the file has it with the shared bytes twice.
                let is_found = what == soname || soname.contains("nvidia-") && what.starts_with("libnvidia-");
                if file["verdict"] != json!("misses") || !is_found {
                    missed.push(format!("{name} {options:?}: {}", file["evidence"]));
                }
                whole += usize::from(what == soname);
                all += 1;
            }
        }
    }
    same(missed, Vec::new(), "what is missed")?;
    println!("{whole} of {all} names are told as they are");
    // An AArch64 compiler loads such strings whole.
    same(hidden > 30 || compiler != "cc", true, "the names are whole in the files: the case tests nothing")
}

fn other_arrays() -> Done {
    let lab = Lab::new()?;
    for name in [
        "/usr/lib64/libcurl.so.4",
        "/usr/lib64/libcudart.so.12",
        "libnvidia-container.so.1",
        "/opt/wsl/lib/libcudadevrt.a",
        "/run/opengl-driver/lib/libcudnn.so.9",
        "libnvidia-encoder-settings.conf",
    ] {
        // In vectors that overlap, the container's library is one of a name that no driver has, and many could.
        let is_container = name.contains("container");
        for options in OPTIMISATIONS.iter().take(if is_container { 1 } else { OPTIMISATIONS.len() }) {
            let file = check_file(&array(&lab, "cc", name, options)?, &[])?;
            same(&file["verdict"], &json!("not-a-loader"), &format!("{name} {options:?}"))?;
        }
    }
    Ok(())
}

fn wide() -> Done {
    let lab = Lab::new()?;
    for (prefix, kind) in [("u", "char16_t"), ("U", "char32_t"), ("L", "__WCHAR_TYPE__")] {
        let flags = [format!("-DTYPE={kind}"), format!("-DWIDE={prefix}\"libcuda.so.1\"")];
        let flags = [&SHARED[..], &flags.each_ref().map(String::as_str)].concat();
        let path = lab.cc("libwide.so", &["wide.c"], &flags)?;
        let start: &[u8] = if kind == "char16_t" { b"l\0i\0b\0" } else { b"l\0\0\0i\0\0\0b" };
        evidence(&path, &check_file(&path, &[])?, "soname", "libcuda.so.1", ".rodata", start)?;
        // Another library.
        let flags: Vec<String> = flags.iter().map(|flag| flag.replace("cuda", "curl")).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let path = lab.cc("libother.so", &["wide.c"], &flags)?;
        same(&check_file(&path, &[])?["verdict"], &json!("not-a-loader"), "libcurl.so.1")?;
    }
    Ok(())
}

fn imports() -> Done {
    let lab = Lab::new()?;
    let path = lab.cc("libimports.so", &["imports.c"], &SHARED)?;
    same(memchr::memmem::find(&fs::read(&path)?, b"\0cuInit\0").is_some(), true, "imports cuInit")?;
    same(&check_file(&path, &[])?["verdict"], &json!("not-a-loader"), "verdict")?;
    // Without section headers, too.
    let mut draft = Draft::new(&fs::read(&path)?);
    drop_section_headers(&mut draft);
    fs::write(&path, &draft.bytes)?;
    same(&check_file(&path, &[])?["verdict"], &json!("not-a-loader"), "verdict without section headers")
}

fn graphics() -> Done {
    let lab = Lab::new()?;
    let source = lab.path("va.c");
    fs::write(&source, "#include <dlfcn.h>\nvoid *f(void) { return dlopen(\"/x/iHD_drv_video.so\", 2); }\n")?;
    let path = lab.cc("libva.so", &[&source.to_string_lossy()], &SHARED)?;
    same(&check_file(&path, &[])?["verdict"], &json!("not-a-loader"), "verdict")?;
    let file = check_file(&path, &["--group", "graphics"])?;
    evidence(&path, &file, "soname", "iHD_drv_video.so", ".rodata", b"iHD_drv_video.so\0")
}

fn broken_note() -> Done {
    let lab = Lab::new()?;
    let flags = [&SHARED[..], &["-DNOTE=\"[{\\\\\\\"soname\\\\\\\":\""]].concat();
    let path = lab.cc("libdeclares.so", &["declares.c"], &flags)?;
    let file = check_file(&path, &[])?;
    same(&file["verdict"], &json!("not-a-loader"), "verdict")?;
    contains(file["warnings"][0].as_str().unwrap_or_default(), "its dlopen note at 0x")?;
    for command in ["check", "fix"] {
        let run = driver_runpath([OsStr::new(command), path.as_os_str()]).expect(0)?;
        contains(&run.err, &format!("warning: {}: its dlopen note at 0x", path.display()))?;
    }
    // A size that leaves the section.
    let mut draft = Draft::new(&fs::read(&path)?);
    let at = draft.section_offset(".note.dlopen");
    draft.put(at + 4, 4, 0xffff_fff0);
    fs::write(&path, &draft.bytes)?;
    let file = check_file(&path, &[])?;
    contains(file["warnings"][0].as_str().unwrap_or_default(), "its notes in .note.dlopen are broken at 0x")
}

fn names_only_trials() -> Vec<Trial> {
    vec![
        trial("a_name_for_another_object_is_told_with_the_likely_opener", &["cc"], names_only),
        trial("a_name_without_an_opener_in_the_tree_is_told_as_such", &["cc"], names_alone),
    ]
}

fn names_only() -> Done {
    let lab = Lab::new()?;
    let wrapper = lab.cc("tree/libwrapper.so", &["wrapper.c"], &["-shared", "-fPIC", "-Wl,-soname,libwrapper.so"])?;
    let flags = ["-shared", "-fPIC", "-Ltree", "-lwrapper"];
    let path = lab.cc("tree/plugin.so", &["names.c"], &flags)?;
    lab.cc("tree/libother.so", &["wrapper.c"], &["-shared", "-fPIC"])?;
    let bytes = fs::read(&path)?;
    let tree = lab.path("tree");
    let run = driver_runpath([OsStr::new("check"), tree.as_os_str()]).expect(0)?;
    let opener = format!("the opener is likely {}", wrapper.display());
    contains(&run.out, &format!("names it only: {}: names libcuda.so.1 in .rodata", path.display()))?;
    same(run.out.lines().next().is_some_and(|line| line.ends_with(&opener)), true, &run.out)?;
    contains(&run.out, "3 ELF files, 0 load the driver")?;

    let document = check(&tree, &[])?;
    let file = document["files"].as_array().into_iter().flatten().find(|file| file["verdict"] == json!("names-only"));
    same(&file.ok_or("no names-only file")?["openers"], &json!([{ "text": wrapper }]), "openers")?;

    let run = driver_runpath([OsStr::new("fix"), OsStr::new("-v"), tree.as_os_str()]).expect(0)?;
    contains(&run.out, &opener)?;
    contains(&run.out, "0 load the driver: 0 changed")?;
    let run = driver_runpath([OsStr::new("fix"), tree.as_os_str()]).expect(0)?;
    same(run.out.lines().count(), 1, "lines without -v")?;
    same(fs::read(&path)? == bytes, true, "same bytes")
}

fn names_alone() -> Done {
    let lab = Lab::new()?;
    let path = lab.cc("plugin.so", &["names.c"], &SHARED)?;
    let run = driver_runpath([OsStr::new("check"), path.as_os_str()]).expect(0)?;
    contains(&run.out, "no dependency of it that was looked at opens libraries")
}

fn json_trials() -> Vec<Trial> {
    vec![
        Trial::test("the_json_of_fix_says_what_changed", fix_json),
        Trial::test("a_path_that_is_not_utf8_survives_in_json", not_utf8),
    ]
}

fn fix_json() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/program", "program")?;
    let fix = |expected: &str| -> Result<Value, Failed> {
        let run = driver_runpath([OsStr::new("fix"), OsStr::new("--json"), path.as_os_str()]).expect(0)?;
        let document: Value = serde_json::from_str(&run.out)?;
        same(&document["version"], &json!(1), "version")?;
        same(&document["command"], &json!("fix"), "command")?;
        same(document["files"][0]["outcome"].as_str(), Some(expected), "outcome")?;
        Ok(document)
    };
    let document = fix("changed")?;
    let file = &document["files"][0];
    same(&file["evidence"][0]["what"], &json!("libcuda.so.1"), "evidence")?;
    let change = &file["change"];
    let text = |entries: &[&str]| Value::Array(entries.iter().map(|entry| json!({ "text": entry })).collect());
    same(&change["old"], &json!([{ "tag": "RUNPATH", "search_path": text(&["/opt/lib"]) }]), "old")?;
    same(&change["new"]["search_path"], &text(&["/run/opengl-driver/lib", "/opt/lib"]), "new")?;
    same(document["summary"]["status"].as_u64(), Some(0), "status")?;
    same(fix("already-right")?["files"][0].get("change"), None, "change")
}

fn not_utf8() -> Done {
    let lab = Lab::new()?;
    let name = OsStr::from_bytes(b"caf\xe9.so");
    let path = lab.root().join(name);
    fs::copy(testdata().join("prebuilt/x86_64/libopens.so"), &path)?;
    for command in ["check", "fix"] {
        let run = driver_runpath([OsStr::new(command), OsStr::new("--json"), lab.root().as_os_str()]);
        let document: Value = serde_json::from_str(&run.out)?;
        let said = &document["files"][0]["path"];
        let bytes: Vec<u8> = serde_json::from_value(said["bytes"].clone())?;
        same(bytes.as_slice(), path.as_os_str().as_bytes(), "bytes")?;
        contains(said["text"].as_str().unwrap_or_default(), "caf\\xe9.so")?;
    }
    Ok(())
}

fn bad_input_trials() -> Vec<Trial> {
    vec![
        Trial::test("section_headers_that_lie_hide_nothing_and_are_told", lying_sections),
        Trial::test("any_bytes_changed_in_a_file_are_an_answer_and_no_crash", changed_bytes),
        trial("overlapping_sections_are_read_once", &["cc"], overlapping_sections),
        trial("the_hole_of_a_sparse_file_costs_bounded_time", &["cc"], sparse),
    ]
}

fn drop_section_headers(draft: &mut Draft) {
    for (at, width) in [(40, 8), (60, 2), (62, 2)] {
        draft.put(at, width, 0);
    }
}

/// Each lie is told, and the name is found all the same.
fn lying_sections() -> Done {
    type Lie = (&'static str, fn(&mut Draft), &'static str, &'static str);
    const CONTRADICTION: &str = "its section headers contradict its segments (section .rodata at ";
    const LIES: [Lie; 7] = [
        (
            "an offset of something else",
            |draft| draft.set_section(".rodata", Shdr::Offset, 0),
            CONTRADICTION,
            "segment",
        ),
        ("an address of something else", |draft| draft.set_section(".rodata", Shdr::Addr, 0), CONTRADICTION, "segment"),
        (
            "past the end of the file",
            |draft| draft.set_section(".rodata", Shdr::Size, u64::MAX),
            "its section headers cannot be used (section ",
            "segment",
        ),
        (
            "an offset of 2^64",
            |draft| draft.set_section(".text", Shdr::Offset, u64::MAX - 1),
            "its section headers cannot be used (section ",
            "segment",
        ),
        ("no section headers", drop_section_headers, "", "segment"),
        (
            "a table past the end of the file",
            |draft| draft.put(40, 8, 1 << 40),
            "its section headers cannot be used (",
            "segment",
        ),
        (
            "compressed",
            |draft| {
                let image = draft.image();
                let at = image.shoff + draft.section(".rodata") as u64 * image.shentsize + 8;
                draft.put(at, 8, 0x802);
            },
            "its section .rodata is loaded, but marked compressed",
            ".rodata",
        ),
    ];
    let lab = Lab::new()?;
    let whole = fs::read(testdata().join("prebuilt/x86_64/libopens.so"))?;
    let path = lab.path("libopens.so");
    for (what, lie, warning, place) in LIES {
        let mut draft = Draft::new(&whole);
        lie(&mut draft);
        fs::write(&path, &draft.bytes)?;
        let file = check_file(&path, &[])?;
        let found = &file["evidence"][0];
        same(found["what"].as_str(), Some("libcuda.so.1"), what)?;
        same(found["place"].as_str().is_some_and(|found| found.starts_with(place)), true, what)?;
        let said = file["warnings"][0].as_str().unwrap_or_default();
        same(said.is_empty(), warning.is_empty(), what)?;
        contains(said, warning)?;
        let run = driver_runpath([OsStr::new("check"), path.as_os_str()]).expect(1)?;
        same(run.err.contains("warning: "), !warning.is_empty(), &run.err)?;
    }
    Ok(())
}

/// In the process, so that a panic is seen: many files with a few bytes changed, most of them in the headers.
fn changed_bytes() -> Done {
    let names = DriverNames::new(["libvendor.so".to_owned()]).with(Group::Graphics);
    // xorshift64: the same files in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below.max(1) as u64).unwrap_or(0)
    };
    let mut answers = 0;
    for fixture in ["x86_64/libopens.so", "i386/program", "ppc64/libopens.so", "mips/program"] {
        let whole = fs::read(testdata().join("prebuilt").join(fixture))?;
        let sections = Draft::new(&whole).image().shoff as usize;
        for _ in 0..3000 {
            let mut bytes = whole.clone();
            for _ in 0..1 + random(4) {
                let at = [random(512), random(whole.len()), sections + random(whole.len() - sections)][random(3)];
                let value = [0, 1, 0x7f, 0x80, 0xff, random(256) as u8][random(6)];
                bytes.get_mut(at).map(|byte| *byte = value).ok_or("past the end")?;
            }
            let Ok(image) = Image::parse(&bytes) else { continue };
            for depth in [Depth::First, Depth::FirstName, Depth::All] {
                let found = detect(&image, &names, depth);
                same(found.searched <= bytes.len() as u64, true, "no byte is searched twice")?;
                answers += usize::from(found.loads_driver());
            }
        }
    }
    same(answers > 1000, true, "most files are still read")
}

/// Thousands of section headers that all cover the same 32 MiB.
fn overlapping_sections() -> Done {
    const COPIES: u64 = 20_000;
    let lab = Lab::new()?;
    let path = lab.cc("liblarge.so", &["large.c"], &SHARED)?;
    let mut draft = Draft::new(&fs::read(&path)?);
    let image = draft.image();
    let (table, entry) = (image.shoff, image.shentsize);
    let count = image.sections.len() as u64;
    let data = draft.section(".rodata") as u64;
    let header =
        |index: u64| draft.bytes[(table + index * entry) as usize..(table + (index + 1) * entry) as usize].to_vec();
    let headers: Vec<u8> = (0..count).chain(std::iter::repeat_n(data, COPIES as usize)).flat_map(header).collect();
    let end = (draft.bytes.len() as u64).next_multiple_of(8);
    draft.put_bytes(end, &headers);
    draft.put(40, 8, end);
    draft.put(60, 2, count + COPIES);
    fs::write(&path, &draft.bytes)?;
    let start = Instant::now();
    let document = check(&path, &[])?;
    same(start.elapsed() < Duration::from_secs(20), true, "time")?;
    let searched = document["summary"]["searched_bytes"].as_u64().unwrap_or(u64::MAX);
    same(searched <= draft.bytes.len() as u64, true, "no byte is searched twice")?;
    same(&document["files"][0]["evidence"][0]["what"], &json!("libcuda.so.1"), "evidence")
}

fn sparse() -> Done {
    const LEN: u64 = 10 << 30;
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libopens.so", "libopens.so")?;
    let lengthen = || OpenOptions::new().write(true).open(&path)?.set_len(LEN);
    let timed_check = || {
        let start = Instant::now();
        let document = check(&path, &[])?;
        same(start.elapsed() < Duration::from_secs(60), true, "time")?;
        same(&document["files"][0]["evidence"][0]["what"], &json!("libcuda.so.1"), "evidence")?;
        Ok::<Value, Failed>(document)
    };
    // Behind everything that the headers name.
    lengthen()?;
    let document = timed_check()?;
    same(document["summary"]["searched_bytes"].as_u64() < Some(1 << 20), true, "searched bytes")?;

    // In the last segment, without section headers.
    let mut draft = Draft::new(&fs::read(testdata().join("prebuilt/x86_64/libopens.so"))?);
    drop_section_headers(&mut draft);
    let last = draft.image().segments.iter().rposition(|segment| segment.kind == 1).ok_or("no PT_LOAD")?;
    let offset = draft.image().segments.get(last).ok_or("no PT_LOAD")?.offset;
    draft.set_segment(last, Phdr::Filesz, LEN - offset);
    draft.set_segment(last, Phdr::Memsz, LEN - offset);
    fs::write(&path, &draft.bytes)?;
    lengthen()?;
    let document = timed_check()?;
    let file = &document["files"][0];
    same(document["summary"]["searched_bytes"].as_u64() <= Some(1 << 31), true, "searched bytes")?;
    contains(file["warnings"][0].as_str().unwrap_or_default(), "only the first 2 GiB of its code and data")?;
    let run = driver_runpath([OsStr::new("fix"), OsStr::new("-n"), path.as_os_str()]).expect(0)?;
    same(run.err.as_str(), "", "fix found what it sought before the limit")
}
