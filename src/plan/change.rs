//! What is asked of the planner.

use crate::decide::{Current, Tag};
pub use crate::resolution::NoteChange;

/// What the dynamic table shall say afterwards.
///
/// ```
/// use driver_runpath::decide::Tag;
/// use driver_runpath::plan::Change;
///
/// let (set, drop) = (Change::new(Tag::Runpath, "$ORIGIN/../lib"), Change::without(Tag::Rpath));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The tag that holds the search path; the other one goes.
    pub tag: Tag,
    /// The search path, without NUL. `None`: this tag goes, too.
    pub path: Option<Vec<u8>>,
    /// What becomes of the resolution note.
    pub note: NoteChange,
}

impl Change {
    /// This search path, by this tag; a resolution note goes. The path is taken as it is: where it has an empty element, or is
    /// empty, loaders look into the current directory. [`Change::without`] takes the tag out.
    ///
    /// ```
    /// # use driver_runpath::{decide::Tag, plan::Change};
    /// let change = Change::new(Tag::Runpath, "$ORIGIN/../lib");
    /// ```
    pub fn new(tag: Tag, path: impl Into<Vec<u8>>) -> Self {
        Self { tag, path: Some(path.into()), note: NoteChange::Drop }
    }

    /// Without this tag; a resolution note goes.
    pub fn without(tag: Tag) -> Self {
        Self { tag, path: None, note: NoteChange::Drop }
    }

    /// The same, with this for the resolution note.
    #[must_use]
    pub fn with_note(self, note: NoteChange) -> Self {
        Self { note, ..self }
    }

    /// The changes from what a file has to `wanted`; `None`: no search path. Each of them alone is a file that loads.
    /// `note` is what becomes of the resolution note with the wanted path.
    ///
    /// ```
    /// # use driver_runpath::{decide::{Current, Tag}, plan::{Change, NoteChange}};
    /// let now = Current { rpath: Some(b"/opt/lib".to_vec()), ..Current::default() };
    /// assert!(Change::between(&now, Some((Tag::Rpath, b"/opt/lib")), NoteChange::Drop).is_empty());
    /// assert_eq!(Change::between(&now, None, NoteChange::Drop), [Change::without(Tag::Rpath)]);
    /// ```
    pub fn between(now: &Current, wanted: Option<(Tag, &[u8])>, note: NoteChange) -> Vec<Self> {
        match wanted {
            Some(_) if wanted == now.effective() && (now.runpath.is_none() || now.rpath.is_none()) => Vec::new(),
            Some((tag, path)) => vec![Self::new(tag, path).with_note(note)],
            None => {
                // The one that loaders ignore beside the other goes first.
                let tags = [(Tag::Rpath, &now.rpath), (Tag::Runpath, &now.runpath)];
                let there = tags.into_iter().filter(|(_, path)| path.is_some());
                there.map(|(tag, _)| Self::without(tag)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tags_go_the_ignored_one_first() {
        let both = Current { runpath: Some(b"/a".to_vec()), rpath: Some(b"/b".to_vec()) };
        let tags = |changes: Vec<Change>| changes.iter().map(|change| change.tag).collect::<Vec<_>>();
        assert_eq!(tags(Change::between(&both, None, NoteChange::Drop)), [Tag::Rpath, Tag::Runpath]);
        assert_eq!(
            tags(Change::between(&both, Some((Tag::Runpath, b"/a")), NoteChange::Drop)),
            [Tag::Runpath],
            "the other one must go"
        );
        let one = Current { runpath: Some(b"/a".to_vec()), rpath: None };
        assert!(Change::between(&one, Some((Tag::Runpath, b"/a")), NoteChange::Drop).is_empty());
        assert_eq!(tags(Change::between(&one, Some((Tag::Rpath, b"/a")), NoteChange::Drop)), [Tag::Rpath]);
        assert!(Change::between(&Current::default(), None, NoteChange::Drop).is_empty());
    }
}
