//! Generates the Rust declarations from the installed headers.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bindgen::callbacks::IntKind;

use crate::Result;

/// Writes `bindings.rs` into `out_dir`.
pub fn generate(prefix: &Path, out_dir: &Path) -> Result<()> {
    let mut wrapper = String::new();
    for header in HEADERS {
        // Writing to a String can't fail.
        let _ = writeln!(wrapper, "#include <{header}>");
    }
    let wrapper_file = out_dir.join("wrapper.h");
    fs::write(&wrapper_file, wrapper).map_err(|e| format!("{}: {e}", wrapper_file.display()))?;
    let output = out_dir.join("bindings.rs");
    bindgen::Builder::default()
        .header(wrapper_file.to_string_lossy())
        .clang_arg(format!("-I{}", prefix.join("include").display()))
        .clang_arg("-Ishim")
        // Plain integer constants with the names that C has: a value that a Rust enum doesn't know
        // would be undefined behaviour, and C may always send one.
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        // Sizes, alignments and offsets are checked when this crate is compiled.
        .layout_tests(true)
        .use_core()
        .generate_cstr(true)
        .rust_edition(bindgen::RustEdition::Edition2024)
        // Without these lists every declaration of libc would be generated.
        .allowlist_function(NAMES)
        .allowlist_type(NAMES)
        .allowlist_var(NAMES)
        .allowlist_function(TLS_ERRORS)
        .parse_callbacks(Box::new(ReturnCodes))
        // C comments are not written in Markdown.
        .generate_comments(false)
        .generate()
        .map_err(|e| format!("generating bindings: {e}"))?
        .write_to_file(&output)
        .map_err(|e| format!("{}: {e}", output.display()))
}

/// Gives AWS_OP_SUCCESS the type of AWS_OP_ERR, which is that of the functions returning it; macros
/// of positive value are unsigned otherwise.
#[derive(Debug)]
struct ReturnCodes;

impl bindgen::callbacks::ParseCallbacks for ReturnCodes {
    fn int_macro(&self, name: &str, _value: i64) -> Option<IntKind> {
        (name == "AWS_OP_SUCCESS").then_some(IntKind::Int)
    }
}

/// Everything of the Common Runtime and of the shim.
const NAMES: &str = "(g_)?(aws|AWS|crt_shim|CRT_SHIM)_.*";

/// What tells why a handshake failed: the Common Runtime has one code for all reasons of s2n-tls.
const TLS_ERRORS: &str = "s2n_errno_location|s2n_strerror";

/// The public headers, in dependency order; `log.h` is the shim's.
const HEADERS: &[&str] = &[
    "aws/common/allocator.h",
    "aws/common/byte_buf.h",
    "aws/common/clock.h",
    "aws/common/common.h",
    "aws/common/date_time.h",
    "aws/common/error.h",
    "aws/common/file.h",
    "aws/common/logging.h",
    "aws/common/ref_count.h",
    "aws/common/string.h",
    "aws/common/system_info.h",
    "aws/common/thread.h",
    "aws/common/uri.h",
    "aws/cal/cal.h",
    "aws/cal/hash.h",
    "aws/cal/hmac.h",
    "aws/io/channel.h",
    "aws/io/channel_bootstrap.h",
    "aws/io/event_loop.h",
    "aws/io/future.h",
    "aws/io/host_resolver.h",
    "aws/io/io.h",
    "aws/io/logging.h",
    "aws/io/retry_strategy.h",
    "aws/io/socket.h",
    "aws/io/stream.h",
    "aws/io/tls_channel_handler.h",
    "aws/io/uri.h",
    "aws/compression/compression.h",
    "aws/compression/huffman.h",
    "aws/http/connection.h",
    "aws/http/connection_manager.h",
    "aws/http/http.h",
    "aws/http/proxy.h",
    "aws/http/request_response.h",
    "aws/http/status_code.h",
    "aws/sdkutils/aws_profile.h",
    "aws/sdkutils/endpoints_rule_engine.h",
    "aws/sdkutils/partitions.h",
    "aws/sdkutils/resource_name.h",
    "aws/sdkutils/sdkutils.h",
    "aws/auth/auth.h",
    "aws/auth/aws_imds_client.h",
    "aws/auth/credentials.h",
    "aws/auth/signable.h",
    "aws/auth/signing.h",
    "aws/auth/signing_config.h",
    "aws/auth/signing_result.h",
    "aws/checksums/checksums.h",
    "aws/checksums/crc.h",
    "aws/s3/s3.h",
    "aws/s3/s3_buffer_pool.h",
    "aws/s3/s3_client.h",
    "aws/s3/s3_endpoint_resolver.h",
    "aws/s3/s3express_credentials_provider.h",
    "s2n.h",
    "log.h",
];
