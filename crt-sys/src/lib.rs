//! Raw bindings to the AWS Common Runtime: the C libraries aws-lc, s2n-tls, aws-c-common, -cal, -io,
//! -compression, -http, -sdkutils, -auth, aws-checksums and aws-c-s3, compiled from source and linked
//! statically.
//!
//! The declarations are generated from the C headers, which are the documentation. Every C enum is a
//! set of plain integer constants under their C names; its type is an alias of the integer type, `u32`
//! for nearly all: error codes too, which functions take and return as `c_int` (use `cast_signed`).
//! Functions that C declares `static inline` are not here. `build/main.rs` tells how the libraries
//! are built and which environment variables change that.

mod bindings {
    #![allow(
        missing_docs,
        missing_debug_implementations,
        non_camel_case_types,
        non_snake_case,
        non_upper_case_globals,
        unreachable_pub,
        unused_qualifications,
        unsafe_code,
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::multiple_unsafe_ops_per_block,
        clippy::undocumented_unsafe_blocks,
        reason = "generated from C headers"
    )]
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;
