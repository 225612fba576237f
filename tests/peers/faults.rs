//! What the peers get wrong by their own fault, or do not do by design: how it is told in a finding, and the smallest file
//! that shows it, beside one without that property which the peer takes.
//!
//! `docs/peers.md` says the same in words, with the numbers of a large run.

use std::fs;
use std::path::Path;
use std::str::from_utf8;

use driver_runpath::fixtures::{
    Access, ByteOrder, Entry, FileType, Header, Load, Need, Part, Profile, Resolution, Sections, Spec, Target,
};
use libtest_mimic::Failed;

use super::support::lab::{Lab, contains};
use super::{Finding, Peer, Subject, ask, describe};

const WRITTEN_DOWN: &str = include_str!("../../docs/peers.md");

/// One of them.
struct Fault {
    peer: Peer,
    /// As in `docs/peers.md`.
    name: &'static str,
    /// Whether a finding about a file with this spec is it.
    is_it: fn(&Spec, &str) -> bool,
    /// The smallest file that shows it.
    file: fn() -> Spec,
    /// The same without what it stumbles over.
    without: fn() -> Spec,
}

const FAULTS: [Fault; 16] = [
    Fault {
        peer: Peer::Goblin,
        name: "refuses a string that is not UTF-8",
        is_it: |spec, what| {
            let mut strings = spec.dynamic.iter().filter_map(Entry::string);
            what.contains("invalid utf8") && strings.any(|string| from_utf8(string).is_err())
        },
        file: || library().with(|spec| spec.dynamic.push(Entry::RunPath(b"/caf\xe9".into()))),
        without: || library().with(|spec| spec.dynamic.push(Entry::RunPath("/caf\u{e9}".into()))),
    },
    Fault {
        peer: Peer::Goblin,
        name: "reads DT_HASH of s390x as words of 4 bytes",
        is_it: |spec, what| is_s390x(spec) && !spec.has(Part::GnuHash) && what.contains("extends beyond file boundary"),
        file: || s390x(Part::Hash),
        without: || s390x(Part::GnuHash),
    },
    Fault {
        peer: Peer::PatchelfReads,
        name: "needs section headers to read",
        is_it: needs_sections,
        file: || library().with(|spec| spec.sections = Sections::Absent),
        without: library,
    },
    Fault {
        peer: Peer::PatchelfReads,
        name: "prints no SONAME of an ET_EXEC",
        is_it: |spec, what| is_fixed(spec) && what == "prints no SONAME",
        file: fixed,
        without: library,
    },
    Fault {
        peer: Peer::PatchelfEdits,
        name: "needs section headers to edit",
        is_it: needs_sections,
        file: || library().with(|spec| spec.sections = Sections::Absent),
        without: library,
    },
    Fault {
        peer: Peer::PatchelfEdits,
        name: "writes the new segment of a big-endian ET_EXEC in the wrong byte order",
        is_it: |spec, what| is_fixed(spec) && spec.order == ByteOrder::Big && is_unreadable(what),
        file: || hemmed_in(FileType::Executable),
        without: || hemmed_in(FileType::Shared),
    },
    Fault {
        peer: Peer::PatchelfEdits,
        name: "moves .relr.dyn and leaves DT_RELR behind",
        is_it: |spec, what| spec.has(Part::Relr) && what.contains("the loader: "),
        file: || {
            program(Target::X86_64, FileType::Shared).with(|spec| {
                spec.packed_relocations = 1;
                spec.dynamic.push(Entry::Needed("libc.so.6".into()));
                spec.needs = vec![Need::new("libc.so.6", ["GLIBC_ABI_DT_RELR".into()])];
                spec.loads[0].parts.splice(0..0, [Part::Relr, Part::VerSym, Part::VerNeed]);
            })
        },
        without: || program(Target::X86_64, FileType::Shared),
    },
    Fault {
        peer: Peer::PatchelfEdits,
        name: "refuses where a resolution note shares its PT_NOTE",
        is_it: |spec, what| !spec.resolution.is_empty() && what.contains("non-contiguous SHT_NOTE sections"),
        file: || with_note(&[Header::Notes]),
        without: || with_note(&[Header::Note(Part::BuildId), Header::Note(Part::ResolutionNote(0))]),
    },
    Fault {
        peer: Peer::PatchelfEdits,
        name: "aborts on an ET_EXEC of smaller pages than it takes for granted",
        is_it: |spec, what| is_fixed(spec) && what.contains("Assertion failed: startAddr % getPageSize()"),
        file: || fixed_pages(0x1000),
        without: || fixed_pages(0x1_0000),
    },
    Fault {
        peer: Peer::PatchelfEdits,
        name: "aborts on an ET_EXEC whose header is in no segment, or puts tables where none is",
        is_it: |spec, what| {
            let aborts = what.contains("Assertion failed: curOff == ");
            is_fixed(spec) && !spec.maps_header && (aborts || is_unreadable(what))
        },
        file: || unmapped(false),
        without: || unmapped(true),
    },
    Fault {
        peer: Peer::PatchelfEdits,
        name: "aborts on an ET_EXEC whose strings are its last section",
        is_it: |spec, what| is_fixed(spec) && what.contains("Assertion failed: lastReplaced + 1 < shdrs.size()"),
        file: || late_strings(Sections::Before(3)),
        without: || late_strings(Sections::AtEnd),
    },
    Fault {
        peer: Peer::PatchelfEdits,
        name: "refuses where the program headers end the file",
        is_it: |spec, what| spec.has(Part::ProgramHeaders) && what.contains("data offset extends past file end"),
        file: || late_headers(Sections::Before(3)),
        without: || late_headers(Sections::AtEnd),
    },
    Fault {
        peer: Peer::PatchelfEdits,
        name: "writes over program headers between the tables of an ET_EXEC",
        is_it: |spec, what| is_fixed(spec) && spec.has(Part::ProgramHeaders) && is_unreadable(what),
        file: || {
            with_empty_path().with(|spec| {
                spec.loads[0].parts.splice(5..5, [Part::ProgramHeaders, Part::Zeros(64)]);
            })
        },
        without: with_empty_path,
    },
    Fault {
        peer: Peer::PatchelfEdits,
        name: "moves .init_array and leaves its relocation behind",
        is_it: |spec, what| {
            let has_array = spec.has(Part::InitArray) || spec.has(Part::FiniArray);
            has_array && spec.has(Part::ProgramHeaders) && what.contains("the loader: ")
        },
        file: || with_array(3),
        without: || with_array(2),
    },
    Fault {
        peer: Peer::PatchelfEdits,
        name: "takes .bss between segments of an ET_EXEC for bytes of the file",
        is_it: |spec, what| is_fixed(spec) && what.contains("data offset extends past file end"),
        file: || late_strings(Sections::AtEnd).with(|spec| spec.loads[0].zero_fill = 0x1_2345),
        without: || late_strings(Sections::AtEnd),
    },
    Fault {
        peer: Peer::PatchelfEdits,
        name: "cannot write more than 65,534 program headers",
        is_it: |spec, what| spec.headers.len() > 0xfffe && what.contains("value truncation"),
        file: || library().with(|spec| spec.headers.extend(vec![Header::Null; 0xffff])),
        without: || library().with(|spec| spec.headers.extend(vec![Header::Null; 10])),
    },
];

/// The fault that a finding shows.
pub fn known(subject: &Subject, finding: &Finding) -> Option<&'static str> {
    let is_it = |fault: &&Fault| fault.peer == finding.peer && (fault.is_it)(&subject.spec, &finding.what);
    FAULTS.iter().find(is_it).map(|fault| fault.name)
}

/// Each file shows its fault and no other one; without what the peer stumbles over, it has no objection.
pub fn prove(patchelf: &Path) -> Result<(), Failed> {
    for fault in &FAULTS {
        contains(WRITTEN_DOWN, &format!("| {} |", fault.name))?;
        let lab = Lab::new()?;
        let subject = |name: &str, spec: Spec| {
            let target = if spec.machine == Spec::default().machine { Target::X86_64 } else { Target::S390x };
            let profile = match spec.file_type {
                _ if spec.is_program() => Profile::Runnable,
                FileType::Shared => Profile::Loadable,
                _ => Profile::Any,
            };
            Subject::of(profile, target, spec, lab.path(name))
        };
        let subjects = [subject("with", (fault.file)())?, subject("without", (fault.without)())?];
        let findings = ask(&subjects, patchelf, &lab)?;
        let of_peer = |index: usize| findings[index].iter().filter(|finding| finding.peer == fault.peer);
        let shown: Vec<_> = of_peer(0).map(|finding| known(&subjects[0], finding)).collect();
        if shown.is_empty() || shown.iter().any(|shown| *shown != Some(fault.name)) {
            let all: Vec<_> = of_peer(0).map(|finding| describe(&subjects[0], finding)).collect();
            return Err(format!("{}: {shown:?}\n{}\n{}", fault.name, subjects[0].spec, all.join("\n")).into());
        }
        if let Some(finding) = of_peer(1).next() {
            return Err(format!("without {}: {}", fault.name, describe(&subjects[1], finding)).into());
        }
        println!("{:?}: {}, {} bytes", fault.peer, fault.name, fs::metadata(&subjects[0].path)?.len());
    }
    Ok(())
}

fn needs_sections(spec: &Spec, what: &str) -> bool {
    spec.sections == Sections::Absent && what.contains("no section headers")
}

fn is_fixed(spec: &Spec) -> bool {
    spec.file_type == FileType::Executable
}

fn is_s390x(spec: &Spec) -> bool {
    spec.machine == object::elf::EM_S390.0
}

/// A parser no longer reads what it did.
fn is_unreadable(what: &str) -> bool {
    [": object", ": goblin", ": ours"].iter().any(|who| what.contains(who))
}

fn library() -> Spec {
    Spec::default()
}

/// The same at a fixed address.
fn fixed() -> Spec {
    library().with(|spec| (spec.file_type, spec.base) = (FileType::Executable, 0x40_0000))
}

/// `.dynamic` has an entry for a search path and stays.
fn with_empty_path() -> Spec {
    fixed().with(|spec| spec.dynamic.push(Entry::RunPath("".into())))
}

fn s390x(table: Part) -> Spec {
    Spec::generate(Profile::Loadable, Target::S390x, &[]).with(|spec| {
        let hash = |part: &Part| matches!(part, Part::Hash | Part::GnuHash);
        spec.loads.iter_mut().for_each(|load| load.parts.retain(|part| !hash(part)));
        spec.loads[0].parts.push(table);
    })
}

fn program(target: Target, file_type: FileType) -> Spec {
    Spec::generate(Profile::Runnable, target, &[]).with(|spec| {
        let base = if file_type == FileType::Executable { 0x1000_0000 } else { 0 };
        (spec.file_type, spec.base) = (file_type, base);
    })
}

/// A program whose first segment has something behind the strings, so that they cannot grow there.
fn hemmed_in(file_type: FileType) -> Spec {
    program(Target::S390x, file_type).with(|spec| {
        spec.loads.remove(2);
        spec.loads[0].parts.push(Part::RoData);
    })
}

fn with_note(notes: &[Header]) -> Spec {
    library().with(|spec| {
        spec.resolution.push(Resolution::new("libx.so\0=/opt/libx.so\0\0"));
        spec.loads[0].parts.retain(|part| *part != Part::Property);
        spec.loads[0].parts.insert(0, Part::ResolutionNote(0));
        spec.headers.retain(|header| !matches!(header, Header::Note(_) | Header::Property));
        spec.headers.extend(notes);
    })
}

fn fixed_pages(page: u64) -> Spec {
    program(Target::Ppc64Le, FileType::Executable).with(|spec| spec.page = page)
}

fn unmapped(maps_header: bool) -> Spec {
    fixed().with(|spec| {
        spec.maps_header = maps_header;
        spec.loads.swap(0, 1);
    })
}

/// The strings in a segment at the end.
fn late_strings(sections: Sections) -> Spec {
    fixed().with(|spec| {
        spec.loads[0].parts.retain(|part| *part != Part::DynStr);
        spec.loads[3].zero_fill = 0;
        spec.loads.push(Load::new(Access::Read, [Part::DynStr]));
        spec.sections = sections;
    })
}

fn late_headers(sections: Sections) -> Spec {
    library().with(|spec| {
        spec.loads[3].parts.push(Part::ProgramHeaders);
        spec.sections = sections;
    })
}

/// An array of functions in the last segment, the program headers in front of it or in a segment before that.
fn with_array(headers_in: usize) -> Spec {
    library().with(|spec| {
        spec.loads[3].parts.insert(0, Part::InitArray);
        spec.loads[headers_in].parts.insert(0, Part::ProgramHeaders);
    })
}
