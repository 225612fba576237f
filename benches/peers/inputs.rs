//! What the benchmarks run on, and the part of the work that cannot be avoided.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use goblin::elf::Elf;
use memmap2::Mmap;
use rayon::prelude::*;
use tempfile::TempDir;

/// A directory on the same disk as the build. What an earlier case has left to be written would disturb the times.
pub fn scratch() -> TempDir {
    let _ = Command::new("sync").status();
    let base = std::env::var_os("DRIVER_RUNPATH_BENCH_SCRATCH").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    TempDir::new_in(base).expect("a scratch directory")
}

pub fn small_files(dir: &Path, count: usize) {
    for package in 0..count / 100 {
        let dir = dir.join(format!("package{package}/module"));
        fs::create_dir_all(&dir).expect("a directory");
        for file in 0..100 {
            fs::write(dir.join(format!("file{file}.py")), format!("value = {file}\n")).expect("a file");
        }
    }
}

/// So many copies of one file, new ones in place of old ones.
pub fn small_elf_files(dir: &Path, file: &Path, count: usize) {
    let bytes = fs::read(file).expect("the fixture is there");
    for number in 0..count {
        let dir = dir.join(format!("package{}/lib", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&dir).expect("a directory");
        }
        fs::write(dir.join(format!("lib{number}.so")), &bytes).expect("a file");
    }
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let (mut files, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files
}

fn magic(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, 0).ok()?;
    (magic == *b"\x7fELF").then_some(file)
}

/// Walks a tree and reads four bytes of each file, in one thread, as `find -type f` and a reader would.
pub fn read_magics(dir: &Path) {
    let elf = files_of(dir).iter().filter(|path| magic(path).is_some()).count();
    std::hint::black_box(elf);
}

/// The unavoidable part: the walk, four bytes of each file, one memmem over the sections that can hold evidence.
pub fn scan_once(dir: &Path) {
    let hits: usize = files_of(dir)
        .par_iter()
        .filter_map(|path| magic(path))
        .map(|file| {
            // SAFETY: nobody writes to the tree meanwhile.
            let Ok(map) = (unsafe { Mmap::map(&file) }) else { return 0 };
            evidence_ranges(&map).into_iter().map(|range| hits_in(map.get(range).unwrap_or_default())).sum()
        })
        .sum();
    std::hint::black_box(hits);
}

fn hits_in(bytes: &[u8]) -> usize {
    memchr::memmem::find_iter(bytes, b"libcuda.so").count()
}

/// Loaded sections with contents, but for GPU code and unwind tables.
fn evidence_ranges(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let Ok(elf) = Elf::parse(bytes) else { return Vec::new() };
    let holds = |section: &&goblin::elf::SectionHeader| {
        let name = elf.shdr_strtab.get_at(section.sh_name).unwrap_or("");
        section.is_alloc()
            && section.sh_type == goblin::elf::section_header::SHT_PROGBITS
            && !matches!(name, ".nv_fatbin" | "__nv_relfatbin" | ".eh_frame" | ".eh_frame_hdr" | ".gcc_except_table")
    };
    elf.section_headers.iter().filter(holds).filter_map(|section| section.file_range()).collect()
}

/// The budget for a cold run: 1.3 times what can hold evidence, 128 KiB an ELF file, 16 KiB another file.
pub fn read_budget(dir: &Path) -> u64 {
    let budget = |path: &PathBuf| match magic(path) {
        None => 16 << 10,
        // SAFETY: as above.
        Some(file) => match unsafe { Mmap::map(&file) } {
            Ok(map) => {
                let bytes: usize = evidence_ranges(&map).into_iter().map(|range| range.len()).sum();
                bytes as u64 * 13 / 10 + (128 << 10)
            }
            Err(_) => 0,
        },
    };
    files_of(dir).iter().map(budget).sum()
}

pub fn size_of(dir: &Path) -> u64 {
    files_of(dir).iter().filter_map(|path| path.metadata().ok()).map(|stat| stat.len()).sum()
}

/// Copies a tree; what is still to be written to the disk would disturb the times.
pub fn copy_tree(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "the tree can be copied");
    let _ = Command::new("sync").status();
}

pub fn copy_file(from: &Path, to: &Path) {
    fs::copy(from, to).expect("a copy");
    File::open(to).and_then(|file| file.sync_all()).expect("it is on the disk");
}

/// Bytes of `.dynstr`.
pub fn strings_len(library: &Path) -> u64 {
    let file = File::open(library).expect("the library");
    // SAFETY: nobody writes to it meanwhile.
    let map = unsafe { Mmap::map(&file) }.expect("a map");
    let elf = Elf::parse(&map).expect("an ELF file");
    elf.dynamic.map_or(0, |dynamic| dynamic.info.strsz as u64)
}

/// Search paths as in a Nix build before the driver's is added: three store paths, set by patchelf.
pub fn set_store_paths(patchelf: &Path, dir: &Path) {
    let store = |name: &str| format!("/nix/store/{}-{name}/lib", "0123456789abcdfghijklmnpqrsvwxyz");
    let path = ["cuda13.0-libcublas-13.0.2.14-lib", "gcc-14.3.0-lib", "zlib-1.3.1"].map(store).join(":");
    for file in files_of(dir).into_iter().filter(|file| magic(file).is_some()) {
        let _ =
            Command::new(patchelf).args(["--set-rpath", &path]).arg(&file).stderr(std::process::Stdio::null()).status();
    }
}

/// What nixpkgs' hook does: a loop in bash that calls patchelf three times for each dynamic ELF file.
pub fn bash_around_patchelf(patchelf: &Path, dir: &Path) -> Command {
    const LOOP: &str = r#"
        find "$2" -type f -print0 | while IFS= read -r -d "" file; do
          exec {fd}<"$file"
          LANG=C IFS= read -r -n 4 -u "$fd" magic
          exec {fd}<&-
          [[ $magic == $'\177ELF' ]] || continue
          "$1" --print-rpath "$file" >/dev/null 2>&1 || continue
          old=$("$1" --print-rpath "$file")
          "$1" --set-rpath "/run/opengl-driver/lib:$old" "$file"
        done"#;
    let mut command = Command::new("bash");
    command.args(["-c", LOOP, "bash"]).arg(patchelf).arg(dir);
    command
}

/// A library of so many bytes.
pub fn large(dir: &Path, len: usize) -> Option<PathBuf> {
    let (source, library) = (dir.join("large.c"), dir.join("liblarge.so"));
    fs::write(&source, format!("const char large[{len}] = {{1}};\n")).ok()?;
    let flags = ["-shared", "-fPIC", "-Wl,--enable-new-dtags,-rpath,/opt/before", "-o"];
    let built = Command::new("cc").args(flags).arg(&library).arg(&source).status().ok()?;
    built.success().then_some(library)
}

/// A program that opens the library given and ends with status 0 if it could.
pub fn loader(dir: &Path) -> Option<PathBuf> {
    let (source, program) = (dir.join("load.c"), dir.join("load"));
    let text = "#include <dlfcn.h>\nint main(int n, char **v) { return n < 2 || !dlopen(v[1], RTLD_NOW); }\n";
    fs::write(&source, text).ok()?;
    let built = Command::new("cc").arg("-o").arg(&program).arg(&source).arg("-ldl").status().ok()?;
    built.success().then_some(program)
}

/// A library with so many symbols, made by the assembler.
pub fn many_symbols(dir: &Path, count: usize) -> Option<PathBuf> {
    let (source, library) = (dir.join("symbols.s"), dir.join("libsymbols.so"));
    let mut text = std::io::BufWriter::new(File::create(&source).ok()?);
    writeln!(text, ".text").ok()?;
    for number in 0..count {
        writeln!(
            text,
            ".globl a_symbol_with_a_name_of_some_length_{number}\na_symbol_with_a_name_of_some_length_{number}:"
        )
        .ok()?;
    }
    writeln!(text, "ret\n.section .note.GNU-stack,\"\",@progbits").ok()?;
    text.flush().ok()?;
    let flags = ["-shared", "-nostdlib", "-Wl,--enable-new-dtags,-rpath,/opt/before", "-o"];
    let built = Command::new("cc").args(flags).arg(&library).arg(&source).status().ok()?;
    built.success().then_some(library)
}

/// One copy of `.dynstr` to another file, and one linear pass over `st_name`.
pub fn copy_strings_and_pass_over_symbols(library: &Path, to: &Path) {
    let Ok(file) = File::open(library) else { return };
    // SAFETY: as above.
    let Ok(map) = (unsafe { Mmap::map(&file) }) else { return };
    let header = Elf::parse_header(&map).expect("an ELF file");
    let ctx = goblin::container::Ctx::new(goblin::container::Container::Big, goblin::container::Endian::Little);
    let table = usize::try_from(header.e_shoff).expect("an offset");
    let sections = goblin::elf::SectionHeader::parse_from(&map, table, usize::from(header.e_shnum), ctx);
    for section in sections.expect("section headers") {
        let Some(range) = section.file_range().filter(|_| section.is_alloc()) else { continue };
        let bytes = map.get(range).unwrap_or_default();
        match section.sh_type {
            goblin::elf::section_header::SHT_STRTAB => fs::write(to, bytes).expect("a copy"),
            goblin::elf::section_header::SHT_DYNSYM => {
                let sum = bytes.chunks_exact(24).fold(0u64, |sum, symbol| {
                    sum.wrapping_add(u64::from(u32::from_le_bytes([symbol[0], symbol[1], symbol[2], symbol[3]])))
                });
                std::hint::black_box(sum);
            }
            _ => {}
        }
    }
}
