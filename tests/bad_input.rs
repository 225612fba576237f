//! Mutated and truncated files: an error with a name or a right result, in bounded time and memory, and never a changed
//! file on error.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{fs, ptr};

use driver_runpath::decide::{Policy, Tag};
use driver_runpath::detect::DriverNames;
use driver_runpath::fix::{DriverDirs, Options, Outcome, Stubs, fix};
use driver_runpath::fixtures::{Access, Entry, Header, Load, Part, Sections, Spec, damage};
use proptest::test_runner::{RngAlgorithm, TestRng};
use support::targets;

/// Counts the bytes that each thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

fn add(size: usize) {
    // A thread that ends has no counter any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get().wrapping_add(size));
        MOST.with(|most| most.set(most.get().max(held.get() as isize as usize)));
    });
}

// SAFETY: every call is passed on to the system's allocator as it is; the counters do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > isize::MAX as usize / 2 {
            return ptr::null_mut();
        }
        add(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = HELD.try_with(|held| held.set(held.get().wrapping_sub(layout.size())));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work` on a file of `len` bytes and fails if it takes more memory or time than such a file may.
fn bounded<T>(what: &str, len: usize, work: impl FnOnce() -> T) -> T {
    let before = HELD.get();
    MOST.set(before);
    let start = Instant::now();
    let result = work();
    let (most, time) = (MOST.get().saturating_sub(before), start.elapsed());
    assert!(most <= 64 * len + (1 << 20), "{what}: {most} bytes for a file of {len}");
    assert!(time < Duration::from_secs(10), "{what}: {time:?} for a file of {len} bytes");
    result
}

/// The same bytes at each run.
fn random(seed: u8, len: usize) -> Vec<u8> {
    use proptest::prelude::Rng;
    let mut bytes = vec![0; len];
    TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]).fill_bytes(&mut bytes);
    bytes
}

fn prebuilt() -> Vec<(PathBuf, Vec<u8>)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/prebuilt");
    let list = |dir: &PathBuf| fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry").path());
    let mut files: Vec<PathBuf> = list(&root).flat_map(|dir| list(&dir).collect::<Vec<_>>()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
}

/// All that reads a file's bytes, on `file`.
fn read_all(what: &str, file: &[u8]) -> bool {
    bounded(what, file.len(), || targets::detect(file));
    let paths = [&b"/d"[..], &[b'/'; 300]];
    let plans = paths.map(|path| bounded(what, file.len(), || targets::plan_for(file, Tag::Runpath, path.to_vec())));
    plans.iter().any(Option::is_some)
}

#[test]
fn mutated_real_files_are_read_within_bounds() {
    let (mut planned, mut all) = (0, 0);
    for (path, file) in prebuilt() {
        let mutations = random(1, 40 * 48);
        for (number, mutation) in mutations.chunks(48).enumerate() {
            let mut file = file.clone();
            damage(&mut file, mutation);
            planned += usize::from(read_all(&format!("{}, mutation {number}", path.display()), &file));
            all += 1;
        }
    }
    println!("{planned} of {all} mutated files can be edited");
    assert!(planned > all / 10 && planned < all, "{planned} of {all}");
}

#[test]
fn mutated_generated_files_are_read_within_bounds() {
    let (mut planned, mut all) = (0, 0);
    for input in random(2, 4000 * 240).chunks(240) {
        let file = targets::file_of(input);
        planned += usize::from(read_all(&format!("{:?}", Spec::from_entropy(&input[48..])), &file));
        all += 1;
    }
    println!("{planned} of {all} mutated files can be edited");
    assert!(planned > all / 10 && planned < all, "{planned} of {all}");
}

#[test]
fn every_truncation_is_an_error_or_no_candidate() {
    let whole = Spec::default().build().expect("a file");
    for len in 0..whole.len() {
        read_all(&format!("the first {len} bytes"), &whole[..len]);
    }
    for (path, file) in prebuilt() {
        for len in (0..file.len()).step_by(97) {
            read_all(&format!("the first {len} bytes of {}", path.display()), &file[..len]);
        }
    }
}

/// Version records that name each other again and again.
fn with_endless_versions(spec: &Spec) -> Vec<u8> {
    let mut file = spec.build().expect("a file");
    let at = memchr::memmem::find(&file, b"\x01\0\x02\0").expect(".gnu.version_r");
    file[at + 2..at + 4].copy_from_slice(&[0xff, 0xff]);
    // As many auxiliary records as there can be, each a byte behind the one before.
    file[at + 8..at + 16].copy_from_slice(&[16, 0, 0, 0, 1, 0, 0, 0]);
    file[at + 28..at + 32].copy_from_slice(&[1, 0, 0, 0]);
    let count = memchr::memmem::find(&file, &0x6fff_ffffu64.to_le_bytes()).expect("DT_VERNEEDNUM");
    file[count + 8..count + 16].copy_from_slice(&u64::MAX.to_le_bytes());
    file
}

/// Tables whose sizes and links a file may choose as it likes, each at its worst.
#[test]
fn hostile_tables_end_soon() {
    let mut spec = Spec::default();
    spec.dynamic.insert(0, Entry::RunPath("/old/path".into()));
    read_all("endless versions", &with_endless_versions(&spec));
    let load = Load::new(Access::Read, [Part::Zeros(1)]);
    for (count, may_be_edited) in [(1_000, true), (20_000, false)] {
        let notes = vec![Header::Note(Part::BuildId); count];
        let headers = Spec { headers: [&spec.headers[..], &notes].concat(), ..spec.clone() };
        assert_eq!(read_all("many notes", &with_endless_versions(&headers)), may_be_edited);
        let loads = [&spec.loads[..], &vec![load.clone(); count]].concat();
        for sections in [Sections::Absent, Sections::AtEnd] {
            let segments = Spec { loads: loads.clone(), sections, ..spec.clone() };
            let file = with_endless_versions(&segments);
            assert_eq!(read_all("many segments", &file), may_be_edited, "{count} segments, {sections:?}");
        }
    }
    let mut notes = spec.clone();
    notes.loads[2].parts = vec![Part::Text(1); 20_000];
    read_all("20,000 sections", &notes.build().expect("a file"));
}

#[test]
fn a_file_that_is_not_changed_is_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut before = BTreeMap::new();
    for (number, input) in random(3, 600 * 240).chunks(240).enumerate() {
        let path = dir.path().join(format!("{number}"));
        let file = targets::file_of(input);
        fs::write(&path, &file).expect("a file");
        before.insert(path, file);
    }
    let options = Options {
        names: DriverNames::default(),
        driver_dirs: DriverDirs { native: b"/run/opengl-driver/lib".to_vec(), i386: b"/run/32/lib".to_vec() },
        policy: Policy::default(),
        all: true,
        stubs: Stubs::Stay,
        depth: driver_runpath::detect::Depth::First,
        dry_run: false,
        durability: Default::default(),
        protection: Default::default(),
        exclude: Default::default(),
        watch: Default::default(),
    };
    let report = fix(&[dir.path().to_owned()], &options);
    let (mut changed, mut failed) = (0, 0);
    for fixed in &report.files {
        let now = fs::read(&fixed.path).expect("the file");
        match &fixed.outcome {
            Outcome::Changed(_) => changed += 1,
            outcome => {
                failed += usize::from(matches!(outcome, Outcome::Failed(_)));
                assert!(now == before[&fixed.path], "{}: {outcome:?}", fixed.path.display());
            }
        }
    }
    println!("{changed} changed, {failed} failed, of {}", report.files.len());
    assert!(changed > 100 && failed > 100, "{changed} changed, {failed} failed");
    let again = fix(&[dir.path().to_owned()], &options);
    assert!(again.files.iter().all(|fixed| !matches!(fixed.outcome, Outcome::Changed(_))), "a second run changes more");
}
