//! The manual pages: what the command line's definition says, and the sections that it does not have.

use std::fs;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

/// Variables, and the commands that ask them; none: all of them do.
const VARIABLES: [(&str, &[&str], &str); 6] = [
    (
        "NIX_BUILD_TOP",
        &["fix", "check", "runpath"],
        "Says that this is a build, which may change files in the Nix store: its outputs.",
    ),
    ("NIX_STORE_DIR", &["fix", "check", "runpath"], "Where the Nix store is, if not in /nix/store."),
    (
        "RAYON_NUM_THREADS",
        &["fix", "check", "runpath"],
        "How many threads are used; as many as there are processors without it.",
    ),
    ("LD_LIBRARY_PATH", &["explain"], "Is searched, as the loader does, unless there is a --sysroot."),
    ("PATCHELF_DEBUG", &["patchelf"], "As --debug."),
    (
        "NO_COLOR, CLICOLOR, CLICOLOR_FORCE, TERM",
        &["fix", "check"],
        "Whether the report is coloured under --color auto.",
    ),
];

/// Files, likewise.
const FILES: [(&str, &[&str], &str); 4] = [
    (
        "/run/opengl-driver/lib",
        &["fix", "check", "explain"],
        "The libraries of the running driver, on NixOS. --driver-link chooses another place.",
    ),
    ("/run/opengl-driver-32/lib", &["fix", "check", "explain"], "Those for 32-bit x86."),
    (
        "/etc/ld.so.cache",
        &["explain", "check"],
        "What the loader knows of the default directories, if it has no other name built in.",
    ),
    ("/nix/store", &["fix", "check", "runpath"], "Files in it are not changed outside a build."),
];

/// Writes a page for the command and each of its subcommands; their file names.
pub fn write(command: &Command, name: &str, dir: &Path) -> Vec<String> {
    let file = format!("{name}.1");
    fs::write(dir.join(&file), page(command, name)).expect("a page is written");
    let mut files = vec![file];
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        files.extend(write(subcommand, &format!("{name}-{}", subcommand.get_name()), dir));
    }
    files
}

fn page(command: &Command, name: &str) -> String {
    let words: Vec<&str> = name.split('-').skip(2).collect();
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let long = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    // Without the sections that are set otherwise here.
    let (about, status) = match long.split_once("Exit status: ") {
        Some((about, status)) => (about.trim_end().to_owned(), Some(status.to_owned())),
        None => (long, None),
    };
    let list = commands(&subcommands(command, name));
    let command = command.clone().after_help("").long_about(about).disable_help_subcommand(true);
    let man = Man::new(command).title(name).manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page).expect("a title");
    man.render_name_section(&mut page).expect("a name");
    man.render_synopsis_section(&mut page).expect("a synopsis");
    man.render_description_section(&mut page).expect("a description");
    man.render_options_section(&mut page).expect("options");
    let mut page = String::from_utf8(page).expect("UTF-8");
    page.push_str(&list);
    let mut status = status;
    for paragraph in after.split("\n\n") {
        match paragraph.split_once('\n') {
            Some((head, lines)) if head.ends_with(':') && lines.starts_with("  ") => {
                page.push_str(&format!("{}.EX\n{}\n.EE\n", section(head.trim_end_matches(':')), escaped(lines)));
            }
            _ => match paragraph.strip_prefix("Exit status: ") {
                Some(text) => status = Some(text.to_owned()),
                None => page.push_str(&format!(".PP\n{}\n", escaped(&paragraph.replace('\n', " ")))),
            },
        }
    }
    if let Some(status) = status {
        page.push_str(&format!("{}{}\n", section("Exit status"), escaped(&status.replace('\n', " "))));
    }
    page.push_str(&entries("Environment", &VARIABLES, &words));
    page.push_str(&entries("Files", &FILES, &words));
    page.push_str(&see_also(name));
    page
}

fn subcommands(command: &Command, name: &str) -> Vec<(String, String)> {
    let subcommands = command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help");
    let line = |subcommand: &Command| {
        let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
        (format!("{name}-{}(1)", subcommand.get_name()), about)
    };
    subcommands.map(line).collect()
}

fn commands(list: &[(String, String)]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let line = |(name, about): &(String, String)| format!(".TP\n{}\n{}\n", escaped(name), escaped(about));
    format!("{}{}", section("Subcommands"), list.iter().map(line).collect::<String>())
}

fn entries(title: &str, list: &[(&str, &[&str], &str)], words: &[&str]) -> String {
    let is_wanted = |commands: &[&str]| words.first().is_none_or(|word| commands.contains(word));
    let wanted: Vec<_> = list.iter().filter(|(_, commands, _)| is_wanted(commands)).collect();
    if wanted.is_empty() {
        return String::new();
    }
    let line = |(name, _, text): &&(&str, &[&str], &str)| format!(".TP\n{}\n{}\n", escaped(name), escaped(text));
    format!("{}{}", section(title), wanted.iter().map(line).collect::<String>())
}

fn see_also(name: &str) -> String {
    let others = ["driver-runpath(1)", "ld.so(8)", "dlopen(3)", "patchelf(1)", "readelf(1)"];
    let others = others.into_iter().filter(|other| *other != format!("{name}(1)"));
    format!("{}{}\n", section("See also"), escaped(&others.collect::<Vec<_>>().join(", ")))
}

fn section(title: &str) -> String {
    format!(".SH \"{}\"\n", title.to_uppercase())
}

/// Text as roff takes it (groff_man_style(7)).
fn escaped(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    // A line that starts with a dot would be a request.
    escaped
        .lines()
        .map(|line| if line.starts_with('.') { format!("\\&{line}") } else { line.to_owned() })
        .collect::<Vec<_>>()
        .join("\n")
}
