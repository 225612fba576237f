//! How a report looks on a terminal: columns that fit it, and colours where it has some.

use std::path::{Component, Path};

use anstyle::{AnsiColor, Style};

use super::note;
use super::text::{evidence_in_short, harmless, name, with_openers};
use crate::check::{Judged, Verdict};
use crate::fix::{Changed, Fixed};
use crate::tree::directory_of;

/// A terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Its width, in characters.
    pub columns: usize,
    /// Whether it shows colours, and the user wants them.
    pub colours: bool,
}

impl Screen {
    fn paint(self, style: Style, text: &str) -> String {
        if self.colours { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// `word` and behind it the text, broken at spaces, its lines below one another.
    pub(super) fn wrapped(self, word: &str, text: &str) -> String {
        const LEAST: usize = 20;
        let room = self.columns.saturating_sub(word.len()).max(LEAST);
        let mut lines = String::from(word);
        let mut used = 0;
        for part in text.split(' ') {
            let width = part.chars().count();
            if used > 0 && used + 1 + width > room {
                lines.push('\n');
                lines.extend(std::iter::repeat_n(' ', word.len()));
                used = 0;
            }
            if used > 0 {
                lines.push(' ');
                used += 1;
            }
            lines.push_str(part);
            used += width;
        }
        lines.push('\n');
        lines
    }

    fn heading(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }
}

/// The table of changed files: which, why, and where the new string went.
pub(super) fn fix_table(rows: &[(&Fixed, &Changed)], dry_run: bool, screen: Screen) -> String {
    const GAP: usize = 2;
    const WHY_AT_MOST: usize = 28;
    let cells: Vec<[String; 3]> = rows
        .iter()
        .map(|(file, changed)| {
            let why = evidence_in_short(&file.detection);
            [name(&file.path), why, format!("{}, +{}", changed.rung, changed.growth)]
        })
        .collect();
    let heads = [if dry_run { "would change" } else { "changed" }, "because it", "how, bytes"];
    let widest = |column: usize, head: &str| {
        let cells = cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head.len()]).max().unwrap_or(0)
    };
    let [file_head, why_head, how_head] = heads;
    let (why, how) = (widest(1, why_head).min(WHY_AT_MOST), widest(2, how_head));
    let file = widest(0, file_head).min(screen.columns.saturating_sub(why + how + 2 * GAP).max(file_head.len()));
    let mut table = screen.heading(&format!("{file_head:file$}  {why_head:why$}  {how_head}"));
    table.push('\n');
    for [path, reason, room] in &cells {
        let (path, reason) = (last(path, file), first(reason, why));
        table.push_str(&format!("{path:file$}  {reason:why$}  {room}\n"));
    }
    table
}

/// The verdicts by package directory.
pub(super) fn check_groups(rows: &[(&Path, &Judged)], screen: Screen) -> String {
    let groups = rows.chunk_by(|(one, _), (next, _)| package_of(one) == package_of(next));
    groups.map(|group| check_group(group, screen)).collect()
}

fn check_group(rows: &[(&Path, &Judged)], screen: Screen) -> String {
    const FILE_AT_MOST: usize = 40;
    let package = rows.first().map_or(Path::new("."), |(path, _)| package_of(path));
    let below = |path: &Path| name(path.strip_prefix(package).unwrap_or(path));
    let widest = rows.iter().map(|(path, _)| below(path).chars().count()).max().unwrap_or(0).min(FILE_AT_MOST);
    let mut lines = format!("{}\n", screen.heading(&name(package)));
    for (path, judged) in rows {
        let (word, style) = match &judged.verdict {
            Verdict::Finds => ("has   ", AnsiColor::Green.on_default()),
            Verdict::Misses => ("LACKS ", AnsiColor::Red.on_default().bold()),
            Verdict::Misled(_) => ("MISLED", AnsiColor::Red.on_default().bold()),
            Verdict::FindsStub(_) => ("STUB  ", AnsiColor::Red.on_default().bold()),
            Verdict::NamesOnly => ("names ", Style::new().dimmed()),
            Verdict::NotALoader => ("-     ", Style::new().dimmed()),
        };
        let mut why = evidence_in_short(&judged.detection);
        match &judged.verdict {
            Verdict::FindsStub(stub) => why = format!("{} comes first; {why}", harmless(stub)),
            Verdict::Misled(said) => why = format!("its resolution note {}; {why}", note::sends(said)),
            Verdict::NamesOnly => why.push_str(&with_openers(&judged.openers)),
            Verdict::NotALoader => why = "does not load the driver".to_owned(),
            Verdict::Finds | Verdict::Misses => {}
        }
        let line = format!("{:widest$}  {why}", last(&below(path), widest));
        let room = screen.columns.saturating_sub(word.len() + 3);
        lines.push_str(&format!("  {} {}\n", screen.paint(style, word), first(&line, room)));
    }
    lines
}

/// The directory that a package lies in: that of the file, without a last `lib` or `bin`.
fn package_of(path: &Path) -> &Path {
    const PARTS: [&str; 6] = ["lib", "lib64", "lib32", "bin", "sbin", "libexec"];
    let directory = directory_of(path);
    let is_part = matches!(directory.components().next_back(), Some(Component::Normal(last)) if PARTS.iter().any(|part| last == *part));
    directory.parent().filter(|above| is_part && !above.as_os_str().is_empty()).unwrap_or(directory)
}

/// The first `width` characters, with a sign where some are left out.
fn first(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// The last `width` characters, with a sign where some are left out.
fn last(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    ['…'].into_iter().chain(text.chars().skip(count - width.saturating_sub(1).min(count))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_where_it_says_least() {
        assert_eq!(last("/opt/app/lib/libx.so", 10), "…b/libx.so");
        assert_eq!(last("libx.so", 10), "libx.so");
        assert_eq!(first("names libcuda.so.1", 10), "names lib…");
        assert_eq!(last("äöü", 2), "…ü");
        assert_eq!(last("abc", 0), "…");
    }

    #[test]
    fn long_text_is_broken_at_spaces() {
        let screen = Screen { columns: 26, colours: false };
        assert_eq!(screen.wrapped("note: ", "a file of some words"), "note: a file of some words\n");
        assert_eq!(screen.wrapped("note: ", "a file of some words more"), "note: a file of some words\n      more\n");
    }

    #[test]
    fn a_package_is_the_directory_above_lib() {
        for (path, package) in [
            ("/v/nvidia/cublas/lib/libx.so", "/v/nvidia/cublas"),
            ("/v/torch/_C.so", "/v/torch"),
            ("lib/libx.so", "lib"),
            ("libx.so", "."),
            ("/lib/libx.so", "/"),
        ] {
            assert_eq!(package_of(Path::new(path)), Path::new(package), "{path}");
        }
    }
}
