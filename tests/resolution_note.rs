//! The resolution note of NixOS's loader, on files as linkers and patchelf make them.
//!
//! `DRIVER_RUNPATH_PATCHELF` names a patchelf of 0.19.3 or later, which is asked as well: Debian's is older. No loader
//! that reads the note can be had here; `explain`'s search models it, and what it says is compared with what ld.so
//! does with the same files in `LD_LIBRARY_PATH` or without the note.

mod support;

use std::env::var_os;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};
use support::lab::{Lab, contains, driver_runpath, program, same, succeed};
use support::tools::trial;

const TOOLS: [&str; 2] = ["cc", "readelf"];

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("check_names_the_stub_that_a_note_leads_to_and_fix_mends_it", &TOOLS, stub),
        trial("a_loader_that_does_not_read_notes_finds_the_driver_all_the_same", &TOOLS, ignored),
        trial("explain_asks_the_note_before_the_runpath_and_says_who_reads_it", &TOOLS, explained),
        trial("a_note_of_a_linker_beside_the_build_id_is_dropped_and_the_build_id_stays", &TOOLS, shared),
        trial("a_program_runs_with_its_note_after_strip", &["cc", "readelf", "strip", "eu-strip"], stripped),
        trial("the_stand_in_writes_a_note_once_and_refuses_one_that_is_out_of_date", &TOOLS, stand_in),
        with_patchelf("patchelf_writes_the_same_note_into_programs_of_this_system", differential),
        with_patchelf("after_every_edit_patchelf_writes_what_it_writes_for_a_file_without_a_note", edited),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn patchelf() -> Option<PathBuf> {
    var_os("DRIVER_RUNPATH_PATCHELF").map(PathBuf::from)
}

/// A test that is ignored where no patchelf is named that knows the note.
fn with_patchelf(name: &str, body: fn(&Path) -> Result<(), Failed>) -> Trial {
    match patchelf() {
        Some(path) => trial(name, &TOOLS, move || body(&path)),
        None => Trial::test(format!("{name} (needs DRIVER_RUNPATH_PATCHELF)"), || Ok(())).with_ignored_flag(true),
    }
}

/// The note's section, whole; `None` without one.
fn note(file: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(file).ok()?;
    let elf = goblin::elf::Elf::parse(&bytes).ok()?;
    let is_note =
        |header: &&goblin::elf::SectionHeader| elf.shdr_strtab.get_at(header.sh_name) == Some(".note.nixos.ldcache");
    let header = elf.section_headers.iter().find(is_note)?;
    Some(bytes[header.sh_offset as usize..][..header.sh_size as usize].to_vec())
}

fn says(file: &Path, text: &str) -> bool {
    note(file).is_some_and(|note| memchr::memmem::find(&note, text.as_bytes()).is_some())
}

fn build(file: &Path) -> Result<(), Failed> {
    driver_runpath(["patchelf".as_ref(), "--build-resolution-cache".as_ref(), file.as_os_str()]).expect(0).map(drop)
}

/// A program that needs a stub of the driver and finds it by its search path. Its loader reads notes, as far as we know.
fn program_with_stub(lab: &Lab) -> Result<PathBuf, Failed> {
    lab.cc("lib/stubs/libcuda.so.1", &["driver.c"], &["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"])?;
    let stubs = lab.path("lib/stubs");
    let (loader, loader_text) = loader(lab, b"\0RESCACHE\0")?;
    let rpath = format!("-Wl,-rpath,{}", stubs.display());
    let library = stubs.join("libcuda.so.1");
    let flags = ["-x", "c", "-", "-x", "none", "-Wl,--no-as-needed", &library.to_string_lossy(), &rpath, &loader_text];
    assert!(loader.exists());
    let mut command = Command::new("sh");
    let source = "echo 'int main(void) { return 0; }' | exec cc -o \"$@\"";
    command.args(["-c", source, "sh"]).arg(lab.path("bin")).args(flags);
    succeed(&mut command)?;
    Ok(lab.path("bin"))
}

/// A copy of this machine's loader with `mark` behind its end, and the linker's option that names it.
fn loader(lab: &Lab, mark: &[u8]) -> Result<(PathBuf, String), Failed> {
    let own = fs::read("/proc/self/exe")?;
    let elf = goblin::elf::Elf::parse(&own).map_err(|error| error.to_string())?;
    let mut bytes = fs::read(elf.interpreter.ok_or("no interpreter")?)?;
    bytes.extend(mark);
    let path = lab.path("ld.so");
    fs::write(&path, bytes)?;
    succeed(Command::new("chmod").arg("+x").arg(&path))?;
    let option = format!("-Wl,--dynamic-linker={}", path.display());
    Ok((path, option))
}

fn stub() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let file = program_with_stub(&lab)?;
    build(&file)?;
    let stub = format!("={}/libcuda.so.1", lab.path("lib/stubs").display());
    assert!(says(&file, &stub), "the note leads to the stub");
    // As an edit that knows nothing of the note leaves it: the string alone.
    let old = lab.path("lib/stubs").to_string_lossy().into_owned();
    let mut bytes = fs::read(&file)?;
    let elf = goblin::elf::Elf::parse(&bytes).map_err(|error| error.to_string())?;
    let names = elf.section_headers.iter().find(|header| elf.shdr_strtab.get_at(header.sh_name) == Some(".dynstr"));
    let names = names.ok_or("no .dynstr")?;
    let table = names.sh_offset as usize..(names.sh_offset + names.sh_size) as usize;
    let at = memchr::memmem::find(&bytes[table.clone()], old.as_bytes()).ok_or("no path")? + table.start;
    let new = format!("/run/opengl-driver/lib{}", ":/x".repeat(old.len()));
    bytes[at..at + old.len()].copy_from_slice(&new.as_bytes()[..old.len()]);
    fs::write(&file, bytes)?;

    let checked = driver_runpath(["check".as_ref(), file.as_os_str()]).expect(1)?;
    contains(&checked.out, "MISLEADS the loader")?;
    contains(&checked.out, &format!("its resolution note sends libcuda.so.1 to the STUB {}", &stub[1..]))?;
    contains(&checked.out, "mend with: driver-runpath fix")?;
    let json = driver_runpath(["check".as_ref(), "--json".as_ref(), file.as_os_str()]).expect(1)?;
    contains(&json.out, "\"leads_to\": \"stub\"")?;
    contains(&json.out, "\"is_read\": true")?;

    let fixed = driver_runpath(["fix".as_ref(), file.as_os_str()]).expect(0)?;
    contains(&fixed.out, "resolution note renewed")?;
    assert!(
        says(&file, "libcuda.so.1\0?/run/opengl-driver/lib") && !says(&file, "stubs"),
        "the note leads to the driver"
    );
    assert!(memchr::memmem::find(&fs::read(&file)?, stub.as_bytes()).is_none(), "no bytes of the stub are left");
    driver_runpath(["check".as_ref(), file.as_os_str()]).expect(0)?;
    build(&file)?;
    let again = driver_runpath(["fix".as_ref(), file.as_os_str()]).expect(0)?;
    contains(&again.out, "0 changed, 1 already right")
}

fn ignored() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let file = program_with_stub(&lab)?;
    build(&file)?;
    let before = driver_runpath(["explain".as_ref(), file.as_os_str()]).expect(0)?;
    contains(&before.out, "finds a STUB")?;
    contains(&before.out, "by the resolution note of")?;
    // The same loader without the mark.
    loader(&lab, b"")?;
    let after = driver_runpath(["explain".as_ref(), file.as_os_str()]).expect(0)?;
    contains(&after.out, "by RUNPATH of")?;
    contains(&after.out, "does not read")?;
    succeed(&mut program(&file)).map(drop)
}

fn explained() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let file = program_with_stub(&lab)?;
    build(&file)?;
    let explained = driver_runpath(["explain".as_ref(), file.as_os_str()]).expect(0)?;
    contains(&explained.out, "asks before RUNPATH")?;
    contains(&explained.out, "sends libcuda.so.1 to the STUB")?;
    contains(&explained.out, "a later revision of this loader ignores the resolution note")?;
    let json = driver_runpath(["explain".as_ref(), "--json".as_ref(), file.as_os_str()]).expect(0)?;
    contains(&json.out, "\"rule\": \"resolution-note\"")
}

/// In a `PT_NOTE` with others, as where a source file has the section.
fn shared() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let source = r#"
        __asm__(".section .note.nixos.ldcache, \"a\", %note\n .balign 4\n .long 6, 9, 0x63a86cb6\n .ascii \"NixOS\\0\"\n"
                " .balign 4\n .ascii \"libz\\0=/z\\0\\0\"\n .balign 4\n .text\n");
        int plain(void) { return 1; }
    "#;
    fs::write(lab.path("a.c"), source)?;
    let file = lab.path("liba.so");
    let flags = ["-shared", "-fPIC", "-Wl,--build-id=0x0123456789abcdef0123456789abcdef01234567", "-Wl,-rpath,/one"];
    succeed(Command::new("cc").args(flags).arg("-o").arg(&file).arg(lab.path("a.c")))?;
    assert!(says(&file, "libz\0=/z"), "the fixture has a note");
    let notes = |file: &Path| succeed(Command::new("readelf").arg("-nW").arg(file));
    contains(&notes(&file)?, "Build ID: 0123456789abcdef")?;
    driver_runpath(["fix".as_ref(), "--all".as_ref(), file.as_os_str()]).expect(0)?;
    same(note(&file), None, "the note")?;
    assert!(memchr::memmem::find(&fs::read(&file)?, b"libz\0=/z").is_none(), "its bytes are gone");
    let after = notes(&file)?;
    contains(&after, "Build ID: 0123456789abcdef")?;
    same(after.contains("NixOS"), false, "the note in PT_NOTE")
}

fn stripped() -> Result<(), Failed> {
    for strip in ["strip", "eu-strip"] {
        let lab = Lab::new()?;
        let file = program_with_stub(&lab)?;
        build(&file)?;
        let fixed = driver_runpath(["fix".as_ref(), file.as_os_str()]).expect(0)?;
        contains(&fixed.out, "resolution note renewed")?;
        succeed(Command::new(strip).arg(&file))?;
        let shown = succeed(Command::new("readelf").arg("-lSW").arg(&file))?;
        assert!(says(&file, "?/run/opengl-driver/lib"), "{strip}: the note is there: {shown}");
        succeed(program(&file).env("LD_LIBRARY_PATH", lab.path("lib/stubs")))?;
    }
    Ok(())
}

fn stand_in() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let file = program_with_stub(&lab)?;
    build(&file)?;
    let once = fs::read(&file)?;
    build(&file)?;
    assert!(once == fs::read(&file)?, "up to date, it stays as it is");
    succeed(&mut program(&file))?;
    // What it names is gone, and so the note is out of date.
    fs::remove_dir_all(lab.path("lib/stubs"))?;
    let refused =
        driver_runpath(["patchelf".as_ref(), "--build-resolution-cache".as_ref(), file.as_os_str()]).expect(1)?;
    contains(&refused.err, "--build-resolution-cache: a resolution cache note is already present")?;
    assert!(once == fs::read(&file)?, "refused, it stays as it is");
    let both = ["patchelf", "--build-resolution-cache", "--force-rpath"].map(AsRef::as_ref);
    let refused = driver_runpath(both.into_iter().chain([file.as_os_str()])).expect(1)?;
    contains(&refused.err, "cannot be combined with --force-rpath")?;
    let set = ["patchelf", "--set-rpath", "/gone", "--build-resolution-cache"].map(AsRef::as_ref);
    driver_runpath(set.into_iter().chain([file.as_os_str()])).expect(0)?;
    assert!(says(&file, "libcuda.so.1\0?/gone\0"), "a new path and its note in one call");
    Ok(())
}

/// Files of this system, small ones first come.
fn system_files() -> Vec<PathBuf> {
    let count = var_os("DRIVER_RUNPATH_NOTES").and_then(|text| text.into_string().ok()?.parse().ok()).unwrap_or(40);
    let all = ["/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/sbin"].into_iter().flat_map(fs::read_dir).flatten();
    let mut files: Vec<PathBuf> = all.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| {
        let stat = fs::symlink_metadata(path);
        stat.is_ok_and(|stat| stat.is_file() && stat.len() < 4 << 20)
            && fs::read(path).is_ok_and(|bytes| {
                goblin::elf::Elf::parse(&bytes).is_ok_and(|elf| elf.dynamic.is_some() && !elf.libraries.is_empty())
            })
    });
    files.sort();
    let step = (files.len() / count).max(1);
    files.into_iter().step_by(step).take(count).collect()
}

const PATHS: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu",
    "/run/opengl-driver/lib:/usr/lib/x86_64-linux-gnu:",
    "$ORIGIN/../lib:/lib/x86_64-linux-gnu:relative",
];

fn differential(patchelf: &Path) -> Result<(), Failed> {
    let lab = Lab::new()?;
    let mut equal = 0;
    for (original, path) in system_files().iter().zip(PATHS.iter().cycle()) {
        let (ours, theirs) = (lab.path("ours"), lab.path("theirs"));
        fs::copy(original, &ours)?;
        if driver_runpath(["patchelf".as_ref(), "--set-rpath".as_ref(), path.as_ref(), ours.as_os_str()]).status != 0 {
            continue;
        }
        fs::copy(&ours, &theirs)?;
        let name = original.display();
        let said = Command::new(patchelf).arg("--build-resolution-cache").arg(&theirs).output()?;
        let ran = driver_runpath(["patchelf".as_ref(), "--build-resolution-cache".as_ref(), ours.as_os_str()]);
        same(ran.status == 0, said.status.success(), &format!("{name}: success ({})", ran.err))?;
        same(ran.err, String::from_utf8_lossy(&said.stderr).into_owned(), &format!("{name}: what is said"))?;
        same(note(&ours), note(&theirs), &format!("{name}: the note"))?;
        // And patchelf takes ours for its own.
        succeed(Command::new(patchelf).arg("--build-resolution-cache").arg(&ours))?;
        equal += 1;
    }
    println!("{equal} files have patchelf's note");
    if equal == 0 { Err("no file was compared".into()) } else { Ok(()) }
}

/// Each edit, on files that patchelf has written a note into.
fn edited(patchelf: &Path) -> Result<(), Failed> {
    let lab = Lab::new()?;
    let (mut renewed, mut dropped) = (0, 0);
    for original in system_files() {
        let (file, fresh) = (lab.path("file"), lab.path("fresh"));
        fs::copy(&original, &file)?;
        let set = Command::new(patchelf).args(["--set-rpath", PATHS[0]]).arg(&file).output()?;
        if !set.status.success() {
            continue;
        }
        succeed(Command::new(patchelf).arg("--build-resolution-cache").arg(&file))?;
        for arguments in [
            &["fix", "--all"][..],
            &["runpath", "append", "/opt/one"],
            &["runpath", "set", "/usr/lib/x86_64-linux-gnu"],
            &["patchelf", "--set-rpath", "/run/opengl-driver/lib"],
            &["runpath", "append", "/usr/lib/x86_64-linux-gnu"],
            &["patchelf", "--remove-rpath"],
        ] {
            let ran = driver_runpath(arguments.iter().map(AsRef::as_ref).chain([file.as_os_str()]));
            if ran.status != 0 {
                return Err(format!("{}: {arguments:?}: {}", original.display(), ran.err).into());
            }
            match note(&file) {
                Some(_) => renewed += 1,
                None => dropped += 1,
            }
            // The file as it is, and one that never had a note.
            let by_edit = lab.path("by-edit");
            fs::copy(&file, &by_edit)?;
            let what = format!("{}: {arguments:?}", original.display());
            let said = Command::new(patchelf).arg("--build-resolution-cache").arg(&by_edit).output()?;
            same(said.status.success(), true, &format!("{what}: {}", String::from_utf8_lossy(&said.stderr)))?;
            fs::copy(&original, &fresh)?;
            let bytes = fs::read(&file)?;
            let elf = goblin::elf::Elf::parse(&bytes).map_err(|error| error.to_string())?;
            let path = elf.runpaths.first().copied().unwrap_or_default().to_owned();
            let mut command = Command::new(patchelf);
            match path.is_empty() {
                true => command.arg("--remove-rpath"),
                false => command.args(["--set-rpath", &path]),
            };
            succeed(command.arg(&fresh))?;
            succeed(Command::new(patchelf).arg("--build-resolution-cache").arg(&fresh))?;
            same(note(&by_edit), note(&fresh), &what)?;
        }
    }
    println!("{renewed} edits left a note, {dropped} left none");
    if renewed * dropped == 0 { Err("only one outcome".into()) } else { Ok(()) }
}
