//! SONAME, needed libraries and search paths of a file, as others read them.

use std::fmt;
use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use driver_runpath::fixtures::{Entry, Profile, Spec};
use goblin::elf::Elf;
use libtest_mimic::Failed;
use object::Endianness;
use object::elf::{FileHeader32, FileHeader64};
use object::read::StringTable;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

use super::{Finding, Peer, Subject};

/// What a dynamic table says by strings.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Says {
    pub soname: Option<Vec<u8>>,
    pub needed: Vec<Vec<u8>>,
    pub rpath: Option<Vec<u8>>,
    pub runpath: Option<Vec<u8>>,
}

impl fmt::Debug for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = [("SONAME", &self.soname), ("RPATH", &self.rpath), ("RUNPATH", &self.runpath)];
        for (name, value) in entries {
            match value {
                Some(value) => write!(f, "{name} [{}] ", value.escape_ascii())?,
                None => write!(f, "no {name} ")?,
            }
        }
        let needed = self.needed.iter().map(|name| name.escape_ascii().to_string());
        write!(f, "NEEDED [{}]", needed.collect::<Vec<_>>().join(" "))
    }
}

impl Says {
    /// What the spec says, which is the truth.
    pub fn of(spec: &Spec) -> Self {
        let mut says = Self::default();
        for entry in &spec.dynamic {
            match entry {
                Entry::SoName(name) => says.soname = Some(name.to_vec()),
                Entry::Needed(name) => says.needed.push(name.to_vec()),
                Entry::RPath(path) => says.rpath = Some(path.to_vec()),
                Entry::RunPath(path) => says.runpath = Some(path.to_vec()),
                _ => {}
            }
        }
        says
    }

    /// The same as seen by a reader that takes an empty string for none.
    fn without_empty(&self) -> Self {
        let filled = |value: &Option<Vec<u8>>| value.clone().filter(|value| !value.is_empty());
        Self {
            soname: filled(&self.soname),
            rpath: filled(&self.rpath),
            runpath: filled(&self.runpath),
            ..self.clone()
        }
    }
}

/// A finding, if what was read is not what the file says.
fn compare(peer: Peer, read: Result<Says, String>, right: &Says) -> Option<Finding> {
    let what = match read {
        Ok(read) if read == *right => return None,
        Ok(read) => format!("reads {read:?} instead of {right:?}"),
        Err(error) => error,
    };
    Some(Finding { peer, what })
}

pub fn goblin_reads(bytes: &[u8]) -> Result<Says, String> {
    let elf = Elf::parse(bytes).map_err(|error| format!("refuses: {error}"))?;
    let text = |value: &&str| value.as_bytes().to_vec();
    Ok(Says {
        soname: elf.soname.as_ref().map(text),
        needed: elf.libraries.iter().map(text).collect(),
        rpath: elf.rpaths.first().map(text),
        runpath: elf.runpaths.first().map(text),
    })
}

/// goblin has no place for a search path that is there and empty.
pub fn goblin(subject: &Subject) -> Option<Finding> {
    let read = goblin_reads(&subject.bytes).map(|says| says.without_empty());
    compare(Peer::Goblin, read, &subject.says.without_empty())
}

pub fn object_reads(bytes: &[u8]) -> Result<Says, String> {
    object::File::parse(bytes).map_err(|error| format!("refuses: {error}"))?;
    let read = match bytes.get(4) {
        Some(1) => by_segments::<FileHeader32<Endianness>>(bytes),
        _ => by_segments::<FileHeader64<Endianness>>(bytes),
    };
    read.map_err(|error| format!("refuses: {error}"))
}

/// As a loader finds it: by `PT_DYNAMIC`, and its strings by the segment that they are in.
fn by_segments<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> object::read::Result<Says> {
    let header = H::parse(bytes)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, bytes)?;
    let mut says = Says::default();
    let Some(table) = segments.iter().find_map(|s| s.dynamic(endian, bytes).transpose()).transpose()? else {
        return Ok(says);
    };
    let table = table.iter().take_while(|entry| entry.tag(endian) != object::elf::DT_NULL);
    let value = |tag| table.clone().find(|entry| entry.tag(endian) == tag).map_or(0, |entry| entry.val(endian));
    let (start, size) = (value(object::elf::DT_STRTAB), value(object::elf::DT_STRSZ));
    let strings = segments.iter().find_map(|s| s.data_range(endian, bytes, start, size).ok().flatten());
    let strings = StringTable::new(strings.unwrap_or_default(), 0, strings.map_or(0, <[u8]>::len) as u64);
    for entry in table {
        let Ok(string) = strings.get(entry.val(endian) as u32) else { continue };
        match entry.tag(endian) {
            object::elf::DT_SONAME => says.soname = Some(string.to_vec()),
            object::elf::DT_NEEDED => says.needed.push(string.to_vec()),
            object::elf::DT_RPATH => says.rpath = Some(string.to_vec()),
            object::elf::DT_RUNPATH => says.runpath = Some(string.to_vec()),
            _ => {}
        }
    }
    Ok(says)
}

pub fn object(subject: &Subject) -> Option<Finding> {
    compare(Peer::Object, object_reads(&subject.bytes), &subject.says)
}

/// What `readelf -dlW` says of files, with what it warns of.
fn readelf_output(paths: &[&Path]) -> Result<Vec<u8>, Failed> {
    // One file for both, so that a warning is where it belongs.
    let mut all = tempfile::tempfile()?;
    let mut command = Command::new("readelf");
    command.args(["-dlW"]).args(paths).env("LC_ALL", "C").stdout(all.try_clone()?).stderr(all.try_clone()?);
    let status = command.status()?;
    if let Some(signal) = status.signal() {
        return Err(format!("readelf was killed by signal {signal} on {paths:?}").into());
    }
    let mut output = Vec::new();
    all.rewind()?;
    all.read_to_end(&mut output)?;
    Ok(output)
}

/// One call for all files.
pub fn readelf(subjects: &[Subject]) -> Result<Vec<Option<Finding>>, Failed> {
    // With one file alone it says no name, and what it warns of before it says the next name is about this one.
    let Some(first) = subjects.first() else { return Ok(Vec::new()) };
    let mut paths: Vec<&Path> = subjects.iter().map(|subject| subject.path.as_path()).collect();
    paths.push(&first.path);
    let output = readelf_output(&paths)?;
    let heads: Vec<Vec<u8>> = paths.iter().map(|path| format!("\nFile: {}\n", path.display()).into_bytes()).collect();
    let mut findings = Vec::new();
    let mut rest = &output[..];
    for (subject, heads) in subjects.iter().zip(heads.windows(2)) {
        let start = memchr::memmem::find(rest, &heads[0]).ok_or("readelf leaves a file out")? + heads[0].len();
        let end = memchr::memmem::find(&rest[start..], &heads[1]).unwrap_or(rest.len() - start);
        findings.push(check_readelf(subject, &rest[start..start + end]));
        rest = &rest[start + end..];
    }
    Ok(findings)
}

fn check_readelf(subject: &Subject, output: &[u8]) -> Option<Finding> {
    let mut says = Says::default();
    let (mut loads, mut complaints) = (0, Vec::new());
    for line in output.split(|byte| *byte == b'\n') {
        let has = |text: &str| memchr::memmem::find(line, text.as_bytes()).is_some();
        let value = || {
            let start = line.iter().position(|byte| *byte == b'[')? + 1;
            let end = line.iter().rposition(|byte| *byte == b']')?;
            Some(line.get(start..end)?.to_vec())
        };
        if line.starts_with(b"readelf: ") {
            complaints.push(String::from_utf8_lossy(line).into_owned());
        } else if line.starts_with(b"  LOAD ") {
            loads += 1;
        } else if !line.starts_with(b" 0x") {
        } else if has("(SONAME)") {
            says.soname = value();
        } else if has("(NEEDED)") {
            says.needed.extend(value());
        } else if has("(RPATH)") {
            says.rpath = value();
        } else if has("(RUNPATH)") {
            says.runpath = value();
        }
    }
    // Of files for parsers it may well have something to say.
    if subject.profile != Profile::Any && !complaints.is_empty() {
        return Some(Finding { peer: Peer::Readelf, what: format!("complains: {}", complaints.join("; ")) });
    }
    let finding = compare(Peer::Readelf, Ok(says), &subject.says);
    finding.or_else(|| {
        let right = subject.spec.loads.len();
        (loads != right).then(|| Finding { peer: Peer::Readelf, what: format!("{loads} PT_LOAD instead of {right}") })
    })
}

/// What a program wrote to its standard error, in one line.
pub fn complaint(stderr: &[u8]) -> String {
    String::from_utf8_lossy(stderr).lines().collect::<Vec<_>>().join("; ")
}

/// What patchelf prints: SONAME, the search path that counts, and the libraries.
pub fn patchelf(subject: &Subject, patchelf: &Path) -> Result<Option<Finding>, Failed> {
    let mut command = Command::new(patchelf);
    command.args(["--print-soname", "--print-rpath", "--print-needed"]).arg(&subject.path);
    let output = command.output()?;
    let says = &subject.says;
    let path = says.runpath.as_deref().or(says.rpath.as_deref()).unwrap_or_default();
    let others: Vec<u8> = [path].into_iter().chain(says.needed.iter().map(Vec::as_slice)).flat_map(line).collect();
    let right = [says.soname.as_deref().map(line).unwrap_or_default(), others.clone()].concat();
    let what = if !output.status.success() {
        format!("{}: {}", output.status, complaint(&output.stderr))
    } else if output.stdout == right && output.stderr.is_empty() {
        return Ok(None);
    } else if output.stdout == others && output.stderr.is_empty() {
        "prints no SONAME".to_owned()
    } else {
        let (printed, right) = (output.stdout.escape_ascii(), right.escape_ascii());
        format!("prints {printed} instead of {right}; {}", complaint(&output.stderr))
    };
    Ok(Some(Finding { peer: Peer::PatchelfReads, what }))
}

fn line(text: &[u8]) -> Vec<u8> {
    [text, b"\n"].concat()
}
