//! One linker's file, one editor before ours, every editor after it.

use std::fs;
use std::path::{Path, PathBuf};

use driver_runpath::elf::Image;
use driver_runpath::plan::{Change, plan};
use libtest_mimic::Failed;

use super::editors::{AFTER, Editor, fix, is_there};
use super::linkers::{Kind, Linker, Shelf, Way};
use super::support::lab::same;
use super::support::referee::{Expect, judge};
use super::support::tools::{elflint_findings, readelf_runpath};
use super::tally::{Cell, Tally};

/// What a file says that finds no probe.
const NOT_FOUND: i32 = -1;

/// What is linked and edited before.
#[derive(Clone, Copy)]
pub struct Case {
    pub linker: &'static Linker,
    pub kind: Kind,
    pub way: &'static Way,
    pub before: &'static Editor,
}

impl Case {
    pub fn name(&self) -> String {
        format!("{}.{}.{}.after_{}", self.linker.name, self.kind.name(), self.way.name, self.before.name)
    }
}

pub struct Bench<'a> {
    case: &'a Case,
    shelf: &'a Shelf,
    tally: &'a Tally,
    room: PathBuf,
}

impl<'a> Bench<'a> {
    pub fn new(case: &'a Case, shelf: &'a Shelf, tally: &'a Tally) -> Result<Self, Failed> {
        let room = shelf.path(&case.name());
        fs::create_dir_all(&room)?;
        Ok(Self { case, shelf, tally, room })
    }

    /// All faults at once: one tool can break what another leaves whole.
    pub fn run(&self) -> Result<(), Failed> {
        let mut faults = Vec::new();
        for has_path in [false, true] {
            let found = self.with(has_path).map_err(|e| format!("path {has_path}: {}", message(&e)))?;
            faults.extend(found);
        }
        fs::remove_dir_all(&self.room)?;
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
    }

    fn with(&self, has_path: bool) -> Result<Vec<String>, Failed> {
        let Case { linker, kind, way, before } = *self.case;
        let file = self.room.join(if kind == Kind::Shared { "file.so" } else { "file" });
        fs::copy(self.shelf.linked(linker, kind, way, has_path)?, &file)?;
        same(self.shelf.ask(kind, &file)?, NOT_FOUND, "as linked it finds probe")?;
        // chrpath edits no file without a search path, and each editor breaks some files of its own accord.
        if before.edit(self.shelf, kind, &file).is_err() || !self.finds(&file, NOT_FOUND) {
            self.tally.broken_before(self.case);
            return Ok(Vec::new());
        }
        let untouched = self.room.join("untouched");
        fs::copy(&file, &untouched)?;
        if let Err(refused) = fix(&file, &self.shelf.driver(1)) {
            self.tally.refused(self.case);
            return Ok(vec![format!("path {has_path}: {}", message(&refused))]);
        }
        let mut faults = self.judge(&untouched, &file)?;
        for after in &AFTER {
            if !after.needs.iter().all(|needed| is_there(needed)) {
                continue;
            }
            let cell = match self.survives(after, &file) {
                Ok(()) => Cell::Passed,
                Err(_) if !after.fixes_again() && self.breaks_anyway(after, &untouched) => Cell::BreaksAnyway,
                Err(why) => {
                    faults.push(format!("path {has_path}, {} after it: {}", after.name, message(&why)));
                    Cell::Failed
                }
            };
            self.tally.counts(self.case, after, cell);
        }
        Ok(faults)
    }

    /// Copies the file, lets the editor have it, and sees that it finds the driver.
    fn survives(&self, after: &Editor, file: &Path) -> Result<(), Failed> {
        let copy = self.copy(after, file)?;
        after.edit(self.shelf, self.case.kind, &copy)?;
        let number = if after.fixes_again() { 2 } else { 1 };
        same(self.shelf.ask(self.case.kind, &copy)?, number, "it finds probe")?;
        let wanted = self.shelf.driver(number);
        let (_, path) = readelf_runpath(&copy).ok_or("readelf shows no search path")?;
        let is_first = path.starts_with(wanted.as_os_str().as_encoded_bytes());
        same(is_first, true, "the driver's directory comes first")
    }

    /// Whether the editor breaks the file that ours has not touched: it fails, or the file does, or readelf cannot read it.
    fn breaks_anyway(&self, after: &Editor, untouched: &Path) -> bool {
        let edited = || -> Result<(), Failed> {
            let copy = self.copy(after, untouched)?;
            let old = readelf_runpath(&copy).map(|(_, path)| path);
            after.edit(self.shelf, self.case.kind, &copy)?;
            same(self.shelf.ask(self.case.kind, &copy)?, NOT_FOUND, "it finds probe")?;
            let new = readelf_runpath(&copy).map(|(_, path)| path).unwrap_or_default();
            same(new.starts_with(&old.unwrap_or_default()), true, "the search path is kept")
        };
        edited().is_err()
    }

    fn copy(&self, after: &Editor, file: &Path) -> Result<PathBuf, Failed> {
        let copy = self.room.join(after.name).with_extension(file.extension().unwrap_or_default());
        fs::copy(file, &copy)?;
        Ok(copy)
    }

    fn finds(&self, file: &Path, number: i32) -> bool {
        self.shelf.ask(self.case.kind, file).is_ok_and(|found| found == number)
    }

    /// The referee, eu-elflint, and the growth beside other editors.
    fn judge(&self, untouched: &Path, file: &Path) -> Result<Vec<String>, Failed> {
        let (before, after) = (fs::read(untouched)?, fs::read(file)?);
        let driver = self.shelf.driver(1).join("lib");
        let old = readelf_runpath(untouched).map(|(_, path)| path).unwrap_or_default();
        let mut path = driver.as_os_str().as_encoded_bytes().to_vec();
        if !old.is_empty() {
            path.push(b':');
            path.extend(old);
        }
        let expect = Expect { tag: None, search_path: Some(&path) };
        let objections = judge(&before, &after, &expect);
        let new = elflint_findings(file).difference(&elflint_findings(untouched)).cloned().collect::<Vec<_>>();
        self.tally.judged(objections.len(), new.len());
        let mut faults: Vec<String> = objections.iter().map(|objection| format!("referee: {objection}")).collect();
        faults.extend(new.iter().map(|finding| format!("eu-elflint: {finding}")));

        let image = Image::parse(&before)?;
        let tag = readelf_runpath(file).ok_or("no search path")?.0;
        let tag =
            if tag == "RPATH" { driver_runpath::decide::Tag::Rpath } else { driver_runpath::decide::Tag::Runpath };
        let plan = plan(&image, &Change::new(tag, path.clone()))?;
        self.tally.grew(plan.rung, "ours", after.len().saturating_sub(before.len()));
        let text = String::from_utf8_lossy(&path).into_owned();
        let formatelf = std::env::var("FORMATELF").ok();
        for (name, program) in [("patchelf", Some("patchelf".to_owned())), ("formatelf", formatelf)] {
            let Some(program) = program else { continue };
            let copy = self.room.join(name);
            fs::copy(untouched, &copy)?;
            let ran = std::process::Command::new(program).args(["--set-rpath", &text]).arg(&copy).output();
            if ran.is_ok_and(|ran| ran.status.success()) {
                let len = usize::try_from(fs::metadata(&copy)?.len())?;
                self.tally.grew(plan.rung, name, len.saturating_sub(before.len()));
            }
        }
        Ok(faults)
    }
}

fn message(failed: &Failed) -> String {
    failed.message().unwrap_or_default().to_string()
}
