//! `--build-resolution-cache`: the note that patchelf 0.19.3 writes for the file as it is now.

use super::{Failure, Job, opening};
use crate::apply::edit::{Editor, Target};
use crate::elf::Image;
use crate::plan::{Change, NoteChange};
use crate::resolution::{SECTION, ThisMachine, descriptor_for, find};
use std::io::Write;
use std::path::Path;

/// In patchelf's words: a hook of nixpkgs looks for them.
const STALE: &str =
    "--build-resolution-cache: a resolution cache note is already present; rebuild from an unpatched binary";

/// What there is to do for a file.
pub(super) enum Outcome {
    /// This change.
    Write(Change),
    /// Nothing; what patchelf says then.
    Nothing(Option<&'static str>),
}

/// What is to be done for `image`.
///
/// # Errors
/// A note that is not up to date.
pub(super) fn outcome(image: &Image<'_>) -> Result<Outcome, Failure> {
    let notes = find(image);
    let without = |why| if notes.is_empty() { Ok(Outcome::Nothing(Some(why))) } else { Err(Failure::Words(STALE)) };
    let has_section = |name: &[u8]| image.sections.iter().any(|section| image.section_name(section) == name);
    if !has_section(b".dynamic") || !has_section(b".dynstr") {
        return without("no dynamic section (statically linked?); no cache written");
    }
    let now = image.search_paths();
    let needs_any = image.needed().next().is_some();
    let Some((tag, path)) = now.effective().filter(|(_, path)| needs_any && !path.is_empty()) else {
        return without("no DT_NEEDED entries or run path to resolve; no cache written");
    };
    let Some(descriptor) = descriptor_for(image, path, &ThisMachine) else {
        return without("no libraries resolved against the run path; no cache written");
    };
    if !notes.is_empty() {
        // By the section, as patchelf has it.
        let is_right = notes.ordinary(image).is_some() && notes.descriptor(image) == Some(&descriptor[..]);
        return if is_right { Ok(Outcome::Nothing(None)) } else { Err(Failure::Words(STALE)) };
    }
    debug_assert!(!has_section(SECTION));
    Ok(Outcome::Write(Change::new(tag, path).with_note(NoteChange::Write(descriptor))))
}

impl<O: Write, E: Write> Job<'_, O, E> {
    /// The change for the note of `image`, which nothing else changes.
    pub(super) fn note_changes(&mut self, image: &Image<'_>) -> Result<Vec<Change>, Failure> {
        Ok(match outcome(image)? {
            Outcome::Write(change) => vec![change],
            Outcome::Nothing(why) => {
                match why {
                    Some(why) => self.say_no_cache(why),
                    None => self.debug(format_args!("resolution cache already up to date")),
                }
                Vec::new()
            }
        })
    }

    /// Without the name of the file, as patchelf says it.
    pub(super) fn say_no_cache(&mut self, why: &str) {
        let _ = writeln!(self.errors, "warning: --build-resolution-cache: {why}");
    }

    /// Writes the note into the file that the edit before has made.
    pub(super) fn build_note_in(&mut self, path: &Path) -> Result<(), Failure> {
        let editor = Editor::open(path, &opening())?.ok_or(Failure::Words("not an ELF executable"))?;
        let changes = self.note_changes(&editor.image()?)?;
        editor.commit(&changes, Target::Itself)?;
        Ok(())
    }
}
