//! What asks.c does, as rustc links it: a cdylib and a program.

use std::ffi::{c_char, c_int, c_void};

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

const RTLD_NOW: c_int = 2;
const SIZE: usize = if cfg!(large_bss) { 8 << 20 } else { 64 };
static mut ZERO: [u8; SIZE] = [0; SIZE];
static WORDS: [&str; 2] = ["relocated", "pointers"];

fn is_damaged() -> bool {
    let at = |i: usize| unsafe { (&raw const ZERO).cast::<u8>().add(i).read_volatile() };
    let words = unsafe { (&raw const WORDS).read_volatile() };
    (0..SIZE.min(65536)).chain((0..SIZE).step_by(1024)).any(|i| at(i) != 0) || words != ["relocated", "pointers"]
}

#[unsafe(no_mangle)]
pub extern "C" fn ask() -> c_int {
    let probe = unsafe { dlopen(c"libprobe.so".as_ptr(), RTLD_NOW) };
    if is_damaged() {
        return -2;
    }
    if probe.is_null() {
        return -1;
    }
    let number = unsafe { dlsym(probe, c"probe_number".as_ptr()) };
    let number: extern "C" fn() -> c_int = unsafe { std::mem::transmute(number) };
    number()
}

#[allow(dead_code)]
fn main() {
    println!("{}", ask());
}
