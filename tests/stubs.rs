//! Directories of link-time stubs in files that do not load the driver: `fix --drop-stubs` takes them out, and no program
//! loses a library by it, says the real loader; `check --no-stubs` finds what is left of them.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use libtest_mimic::{Arguments, Failed, Trial};
use support::lab::{DRIVER, Lab, Ran, contains, driver_runpath, program, same, stat, succeed};
use support::referee::{Expect, judge};
use support::tools::trial;

type Done = Result<(), Failed>;

/// A package of stubs as nixpkgs names them.
const PACKAGE: &str = "0123456789abcdfghijklmnpqrsvwxyz-cuda13.0-cuda_cudart-13.0.48-stubs";

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("a_file_that_does_not_load_the_driver_loses_its_stubs", plain_library),
        Trial::test("a_search_path_of_nothing_but_stubs_goes", nothing_left),
        Trial::test("a_file_without_stubs_is_not_touched", untouched),
        Trial::test("a_dry_run_says_what_would_be_dropped", dry_run),
        Trial::test("a_file_that_must_not_be_edited_keeps_its_stubs_and_is_named", refused),
        Trial::test("check_notes_stubs_and_forbids_them_when_asked", checked),
        Trial::test("a_reference_to_a_package_of_stubs_is_found_in_files_of_any_kind", references),
        Trial::test("check_can_say_nothing_of_files_that_are_right", failing_alone),
        Trial::test("the_json_document_has_stubs_and_references", json),
    ];
    trials.push(trial("a_program_keeps_the_stub_directory_that_it_needs_a_library_from", &["cc"], needed));
    trials.push(trial("what_inherits_a_search_path_keeps_the_stub_directory_that_it_needs", &["cc"], heirs));
    trials.push(trial("a_resolution_note_follows_the_search_path", &["cc"], note));
    trials.push(trial("a_stub_directory_of_another_name_is_no_stub_directory", &["cc"], not_by_accident));
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(line: &str, path: &Path) -> Ran {
    let path = path.to_str().expect("a temporary directory has a plain name");
    driver_runpath(line.split(' ').map(|word| if word == "PATH" { path } else { word }))
}

fn search_path(file: &Path) -> Result<String, Failed> {
    Ok(run("runpath print PATH", file).expect(0)?.out.trim_end().to_owned())
}

/// A library that does not load the driver, with this search path.
fn plain(lab: &Lab, path: &str) -> Result<std::path::PathBuf, Failed> {
    let file = lab.fixture("x86_64/libplain.so", "lib/libplain.so")?;
    run(&format!("runpath set {path} PATH"), &file).expect(0)?;
    Ok(file)
}

fn holds(file: &Path, text: &str) -> Result<bool, Failed> {
    Ok(memchr::memmem::find(&fs::read(file)?, text.as_bytes()).is_some())
}

fn plain_library() -> Done {
    let lab = Lab::new()?;
    let file = plain(&lab, &format!("/nix/store/{PACKAGE}/lib/stubs:/one:/cuda/lib64/stubs:/two:/one"))?;
    run("runpath set --force-rpath /x PATH", &lab.fixture("x86_64/libopens.so", "lib/libopens.so")?).expect(0)?;
    let before = fs::read(&file)?;
    run("fix PATH", lab.root()).expect(0)?;
    same(fs::read(&file)? == before, true, "without the option the file stays")?;

    let ran = run("fix --drop-stubs PATH", lab.root()).expect(0)?;
    contains(&ran.out, "libplain.so: does not load the driver; RUNPATH ")?;
    contains(&ran.out, "-> RUNPATH /one:/two")?;
    contains(&ran.out, "1 loads the driver: 0 changed, 1 other file lost directories of stubs, 1 already right")?;
    same(holds(&file, PACKAGE)?, false, "the string is in the file")?;
    let objections = judge(&before, &fs::read(&file)?, &Expect { tag: None, search_path: Some(b"/one:/two") });
    same(objections.len(), 0, &format!("{objections:#?}"))?;

    let after = stat(&file)?;
    contains(&run("fix --drop-stubs PATH", lab.root()).expect(0)?.out, "0 changed, 1 already right")?;
    same(stat(&file)?, after, "a second run")
}

fn nothing_left() -> Done {
    let lab = Lab::new()?;
    for force in ["--force-runpath", "--force-rpath"] {
        let file = lab.fixture("x86_64/libplain.so", "lib/libplain.so")?;
        run(&format!("runpath set {force} /cuda/lib/stubs:/cuda/lib64/stubs PATH"), &file).expect(0)?;
        let before = fs::read(&file)?;
        let ran = run("fix --drop-stubs PATH", &file).expect(0)?;
        contains(&ran.out, "-> no search path")?;
        same(search_path(&file)?.as_str(), "", force)?;
        same(holds(&file, "/stubs")?, false, "the string is in the file")?;
        let objections = judge(&before, &fs::read(&file)?, &Expect { tag: None, search_path: None });
        same(objections.len(), 0, &format!("{objections:#?}"))?;
    }
    Ok(())
}

fn untouched() -> Done {
    let lab = Lab::new()?;
    // No directory of stubs, and whatever else is odd about the path is its owner's affair.
    let file = lab.fixture("x86_64/libplain.so", "lib/libplain.so")?;
    run("patchelf --set-rpath /a::/a:/stubs:/x/lib/stubs2 PATH", &file).expect(0)?;
    let before = (fs::read(&file)?, stat(&file)?);
    contains(&run("fix --drop-stubs PATH", lab.root()).expect(0)?.out, "0 load the driver: 0 changed, 0 already")?;
    same((fs::read(&file)?, stat(&file)?) == before, true, "the file stays")
}

fn dry_run() -> Done {
    let lab = Lab::new()?;
    let file = plain(&lab, "/cuda/lib/stubs:/one")?;
    let before = fs::read(&file)?;
    let ran = run("fix -n --drop-stubs PATH", &file).expect(0)?;
    contains(&ran.out, "would change: ")?;
    contains(&ran.out, "1 other file would lose directories of stubs")?;
    same(fs::read(&file)? == before, true, "the file stays")
}

fn refused() -> Done {
    let lab = Lab::new()?;
    let file = plain(&lab, "/cuda/lib/stubs:/one")?;
    fs::hard_link(&file, lab.path("elsewhere.so"))?;
    let ran = run("fix --drop-stubs PATH", &file).expect(1)?;
    contains(&ran.err, "libplain.so: ")?;
    contains(&ran.err, "--break-links")?;
    same(search_path(&file)?.as_str(), "/cuda/lib/stubs:/one", "search path")?;
    run("fix --drop-stubs --break-links PATH", &file).expect(0)?;
    same(search_path(&file)?.as_str(), "/one", "search path")
}

/// The loader is the judge: the program starts before and afterwards.
fn needed() -> Done {
    let lab = Lab::new()?;
    lab.cc("lib/stubs/libplain.so", &["plain.c"], &["-shared", "-fPIC", "-Wl,-soname,libplain.so"])?;
    fs::create_dir_all(lab.path("other/lib/stubs"))?;
    fs::write(lab.path("main.c"), "int plain(void); int main(void) { plain(); return 0; }")?;
    let paths = "$ORIGIN/other/lib/stubs:$ORIGIN/lib/stubs";
    for tag in ["--enable-new-dtags", "--disable-new-dtags"] {
        let flags = ["main.c", "-Llib/stubs", "-Wl,--no-as-needed", "-lplain", &format!("-Wl,{tag},-rpath,{paths}")];
        let path = lab.cc("program", &[], &flags)?;
        succeed(&mut program(&path))?;
        run("fix --drop-stubs PATH", lab.root()).expect(0)?;
        succeed(&mut program(&path))?;
        same(search_path(&path)?.as_str(), "$ORIGIN/lib/stubs", tag)?;
        run("check --no-stubs PATH", lab.root()).expect(0)?;
    }
    // Not by luck: without that directory it does not start.
    run("runpath clear PATH", &lab.path("program")).expect(0)?;
    same(succeed(&mut program(&lab.path("program"))).is_err(), true, "it does not start")
}

/// A DT_RPATH serves what the file needs, too.
fn heirs() -> Done {
    let lab = Lab::new()?;
    lab.cc("lib/stubs/libplain.so", &["plain.c"], &["-shared", "-fPIC", "-Wl,-soname,libplain.so"])?;
    fs::write(lab.path("between.c"), "int plain(void); int between(void) { return plain(); }")?;
    fs::write(lab.path("main.c"), "int between(void); int main(void) { between(); return 0; }")?;
    lab.cc("lib/libbetween.so", &[], &["between.c", "-shared", "-fPIC", "-Llib/stubs", "-lplain"])?;
    let rpath = "-Wl,-rpath-link,lib/stubs,--disable-new-dtags,-rpath,$ORIGIN/lib:$ORIGIN/lib/stubs";
    let path = lab.cc("program", &[], &["main.c", "-Llib", "-lbetween", rpath])?;
    succeed(&mut program(&path))?;
    run("fix --drop-stubs PATH", lab.root()).expect(0)?;
    succeed(&mut program(&path))?;
    same(search_path(&path)?.as_str(), "$ORIGIN/lib:$ORIGIN/lib/stubs", "search path")
}

/// What is found in no directory of stubs, but beside one, is not lost.
fn not_by_accident() -> Done {
    let lab = Lab::new()?;
    lab.cc("stubs/libplain.so", &["plain.c"], &["-shared", "-fPIC", "-Wl,-soname,libplain.so"])?;
    fs::write(lab.path("main.c"), "int plain(void); int main(void) { plain(); return 0; }")?;
    let rpath = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/cuda/lib/stubs:$ORIGIN/stubs";
    let path = lab.cc("program", &[], &["main.c", "-Lstubs", "-lplain", rpath])?;
    run("fix --drop-stubs PATH", lab.root()).expect(0)?;
    succeed(&mut program(&path))?;
    same(search_path(&path)?.as_str(), "$ORIGIN/stubs", "search path")
}

/// The note of NixOS's loader: written for the old search path, it would be wrong with the new one.
fn note() -> Done {
    let lab = Lab::new()?;
    lab.cc("lib/libplain.so", &["plain.c"], &["-shared", "-fPIC", "-Wl,-soname,libplain.so"])?;
    // Which does not exist here, so that the note leaves it to the loader.
    fs::write(lab.path("between.c"), "int plain(void); int between(void) { return plain(); }")?;
    let rpath = format!("-Wl,--enable-new-dtags,-rpath,{0}/cuda/lib/stubs:{0}/lib", lab.root().display());
    let file = lab.cc("libbetween.so", &[], &["between.c", "-shared", "-fPIC", "-Llib", "-lplain", &rpath])?;
    run("patchelf --build-resolution-cache PATH", &file).expect(0)?;
    same(holds(&file, ".note.nixos.ldcache")?, true, "it has a note")?;
    let ran = run("fix --drop-stubs PATH", &file).expect(0)?;
    contains(&ran.out, "; resolution note ")?;
    same(holds(&file, "/stubs")?, false, "the string is in the file")?;
    // Fails where the note that is there is another one.
    run("patchelf --build-resolution-cache PATH", &file).expect(0)?;
    Ok(())
}

fn checked() -> Done {
    let lab = Lab::new()?;
    let file = plain(&lab, "/cuda/lib/stubs:/one")?;
    let loader = lab.fixture("x86_64/libopens.so", "lib/libopens.so")?;
    // Behind the driver's directory it cannot harm, and its store path is a reference all the same.
    run(&format!("runpath set {DRIVER}:/cuda/lib/stubs PATH"), &loader).expect(0)?;
    let ran = run("check PATH", lab.root()).expect(0)?;
    contains(
        &ran.out,
        "note: 2 files have directories of stubs in the search path that nothing needs; \"fix --drop-stubs\"",
    )?;

    let ran = run("check --no-stubs PATH", lab.root()).expect(1)?;
    for library in ["libplain.so", "libopens.so"] {
        let line = format!(
            "has STUBS in its search path, which nothing needs: {}/lib/{library}: /cuda/lib/stubs",
            lab.root().display()
        );
        contains(&ran.out, &line)?;
    }
    contains(&ran.out, &format!("mend with: driver-runpath fix --drop-stubs {}", lab.root().display()))?;
    run("fix --drop-stubs PATH", lab.root()).expect(0)?;
    run("check --no-stubs PATH", lab.root()).expect(0)?;
    same(search_path(&file)?.as_str(), "/one", "search path")
}

fn references() -> Done {
    let lab = Lab::new()?;
    for dir in ["out/lib", &format!("{PACKAGE}/lib")] {
        fs::create_dir_all(lab.path(dir))?;
    }
    let store_path = format!("/nix/store/{PACKAGE}");
    fs::write(lab.path("out/lib/a.pc"), format!("libdir={store_path}/lib"))?;
    symlink(format!("{store_path}/lib/stubs/libcuda.so"), lab.path("out/lib/libcuda.so"))?;
    fs::write(lab.path("out/lib/b.pc"), "libdir=/nix/store/lib/stubs")?;
    fs::write(lab.path("out/empty"), "")?;
    // A package may refer to itself.
    fs::write(lab.path(&format!("{PACKAGE}/lib/c.pc")), &store_path)?;
    let ran = run("check --no-stubs PATH", lab.root()).expect(1)?;
    let told: Vec<&str> = ran.out.lines().filter(|line| line.starts_with("REFERS")).collect();
    let line = |file: &str| format!("REFERS to a package of stubs: {}/out/lib/{file}: {PACKAGE}", lab.root().display());
    same(told, [line("a.pc"), line("libcuda.so")].iter().map(String::as_str).collect(), "references")?;
    run("check PATH", lab.root()).expect(0)?;
    run("check --no-stubs --exclude *.pc --exclude libcuda.so PATH", lab.root()).expect(0)?;
    // A link that is named itself is one of an output that leads to stubs.
    let ran = run("check --no-stubs PATH", &lab.path("out/lib/libcuda.so"));
    contains(&format!("{}{}", ran.out, ran.err), "libcuda.so")?;
    same(ran.status == 0, false, "status")
}

fn failing_alone() -> Done {
    let lab = Lab::new()?;
    let right = lab.fixture("x86_64/libopens.so", "right.so")?;
    run("fix PATH", &right).expect(0)?;
    lab.fixture("x86_64/libplain.so", "plain.so")?;
    let ran = run("check --failing -v PATH", lab.root()).expect(0)?;
    same(ran.out.lines().count(), 1, "lines, without that of a total")?;
    contains(&ran.out, "1 has its directory")?;
    lab.fixture("x86_64/libopens.so", "wrong.so")?;
    let ran = run("check --failing PATH", lab.root()).expect(1)?;
    contains(&ran.out, "LACKS the driver's directory: ")?;
    contains(&ran.out, "wrong.so")?;
    same(ran.out.contains("right.so"), false, "right.so is told of")
}

fn json() -> Done {
    let lab = Lab::new()?;
    plain(&lab, &format!("/cuda/lib/stubs:/nix/store/{PACKAGE}/lib"))?;
    let read = |ran: Ran| -> Result<serde_json::Value, Failed> { Ok(serde_json::from_str(&ran.out)?) };
    let checked = read(run("check --json PATH", lab.root()).expect(0)?)?;
    same(checked["files"][0]["stubs"].as_array().map(Vec::len), Some(2), "stubs")?;
    let checked = read(run("check --json --no-stubs PATH", lab.root()).expect(1)?)?;
    same(checked["stub_references"][0]["package"]["text"].as_str(), Some(PACKAGE), "package")?;
    same(checked["summary"]["status"].as_u64(), Some(1), "status")?;
    let fixed = read(run("fix --json --drop-stubs PATH", lab.root()).expect(0)?)?;
    same(fixed["files"][0]["outcome"].as_str(), Some("stubs-dropped"), "outcome")?;
    same(fixed["files"][0]["change"]["new"]["search_path"].as_array().map(Vec::len), Some(0), "new search path")?;
    same(fixed["summary"]["stubs_dropped"].as_u64(), Some(1), "count")
}
