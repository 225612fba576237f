//! How a report looks on a terminal: columns that fit it, and colours where it has some.

use std::io::{self, Write};
use std::path::{Component, Path};

use anstyle::{AnsiColor, Style};

use super::note;
use super::text::{
    NO_LOADER, evidence_in_short, harmless, name, new_search_path, no_loader, old_search_path, with_openers,
};
use crate::apply::directories::directory_of;
use crate::commands::check::{Judged, Verdict};
use crate::commands::fix::{Changed, Fixed};

/// A terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Its width, in characters.
    pub columns: usize,
    /// Whether it shows colours, and the user wants them.
    pub colours: bool,
}

impl Screen {
    /// Between a name and what is said of the file.
    const GAP: usize = 2;

    fn paint(self, style: Style, text: &str) -> String {
        if self.colours { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// The text in so many columns: what is too long loses its middle.
    pub fn cut_in_the_middle(text: &str, width: usize) -> String {
        middle(text, width)
    }

    /// `word` and behind it the text, broken at spaces, its lines below one another.
    pub(super) fn wrapped(self, word: &str, text: &str) -> String {
        self.wrapped_below(word, &" ".repeat(word.chars().count()), text)
    }

    /// The same with `hang` in front of all lines but the first. Words, such as paths, stay whole.
    fn wrapped_below(self, word: &str, hang: &str, text: &str) -> String {
        const LEAST: usize = 20;
        let columns = self.columns.max(hang.chars().count().saturating_add(LEAST));
        let options = textwrap::Options::new(columns)
            .initial_indent(word)
            .subsequent_indent(hang)
            .break_words(false)
            .word_separator(textwrap::WordSeparator::AsciiSpace)
            .word_splitter(textwrap::WordSplitter::NoHyphenation);
        textwrap::fill(text, options) + "\n"
    }

    /// A line of a drawn tree, broken at spaces; what follows stands below its text, beside the branches that go on.
    pub(super) fn folded(self, line: &str) -> String {
        const NOTE: &str = "note: ";
        let text = line.trim_start_matches([' ', '│', '├', '└', '─']);
        let lead = line.strip_suffix(text).unwrap_or_default();
        let below = |c| match c {
            '├' | '│' => '│',
            _ => ' ',
        };
        let (word, text) = text.strip_prefix(NOTE).map_or(("", text), |text| (NOTE, text));
        let mut hang: String = lead.chars().chain(word.chars()).map(below).collect();
        if lead.trim().is_empty() && word.is_empty() {
            hang.push_str("  ");
        }
        self.wrapped_below(&format!("{lead}{word}"), &hang, text)
    }

    /// A file with what is said of it: behind its name, on a narrow terminal below it. `lead` is shown as `painted`.
    fn file_lines(self, lead: &str, painted: &str, name: &str, widest: usize, why: &str) -> String {
        /// Below this a name and a reason leave no room for each other.
        const NARROW: usize = 60;
        let indent = lead.chars().count();
        let room = self.columns.saturating_sub(indent);
        if self.columns < NARROW {
            let below = " ".repeat(indent + Self::GAP);
            return format!("{painted}{}\n{below}{}\n", middle(name, room), first(why, room.saturating_sub(Self::GAP)));
        }
        let name = middle(name, widest);
        format!("{painted}{name:widest$}  {}\n", first(why, room.saturating_sub(widest + Self::GAP)))
    }

    fn heading(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }
}

/// Breaks the lines that go through it, where they go to a terminal.
pub struct Folded<W> {
    screen: Option<Screen>,
    line: Vec<u8>,
    out: W,
}

impl<W: Write> Folded<W> {
    /// In front of `out`; `None`: it is no terminal.
    pub fn new(screen: Option<Screen>, out: W) -> Self {
        Self { screen, line: Vec::new(), out }
    }
}

impl<W: Write> Write for Folded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(screen) = self.screen else { return self.out.write(bytes) };
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend(part);
            if let Some(line) = self.line.strip_suffix(b"\n") {
                self.out.write_all(screen.folded(&String::from_utf8_lossy(line)).as_bytes())?;
                self.line.clear();
            }
        }
        Ok(bytes.len())
    }

    /// A line without an end stays until it has one.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The changed files by package directory, and in it by what changed.
pub(super) fn fix_groups(rows: &[(&Fixed, &Changed)], screen: Screen) -> String {
    let groups = rows.chunk_by(|(one, _), (next, _)| package_of(&one.path) == package_of(&next.path));
    groups.map(|group| fix_group(group, screen)).collect()
}

fn fix_group(rows: &[(&Fixed, &Changed)], screen: Screen) -> String {
    let package = rows.first().map_or(Path::new("."), |(file, _)| package_of(&file.path));
    let mut lines = format!("{}\n", screen.heading(&name(package)));
    let mut by_change: Vec<([String; 2], Vec<&Fixed>)> = Vec::new();
    for (file, changed) in rows {
        let change = [old_search_path(&changed.old), new_search_path(&changed.decision)];
        match by_change.iter_mut().find(|(known, _)| *known == change) {
            Some((_, files)) => files.push(file),
            None => by_change.push((change, vec![file])),
        }
    }
    for ([old, new], files) in &by_change {
        lines.push_str(&change_lines(old, new, screen));
        let cells: Vec<_> = files.iter().map(|file| (below(package, &file.path), why_changed(file))).collect();
        let widest = widest(cells.iter().map(|(name, why)| (&**name, &**why)), 4, screen);
        for (name, why) in &cells {
            lines.push_str(&screen.file_lines("    ", "    ", name, widest, why));
        }
    }
    lines
}

fn why_changed(file: &Fixed) -> String {
    if file.is_taken { evidence_in_short(&file.detection) } else { NO_LOADER.to_owned() }
}

/// `old → new`, below one another where that is too long for a line.
fn change_lines(old: &str, new: &str, screen: Screen) -> String {
    let whole = format!("  {old} → {new}");
    if whole.chars().count() <= screen.columns {
        return format!("{whole}\n");
    }
    let room = screen.columns.saturating_sub(4);
    format!("  {}\n  → {}\n", middle(old, room + 2), middle(new, room))
}

fn below(package: &Path, path: &Path) -> String {
    name(path.strip_prefix(package).unwrap_or(path))
}

/// The column of names: as wide as the widest one, but no more than leaves room for the reasons, or half of the terminal.
fn widest<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>, indent: usize, screen: Screen) -> usize {
    let (mut name, mut why) = (0, 0);
    for (this_name, this_why) in rows {
        name = name.max(this_name.chars().count());
        why = why.max(this_why.chars().count());
    }
    let left = screen.columns.saturating_sub(indent + Screen::GAP + why);
    name.min(left.max(screen.columns / 2))
}

/// The verdicts by package directory.
pub(super) fn check_groups(rows: &[(&Path, &Judged)], screen: Screen) -> String {
    let groups = rows.chunk_by(|(one, _), (next, _)| package_of(one) == package_of(next));
    groups.map(|group| check_group(group, screen)).collect()
}

fn check_group(rows: &[(&Path, &Judged)], screen: Screen) -> String {
    const INDENT: usize = "  MISLED ".len();
    let package = rows.first().map_or(Path::new("."), |(path, _)| package_of(path));
    let cells: Vec<(String, String)> = rows.iter().map(|(path, judged)| (below(package, path), why(judged))).collect();
    let widest = widest(cells.iter().map(|(name, why)| (&**name, &**why)), INDENT, screen);
    let mut lines = format!("{}\n", screen.heading(&name(package)));
    for ((_, judged), (name, why)) in rows.iter().zip(&cells) {
        let (word, style) = match &judged.verdict {
            Verdict::Finds => ("has   ", AnsiColor::Green.on_default()),
            Verdict::Misses => ("LACKS ", AnsiColor::Red.on_default().bold()),
            Verdict::Misled(_) => ("MISLED", AnsiColor::Red.on_default().bold()),
            Verdict::FindsStub(_) => ("STUB  ", AnsiColor::Red.on_default().bold()),
            Verdict::NamesOnly => ("names ", Style::new().dimmed()),
            Verdict::NotALoader => ("-     ", Style::new().dimmed()),
        };
        let (plain, painted) = (format!("  {word} "), format!("  {} ", screen.paint(style, word)));
        lines.push_str(&screen.file_lines(&plain, &painted, name, widest, why));
    }
    lines
}

/// What is said of a file behind its name.
fn why(judged: &Judged) -> String {
    let evidence = evidence_in_short(&judged.detection);
    match &judged.verdict {
        Verdict::FindsStub(stub) => format!("{} comes first; {evidence}", harmless(stub)),
        Verdict::Misled(said) => format!("its resolution note {}; {evidence}", note::sends(said)),
        Verdict::NamesOnly => evidence + &with_openers(&judged.openers),
        Verdict::NotALoader => no_loader(&judged.detection),
        Verdict::Finds | Verdict::Misses => evidence,
    }
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

/// The first and the last characters, `width` in all, with a sign where some are left out. More of the end: names that
/// begin alike are told apart there.
fn middle(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let head = kept * 2 / 5;
    text.chars().take(head).chain(['…']).chain(text.chars().skip(count - (kept - head).min(count))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_where_it_says_least() {
        assert_eq!(first("names libcuda.so.1", 10), "names lib…");
        assert_eq!(middle("libcudnn_engines_precompiled.so.9", 21), "libcudnn…ompiled.so.9");
        assert_eq!(middle("abc", 3), "abc");
        assert_eq!(middle("abcd", 1), "…");
    }

    #[test]
    fn a_line_of_a_tree_is_broken_beside_its_branches() {
        let screen = Screen { columns: 30, colours: false };
        let folded = "│  ├─ the cache of a loader\n│  │  that has no entry\n";
        assert_eq!(screen.folded("│  ├─ the cache of a loader that has no entry"), folded);
        assert_eq!(screen.folded("  └─ a line that is too long for it"), "  └─ a line that is too long\n     for it\n");
        assert_eq!(
            screen.folded("note: --loaded-by names those of them"),
            "note: --loaded-by names those\n      of them\n"
        );
        assert_eq!(
            screen.folded("libx.so.1: opened by 4 files, found by none"),
            "libx.so.1: opened by 4 files,\n  found by none\n"
        );
        assert_eq!(screen.folded(""), "\n");
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
