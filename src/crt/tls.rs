//! TLS for clients.

use std::ffi::{CString, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use crt_sys as sys;
use futures::channel::mpsc::UnboundedSender;

use super::bytes::cursor;
use super::callback::guard_or_log;
use super::error::{Error, check, static_text};
use super::handle::{Handle, ThreadSafe, ref_counted};
use super::live::{Keep, Kind, Shared};
use super::runtime::Runtime;

/// Whom to trust.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'a> {
    /// The system's certificate store.
    System,
    /// The certificates in a PEM file, and nobody else.
    CaFile(&'a Path),
}

/// What TLS connections of clients share: the trust store. Making one reads and parses it, so share
/// it.
#[derive(Debug, Clone)]
pub struct TlsContext {
    handle: Handle<sys::aws_tls_ctx>,
    _keep: Keep,
}

impl TlsContext {
    /// Loads the trust store. Wraps `aws_tls_client_ctx_new`.
    ///
    /// # Errors
    /// A file that cannot be read, or that holds no certificates.
    pub fn new(runtime: &Runtime, trust: Trust<'_>) -> Result<Self, Error> {
        let keep = runtime.shared().keep(Kind::Wrapper);
        let allocator = keep.shared().allocator();
        let mut options = CtxOptions::new(allocator);
        if let Trust::CaFile(path) = trust {
            options.trust_file(path)?;
        }
        // SAFETY: initialised options, read and copied during the call
        // (aws/io/tls_channel_handler.h).
        let context = unsafe { sys::aws_tls_client_ctx_new(allocator, &raw const options.0) };
        // SAFETY: a new reference, or NULL.
        let handle = unsafe { Handle::adopt(context) }?;
        Ok(Self {
            handle,
            _keep: keep,
        })
    }

    /// The context, live as long as `self`.
    pub(super) fn as_ptr(&self) -> *mut sys::aws_tls_ctx {
        self.handle.as_ptr()
    }
}

/// A handshake that failed.
///
/// The request that wanted the connection hears of it much later: so that an attacker has no clock,
/// the TLS library keeps the connection for 10 to 30 seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedHandshake {
    /// What the CRT says: that the handshake failed.
    pub error: Error,
    /// Why, in the words of the TLS library: `Certificate is untrusted`.
    pub reason: String,
}

/// Where a client tells of failed handshakes, at once. A connection that the server closes meanwhile
/// is none of them: its request knows at once, and tries again.
pub type FailedHandshakes = UnboundedSender<FailedHandshake>;

/// Options of connections, for a C call that copies them. The client adds the server's name.
pub(super) struct ConnectionOptions(sys::aws_tls_connection_options);

impl ConnectionOptions {
    /// Wraps `aws_tls_connection_options_init_from_ctx`.
    pub(super) fn new(context: &TlsContext) -> Self {
        let mut raw = MaybeUninit::zeroed();
        // SAFETY: writes all of `raw`, and acquires the context (aws/io/tls_channel_handler.h).
        unsafe {
            sys::aws_tls_connection_options_init_from_ctx(raw.as_mut_ptr(), context.as_ptr());
        }
        // SAFETY: initialised by the call.
        Self(unsafe { raw.assume_init() })
    }

    /// Tells `failed` of failed handshakes. Wraps `aws_tls_connection_options_set_callbacks`.
    ///
    /// # Safety
    /// `failed` lives as long as any connection that is made with these options or a copy.
    pub(super) unsafe fn report_to(&mut self, failed: *const FailedHandshakes) {
        // SAFETY: initialised options; writes three callbacks and the user data
        // (aws/io/tls_channel_handler.h).
        unsafe {
            sys::aws_tls_connection_options_set_callbacks(
                &raw mut self.0,
                Some(on_negotiation_result),
                None,
                None,
                failed.cast_mut().cast(),
            );
        }
    }

    /// Expects a certificate for `host`. Wraps `aws_tls_connection_options_set_server_name`.
    pub(super) fn set_server_name(&mut self, shared: &Shared, host: &str) -> Result<(), Error> {
        let host = cursor(host.as_bytes());
        // SAFETY: initialised options; the name is copied (aws/io/tls_channel_handler.h).
        check(unsafe {
            sys::aws_tls_connection_options_set_server_name(
                &raw mut self.0,
                shared.allocator(),
                &raw const host,
            )
        })
    }

    pub(super) fn as_ptr(&self) -> *const sys::aws_tls_connection_options {
        &raw const self.0
    }
}

impl Drop for ConnectionOptions {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again (aws/io/tls_channel_handler.h).
        unsafe { sys::aws_tls_connection_options_clean_up(&raw mut self.0) };
    }
}

unsafe extern "C" fn on_negotiation_result(
    _handler: *mut sys::aws_channel_handler,
    _slot: *mut sys::aws_channel_slot,
    error_code: c_int,
    user_data: *mut c_void,
) {
    if error_code == 0 {
        return;
    }
    guard_or_log("the report of a TLS handshake", || {
        // SAFETY: the user data of `report_to`, which is shared only, and lives.
        let failed = unsafe { &*user_data.cast::<FailedHandshakes>() };
        // Whoever wanted to know may have gone.
        let _unheard = failed.unbounded_send(FailedHandshake {
            error: Error::from_code(error_code),
            reason: failure(),
        });
    });
}

/// Why the handshake failed whose callback this thread is in.
fn failure() -> String {
    // SAFETY: no preconditions (s2n.h).
    let errno = unsafe { sys::s2n_errno_location() };
    // SAFETY: this thread's variable, which the failed `s2n_negotiate` has set right before the
    // callback (s2n.h, s2n_tls_channel_handler.c).
    let errno = unsafe { *errno };
    // SAFETY: any number is allowed; NULL means English; the text is static (s2n.h).
    let text = unsafe { sys::s2n_strerror(errno, ptr::null()) };
    static_text(text)
}

struct CtxOptions(sys::aws_tls_ctx_options);

impl CtxOptions {
    fn new(allocator: *mut sys::aws_allocator) -> Self {
        let mut raw = MaybeUninit::zeroed();
        // SAFETY: writes all of `raw` (aws/io/tls_channel_handler.h).
        unsafe { sys::aws_tls_ctx_options_init_default_client(raw.as_mut_ptr(), allocator) };
        // SAFETY: initialised by the call.
        Self(unsafe { raw.assume_init() })
    }

    fn trust_file(&mut self, path: &Path) -> Result<(), Error> {
        let path = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Error::from_constant(sys::AWS_ERROR_INVALID_ARGUMENT))?;
        // SAFETY: initialised options; the path is a C string that is read during the call, no
        // directory is given (aws/io/tls_channel_handler.h).
        check(unsafe {
            sys::aws_tls_ctx_options_override_default_trust_store_from_path(
                &raw mut self.0,
                ptr::null(),
                path.as_ptr(),
            )
        })
    }
}

impl Drop for CtxOptions {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again (aws/io/tls_channel_handler.h).
        unsafe { sys::aws_tls_ctx_options_clean_up(&raw mut self.0) };
    }
}

ref_counted!(aws_tls_ctx, aws_tls_ctx_acquire, aws_tls_ctx_release);

// SAFETY: immutable after its construction; connections on all event loops share one
// (aws/io/tls_channel_handler.h, s2n_tls_channel_handler.c).
unsafe impl ThreadSafe for sys::aws_tls_ctx {}

const _: () = {
    static_assertions::assert_impl_all!(TlsContext: Send, Sync);
    static_assertions::assert_impl_all!(FailedHandshakes: Send, Sync);
};
