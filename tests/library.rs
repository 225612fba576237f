//! Ways to lose data through the calls that are documented: none of them may be left. What the compiler refuses is in the
//! documentation, as examples that do not compile.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use driver_runpath::Error;
use driver_runpath::apply::Durability;
use driver_runpath::decide::{PathOperation, Tag};
use driver_runpath::edit::{Editor, HardLinks, OpenOptions, Protection, Target};
use driver_runpath::elf::Image;
use driver_runpath::fix;
use driver_runpath::fixtures::{Entry, Profile, Spec, Target as Machine};
use driver_runpath::journal::Undo;
use driver_runpath::plan::{Change, plan};
use driver_runpath::verify::{Verified, verify};
use rustix::fs::FlockOperation;
use tempfile::TempDir;

const NEW: &str = "/run/opengl-driver/lib";

fn prebuilt(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/prebuilt").join(name)
}

/// A directory with a library in it, and that library's bytes.
fn library() -> (TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("libopens.so");
    fs::copy(prebuilt("x86_64/libopens.so"), &path).expect("a copy");
    let bytes = fs::read(&path).expect("a file");
    (dir, path, bytes)
}

fn verified(bytes: &[u8]) -> Verified<'_> {
    let image = Image::parse(bytes).expect("a library");
    verify(plan(&image, &Change::new(Tag::Runpath, NEW)).expect("a plan")).expect("it verifies")
}

fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).expect("it can be opened")
}

fn editor(path: &Path) -> Editor {
    Editor::open(path, &OpenOptions::default()).expect("it can be opened").expect("an ELF file")
}

/// The file as a killed run leaves it, in the middle of its edits.
fn interrupted(bytes: &[u8]) -> Vec<u8> {
    let image = Image::parse(bytes).expect("a library");
    let plan = plan(&image, &Change::new(Tag::Runpath, "/somewhere/else")).expect("a plan");
    let undo = Undo::of_bytes(bytes, &plan, Durability::Process).expect("edits in the file");
    let mut half = plan.replay(plan.edits.len() / 2).expect("edits in the file");
    half.resize(Undo::place(plan.new_len).expect("a place") as usize, 0);
    half.extend(undo.encode());
    half
}

fn search_path(path: &Path) -> Option<String> {
    let bytes = fs::read(path).expect("a file");
    let elf = goblin::elf::Elf::parse(&bytes).expect("an ELF file");
    elf.runpaths.first().map(|path| (*path).to_owned())
}

#[test]
fn a_plan_for_another_file_writes_nothing() {
    let (_dir, path, bytes) = library();
    let other = fs::read(prebuilt("x86_64/libneeds.so")).expect("a file");
    let refused = verified(&other).apply(&open(&path), Durability::Process);
    assert!(matches!(refused, Err(Error::Changed)), "{refused:?}");
    assert_eq!(fs::read(&path).expect("a file"), bytes);
}

#[test]
fn a_file_that_has_grown_or_changed_since_it_was_planned_is_left_alone() {
    let (_dir, path, bytes) = library();
    let mut one_byte = bytes.clone();
    *one_byte.last_mut().expect("a byte") ^= 1;
    for now in [[&bytes[..], b"payload"].concat(), bytes[..bytes.len() - 1].to_vec(), one_byte] {
        fs::write(&path, &now).expect("it can be written");
        let refused = verified(&bytes).apply(&open(&path), Durability::Process);
        assert!(matches!(refused, Err(Error::Changed)), "{refused:?}");
        assert_eq!(fs::read(&path).expect("a file"), now);
    }
}

#[test]
fn a_file_that_changes_while_an_editor_has_it_is_left_alone() {
    let (_dir, path, bytes) = library();
    let editor = editor(&path);
    let grown = [&bytes[..], b"payload"].concat();
    fs::write(&path, &grown).expect("it can be written");
    let refused = editor.commit(&[Change::new(Tag::Runpath, NEW)], Target::Itself);
    assert!(matches!(refused, Err(Error::Changed)), "{refused:?}");
    assert_eq!(fs::read(&path).expect("a file"), grown);
}

#[test]
fn a_descriptor_that_appends_or_only_reads_is_refused() {
    let (_dir, path, bytes) = library();
    for file in [File::options().read(true).append(true).open(&path), File::open(&path)] {
        let refused = verified(&bytes).apply(&file.expect("it can be opened"), Durability::Process);
        assert!(matches!(refused, Err(Error::Unwritten { .. })), "{refused:?}");
        assert_eq!(fs::read(&path).expect("a file"), bytes);
    }
}

#[test]
fn an_interrupted_edit_is_no_file_to_plan_for_and_an_editor_takes_it_back() {
    let (_dir, path, bytes) = library();
    let half = interrupted(&bytes);
    fs::write(&path, &half).expect("it can be written");
    if let Ok(plan) = plan(&Image::parse(&half).expect("it loads"), &Change::new(Tag::Runpath, NEW)) {
        let refused = verify(plan).and_then(|verified| verified.apply(&open(&path), Durability::Process));
        assert!(matches!(refused, Err(Error::Interrupted)), "{refused:?}");
    }
    assert_eq!(fs::read(&path).expect("a file"), half);

    let taking = editor(&path);
    assert!(taking.is_interrupted() && taking.bytes() == bytes);
    assert!(taking.preview(&[]).expect("a preview").taken_back);
    assert!(taking.commit(&[], Target::Itself).expect("it can be taken back").taken_back);
    assert_eq!(fs::read(&path).expect("a file"), bytes);

    fs::write(&path, &half).expect("it can be written");
    editor(&path).commit(&[Change::new(Tag::Runpath, NEW)], Target::Itself).expect("it can be edited");
    assert_eq!(fs::read(&path).expect("a file"), verified(&bytes).into_bytes());
}

#[test]
fn a_file_with_names_elsewhere_is_refused_or_gets_a_copy_of_its_own() {
    let (dir, path, bytes) = library();
    let cache = dir.path().join("cache");
    fs::hard_link(&path, &cache).expect("a link");
    let change = [Change::new(Tag::Runpath, NEW)];
    let refused = verified(&bytes).apply(&open(&path), Durability::Process);
    assert!(matches!(refused, Err(Error::Linked(1))), "{refused:?}");
    let refused = editor(&path).preview(&change);
    assert!(matches!(refused, Err(Error::Linked(1))), "{refused:?}");
    let refused = editor(&path).commit(&change, Target::Itself);
    assert!(matches!(refused, Err(Error::Linked(1))), "{refused:?}");
    // Nor is there a way around it: the file itself as an output.
    let refused = editor(&path).commit(&change, Target::Output(&cache));
    assert!(matches!(refused, Err(Error::Linked(1))), "{refused:?}");
    assert_eq!(fs::read(&path).expect("a file"), bytes);

    let mut options = OpenOptions::default();
    options.protection = Protection::default().with_links(HardLinks::Break);
    let editor = Editor::open(&path, &options).expect("it can be opened").expect("an ELF file");
    assert!(editor.commit(&change, Target::Itself).expect("a copy").link_broken);
    assert_eq!((search_path(&path).as_deref(), search_path(&cache)), (Some(NEW), None));

    let mut options = OpenOptions::default();
    options.protection = Protection::none();
    let editor = Editor::open(&cache, &options).expect("it can be opened").expect("an ELF file");
    assert!(!editor.commit(&change, Target::Itself).expect("an edit").link_broken);
    assert_eq!(search_path(&cache).as_deref(), Some(NEW));
}

#[test]
fn a_file_in_the_store_is_refused() {
    let (dir, path, bytes) = library();
    let mut options = OpenOptions::default();
    options.protection.store = Some(dir.path().canonicalize().expect("a directory"));
    let editor = Editor::open(&path, &options).expect("it can be opened").expect("an ELF file");
    let refused = editor.commit(&[Change::new(Tag::Runpath, NEW)], Target::Itself);
    assert!(matches!(refused, Err(Error::InStore)), "{refused:?}");
    assert_eq!(fs::read(&path).expect("a file"), bytes);
}

#[test]
fn a_file_that_another_process_edits_is_waited_for_and_not_for_ever() {
    let (_dir, path, bytes) = library();
    let _first = editor(&path);
    let mut options = OpenOptions::default();
    options.patience = Duration::from_millis(50);
    let start = Instant::now();
    let refused = Editor::open(&path, &options);
    assert!(matches!(&refused, Err(Error::Locked(holder)) if holder.may_write), "{refused:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(fs::read(&path).expect("a file"), bytes);
}

#[test]
fn a_file_whose_name_has_gone_to_another_one_is_not_edited_where_nobody_finds_it() {
    let (dir, path, bytes) = library();
    let kept = dir.path().join("kept");
    let change = [Change::new(Tag::Runpath, NEW)];
    let moved = editor(&path);
    fs::rename(&path, &kept).expect("another name");
    fs::write(&path, "another file").expect("a file");
    let refused = moved.preview(&change);
    assert!(matches!(refused, Err(Error::Changed)), "{refused:?}");
    let refused = moved.commit(&change, Target::Itself);
    assert!(matches!(refused, Err(Error::Changed)), "{refused:?}");
    assert_eq!(fs::read(&kept).expect("a file"), bytes);
    assert_eq!(fs::read(&path).expect("a file"), b"another file");

    let gone = editor(&kept);
    fs::remove_file(&kept).expect("it can be removed");
    let output = dir.path().join("output.so");
    gone.commit(&change, Target::Output(&output)).expect("what was opened is still there");
    assert_eq!(search_path(&output).as_deref(), Some(NEW));
}

/// Without `outlive_truncation`: a look at the bytes that are gone would end this process.
#[test]
fn a_file_that_was_cut_off_before_the_commit_is_left_alone() {
    let (dir, path, bytes) = library();
    let change = [Change::new(Tag::Runpath, NEW)];
    for target in [Target::Itself, Target::Output(&dir.path().join("output.so"))] {
        fs::write(&path, &bytes).expect("it can be written");
        let cut = editor(&path);
        open(&path).set_len(64).expect("it can be cut off");
        let refused = cut.propose(&PathOperation::driver(NEW), None);
        assert!(matches!(refused, Err(Error::Changed)), "{refused:?}");
        let refused = cut.preview(&change);
        assert!(matches!(refused, Err(Error::Changed)), "{refused:?}");
        let refused = cut.commit(&change, target);
        assert!(matches!(refused, Err(Error::Changed)), "{refused:?}");
        assert_eq!(fs::read(&path).expect("a file"), bytes[..64]);
    }
    assert!(!dir.path().join("output.so").exists());
}

#[test]
fn editors_of_one_file_in_several_threads_wait_for_each_other() {
    let (_dir, path, _) = library();
    std::thread::scope(|scope| {
        for number in 0..6 {
            let path = &path;
            scope.spawn(move || {
                let editor = editor(path);
                let append = PathOperation::Append(format!("/opt/{number}").into_bytes());
                let changes = editor.propose(&append, None).expect("a proposal").changes;
                editor.commit(&changes, Target::Itself).expect("an edit");
            });
        }
    });
    let found = search_path(&path).expect("a search path");
    let mut found: Vec<&str> = found.split(':').collect();
    found.sort_unstable();
    assert_eq!(found, ["/opt/0", "/opt/1", "/opt/2", "/opt/3", "/opt/4", "/opt/5"]);
}

fn impatient() -> OpenOptions {
    let mut options = OpenOptions::default();
    options.patience = Duration::from_millis(50);
    options
}

#[test]
fn a_panic_of_the_user_leaves_the_file_free_and_as_it_was() {
    let (_dir, path, bytes) = library();
    let user = std::thread::spawn({
        let path = path.clone();
        move || {
            let _editor = editor(&path);
            std::panic::resume_unwind(Box::new("the user's"));
        }
    });
    assert!(user.join().is_err());
    Editor::open(&path, &impatient()).expect("it is free");
    assert_eq!(fs::read(&path).expect("a file"), bytes);
}

#[test]
fn after_an_edit_through_a_descriptor_the_file_is_free_unless_the_user_had_locked_it() {
    let (_dir, path, bytes) = library();
    let file = open(&path);
    verified(&bytes).apply(&file, Durability::Process).expect("an edit");
    Editor::open(&path, &impatient()).expect("it is free").expect("an ELF file");

    for how in [FlockOperation::LockShared, FlockOperation::LockExclusive] {
        fs::write(&path, &bytes).expect("it can be written");
        let file = open(&path);
        rustix::fs::flock(&file, how).expect("a lock");
        verified(&bytes).apply(&file, Durability::Process).expect("an edit");
        let refused = Editor::open(&path, &impatient());
        assert!(matches!(refused, Err(Error::Locked(_))), "{how:?}: {refused:?}");
        drop(file);
        Editor::open(&path, &impatient()).expect("it is free").expect("an ELF file");
    }
}

#[test]
fn mode_bits_come_back_and_a_file_that_others_could_gain_from_is_refused() {
    let (_dir, path, bytes) = library();
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    let change = [Change::new(Tag::Runpath, NEW)];
    mode(0o4775);
    let refused = verified(&bytes).apply(&open(&path), Durability::Process);
    assert!(matches!(refused, Err(Error::Privileged)), "{refused:?}");
    let refused = editor(&path).commit(&change, Target::Itself);
    assert!(matches!(refused, Err(Error::Privileged)), "{refused:?}");
    assert_eq!(fs::read(&path).expect("a file"), bytes);
    mode(0o4555);
    editor(&path).commit(&change, Target::Itself).expect("an edit");
    assert_eq!(fs::metadata(&path).expect("a file").mode() & 0o7777, 0o4555);
    fs::write(path.with_extension("again"), &bytes).expect("a file");
    let again = path.with_extension("again");
    fs::set_permissions(&again, fs::Permissions::from_mode(0o4755)).expect("a mode");
    verified(&bytes).apply(&open(&again), Durability::Process).expect("an edit");
    assert_eq!(fs::metadata(&again).expect("a file").mode() & 0o7777, 0o4755);
}

#[test]
fn of_two_changes_none_is_made_where_one_is_impossible() {
    let (_dir, path, bytes) = library();
    // The second one drops a tag that is not there then.
    let changes = [Change::new(Tag::Runpath, NEW), Change::without(Tag::Rpath)];
    let refused = editor(&path).commit(&changes, Target::Itself);
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    assert_eq!(fs::read(&path).expect("a file"), bytes);
    // And a second one that the first makes possible is no error.
    let changes = [Change::new(Tag::Runpath, NEW), Change::without(Tag::Runpath)];
    editor(&path).commit(&changes, Target::Itself).expect("both");
    assert_eq!(search_path(&path), None);
}

#[test]
fn what_must_not_have_a_search_path_gets_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
    if !loader.exists() {
        return;
    }
    let path = dir.path().join("loader");
    fs::copy(loader, &path).expect("a copy");
    let bytes = fs::read(&path).expect("a file");
    let refused = editor(&path).commit(&[Change::new(Tag::Runpath, NEW)], Target::Itself);
    assert!(matches!(refused, Err(Error::NotCandidate(_))), "{refused:?}");
    assert_eq!(fs::read(&path).expect("a file"), bytes);
}

#[test]
fn an_operation_is_previewed_as_it_is_done_and_leaves_a_right_file_alone() {
    let (dir, path, bytes) = library();
    assert!(Editor::open(dir.path().join("none"), &OpenOptions::default()).is_err());
    let text = dir.path().join("text");
    fs::write(&text, "no ELF file").expect("a file");
    assert!(Editor::open(&text, &OpenOptions::default()).expect("it can be opened").is_none());

    let first = editor(&path);
    let append = PathOperation::Append(b"$ORIGIN/../lib".to_vec());
    let proposal = first.propose(&append, None).expect("a proposal");
    let output = dir.path().join("output.so");
    let would = first.preview(&proposal.changes).expect("a preview");
    assert_eq!(fs::read(&path).expect("a file"), bytes, "a preview writes nothing");
    assert_eq!(first.commit(&proposal.changes, Target::Output(&output)).expect("an output"), would);
    assert_eq!(fs::read(&path).expect("a file"), bytes, "an output leaves the file as it is");
    assert_eq!(search_path(&output).as_deref(), Some("$ORIGIN/../lib"));

    let again = editor(&output);
    let before = fs::metadata(&output).expect("a file");
    let proposal = again.propose(&append, None).expect("a proposal");
    assert!(proposal.changes.is_empty());
    assert_eq!(again.commit(&proposal.changes, Target::Itself).expect("nothing to do").edited, None);
    let after = fs::metadata(&output).expect("a file");
    assert_eq!((after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
}

/// A program with a `DT_RPATH`, a library that it needs, and one that this library needs and finds by that path alone.
fn program_with_heirs(host: Machine, dir: &Path) -> (PathBuf, PathBuf) {
    let inner = dir.join("inner");
    fs::create_dir(&inner).expect("a directory");
    let place = |name: &str, spec: Spec| {
        let path = dir.join(name);
        fs::write(&path, spec.build().expect("a file")).expect("it can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        path
    };
    let library = |soname: &str| {
        Spec::generate(Profile::Loadable, host, &[]).with(|spec| {
            spec.dynamic.retain(|entry| !matches!(entry, Entry::SoName(_)));
            spec.dynamic.push(Entry::SoName(soname.into()));
        })
    };
    place("inner/libinner.so", library("libinner.so"));
    let middle = library("libmiddle.so").with(|spec| spec.dynamic.push(Entry::Needed("libinner.so".into())));
    let program = Spec::generate(Profile::Runnable, host, &[7]).with(|spec| {
        spec.dynamic.push(Entry::Needed("libmiddle.so".into()));
        spec.dynamic.push(Entry::RPath(format!("{}:{}", dir.display(), inner.display()).as_str().into()));
    });
    (place("program", program), place("libmiddle.so", middle))
}

#[test]
fn a_library_keeps_the_search_path_that_it_inherits_where_the_editor_is_told_or_sees_the_tree() {
    let Some(host) = Machine::HOST else { return };
    let status = |program: &Path| {
        let mut command = std::process::Command::new(program);
        command.env_remove("LD_LIBRARY_PATH").stderr(std::process::Stdio::null()).status().expect("it starts").code()
    };
    let driver = PathOperation::driver(NEW);
    for (force, starts) in [(None, false), (Some(Tag::Rpath), true)] {
        let dir = tempfile::tempdir().expect("a directory");
        let (program, library) = program_with_heirs(host, dir.path());
        assert_eq!(status(&program), Some(7), "before");
        let editor = editor(&library);
        let changes = editor.propose(&driver, force).expect("a proposal").changes;
        editor.commit(&changes, Target::Itself).expect("an edit");
        assert_eq!(status(&program) == Some(7), starts, "after an edit with {force:?}");
    }

    let dir = tempfile::tempdir().expect("a directory");
    let (program, library) = program_with_heirs(host, dir.path());
    let mut options = fix::Options::default();
    options.all = true;
    fix::fix(&[dir.path().to_owned()], &options);
    assert_eq!(status(&program), Some(7), "after fix on the tree");
    let bytes = fs::read(&library).expect("a file");
    let found = Image::parse(&bytes).expect("a library").search_path().map(|(tag, path)| (tag, path.to_vec()));
    assert_eq!(found, Some((Tag::Rpath, NEW.into())));
}
