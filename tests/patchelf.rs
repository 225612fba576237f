//! In the place of patchelf, and the command `runpath`: what they print, what they write, and what they refuse.

#[path = "patchelf/bad_input.rs"]
mod bad_input;
#[path = "patchelf/output.rs"]
mod output;
#[path = "patchelf/runpath.rs"]
mod runpath;
mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};
use support::lab::{Lab, Ran, contains, driver_runpath, same, stat, succeed};
use support::referee::{Expect, Tag, judge};
use support::tools::{must_run, readelf_runpath, tool, trial};

type Done = Result<(), Failed>;

/// A source tree of patchelf, for the files of its tests.
const TREE: &str = "DRIVER_RUNPATH_PATCHELF_TREE";

fn main() {
    let mut trials = vec![
        Trial::test("called_by_the_name_patchelf_it_is_patchelf", by_name),
        Trial::test("the_version_is_new_enough_for_callers_that_ask", version),
        Trial::test("an_equal_path_still_changes_the_tag", conversion),
        Trial::test("added_directories_come_last", add),
        Trial::test("an_empty_path_can_be_set_and_is_no_first_tag", set_empty),
        Trial::test("removal_takes_both_tags_and_the_string", remove_both),
        Trial::test("several_files_are_edited_up_to_the_first_error", several_files),
        Trial::test("hard_links_are_edited_in_place", hard_links),
        Trial::test("a_value_can_lie_in_a_file", value_in_a_file),
        Trial::test("names_of_the_file_are_printed", print_names),
        Trial::test("every_architecture_takes_every_operation", every_architecture),
        Trial::test("broken_section_headers_are_warnings_in_patchelfs_words", lint),
        Trial::test("a_sound_file_gets_no_warning", no_lint),
        Trial::test("addresses_of_rare_architectures_are_kept_apart_by_large_pages", large_pages),
        trial("shrinking_keeps_what_the_loader_needs", &["cc"], shrink),
        trial("a_static_file_has_no_dynamic_section", &["cc", "objcopy"], without_dynamic_section),
        trial("the_loader_can_be_looked_at_but_not_changed", &["cc"], loader),
        trial("a_note_before_the_segments_can_be_borrowed", &["cc", "mold"], note_first),
        suite_fixtures(),
    ];
    trials.extend(output::trials());
    trials.extend(runpath::trials());
    trials.extend(bad_input::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// Runs our binary as patchelf.
pub fn patchelf<S: AsRef<OsStr>>(arguments: &[S]) -> Ran {
    let arguments = arguments.iter().map(AsRef::as_ref);
    driver_runpath([OsStr::new("patchelf")].into_iter().chain(arguments))
}

/// The same on one file, which must succeed; what it prints.
pub fn edit(arguments: &[&str], file: &Path) -> Result<String, Failed> {
    let all: Vec<&OsStr> = arguments.iter().map(OsStr::new).chain([file.as_os_str()]).collect();
    let run = patchelf(&all).expect(0)?;
    if run.err.is_empty() { Ok(run.out) } else { Err(format!("{arguments:?} says {:?}", run.err).into()) }
}

/// A program with the tag `RUNPATH` or `RPATH` and the search path `/opt/lib`.
pub fn program_with(tag: Tag, lab: &Lab, name: &str) -> Result<PathBuf, Failed> {
    lab.fixture(if tag == Tag::Runpath { "x86_64/program" } else { "x86_64/program-no-pie" }, name)
}

/// Fails unless the referee has nothing to say against the edit, and finds this.
pub fn check(before: &[u8], path: &Path, tag: Option<Tag>, search_path: Option<&str>) -> Done {
    let expect = Expect { tag, search_path: search_path.map(str::as_bytes) };
    let objections = judge(before, &fs::read(path)?, &expect);
    if objections.is_empty() { Ok(()) } else { Err(format!("{}: {objections:#?}", path.display()).into()) }
}

fn by_name() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    let run = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_driver-runpath"));
        command.arg0(name).arg("--print-rpath").arg(&path).output().map(Ran::new)
    };
    same(run("patchelf")?.expect(0)?.out.as_str(), "/opt/lib\n", "output")?;
    same(run("/nix/store/x/bin/patchelf")?.expect(0)?.out.as_str(), "/opt/lib\n", "output")?;
    // By another name the flag tells.
    same(run("driver-runpath")?.expect(0)?.out.as_str(), "/opt/lib\n", "output")
}

fn version() -> Done {
    let run = patchelf(&["--version"]).expect(0)?;
    let number = run.out.strip_prefix("patchelf ").and_then(|rest| rest.split([' ', '\n']).next());
    same(number, Some("0.19.3"), "version")?;
    contains(&patchelf(&["--help"]).expect(0)?.err, "--shrink-rpath")?;
    contains(&patchelf::<&str>(&[]).expect(1)?.err, "patchelf")
}

fn conversion() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Rpath, &lab, "program")?;
    let before = fs::read(&path)?;
    edit(&["--set-rpath", "/opt/lib"], &path)?;
    check(&before, &path, Some(Tag::Runpath), Some("/opt/lib"))?;
    edit(&["--force-rpath", "--add-rpath", ""], &path)?;
    check(&before, &path, Some(Tag::Rpath), Some("/opt/lib"))?;
    same(fs::read(&path)? == before, true, "the bytes are as at first")?;
    edit(&["--force-rpath", "--set-rpath", "/opt/lib"], &path)?;
    same(fs::read(&path)? == before, true, "nothing to do")
}

fn add() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    let before = fs::read(&path)?;
    edit(&["--add-rpath", "/a:/b"], &path)?;
    check(&before, &path, Some(Tag::Runpath), Some("/opt/lib:/a:/b"))?;
    edit(&["--add-rpath", ""], &path)?;
    same(
        edit(&["--print-rpath"], &path)?.as_str(),
        "/opt/lib:/a:/b\n",
        "an empty entry would be the current directory",
    )?;
    let bare = lab.fixture("x86_64/libplain.so", "libplain.so")?;
    edit(&["--add-rpath", "/a"], &bare)?;
    same(edit(&["--print-rpath"], &bare)?.as_str(), "/a\n", "search path")
}

fn set_empty() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    let before = fs::read(&path)?;
    edit(&["--set-rpath", ""], &path)?;
    check(&before, &path, Some(Tag::Runpath), Some(""))?;
    let bare = lab.fixture("x86_64/libplain.so", "libplain.so")?;
    let before = (fs::read(&bare)?, stat(&bare)?);
    edit(&["--set-rpath", ""], &bare)?;
    same((fs::read(&bare)?, stat(&bare)?) == before, true, "untouched")
}

/// Turns the first `DT_NULL` into a second search path tag with the string of the one that is there.
pub fn with_both_tags(path: &Path) -> Done {
    const DT_RPATH: u64 = 15;
    const DT_RUNPATH: u64 = 29;
    let mut bytes = fs::read(path)?;
    let word =
        |bytes: &[u8], at: usize| -> Option<u64> { Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?)) };
    let table = goblin::elf::Elf::parse(&bytes)?;
    let dynamic = table.program_headers.iter().find(|header| header.p_type == goblin::elf::program_header::PT_DYNAMIC);
    let start = usize::try_from(dynamic.ok_or("no PT_DYNAMIC")?.p_offset)?;
    let entries: Vec<usize> = (start..bytes.len()).step_by(16).collect();
    let with_tag = |wanted: u64| entries.iter().copied().find(|at| word(&bytes, *at) == Some(wanted));
    let value = with_tag(DT_RUNPATH).and_then(|at| word(&bytes, at + 8)).ok_or("no DT_RUNPATH")?;
    let null = with_tag(0).ok_or("no DT_NULL")?;
    let entry = [DT_RPATH.to_le_bytes(), value.to_le_bytes()].concat();
    bytes.splice(null..null + 16, entry);
    Ok(fs::write(path, bytes)?)
}

fn remove_both() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    let once = fs::read(&path)?;
    with_both_tags(&path)?;
    let both = fs::read(&path)?;
    edit(&["--remove-rpath"], &path)?;
    check(&once, &path, None, None)?;
    same(edit(&["--print-rpath"], &path)?.as_str(), "\n", "search path")?;
    same(memchr::memmem::find(&fs::read(&path)?, b"/opt/lib").is_none(), true, "no bytes of the old path are left")?;
    let removed = fs::read(&path)?;
    edit(&["--remove-rpath"], &path)?;
    same(fs::read(&path)? == removed, true, "a second run changes nothing")?;
    // Through memory, to what is no file, it is the same.
    fs::write(&path, &both)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_driver-runpath"));
    let piped = command.args(["patchelf", "--remove-rpath", "--output", "/dev/stdout"]).arg(&path).output()?;
    same(piped.stdout == removed, true, "the bytes through a pipe")?;
    same(fs::read(&path)? == both, true, "the file itself is as it was")
}

fn several_files() -> Done {
    let lab = Lab::new()?;
    let first = lab.fixture("x86_64/libplain.so", "first.so")?;
    let last = lab.fixture("x86_64/libplain.so", "last.so")?;
    let missing = lab.path("missing.so");
    edit(&["--set-rpath", "/a", &first.display().to_string()], &last)?;
    let print = [OsStr::new("--print-rpath"), first.as_os_str(), last.as_os_str()];
    same(patchelf(&print).expect(0)?.out.as_str(), "/a\n/a\n", "search paths")?;
    let set = [OsStr::new("--set-rpath"), OsStr::new("/b"), first.as_os_str(), missing.as_os_str(), last.as_os_str()];
    contains(&patchelf(&set).expect(1)?.err, &format!("patchelf: getting info about '{}'", missing.display()))?;
    same(patchelf(&print).expect(0)?.out.as_str(), "/b\n/a\n", "search paths")
}

fn hard_links() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    let other = lab.path("other");
    fs::hard_link(&path, &other)?;
    edit(&["--set-rpath", "/a"], &path)?;
    same(edit(&["--print-rpath"], &other)?.as_str(), "/a\n", "search path by the other name")?;
    same(stat(&path)?.2, stat(&other)?.2, "inode")
}

fn value_in_a_file() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    fs::write(lab.path("value"), "/from/a/file")?;
    edit(&["--set-rpath", &format!("@{}", lab.path("value").display())], &path)?;
    same(edit(&["--print-rpath"], &path)?.as_str(), "/from/a/file\n", "search path")
}

fn print_names() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/program", "program")?;
    let printed = edit(&["--print-needed", "--print-rpath", "--print-interpreter", "--print-soname"], &path)?;
    same(printed.as_str(), "/lib64/ld-linux-x86-64.so.2\n/opt/lib\nlibc.so.6\n", "names")
}

fn every_architecture() -> Done {
    let mut count = 0;
    for folder in fs::read_dir(support::lab::testdata().join("prebuilt"))? {
        let folder = folder?.file_name().into_string().map_err(|_| "a folder with an odd name")?;
        for name in ["libplain.so", "program", "program-no-pie"] {
            let lab = Lab::new()?;
            let path = lab.fixture(&format!("{folder}/{name}"), name)?;
            let before = fs::read(&path)?;
            let old = edit(&["--print-rpath"], &path)?;
            let long = format!("/{}", "long/".repeat(60));
            for (arguments, tag, expected) in [
                (&["--set-rpath", "/a/b"][..], Some(Tag::Runpath), Some("/a/b")),
                (&["--force-rpath", "--add-rpath", "/c"], Some(Tag::Rpath), Some("/a/b:/c")),
                (&["--shrink-rpath"], Some(Tag::Runpath), Some("")),
                (&["--set-rpath", &long], Some(Tag::Runpath), Some(&long)),
                (&["--remove-rpath"], None, None),
            ] {
                let start = fs::read(&path)?;
                edit(arguments, &path).map_err(|why| format!("{folder}/{name}: {why:?}"))?;
                check(&start, &path, tag, expected)?;
                let printed = expected.unwrap_or_default();
                same(edit(&["--print-rpath"], &path)?, format!("{printed}\n"), &format!("{folder}/{name}"))?;
            }
            same(old == "\n", name == "libplain.so", "the fixture has no search path at first")?;
            same(fs::read(&path)? == before, false, "bytes")?;
            count += 1;
        }
    }
    same(count >= 33, true, "eleven architectures")
}

/// The section headers of the 64-bit little-endian program that is damaged below.
struct Headers {
    bytes: Vec<u8>,
    table: usize,
}

impl Headers {
    fn read() -> Result<Self, Failed> {
        let bytes = fs::read(support::lab::testdata().join("prebuilt/x86_64/program"))?;
        let table = usize::try_from(goblin::elf::Elf::parse(&bytes)?.header.e_shoff)?;
        Ok(Self { bytes, table })
    }

    /// Where a field lies, and what is there, of the section of this name.
    fn field(&self, name: &str, field: usize) -> Result<(usize, u64), Failed> {
        let elf = goblin::elf::Elf::parse(&self.bytes)?;
        let named = |header: &goblin::elf::SectionHeader| elf.shdr_strtab.get_at(header.sh_name) == Some(name);
        let index = elf.section_headers.iter().position(named).ok_or_else(|| format!("no section {name}"))?;
        let at = self.table + index * 64 + field;
        let value = self.bytes.get(at..at + 8).ok_or("past the end")?;
        Ok((at, u64::from_le_bytes(value.try_into()?)))
    }
}

fn lint() -> Done {
    const SH_OFFSET: usize = 24;
    const SH_SIZE: usize = 32;
    let headers = Headers::read()?;
    let (dynamic_offset_at, dynamic) = headers.field(".dynamic", SH_OFFSET)?;
    let (names_size_at, names_size) = headers.field(".shstrtab", SH_SIZE)?;
    let (_, names) = headers.field(".shstrtab", SH_OFFSET)?;
    let (_, strings) = headers.field(".dynstr", SH_OFFSET)?;
    let (_, strings_size) = headers.field(".dynstr", SH_SIZE)?;
    let (first_name_at, _) = headers.field(".interp", 0)?;
    let position = |at: u64| usize::try_from(at);
    let huge = [0xff, 0xff, 0xff, 0x7f];
    let faults: [(&str, usize, &[u8]); 11] = [
        ("program header table out of bounds", 32, &huge),
        ("section header table out of bounds", 40, &huge),
        ("section headers have wrong size", 58, &[48, 0]),
        ("string table index out of bounds", 62, &[0xff, 0xff]),
        ("string table size is zero", names_size_at, &[0; 8]),
        ("string table is not zero terminated", position(names + names_size - 1)?, b"A"),
        ("section name offset out of bounds", first_name_at, &huge),
        ("data offset extends past file end", dynamic_offset_at, &huge),
        ("section content is not naturally aligned", dynamic_offset_at, &(dynamic + 1).to_le_bytes()),
        ("string table index out of bounds", position(dynamic + 8)?, &huge),
        ("string table is not NUL-terminated", position(strings + strings_size - 1)?, b"A"),
    ];
    for (message, at, damage) in faults {
        let lab = Lab::new()?;
        let mut bytes = headers.bytes.clone();
        bytes.get_mut(at..at + damage.len()).ok_or("past the end")?.copy_from_slice(damage);
        let path = lab.path("damaged");
        fs::write(&path, &bytes)?;
        let run = patchelf(&[OsStr::new("--print-needed"), path.as_os_str()]);
        contains(&run.err, &format!("warning: {message}\n"))?;
        same(fs::read(&path)? == bytes, true, "bytes")?;
        if message != "program header table out of bounds" {
            run.expect(0)?;
        }
    }
    Ok(())
}

fn no_lint() -> Done {
    for name in ["/proc/self/exe", env!("CARGO_BIN_EXE_driver-runpath")] {
        edit(&["--print-rpath"], Path::new(name))?;
    }
    Ok(())
}

/// Alpha has pages of 8 KiB, SPARC of 64; what is not known to have small ones is taken to have large ones.
fn large_pages() -> Done {
    const EM_ALPHA: [u8; 2] = 0x9026u16.to_le_bytes();
    let mut bytes = fs::read(support::lab::testdata().join("prebuilt/x86_64/program"))?;
    let largest = |bytes: &[u8]| -> Result<u64, Failed> {
        let image = driver_runpath::elf::Image::read(bytes)?;
        Ok(image.largest_page())
    };
    same(largest(&bytes)?, 0x1000, "x86-64")?;
    bytes.get_mut(18..20).ok_or("a short fixture")?.copy_from_slice(&EM_ALPHA);
    same(largest(&bytes)?, 0x1_0000, "Alpha")
}

fn shrink() -> Done {
    let lab = Lab::new()?;
    let library = lab.cc("a/libplain.so", &["plain.c"], &["-shared", "-fPIC"])?;
    for directory in ["b", "foreign"] {
        fs::create_dir(lab.path(directory))?;
    }
    fs::copy(&library, lab.path("b/libplain.so"))?;
    // A library for another machine is none; nor is a text.
    fs::copy(support::lab::testdata().join("prebuilt/aarch64/libplain.so"), lab.path("foreign/libplain.so"))?;
    fs::create_dir(lab.path("text"))?;
    fs::write(lab.path("text/libplain.so"), "INPUT(libplain.so.1)")?;
    let place = |name: &str| lab.path(name).display().to_string();
    let flags = ["-shared", "-fPIC", "-La", "-Wl,--no-as-needed", "-lplain"];
    let user = lab.cc("libuser.so", &["opens.c"], &flags)?;
    let all: Vec<String> = ["none", "text", "foreign", "a", "b"].iter().map(|name| place(name)).collect();
    let all = format!("{}:$ORIGIN/lib", all.join(":"));
    edit(&["--set-rpath", &all], &user)?;
    let copy = lab.path("copy.so");
    fs::copy(&user, &copy)?;
    edit(&["--shrink-rpath"], &user)?;
    same(edit(&["--print-rpath"], &user)?, format!("{}:$ORIGIN/lib\n", place("a")), "shrunk")?;
    edit(&["--shrink-rpath", "--allowed-rpath-prefixes", &format!("/nowhere:{}", place("b"))], &copy)?;
    same(edit(&["--print-rpath"], &copy)?, format!("{}:$ORIGIN/lib\n", place("b")), "shrunk to a prefix")
}

fn without_dynamic_section() -> Done {
    let lab = Lab::new()?;
    fs::write(lab.path("static.c"), "void _start(void) { for (;;); }")?;
    let source = lab.path("static.c");
    let path = lab.path("static");
    must_run(
        "cc",
        &[OsStr::new("-static"), OsStr::new("-nostdlib"), OsStr::new("-o"), path.as_os_str(), source.as_os_str()],
    )?;
    for flag in ["--print-rpath", "--print-needed", "--print-interpreter", "--remove-rpath", "--shrink-rpath"] {
        let run = patchelf(&[OsStr::new(flag), path.as_os_str()]).expect(1)?;
        contains(&run.err, "cannot find section '.dynamic'. The input file is most likely statically linked")?;
    }
    let library = lab.fixture("x86_64/libplain.so", "libplain.so")?;
    let debug = lab.path("libplain.debug");
    must_run("objcopy", &[OsStr::new("--only-keep-debug"), library.as_os_str(), debug.as_os_str()])?;
    let before = fs::read(&debug)?;
    for arguments in [&["--print-rpath"][..], &["--set-rpath", "/a"], &["--shrink-rpath"], &["--remove-rpath"]] {
        same(edit(arguments, &debug)?.as_str(), "", "output of a separate debug file")?;
    }
    same(fs::read(&debug)? == before, true, "bytes")
}

/// glibc's own loader and static-PIE executables die from a search path.
fn loader() -> Done {
    let lab = Lab::new()?;
    let program = lab.cc("program", &["program.c", "opens.c"], &[])?;
    let loader = edit(&["--print-interpreter"], &program)?;
    let loader = Path::new(loader.trim_end());
    same(edit(&["--print-rpath"], loader)?.as_str(), "\n", "search path of the loader")?;
    let mut files = vec![loader.to_owned()];
    if let Ok(path) = lab.cc("static-pie", &["driver.c"], &["-static-pie", "-fPIE", "-nostdlib", "-Wl,-e,cuInit"]) {
        files.push(path);
    }
    for file in files {
        let copy = lab.path("copy");
        fs::copy(&file, &copy)?;
        let before = fs::read(&copy)?;
        edit(&["--shrink-rpath"], &copy)?;
        edit(&["--remove-rpath"], &copy)?;
        let run = patchelf(&[OsStr::new("--set-rpath"), OsStr::new("/a"), copy.as_os_str()]).expect(1)?;
        contains(&run.err, "must not have a DT_RUNPATH")?;
        same(fs::read(&copy)? == before, true, "bytes")?;
    }
    Ok(())
}

/// mold puts notes before the segments, and without RELRO there is nothing else to borrow.
fn note_first() -> Done {
    for kind in [["-pie", "-fPIE"], ["-no-pie", "-fno-pie"]] {
        let lab = Lab::new()?;
        let flags = [&kind[..], &["-fuse-ld=mold", "-Wl,-z,norelro", "-Wl,-rpath,/opt/lib"]].concat();
        let path = lab.cc("program", &["program.c", "opens.c"], &flags)?;
        let before = fs::read(&path)?;
        let long = format!("/{}", "long/".repeat(60));
        edit(&["--set-rpath", &long], &path)?;
        check(&before, &path, Some(Tag::Runpath), Some(&long))?;
        contains(&succeed(&mut support::lab::program(&path))?, "driver not found")?;
    }
    Ok(())
}

/// The executables of patchelf's own tests, big-endian ones among them, which patchelf since 0.16 turns into garbage.
fn suite_fixtures() -> Trial {
    const NAME: &str = "executables_of_patchelfs_own_tests_are_sound_and_run";
    let Some(tree) = std::env::var_os(TREE).map(PathBuf::from) else {
        return Trial::test(NAME, || Ok(())).with_kind(format!("needs {TREE}")).with_ignored_flag(true);
    };
    Trial::test(NAME, move || {
        let long = format!("/foo:/{}", "bar/".repeat(100));
        let mut ran = Vec::new();
        for entry in fs::read_dir(tree.join("tests/no-rpath-prebuild"))? {
            let from = entry?.path();
            let name = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for value in ["/foo:/bar:/xxxxxxxxxxxxxxx", &long] {
                let lab = Lab::new()?;
                let path = lab.path(&name);
                fs::copy(&from, &path)?;
                edit(&["--set-rpath", value], &path)?;
                check(&fs::read(&from)?, &path, Some(Tag::Runpath), Some(value))?;
                same(readelf_runpath(&path).map(|(_, path)| path), Some(value.as_bytes().to_vec()), &name)?;
                if let Some(mut command) = emulator(&name, &path) {
                    contains(&succeed(&mut command)?, "Hello world")?;
                    ran.push(name.clone());
                }
            }
        }
        println!("ran: {}", ran.join(" "));
        Ok(())
    })
}

/// What runs a program for another machine, where it and the libraries are there.
fn emulator(name: &str, path: &Path) -> Option<Command> {
    let (emulator, libraries) = match name.strip_prefix("no-rpath-")? {
        "mips" => ("qemu-mips", "/usr/mips-linux-gnu"),
        "mipsel" => ("qemu-mipsel", "/usr/mipsel-linux-gnu"),
        "powerpc" => ("qemu-ppc", "/usr/powerpc-linux-gnu"),
        "armhf" => ("qemu-arm", "/usr/arm-linux-gnueabihf"),
        "i386" => ("qemu-i386", "/usr/i686-linux-gnu"),
        "amd64" => ("qemu-x86_64", "/"),
        _ => return None,
    };
    let there = Path::new(libraries).is_dir();
    let mut command = Command::new(tool(emulator).filter(|_| there)?);
    command.args(["-L", libraries]).arg(path);
    Some(command)
}
