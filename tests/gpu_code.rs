//! `gpu-code` on generated files, damaged ones and real libraries: cuobjdump is the judge of those.
//!
//! `testdata/fetch-gpu-code.sh DIR`, then `DRIVER_RUNPATH_GPU_CODE=DIR cargo test --test gpu_code`. Any tree will do that
//! has cuobjdump in `DIR/tools`.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use driver_runpath::fixtures::{FatBinary, FatEntry, FatForm, FatScope, Part, Spec};
use driver_runpath::gpu_code::{Capability, GpuCode, Kind, Linkage, Scope, read};
use libtest_mimic::{Arguments, Failed, Trial};
use object::write::Object;
use object::{Architecture, BinaryFormat, Endianness, SectionKind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use support::lab::{Lab, contains, driver_runpath, same};

/// Where the tree is.
const TREE: &str = "DRIVER_RUNPATH_GPU_CODE";

fn main() {
    let mut trials = vec![
        Trial::test("a_library_says_which_gpus_it_runs_on", library),
        Trial::test("a_tree_says_what_all_files_run_on_and_who_holds_it_back", tree),
        Trial::test("a_required_gpu_that_a_file_does_not_run_on_is_exit_status_1", required),
        Trial::test("code_that_no_pointer_leads_to_does_not_count", unregistered),
        Trial::test("a_fat_binary_in_read_only_data_is_found_by_its_pointer", pointed_to),
        Trial::test("one_odd_fat_binary_does_not_make_a_library_run_on_later_gpus", odd_one),
        Trial::test("a_static_archive_and_its_relocatable_code_are_read", archive),
        Trial::test("a_fat_binary_and_a_bundle_are_files_of_their_own", files_of_their_own),
        Trial::test("a_file_without_section_headers_is_searched", without_sections),
        Trial::test("a_file_without_code_for_gpus_says_so", without_code),
        Trial::test("explain_has_a_line_with_it", explained),
        Trial::test("what_is_asked_for_in_a_fixture_is_what_is_found", any_fixture),
        Trial::test("damaged_files_end_with_an_answer", damaged),
    ];
    let truth = "cuobjdump_finds_the_same_in_real_libraries";
    trials.push(match std::env::var_os(TREE).map(PathBuf::from) {
        Some(tree) => Trial::test(truth, move || real_libraries(&tree)),
        None => Trial::test(truth, || Ok(())).with_kind(format!("needs {TREE}")).with_ignored_flag(true),
    });
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn cubin(number: u32) -> FatEntry {
    FatEntry::new(FatForm::Cubin, number)
}

fn ptx(number: u32) -> FatEntry {
    FatEntry::new(FatForm::Ptx, number)
}

fn exact(entry: FatEntry) -> FatEntry {
    entry.scoped(FatScope::Exact)
}

/// A library with these fat binaries, which its runtime is given.
fn spec(fat_binaries: &[&[FatEntry]]) -> Spec {
    let fat_binaries = fat_binaries.iter().map(|entries| FatBinary::new(entries.to_vec())).collect();
    let mut spec = Spec::default().with(|spec| spec.fat_binaries = fat_binaries);
    spec.loads[2].parts.push(Part::FatBinaries);
    spec.loads[3].parts.push(Part::FatBinaryPointers);
    spec
}

fn write(lab: &Lab, name: &str, bytes: &[u8]) -> Result<PathBuf, Failed> {
    let path = lab.path(name);
    fs::write(&path, bytes)?;
    Ok(path)
}

fn json(arguments: &[&std::ffi::OsStr]) -> Result<Value, Failed> {
    let fixed = ["gpu-code", "--json"].map(std::ffi::OsStr::new);
    Ok(serde_json::from_str(&driver_runpath(fixed.iter().chain(arguments)).out)?)
}

fn library() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let file = write(
        &lab,
        "libx.so",
        &spec(&[&[cubin(80), cubin(120), exact(cubin(90)), ptx(120)], &[cubin(80), cubin(120)]]).build()?,
    )?;
    let shown = file.display();
    let said = driver_runpath(["gpu-code".as_ref(), file.as_os_str()]).expect(0)?;
    same(
        said.out,
        format!(
            "{shown}: cubins 8.0 9.0a 12.0; PTX 12.0\n1 file looked at, 1 carries code for GPUs\n\
             all of it for NVIDIA runs on: 8.0 8.6 8.9 9.0 all from 12.0 on\n"
        ),
        "the report",
    )?;
    let said = driver_runpath(["gpu-code".as_ref(), "-v".as_ref(), file.as_os_str()]).expect(0)?;
    contains(&said.out, "  cubin  sm_80                2           128 bytes\n")?;
    contains(&said.out, "  PTX    compute_120          1            64 bytes\n")?;
    let document = json(&[file.as_os_str()])?;
    same(&document["files"][0]["code"][1]["target"], &Value::from("sm_90a"), "the second target")?;
    same(&document["files"][0]["units"], &Value::from(2), "the fat binaries")?;
    same(&document["summary"]["all_run_on"][0]["capability"], &Value::from("8.0"), "the first GPU")
}

fn tree() -> Result<(), Failed> {
    let lab = Lab::new()?;
    write(&lab, "liba.so", &spec(&[&[cubin(75), cubin(80)]]).build()?)?;
    write(&lab, "libb.so", &spec(&[&[cubin(86), ptx(90)]]).build()?)?;
    write(&lab, "libplain.so", &Spec::default().build()?)?;
    let said = driver_runpath(["gpu-code".as_ref(), lab.root().as_os_str()]).expect(0)?;
    contains(&said.out, "3 files looked at, 2 carry code for GPUs\nall of it for NVIDIA runs on: 8.6 8.9\n")?;
    contains(&said.out, "not on 7.5 8.0: libb.so\n")?;
    contains(&said.out, "not on 9.0 10.0 10.3 11.0 12.0 12.1: liba.so\n")?;
    let quiet = driver_runpath(["gpu-code".as_ref(), "-q".as_ref(), lab.root().as_os_str()]).expect(0)?;
    same(quiet.out.lines().count(), 2, "the lines of a quiet run")
}

fn required() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let old = write(&lab, "libold.so", &spec(&[&[cubin(50), cubin(80)]]).build()?)?;
    write(&lab, "libnew.so", &spec(&[&[cubin(80), cubin(90), ptx(90)]]).build()?)?;
    let run = |require: &str| {
        driver_runpath(["gpu-code".as_ref(), "--require".as_ref(), require.as_ref(), lab.root().as_os_str()])
    };
    run("8.0,sm_86,89").expect(0)?;
    let said = run("8.6,9.0+PTX").expect(1)?;
    contains(&said.out, &format!("MISSES 9.0+PTX: {}: has cubins 5.0 8.0\n", old.display()))?;
    same(said.out.matches("MISSES").count(), 1, "the files that miss some")?;
    let document = json(&["--require".as_ref(), "9.0".as_ref(), lab.root().as_os_str()])?;
    same(&document["files"][1]["misses"][0], &Value::from("9.0"), "what libold.so misses")?;
    same(&document["summary"]["status"], &Value::from(1), "the status")?;
    // Nobody has code for AMD's GPUs: the requirement says something about another tree.
    contains(&run("gfx90a").expect(1)?.out, "MISSES gfx90a: no file has code for GPUs of that make\n")?;
    contains(&run("8.x").expect(2)?.err, "--require 8.x: no compute capability")
}

fn unregistered() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let mut spec = spec(&[&[cubin(52)]]);
    spec.loads[3].parts.pop();
    let file = write(&lab, "libstub.so", &spec.build()?)?;
    let said = driver_runpath(["gpu-code".as_ref(), "-v".as_ref(), file.as_os_str()]).expect(0)?;
    contains(&said.out, "no code for GPUs that the CUDA runtime is given\n")?;
    contains(&said.out, "  cubin  sm_52                1            64 bytes  not registered\n")?;
    driver_runpath(["gpu-code".as_ref(), "--require=9.0".as_ref(), file.as_os_str()]).expect(1)?;
    Ok(())
}

/// The pointer leads to a fat binary in `.rodata`, and with no value but that of a relocation, as lld leaves it.
fn pointed_to() -> Result<(), Failed> {
    let fat_binary = FatBinary::new([cubin(90)]);
    let mut spec = spec(&[&[cubin(90)]]);
    spec.loads[2].parts = vec![Part::RoData];
    spec.rodata.0 = fat_binary.bytes();
    let file = spec.build()?;
    let elf = goblin::elf::Elf::parse(&file)?;
    let find = |name: &str| {
        let named = |section: &&goblin::elf::SectionHeader| elf.shdr_strtab.get_at(section.sh_name) == Some(name);
        elf.section_headers.iter().find(named).ok_or_else(|| format!("no {name}"))
    };
    let (rodata, segment, relocations) = (find(".rodata")?, find(".nvFatBinSegment")?, find(".rela.dyn")?);
    let put = |file: &mut Vec<u8>, at: u64, value: u64| {
        file[at as usize..at as usize + 8].copy_from_slice(&value.to_le_bytes());
    };
    let count = |file: &[u8]| read(file).map(|code| code.pieces.values().map(|tally| tally.count).sum::<u64>());
    let mut direct = file.clone();
    put(&mut direct, segment.sh_offset + 8, rodata.sh_addr);
    same(count(&direct)?, 1, "by its value")?;
    let mut relocated = file.clone();
    put(&mut relocated, segment.sh_offset + 8, 0);
    put(&mut relocated, relocations.sh_offset, segment.sh_addr + 8);
    put(&mut relocated, relocations.sh_offset + 16, rodata.sh_addr);
    let code = read(&relocated)?;
    same(code.pieces.keys().next(), Some(&(Linkage::Executable, Kind::Cubin("9.0".parse()?))), "by its relocation")
}

fn odd_one() -> Result<(), Failed> {
    let plain: &[FatEntry] = &[cubin(80), cubin(90)];
    let odd: &[FatEntry] = &[cubin(80), cubin(90), ptx(52), exact(cubin(120))];
    let code = read(&spec(&[plain, plain, plain, plain, odd]).build()?)?;
    let runs_on = |text: &str| -> Result<bool, Failed> { Ok(code.runs_on(text.parse()?)) };
    same([runs_on("8.0")?, runs_on("8.9")?, runs_on("9.0")?], [true; 3], "the GPUs that all are for")?;
    same([runs_on("7.5")?, runs_on("10.0")?, runs_on("12.0")?], [false; 3], "the GPUs of one in five")?;
    same(code.later_from(), None, "later GPUs")?;
    // Three of five have it.
    let with_ptx: &[FatEntry] = &[cubin(80), cubin(90), ptx(90)];
    let code = read(&spec(&[plain, plain, with_ptx, with_ptx, with_ptx]).build()?)?;
    same((code.runs_on("12.0".parse()?), code.later_from()), (true, Some("9.0".parse()?)), "with PTX")
}

/// An object file of the host with a section of these fat binaries.
fn object_file(section: &str, entries: &[FatEntry]) -> Result<Vec<u8>, Failed> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let section = object.add_section(Vec::new(), section.as_bytes().to_vec(), SectionKind::ReadOnlyData);
    object.append_section_data(section, &FatBinary::new(entries.to_vec()).bytes(), 8);
    Ok(object.write()?)
}

fn archive() -> Result<(), Failed> {
    let members = [
        ("plain.o/", object_file(".nv_fatbin", &[cubin(80), ptx(80)])?),
        ("linked.o/", object_file("__nv_relfatbin", &[cubin(80), cubin(90)])?),
        ("readme/", b"no ELF file".to_vec()),
    ];
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, contents) in &members {
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, contents.len()).bytes());
        bytes.extend(contents);
        bytes.extend(b"\n".iter().take(contents.len() % 2));
    }
    let code = read(&bytes)?;
    let counts: Vec<_> =
        code.pieces.iter().map(|((linkage, kind), tally)| (*linkage, kind.clone(), tally.count)).collect();
    let kind = |make: fn(Capability) -> Kind, text: &str| text.parse().map(make);
    let expected = vec![
        (Linkage::Executable, kind(Kind::Cubin, "8.0")?, 1),
        (Linkage::Executable, kind(Kind::Ptx, "8.0")?, 1),
        (Linkage::Relocatable, kind(Kind::Cubin, "8.0")?, 1),
        (Linkage::Relocatable, kind(Kind::Cubin, "9.0")?, 1),
    ];
    same(counts, expected, "the archive")?;
    let lab = Lab::new()?;
    write(&lab, "libx.a", &bytes)?;
    write(&lab, "linked.o", &members[1].1)?;
    let said = driver_runpath(["gpu-code".as_ref(), lab.root().as_os_str()]).expect(0)?;
    contains(&said.out, "libx.a: cubins 8.0; PTX 8.0\n")?;
    contains(&said.out, "linked.o: cubins 8.0 9.0 (relocatable)\n")?;
    contains(&said.out, "2 files looked at, 2 carry code for GPUs\n")
}

fn files_of_their_own() -> Result<(), Failed> {
    let lab = Lab::new()?;
    write(&lab, "x.fatbin", &FatBinary::new([exact(ptx(100))]).bytes())?;
    let name = b"hipv4-amdgcn-amd-amdhsa--gfx1100";
    let mut bundle = b"__CLANG_OFFLOAD_BUNDLE__".to_vec();
    [1, 128, 16, name.len() as u64].iter().for_each(|field| bundle.extend(field.to_le_bytes()));
    bundle.extend(name);
    bundle.resize(144, 0);
    write(&lab, "x.hipfb", &bundle)?;
    let said = driver_runpath(["gpu-code".as_ref(), lab.root().as_os_str()]).expect(0)?;
    contains(&said.out, "x.fatbin: PTX 10.0a\n")?;
    contains(&said.out, "x.hipfb: AMD gfx1100\n")?;
    contains(&said.out, "all of it for NVIDIA runs on: 10.0\nall of it for AMD is there for: gfx1100\n")?;
    driver_runpath(["gpu-code".as_ref(), "--require=10.0,gfx1100".as_ref(), lab.root().as_os_str()]).expect(0)?;
    Ok(())
}

fn without_sections() -> Result<(), Failed> {
    let mut spec = spec(&[&[cubin(80)], &[cubin(80), ptx(80)]]);
    spec.sections = driver_runpath::fixtures::Sections::Absent;
    spec.rodata = (b"\0.version 7.0\n.target sm_70\0").into();
    let code = read(&spec.build()?)?;
    let counts: Vec<(&Kind, u64)> = code.pieces.iter().map(|((_, kind), tally)| (kind, tally.count)).collect();
    let expected = [Kind::Cubin("8.0".parse()?), Kind::Ptx("7.0".parse()?), Kind::Ptx("8.0".parse()?)];
    same(counts, expected.iter().zip([2, 1, 1]).collect(), "what a search finds")
}

fn without_code() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let file = write(&lab, "libplain.so", &Spec::default().build()?)?;
    let said = driver_runpath(["gpu-code".as_ref(), file.as_os_str()]).expect(0)?;
    let shown = file.display();
    same(said.out, format!("{shown}: no code for GPUs\n1 file looked at, 0 carry code for GPUs\n"), "the report")?;
    let text = write(&lab, "text", b"no ELF file")?;
    driver_runpath(["gpu-code".as_ref(), text.as_os_str()]).expect(0)?;
    driver_runpath(["gpu-code".as_ref(), lab.path("absent").as_os_str()]).expect(2)?;
    Ok(())
}

fn explained() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let file = write(&lab, "libx.so", &spec(&[&[cubin(80), ptx(80)]]).build()?)?;
    let said = driver_runpath(["explain".as_ref(), file.as_os_str()]).expect(0)?;
    contains(&said.out, "\n  carries code for GPUs: cubins 8.0; PTX 8.0\n")?;
    let said = driver_runpath(["explain".as_ref(), "--json".as_ref(), file.as_os_str()]).expect(0)?;
    let document: Value = serde_json::from_str(&said.out)?;
    same(&document["gpu_code"]["later_from"], &Value::from("8.0"), "explain --json")
}

fn runner() -> TestRunner {
    TestRunner::new_with_rng(
        Config { cases: 500, failure_persistence: None, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    )
}

fn entries() -> impl Strategy<Value = Vec<Vec<FatEntry>>> {
    let form = prop_oneof![
        Just(FatForm::Cubin),
        Just(FatForm::Ptx),
        Just(FatForm::LtoIr),
        (9u16..200).prop_map(FatForm::Other)
    ];
    let scope = prop_oneof![Just(FatScope::Portable), Just(FatScope::Family), Just(FatScope::Exact)];
    let entry = (form, 30u32..130, scope, 0u32..300);
    let entry = entry.prop_map(|(form, number, scope, size)| FatEntry::new(form, number).scoped(scope).sized(size));
    vec(vec(entry, 0..6), 0..8)
}

fn any_fixture() -> Result<(), Failed> {
    let done = runner().run(&entries(), |fat_binaries| {
        let all: Vec<&[FatEntry]> = fat_binaries.iter().map(Vec::as_slice).collect();
        let file = spec(&all).build().expect("a file");
        let code = read(&file).expect("a good file");
        prop_assert!(code.warnings.is_empty(), "{:?}", code.warnings);
        let mut expected: BTreeMap<Kind, (u64, u64)> = BTreeMap::new();
        for entry in fat_binaries.iter().flatten() {
            let scope = match entry.scope {
                FatScope::Portable => Scope::Portable,
                FatScope::Family => Scope::Family,
                FatScope::Exact => Scope::Exact,
            };
            let capability = Capability { major: entry.number / 10, minor: entry.number % 10, scope };
            let kind = match entry.form {
                FatForm::Cubin => Kind::Cubin(capability),
                FatForm::Ptx => Kind::Ptx(capability),
                FatForm::LtoIr => Kind::LtoIr(capability),
                FatForm::Other(kind) => Kind::Other(format!("fat binary entry of kind {kind:#x}")),
            };
            let (count, bytes) = expected.entry(kind).or_default();
            *count += 1;
            *bytes += u64::from(entry.size).next_multiple_of(8);
        }
        let found: BTreeMap<Kind, (u64, u64)> =
            code.pieces.iter().map(|((_, kind), tally)| (kind.clone(), (tally.count, tally.bytes))).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(code.units.values().sum::<u64>(), fat_binaries.len() as u64);
        Ok(())
    });
    done.map_err(|error| error.to_string().into())
}

/// Whatever is changed: no panic, and no more is found than the file has bytes for.
fn damaged() -> Result<(), Failed> {
    let strategy = (entries(), vec((any::<u16>(), any::<u8>(), 0u8..4), 1..12), any::<u16>());
    let done = runner().run(&strategy, |(fat_binaries, changes, cut)| {
        let all: Vec<&[FatEntry]> = fat_binaries.iter().map(Vec::as_slice).collect();
        let mut file = spec(&all).build().expect("a file");
        for (place, value, kind) in changes {
            let at = usize::from(place) % file.len();
            let value = [value, 0xff, 0, 0x80][usize::from(kind)];
            file[at] = value;
        }
        if cut % 4 == 0 {
            file.truncate(usize::from(cut) % file.len());
        }
        let found: GpuCode = read(&file).unwrap_or_default();
        let count: u64 = found.pieces.values().map(|tally| tally.count).sum();
        prop_assert!(count <= file.len() as u64 / 16, "{} pieces in {} bytes", count, file.len());
        found.runs_on(Capability { major: 9, minor: 0, scope: Scope::Portable });
        Ok(())
    });
    done.map_err(|error| error.to_string().into())
}

/// Counts of cubins and PTX by target, in every file of the tree.
fn real_libraries(tree: &Path) -> Result<(), Failed> {
    let cuobjdump = find(&tree.join("tools"), "cuobjdump").ok_or("no cuobjdump in DIR/tools")?;
    let document = json(&[tree.as_os_str()])?;
    let (mut equal, mut faults) = (0, Vec::new());
    for file in document["files"].as_array().into_iter().flatten() {
        let path = file["path"]["text"].as_str().ok_or("a path")?;
        let ours = ours(file);
        let output = Command::new(&cuobjdump).args(["--all-fatbin", "--list-elf", "--list-ptx", path]).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // It refuses some files as a whole: code for old GPUs, tables of sections that it does not like.
        if said.contains("fatal") && !said.contains("does not contain device code") {
            println!("{path}: {}", said.trim());
            continue;
        }
        let theirs = theirs(&String::from_utf8_lossy(&output.stdout));
        if ours != theirs {
            faults.push(format!("{path}: {ours:?}, cuobjdump has {theirs:?}"));
        } else if !ours.is_empty() {
            equal += 1;
        }
    }
    println!("{equal} files with code are equal");
    if equal > 0 && faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

fn ours(file: &Value) -> BTreeMap<(String, String), u64> {
    let mut counts = BTreeMap::new();
    for piece in file["code"].as_array().into_iter().flatten() {
        let (form, target) = (piece["form"].as_str().unwrap_or(""), piece["target"].as_str().unwrap_or(""));
        // cuobjdump does not look into other sections, and shows no f of a cubin.
        if piece["linkage"] == "resource" || !matches!(form, "cubin" | "ptx") {
            continue;
        }
        let target = if form == "cubin" { target.trim_end_matches('f') } else { target };
        *counts.entry((form.to_owned(), target.to_owned())).or_default() += piece["count"].as_u64().unwrap_or(0);
    }
    counts
}

/// Lines such as `ELF file    1: libx.1.sm_90.cubin`.
fn theirs(listing: &str) -> BTreeMap<(String, String), u64> {
    let mut counts = BTreeMap::new();
    for line in listing.lines() {
        let Some((name, form)) = line.rsplit_once('.').filter(|(_, form)| matches!(*form, "cubin" | "ptx")) else {
            continue;
        };
        let target = name.rsplit_once('.').map_or(name, |(_, target)| target);
        *counts.entry((form.to_owned(), target.to_owned())).or_default() += 1;
    }
    counts
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    entries
        .into_iter()
        .find_map(|path| if path.is_dir() { find(&path, name) } else { (path.file_name()? == name).then_some(path) })
}
