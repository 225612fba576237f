//! Search paths of a library and its program, and where the driver lies.

/// What lies where a library is looked for.
#[derive(Clone, Copy)]
pub enum What {
    /// A stand-in for the driver.
    Driver,
    /// A copy of a fixture: for another class or machine.
    Fixture(&'static str),
    /// The stand-in with this byte of its header changed.
    Damaged(usize, u8),
    /// A text file.
    Text,
    /// A directory.
    Directory,
}

/// A program that links libopens.so, which opens the driver; and where things lie. `@` is the test's directory.
pub struct Case {
    pub name: &'static str,
    /// Linker options of the program, which finds libopens.so by them.
    pub program: &'static str,
    /// Linker options of libopens.so.
    pub library: &'static str,
    pub library_path: Option<&'static str>,
    pub files: &'static [(&'static str, What)],
    /// Which of the files is loaded.
    pub finds: Option<&'static str>,
}

const RUNPATH_TO_LIB: &str = "--enable-new-dtags,-rpath,@/lib";
const PLAIN: Case =
    Case { name: "", program: RUNPATH_TO_LIB, library: "", library_path: None, files: &[], finds: None };

pub const CASES: [Case; 27] = [
    Case { name: "no_search_path", ..PLAIN },
    Case {
        name: "a_runpath",
        library: "--enable-new-dtags,-rpath,@/gone:@/empty:@/a:@/never",
        files: &[("empty/x", What::Text), ("a/libcuda.so.1", What::Driver), ("never/libcuda.so.1", What::Driver)],
        finds: Some("@/a"),
        ..PLAIN
    },
    Case {
        name: "an_rpath_comes_before_the_variable",
        library: "--disable-new-dtags,-rpath,@/gone:@/a",
        library_path: Some("@/b"),
        files: &[("a/libcuda.so.1", What::Driver), ("b/libcuda.so.1", What::Driver)],
        finds: Some("@/a"),
        ..PLAIN
    },
    Case {
        name: "a_runpath_comes_behind_the_variable",
        library: "--enable-new-dtags,-rpath,@/a",
        library_path: Some("@/gone:@/b"),
        files: &[("a/libcuda.so.1", What::Driver), ("b/libcuda.so.1", What::Driver)],
        finds: Some("@/b"),
        ..PLAIN
    },
    Case {
        name: "an_rpath_of_the_program_is_inherited",
        program: "--disable-new-dtags,-rpath,@/lib:@/a",
        files: &[("a/libcuda.so.1", What::Driver)],
        finds: Some("@/a"),
        ..PLAIN
    },
    Case {
        name: "the_own_rpath_comes_before_the_inherited_one",
        program: "--disable-new-dtags,-rpath,@/lib:@/a",
        library: "--disable-new-dtags,-rpath,@/b:@/gone",
        files: &[("a/libcuda.so.1", What::Driver), ("b/x", What::Text)],
        finds: Some("@/a"),
        ..PLAIN
    },
    Case {
        name: "a_runpath_ends_the_inheritance",
        program: "--disable-new-dtags,-rpath,@/lib:@/a",
        library: "--enable-new-dtags,-rpath,@/b",
        files: &[("a/libcuda.so.1", What::Driver), ("b/x", What::Text)],
        ..PLAIN
    },
    Case {
        name: "a_runpath_of_the_program_is_not_inherited",
        program: "--enable-new-dtags,-rpath,@/lib:@/a",
        files: &[("a/libcuda.so.1", What::Driver)],
        ..PLAIN
    },
    Case {
        name: "origin_is_the_directory_of_each_object",
        program: "--disable-new-dtags,-rpath,$ORIGIN/../lib:${ORIGIN}/here",
        library: "--disable-new-dtags,-rpath,$ORIGIN:${ORIGIN}/../a/$ORIGINAL",
        files: &[("bin/here/libcuda.so.1", What::Driver)],
        finds: Some("@/bin/here"),
        ..PLAIN
    },
    Case {
        name: "lib_and_platform_in_both_spellings",
        library: "--enable-new-dtags,-rpath,@/$LIB:@/${LIB}/x:@/$PLATFORM:@/${PLATFORM}/x:@/$LIBS:@/${LIB:@/$X/a",
        files: &[("$X/a/libcuda.so.1", What::Driver)],
        finds: Some("@/$X/a"),
        ..PLAIN
    },
    Case {
        name: "duplicates_and_slashes",
        library: "--enable-new-dtags,-rpath,@/gone:@/gone//:@/b/:@//b:@/./b:@/b:@/a///",
        files: &[("a/libcuda.so.1", What::Driver), ("b/x", What::Text)],
        finds: Some("@/a"),
        ..PLAIN
    },
    Case {
        name: "an_empty_entry_is_the_current_directory",
        library: "--enable-new-dtags,-rpath,@/gone::@/a",
        files: &[("a/libcuda.so.1", What::Driver), ("libcuda.so.1", What::Driver)],
        finds: Some(""),
        ..PLAIN
    },
    Case {
        name: "a_relative_entry_counts_from_the_current_directory",
        library: "--enable-new-dtags,-rpath,gone:a/../a",
        files: &[("a/libcuda.so.1", What::Driver)],
        finds: Some("a/../a"),
        ..PLAIN
    },
    Case {
        name: "the_variable_splits_at_semicolons_too",
        program: "--disable-new-dtags,-rpath,@/lib",
        library_path: Some("@/gone;@/a:@/b"),
        files: &[("b/libcuda.so.1", What::Driver)],
        finds: Some("@/b"),
        ..PLAIN
    },
    Case {
        name: "an_empty_element_of_the_variable_is_the_current_directory",
        program: "--disable-new-dtags,-rpath,@/lib",
        library_path: Some("@/gone:"),
        files: &[("libcuda.so.1", What::Driver)],
        finds: Some(""),
        ..PLAIN
    },
    Case { name: "an_empty_variable_is_none", library_path: Some(""), ..PLAIN },
    Case {
        name: "origin_in_the_variable_is_that_of_the_program",
        program: "--disable-new-dtags,-rpath,@/lib",
        library_path: Some("$ORIGIN/x"),
        files: &[("bin/x/libcuda.so.1", What::Driver)],
        finds: Some("@/bin/x"),
        ..PLAIN
    },
    Case {
        name: "a_directory_for_the_processor",
        library: "--enable-new-dtags,-rpath,@/b:@/a",
        files: &[("a/glibc-hwcaps/x86-64-v2/libcuda.so.1", What::Driver), ("a/libcuda.so.1", What::Driver)],
        finds: Some("@/a/glibc-hwcaps/x86-64-v2"),
        ..PLAIN
    },
    Case {
        name: "a_directory_for_a_better_processor_comes_first",
        library: "--enable-new-dtags,-rpath,@/a",
        files: &[
            ("a/glibc-hwcaps/x86-64-v2/libcuda.so.1", What::Driver),
            ("a/glibc-hwcaps/x86-64-v3/libcuda.so.1", What::Driver),
            ("a/glibc-hwcaps/x86-64-v4/libcuda.so.1", What::Driver),
        ],
        ..PLAIN
    },
    Case {
        name: "legacy_directories_of_old_loaders",
        library: "--enable-new-dtags,-rpath,@/a",
        files: &[("a/tls/libcuda.so.1", What::Driver), ("a/libcuda.so.1", What::Driver)],
        ..PLAIN
    },
    Case {
        name: "a_library_of_another_class_is_passed_over",
        library: "--enable-new-dtags,-rpath,@/b:@/a",
        files: &[("b/libcuda.so.1", What::Fixture("i386/libplain.so")), ("a/libcuda.so.1", What::Driver)],
        finds: Some("@/a"),
        ..PLAIN
    },
    Case {
        name: "a_library_for_another_machine_is_passed_over",
        library: "--enable-new-dtags,-rpath,@/b:@/a",
        files: &[("b/libcuda.so.1", What::Fixture("aarch64/libplain.so")), ("a/libcuda.so.1", What::Driver)],
        finds: Some("@/a"),
        ..PLAIN
    },
    Case {
        name: "a_text_file_ends_the_search",
        library: "--enable-new-dtags,-rpath,@/b:@/a",
        files: &[("b/libcuda.so.1", What::Text), ("a/libcuda.so.1", What::Driver)],
        ..PLAIN
    },
    Case {
        name: "a_library_of_the_other_byte_order_ends_the_search",
        library: "--enable-new-dtags,-rpath,@/b:@/a",
        files: &[("b/libcuda.so.1", What::Damaged(5, 2)), ("a/libcuda.so.1", What::Driver)],
        ..PLAIN
    },
    Case {
        name: "a_directory_in_the_library's_place_ends_the_search",
        library: "--enable-new-dtags,-rpath,@/b:@/a",
        files: &[("b/libcuda.so.1", What::Directory), ("a/libcuda.so.1", What::Driver)],
        ..PLAIN
    },
    Case {
        name: "a_stub_comes_first",
        library: "--enable-new-dtags,-rpath,@/cuda/lib64/stubs:@/a",
        files: &[("cuda/lib64/stubs/libcuda.so.1", What::Driver), ("a/libcuda.so.1", What::Driver)],
        finds: Some("@/cuda/lib64/stubs"),
        ..PLAIN
    },
    Case { name: "no_default_libraries", library: "-z,nodefaultlib,--enable-new-dtags,-rpath,@/a", ..PLAIN },
];
