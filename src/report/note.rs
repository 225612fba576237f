//! What is said of resolution notes.

use serde::Serialize;

use super::json::Text;
use super::text::{harmless, name};
use crate::commands::check::Note;
use crate::loader::Reader;
use crate::plan::NoteOutcome;
use crate::resolution::{LeadsTo, Said};

/// What a note says of a library, as a phrase: `sends libcuda.so.1 to the stub …`.
pub(super) fn sends(said: &Said) -> String {
    let library = harmless(&said.name);
    match &said.leads_to {
        LeadsTo::Driver => format!("sends {library} to the driver"),
        LeadsTo::Stub(place) => format!("sends {library} to the STUB {}", harmless(place)),
        LeadsTo::Elsewhere(place) => format!("sends {library} past the driver to {}", harmless(place)),
        LeadsTo::SearchPath => format!("leaves {library} to the search path"),
    }
}

/// Why a file with the right search path misses the driver.
pub(super) fn misleads(said: &Said, note: Option<&Note>) -> String {
    let reader = match note.map(|note| &note.reader) {
        Some(Reader::Reads(loader)) => format!("{} asks it first", name(loader)),
        _ => "a loader that reads it asks it first".to_owned(),
    };
    format!("its resolution note {}, and {reader}", sends(said))
}

/// What became of a note, behind the rest of the line.
pub(super) fn became(note: NoteOutcome) -> &'static str {
    match note {
        NoteOutcome::None | NoteOutcome::Kept => "",
        NoteOutcome::Renewed => "; resolution note renewed",
        NoteOutcome::Dropped => "; resolution note dropped",
        NoteOutcome::Written => "; resolution note written",
    }
}

#[derive(Serialize)]
pub(super) struct NoteRecord {
    /// Null: nobody knows.
    is_read: Option<bool>,
    /// The loader that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    loader: Option<Text>,
    libraries: Vec<SaidRecord>,
}

#[derive(Serialize)]
struct SaidRecord {
    name: Text,
    /// `driver`, `stub`, `elsewhere` or `search-path`.
    leads_to: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<Text>,
}

impl NoteRecord {
    pub(super) fn of(note: &Note) -> Self {
        let (is_read, loader) = match &note.reader {
            Reader::Reads(loader) => (Some(true), Some(loader)),
            Reader::Ignores(loader) => (Some(false), Some(loader)),
            Reader::Unknown => (None, None),
        };
        let loader = loader.map(|loader| Text::of_path(loader));
        Self { is_read, loader, libraries: note.said.iter().map(SaidRecord::of).collect() }
    }
}

impl SaidRecord {
    fn of(said: &Said) -> Self {
        let (leads_to, place) = match &said.leads_to {
            LeadsTo::Driver => ("driver", None),
            LeadsTo::Stub(place) => ("stub", Some(place)),
            LeadsTo::Elsewhere(place) => ("elsewhere", Some(place)),
            LeadsTo::SearchPath => ("search-path", None),
        };
        Self { name: Text::of(&said.name), leads_to, place: place.map(|place| Text::of(place)) }
    }
}
