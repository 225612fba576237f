//! The referee of the suite is tested itself: it must object to each kind of damage, and
//! must not object to a right edit.

#[path = "referee/damages.rs"]
mod damages;
mod support;

use damages::{DAMAGES, Edit};
use goblin::elf::dynamic::*;
use goblin::elf::program_header::*;
use libtest_mimic::{Arguments, Failed, Trial};
use rayon::prelude::*;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::OnceLock;
use support::hand::*;
use support::referee::{Dynamic, Expect, Image, Objection, Tag, judge};
use support::tools::{must_run, readelf_runpath, tool, trial};

const OLD: &str = "/old/search/path/lib:/old/toolkit/lib/stubs";
const SHORT: &str = "/run/driver/lib";
const LONG: &str = "/run/opengl-driver/lib:/old/search/path/lib:/a/directory/more";

const LIBRARY: &str = r#"
#include <stdio.h>
const char text[] = "read-only data of the library";
int data = 7, zero[100];
int (*pointer)(const char *) = puts;
int one(void) { return pointer(text); }
int two(void) { return data + zero[3]; }
"#;
const VERSIONS: &str = "ONE { global: one; local: *; };\nTWO { global: two; text; } ONE;\n";
const PROGRAM: &str = "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n";

fn main() {
    let mut trials = vec![
        trial("a_file_judged_against_itself_is_fine", &["cc"], identical),
        trial("a_shorter_path_over_the_old_one_is_fine", &["cc"], shorter),
        trial("strings_moved_into_slack_are_fine", &["cc"], slack),
        trial("a_first_tag_in_a_spare_entry_is_fine", &["cc"], first_tag),
        trial("a_first_tag_for_a_hint_is_fine", &["cc"], first_tag_for_a_hint),
        trial("a_dropped_second_tag_is_fine", &["cc"], dropped_second_tag),
        trial("a_scrubbed_path_with_a_shared_tail_is_fine", &["cc"], shared_tail),
        trial("an_overwritten_shared_tail_is_not", &["cc"], overwritten_tail),
        trial("a_payload_must_stay_last", &["cc"], payload),
        trial("a_dropped_tag_is_not_fine_where_it_is_expected", &["cc"], expectations),
        trial("big_endian_and_32_bit_files_are_read", &["ld.lld"], other_classes),
        trial("a_file_without_section_headers_is_judged", &["cc"], no_sections),
        trial("patchelf_leaves_a_stale_dynamic_symbol", &["cc", "patchelf"], patchelf_symbol),
        trial("patchelf_in_place_is_fine", &["cc", "patchelf"], patchelf_in_place),
        trial("readelf_shows_the_search_path", &["cc", "readelf"], readelf),
        trial("elflint_finds_no_more_after_a_right_edit", &["cc", "eu-elflint"], elflint),
        trial("every_flipped_byte_is_seen", &["cc"], every_byte),
        trial("odd_input_never_panics", &["cc"], odd_input),
        trial("strings_over_an_evicted_table_are_fine", &["cc"], evicted),
        Trial::test("what_is_not_elf_gets_an_objection", not_elf),
    ];
    if cfg!(target_arch = "x86_64") {
        let needs = ["cc"];
        trials.push(trial("strings_in_a_new_segment_are_fine", &needs, new_segment));
        trials.push(trial("a_moved_dynamic_table_is_fine", &needs, moved_dynamic_table));
        trials.push(trial("a_longer_header_table_is_fine", &needs, longer_header_table));
        trials.push(trial("a_build_id_behind_the_first_page_is_not", &needs, late_build_id));
    }
    for &(name, rule, says, damage) in DAMAGES {
        let name = format!("objects_to_{name}");
        trials.push(trial(&name, &["cc"], move || damaged(rule, says, damage)));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn damaged(rule: u8, says: &str, damage: fn(&mut Draft)) -> Result<(), Failed> {
    let mut draft = Draft::new(&fixture().after);
    damage(&mut draft);
    let objections = judge(&fixture().before, &draft.bytes, &runpath(LONG));
    must_say(&objections, rule, says)
}

fn must_say(objections: &[Objection], rule: u8, says: &str) -> Result<(), Failed> {
    if objections.iter().any(|o| o.rule == rule && o.what.contains(says)) {
        return Ok(());
    }
    Err(format!("no objection by rule {rule} that says {says:?}: {objections:?}").into())
}

fn must_pass(before: &[u8], after: &[u8], expect: &Expect) -> Result<(), Failed> {
    let objections = judge(before, after, expect);
    if objections.is_empty() {
        return Ok(());
    }
    let lines = objections.iter().map(|o| format!("{o}\n"));
    Err(lines.collect::<String>().into())
}

fn runpath(path: &str) -> Expect<'_> {
    Expect { tag: Some(Tag::Runpath), search_path: Some(path.as_bytes()) }
}

/// A library, and the same with its strings moved into slack.
struct Fixture {
    before: Vec<u8>,
    after: Vec<u8>,
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let before = library(&new_dtags(OLD)).expect("a library");
        let after = into_slack(&before, LONG.as_bytes());
        Fixture { before, after }
    })
}

fn new_dtags(path: &str) -> Vec<String> {
    vec![format!("-Wl,-rpath,{path}"), "-Wl,--enable-new-dtags".into()]
}

fn library(flags: &[String]) -> Result<Vec<u8>, Failed> {
    let mut all = vec!["-shared", "-fPIC", "-Wl,-soname,libfixture.so"];
    all.push("-Wl,--version-script=versions");
    all.extend(flags.iter().map(String::as_str));
    compile(LIBRARY, &all)
}

/// Compiles with pages of 4K, and with room behind each segment.
fn compile(source: &str, flags: &[&str]) -> Result<Vec<u8>, Failed> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("source.c"), source)?;
    std::fs::write(dir.path().join("versions"), VERSIONS)?;
    let flags = flags.iter().map(|f| match f.split_once("=versions") {
        Some((flag, _)) => format!("{flag}={}", dir.path().join("versions").display()),
        None => f.to_string(),
    });
    let out = dir.path().join("out");
    let source = dir.path().join("source.c");
    let mut all = flags.collect::<Vec<_>>();
    let layout = "-Wl,-z,max-page-size=4096,-z,separate-code,--build-id,--hash-style=gnu";
    all.extend([layout.into(), "-o".into()]);
    let mut args = all.iter().map(OsStr::new).collect::<Vec<_>>();
    args.extend([out.as_os_str(), source.as_os_str()]);
    must_run("cc", &args)?;
    Ok(std::fs::read(out)?)
}

fn identical() -> Result<(), Failed> {
    let either = |tag, path: Option<&'static str>| Expect { tag, search_path: path.map(str::as_bytes) };
    let rpath = [format!("-Wl,-rpath,{OLD},--disable-new-dtags")];
    let new = new_dtags(OLD).join(",").replace(",-Wl", "");
    for (bytes, expect) in [
        (library(&[])?, either(None, None)),
        (library(&rpath)?, either(Some(Tag::Rpath), Some(OLD))),
        (library(&new_dtags(OLD))?, runpath(OLD)),
        (compile(PROGRAM, &["-pie", &new])?, runpath(OLD)),
        (compile(PROGRAM, &["-no-pie", "-fno-pie", &new])?, runpath(OLD)),
        (compile(PROGRAM, &["-pie", "-s"])?, either(None, None)),
    ] {
        must_pass(&bytes, &bytes, &expect)?;
    }
    Ok(())
}

fn shorter() -> Result<(), Failed> {
    let before = &fixture().before;
    let after = over_the_old_one(before, SHORT.as_bytes());
    must_pass(before, &after, &runpath(SHORT))?;
    // The rest of the old one, when it stays.
    let mut draft = Draft::new(&after);
    let (_, at, path) = draft.search_path().expect("a search path");
    let end = at + path.len() as u64 + 1;
    let rest = &OLD.as_bytes()[path.len() + 1..];
    draft.put_bytes(draft.strings_offset() + end, rest);
    must_say(&judge(before, &draft.bytes, &runpath(SHORT)), 8, "stays in .dynstr")
}

fn slack() -> Result<(), Failed> {
    must_pass(&fixture().before, &fixture().after, &runpath(LONG))
}

fn first_tag() -> Result<(), Failed> {
    let before = library(&[])?;
    must_pass(&before, &into_slack(&before, LONG.as_bytes()), &runpath(LONG))
}

fn first_tag_for_a_hint() -> Result<(), Failed> {
    let before = library(&[])?;
    let mut draft = Draft::new(&into_slack(&before, LONG.as_bytes()));
    let (_, at, _) = draft.search_path().expect("a search path");
    draft.set_entry(draft.slot(DT_NULL) - 1, DT_NULL, 0);
    draft.set_entry(draft.slot(DT_RELACOUNT), DT_RUNPATH, at);
    must_pass(&before, &draft.bytes, &runpath(LONG))?;
    // Another tag is no hint.
    draft.set_entry(draft.slot(DT_PLTGOT), DT_DEBUG, 0);
    must_say(&judge(&before, &draft.bytes, &runpath(LONG)), 2, "DT_PLTGOT")
}

fn dropped_second_tag() -> Result<(), Failed> {
    let mut draft = Draft::new(&library(&new_dtags(OLD))?);
    // Linkers write one of the two: a first entry gets the other tag by hand.
    let (_, at, _) = draft.search_path().expect("a search path");
    let soname = draft.dynamic(|d| d.value(DT_SONAME)).expect("DT_SONAME");
    draft.set_entry(draft.slot(DT_SONAME), DT_RPATH, at);
    draft.set_entry(draft.slot(DT_NULL), DT_SONAME, soname);
    let before = draft.bytes;
    let mut draft = Draft::new(&over_the_old_one(&before, SHORT.as_bytes()));
    let slot = draft.slot(DT_RPATH);
    draft.set_entry(draft.slot(DT_NULL) - 1, DT_NULL, 0);
    draft.set_entry(slot, DT_SONAME, soname);
    must_pass(&before, &draft.bytes, &runpath(SHORT))
}

/// GNU ld lets the search path share its tail with the name of a symbol.
fn with_shared_tail() -> Result<Vec<u8>, Failed> {
    let flags = ["-shared", "-fPIC", "-Wl,-rpath,/old/path/tail,--enable-new-dtags"];
    let bytes = compile("int tail(void) { return 1; }", &flags)?;
    let name = b"/old/path/tail\0";
    let draft = Draft::new(&bytes);
    let (_, at, path) = draft.search_path().expect("a search path");
    let live = draft.dynamic(|d| d.live_strings(false));
    assert_eq!([&path[..], b"\0"].concat(), name);
    assert!(live[at as usize + 10] && !live[at as usize + 9], "no shared tail");
    Ok(bytes)
}

fn shared_tail() -> Result<(), Failed> {
    let before = with_shared_tail()?;
    must_pass(&before, &into_slack(&before, LONG.as_bytes()), &runpath(LONG))
}

fn overwritten_tail() -> Result<(), Failed> {
    let before = with_shared_tail()?;
    let mut draft = Draft::new(&before);
    let (_, at, _) = draft.search_path().expect("a search path");
    draft.put_bytes(draft.strings_offset() + at, b"/new\0XXXXXXXXX");
    let objections = judge(&before, &draft.bytes, &runpath("/new"));
    must_say(&objections, 2, "symbol")?;
    must_say(&objections, 1, "live string")
}

fn payload() -> Result<(), Failed> {
    let payload = b"a payload that is read from the end of the file";
    let with = |bytes: &[u8]| [bytes, payload].concat();
    let (before, after) = (with(&fixture().before), with(&fixture().after));
    must_pass(&before, &after, &runpath(LONG))?;
    let longer = [&after[..], &[0; 16]].concat();
    must_say(&judge(&before, &longer, &runpath(LONG)), 5, "payload")?;
    let before = [&fixture().before[..], b"\n"].concat();
    must_pass(&before, &fixture().after, &runpath(LONG)).expect_err("a cut file, even by a stray byte");
    let after = [&fixture().after[..], b"\0"].concat();
    must_pass(&before, &after, &runpath(LONG))
}

fn expectations() -> Result<(), Failed> {
    let before = library(&[])?;
    must_say(&judge(&before, &before, &runpath(LONG)), 2, "0 search paths")?;
    let nothing = Expect { tag: None, search_path: None };
    let before = &fixture().before;
    must_say(&judge(before, before, &nothing), 2, "none is expected")?;
    let any_value = Expect { tag: Some(Tag::Runpath), search_path: None };
    must_pass(before, before, &any_value)?;
    let either_tag = Expect { tag: None, search_path: Some(OLD.as_bytes()) };
    must_pass(before, before, &either_tag)?;
    must_say(&judge(before, before, &runpath(SHORT)), 2, "the search path is")
}

/// lld links a blob for any machine.
fn other_classes() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let (blob, out) = (dir.path().join("blob"), dir.path().join("out"));
    std::fs::write(&blob, vec![42; 500])?;
    let classes = [
        ("elf_i386", (false, false)),
        ("elf32ppc", (false, true)),
        ("elf64ppc", (true, true)),
        ("aarch64linux", (true, false)),
        ("elf32btsmip", (false, true)),
    ];
    for (emulation, class) in classes {
        let args = "-shared --hash-style=sysv --build-id=sha1 --enable-new-dtags -soname it.so";
        let mut args = args.split(' ').map(OsStr::new).collect::<Vec<_>>();
        args.extend(["-m", emulation, "-rpath", OLD, "--format=binary", "-o"].map(OsStr::new));
        args.extend([out.as_os_str(), blob.as_os_str()]);
        must_run("ld.lld", &args)?;
        let before = std::fs::read(&out)?;
        let image = Image::read(&before)?;
        assert_eq!((image.wide, image.big), class, "{emulation}");
        let count = Dynamic::read(&image)?.and_then(|d| d.symbol_count());
        assert!(count > Some(3), "{emulation}: {count:?} symbols");
        must_pass(&before, &before, &runpath(OLD))?;
        let after = over_the_old_one(&before, SHORT.as_bytes());
        must_pass(&before, &after, &runpath(SHORT))?;
        let mut draft = Draft::new(&after);
        draft.set_value(DT_SONAME, 0);
        must_say(&judge(&before, &draft.bytes, &runpath(SHORT)), 2, "DT_SONAME")?;
        all_flips_are_seen(&before, &after, 11)?;
    }
    Ok(())
}

fn no_sections() -> Result<(), Failed> {
    let strip = |bytes: &[u8]| {
        let mut draft = Draft::new(bytes);
        let shoff = if draft.image().wide { 40 } else { 32 };
        let counts = if draft.image().wide { 60 } else { 48 };
        let word = draft.image().word_size();
        draft.put(shoff, word, 0);
        draft.put(counts, 4, 0);
        // What only section headers described would be a payload now.
        let end = draft.image().image_end();
        draft.bytes.truncate(end as usize);
        draft.bytes
    };
    let (before, after) = (strip(&fixture().before), strip(&fixture().after));
    must_pass(&before, &after, &runpath(LONG))?;
    let mut draft = Draft::new(&after);
    draft.flip(Draft::new(&fixture().after).section_offset(".rodata"));
    must_say(&judge(&before, &draft.bytes, &runpath(LONG)), 1, "no section header")?;
    let mut draft = Draft::new(&after);
    draft.flip(Draft::new(&fixture().after).section_offset(".gnu.version"));
    must_say(&judge(&before, &draft.bytes, &runpath(LONG)), 1, "DT_VERSYM")
}

fn patched(before: &[u8], path: &str) -> Result<Vec<u8>, Failed> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("file");
    std::fs::write(&file, before)?;
    let args = ["--set-rpath", path].map(OsStr::new);
    must_run("patchelf", &[&args[..], &[file.as_os_str()]].concat())?;
    Ok(std::fs::read(file)?)
}

fn patchelf_symbol() -> Result<(), Failed> {
    // A first tag makes patchelf move .dynamic.
    let before = compile(PROGRAM, &["-pie"])?;
    let after = patched(&before, LONG)?;
    let objections = judge(&before, &after, &runpath(LONG));
    must_say(&objections, 4, "_DYNAMIC")?;
    must_say(&objections, 10, "build-id")
}

fn patchelf_in_place() -> Result<(), Failed> {
    let before = &fixture().before;
    must_pass(before, &patched(before, SHORT)?, &runpath(SHORT))
}

fn with_file<T>(bytes: &[u8], read: impl FnOnce(&Path) -> T) -> Result<T, Failed> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("file");
    std::fs::write(&file, bytes)?;
    Ok(read(&file))
}

fn readelf() -> Result<(), Failed> {
    let found = with_file(&fixture().after, readelf_runpath)?;
    assert_eq!(found, Some(("RUNPATH".into(), LONG.into())));
    let rpath = [format!("-Wl,-rpath,{OLD},--disable-new-dtags")];
    let found = with_file(&library(&rpath)?, readelf_runpath)?;
    assert_eq!(found, Some(("RPATH".into(), OLD.into())));
    assert_eq!(with_file(&library(&[])?, readelf_runpath)?, None);
    assert_eq!(tool("a tool that nobody has"), None);
    Ok(())
}

fn elflint() -> Result<(), Failed> {
    let findings = |bytes: &[u8]| with_file(bytes, support::tools::elflint_findings);
    let plain = library(&[])?;
    let program = compile(PROGRAM, &["-pie"])?;
    let mut edits =
        vec![(fixture().before.clone(), fixture().after.clone()), (plain.clone(), over_the_versions(&plain, b"/d"))];
    if cfg!(target_arch = "x86_64") {
        let path = LONG.as_bytes();
        edits.extend([
            (plain.clone(), with_a_longer_header_table(&plain, path)),
            (program.clone(), into_a_new_segment(&program, path)),
            (program.clone(), with_the_dynamic_table_moved(&program, path)),
        ]);
    }
    for (index, (before, after)) in edits.iter().enumerate() {
        assert_eq!(findings(before)?, findings(after)?, "edit {index}");
    }
    let mut draft = Draft::new(&fixture().after);
    draft.flip(draft.symbol_value("_DYNAMIC"));
    let found = findings(&draft.bytes)?;
    assert!(found.iter().any(|f| f.contains("_DYNAMIC")), "{found:?}");
    assert!(found.iter().all(|f| !f.contains("0x3")), "{found:?}");
    Ok(())
}

fn new_segment() -> Result<(), Failed> {
    let before = compile(PROGRAM, &["-pie"])?;
    let after = into_a_new_segment(&before, LONG.as_bytes());
    must_pass(&before, &after, &runpath(LONG))?;
    let new = Draft::new(&after);
    let image = new.image();
    let addr = image.sections[new.section(".dynstr")].addr;
    let index = image.segments.iter().position(|s| s.vaddr == addr);
    let index = index.expect("the new segment");
    let damages: [(Phdr, u64, &str); 4] = [
        (Phdr::Flags, 6, "writable without need"),
        (Phdr::Flags, 7, "writable and executable"),
        (Phdr::Memsz, 0x1000, "not made of file bytes"),
        (Phdr::Align, 16, "smaller p_align"),
    ];
    for (field, value, says) in damages {
        let mut draft = Draft::new(&after);
        draft.set_segment(index, field, value);
        must_say(&judge(&before, &draft.bytes, &runpath(LONG)), 3, says)?;
    }
    Ok(())
}

fn moved_dynamic_table() -> Result<(), Failed> {
    let before = compile(PROGRAM, &["-pie"])?;
    let after = with_the_dynamic_table_moved(&before, LONG.as_bytes());
    must_pass(&before, &after, &runpath(LONG))?;
    let damages: &[(u8, &str, Edit)] = &[
        (4, "_DYNAMIC", |d| {
            let old = d.image().sections[d.section(".got")].addr;
            d.put(d.symbol_value("_DYNAMIC"), d.image().word_size(), old);
        }),
        (2, "nothing can be written", |d| {
            let index = d.load_of(d.dynamic(|d| d.addr));
            d.set_segment(index, Phdr::Flags, u64::from(PF_R));
        }),
        (4, "is not PT_DYNAMIC", |d| {
            let old = d.image().sections[d.section(".dynamic")].size;
            d.set_section(".dynamic", Shdr::Size, old + 16);
        }),
        (1, "the old place of .dynamic", |d| {
            let relro = d.image().segments[d.segment(PT_GNU_RELRO)];
            let got = d.image().sections[d.section(".got")].offset;
            assert!(relro.file_range().contains(&got));
            d.flip(got - 8);
        }),
    ];
    for &(rule, says, damage) in damages {
        let mut draft = Draft::new(&after);
        damage(&mut draft);
        must_say(&judge(&before, &draft.bytes, &runpath(LONG)), rule, says)?;
    }
    Ok(())
}

fn longer_header_table() -> Result<(), Failed> {
    let before = library(&[])?;
    let after = with_a_longer_header_table(&before, LONG.as_bytes());
    must_pass(&before, &after, &runpath(LONG))?;
    let damages: &[(u8, &str, Edit)] = &[
        (2, "DT_GNU_HASH", |d| {
            let strings = d.dynamic(|d| d.value(DT_STRTAB)).expect("DT_STRTAB");
            d.set_value(DT_GNU_HASH, strings);
        }),
        (1, ".note.gnu.build-id moved", |d| {
            d.flip(d.section_offset(".note.gnu.build-id") + 20);
        }),
        (4, "overlap", |d| {
            let end = d.image().phdr_range().end;
            d.move_section(".note.gnu.build-id", end - 4, end - 4);
        }),
    ];
    for &(rule, says, damage) in damages {
        let mut draft = Draft::new(&after);
        damage(&mut draft);
        must_say(&judge(&before, &draft.bytes, &runpath(LONG)), rule, says)?;
    }
    Ok(())
}

fn evicted() -> Result<(), Failed> {
    let before = library(&[])?;
    let path = "/d";
    let after = over_the_versions(&before, path.as_bytes());
    must_pass(&before, &after, &runpath(path))?;
    let mut draft = Draft::new(&after);
    let stale = Draft::new(&before).dynamic(|d| d.value(DT_VERSYM));
    draft.set_value(DT_VERSYM, stale.expect("DT_VERSYM"));
    must_say(&judge(&before, &draft.bytes, &runpath(path)), 2, "DT_VERSYM")
}

fn late_build_id() -> Result<(), Failed> {
    let before = compile(PROGRAM, &["-pie"])?;
    let mut draft = Draft::new(&into_a_new_segment(&before, LONG.as_bytes()));
    let image = draft.image();
    let notes = image.sections[draft.section(".note.gnu.build-id")];
    let is_it = |s: &support::referee::Segment| s.kind == PT_NOTE && s.offset == notes.offset;
    let index = image.segments.iter().position(is_it).expect("PT_NOTE");
    let content = image.slice(notes.offset, image.segments[index].filesz).expect("the notes").to_vec();
    let at = draft.bytes.len() as u64;
    draft.put_bytes(at, &content);
    draft.set_segment(index, Phdr::Offset, at);
    draft.set_section(".note.gnu.build-id", Shdr::Offset, at);
    must_say(&judge(&before, &draft.bytes, &runpath(LONG)), 10, "build-id")
}

/// Whatever bit of a file changes, something is said; of an edited file, too.
fn every_byte() -> Result<(), Failed> {
    let Fixture { before, after } = fixture();
    all_flips_are_seen(before, before, 11)?;
    all_flips_are_seen(before, after, 7)
}

fn all_flips_are_seen(before: &[u8], after: &[u8], step: usize) -> Result<(), Failed> {
    let (_, _, path) = Draft::new(after).search_path().expect("a search path");
    let expect = Expect { tag: Some(Tag::Runpath), search_path: Some(&path) };
    let places = (0..after.len()).into_par_iter().step_by(step);
    let unseen = places
        .flat_map_iter(|at| (at % 4..8).step_by(4).map(move |bit| (at, bit)))
        // Both X and Z are patchelf's filling.
        .filter(|(at, bit)| after[*at] != b'X' || *bit != 1)
        .filter(|(at, bit)| {
            let mut changed = after.to_vec();
            changed[*at] ^= 1 << bit;
            judge(before, &changed, &expect).is_empty()
        })
        .map(|(at, bit)| format!("{at:#x} bit {bit}"))
        .collect::<Vec<_>>();
    if unseen.is_empty() {
        return Ok(());
    }
    Err(format!("no objection to changed bytes: {unseen:?}").into())
}

fn odd_input() -> Result<(), Failed> {
    let fixture = fixture();
    let headers = [0..0x300, fixture.before.len() - 0x800..fixture.before.len()];
    let dynamic = Draft::new(&fixture.before).dynamic(|d| d.offset as usize);
    let tables = Draft::new(&fixture.before).strings_offset() as usize;
    let windows = [headers[0].clone(), headers[1].clone(), dynamic..dynamic + 0x200, tables - 0x200..tables + 0x200];
    (0..1500u64).into_par_iter().for_each(|seed| {
        // A fixed sequence: a failure must come again.
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |limit: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 16) as usize % limit
        };
        let mut odd = fixture.after.clone();
        for _ in 0..=next(6) {
            let window = windows[next(windows.len())].clone();
            let at = window.start + next(window.len());
            odd[at] = [0, 1, 0x7f, 0x80, 0xff, next(256) as u8][next(6)];
        }
        if next(8) == 0 {
            odd.truncate(next(odd.len()));
        }
        judge(&fixture.before, &odd, &runpath(LONG));
        judge(&odd, &fixture.after, &runpath(LONG));
        judge(&odd, &odd, &runpath(LONG));
    });
    Ok(())
}

fn not_elf() -> Result<(), Failed> {
    let nothing = Expect { tag: None, search_path: None };
    must_say(&judge(b"", b"", &nothing), 1, "the original is not ELF")?;
    must_say(&judge(b"\x7fELF\x02\x01", b"", &nothing), 1, "shorter than")
}
