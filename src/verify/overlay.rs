//! The planned file, without making it: windows of the original with the edits laid over them.

use crate::plan::Plan;

/// The original with the edits of a plan laid over it.
pub(super) struct Overlay<'a> {
    pub(super) original: &'a [u8],
    pub(super) plan: Option<&'a Plan<'a>>,
}

impl Overlay<'_> {
    pub(super) fn len(&self) -> u64 {
        self.plan.map_or(self.original.len() as u64, |plan| plan.new_len)
    }

    /// The bytes of a window; those that neither the original nor an edit has are zero.
    pub(super) fn read(&self, at: u64, len: u64) -> Result<Vec<u8>, String> {
        let end = at.checked_add(len).filter(|end| *end <= self.len()).ok_or("a table lies outside the file")?;
        let size = usize::try_from(len).map_err(|error| error.to_string())?;
        let mut window = vec![0; size];
        lay_over(&mut window, at, 0, self.original);
        for edit in self.plan.iter().flat_map(|plan| &plan.edits) {
            if edit.at.0 < end && edit.range().end.0 > at {
                let bytes = edit.content.resolve(self.original).ok_or("an edit copies from outside the file")?;
                lay_over(&mut window, at, edit.at.0, bytes);
            }
        }
        Ok(window)
    }

    pub(super) fn string(&self, at: u64) -> Result<Vec<u8>, String> {
        const STEP: u64 = 256;
        let mut string = Vec::new();
        loop {
            let from = at.checked_add(string.len() as u64).ok_or("a string past 2^64")?;
            let window = self.read(from, STEP.min(self.len().saturating_sub(from)))?;
            if window.is_empty() {
                return Err("a string without an end".into());
            }
            match window.iter().position(|&byte| byte == 0) {
                Some(end) => {
                    string.extend(window.iter().take(end));
                    return Ok(string);
                }
                None => string.extend(window),
            }
        }
    }
}

/// Copies the part of `bytes`, which lie at `bytes_at`, that falls into `window`, which lies at `at`.
fn lay_over(window: &mut [u8], at: u64, bytes_at: u64, bytes: &[u8]) {
    let end = at.saturating_add(window.len() as u64).min(bytes_at.saturating_add(bytes.len() as u64));
    let start = at.max(bytes_at);
    let index = |position: u64, base: u64| usize::try_from(position.saturating_sub(base)).unwrap_or(usize::MAX);
    if start < end {
        let target = window.get_mut(index(start, at)..index(end, at));
        let source = bytes.get(index(start, bytes_at)..index(end, bytes_at));
        if let (Some(target), Some(source)) = (target, source) {
            target.copy_from_slice(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::lay_over;

    #[test]
    fn edits_are_cut_to_the_window() {
        let mut window = *b"........";
        lay_over(&mut window, 10, 6, b"aaaaaa");
        lay_over(&mut window, 10, 14, b"bb");
        lay_over(&mut window, 10, 17, b"cccc");
        lay_over(&mut window, 10, 18, b"dddd");
        assert_eq!(&window, b"aa..bb.c");
    }
}
