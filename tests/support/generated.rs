//! A generated file with a change of its search path, and what must be true of every such pair. The property tests and
//! the fuzz targets share it.

use super::prefixes;
use super::referee::{self, Expect, judge, judge_note};
use driver_runpath::decide::{Current, Policy, Tag, decide};
use driver_runpath::elf::{Image, ParseError};
use driver_runpath::fixtures::{Bytes, Entropy, Entry, Part, Sections, Spec};
use driver_runpath::plan::{Change, EntryFor, NoteChange, NoteOutcome, Plan, Rung, plan};
use driver_runpath::verify::verify;
use goblin::elf::program_header::{PT_LOAD, PT_NULL};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

/// Bytes that decide one case.
pub const ENTROPY: usize = Spec::ENTROPY + WISH;

/// Those of them that decide what is asked for.
const WISH: usize = 20;

/// A file and the search path that it shall get.
#[derive(Clone, Debug)]
pub struct Case {
    pub spec: Spec,
    pub wish: Wish,
    pub note: NoteChange,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Wish {
    /// This path, in this tag.
    Exactly(Tag, Bytes),
    /// What `decide` makes of the old one.
    Driver(Policy),
    /// No search path.
    None,
}

impl Case {
    /// Reads a case off any bytes. The wish comes first, so that a small input still has one.
    pub fn of(bytes: &[u8]) -> Self {
        let (wish, spec) = bytes.split_at(bytes.len().min(WISH));
        let spec = Spec::from_entropy(spec);
        let mut from = Entropy::new(wish);
        let wish = Wish::draw(&spec, &mut from);
        let note = draw_note(&spec, &mut from);
        let paths = spec.dynamic.iter().filter(|entry| matches!(entry, Entry::RunPath(_) | Entry::RPath(_))).count();
        let kept = spec.dynamic.iter().filter(|_| paths == 1).find_map(|entry| match entry {
            Entry::RunPath(path) => Some((Tag::Runpath, path.clone())),
            Entry::RPath(path) => Some((Tag::Rpath, path.clone())),
            _ => None,
        });
        // A new note is a change of its own.
        match (&note, kept) {
            (NoteChange::Write(_), Some((tag, path))) => Self { spec, wish: Wish::Exactly(tag, path), note },
            (NoteChange::Write(_), None) => Self { spec, wish, note: NoteChange::Drop },
            _ => Self { spec, wish, note },
        }
    }
}

/// What becomes of the resolution note. The plan takes any descriptor.
fn draw_note(spec: &Spec, from: &mut Entropy<'_>) -> NoteChange {
    let old = spec.resolution.first().map(|note| note.descriptor.to_vec());
    let descriptor = |len: usize| [b"libx.so\0=/", &vec![b'n'; len][..], b"/libx.so\0\0"].concat();
    match from.below(6) {
        0 => NoteChange::Drop,
        1 => NoteChange::Renew(old.unwrap_or_default()),
        2 => NoteChange::Renew(descriptor(usize::from(from.byte()))),
        3 => NoteChange::Renew(descriptor(from.below(6000) as usize)),
        _ if spec.resolution.is_empty() => NoteChange::Write(descriptor(usize::from(from.byte()))),
        _ => NoteChange::Renew(descriptor(1)),
    }
}

impl Wish {
    fn draw(spec: &Spec, from: &mut Entropy<'_>) -> Self {
        let old = spec.dynamic.iter().find_map(|entry| match entry {
            Entry::RunPath(path) | Entry::RPath(path) => Some(path.to_vec()),
            _ => None,
        });
        let old = old.unwrap_or_default();
        let tag = from.pick(Tag::Runpath, &[Tag::Runpath, Tag::Rpath]);
        let force = from.pick(None, &[None, None, Some(Tag::Runpath), Some(Tag::Rpath)]);
        let directory = |from: &mut Entropy<'_>, len: usize| -> Vec<u8> {
            let letter = b'a' + from.below(26) as u8;
            std::iter::once(b'/').chain(std::iter::repeat_n(letter, len.saturating_sub(1))).collect()
        };
        let path = match from.below(13) {
            0 => {
                let prepend = if from.chance(60) { vec![b"/first".to_vec()] } else { Vec::new() };
                let dir = from.pick(&b"/run/opengl-driver/lib"[..], &[b"/d", b"/lib", b"/opt/vendor/lib"]);
                return Self::Driver(Policy::new(dir).prepend(prepend).force(force));
            }
            1 => {
                let size = 1 + from.below(20) as usize;
                directory(from, size)
            }
            2 => directory(from, old.len().max(1)),
            3 => [&old[..], b":/one/more"].concat(),
            4 => directory(from, 4000),
            5 => [b"/caf\xe9/\xff", &directory(from, 12)[..]].concat(),
            // The start or the tail of the old one.
            6 => old[..from.below(old.len() as u32 + 1) as usize].to_vec(),
            7 => old[from.below(old.len() as u32 + 1) as usize..].to_vec(),
            // A tail of a symbol's name, or one in front of it.
            8 => spec.symbols.last().map(|symbol| symbol.name.to_vec()).unwrap_or_default(),
            9 => spec.symbols.first().map(|symbol| [b"/x/", &symbol.name[..]].concat()).unwrap_or_default(),
            10 => spec.unused_strings.first().map(|unused| unused.to_vec()).unwrap_or_default(),
            11 if !old.is_empty() => return Self::None,
            _ => {
                let size = 1 + from.below(1500) as usize;
                directory(from, size)
            }
        };
        // A file never gets an empty search path.
        let path = if path.is_empty() { b"/".to_vec() } else { path };
        Self::Exactly(tag, Bytes(path))
    }
}

/// The one place that makes a [`Change`].
pub fn change(tag: Tag, path: Option<Vec<u8>>) -> Change {
    path.map_or_else(|| Change::without(tag), |path| Change::new(tag, path))
}

/// Linux reads no more program headers than fit 64 KiB; of a file with more, nothing is said but that.
const MOST_HEADERS: usize = 65536 / 56;

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Taken {
    /// No kernel reads so many program headers.
    TooManyHeaders,
    /// The file can have no search path.
    NotCandidate,
    /// It is right as it is.
    NoChange,
    /// No rung fits.
    Refused(Why),
    /// Which rung; whether an entry was given up, or the table moved.
    Planned(Rung, Source, NoteOutcome),
}

/// Why a file is refused, where what the planner says is what another parser finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It would have to grow, and bytes behind the ELF image have to stay its end.
    Payload,
    /// It needs another program header, and none is free.
    NoHeader,
    /// What lies around its tables leaves no room.
    NoRoom,
    /// A new resolution note fits nowhere.
    Note,
}

impl Why {
    /// Reads the planner's reasons, and checks them.
    fn of(reasons: &str, file: &[u8]) -> Result<Self, String> {
        if reasons.contains("payload") {
            let payload = file.len() as u64 - image_end(file)?.min(file.len() as u64);
            return if payload > 7 { Ok(Self::Payload) } else { Err(format!("no payload: {reasons}")) };
        }
        if reasons.starts_with("no placement for the resolution note fits: ") {
            return Ok(Self::Note);
        }
        if reasons.contains("append: no free program header") {
            // The new PT_LOAD is the last one.
            let segments = headers(file)?.0;
            let last = segments.iter().rposition(|header| header.p_type == PT_LOAD).unwrap_or(0);
            let is_free = segments.iter().skip(last).any(|header| header.p_type == PT_NULL);
            return if is_free { Err(format!("a header is free: {reasons}")) } else { Ok(Self::NoHeader) };
        }
        if reasons.is_empty() { Err("refused without a reason".into()) } else { Ok(Self::NoRoom) }
    }
}

type Headers = (Vec<goblin::elf::ProgramHeader>, Vec<goblin::elf::SectionHeader>);

/// As goblin reads them, which gives up a whole file for a string that is not UTF-8.
fn headers(file: &[u8]) -> Result<Headers, String> {
    use goblin::elf::{ProgramHeader, SectionHeader};
    let read = || {
        let header = goblin::elf::Elf::parse_header(file)?;
        let ctx = goblin::container::Ctx::new(header.container()?, header.endianness()?);
        let segments = ProgramHeader::parse(file, header.e_phoff as usize, usize::from(header.e_phnum), ctx)?;
        let sections = SectionHeader::parse(file, header.e_shoff as usize, usize::from(header.e_shnum), ctx)?;
        Ok((segments, sections))
    };
    read().map_err(|error: goblin::error::Error| format!("goblin: {error}"))
}

/// Where the last segment, section or header table ends.
fn image_end(file: &[u8]) -> Result<u64, String> {
    let header = goblin::elf::Elf::parse_header(file).map_err(|error| format!("goblin: {error}"))?;
    let (segments, sections) = headers(file)?;
    let in_file = sections.iter().filter(|section| section.sh_type != goblin::elf::section_header::SHT_NOBITS);
    let table = header.e_shoff + sections.len() as u64 * u64::from(header.e_shentsize);
    let ends = segments.iter().map(|segment| segment.p_offset + segment.p_filesz);
    Ok(ends.chain(in_file.map(|s| s.sh_offset + s.sh_size)).chain([table]).max().unwrap_or(0))
}

/// [`EntryFor`] without its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Spare,
    GivenUp,
    MovedTable,
}

impl From<EntryFor> for Source {
    fn from(entry: EntryFor) -> Self {
        match entry {
            EntryFor::Spare => Self::Spare,
            EntryFor::GivenUp(_) => Self::GivenUp,
            EntryFor::MovedTable => Self::MovedTable,
            other => unreachable!("{other:?} is new"),
        }
    }
}

/// Builds the file of a case and checks all that must be true of it and of its plan.
pub fn check(case: &Case) -> Result<Taken, String> {
    let file = case.spec.build().map_err(|error| format!("the file cannot be built: {error}"))?;
    let parsed = Image::parse(&file);
    if case.spec.headers.len() > MOST_HEADERS && matches!(parsed, Err(ParseError::Malformed(_))) {
        return Ok(Taken::TooManyHeaders);
    }
    let image = match parsed {
        Ok(image) => image,
        Err(ParseError::NotCandidate(_)) => return Ok(Taken::NotCandidate),
        Err(damage) => return Err(format!("the generated file is damaged: {damage}")),
    };
    parsers_agree(&file)?;
    let old = image.search_paths();
    let change = match &case.wish {
        Wish::Exactly(tag, path) => change(*tag, Some(path.to_vec())),
        Wish::Driver(policy) => {
            let decision = decide(&old, policy, |_| false, false);
            if !decision.changes {
                return Ok(Taken::NoChange);
            }
            change(decision.tag, Some(decision.path))
        }
        Wish::None => match old.effective() {
            Some((tag, _)) => change(tag, None),
            None => return Ok(Taken::NoChange),
        },
    };
    let note = if change.path.is_some() { case.note.clone() } else { NoteChange::Drop };
    let plan = match plan(&image, &change.with_note(note)) {
        Ok(plan) => plan,
        Err(refusal) => return Why::of(&refusal.to_string(), &file).map(Taken::Refused),
    };
    let fail = |what: String| format!("{:?}, {:?}: {what}", plan.rung, plan.entry);
    let wanted = wanted(&old, &plan.change);
    // Without section headers and DT_HASH nobody can say where the symbols end, so what may be a name stays.
    let symbols_end = case.spec.sections != Sections::Absent || case.spec.has(Part::Hash);
    check_plan(&file, &plan, &wanted, symbols_end).map_err(fail)?;
    let after = plan.replay(plan.edits.len()).ok_or("an edit copies from outside the file")?;
    settled(&after, case, &plan, &wanted).map_err(fail)?;
    let symbols = case.spec.symbols.len() as u64 + 1;
    prefixes::check(&file, &plan, wanted.effective().map(|(_, path)| path), symbols).map_err(fail)?;
    Ok(Taken::Planned(plan.rung, plan.entry.into(), plan.note))
}

/// What the file says after `change`. A tag that goes leaves the other one in force.
pub fn wanted(old: &Current, change: &Change) -> Current {
    match (change.tag, change.path.clone()) {
        (Tag::Runpath, None) => Current { runpath: None, rpath: old.rpath.clone() },
        (Tag::Rpath, None) => Current { runpath: old.runpath.clone(), rpath: None },
        (Tag::Runpath, path) => Current { runpath: path, rpath: None },
        (Tag::Rpath, path) => Current { runpath: None, rpath: path },
    }
}

/// The descriptor that a right note has.
pub fn note_of(change: &Change) -> Option<&[u8]> {
    match &change.note {
        NoteChange::Drop => None,
        NoteChange::Renew(descriptor) | NoteChange::Write(descriptor) => Some(descriptor),
        other => unreachable!("{other:?} is new"),
    }
}

/// What is true of every plan for every file, generated or not: the second parser and the referee accept it.
pub fn check_plan(file: &[u8], plan: &Plan<'_>, wanted: &Current, symbols_end: bool) -> Result<(), String> {
    let verified = verify(plan.clone()).map_err(|error| error.to_string())?;
    let after = plan.replay(plan.edits.len()).ok_or("an edit copies from outside the file")?;
    if verified.into_bytes() != after {
        return Err("the verified plan makes other bytes than its edits".into());
    }
    let (old_len, new_len) = (file.len() as u64, after.len() as u64);
    if new_len != plan.new_len {
        return Err(format!("the file has {new_len} bytes instead of {}", plan.new_len));
    }
    let may_grow = matches!(plan.note, NoteOutcome::Renewed | NoteOutcome::Written);
    if matches!(plan.rung, Rung::Slot | Rung::Slack | Rung::Evict | Rung::Drop) && new_len != old_len && !may_grow {
        return Err(format!("the file grew by {} bytes", new_len - old_len));
    }
    let expect = wanted.effective().map_or(Expect { tag: None, search_path: None }, |(tag, path)| {
        let tag = if tag == Tag::Rpath { referee::Tag::Rpath } else { referee::Tag::Runpath };
        Expect { tag: Some(tag), search_path: Some(path) }
    });
    let mut objections = judge(file, &after, &expect);
    objections.retain(|objection| symbols_end || objection.rule != 8);
    objections.extend(judge_note(file, &after, note_of(&plan.change)));
    if objections.is_empty() {
        return Ok(());
    }
    Err(objections.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// A second run changes nothing.
fn settled(after: &[u8], case: &Case, made: &Plan<'_>, wanted: &Current) -> Result<(), String> {
    parsers_agree(after)?;
    let image = Image::parse(after).map_err(|error| format!("the result is no such file: {error}"))?;
    let now = image.search_paths();
    if now != *wanted {
        return Err(format!("the result has {now:?}"));
    }
    if let Wish::Driver(policy) = &case.wish
        && decide(&now, policy, |_| false, false).changes
    {
        return Err("a second run would change the file again".into());
    }
    if made.change.path.is_none() {
        return Ok(());
    }
    // Even if it were planned again, it would not grow.
    let note = note_of(&made.change).map_or(NoteChange::Drop, |descriptor| NoteChange::Renew(descriptor.to_vec()));
    let again = plan(&image, &made.change.clone().with_note(note))
        .map_err(|refusal| format!("the same change is refused: {refusal}"))?;
    let growth = again.new_len - after.len() as u64;
    if growth == 0 { Ok(()) } else { Err(format!("the same change once more grows the file by {growth} bytes")) }
}

/// The tables that `goblin` and `object` read off a file are the same.
fn parsers_agree(file: &[u8]) -> Result<(), String> {
    let header = goblin::elf::Elf::parse_header(file).map_err(|error| format!("goblin: {error}"))?;
    let by_object = match header.container() {
        Ok(goblin::container::Container::Big) => tables::<object::elf::FileHeader64<object::Endianness>>(file),
        _ => tables::<object::elf::FileHeader32<object::Endianness>>(file),
    };
    let mut by_object = by_object.map_err(|error| format!("object: {error}"))?;
    let mut by_goblin = goblin_tables(file, &header).map_err(|error| format!("goblin: {error}"))?;
    // One stops at the first DT_NULL, the other does not.
    for tables in [&mut by_object, &mut by_goblin] {
        let end = tables.1.iter().position(|entry| entry.0 == 0);
        tables.1.truncate(end.unwrap_or(tables.1.len()));
    }
    if by_goblin == by_object { Ok(()) } else { Err("goblin and object read different tables".into()) }
}

/// Type, offset, address and sizes of the segments; tags and values of the dynamic table.
type Tables = (Vec<(u32, u64, u64, u64, u64)>, Vec<(u64, u64)>);

fn tables<H: FileHeader<Endian = object::Endianness>>(file: &[u8]) -> object::read::Result<Tables> {
    let header = H::parse(file)?;
    let endian = header.endian()?;
    let word = |value: H::Word| -> u64 { value.into() };
    let segments = header.program_headers(endian, file)?;
    let mut entries = Vec::new();
    for segment in segments {
        for entry in segment.dynamic(endian, file)?.unwrap_or_default() {
            let tag = entry.tag(endian).0;
            let tag = if H::is_type_64_sized() { tag as u64 } else { u64::from(tag as u32) };
            entries.push((tag, entry.val(endian)));
        }
    }
    let row = |segment: &H::ProgramHeader| {
        let places = (word(segment.p_offset(endian)), word(segment.p_vaddr(endian)));
        let sizes = (word(segment.p_filesz(endian)), word(segment.p_memsz(endian)));
        (segment.p_type(endian).0, places.0, places.1, sizes.0, sizes.1)
    };
    Ok((segments.iter().map(row).collect(), entries))
}

fn goblin_tables(file: &[u8], header: &goblin::elf::Header) -> goblin::error::Result<Tables> {
    use goblin::elf::{dynamic::Dynamic, program_header::ProgramHeader};
    let ctx = goblin::container::Ctx::new(header.container()?, header.endianness()?);
    let segments = ProgramHeader::parse(file, header.e_phoff as usize, usize::from(header.e_phnum), ctx)?;
    let entries = Dynamic::parse(file, &segments, ctx)?.map(|dynamic| dynamic.dyns).unwrap_or_default();
    let segments = segments.iter().map(|s| (s.p_type, s.p_offset, s.p_vaddr, s.p_filesz, s.p_memsz));
    Ok((segments.collect(), entries.iter().map(|entry| (entry.d_tag, entry.d_val)).collect()))
}
