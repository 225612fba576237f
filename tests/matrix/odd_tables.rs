//! Files whose counts, sizes and section headers contradict what loaders read: those load before an edit, and must after
//! it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use driver_runpath::Error;
use driver_runpath::decide::Tag;
use driver_runpath::elf::Image;
use driver_runpath::plan::{Change, Content, Plan, plan};
use driver_runpath::verify::verify;
use goblin::elf::dynamic::*;
use libtest_mimic::{Failed, Trial};

use super::support::hand::Draft;
use super::support::lab::{Lab, contains, driver_runpath, program, same, succeed};
use super::support::referee::{self, Expect, judge};
use super::support::tools::trial;
use super::workshop::{patiently, source};

type Done = Result<(), Failed>;

/// Some tag that no loader knows.
const UNKNOWN: u64 = 0x6fff_fdff;

/// The trials of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("a_needed_library_named_behind_the_string_table_is_refused", &["cc"], needed_behind),
        trial("a_string_table_without_a_terminator_stays_where_it_is", &["cc"], unterminated),
        trial("two_search_paths_of_one_tag_become_the_same", &["cc"], twin_paths),
        trial("a_section_outside_the_file_is_no_obstacle", &["cc"], section_outside),
        trial("a_section_that_contradicts_dt_strtab_is_the_files_fault", &["cc"], contradicting_section),
        trial("verify_sees_a_version_that_is_written_over", &["cc"], verify_sees_versions),
    ];
    for (what, damage) in COUNTS {
        let name = format!("versions_are_no_room::{what}");
        trials.push(trial(&name, &["cc"], move || versions_stay(damage)));
    }
    trials
}

type Damage = fn(&mut Draft);

/// What says how many versions there are, told wrong. glibc follows `vn_next` and `vna_next`.
const COUNTS: [(&str, Damage); 5] = [
    ("dt_verneednum_is_0", |d| d.set_value(DT_VERNEEDNUM, 0)),
    ("dt_verneednum_is_missing", |d| d.set_entry(d.slot(DT_VERNEEDNUM), UNKNOWN, 0)),
    ("vn_cnt_is_1", |d| {
        let at = d.section_offset(".gnu.version_r");
        d.put(at + 2, 2, 1);
    }),
    ("dt_verdefnum_is_0", |d| d.set_value(DT_VERDEFNUM, 0)),
    ("dt_verneed_is_there_twice", |d| {
        let spare = d.dynamic(|table| table.entries.len() as u64);
        let value = d.dynamic(|table| table.value(DT_VERNEED)).expect("DT_VERNEED");
        // The last one counts.
        d.set_value(DT_VERNEED, 0x10);
        d.set_entry(spare, DT_VERNEED, value);
    }),
];

/// A program with versions, of its own and of the C library, and a directory with its probe.
fn versioned(lab: &Lab) -> Result<(PathBuf, String), Failed> {
    let file = lab.path("file");
    let mut cc = Command::new("cc");
    cc.args(["-pie", "-fPIE", "-DVERSIONS", "-rdynamic", "-Wl,--no-as-needed", "-lm"]);
    cc.arg(format!("-Wl,--version-script={}", source("versions.map").display()));
    succeed(cc.arg("-o").arg(&file).arg(source("asks.c")).arg(source("main.c")))?;
    Ok((file, probe(lab)?))
}

fn probe(lab: &Lab) -> Result<String, Failed> {
    let dir = lab.path("p");
    fs::create_dir_all(&dir)?;
    let mut cc = Command::new("cc");
    succeed(cc.args(["-shared", "-fPIC", "-DNUMBER=5", "-o"]).arg(dir.join("libprobe.so")).arg(source("probe.c")))?;
    Ok(dir.display().to_string())
}

fn says(file: &Path) -> Result<String, Failed> {
    let output = patiently(program(file).env("LD_BIND_NOW", "1"))?;
    let text = [output.stdout, output.stderr].concat();
    Ok(format!("{}{}", String::from_utf8_lossy(&text).trim(), if output.status.success() { "" } else { " (failed)" }))
}

/// A short path, for which a version's name would be room, and longer ones.
fn versions_stay(damage: Damage) -> Done {
    let lab = Lab::new()?;
    let (file, probe) = versioned(&lab)?;
    let mut draft = Draft::new(&fs::read(&file)?);
    damage(&mut draft);
    let mode = fs::metadata(&file)?.permissions();
    for path in ["/p".to_owned(), probe.clone(), format!("{probe}:/{}", "d".repeat(3000))] {
        fs::write(&file, &draft.bytes)?;
        fs::set_permissions(&file, mode.clone())?;
        same(says(&file)?, "-1".into(), "before the edit it says")?;
        let link = format!("--driver-link={path}");
        let args = ["runpath", "set", path.as_str()].map(Into::into).into_iter().chain([file.as_os_str().to_owned()]);
        driver_runpath(args).expect(0).map_err(|e| format!("{link}: {}", e.message().unwrap_or_default()))?;
        let found = if path == "/p" { "-1" } else { "5" };
        same(says(&file)?, found.into(), &format!("with {} bytes of path it says", path.len()))?;
        let expect = Expect { tag: Some(referee::Tag::Runpath), search_path: Some(path.as_bytes()) };
        let objections = judge(&draft.bytes, &fs::read(&file)?, &expect);
        same(objections.is_empty(), true, &format!("{objections:#?}"))?;
    }
    Ok(())
}

fn planned<'data>(bytes: &'data [u8], path: &str) -> Result<Plan<'data>, Failed> {
    let change = Change::new(Tag::Runpath, path);
    let image = Image::parse(bytes)?;
    plan(&image, &change).map_err(|refusal| refusal.to_string().into())
}

/// The second parser compares the names, not only the entries that lead to them.
fn verify_sees_versions() -> Done {
    let lab = Lab::new()?;
    let bytes = fs::read(versioned(&lab)?.0)?;
    let plan = planned(&bytes, "/some/directory")?;
    verify(plan.clone())?;
    let strings = Draft::new(&bytes).strings_offset();
    for name in [&b"GLIBC_2.2.5"[..], b"libm.so.6", b"dlopen"] {
        let table = bytes.get(usize::try_from(strings)?..).ok_or("the string table lies outside the file")?;
        let at = memchr::memmem::find(table, name).ok_or("no such name")? as u64;
        let mut wrong = plan.clone();
        // In the table that is in force afterwards, too.
        let moved = plan.moves.iter().find(|table| table.from.start.0 == strings).map_or(strings, |table| table.to.0);
        let some = plan.edits.first().ok_or("no edit")?;
        let edit = |at: u64| {
            let mut edit = some.clone();
            (edit.at, edit.content) = (driver_runpath::elf::FileOffset(at), Content::Bytes(b"X".to_vec()));
            edit
        };
        wrong.edits.extend([edit(moved + at), edit(strings + at)]);
        match verify(wrong) {
            Err(Error::Unverified(why)) => contains(&why, "changed")?,
            other => return Err(format!("{}: {other:?}", String::from_utf8_lossy(name)).into()),
        }
    }
    Ok(())
}

fn library(lab: &Lab) -> Result<PathBuf, Failed> {
    let file = lab.path("file.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wl,--no-as-needed", "-lm", "-Wl,-soname,libfile.so"]);
    succeed(cc.arg("-o").arg(&file).arg(source("asks.c")))?;
    Ok(file)
}

/// `fix` refuses and leaves every byte.
fn is_refused(file: &Path, reason: &str) -> Done {
    let bytes = fs::read(file)?;
    let run = driver_runpath(["fix".as_ref(), "--all".as_ref(), file.as_os_str()]).expect(1)?;
    contains(&run.err, reason)?;
    contains(&run.err, "the file is unchanged")?;
    same(fs::read(file)? == bytes, true, "a refused file is as it was")
}

/// ld.so reads the name where it lies; moved, the string table would end before it.
fn needed_behind() -> Done {
    let lab = Lab::new()?;
    let file = library(&lab)?;
    let mut draft = Draft::new(&fs::read(&file)?);
    let size = draft.dynamic(|table| table.value(DT_STRSZ)).ok_or("no DT_STRSZ")?;
    draft.set_value(DT_NEEDED, size + 10);
    fs::write(&file, &draft.bytes)?;
    is_refused(&file, "names a string outside the dynamic string table")
}

fn unterminated() -> Done {
    let lab = Lab::new()?;
    let file = library(&lab)?;
    let mut draft = Draft::new(&fs::read(&file)?);
    let size = draft.dynamic(|table| table.value(DT_STRSZ)).ok_or("no DT_STRSZ")?;
    // The last name goes on where the table ends.
    draft.set_value(DT_STRSZ, size - 2);
    draft.set_section(".dynstr", super::support::hand::Shdr::Size, size - 2);
    fs::write(&file, &draft.bytes)?;
    is_refused(&file, "names a string outside the dynamic string table")
}

fn twin_paths() -> Done {
    for (first, last) in [(DT_RUNPATH, DT_RUNPATH), (DT_RPATH, DT_RPATH)] {
        let lab = Lab::new()?;
        let file = library(&lab)?;
        let mut draft = Draft::new(&fs::read(&file)?);
        let spare = draft.dynamic(|table| table.entries.len() as u64);
        let soname = draft.dynamic(|table| table.value(DT_SONAME)).ok_or("no DT_SONAME")?;
        draft.set_entry(spare, first, soname);
        draft.set_entry(spare + 1, last, 1);
        for path in ["/p", "/a/longer/directory/than/there/is/room/for"] {
            fs::write(&file, &draft.bytes)?;
            let args = ["runpath", "set", "--force-runpath", path].map(Into::into);
            driver_runpath(args.into_iter().chain([file.as_os_str().to_owned()])).expect(0)?;
            let values = Draft::new(&fs::read(&file)?).dynamic(|table| {
                let paths = table.search_paths().into_iter();
                paths.map(|(tag, _, path)| (tag, path.map(<[u8]>::to_vec))).collect::<Vec<_>>()
            });
            same(values, vec![(DT_RUNPATH, Some(path.as_bytes().to_vec())); 2], "the search paths")?;
        }
    }
    Ok(())
}

/// Loaders read no section headers.
fn section_outside() -> Done {
    let lab = Lab::new()?;
    let file = library(&lab)?;
    let whole = fs::read(&file)?;
    let image = Draft::new(&whole).image().sections.len() as u64;
    for index in 1..image {
        let mut draft = Draft::new(&whole);
        let at = draft.image().shoff + index * draft.image().shentsize;
        draft.put(at + 24, 8, 1 << 40);
        for path in ["/p".to_owned(), format!("/{}", "d".repeat(3000))] {
            fs::write(&file, &draft.bytes)?;
            let args = [OsString::from("fix"), "--all".into(), format!("--driver-link={path}").into()];
            let run = driver_runpath(args.into_iter().chain([file.as_os_str().to_owned()])).expect(0)?;
            contains(&run.out, "1 changed")?;
            let is_empty = draft.image().sections.get(index as usize).is_some_and(|s| s.size == 0 || s.kind == 8);
            if !is_empty {
                contains(&run.err, &format!("section {index} lies outside the file"))?;
            }
        }
    }
    Ok(())
}

fn contradicting_section() -> Done {
    let lab = Lab::new()?;
    let file = library(&lab)?;
    let mut draft = Draft::new(&fs::read(&file)?);
    draft.set_section(".dynstr", super::support::hand::Shdr::Size, 8);
    fs::write(&file, &draft.bytes)?;
    let link = format!("--driver-link=/{}", "d".repeat(3000));
    let run = driver_runpath(["fix".as_ref(), "--all".as_ref(), link.as_ref(), file.as_os_str()]);
    same(run.err.contains("internal error"), false, &run.err)?;
    contains(&run.err, "damaged ELF file")?;
    contains(&run.err, "does not agree with DT_STRTAB")?;
    same(fs::read(&file)? == draft.bytes, true, "the file is as it was")
}
