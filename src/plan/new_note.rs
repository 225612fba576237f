//! A resolution note for a file that has none.

use super::NoFit;
use super::draft::Draft;

pub(super) fn write(_draft: &mut Draft<'_, '_>, _descriptor: &[u8]) -> Result<(), NoFit> {
    Err(NoFit::new("no"))
}
