//! What is done with the file of a cell: four new search paths one after the other, each judged and run; then `strip`,
//! `eu-strip`, and `fix`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use driver_runpath::apply::Durability;
use driver_runpath::decide::Tag;
use driver_runpath::elf::Image;
use driver_runpath::plan::{Change, Plan, plan};
use driver_runpath::verify::verify;
use libtest_mimic::Failed;

use super::cells::Cell;
use super::support::lab::{contains, driver_runpath, same, stat, succeed};
use super::support::referee::{self, Expect, judge};
use super::support::tools::elflint_findings;
use super::tally::Tally;
use super::toolchain::Linker;
use super::workshop::{Shelf, Workshop};

/// Keeps the files of each step in this directory, to look at them.
const KEEP: &str = "DRIVER_RUNPATH_KEEP";

/// Bytes of the longest search path that is set.
const HUGE: usize = 4000;

/// Runs a cell and counts it.
pub fn run(cell: &Cell, workshop: &Workshop, tally: &Tally) -> Result<(), Failed> {
    tally.begins(cell);
    let room = workshop.room(&cell.name())?;
    let shelf = workshop.shelf(cell.toolchain())?;
    let mut bench =
        Bench { cell, shelf, tally, file: room.join("file.so"), tag: tag_of(cell), findings: BTreeSet::new() };
    let done = bench.all_steps();
    if std::env::var_os(KEEP).is_none() {
        fs::remove_dir_all(&room)?;
    }
    done?;
    tally.passed(cell);
    Ok(())
}

/// The tag that the cell asks for.
fn tag_of(cell: &Cell) -> Tag {
    let old = if cell.is("path", "rpath") { Tag::Rpath } else { Tag::Runpath };
    if cell.is("tag", "keep") { old } else { old.other() }
}

/// How long the new search path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Short,
    /// As long as the one in force.
    Equal,
    /// Longer than any so far, but for the huge one.
    Longer,
    Huge,
}

fn lengths(cell: &Cell) -> [Length; 4] {
    match cell.get("order") {
        "rising" => [Length::Short, Length::Equal, Length::Longer, Length::Huge],
        "falling" => [Length::Huge, Length::Longer, Length::Equal, Length::Short],
        _ => [Length::Equal, Length::Longer, Length::Short, Length::Huge],
    }
}

struct Bench<'a> {
    cell: &'a Cell,
    shelf: Shelf,
    tally: &'a Tally,
    file: PathBuf,
    tag: Tag,
    /// What eu-elflint says of the original.
    findings: BTreeSet<String>,
}

impl Bench<'_> {
    fn all_steps(&mut self) -> Result<(), Failed> {
        self.shelf.make(self.cell, &self.file)?;
        let original = fs::read(&self.file)?;
        let mut found = self.ask(&self.file).map_err(|e| format!("as linked: {}", message(&e)))?;
        same(found, self.shelf.finds_at_first(self.cell), "the probe found as linked")?;
        self.findings = elflint_findings(&self.file);
        let mut length = 0;
        let mut in_force = None;
        for (index, wanted) in lengths(self.cell).into_iter().enumerate() {
            let path = self.path(index + 1, wanted, length);
            let context = |e: Failed| Failed::from(format!("path {}, {wanted:?}: {}", index + 1, message(&e)));
            if self.step(&path, index as i32 + 1, found).map_err(context)? {
                length = path.len();
                found = index as i32 + 1;
                in_force = Some(path);
            }
        }
        let Some(path) = in_force else {
            same(fs::read(&self.file)? == original, true, "a refused file is as it was")?;
            return self.refused_by_fix();
        };
        self.fixed_already(&path)?;
        self.stripped(&original, found)
    }

    fn ask(&self, file: &Path) -> Result<i32, Failed> {
        self.shelf.ask(self.cell, file)
    }

    /// A search path of that length; the first directory holds probe `number`.
    fn path(&self, number: usize, wanted: Length, in_force: usize) -> String {
        let dir = self.shelf.probe_dir(number);
        let length = match wanted {
            Length::Short => 0,
            Length::Equal if in_force == 0 => dir.len() + 20,
            Length::Equal => in_force,
            Length::Longer => dir.len() + 150,
            Length::Huge => HUGE,
        };
        let mut path = dir;
        while let Some(more) = length.checked_sub(path.len() + 2).filter(|more| *more > 0) {
            // Entries of different lengths: `fix` drops those that are there twice.
            path.push_str(":/");
            path.extend(std::iter::repeat_n('p', more.min(200 + path.len() / 100)));
        }
        path
    }

    /// Sets one search path; says whether it could be placed.
    fn step(&self, path: &str, number: i32, found: i32) -> Result<bool, Failed> {
        let before = fs::read(&self.file)?;
        let change = Change::new(self.tag, path.as_bytes());
        let image = Image::parse(&before)?;
        let plan = match plan(&image, &change) {
            Ok(plan) => plan,
            Err(refusal) => {
                let reason = self.may_refuse().ok_or_else(|| format!("refused: {refusal}"))?;
                contains(&refusal.to_string(), reason)?;
                self.tally.refused(self.cell, reason);
                return Ok(false);
            }
        };
        let verified = verify(plan.clone())?;
        self.every_prefix_loads(&before, &plan, number, found)?;

        fs::write(&self.file, &before)?;
        verified.apply(&OpenOptions::new().read(true).write(true).open(&self.file)?, Durability::Process)?;
        let after = fs::read(&self.file)?;
        same(plan.replay(plan.edits.len()) == Some(after.clone()), true, "apply writes what replay shows")?;
        self.keep(&before, &after, &plan, number)?;
        self.tally.took(self.cell, &plan);

        let tag = match self.tag {
            Tag::Rpath => referee::Tag::Rpath,
            Tag::Runpath => referee::Tag::Runpath,
        };
        let objections = judge(&before, &after, &Expect { tag: Some(tag), search_path: Some(path.as_bytes()) });
        if !objections.is_empty() {
            return Err(format!("{}, {:?}: {objections:#?}", plan.rung, plan.entry).into());
        }
        let asked = self.ask(&self.file).map_err(|e| format!("{}, {:?}: {}", plan.rung, plan.entry, message(&e)))?;
        same(asked, number, &format!("the probe found after {}", plan.rung))?;
        let new: Vec<_> = elflint_findings(&self.file).difference(&self.findings).cloned().collect();
        self.tally.lint(new.len());
        if !new.is_empty() {
            return Err(format!("{}: eu-elflint: {new:#?}", plan.rung).into());
        }
        let again = Image::parse(&after)?;
        let again = super::plan_again(&again, &change)?;
        same(again.replay(again.edits.len()) == Some(after), true, "the same path again is the same file")?;
        Ok(true)
    }

    /// Why the search path may have no place, in the words of the message.
    fn may_refuse(&self) -> Option<&'static str> {
        const PAYLOAD: &str = "bytes of payload behind the ELF image must stay at the end of the file";
        const UNKNOWN: &str = "without section headers, what lies behind the program header table is not known";
        const NO_HEADER: &str = "no program header that can be borrowed";
        match (self.cell.get("payload"), self.cell.get("form")) {
            ("payload", _) => Some(PAYLOAD),
            // What the section headers named is now behind the image.
            (_, "zeroed") => Some(PAYLOAD),
            (_, "cut") => Some(UNKNOWN),
            // A C program for musl without RELRO has PT_GNU_STACK at most, which is never taken.
            _ if self.cell.toolchain().linker == Linker::Musl && self.cell.is("relro", "norelro") => Some(NO_HEADER),
            _ => None,
        }
    }

    /// Stops after each edit: the file must find what it found before, or what it shall find.
    fn every_prefix_loads(&self, before: &[u8], plan: &Plan<'_>, number: i32, found: i32) -> Result<(), Failed> {
        if !self.tally.wants_prefixes(self.cell, plan) {
            return Ok(());
        }
        let file = self.file.with_extension("prefix");
        fs::copy(&self.file, &file)?;
        // qemu-user fills what p_memsz has beyond p_filesz with zeros, in segments that cannot be written, too, and dies
        // of it. Kernels do not (fs/binfmt_elf.c, padzero).
        let is_program = !self.cell.is("kind", "shared");
        let emulated =
            |why: &str| is_program && self.cell.toolchain().is_emulated() && why.starts_with("p_memsz of the");
        for (index, edit) in plan.edits.iter().enumerate() {
            let bytes = edit.content.resolve(before).ok_or("an edit copies from outside the file")?;
            OpenOptions::new().write(true).open(&file)?.write_all_at(bytes, edit.at.0)?;
            if emulated(edit.why) {
                continue;
            }
            let place = || format!("after edit {} of {} ({}, {})", index + 1, plan.edits.len(), edit.why, plan.rung);
            let asked = self.ask(&file).map_err(|e| format!("{}: {}", place(), message(&e)))?;
            if asked != number && asked != found {
                return Err(format!("{}: found probe {asked}, neither {found} nor {number}", place()).into());
            }
        }
        fs::remove_file(&file)?;
        Ok(())
    }

    /// `fix` has nothing to do where the driver's directory is the first already.
    fn fixed_already(&self, path: &str) -> Result<(), Failed> {
        let dir = path.split(':').next().and_then(|dir| dir.strip_suffix("/lib")).ok_or("an odd path")?;
        let (bytes, before) = (fs::read(&self.file)?, stat(&self.file)?);
        let run = self.fix(dir).expect(0)?;
        contains(&run.out, "0 changed, 1 already right, 0 refused")?;
        same(fs::read(&self.file)? == bytes, true, "fix again changes no byte")?;
        same(stat(&self.file)?, before, "fix again changes no time")
    }

    /// The program says so, too, and leaves the file as it was.
    fn refused_by_fix(&self) -> Result<(), Failed> {
        let original = fs::read(&self.file)?;
        let run = self.fix(&"/a-driver".repeat(20)).expect(1)?;
        contains(&run.err, self.may_refuse().unwrap_or_default())?;
        contains(&run.err, "the file is unchanged")?;
        same(fs::read(&self.file)? == original, true, "a refused file is as it was")?;
        same(self.ask(&self.file)?, self.shelf.finds_at_first(self.cell), "the probe found")
    }

    fn fix(&self, dir: &str) -> super::support::lab::Ran {
        let link = OsString::from(format!("--driver-link={dir}"));
        let tag = if self.tag == Tag::Rpath { "--force-rpath" } else { "--force-runpath" };
        let file = self.file.clone().into_os_string();
        driver_runpath(["fix".into(), "--all".into(), tag.into(), link, file])
    }

    /// `strip` and `eu-strip` afterwards leave a file that loads with its search path.
    fn stripped(&self, original: &[u8], found: i32) -> Result<(), Failed> {
        if matches!(self.cell.get("form"), "zeroed" | "cut") {
            return Ok(());
        }
        for tool in [self.cell.toolchain().tool("strip"), "eu-strip".into()] {
            let strip = |file: &Path| -> Result<i32, Failed> {
                let out = file.with_extension("stripped");
                succeed(std::process::Command::new(&tool).arg("-o").arg(&out).arg(file))?;
                self.ask(&out)
            };
            let after = strip(&self.file);
            if after.as_ref().is_ok_and(|&after| after == found) {
                continue;
            }
            // Some files do not survive it as they were linked; that is not ours to mend.
            let plain = self.file.with_extension("original");
            File::create(&plain)?.write_all_at(original, 0)?;
            fs::set_permissions(&plain, fs::metadata(&self.file)?.permissions())?;
            if strip(&plain).is_ok_and(|asked| asked == self.shelf.finds_at_first(self.cell)) {
                return match after {
                    Ok(asked) => Err(format!("after {tool}: found probe {asked} instead of {found}").into()),
                    Err(e) => Err(format!("after {tool}: {}", message(&e)).into()),
                };
            }
            self.tally.strip_breaks(self.cell, &tool);
        }
        Ok(())
    }

    fn keep(&self, before: &[u8], after: &[u8], plan: &Plan<'_>, number: i32) -> Result<(), Failed> {
        let Some(dir) = std::env::var_os(KEEP).map(PathBuf::from) else { return Ok(()) };
        let dir = dir.join(self.cell.name());
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(format!("{number}.before")), before)?;
        fs::write(dir.join(format!("{number}.after")), after)?;
        fs::write(dir.join(format!("{number}.path")), plan.change.path.as_deref().unwrap_or_default())?;
        fs::write(dir.join(format!("{number}.rung")), plan.rung.to_string())?;
        Ok(())
    }
}

/// The text of a failure.
pub fn message(failed: &Failed) -> String {
    failed.message().unwrap_or_default().to_string()
}
