//! Generated files beside what the linkers make: the same order of sections and program headers, the same segments, the
//! same spare entries.

use super::specs;
use crate::support::lab::{Lab, same, succeed};
use driver_runpath::fixtures::{FileType, Profile, Spec, Target};
use goblin::elf::program_header::{PT_LOAD, PT_NOTE};
use goblin::elf::{Elf, ProgramHeader};
use libtest_mimic::Failed;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "
#include <stdlib.h>
__thread int counter = 3;
__thread int zeros[10];
static int *pointer = &(int){3};
int numbers[4] = {1, 2, 3, 4};
int bss[10];
__attribute__((constructor)) static void starts(void) { bss[0] = 1; }
__attribute__((destructor)) static void ends(void) { bss[0] = 2; }
int fixture_open(void) { counter++; return malloc(3) && *pointer && getenv(\"constant\") && zeros[1]; }
int main(void) { return fixture_open(); }
";

const GO: &str = "package main\nimport \"net\"\nfunc main() { _, _ = net.LookupHost(\"localhost\") }\n";

/// What a linker decides.
#[derive(Debug)]
struct Layout {
    /// Sections that are loaded, by address.
    sections: Vec<String>,
    /// Kinds of program headers, where they occur first.
    headers: Vec<u32>,
    /// What the segments may be used for.
    access: Vec<u32>,
    /// Entries behind the one that ends `.dynamic`.
    spare: usize,
    /// Whether each segment but the first and the one of `.dynamic` starts at a place of the file of its own page.
    pages: Vec<bool>,
    /// What lies in the first segment.
    first: Vec<String>,
    /// What lies in the last segment.
    last: BTreeSet<String>,
    /// Whether the section headers lie within a segment.
    maps_sections: bool,
}

impl Layout {
    fn read(bytes: &[u8]) -> Result<Self, Failed> {
        let elf = Elf::parse(bytes)?;
        let name = |at: usize| elf.shdr_strtab.get_at(at).unwrap_or_default().to_owned();
        let mut loaded: Vec<_> = elf.section_headers.iter().filter(|section| section.is_alloc()).collect();
        // .tbss takes no addresses: what follows it has the same.
        loaded.retain(|section| section.sh_addr != 0 && name(section.sh_name) != ".tbss");
        loaded.sort_by_key(|section| section.sh_addr);
        let mut headers: Vec<u32> = Vec::new();
        for header in &elf.program_headers {
            if !headers.contains(&header.p_type) {
                headers.push(header.p_type);
            }
        }
        let loads: Vec<_> = elf.program_headers.iter().filter(|header| header.p_type == PT_LOAD).collect();
        let table = elf.section_headers.iter().find(|section| name(section.sh_name) == ".dynamic");
        let entries = table.map_or(0, |table| (table.sh_size / table.sh_entsize.max(1)) as usize);
        // goblin ends the list with the first DT_NULL.
        let used = elf.dynamic.as_ref().map_or(0, |dynamic| dynamic.dyns.len());
        let last = loads.last().ok_or("no segment")?;
        let is_in = |load: &ProgramHeader, addr: u64| load.p_vaddr <= addr && addr < load.p_vaddr + load.p_memsz;
        let of = |load| loaded.iter().filter(move |section| is_in(load, section.sh_addr)).map(|s| name(s.sh_name));
        Ok(Self {
            headers,
            access: loads.iter().map(|load| load.p_flags).collect(),
            spare: entries.saturating_sub(used),
            pages: loads.iter().skip(1).map(|load| load.p_offset % 0x1000 == 0).collect(),
            first: of(loads[0]).collect(),
            last: of(last).collect(),
            sections: loaded.iter().map(|section| name(section.sh_name)).collect(),
            maps_sections: loads.iter().any(|load| load.file_range().contains(&(elf.header.e_shoff as usize))),
        })
    }
}

/// The members of one list that the other one has, in their order.
fn common<T: PartialEq + Clone>(of: &[T], with: &[T]) -> Vec<T> {
    of.iter().filter(|member| with.contains(member)).cloned().collect()
}

/// What is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Library,
    Program,
    /// A program at a fixed address, where only patchelf makes a difference.
    Fixed,
}

impl Kind {
    fn of(profile: Profile, spec: &Spec) -> Self {
        match (spec.is_program(), spec.file_type) {
            (false, _) => Self::Library,
            (true, FileType::Executable) if profile == Profile::Patchelf => Self::Fixed,
            (true, _) => Self::Program,
        }
    }
}

/// A file of the linker itself.
fn linked(lab: &Lab, profile: Profile, kind: Kind) -> Result<PathBuf, Failed> {
    let output = lab.path(&format!("{kind:?}"));
    if profile == Profile::Go {
        let source = lab.path("main.go");
        fs::write(&source, GO)?;
        let mut go = Command::new("go");
        go.args(["build", "-buildmode=exe", "-ldflags=-linkmode=internal", "-o"]).arg(&output).arg(&source);
        go.envs([("GO111MODULE", "off"), ("CGO_ENABLED", "1"), ("GOFLAGS", ""), ("GOPROXY", "off")]);
        succeed(&mut go)?;
        return Ok(output);
    }
    let source = lab.path("source.c");
    fs::write(&source, SOURCE)?;
    let mut cc = Command::new("cc");
    cc.arg(&source).arg("-o").arg(&output).args(["-O1", "-Wl,--build-id"]);
    let linker = match profile {
        Profile::Lld => "-fuse-ld=lld",
        Profile::Mold => "-fuse-ld=mold",
        _ => "-fuse-ld=bfd",
    };
    cc.arg(linker);
    cc.args(match kind {
        Kind::Library => &["-shared", "-fPIC", "-Wl,-soname,libfixture.so.1"][..],
        Kind::Program => &["-pie", "-fPIE"],
        Kind::Fixed => &["-no-pie", "-fno-PIE"],
    });
    succeed(&mut cc)?;
    if profile == Profile::Patchelf {
        let path = "/a/path/that/does/not/fit/where/the/old/one/was/".repeat(4);
        succeed(Command::new("patchelf").args(["--set-rpath", &path]).arg(&output))?;
    }
    Ok(output)
}

/// Compares generated files of a profile with a file of the linker.
pub fn check(profile: Profile) -> Result<(), Failed> {
    let lab = Lab::new()?;
    let kinds: &[Kind] = match profile {
        Profile::Go => &[Kind::Program],
        Profile::Patchelf => &[Kind::Library, Kind::Program, Kind::Fixed],
        _ => &[Kind::Library, Kind::Program],
    };
    for &kind in kinds {
        let real = Layout::read(&fs::read(linked(&lab, profile, kind)?)?)?;
        let generated = specs(profile, Target::X86_64).filter(|spec| Kind::of(profile, spec) == kind);
        let (mut seen, mut files) = (BTreeSet::new(), 0);
        for spec in generated {
            let ours = Layout::read(&spec.build()?)?;
            let result = compare(profile, kind, &ours, &real);
            result
                .map_err(|why| format!("{profile:?}: {}\n{ours:?}\n{real:?}\n{spec:?}", why.message().unwrap_or("")))?;
            seen.extend(ours.sections);
            files += 1;
        }
        println!("{profile:?}, {kind:?}: {files} files like that of the linker, with {seen:?}");
        let unseen: Vec<_> =
            [".dynsym", ".dynstr", ".dynamic", ".text"].iter().filter(|n| !seen.contains(**n)).collect();
        same(unseen, vec![], "sections that no file has")?;
    }
    Ok(())
}

fn compare(profile: Profile, kind: Kind, ours: &Layout, real: &Layout) -> Result<(), Failed> {
    let spare = if profile == Profile::Patchelf { ours.spare } else { real.spare };
    same(ours.spare, spare, "spare entries")?;
    // patchelf 0.14 and 0.19 sort what they move differently.
    if profile == Profile::Patchelf {
        let both = |layout: &Layout, other: &Layout| -> Vec<String> {
            let others: Vec<String> = other.sections.clone();
            layout.last.iter().filter(|name| others.contains(name)).cloned().collect()
        };
        same(both(ours, real), both(real, ours), "sections of the last segment")?;
        if kind == Kind::Fixed {
            let first = |layout: &Layout, other: &Layout| -> BTreeSet<String> {
                common(&layout.first, &other.sections).into_iter().collect()
            };
            same(first(ours, real), first(real, ours), "sections of the first segment")?;
            same(ours.access.first(), real.access.first(), "what the first segment may be used for")?;
        }
        return same(ours.access.last(), real.access.last(), "what the last segment may be used for");
    }
    let sections = (common(&ours.sections, &real.sections), common(&real.sections, &ours.sections));
    same(sections.0, sections.1, "the order of sections")?;
    // mold has one header for notes of different alignment.
    let kept = |layout: &Layout| -> Vec<u32> {
        let is_kept = |kind: &u32| profile != Profile::Mold || *kind != PT_NOTE;
        layout.headers.iter().copied().filter(is_kept).collect()
    };
    let headers = (common(&kept(ours), &kept(real)), common(&kept(real), &kept(ours)));
    same(headers.0, headers.1, "the order of program headers")?;
    same(ours.maps_sections, real.maps_sections, "whether section headers are mapped")?;
    // -z noseparate-code is not what Debian's linker does.
    if ours.access.len() == real.access.len() {
        same(&ours.access, &real.access, "what segments may be used for")?;
        same(&ours.pages, &real.pages, "which segments start on pages of their own")?;
    } else {
        same(profile, Profile::GnuLd, "only GNU ld has another number of segments")?;
    }
    Ok(())
}
