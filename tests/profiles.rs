//! Generated files are what their profile says: the real loader opens the libraries, the kernel starts the programs.
//!
//! `DRIVER_RUNPATH_PROFILES` chooses how many files of each profile.

#[path = "profiles/linkers.rs"]
mod linkers;
mod support;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use driver_runpath::decide::Tag;
use driver_runpath::fixtures::{FileType, Part, Profile, Spec, Symbol, Target, Version};
use libtest_mimic::{Arguments, Failed, Trial};
use proptest::test_runner::{RngAlgorithm, TestRng};
use support::lab::{Lab, program, same, succeed, testdata};
use support::targets::plan_for;
use support::tools::trial;

/// Files of each profile.
fn count() -> usize {
    std::env::var("DRIVER_RUNPATH_PROFILES").map_or(200, |text| text.parse().expect("a number"))
}

/// The same files at each run.
fn specs(profile: Profile, target: Target) -> impl Iterator<Item = Spec> {
    use proptest::prelude::Rng;
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[profile as u8 + 1; 32]);
    (0..count()).map(move |_| {
        let mut bytes = [0; Spec::ENTROPY];
        random.fill_bytes(&mut bytes);
        Spec::generate(profile, target, &bytes)
    })
}

/// A file in a directory of its own, with its companions.
struct Placed {
    spec: Spec,
    path: PathBuf,
    companions: Vec<PathBuf>,
    is_edited: bool,
}

/// Whether a file is tried as it was built, or with another search path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    AsBuilt,
    Edited,
}

/// The file with a search path of one of many lengths; `None` where that is refused.
fn edited(file: &[u8], number: usize) -> Option<Vec<u8>> {
    let path = [b"/run/opengl-driver/lib".to_vec(), vec![b'/'; number * 7 % 400]].concat();
    let plan = plan_for(file, Tag::Runpath, path)?;
    plan.replay(plan.edits.len())
}

impl Placed {
    fn new(root: &Path, number: usize, spec: Spec, state: State) -> Result<Self, Failed> {
        let dir = root.join(number.to_string());
        fs::create_dir(&dir)?;
        let path = dir.join("file");
        let file = spec.build()?;
        let edited = match state {
            State::AsBuilt => None,
            State::Edited => edited(&file, number),
        };
        write_program(&path, edited.as_ref().unwrap_or(&file))?;
        let mut companions = Vec::new();
        for companion in spec.companions()? {
            let path = dir.join(String::from_utf8_lossy(&companion.name).as_ref());
            fs::write(&path, &companion.file)?;
            companions.push(path);
        }
        Ok(Self { spec, path, companions, is_edited: edited.is_some() })
    }

    /// Says what went wrong, with the file's description.
    fn fail(&self, what: &str) -> Failed {
        format!("{what}: {}\n{:?}", self.path.display(), self.spec).into()
    }
}

fn write_program(path: &Path, bytes: &[u8]) -> Result<(), Failed> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(path)?.write_all(bytes)?;
    Ok(())
}

/// A symbol that the loader finds by its name alone.
fn findable(spec: &Spec) -> Option<&Symbol> {
    spec.symbols.iter().find(|symbol| {
        let is_open = !spec.has(Part::VerSym) || !matches!(symbol.version, Version::Local | Version::Hidden(_));
        let is_tls = matches!(symbol.defined_in, Some(Part::Tls(_)));
        symbol.defined_in.is_some() && !symbol.name.is_empty() && is_open && !is_tls
    })
}

/// A machine on which files of a target run.
struct Machine {
    target: Target,
    /// Its C compiler.
    compiler: &'static str,
    /// What starts its programs, and where its libraries are; nothing on the machine itself.
    emulator: Option<(&'static str, &'static str)>,
}

impl Machine {
    fn host() -> Option<Self> {
        Some(Self { target: Target::HOST?, compiler: "cc", emulator: None })
    }

    /// Starts a program whose libraries are in this directory.
    fn start(&self, path: &Path, libraries: &Path) -> Command {
        let mut command = match self.emulator {
            None => program(path),
            Some((emulator, root)) => {
                let mut command = program(Path::new(emulator));
                command.args(["-L", root, "-E", "LD_BIND_NOW=1", "-E"]);
                let mut variable = OsString::from("LD_LIBRARY_PATH=");
                variable.push(libraries);
                command.arg(variable).arg(path);
                return command;
            }
        };
        command.env("LD_LIBRARY_PATH", libraries).env("LD_BIND_NOW", "1").stdin(Stdio::null());
        command
    }
}

/// Opens libraries, each in a process of its own, and says what the loader says.
fn open_all(lab: &Lab, machine: &Machine, libraries: &[Placed]) -> Result<Vec<String>, Failed> {
    let opener = lab.path("open_each");
    let source = testdata().join("src/open_each.c");
    succeed(Command::new(machine.compiler).arg(source).arg("-o").arg(&opener).arg("-ldl"))?;
    let mut input = String::new();
    for library in libraries {
        let symbol = findable(&library.spec).map_or("-".into(), |symbol| String::from_utf8_lossy(&symbol.name));
        input.push_str(&format!("{} {symbol}", library.path.display()));
        for companion in &library.companions {
            input.push_str(&format!(" {}", companion.display()));
        }
        input.push('\n');
    }
    let lines = lab.path("lines");
    fs::write(&lines, input)?;
    let mut command = machine.start(&opener, Path::new("/nowhere"));
    let output = command.stdin(fs::File::open(lines)?).stderr(Stdio::inherit()).output()?;
    same(output.status.code(), Some(0), "status of the opener")?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Opens or starts all files of a profile.
fn check(profile: Profile, state: State, machine: &Machine, count: usize) -> Result<(), Failed> {
    let lab = Lab::new()?;
    let mut all = Vec::new();
    for (number, spec) in specs(profile, machine.target).take(count).enumerate() {
        all.push(Placed::new(lab.root(), number, spec, state)?);
    }
    let refused = all.iter().filter(|placed| state == State::Edited && !placed.is_edited).count();
    all.retain(|placed| state == State::AsBuilt || placed.is_edited);
    let (programs, libraries): (Vec<_>, Vec<_>) = all.into_iter().partition(|placed| placed.spec.is_program());
    let answers = open_all(&lab, machine, &libraries)?;
    same(answers.len(), libraries.len(), "answers")?;
    let (mut bad, mut worst) = (0, None);
    for (library, answer) in libraries.iter().zip(&answers) {
        if answer != "ok" {
            bad += 1;
            println!("{answer}");
            worst.get_or_insert(library.fail(answer));
        }
    }
    for placed in &programs {
        let output = machine.start(&placed.path, placed.path.parent().unwrap_or(lab.root())).output()?;
        if output.status.code() != placed.spec.exit_status.map(i32::from) {
            bad += 1;
            let what = format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
            println!("{what}");
            worst.get_or_insert(placed.fail(&what));
        }
    }
    let (opened, started) = (libraries.len(), programs.len());
    println!("{profile:?} for {}, {state:?}: {opened} opened, {started} started, {bad} failed", machine.target);
    // Some of any layout have a payload; no linker's file has one.
    let most = if LINKERS.contains(&profile) { 0 } else { count / 4 };
    if refused > most {
        return Err(format!("{refused} of {count} files are refused").into());
    }
    match worst {
        Some(failed) => Err(failed),
        None => Ok(()),
    }
}

/// Opens or starts files of a profile on this machine.
fn check_here(profile: Profile) -> Result<(), Failed> {
    Machine::host().map_or(Ok(()), |machine| check(profile, State::AsBuilt, &machine, count()))
}

/// Profiles that stand for a linker.
const LINKERS: [Profile; 5] = [Profile::GnuLd, Profile::Lld, Profile::Mold, Profile::Go, Profile::Patchelf];

/// Gives files of a profile another search path, and opens or starts them.
fn check_edited(profile: Profile) -> Result<(), Failed> {
    Machine::host().map_or(Ok(()), |machine| check(profile, State::Edited, &machine, count()))
}

/// The other machines whose loaders `.ci/run` installs.
const OTHERS: [Machine; 3] = [
    Machine {
        target: Target::I386,
        compiler: "i686-linux-gnu-gcc",
        emulator: Some(("qemu-i386", "/usr/i686-linux-gnu")),
    },
    Machine {
        target: Target::Aarch64,
        compiler: "aarch64-linux-gnu-gcc",
        emulator: Some(("qemu-aarch64", "/usr/aarch64-linux-gnu")),
    },
    Machine {
        target: Target::Ppc,
        compiler: "powerpc-linux-gnu-gcc",
        emulator: Some(("qemu-ppc", "/usr/powerpc-linux-gnu")),
    },
];

/// Whatever the machine, a program without a loader runs its few instructions.
fn check_code(target: Target) -> Result<(), Failed> {
    let emulator = match target {
        Target::X86_64 => "qemu-x86_64",
        Target::I386 => "qemu-i386",
        Target::Aarch64 => "qemu-aarch64",
        Target::Arm => "qemu-arm",
        Target::Ppc64Le => "qemu-ppc64le",
        Target::Ppc64 => "qemu-ppc64",
        Target::Ppc => "qemu-ppc",
        Target::S390x => "qemu-s390x",
        Target::Riscv64 => "qemu-riscv64",
        Target::Mips => "qemu-mips",
        Target::MipsEl => "qemu-mipsel",
        Target::LoongArch64 => "qemu-loongarch64",
        _ => return Err(format!("{target} has no emulator").into()),
    };
    let lab = Lab::new()?;
    for status in [0, 7, 255] {
        let mut spec = Spec::generate(Profile::Runnable, target, &[status]);
        (spec.file_type, spec.base) = (FileType::Executable, 0x1000_0000);
        spec.loads.iter_mut().for_each(|load| load.parts.retain(|part| *part != Part::Interp));
        let path = lab.path(&format!("exits_with_{status}"));
        write_program(&path, &spec.build()?)?;
        let output = Command::new(emulator).arg(&path).output()?;
        same(output.status.code(), Some(i32::from(status)), &format!("status under {emulator}: {output:?}"))?;
    }
    Ok(())
}

/// What the three checkers of ELF files object to, without what they get wrong.
fn findings(path: &Path, target: Target) -> Result<Vec<String>, Failed> {
    let commands: [(&str, &[&str]); 3] =
        [("eu-elflint", &["--gnu-ld"]), ("readelf", &["-aW", "--lint"]), ("llvm-readelf", &["-a", "--unwind"])];
    let mut findings = Vec::new();
    // elfutils 0.188 has nothing to say about these machines.
    let is_foreign = matches!(target, Target::Mips | Target::MipsEl | Target::LoongArch64);
    for (checker, arguments) in commands {
        if checker == "eu-elflint" && is_foreign {
            continue;
        }
        let output = Command::new(checker).args(arguments).arg(path).env("LC_ALL", "C").output()?;
        let text = match checker {
            "eu-elflint" => [output.stdout, output.stderr].concat(),
            _ => output.stderr,
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines = text.lines().filter(|line| !line.is_empty() && *line != "No errors" && !is_wrong(line));
        findings.extend(lines.map(|line| format!("{checker}: {line}")));
    }
    Ok(findings)
}

/// What the checkers of Debian 12 get wrong.
fn is_wrong(line: &str) -> bool {
    // elfutils 0.188 does not know dlopen and resolution notes, nor DT_RELR, and takes names for addresses.
    let owners = ["'FDO'", "'NixOS'", "'Other'"];
    let is_unknown = line.contains("unknown object file note type") && owners.iter().any(|owner| line.contains(owner));
    let is_packed = line.contains("'.relr.dyn' has wrong type: expected REL");
    let is_name = ["FILTER", "AUXILIARY", "AUDIT"]
        .iter()
        .any(|tag| line.ends_with(&format!("{tag} value must point into loaded segment")));
    // LLVM 14 counts the symbols of a file without section headers by DT_HASH alone.
    let is_uncounted = line.ends_with("hash table histogram: the dynamic symbol table is empty");
    // It says so itself.
    let is_unsupported = line.contains("it contains non-standard 8 byte entries on IBM S/390 platform");
    is_unknown || is_packed || is_name || is_uncounted || is_unsupported
}

/// Asks the checkers about files of a profile.
fn check_with_checkers(profile: Profile, target: Target) -> Result<(), Failed> {
    let lab = Lab::new()?;
    let (mut files, mut bad) = (0, Vec::new());
    for spec in specs(profile, target).take(if Target::HOST == Some(target) { count() / 4 } else { count() / 20 }) {
        let path = lab.path("file");
        fs::write(&path, spec.build()?)?;
        let found = findings(&path, target)?;
        files += 1;
        if !found.is_empty() {
            found.iter().for_each(|line| println!("{target} {line}"));
            bad.push(format!("{}\n{spec:?}", found.join("\n")));
        }
    }
    println!("{profile:?} for {target}: {files} files, {} with findings", bad.len());
    match bad.into_iter().next() {
        Some(first) => Err(first.into()),
        None => Ok(()),
    }
}

fn main() {
    let checkers = ["eu-elflint", "readelf", "llvm-readelf"];
    let mut trials: Vec<Trial> = vec![
        trial("three_checkers_find_no_fault_in_a_loadable_library", &checkers, || {
            Target::ALL.into_iter().try_for_each(|target| check_with_checkers(Profile::Loadable, target))
        }),
        trial("three_checkers_find_no_fault_in_a_runnable_program", &checkers, || {
            Target::ALL.into_iter().try_for_each(|target| check_with_checkers(Profile::Runnable, target))
        }),
        trial("the_loader_opens_every_loadable_library", &["cc"], || check_here(Profile::Loadable)),
        trial("the_loader_takes_files_as_linkers_make_them", &["cc"], || LINKERS.into_iter().try_for_each(check_here)),
        trial("three_checkers_find_no_fault_in_files_as_linkers_make_them", &checkers, || {
            LINKERS.into_iter().try_for_each(|profile| check_with_checkers(profile, Target::X86_64))
        }),
        trial("every_edited_library_is_opened", &["cc"], || check_edited(Profile::Loadable)),
        trial("every_edited_program_starts", &["cc"], || check_edited(Profile::Runnable)),
        trial("every_edited_file_of_a_linker_is_taken", &["cc"], || LINKERS.into_iter().try_for_each(check_edited)),
        trial("the_kernel_starts_every_runnable_program", &["cc"], || check_here(Profile::Runnable)),
    ];
    trials.push(trial("the_code_of_every_machine_exits_with_its_status", &["qemu-loongarch64"], || {
        Target::ALL.into_iter().try_for_each(check_code)
    }));
    let linkers: [(&str, Profile, &'static [&str]); 5] = [
        ("files_are_laid_out_as_by_gnu_ld", Profile::GnuLd, &["cc"]),
        ("files_are_laid_out_as_by_lld", Profile::Lld, &["cc", "ld.lld"]),
        ("files_are_laid_out_as_by_mold", Profile::Mold, &["cc", "mold"]),
        ("files_are_laid_out_as_by_go", Profile::Go, &["cc", "go"]),
        ("files_are_laid_out_as_by_patchelf", Profile::Patchelf, &["cc", "patchelf"]),
    ];
    for (name, profile, needs) in linkers {
        trials.push(trial(name, needs, move || linkers::check(profile)));
    }
    for machine in OTHERS {
        let name = format!("the_loader_of_{}_takes_libraries_and_programs", machine.target);
        let emulator = machine.emulator.map_or("", |(emulator, _)| emulator);
        trials.push(trial(&name, &[machine.compiler, emulator], move || {
            check(Profile::Loadable, State::AsBuilt, &machine, count() / 4)?;
            check(Profile::Runnable, State::AsBuilt, &machine, count() / 10)
        }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
