//! The generator's own tests: what a `Spec` says is what parsers read.

use driver_runpath::elf::{Image, ParseError};
use driver_runpath::fixtures::{Access, Entry, Header, Load, Part, Profile, Sections, Spec, Symbol, Target};
use goblin::elf::Elf;
use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, Sym};
use object::{Endianness, read::elf::SectionHeader};
use proptest::collection::vec;
use proptest::prelude::*;

fn library(change: impl FnOnce(&mut Spec)) -> Vec<u8> {
    let mut spec = Spec::default();
    change(&mut spec);
    spec.build().expect("a file")
}

#[test]
fn a_file_says_what_its_spec_says() {
    let file = library(|spec| {
        spec.dynamic.push(Entry::RPath("/opt/lib".into()));
        spec.symbols.push(Symbol::defined("lib", Part::Data(0)));
    });
    let elf = Elf::parse(&file).expect("goblin reads it");
    assert_eq!(elf.libraries, ["libc.so.6"]);
    assert_eq!(elf.soname, Some("libfixture.so.1"));
    assert_eq!(elf.rpaths, ["/opt/lib"]);
    let names: Vec<_> =
        elf.dynsyms.iter().map(|symbol| elf.dynstrtab.get_at(symbol.st_name).expect("a name")).collect();
    assert_eq!(names.len(), 4);
    assert!(["", "dlopen", "fixture_open", "lib"].iter().all(|name| names.contains(name)), "{names:?}");
    // The symbol is the end of the search path.
    let strings = &elf.dynstrtab.to_vec().expect("strings");
    assert!(!strings.contains(&"lib"), "{strings:?}");
    let sections: Vec<_> =
        elf.section_headers.iter().map(|s| elf.shdr_strtab.get_at(s.sh_name).expect("a name")).collect();
    for name in [".dynstr", ".gnu.hash", ".gnu.version_r", ".bss", ".symtab", ".shstrtab"] {
        assert!(sections.contains(&name), "{name} is not in {sections:?}");
    }
}

#[test]
fn an_address_that_does_not_fit_is_an_error() {
    use driver_runpath::fixtures::Class;
    for (base, fits) in [(0x40_0000, true), (0xffff_f000, false), (u64::MAX, false)] {
        let spec = Spec::default().with(|spec| {
            spec.class = Class::Elf32;
            spec.base = base;
        });
        assert_eq!(spec.build().is_ok(), fits, "{base:#x}");
    }
}

#[test]
fn a_second_string_table_is_an_error() {
    let mut spec = Spec::default();
    spec.loads.push(Load::new(Access::Read, [Part::DynStr]));
    assert!(spec.build().is_err());
}

#[test]
fn the_program_headers_lie_where_they_are_put() {
    let file = library(|spec| {
        spec.headers.insert(0, Header::Table);
        spec.loads[1].parts.insert(0, Part::ProgramHeaders);
        spec.sections = Sections::Before(1);
    });
    let elf = Elf::parse(&file).expect("goblin reads it");
    let text = elf
        .program_headers
        .iter()
        .filter(|s| s.p_type == goblin::elf::program_header::PT_LOAD)
        .nth(1)
        .expect("a segment");
    assert_eq!(elf.header.e_phoff, text.p_offset);
    assert!(elf.header.e_shoff < text.p_offset);
    let table = elf.program_headers.iter().find(|s| s.p_type == goblin::elf::program_header::PT_PHDR).expect("PT_PHDR");
    assert_eq!((table.p_offset, table.p_vaddr), (text.p_offset, text.p_vaddr));
    assert_eq!(table.p_filesz, elf.program_headers.len() as u64 * 56);
}

/// Every defined symbol is found by its hash, in both tables; and nothing that is not there.
fn hashes_find<H: FileHeader<Endian = Endianness>>(file: &[u8], defined: &[&[u8]]) {
    let header = H::parse(file).expect("a header");
    let endian = header.endian().expect("a byte order");
    let sections = header.sections(endian, file).expect("sections");
    let symbols = sections.symbols(endian, file, object::elf::SHT_DYNSYM).expect("symbols");
    for section in sections.iter() {
        if let Some((table, _)) = section.hash(endian, file).expect("a hash table") {
            for name in defined {
                let found = table.find(endian, name, object::elf::hash(name), None, &symbols, &Default::default());
                assert!(found.is_some(), "DT_HASH does not find {}", name.escape_ascii());
            }
        }
        if let Some((table, _)) = section.gnu_hash(endian, file).expect("a hash table") {
            for name in defined {
                let found = table.find(endian, name, object::elf::gnu_hash(name), None, &symbols, &Default::default());
                let (_, symbol) = found.unwrap_or_else(|| panic!("DT_GNU_HASH does not find {}", name.escape_ascii()));
                assert_eq!(symbol.name(endian, symbols.strings()).expect("a name"), *name);
            }
            assert!(
                table
                    .find(endian, b"absent", object::elf::gnu_hash(b"absent"), None, &symbols, &Default::default())
                    .is_none()
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn the_text_of_a_file_reads_back(bytes in vec(any::<u8>(), 0..Spec::ENTROPY), profile in 0..8usize) {
        let spec = Spec::generate(Profile::ALL[profile], Target::ALL[bytes.len() % 12], &bytes);
        let text = spec.to_string();
        prop_assert_eq!(text.parse::<Spec>(), Ok(spec), "{}", text);
    }
}

#[test]
fn a_line_that_says_nothing_is_an_error_with_its_number() {
    let text = Spec::default().to_string();
    assert_eq!(text.parse(), Ok(Spec::default()));
    for line in
        ["dynamic needed", "load r-- dynstr", "headers nothing", "symbol \"open", "page twelve", "symbol \"\\q\""]
    {
        let error = format!("{text}\n{line}\n").parse::<Spec>().expect_err(line);
        assert_eq!((error.line, &error.text[..]), (text.lines().count() + 2, line));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_bytes_make_a_file_that_every_parser_takes(bytes in vec(any::<u8>(), 0..Spec::ENTROPY)) {
        let spec = Spec::from_entropy(&bytes);
        let file = spec.build().expect("a file");
        let is_readable = !matches!(Image::parse(&file), Err(ParseError::Malformed(_)));
        // Linux reads no more program headers than fit 64 KiB.
        prop_assert_eq!(is_readable, spec.headers.len() < 1000);
        let defined: Vec<&[u8]> =
            spec.symbols.iter().filter(|s| s.defined_in.is_some() && !s.name.is_empty()).map(|s| &s.name[..]).collect();
        let is_s390x = spec.machine == object::elf::EM_S390.0;
        if !is_s390x && file[4] == 1 {
            hashes_find::<FileHeader32<Endianness>>(&file, &defined);
        } else if !is_s390x {
            hashes_find::<FileHeader64<Endianness>>(&file, &defined);
        }
    }
}

#[test]
fn no_bytes_and_zeros_make_the_same_file() {
    assert_eq!(Spec::from_entropy(&[]), Spec::from_entropy(&[0; Spec::ENTROPY]));
}

/// Files of any layout and target, the same ones at each run. `DRIVER_RUNPATH_PEERS` says how many.
fn any_files() -> impl Iterator<Item = Spec> {
    use proptest::test_runner::{RngAlgorithm, TestRng};
    let count = std::env::var("DRIVER_RUNPATH_PEERS").map_or(4000, |text| text.parse().expect("a number"));
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[17; 32]);
    (0..count).map(move |_: u64| {
        let mut bytes = [0; Spec::ENTROPY];
        random.fill_bytes(&mut bytes);
        Spec::from_entropy(&bytes)
    })
}

/// object 0.40.0 refuses none of 100,000. goblin 0.10.7 refuses a file for a string that is not UTF-8, which names and
/// paths need not be, and one of s390x that has `DT_HASH` alone, for it takes its words of 8 bytes for words of 4.
#[test]
fn goblin_and_object_read_every_file_but_for_known_faults() {
    let (mut refused, mut files) = (0, 0);
    for spec in any_files().filter(|spec| spec.headers.len() < 1000) {
        let file = spec.build().expect("a file");
        files += 1;
        if let Err(error) = object::File::parse(&file[..]) {
            panic!("object: {error}\n{spec}");
        }
        if let Err(error) = Elf::parse(&file) {
            refused += 1;
            let is_utf8 = spec.dynamic.iter().filter_map(Entry::string).all(|text| std::str::from_utf8(text).is_ok());
            let is_wide = spec.machine == object::elf::EM_S390.0 && spec.has(Part::Hash) && !spec.has(Part::GnuHash);
            assert!(!is_utf8 || is_wide, "goblin: {error}\n{spec}");
        }
    }
    println!("goblin refuses {refused} of {files}");
    assert!(refused < files / 5);
}

#[test]
fn every_kind_of_evidence_is_generated() {
    use driver_runpath::detect::{Depth, DriverNames, EvidenceKind, detect};
    let mut seen: Vec<EvidenceKind> = Vec::new();
    for spec in any_files() {
        let file = spec.build().expect("a file");
        let Ok(image) = Image::parse(&file) else { continue };
        let found = detect(&image, &DriverNames::default(), Depth::All);
        for kind in found.evidence.iter().map(|evidence| evidence.kind) {
            if !seen.contains(&kind) {
                seen.push(kind);
            }
        }
    }
    use EvidenceKind::*;
    for kind in [Needed, DlopenNote, Soname, Format, EntryPoint, Immediate] {
        assert!(seen.contains(&kind), "no file has {kind:?}: {seen:?}");
    }
}

/// 0.08 s in a release build; the limit is for the slowest machine, and far below what each symbol's search of a table
/// of all others would take.
#[test]
fn forty_thousand_symbols_are_built_at_once() {
    let mut spec = Spec::default();
    spec.symbols.extend((0..40_000).map(|index| Symbol::defined(&format!("symbol_{index}"), Part::Text(0))));
    let start = std::time::Instant::now();
    let file = spec.build().expect("a file");
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(Elf::parse(&file).expect("goblin reads it").dynsyms.len(), 40_003);
}
