//! Planted bugs that the sanitizers must report: `tripwire use-after-free|leak|none`.
//!
//! `scripts/asan.sh` runs it to prove that the C code is instrumented and that leaks are looked for.

use crt_sys::{
    aws_default_allocator, aws_hash_array_ignore_case, aws_mem_acquire, aws_mem_release,
};

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("use-after-free") => use_after_free(),
        Some("leak") => (0..16).for_each(|_| leak()),
        Some("none") => {}
        other => panic!("not a planted bug: {other:?}"),
    }
}

/// C code reads memory that C code has freed.
fn use_after_free() {
    // SAFETY: allocator.h: may be called at any time.
    let allocator = unsafe { aws_default_allocator() };
    // SAFETY: allocator.h: never returns NULL.
    let memory = unsafe { aws_mem_acquire(allocator, SIZE) };
    // SAFETY: allocator.h: `memory` came from this allocator.
    unsafe { aws_mem_release(allocator, memory) };
    // SAFETY: none: this is the planted bug.
    let hash = unsafe { aws_hash_array_ignore_case(memory, SIZE) };
    println!("not caught: {hash}");
}

/// C code allocates memory that nobody frees. Not inlined, so that no register keeps its address.
#[inline(never)]
fn leak() {
    // SAFETY: allocator.h: may be called at any time.
    let allocator = unsafe { aws_default_allocator() };
    // SAFETY: allocator.h: never returns NULL. Not released: this is the planted bug.
    std::hint::black_box(unsafe { aws_mem_acquire(allocator, SIZE) });
}

const SIZE: usize = 64;
