//! What may be written.

use crate::plan::Plan;

/// A plan whose result a second parser has read and found to be what was meant. Only such a plan can be written, or turned
/// into bytes, and only [`verify`](super::verify) makes one.
///
/// ```
/// # use driver_runpath::{decide::Tag, elf::Image, plan::{Change, plan}, verify::verify};
/// # let file = include_bytes!("../../testdata/prebuilt/x86_64/libopens.so");
/// let image = Image::parse(file)?;
/// let verified = verify(plan(&image, &Change::new(Tag::Runpath, "/opt/lib"))?)?;
/// let edited = verified.into_bytes();
/// assert_eq!(Image::parse(&edited)?.search_path(), Some((Tag::Runpath, &b"/opt/lib"[..])));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A plan that was not verified has no bytes:
///
/// ```compile_fail,E0599
/// # use driver_runpath::{decide::Tag, elf::Image, plan::{Change, plan}};
/// # let file = include_bytes!("../../testdata/prebuilt/x86_64/libopens.so");
/// # let image = Image::parse(file).unwrap();
/// let edited = plan(&image, &Change::new(Tag::Runpath, "/opt/lib")).unwrap().into_bytes();
/// ```
///
/// Nor can the bytes change, or go, while there is a plan for them:
///
/// ```compile_fail,E0505
/// # use driver_runpath::{decide::Tag, elf::Image, plan::{Change, plan}, verify::verify};
/// # let file: Vec<u8> = include_bytes!("../../testdata/prebuilt/x86_64/libopens.so").to_vec();
/// let verified = verify(plan(&Image::parse(&file).unwrap(), &Change::new(Tag::Runpath, "/opt/lib")).unwrap()).unwrap();
/// drop(file);
/// verified.into_bytes();
/// ```
///
/// Nor can a plan be taken for one that was verified:
///
/// ```compile_fail,E0423
/// # use driver_runpath::{decide::Tag, elf::Image, plan::{Change, plan}, verify::Verified};
/// # let file = include_bytes!("../../testdata/prebuilt/x86_64/libopens.so");
/// # let image = Image::parse(file).unwrap();
/// let verified = Verified(plan(&image, &Change::new(Tag::Runpath, "/opt/lib")).unwrap());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<'data>(pub(super) Plan<'data>);

impl<'data> Verified<'data> {
    /// The plan.
    pub fn plan(&self) -> &Plan<'data> {
        &self.0
    }

    /// The file as it is with all edits.
    pub fn into_bytes(self) -> Vec<u8> {
        let original = self.0.original();
        // `check_extent` has found all of it to be so.
        let mut bytes = original.to_vec();
        bytes.resize(usize::try_from(self.0.new_len).unwrap_or(bytes.len()), 0);
        for edit in &self.0.edits {
            let start = usize::try_from(edit.at.0).unwrap_or(usize::MAX);
            let content = edit.content.resolve(original).unwrap_or_default();
            bytes.iter_mut().skip(start).zip(content).for_each(|(byte, new)| *byte = *new);
        }
        bytes
    }

    /// The same without the original, so that this can go before the file is written to.
    #[cfg(feature = "files")]
    pub(crate) fn detached(self) -> Verified<'static> {
        Verified(self.0.detached())
    }
}
