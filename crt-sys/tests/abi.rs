//! Calls into every library of the Common Runtime: that it is linked, that it is the one whose headers
//! were bound, and that it can be started and stopped more than once.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{mem, ptr, slice};

use crt_sys::*;

/// The libraries, initialised on a tracing allocator. Tests run side by side in one process, and the
/// state of the libraries belongs to the process: only one test has them at a time.
struct Runtime {
    allocator: *mut aws_allocator,
    turn: Turn,
}

/// The right to use the libraries.
type Turn = MutexGuard<'static, ()>;

fn wait_for_turn() -> Turn {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runtime {
    fn start() -> Self {
        Self::start_in(wait_for_turn())
    }

    fn start_in(turn: Turn) -> Self {
        // SAFETY: allocator.h: may be called at any time.
        let default = unsafe { aws_default_allocator() };
        // SAFETY: allocator.h: the third argument must be NULL; no stacks are kept.
        let allocator =
            unsafe { aws_mem_tracer_new(default, ptr::null_mut(), AWS_MEMTRACE_BYTES, 0) };
        // SAFETY: s3.h: initialises every library below it; it is this thread's turn.
        unsafe { aws_s3_library_init(allocator) };
        Self { allocator, turn }
    }

    /// Stops the libraries; returns the bytes still allocated.
    fn stop(self) -> usize {
        self.stop_in_turn().0
    }

    fn stop_in_turn(self) -> (usize, Turn) {
        // SAFETY: s3.h: initialised by `start_in`, and every object has been destroyed.
        unsafe { aws_s3_library_clean_up() };
        // SAFETY: allocator.h: made by aws_mem_tracer_new.
        let bytes = unsafe { aws_mem_tracer_bytes(self.allocator) };
        // SAFETY: allocator.h: made by aws_mem_tracer_new, and not used afterwards.
        unsafe { aws_mem_tracer_destroy(self.allocator) };
        (bytes, self.turn)
    }
}

fn cursor(bytes: &[u8]) -> aws_byte_cursor {
    // SAFETY: byte_buf.h: a view; every use below ends before `bytes` does.
    unsafe { aws_byte_cursor_from_array(bytes.as_ptr().cast(), bytes.len()) }
}

fn view(cursor: &aws_byte_cursor) -> &[u8] {
    assert!(!cursor.ptr.is_null());
    // SAFETY: byte_buf.h: `len` bytes at `ptr`, which outlive the views made in these tests.
    unsafe { slice::from_raw_parts(cursor.ptr, cursor.len) }
}

fn text(string: *const c_char) -> &'static str {
    assert!(!string.is_null());
    // SAFETY: error.h, logging.h: names are static strings that end in NUL.
    unsafe { CStr::from_ptr(string) }
        .to_str()
        .expect("an ASCII name")
}

/// The library and the name that the error table has for `code`.
fn error(code: u32) -> (&'static str, &'static str) {
    let code = c_int::try_from(code).expect("error codes are small");
    // SAFETY: error.h: answers for every code.
    let library = unsafe { aws_error_lib_name(code) };
    // SAFETY: error.h: answers for every code.
    let name = unsafe { aws_error_name(code) };
    (text(library), text(name))
}

/// The name of the calling thread's last error.
fn last_error() -> &'static str {
    // SAFETY: error.h: reads a thread-local variable.
    error(unsafe { aws_last_error() }.unsigned_abs()).1
}

#[test]
fn checksums_give_known_vectors() {
    let runtime = Runtime::start();
    let input = b"123456789";
    let crc = |function: unsafe extern "C" fn(*const u8, usize, u32) -> u32| {
        // SAFETY: crc.h: reads `length` bytes.
        unsafe { function(input.as_ptr(), input.len(), 0) }
    };
    assert_eq!(crc(aws_checksums_crc32c_ex), 0xE306_9283);
    assert_eq!(crc(aws_checksums_crc32_ex), 0xCBF4_3926);
    // SAFETY: crc.h: reads `length` bytes.
    let crc64 = unsafe { aws_checksums_crc64nvme_ex(input.as_ptr(), input.len(), 0) };
    assert_eq!(crc64, 0xAE8B_1486_0A79_9888);
    assert_eq!(runtime.stop(), 0);
}

#[test]
fn checksum_of_long_input_equals_combined_halves() {
    let runtime = Runtime::start();
    // Long enough for the vector code; halves of odd lengths for its edges.
    let input: Vec<u8> = (0..100_003_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let (left, right) = input.split_at(33_337);
    let crc32c = |bytes: &[u8]| {
        // SAFETY: crc.h: reads `length` bytes.
        unsafe { aws_checksums_crc32c_ex(bytes.as_ptr(), bytes.len(), 0) }
    };
    let crc64 = |bytes: &[u8]| {
        // SAFETY: crc.h: reads `length` bytes.
        unsafe { aws_checksums_crc64nvme_ex(bytes.as_ptr(), bytes.len(), 0) }
    };
    let right_length = right.len() as u64;
    // SAFETY: crc.h: arithmetic only.
    let joined = unsafe { aws_checksums_crc32c_combine(crc32c(left), crc32c(right), right_length) };
    assert_eq!(crc32c(&input), joined);
    // SAFETY: crc.h: arithmetic only.
    let joined =
        unsafe { aws_checksums_crc64nvme_combine(crc64(left), crc64(right), right_length) };
    assert_eq!(crc64(&input), joined);
    assert_eq!(runtime.stop(), 0);
}

#[test]
fn error_tables_name_codes_of_every_library() {
    let runtime = Runtime::start();
    let expected = [
        (AWS_ERROR_OOM, "aws-c-common", "AWS_ERROR_OOM"),
        (
            AWS_ERROR_CAL_UNSUPPORTED_ALGORITHM,
            "aws-c-cal",
            "AWS_ERROR_CAL_UNSUPPORTED_ALGORITHM",
        ),
        (
            AWS_IO_DNS_INVALID_NAME,
            "aws-c-io",
            "AWS_IO_DNS_INVALID_NAME",
        ),
        (
            AWS_ERROR_COMPRESSION_UNKNOWN_SYMBOL,
            "aws-c-compression",
            "AWS_ERROR_COMPRESSION_UNKNOWN_SYMBOL",
        ),
        (
            AWS_ERROR_HTTP_CONNECTION_CLOSED,
            "aws-c-http",
            "AWS_ERROR_HTTP_CONNECTION_CLOSED",
        ),
        (
            AWS_ERROR_SDKUTILS_PARSE_FATAL,
            "aws-c-sdkutils",
            "AWS_ERROR_SDKUTILS_PARSE_FATAL",
        ),
        (
            AWS_AUTH_CREDENTIALS_PROVIDER_INVALID_DELEGATE,
            "aws-c-auth",
            "AWS_AUTH_CREDENTIALS_PROVIDER_INVALID_DELEGATE",
        ),
        (AWS_ERROR_S3_CANCELED, "aws-c-s3", "AWS_ERROR_S3_CANCELED"),
    ];
    for (code, library, name) in expected {
        assert_eq!(error(code), (library, name), "code {code}");
    }
    assert_eq!(runtime.stop(), 0);
}

#[test]
fn enums_have_the_width_of_c_int() {
    assert_eq!(size_of::<aws_s3_meta_request_type>(), size_of::<c_int>());
    assert_eq!(size_of::<aws_log_level>(), size_of::<c_int>());
    assert_eq!(size_of::<aws_s3_errors>(), size_of::<c_int>());
    assert_eq!(size_of::<aws_s3_checksum_algorithm>(), size_of::<c_int>());
    assert_eq!(size_of::<aws_log_subject_t>(), 4);
}

#[test]
fn init_after_clean_up_starts_again() {
    let mut turn = wait_for_turn();
    for round in 1..=2 {
        let runtime = Runtime::start_in(turn);
        assert_eq!(
            error(AWS_ERROR_S3_CANCELED).1,
            "AWS_ERROR_S3_CANCELED",
            "round {round}"
        );
        let (bytes, held) = runtime.stop_in_turn();
        assert_eq!(bytes, 0, "bytes leaked in round {round}");
        assert_eq!(
            error(AWS_ERROR_S3_CANCELED).1,
            "Unknown Error Code",
            "round {round}"
        );
        turn = held;
    }
}

#[test]
fn sha256_gives_known_vector() {
    let runtime = Runtime::start();
    let mut digest = [0_u8; AWS_SHA256_LEN as usize];
    // SAFETY: byte_buf.h: an empty buffer over `digest`, which outlives it.
    let mut output =
        unsafe { aws_byte_buf_from_empty_array(digest.as_mut_ptr().cast(), digest.len()) };
    let input = cursor(b"abc");
    // SAFETY: hash.h: writes at most the buffer's capacity; 0 means not truncated.
    let result = unsafe { aws_sha256_compute(runtime.allocator, &input, &mut output, 0) };
    assert_eq!(result, AWS_OP_SUCCESS);
    assert_eq!(output.len, digest.len());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(runtime.stop(), 0);
}

#[test]
fn tls_context_is_made_and_released() {
    let runtime = Runtime::start();
    // SAFETY: tls_channel_handler.h: a plain struct that init fills.
    let mut options: aws_tls_ctx_options = unsafe { mem::zeroed() };
    // SAFETY: tls_channel_handler.h: `options` is writable.
    unsafe { aws_tls_ctx_options_init_default_client(&mut options, runtime.allocator) };
    // SAFETY: tls_channel_handler.h: `options` is initialised; it may be cleaned up afterwards.
    let context = unsafe { aws_tls_client_ctx_new(runtime.allocator, &options) };
    assert!(!context.is_null(), "{}", last_error());
    // SAFETY: tls_channel_handler.h: initialised above.
    unsafe { aws_tls_ctx_options_clean_up(&mut options) };
    // SAFETY: tls_channel_handler.h: our only reference.
    unsafe { aws_tls_ctx_release(context) };
    // SAFETY: tls_channel_handler.h: asks what the TLS library can do.
    assert!(unsafe { aws_tls_is_alpn_available() });
    assert_eq!(runtime.stop(), 0);
}

#[test]
fn huffman_coder_packs_symbols() {
    /// Two bits a symbol: its lowest ones.
    unsafe extern "C" fn encode(symbol: u8, _: *mut c_void) -> aws_huffman_code {
        aws_huffman_code {
            pattern: u32::from(symbol & 0b11),
            num_bits: 2,
        }
    }
    let runtime = Runtime::start();
    let mut coder = aws_huffman_symbol_coder {
        encode: Some(encode),
        decode: None,
        userdata: ptr::null_mut(),
    };
    // SAFETY: huffman.h: a plain struct that init fills.
    let mut encoder: aws_huffman_encoder = unsafe { mem::zeroed() };
    // SAFETY: huffman.h: `coder` outlives `encoder`.
    unsafe { aws_huffman_encoder_init(&mut encoder, &mut coder) };
    let mut input = cursor(&[0, 1, 2, 3]);
    let mut packed = [0_u8; 4];
    // SAFETY: byte_buf.h: an empty buffer over `packed`, which outlives it.
    let mut output =
        unsafe { aws_byte_buf_from_empty_array(packed.as_mut_ptr().cast(), packed.len()) };
    // SAFETY: huffman.h: reads the cursor, writes at most the buffer's capacity.
    let result = unsafe { aws_huffman_encode(&mut encoder, &mut input, &mut output) };
    assert_eq!(result, AWS_OP_SUCCESS);
    assert_eq!((output.len, packed[0]), (1, 0b0001_1011));
    assert_eq!(runtime.stop(), 0);
}

#[test]
fn resource_name_is_split_into_fields() {
    let runtime = Runtime::start();
    let input = cursor(b"arn:aws:s3:eu-west-1:123456789012:accesspoint/mine");
    // SAFETY: resource_name.h: a plain struct that init fills.
    let mut name: aws_resource_name = unsafe { mem::zeroed() };
    // SAFETY: resource_name.h: views into `input`, which outlives `name`.
    let result = unsafe { aws_resource_name_init_from_cur(&mut name, &input) };
    assert_eq!(result, AWS_OP_SUCCESS);
    assert_eq!(view(&name.service), b"s3");
    assert_eq!(view(&name.region), b"eu-west-1");
    assert_eq!(view(&name.resource_id), b"accesspoint/mine");
    assert_eq!(runtime.stop(), 0);
}

#[test]
fn http_headers_keep_what_is_added() {
    let runtime = Runtime::start();
    // SAFETY: request_response.h: the allocator outlives the headers.
    let headers = unsafe { aws_http_headers_new(runtime.allocator) };
    // SAFETY: request_response.h: copies name and value.
    let result = unsafe { aws_http_headers_add(headers, cursor(b"Range"), cursor(b"bytes=0-9")) };
    assert_eq!(result, AWS_OP_SUCCESS);
    // SAFETY: byte_buf.h: a plain view that the next call fills.
    let mut value: aws_byte_cursor = unsafe { mem::zeroed() };
    // SAFETY: request_response.h: names are compared without case.
    let result = unsafe { aws_http_headers_get(headers, cursor(b"range"), &mut value) };
    assert_eq!(result, AWS_OP_SUCCESS);
    assert_eq!(view(&value), b"bytes=0-9");
    // SAFETY: request_response.h: our only reference.
    unsafe { aws_http_headers_release(headers) };
    assert_eq!(runtime.stop(), 0);
}

#[test]
fn credentials_keep_their_fields() {
    let runtime = Runtime::start();
    let (key, secret, token) = (cursor(b"key"), cursor(b"secret"), cursor(b"token"));
    // SAFETY: credentials.h: copies its arguments.
    let credentials =
        unsafe { aws_credentials_new(runtime.allocator, key, secret, token, u64::MAX) };
    assert!(!credentials.is_null());
    // SAFETY: credentials.h: a view that lives as long as the credentials.
    let key = unsafe { aws_credentials_get_access_key_id(credentials) };
    assert_eq!(view(&key), b"key");
    // SAFETY: credentials.h: our only reference.
    unsafe { aws_credentials_release(credentials) };
    assert_eq!(runtime.stop(), 0);
}

#[test]
fn client_without_bootstrap_is_refused() {
    let runtime = Runtime::start();
    // SAFETY: s3_client.h: zero is an unset field in every one of them.
    let config: aws_s3_client_config = unsafe { mem::zeroed() };
    // SAFETY: s3_client.h: NULL is returned, and an error raised, for what can't be used.
    let client = unsafe { aws_s3_client_new(runtime.allocator, &config) };
    assert!(client.is_null());
    assert_eq!(last_error(), "AWS_ERROR_INVALID_ARGUMENT");
    // SAFETY: s3_client.h: a static string for each type.
    let name = unsafe { aws_s3_request_type_operation_name(AWS_S3_REQUEST_TYPE_GET_OBJECT) };
    assert_eq!(text(name), "GetObject");
    assert_eq!(runtime.stop(), 0);
}

#[test]
fn fragment_size_can_be_set() {
    let runtime = Runtime::start();
    let size = &raw mut g_aws_channel_max_fragment_size;
    // SAFETY: channel.h: a plain global, read when a channel is made; there is none.
    let default = unsafe { size.read() };
    assert_eq!(default, 16 * 1024);
    // SAFETY: as above.
    unsafe { size.write(1024 * 1024) };
    // SAFETY: as above.
    assert_eq!(unsafe { size.read() }, 1024 * 1024);
    // SAFETY: as above.
    unsafe { size.write(default) };
    assert_eq!(runtime.stop(), 0);
}

/// What the logger has been given: level, subject's name and text.
static LOGGED: Mutex<Vec<(aws_log_level, &str, String)>> = Mutex::new(Vec::new());
/// The level that the logger wants.
static LEVEL: AtomicU32 = AtomicU32::new(AWS_LL_NONE);

unsafe extern "C" fn wanted_level(_subject: aws_log_subject_t) -> aws_log_level {
    LEVEL.load(Ordering::Relaxed)
}

unsafe extern "C" fn log(
    level: aws_log_level,
    subject: aws_log_subject_t,
    message: *const c_char,
    length: usize,
) {
    // SAFETY: log.h: `length` bytes, valid during this call.
    let message = unsafe { slice::from_raw_parts(message.cast(), length) };
    // SAFETY: logging.h: a static string for each subject.
    let subject = text(unsafe { aws_log_subject_name(subject) });
    let message = String::from_utf8_lossy(message).into_owned();
    LOGGED.lock().unwrap().push((level, subject, message));
}

#[test]
fn logger_formats_filters_and_truncates() {
    let runtime = Runtime::start();
    // SAFETY: log.h: once a process; no other thread uses the libraries.
    unsafe { crt_shim_log_install(Some(wanted_level), Some(log)) };
    // SAFETY: s3_client.h: zero is an unset field in every one of them.
    let config: aws_s3_client_config = unsafe { mem::zeroed() };
    let refused = || {
        // SAFETY: s3_client.h: NULL is returned, and an error logged, without a bootstrap.
        let client = unsafe { aws_s3_client_new(runtime.allocator, &config) };
        assert!(client.is_null());
    };
    refused();
    assert_eq!(*LOGGED.lock().unwrap(), [], "nothing is wanted");

    LEVEL.store(AWS_LL_ERROR, Ordering::Relaxed);
    refused();
    let logged = mem::take(&mut *LOGGED.lock().unwrap());
    let [(AWS_LL_ERROR, "S3Client", message)] = logged.as_slice() else {
        panic!("{logged:?}");
    };
    assert!(message.starts_with("Cannot create client"), "{message}");

    // SAFETY: logging.h: the logger installed above.
    let logger = unsafe { aws_logger_get() };
    // SAFETY: logging.h: every logger has a vtable.
    let vtable = unsafe { (*logger).vtable };
    // SAFETY: logging.h: as above; it is static.
    let write = unsafe { (*vtable).log }.expect("every logger logs");
    let longest = CRT_SHIM_LOG_MAX_LENGTH as usize;
    for (given, kept) in [
        (longest - 1, longest - 1),
        (longest, longest),
        (longest + 1, longest),
    ] {
        let long = CString::new("x".repeat(given)).unwrap();
        // SAFETY: logging.h: printf rules; `%s` takes a string that ends in NUL.
        let result = unsafe {
            write(
                logger,
                AWS_LL_WARN,
                AWS_LS_S3_GENERAL,
                c"%s".as_ptr(),
                long.as_ptr(),
            )
        };
        assert_eq!(result, AWS_OP_SUCCESS);
        let (_, _, message) = LOGGED.lock().unwrap().pop().expect("one message");
        assert_eq!(message.len(), kept);
        assert_eq!(message.ends_with("..."), given > longest);
    }
    LEVEL.store(AWS_LL_NONE, Ordering::Relaxed);
    assert_eq!(runtime.stop(), 0);
}
