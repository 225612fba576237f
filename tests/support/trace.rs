//! What the real loader says under `LD_DEBUG`, compared with what `explain` says of the same files.

use super::lab::{Ran, program, same};
use libtest_mimic::Failed;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One search of the real loader.
#[derive(Debug)]
pub struct Asked {
    /// The library.
    pub name: String,
    /// Who asks for it.
    pub by: String,
    /// The files tried, in order.
    pub tried: Vec<String>,
    /// The last one of them, if it was loaded.
    pub found: Option<String>,
}

/// How a program is run, and explained.
#[derive(Debug, Default)]
pub struct Setting {
    /// `LD_LIBRARY_PATH`.
    pub library_path: Option<String>,
    /// The current directory.
    pub current_dir: Option<PathBuf>,
    /// The root that it runs in.
    pub root: Option<PathBuf>,
}

impl Setting {
    fn apply<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.envs(self.library_path.iter().map(|path| ("LD_LIBRARY_PATH", path)));
        if let Some(dir) = &self.current_dir {
            command.current_dir(dir);
        }
        command
    }

    /// Runs `path` and takes down the searches of its loader.
    pub fn trace(&self, path: &Path) -> Result<Vec<Asked>, Failed> {
        let mut command = match &self.root {
            None => program(path),
            Some(root) => {
                let mut command = program(Path::new("chroot"));
                command.arg(root).arg(path);
                command
            }
        };
        // Under chroot(1) its own searches come first.
        command.env("LD_DEBUG", "files,libs");
        let output = self.apply(&mut command).output()?;
        let all = searches(&String::from_utf8_lossy(&output.stderr));
        let own = path.to_string_lossy();
        let start = all.iter().position(|asked| asked.by == own).unwrap_or(0);
        Ok(all.into_iter().skip(start).collect())
    }

    /// What `explain` says of the search for `name` by `chain`, as JSON.
    pub fn explain(&self, chain: &[String], name: &str) -> Result<Value, Failed> {
        let (file, loaded_by) = chain.split_first().ok_or("nobody asks")?;
        let mut command = program(Path::new(env!("CARGO_BIN_EXE_driver-runpath")));
        command.args(["explain", "--json", "--driver-lib", name, file]);
        command.args(loaded_by.iter().flat_map(|path| ["--loaded-by", path]));
        if let Some(root) = &self.root {
            command.arg("--sysroot").arg(root);
        }
        let ran = Ran::new(self.apply(&mut command).output()?).expect(0)?;
        let document: Value = serde_json::from_str(&ran.out)?;
        let libraries = document["libraries"].as_array().ok_or("no libraries")?;
        let found = libraries.iter().find(|library| library["name"]["text"] == *name);
        Ok(found.ok_or_else(|| format!("no search for {name}: {document:#}"))?.clone())
    }

    /// Runs `path`, and fails unless `explain` has the same files in the same order for every search of its loader.
    /// Gives back the searches.
    pub fn compare(&self, path: &Path) -> Result<Vec<Asked>, Failed> {
        let searches = self.trace(path)?;
        // Who loaded whom, up to the program.
        let mut chains: HashMap<String, Vec<String>> = HashMap::new();
        let own = path.to_string_lossy().into_owned();
        chains.insert(own.clone(), vec![own]);
        let mut looked_at: HashSet<String> = HashSet::new();
        for asked in &searches {
            let chain = chains.get(&asked.by).ok_or_else(|| format!("{} was not seen loaded", asked.by))?.clone();
            let library = self.explain(&chain, &asked.name)?;
            let tried: Vec<String> = tried(&library);
            // A loader that has searched before passes over the directories that it found missing.
            let known = |file: &&String| !(looked_at.contains(directory(file)) && self.is_missing(directory(file)));
            let expected: Vec<&String> = tried.iter().filter(known).collect();
            let what = format!("{} asks for {}", asked.by, asked.name);
            same_files(&expected, &asked.tried, &what)?;
            let found = library["found"]["path"]["text"].as_str();
            same(found, asked.found.as_deref(), &format!("{}: found", asked.name))?;
            looked_at.extend(asked.tried.iter().map(|file| directory(file).to_owned()));
            if let Some(found) = &asked.found {
                chains.insert(found.clone(), [vec![found.clone()], chain].concat());
            }
        }
        Ok(searches)
    }

    /// Links are absolute below the root.
    fn is_missing(&self, directory: &str) -> bool {
        let Some(rest) = directory.strip_prefix('/') else { return false };
        let Some(root) = &self.root else { return !Path::new(directory).is_dir() };
        let link = root.join(rest).read_link();
        let target = link.as_deref().ok().and_then(|target| target.strip_prefix("/").ok());
        !root.join(target.unwrap_or(Path::new(rest))).is_dir()
    }
}

/// Fails with the first difference.
fn same_files(explained: &[&String], real: &[String], what: &str) -> Result<(), Failed> {
    for index in 0..explained.len().max(real.len()) {
        let (explained, real) = (explained.get(index).copied(), real.get(index));
        same(explained, real, &format!("{what}: file {index} explained, and tried by ld.so"))?;
    }
    Ok(())
}

/// All files that an explained search tries.
pub fn tried(library: &Value) -> Vec<String> {
    let stages = library["search"].as_array().into_iter().flatten();
    let files = stages.flat_map(|stage| stage["tried"].as_array().into_iter().flatten());
    files.filter_map(|file| Some(file["path"]["text"].as_str()?.to_owned())).collect()
}

fn directory(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Reads the lines of `LD_DEBUG=files,libs` (glibc, elf/dl-load.c).
fn searches(text: &str) -> Vec<Asked> {
    let mut searches: Vec<Asked> = Vec::new();
    let mut asks: Option<(String, String)> = None;
    let mut is_open = false;
    for line in text.lines().filter_map(|line| Some(line.split_once('\t')?.1)) {
        let by = ["needed by ", "dynamically loaded by "];
        if let Some((name, rest)) = line.strip_prefix("file=").and_then(|rest| rest.split_once(" [0];  ")) {
            if let Some(by) = by.iter().find_map(|word| rest.strip_prefix(word)?.strip_suffix(" [0]")) {
                asks = Some((name.to_owned(), by.to_owned()));
            } else if rest == "generating link map" {
                // The program itself, too, where ld.so starts it.
                if let Some(last) = searches.last_mut().filter(|last| last.name == name) {
                    last.found = last.tried.last().cloned();
                }
            }
        } else if let Some(name) = line.strip_prefix("find library=").and_then(|rest| rest.split_once(" [")) {
            let by = asks.take().filter(|(asked, _)| asked == name.0).map(|(_, by)| by);
            let by = by.unwrap_or_default();
            searches.push(Asked { name: name.0.to_owned(), by, tried: Vec::new(), found: None });
            is_open = true;
        } else if let Some(file) = line.trim_start().strip_prefix("trying file=").filter(|_| is_open) {
            searches.last_mut().iter_mut().for_each(|last| last.tried.push(file.to_owned()));
        } else if line.is_empty() {
            is_open = false;
        }
    }
    searches
}
