//! From an ELF image and a new search path to a list of edits: the placement ladder.
//!
//! Pure: bytes in, values out. The first rung that fits is taken. A rung's file says what it needs, what it edits and
//! why that is safe.
//!
//! ```
//! # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
//! # let image = driver_runpath::elf::Image::parse(&file).unwrap();
//! use driver_runpath::decide::Tag;
//! use driver_runpath::plan::{Change, plan};
//!
//! for edit in plan(&image, &Change::new(Tag::Runpath, "/run/opengl-driver/lib"))?.edits {
//!     println!("{}: {}", edit.at, edit.why);
//! }
//! # Ok::<(), driver_runpath::plan::Refusal>(())
//! ```

mod apart;
mod append;
mod bss;
mod change;
mod draft;
mod dynamic;
mod evict;
mod free_space;
mod head;
mod last;
mod liveness;
mod movable;
mod new_note;
mod no_fit;
mod packing;
mod resolution_note;
mod slack;
mod slot;

use std::fmt;
use std::ops::Range;

use crate::decide::Tag;
use crate::elf::{FileOffset, Image};
pub use change::{Change, NoteChange};
use draft::Draft;
pub use dynamic::EntryFor;
pub use no_fit::{NoFit, Obstacle};
use resolution_note::Opening;

/// What became of the resolution note.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// # use driver_runpath::{decide::Tag, plan::{Change, plan}};
/// # let plan = plan(&image, &Change::new(Tag::Runpath, "/run/opengl-driver/lib")).unwrap();
/// assert_eq!(plan.note, driver_runpath::plan::NoteOutcome::None);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "cli", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum NoteOutcome {
    /// The file had none, and has none.
    #[default]
    None,
    /// It said what it shall say already.
    Kept,
    /// It says something else.
    Renewed,
    /// It is gone.
    Dropped,
    /// It is new.
    Written,
}

/// A rung of the ladder: where the new string goes.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// # use driver_runpath::{decide::Tag, plan::{Change, plan}};
/// # let plan = plan(&image, &Change::new(Tag::Runpath, "/run/opengl-driver/lib")).unwrap();
/// assert_eq!((plan.rung.to_string(), plan.growth()), ("slack".to_owned(), 0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "cli", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Rung {
    /// Over dead bytes of `.dynstr`.
    Slot,
    /// `.dynstr` moves into, or grows into, unused bytes behind a segment.
    Slack,
    /// The segment of `.dynstr` ends the file and is extended.
    Last,
    /// Small tables behind `.dynstr` move into slack, and it grows over their old place.
    Evict,
    /// A new segment at the end of the file, in a free program header.
    Append,
    /// The same; the program header table grows over the small tables behind it.
    AppendHead,
    /// A segment gets file bytes for its `.bss`, and grows behind that.
    Bss,
    /// Nothing is placed: a tag goes.
    Drop,
    /// Only the resolution note changes.
    Note,
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slot => "slot",
            Self::Slack => "slack",
            Self::Last => "last",
            Self::Evict => "evict",
            Self::Append => "append",
            Self::AppendHead => "append+head",
            Self::Bss => "bss",
            Self::Drop => "drop",
            Self::Note => "note",
        })
    }
}

/// The bytes that an edit writes.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// # use driver_runpath::{decide::Tag, plan::{Change, plan}};
/// # let plan = plan(&image, &Change::new(Tag::Runpath, "/run/opengl-driver/lib")).unwrap();
/// let written: u64 = plan.edits.iter().map(|edit| edit.content.len()).sum();
/// assert!(written < 1000);
/// assert!(plan.edits.iter().all(|edit| edit.content.resolve(plan.original()).is_some()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// These.
    Bytes(Vec<u8>),
    /// Those that the original file has in this range. Spares a copy of a string table of many megabytes.
    CopyOf(Range<FileOffset>),
}

impl Content {
    /// How many bytes are written.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::CopyOf(range) => range.end.0.saturating_sub(range.start.0),
        }
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, with those to be copied taken from `original`.
    pub fn resolve<'a>(&'a self, original: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::CopyOf(range) => {
                original.get(usize::try_from(range.start.0).ok()?..usize::try_from(range.end.0).ok()?)
            }
        }
    }
}

/// How an edit may be written.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// # use driver_runpath::{decide::Tag, plan::{Change, plan}};
/// # let plan = plan(&image, &Change::new(Tag::Runpath, "/run/opengl-driver/lib")).unwrap();
/// use driver_runpath::plan::Step;
///
/// // What nobody reads yet comes before the words that lead to it.
/// assert_eq!(plan.edits.first().map(|edit| edit.step), Some(Step::Fill));
/// assert!(plan.edits.iter().any(|edit| edit.step == Step::Store));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Bytes that neither kernel nor loader reads at that moment: in any pieces.
    Fill,
    /// One field that they do read: a single store.
    Store,
}

/// One change of the file. The list is in an order in which every prefix is a file that loads.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// # use driver_runpath::{decide::Tag, plan::{Change, plan}};
/// # let plan = plan(&image, &Change::new(Tag::Runpath, "/run/opengl-driver/lib")).unwrap();
/// for edit in &plan.edits {
///     println!("{}: {} bytes, {}", edit.at, edit.content.len(), edit.why);
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Edit {
    /// Where.
    pub at: FileOffset,
    /// What.
    pub content: Content,
    /// How.
    pub step: Step,
    /// What for, in the specification's words.
    pub why: &'static str,
}

impl Edit {
    /// The bytes of the file that the edit writes.
    pub fn range(&self) -> Range<FileOffset> {
        self.at..FileOffset(self.at.0.saturating_add(self.content.len()))
    }
}

/// A table that has another place afterwards.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// # use driver_runpath::{decide::Tag, plan::{Change, plan}};
/// # let plan = plan(&image, &Change::new(Tag::Runpath, "/run/opengl-driver/lib")).unwrap();
/// let strings = &plan.moves[0];
/// assert_eq!(strings.from, image.strings.range);
/// println!(".dynstr goes to {}, at {}", strings.to, strings.addr);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Move {
    /// Where it was.
    pub from: Range<FileOffset>,
    /// Where it is, in the file.
    pub to: FileOffset,
    /// Where it is, in memory.
    pub addr: crate::elf::Vaddr,
}

/// How one file is to be changed, together with the bytes that this was planned for.
///
/// Nothing can be done with it but to look at it, until [`verify`](crate::verify::verify) has turned it into a
/// [`Verified`](crate::verify::Verified).
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// # use driver_runpath::{decide::Tag, plan::{Change, plan}};
/// # let plan = plan(&image, &Change::new(Tag::Runpath, "/run/opengl-driver/lib")).unwrap();
/// // What a run that was killed after the first edit would leave.
/// let first = plan.replay(1).ok_or("no such edit")?;
/// assert_eq!(driver_runpath::elf::Image::parse(&first)?.search_path(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan<'data> {
    /// The rung taken.
    pub rung: Rung,
    /// Where the tag's entry came from.
    pub entry: EntryFor,
    /// The edits, in their order.
    pub edits: Vec<Edit>,
    /// The file's size afterwards, in bytes.
    pub new_len: u64,
    /// The tables that moved, `.dynstr` first.
    pub moves: Vec<Move>,
    /// What becomes of the resolution note.
    pub note: NoteOutcome,
    /// What was meant, for `verify`.
    pub change: Change,
    original: Original<'data>,
}

/// The bytes of a file, of which `Debug` shows the number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Original<'data>(&'data [u8]);

impl fmt::Debug for Original<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<'data> Plan<'data> {
    /// A plan that does nothing with a file.
    pub(crate) fn of_nothing(original: &'data [u8]) -> Self {
        let new_len = original.len() as u64;
        let change = Change::without(Tag::Runpath);
        let (edits, moves, note) = (Vec::new(), Vec::new(), NoteOutcome::None);
        Self {
            rung: Rung::Drop,
            entry: EntryFor::Spare,
            edits,
            new_len,
            moves,
            note,
            change,
            original: Original(original),
        }
    }

    /// The bytes that it was made for.
    pub fn original(&self) -> &'data [u8] {
        self.original.0
    }

    /// The same without the bytes, so that these can go before the file is written to.
    #[cfg(feature = "files")]
    pub(crate) fn detached(self) -> Plan<'static> {
        Plan { original: Original(&[]), ..self }
    }

    /// Bytes that the file grows by.
    pub fn growth(&self) -> u64 {
        self.new_len.saturating_sub(self.original.0.len() as u64)
    }

    /// The file's bytes after the first `edits` edits: what an interrupted run leaves. All of them: the planned file.
    ///
    /// `None` where an edit copies from outside the original, which [`plan`] never does.
    pub fn replay(&self, edits: usize) -> Option<Vec<u8>> {
        let original = self.original.0;
        let mut bytes = original.to_vec();
        for edit in self.edits.iter().take(edits) {
            let start = usize::try_from(edit.at.0).ok()?;
            let content = edit.content.resolve(original)?;
            let end = start.checked_add(content.len())?;
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes.get_mut(start..end)?.copy_from_slice(content);
        }
        Some(bytes)
    }
}

/// Why a change cannot be planned.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// use driver_runpath::decide::Tag;
/// use driver_runpath::plan::{Change, Refusal, plan};
///
/// assert_eq!(plan(&image, &Change::new(Tag::Runpath, "/a\0/b")).unwrap_err(), Refusal::Nul);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Each rung with its reason.
    #[error("no placement for the new search path fits: {}", joined(reasons))]
    NoRung {
        /// The rungs in the order tried.
        reasons: Vec<(Rung, NoFit)>,
    },
    /// A new resolution note fits nowhere.
    #[error("no placement for the resolution note fits: {0}")]
    NoteFitsNowhere(NoFit),
    /// A NUL would end the string early.
    #[error("a search path cannot hold a NUL byte")]
    Nul,
    /// There is no string table to speak of.
    #[error("its dynamic string table has no bytes: DT_STRSZ is 0")]
    Empty,
    /// More entries or sections than this name a search path or a table.
    #[error(
        "more than {0} entries of its dynamic table, or sections, are search paths and tables, where loaders look at one of each"
    )]
    Repeated(usize),
    /// Which dynamic table counts depends on who reads.
    #[error("it has more than one PT_DYNAMIC, of which glibc takes the last and other programs the first")]
    TwoDynamic,
    /// The string table cannot move nor grow: it ends too early.
    #[error(
        "{0} names a string outside the dynamic string table, of DT_STRSZ bytes; loaders find it all the same, but not \
         once the table moves or grows"
    )]
    Outside(&'static str),
    /// Two tables that an edit writes to share bytes.
    #[error("{0} and {1} share bytes")]
    Overlap(&'static str, &'static str),
    /// A new note is a change of its own.
    #[error("a new resolution note and a new search path are two changes")]
    TwoChanges,
    /// Loaders read the notes of a `PT_NOTE` up to `p_memsz` (glibc, elf/dl-prop.h), so what follows them decides.
    #[error("a segment of notes has a p_memsz that is not its p_filesz: loaders read on behind the notes")]
    NoteSize,
    /// Loaders go by `PT_PHDR` (glibc, elf/dl-load.c), and read other bytes than those at `e_phoff`.
    #[error("its PT_PHDR does not lead to its program header table, so that loaders read other bytes as one")]
    ProgramHeaders,
    /// Asked to write a note into a file that has one.
    #[error("a resolution note is there already")]
    HasNote,
}

fn joined(reasons: &[(Rung, NoFit)]) -> String {
    reasons.iter().map(|(rung, why)| format!("{rung}: {why}")).collect::<Vec<_>>().join("; ")
}

/// One rung: an entry of the ladder.
type Attempt = fn(&mut Draft<'_, '_>) -> Result<(), NoFit>;

const LADDER: [(Rung, Attempt); 9] = [
    (Rung::Slot, slot::attempt),
    (Rung::Slack, slack::attempt),
    (Rung::Last, last::attempt_in_place),
    (Rung::Evict, evict::attempt),
    (Rung::Last, last::attempt),
    (Rung::Append, append::attempt),
    (Rung::AppendHead, head::attempt),
    (Rung::Slack, slack::attempt_writable),
    (Rung::Bss, bss::attempt),
];

/// Plans `change` for `image`.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// use driver_runpath::decide::Tag;
/// use driver_runpath::plan::{Change, plan};
///
/// let plan = plan(&image, &Change::new(Tag::Runpath, "/run/opengl-driver/lib"))?;
/// assert_eq!(plan.new_len, image.file_end().0);
/// # Ok::<(), driver_runpath::plan::Refusal>(())
/// ```
///
/// # Errors
/// [`Refusal`] where no rung fits under the rules.
pub fn plan<'data>(image: &Image<'data>, change: &Change) -> Result<Plan<'data>, Refusal> {
    if change.path.as_ref().is_some_and(|path| path.contains(&0)) {
        return Err(Refusal::Nul);
    }
    let notes = Opening::of(image, change)?;
    let image = notes.image.as_ref().unwrap_or(image);
    let entry = dynamic::choose(image);
    apart::check(image, entry)?;
    let liveness = liveness::Liveness::of(image);
    let in_use = apart::InUse::of(image, &liveness);
    if matches!(change.note, NoteChange::Write(_)) && !keeps_path(image, change) {
        return Err(Refusal::TwoChanges);
    }
    let attempt = |rung: Rung, entry: EntryFor, attempt: Attempt| {
        let mut draft = Draft::new(image, change, &liveness, entry);
        notes.open(&mut draft)?;
        attempt(&mut draft)?;
        let note = notes.close(&mut draft)?;
        in_use.check(&draft)?;
        Ok(draft.finish(rung, note))
    };
    if change.path.is_none() {
        return attempt(Rung::Drop, EntryFor::Spare, |draft| draft.drop_tag())
            .map_err(|why| Refusal::NoRung { reasons: vec![(Rung::Drop, why)] });
    }
    if keeps_path(image, change) {
        return attempt(Rung::Note, EntryFor::Spare, |_| Ok(())).map_err(Refusal::NoteFitsNowhere);
    }
    let mut reasons = Vec::new();
    for (rung, edits) in LADDER {
        if entry == EntryFor::MovedTable && rung == Rung::Slot {
            continue;
        }
        if let Some(outside) = liveness.outside().filter(|_| rung != Rung::Slot) {
            return Err(Refusal::Outside(outside.who));
        }
        match attempt(rung, entry, edits) {
            Ok(plan) => return Ok(plan),
            Err(why) => reasons.push((rung, why)),
        }
    }
    Err(Refusal::NoRung { reasons })
}

/// Whether the file has this search path already, so that the change is one of the note alone.
fn keeps_path(image: &Image<'_>, change: &Change) -> bool {
    let other = image.dynamic.position(change.tag.other().dynamic_tag());
    let now = image.dynamic.value(change.tag.dynamic_tag()).and_then(|at| image.string(at));
    let is_only = other.is_none() || matches!(change.note, NoteChange::Write(_));
    is_only && now.is_some() && now == change.path.as_deref()
}
