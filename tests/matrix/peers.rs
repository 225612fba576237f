//! The ways in which other editors break files, one test each. What the cells cover anyway is here by name, so that a
//! reader finds it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use driver_runpath::apply::Durability;
use driver_runpath::decide::Tag;
use driver_runpath::elf::Image;
use driver_runpath::plan::{Change, Rung, plan};
use driver_runpath::verify::verify;
use goblin::elf::dynamic::{DT_SONAME, DT_STRSZ};
use libtest_mimic::{Failed, Trial};

use super::cells::Cell;
use super::steps;
use super::support::hand::Draft;
use super::support::lab::{Lab, program, same, succeed};
use super::support::referee::{self, Expect, judge};
use super::support::tools::{elflint_findings, tool, trial};
use super::tally::Tally;
use super::workshop::{Workshop, patiently, source};

type Done = Result<(), Failed>;

/// Sentences with the cells that show them.
const CELLS: [(&str, &[&str]); 20] = [
    // PEERS 2.
    (
        "zero_filled_memory_stays_zero_where_the_segment_with_it_comes_last",
        &[
            "bfd.nopie.gnu.mixed.norelro.plainrel.4K.stripped.bss.none.bare.keep.falling",
            "lld.pie.gnu.separate.now.plainrel.4K.linked.bss.runpath.bare.keep.falling",
            "gold.shared.both.mixed.relro.plainrel.64K.linked.bss.rpath.bare.keep.mixed-up",
        ],
    ),
    // PEERS 3.
    (
        "a_big_endian_no_pie_program_runs::mips",
        &["mips.nopie.sysv.mixed.now.plainrel.64K.linked.plain.none.bare.keep.falling"],
    ),
    (
        "a_big_endian_no_pie_program_runs::powerpc",
        &["powerpc.nopie.gnu.mixed.now.plainrel.64K.linked.plain.none.bare.keep.falling"],
    ),
    (
        "a_big_endian_no_pie_program_runs::ppc64",
        &["ppc64.nopie.gnu.mixed.now.plainrel.64K.linked.plain.none.bare.keep.falling"],
    ),
    (
        "a_big_endian_no_pie_program_runs::s390x",
        &["s390x.nopie.gnu.mixed.now.plainrel.4K.linked.plain.none.bare.keep.falling"],
    ),
    // PEERS 4.
    (
        "mold_no_pie_programs_with_large_pages_are_taken",
        &[
            "mold.nopie.gnu.separate.relro.plainrel.16K.linked.plain.runpath.bare.keep.rising",
            "mold.nopie.both.mixed.now.plainrel.2M.stripped.plain.none.bare.keep.falling",
        ],
    ),
    // PEERS 5.
    (
        "version_definitions_are_found_where_they_moved",
        &[
            "lld.pie.both.mixed.now.plainrel.4K.linked.verdef.none.bare.keep.falling",
            "lld.nopie.gnu.separate.relro.plainrel.4K.stripped.verdef.runpath.bare.keep.falling",
            "mold.pie.gnu.mixed.relro.plainrel.4K.stripped.verdef.none.bare.keep.falling",
        ],
    ),
    // PEERS 9.
    (
        "of_two_search_paths_the_ignored_one_goes_with_its_bytes",
        &[
            "bfd.shared.gnu.separate.now.plainrel.4K.linked.plain.both.bare.keep.falling",
            "lld.nopie.gnu.mixed.now.plainrel.4K.linked.plain.both.bare.other.rising",
        ],
    ),
    // PEERS 10.
    (
        "a_payload_stays_at_the_end_of_the_file",
        &[
            "bfd.nopie.gnu.separate.now.plainrel.4K.linked.plain.runpath.payload.keep.rising",
            "lld.pie.gnu.separate.now.plainrel.4K.stripped.plain.runpath.payload.keep.falling",
        ],
    ),
    // PEERS 11.
    (
        "a_symbol_that_shares_the_tail_of_the_search_path_keeps_its_name",
        &[
            "bfd.shared.gnu.mixed.relro.plainrel.4K.linked.tail.runpath.bare.keep.rising",
            "gold.pie.sysv.mixed.now.plainrel.4K.stripped.tail.rpath.bare.other.falling",
            "mold.shared.both.separate.relro.plainrel.4K.linked.tail.long.bare.keep.mixed-up",
        ],
    ),
    // PEERS 13: unnamed sections.
    (
        "a_program_of_gos_own_linker_takes_its_first_search_path",
        &[
            "go.nopie.sysv.mixed.norelro.plainrel.4K.linked.plain.none.bare.keep.falling",
            "go.nopie.sysv.mixed.norelro.plainrel.4K.linked.plain.none.bare.keep.rising",
            "go.pie.sysv.mixed.norelro.plainrel.4K.stripped.plain.none.bare.other.rising",
        ],
    ),
    // PEERS 14.
    (
        "a_file_without_section_headers_is_taken_and_its_old_search_path_goes",
        &[
            "bfd.nopie.gnu.mixed.relro.relr.16K.zeroed.verdef.rpath.payload.other.falling",
            "mold.pie.gnu.separate.norelro.plainrel.2M.cut.verdef.both.bare.keep.mixed-up",
        ],
    ),
    (
        "without_a_note_and_relro_another_header_is_borrowed",
        &["mold.pie.gnu.mixed.norelro.plainrel.4K.split.verdef.both.bare.other.falling"],
    ),
    (
        "a_note_that_moves_by_less_than_its_length_stays_whole",
        &["lld.nopie.sysv.separate.relro.plainrel.4K.stripped.plain.both.bare.other.rising"],
    ),
    (
        "a_segment_that_an_earlier_run_added_grows_again",
        &[
            "lld.nopie.both.mixed.now.plainrel.64K.stripped.tail.rpath.bare.keep.rising",
            "mold.shared.both.mixed.now.plainrel.16K.linked.names.rpath.bare.keep.mixed-up",
        ],
    ),
    (
        "what_dynstr_left_behind_does_not_block_the_next_run",
        &["ppc64le.pie.gnu.separate.now.plainrel.4K.stripped.plain.empty.bare.other.mixed-up"],
    ),
    (
        "the_entry_that_takes_a_dropped_ones_place_says_where_its_table_is_now",
        &["mold.shared.gnu.mixed.norelro.plainrel.4K.split.tail.both.bare.keep.falling"],
    ),
    (
        "a_long_string_table_evicts_its_neighbours",
        &["bfd.shared.sysv.mixed.norelro.plainrel.64K.linked.names.none.bare.keep.rising"],
    ),
    (
        "a_hint_is_given_up_for_the_first_search_path",
        &["lld.pie.gnu.mixed.now.plainrel.4K.linked.plain.none.bare.keep.falling"],
    ),
    (
        "the_dynamic_table_moves_for_the_first_search_path",
        &[
            "lld.nopie.gnu.mixed.now.plainrel.4K.linked.plain.none.bare.keep.falling",
            "rustc.nopie.gnu.mixed.now.plainrel.4K.stripped.plain.none.bare.keep.falling",
        ],
    ),
];

/// The trials of this file.
pub fn trials(workshop: &Arc<Workshop>, tally: &Arc<Tally>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (sentence, names) in CELLS {
        let (workshop, tally) = (workshop.clone(), tally.clone());
        let cells: Vec<Cell> = names.iter().map(|name| Cell::named(name).expect("a cell of the matrix")).collect();
        let needs: BTreeSet<&str> = cells.iter().flat_map(|cell| cell.toolchain().needs()).collect();
        let is_in_ci = cells.iter().all(|cell| cell.toolchain().is_in_ci);
        let run = move || {
            let failed = |cell: &Cell, e: Failed| format!("{}: {}", cell.name(), steps::message(&e));
            cells.iter().try_for_each(|cell| steps::run(cell, &workshop, &tally).map_err(|e| failed(cell, e).into()))
        };
        trials.push(super::optional(sentence, &needs.into_iter().collect::<Vec<_>>(), is_in_ci, run));
    }
    trials.extend([
        trial("a_hundred_search_paths_leave_a_file_of_bounded_size", &["cc", "eu-elflint"], hundred_paths),
        trial("a_dynamic_table_that_cannot_be_written_stays_where_it_is", &["cc", "ld.lld"], read_only_dynamic),
        trial("two_sections_of_one_name_are_told_apart", &["cc", "eu-elflint"], twin_sections),
        trial("sections_without_names_do_not_matter", &["cc", "eu-elflint"], unnamed_sections),
        trial("a_symbol_in_a_moved_table_follows_into_a_moved_symbol_table", &["cc", "ld.lld"], symbol_in_interp),
        trial("addresses_are_not_taken_for_file_offsets", &["cc", "eu-elflint"], far_addresses),
        trial(
            "a_search_path_survives_strip_even_after_patchelf",
            // Earlier ones, such as 0.14, leave files in which headers share bytes.
            &["cc", "patchelf 0.18", "strip", "eu-strip"],
            after_patchelf,
        ),
    ]);
    trials
}

/// Links the C program of the matrix, or its library.
fn link(lab: &Lab, name: &str, flags: &[&str]) -> Result<PathBuf, Failed> {
    let to = lab.path(name);
    let mut cc = Command::new("cc");
    cc.arg("-O1").arg(source("asks.c")).args(flags);
    if !flags.contains(&"-shared") {
        cc.arg(source("main.c"));
    }
    succeed(cc.arg("-o").arg(&to))?;
    Ok(to)
}

/// A directory with a probe library.
fn probe(lab: &Lab) -> Result<String, Failed> {
    let dir = lab.path("probe");
    fs::create_dir_all(&dir)?;
    let mut cc = Command::new("cc");
    succeed(cc.args(["-shared", "-fPIC", "-DNUMBER=5", "-o"]).arg(dir.join("libprobe.so")).arg(source("probe.c")))?;
    Ok(dir.display().to_string())
}

/// What the program says, or the program that loads the library.
fn says(lab: &Lab, file: &Path) -> Result<String, Failed> {
    let mut command = if file.extension().is_some_and(|extension| extension == "so") {
        let host = lab.path("host");
        if !host.exists() {
            succeed(Command::new("cc").arg("-o").arg(&host).arg(source("host.c")))?;
        }
        let mut command = program(&host);
        command.arg(file);
        command
    } else {
        program(file)
    };
    let output = patiently(&mut command)?;
    let text = [output.stdout, output.stderr].concat();
    Ok(format!("{}{}", String::from_utf8_lossy(&text).trim(), if output.status.success() { "" } else { " (failed)" }))
}

/// Sets the search path, judges it, and says which rung it took.
fn set(file: &Path, path: &str) -> Result<Rung, Failed> {
    let before = fs::read(file)?;
    let image = Image::parse(&before)?;
    let change = Change::new(Tag::Runpath, path.as_bytes());
    let plan = plan(&image, &change).map_err(|refusal| refusal.to_string())?;
    let rung = plan.rung;
    verify(plan)?.apply(&fs::OpenOptions::new().read(true).write(true).open(file)?, Durability::Process)?;
    let expect = Expect { tag: Some(referee::Tag::Runpath), search_path: Some(path.as_bytes()) };
    let objections = judge(&before, &fs::read(file)?, &expect);
    if objections.is_empty() { Ok(rung) } else { Err(format!("{rung}: {objections:#?}").into()) }
}

/// Sets a search path that finds the probe, short or long, and runs the file.
fn set_and_ask(lab: &Lab, file: &Path, length: usize) -> Result<Rung, Failed> {
    let mut path = probe(lab)?;
    while path.len() < length {
        path.push_str(":/another/directory");
    }
    let findings = elflint_findings(file);
    let rung = set(file, &path)?;
    same(says(lab, file)?, "5".into(), &format!("the probe found after {rung}"))?;
    let new: Vec<_> = elflint_findings(file).difference(&findings).cloned().collect();
    if new.is_empty() { Ok(rung) } else { Err(format!("{rung}: eu-elflint: {new:#?}").into()) }
}

/// PEERS 7: a 16,000-byte PIE grew to 4.4 MB, a no-PIE to 19 segments.
fn hundred_paths() -> Done {
    for flags in
        [&["-pie", "-fPIE"][..], &["-no-pie", "-fno-pie"], &["-shared", "-fPIC"], &["-pie", "-fPIE", "-fuse-ld=lld"]]
    {
        if flags.contains(&"-fuse-ld=lld") && tool("ld.lld").is_none() {
            continue;
        }
        let lab = Lab::new()?;
        let file = link(&lab, if flags.contains(&"-shared") { "file.so" } else { "file" }, flags)?;
        let original = fs::metadata(&file)?.len();
        let segments = Draft::new(&fs::read(&file)?).image().segments.len();
        // Two rounds over the same lengths: the second must find room in what the first left.
        let mut sizes = Vec::new();
        for _ in 0..2 {
            for round in 0..100 {
                set(&file, &format!("/{}", "d".repeat(10 + round * 37 % 500)))?;
            }
            sizes.push(fs::metadata(&file)?.len());
        }
        same(sizes.first(), sizes.last(), &format!("{flags:?}: the size after one round and after two"))?;
        let growth = sizes.last().copied().unwrap_or(0).saturating_sub(original);
        let strings = Draft::new(&fs::read(&file)?).dynamic(|table| table.value(DT_STRSZ)).unwrap_or(0);
        same(growth <= 8192, true, &format!("{flags:?}: growth of {growth} bytes, {strings} of strings"))?;
        let now = Draft::new(&fs::read(&file)?).image().segments.len();
        same(now <= segments + 1, true, &format!("{flags:?}: {now} segments after {segments}"))?;
        set_and_ask(&lab, &file, 0)?;
    }
    Ok(())
}

/// PEERS 13: P#146, #152.
fn read_only_dynamic() -> Done {
    for (name, flags) in [("file.so", &["-shared", "-fPIC"][..]), ("file", &["-pie", "-fPIE"])] {
        let lab = Lab::new()?;
        let flags = [flags, &["-fuse-ld=lld", "-Wl,-z,rodynamic,--enable-new-dtags,-rpath,/old/directory"]].concat();
        let file = link(&lab, name, &flags)?;
        let bytes = fs::read(&file)?;
        let place = |bytes: &[u8]| {
            let draft = Draft::new(bytes);
            let at = draft.dynamic(|table| (table.addr, table.size));
            let writable = draft.image().load_at(at.0, at.1).map(|load| load.flags & 2 != 0);
            (at.0, writable)
        };
        same(place(&bytes).1, Some(false), "the dynamic table can be written")?;
        for length in [0, 300, 4000] {
            set_and_ask(&lab, &file, length)?;
        }
        same(place(&fs::read(&file)?), place(&bytes), "the place of the dynamic table")?;
    }
    Ok(())
}

/// PEERS 13: P#240.
fn twin_sections() -> Done {
    let lab = Lab::new()?;
    let file = link(&lab, "file.so", &["-shared", "-fPIC"])?;
    let whole = fs::read(&file)?;
    let names = |bytes: &[u8]| {
        let draft = Draft::new(bytes);
        let image = draft.image();
        (0..image.sections.len()).map(|index| image.section_name(index)).collect::<Vec<_>>()
    };
    for (name, other) in [(".comment", ".dynstr"), (".dynstr", ".rodata"), (".dynsym", ".dynstr")] {
        let index = |wanted: &str| names(&whole).iter().position(|found| found == wanted).ok_or("no such section");
        let (from, to) = (index(other)? as u64, index(name)? as u64);
        let mut draft = Draft::new(&whole);
        let (shoff, size) = (draft.image().shoff, draft.image().shentsize);
        let name_at = draft.image().sections.get(from as usize).map_or(0, |section| section.name);
        draft.put(shoff + to * size, 4, name_at);
        let twins = names(&draft.bytes).iter().filter(|found| *found == other).count();
        same(twins, 2, "sections of one name")?;
        for length in [0, 300, 4000] {
            fs::write(&file, &draft.bytes)?;
            set_and_ask(&lab, &file, length)?;
        }
    }
    Ok(())
}

/// PEERS 13: P#66, #138.
fn unnamed_sections() -> Done {
    let lab = Lab::new()?;
    let file = link(&lab, "file", &["-pie", "-fPIE"])?;
    let mut draft = Draft::new(&fs::read(&file)?);
    let (shoff, size, count) = (draft.image().shoff, draft.image().shentsize, draft.image().sections.len() as u64);
    for index in 1..count {
        draft.put(shoff + index * size, 4, 0);
    }
    fs::write(&file, draft.bytes)?;
    for length in [0, 300, 4000] {
        set_and_ask(&lab, &file, length)?;
    }
    Ok(())
}

/// Qt's libraries export a symbol in `.interp`; with lld, `.interp` and `.dynsym` both make way for a program header.
fn symbol_in_interp() -> Done {
    let lab = Lab::new()?;
    let extra = lab.path("interp.c");
    let interp = "const char interp[] __attribute__((section(\".interp\"))) = \"/lib64/ld-linux-x86-64.so.2\";";
    fs::write(&extra, interp)?;
    let extra = extra.display().to_string();
    let file = link(&lab, "file.so", &["-shared", "-fPIC", "-fuse-ld=lld", "-Wl,-soname,a", &extra])?;
    let place = |bytes: &[u8]| {
        let draft = Draft::new(bytes);
        let symbol = draft.dynamic(|table| {
            let symbols = table.symbols()?;
            symbols.iter().find(|s| table.string(s.name_at) == Some(b"interp")).map(|s| s.value)
        });
        (symbol, draft.image().segment(goblin::elf::program_header::PT_INTERP).map(|s| s.vaddr))
    };
    let before = place(&fs::read(&file)?);
    same(before.0.is_some() && before.0 == before.1, true, "the symbol lies in .interp")?;
    same(set_and_ask(&lab, &file, 4000)?, Rung::AppendHead, "the rung")?;
    let after = place(&fs::read(&file)?);
    same(before.1 == after.1, false, "PT_INTERP stays")?;
    same(after.0, after.1, "where the symbol is")
}

/// PEERS 13: P#239. Every address differs from its file offset, by hand where no linker does it.
fn far_addresses() -> Done {
    for base in ["0x400000", "0x7000000", "0x10000000"] {
        let lab = Lab::new()?;
        let image_base = format!("-Wl,-Ttext-segment={base}");
        for (name, kind) in [("file.so", &["-shared", "-fPIC"][..]), ("file", &["-no-pie", "-fno-pie"])] {
            let file = link(&lab, name, &[kind, &[image_base.as_str(), "-Wl,-soname,itself"]].concat())?;
            for length in [0, 300, 4000] {
                set_and_ask(&lab, &file, length)?;
            }
            let name = Draft::new(&fs::read(&file)?).dynamic(|table| {
                let soname = table.value(DT_SONAME).and_then(|at| table.string(at));
                soname.map(<[u8]>::to_vec)
            });
            same(name.is_none_or(|name| name == b"itself"), true, "the SONAME")?;
        }
    }
    Ok(())
}

/// PEERS 12, on files whose `.dynstr` patchelf has put into a segment of its own.
fn after_patchelf() -> Done {
    // patchelf puts .dynamic behind the program headers of a no-PIE program; then only its own dead bytes are room.
    for (name, flags, lengths) in [
        ("file.so", &["-shared", "-fPIC"][..], &[0, 300, 4000][..]),
        ("file", &["-pie", "-fPIE"], &[0, 300, 4000]),
        ("fixed", &["-no-pie", "-fno-pie"], &[0, 300]),
    ] {
        let lab = Lab::new()?;
        let file = link(&lab, name, flags)?;
        succeed(Command::new("patchelf").arg("--set-rpath").arg("/a/directory/of/patchelf".repeat(30)).arg(&file))?;
        for &length in lengths {
            set_and_ask(&lab, &file, length).map_err(|e| format!("{name}, {length}: {}", steps::message(&e)))?;
            for tool in ["strip", "eu-strip"] {
                let out = lab.path("stripped").with_extension(file.extension().unwrap_or_default());
                succeed(Command::new(tool).arg("-o").arg(&out).arg(&file))?;
                same(says(&lab, &out)?, "5".into(), &format!("{name}: the probe found after {tool}"))?;
            }
        }
    }
    Ok(())
}
