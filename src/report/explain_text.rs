//! The explanation for people: facts first, then the loader's search as a tree.

use std::io::{self, Write};

use object::elf;

use super::check_text::verdict_words;
use super::note::sends;
use super::text::{evidence, harmless, name, quoted};
use super::{audit, gpu_code, machine};
use crate::commands::check::Note;
use crate::commands::explain::{Entry, Explanation, Found, Library, MOST_ENTRIES, MOST_LIBRARIES, Subject};
use crate::loader::Reader;
use crate::loader::{Directory, Dropped, Ending, Header, Outcome, Rule, Stage, Try};

/// A line with what belongs under it.
struct Node {
    line: String,
    children: Vec<Node>,
}

impl Node {
    fn leaf(line: String) -> Self {
        Self { line, children: Vec::new() }
    }
}

/// Writes the explanation of one file.
///
/// # Errors
/// Errors of the writer.
pub fn explain_text(explanation: &Explanation, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", name(&explanation.path))?;
    if let Some(header) = &explanation.header {
        let is_executable = explanation.subject.as_ref().is_ok_and(|subject| subject.is_executable);
        writeln!(out, "  {}{}", kind(header), if is_executable { ", executable" } else { "" })?;
    }
    if !explanation.gpu_code.is_empty() {
        writeln!(out, "  carries code for GPUs: {}", gpu_code::in_words(&explanation.gpu_code))?;
    }
    let subject = match &explanation.subject {
        Ok(subject) => subject,
        Err(reason) => return writeln!(out, "  never a candidate: {reason}"),
    };
    facts(subject, out)?;
    for library in &subject.libraries {
        writeln!(out)?;
        draw(&library_tree(library, subject), out)?;
    }
    openings(subject, out)?;
    let notes = notes(subject);
    if !notes.is_empty() {
        writeln!(out)?;
    }
    notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))
}

/// What it opens beside the driver's libraries, which have a search of their own above.
fn openings(subject: &Subject, out: &mut impl Write) -> io::Result<()> {
    let is_driver = |name: &str| subject.libraries.iter().any(|library| library.name == name.as_bytes());
    let others = subject.openings.iter().filter(|opening| !is_driver(&opening.named.name));
    let lines = others.map(|opening| {
        let found = audit::found(&opening.lookup);
        Node::leaf(format!("{}: {found}", harmless(opening.named.name.as_bytes())))
    });
    let children: Vec<Node> = lines.collect();
    if children.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    draw(&Node { line: "it likely opens, too".to_owned(), children }, out)
}

fn kind(header: &Header) -> String {
    let bits = machine::bits(header).map_or("unknown class".to_owned(), |bits| format!("{bits}-bit"));
    let (machine, order) = (machine::machine(header), machine::byte_order(header));
    format!("ELF {bits}, {order}, {machine}, {}", machine::file_type(header))
}

fn facts(subject: &Subject, out: &mut impl Write) -> io::Result<()> {
    let detection = &subject.detection;
    let verdict = if detection.loads_driver() {
        "loads the driver"
    } else if detection.names_only() {
        "names the driver, but imports neither dlopen nor dlmopen: another object opens it"
    } else {
        "does not load the driver"
    };
    let found = detection.evidence.iter().map(|found| Node::leaf(evidence(found))).collect();
    draw_below(&Node { line: verdict.to_owned(), children: found }, out)?;
    let search_path = match (&subject.search.runpath, &subject.search.rpath) {
        (None, None) => "no search path".to_owned(),
        (None, Some(rpath)) => format!("RPATH {}", quoted(rpath)),
        (Some(runpath), None) => format!("RUNPATH {}", quoted(runpath)),
        (Some(runpath), Some(rpath)) => {
            format!("RUNPATH {}, beside an RPATH that the loader ignores: {}", quoted(runpath), quoted(rpath))
        }
    };
    draw_below(&Node { line: search_path, children: subject.entries.iter().map(entry).collect() }, out)?;
    if detection.loads_driver() {
        let (directory, exists) = &subject.driver_dir;
        let words = verdict_words(&subject.verdict);
        let gone = if *exists { "" } else { ", which does not exist on this machine" };
        writeln!(out, "  its search path, as check judges it: {words}, {}{gone}", harmless(directory))?;
    }
    if let Some(note) = &subject.note {
        draw_below(&resolution_note(note), out)?;
    }
    draw_below(&loader(subject), out)
}

fn resolution_note(note: &Note) -> Node {
    let line = match &note.reader {
        Reader::Reads(loader) => format!("resolution note, which {} asks before RUNPATH", name(loader)),
        Reader::Ignores(loader) => format!("resolution note, which {} does not read", name(loader)),
        Reader::Unknown => "resolution note; whether a loader reads it is not known".to_owned(),
    };
    let said = note.said.iter().map(|said| Node::leaf(sends(said)));
    Node { line, children: said.collect() }
}

/// One entry of the search path: where it leads, and what is there.
fn entry(entry: &Entry) -> Node {
    let mut facts = Vec::new();
    let directory = match &entry.directory {
        None => "a token has no value here, the loader drops the entry".to_owned(),
        Some(directory) => shown_directory(&entry.entry, directory),
    };
    if entry.is_driver {
        facts.push("the driver directory".to_owned());
    }
    if entry.is_cuda_compat {
        facts.push("cuda_compat, which must win over the driver".to_owned());
    }
    if entry.is_stub {
        facts.push("a directory of STUBS".to_owned());
    }
    facts.push(match entry.drivers.as_slice() {
        _ if !entry.exists => "no such directory".to_owned(),
        [] => "holds no driver library".to_owned(),
        drivers => format!("holds {}", list(drivers)),
    });
    Node::leaf(format!("{directory}: {}", facts.join("; ")))
}

fn list(names: &[Vec<u8>]) -> String {
    const MOST: usize = 8;
    let shown: Vec<String> = names.iter().take(MOST).map(|name| harmless(name)).collect();
    match names.len().checked_sub(MOST) {
        Some(more) if more > 0 => format!("{} and {more} more", shown.join(", ")),
        _ => shown.join(", "),
    }
}

/// An entry, and what becomes of it where that is something else.
fn shown_directory(entry: &[u8], directory: &[u8]) -> String {
    let without_slash = |path: &[u8]| path.strip_suffix(b"/").filter(|path| !path.is_empty()).unwrap_or(path).to_vec();
    let (entry, directory) = (without_slash(entry), without_slash(directory));
    match (entry.as_slice(), directory.as_slice()) {
        (b"", b"") => "(empty: the current directory)".to_owned(),
        (entry, directory) if entry == directory => harmless(directory),
        (entry, directory) => format!("{} = {}", harmless(entry), harmless(directory)),
    }
}

fn loader(subject: &Subject) -> Node {
    let loader = &subject.loader;
    let line = match (&loader.path, loader.built_in.version) {
        (None, _) => "loader: none could be read, usual values are assumed".to_owned(),
        (Some(path), Some((major, minor))) => format!("loader: {}, glibc {major}.{minor}", name(path)),
        (Some(path), None) => format!("loader: {}, glibc before 2.33", name(path)),
    };
    // Old loaders have some of them twice.
    let mut subdirs: Vec<String> = Vec::new();
    for subdir in subject.system.subdirs.iter().map(|subdir| harmless(subdir)) {
        if !subdirs.contains(&subdir) {
            subdirs.push(subdir);
        }
    }
    let tries_first = Node::leaf(format!("in each directory it tries first: {}", subdirs.join(" ")));
    Node { line, children: if subdirs.is_empty() { Vec::new() } else { vec![tries_first] } }
}

fn library_tree(library: &Library, subject: &Subject) -> Node {
    let soname = harmless(&library.name);
    let assumed = if library.is_assumed { " (assumed: no evidence has a whole name)" } else { "" };
    let what = match (&library.found, &library.search.ending) {
        (Some(found), _) => found_line(found, subject),
        (None, Ending::Fatal(path, why)) => format!("the search ends with an ERROR: {}: {why}", harmless(path)),
        (None, _) => "NOT FOUND".to_owned(),
    };
    let mut children: Vec<Node> = library.search.stages.iter().map(|found| stage(found, subject)).collect();
    if let Some(without) = &library.found_without_variable {
        let what = without.as_ref().map_or("NOT FOUND".to_owned(), |found| found_line(found, subject));
        children.push(Node::leaf(format!("without this environment's LD_LIBRARY_PATH: {what}")));
    }
    Node { line: format!("{soname}{assumed}: {what}"), children }
}

fn found_line(found: &Found, subject: &Subject) -> String {
    let path = harmless(&found.path);
    let real = found.real.as_deref().map_or(String::new(), |real| format!(" -> {}", name(real)));
    let by = rule(found.rule, subject);
    match found.is_stub {
        false => format!("found: {path}{real}, by {by}"),
        true => format!("finds a STUB: {path}{real}, by {by}; its functions only return errors"),
    }
}

fn rule(rule: Rule, subject: &Subject) -> String {
    let object = |index: usize| subject.chain.get(index).map(|path| name(path)).unwrap_or_default();
    match rule {
        Rule::Rpath(index) => format!("RPATH of {}", object(index)),
        Rule::LibraryPath => "LD_LIBRARY_PATH of this environment".to_owned(),
        Rule::Note => format!("the resolution note of {}", object(0)),
        Rule::Runpath => format!("RUNPATH of {}", object(0)),
        Rule::Cache => format!("the cache {}", harmless(&subject.loader.built_in.cache)),
        Rule::Default => "the default directories".to_owned(),
        Rule::Path => "its path".to_owned(),
    }
}

fn stage(stage: &Stage, subject: &Subject) -> Node {
    let mut line = rule(stage.rule, subject);
    if let Some(why) = &stage.without {
        line.push_str(&format!(": {}", harmless(why.as_bytes())));
    }
    let mut children: Vec<Node> = stage.file.iter().map(tried).collect();
    let mut has_ended = false;
    for found in &stage.directories {
        children.push(directory(found, has_ended));
        has_ended |= found.tries.iter().any(|tried| ends(&tried.outcome));
    }
    Node { line, children }
}

fn ends(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Loaded | Outcome::Fatal(_) | Outcome::Failed(_))
}

/// One directory of the search. The places in it where nothing is are not listed: the loader's line has them.
fn directory(directory: &Directory, has_ended: bool) -> Node {
    let shown = shown_directory(&directory.entry, &directory.path);
    let children: Vec<Node> =
        directory.tries.iter().filter(|tried| tried.outcome != Outcome::Missing).map(self::tried).collect();
    let line = match directory.dropped {
        Some(Dropped::Duplicate) => format!("{shown}: searched already"),
        Some(Dropped::NoValue) => format!("{}: left out, a token has no value", harmless(&directory.entry)),
        None if has_ended => format!("{shown}: not reached"),
        None if !children.is_empty() => shown,
        None if directory.is_missing => format!("{shown}: no such directory"),
        None => format!("{shown}: not in it"),
    };
    Node { line, children }
}

fn tried(tried: &Try) -> Node {
    let path = harmless(&tried.path);
    Node::leaf(match &tried.outcome {
        Outcome::Missing => format!("{path}: nothing there"),
        Outcome::Denied => format!("{path}: must not be read, as if nothing were there"),
        Outcome::Failed(why) => {
            format!("{path}: {}, the rest of this path is left out", harmless(why.as_bytes()))
        }
        Outcome::OtherClass => format!("{path}: of the other class (32-bit or 64-bit), passed over"),
        Outcome::OtherMachine => format!("{path}: for another machine, passed over"),
        Outcome::Loaded => format!("{path}: LOADED"),
        Outcome::Fatal(why) => format!("{path}: {why}, an ERROR that ends the search"),
    })
}

/// What limits the answer.
fn notes(subject: &Subject) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(why) = &subject.broken_sections {
        let why = harmless(why.as_bytes());
        notes.push(format!("its section headers cannot be used ({why}); loaders do without"));
    }
    if let Some(path) = &subject.loader.foreign {
        let path = name(path);
        notes.push(format!("the executable names the loader {path}, which is none of glibc's or cannot be read: its search can be another one"));
    }
    if !subject.libraries.is_empty() && !subject.is_chain_whole && subject.search.runpath.is_none() {
        let what = "who loads this file is not known: RPATH of the objects that do, up to the executable, would be searched, too";
        notes.push(format!("{what}; --loaded-by names them"));
    }
    let is_outside = || subject.entries.iter().any(|entry| !entry.entry.starts_with(b"/nix/store/"));
    if matches!(&subject.note, Some(Note { reader: Reader::Reads(_), .. })) && is_outside() {
        let what = "a later revision of this loader ignores the resolution note, because RUNPATH has an entry outside the Nix store";
        notes.push(format!("{what}; there RUNPATH alone decides"));
    }
    if subject.is_cut {
        notes.push(format!(
            "only the first {MOST_ENTRIES} entries of a search path and {MOST_LIBRARIES} libraries are looked at"
        ));
    }
    if subject.loader.path.is_none() {
        notes.push("the system that the file is for is another one: --sysroot names its root".to_owned());
    }
    if !matches!(subject.system.target.machine, elf::EM_X86_64 | elf::EM_386 | elf::EM_AARCH64) {
        notes.push("directories for hardware capabilities and $PLATFORM are not modelled for this machine".to_owned());
    }
    notes
}

fn draw(node: &Node, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", node.line)?;
    draw_children(&node.children, "", out)
}

/// As [`draw`], indented.
fn draw_below(node: &Node, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "  {}", node.line)?;
    draw_children(&node.children, "  ", out)
}

fn draw_children(children: &[Node], indent: &str, out: &mut impl Write) -> io::Result<()> {
    let last = children.len().saturating_sub(1);
    for (index, child) in children.iter().enumerate() {
        let (branch, below) = if index == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        writeln!(out, "{indent}{branch}{}", child.line)?;
        draw_children(&child.children, &format!("{indent}{below}"), out)?;
    }
    Ok(())
}
