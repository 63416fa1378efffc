//! The runtime: libraries, event loops, host resolver, bootstrap, and their end.

use std::error::Error as StdError;
use std::ffi::c_void;
use std::fmt;
use std::num::NonZeroU16;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crt_sys as sys;

use super::callback::{self, guard_or_log};
use super::error::Error;
use super::handle::{Handle, ThreadSafe, ref_counted};
use super::library::{LeaveError, LibraryUse};
use super::live::{Keep, Kind, Shared};

/// How to start a [`Runtime`].
#[derive(Debug, Clone, Default)]
pub struct RuntimeConfig {
    /// Event loops, each a thread; a client adds as many for delivering bodies. `None` is half the
    /// processors.
    pub event_loop_threads: Option<NonZeroU16>,
    /// Bytes that a connection reads at a time, at most; `None` is the CRT's default of 16 KiB.
    /// 256 KiB to 1 MiB halves the cost of a download. The CRT has one value for the process: that
    /// of the runtime that is started while no other one lives. Wraps
    /// `g_aws_channel_max_fragment_size`.
    pub max_fragment_bytes: Option<usize>,
}

/// Event loops, a host resolver and a bootstrap: what everything else of this module runs on.
///
/// Start it once a process, after the process has become a daemon: its threads don't survive a
/// fork. Several at a time work, too.
#[derive(Debug)]
pub struct Runtime {
    // Dropped in this order. The bootstrap holds references of its own to the other two.
    bootstrap: Option<Handle<sys::aws_client_bootstrap>>,
    resolver: Option<Handle<sys::aws_host_resolver>>,
    event_loops: Option<Handle<sys::aws_event_loop_group>>,
    shared: Arc<Shared>,
    library: Option<LibraryUse>,
}

/// A shutdown that did not come to its end. What was not waited for ends on its own, or stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownError {
    /// Where the shutdown stopped.
    pub stage: ShutdownStage,
}

/// The stages of a shutdown, in order; each names what was still alive at the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShutdownStage {
    /// Not begun: called from a callback of the CRT, where waiting would deadlock.
    Refused,
    /// A request: canceled, but its handle is still held, or a callback does not return.
    Requests,
    /// A body part that is still held.
    Buffers,
    /// A client that is still held.
    Clients,
    /// A credentials provider that is still held.
    Credentials,
    /// The client bootstrap.
    Bootstrap,
    /// The host resolver.
    Resolver,
    /// The event loops.
    EventLoops,
    /// A wrapper that is still held: a message, a URI, a TLS context.
    Wrappers,
    /// A thread of the CRT.
    Threads,
    /// Everything is gone, but so many bytes of a traced runtime were never given back.
    Leak(usize),
}

impl Runtime {
    /// Starts the CRT. Wraps `aws_event_loop_group_new`, `aws_host_resolver_new_default` and
    /// `aws_client_bootstrap_new`.
    ///
    /// # Errors
    /// Threads or memory that the system refuses; a traced runtime that lives.
    pub fn start(config: RuntimeConfig) -> Result<Self, Error> {
        Self::start_with(&config, false)
    }

    /// Starts the CRT with an allocator that counts: [`Self::shutdown`] fails unless every byte was
    /// given back. For tests: it is slower, and no other runtime can live at the same time.
    ///
    /// # Errors
    /// As [`Self::start`]; another runtime that lives, or did not end by [`Self::shutdown`].
    pub fn start_traced(config: RuntimeConfig) -> Result<Self, Error> {
        Self::start_with(&config, true)
    }

    /// Bytes that the CRT holds now; `None` unless this runtime is traced. Part buffers are not
    /// counted, the CRT takes them from the system.
    pub fn traced_bytes(&self) -> Option<usize> {
        self.library.as_ref()?.allocator().outstanding_bytes()
    }

    /// Ends everything, in order: cancels all requests, waits for what C tears down on its own
    /// threads, joins them and cleans the libraries up. Blocks until `deadline` has passed, at
    /// most.
    ///
    /// Requests that are held as [`Request`](super::s3::Request), clients, providers and body parts
    /// must be dropped by then; dropping them while this waits, on another thread, is fine.
    ///
    /// # Errors
    /// What was still alive at the deadline. The rest was released, but not waited for.
    pub fn shutdown(mut self, deadline: Duration) -> Result<(), ShutdownError> {
        self.shutdown_stages(Instant::now() + deadline)
            .map_err(|stage| ShutdownError { stage })
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The bootstrap, live as long as `self`.
    pub(super) fn bootstrap(&self) -> *mut sys::aws_client_bootstrap {
        self.bootstrap
            .as_ref()
            .map_or(ptr::null_mut(), Handle::as_ptr)
    }

    /// A reference to the bootstrap; `None` while the runtime is shut down.
    pub(super) fn bootstrap_handle(&self) -> Option<Handle<sys::aws_client_bootstrap>> {
        self.bootstrap.clone()
    }

    fn start_with(config: &RuntimeConfig, traced: bool) -> Result<Self, Error> {
        let library = LibraryUse::enter(traced, config.max_fragment_bytes)?;
        let mut runtime = Self {
            bootstrap: None,
            resolver: None,
            event_loops: None,
            shared: Shared::new(library.allocator()),
            library: Some(library),
        };
        match runtime.build(config) {
            Ok(()) => Ok(runtime),
            Err(error) => {
                // What was built has done no work: it ends at once, or stays until the process ends.
                let _ = runtime.shutdown_stages(Instant::now() + FAILED_START_DEADLINE);
                Err(error)
            }
        }
    }

    fn build(&mut self, config: &RuntimeConfig) -> Result<(), Error> {
        let event_loops = new_event_loops(&self.shared, config.event_loop_threads)?;
        let event_loops = self.event_loops.insert(event_loops);
        let resolver = new_resolver(&self.shared, event_loops)?;
        let resolver = self.resolver.insert(resolver);
        self.bootstrap = Some(new_bootstrap(&self.shared, event_loops, resolver)?);
        Ok(())
    }

    fn shutdown_stages(&mut self, deadline: Instant) -> Result<(), ShutdownStage> {
        if callback::in_callback() {
            return Err(ShutdownStage::Refused);
        }
        let shared = Arc::clone(&self.shared);
        let gone = |kind, stage| {
            if shared.wait_gone(kind, deadline) {
                Ok(())
            } else {
                Err(stage)
            }
        };
        shared.cancel_requests();
        gone(Kind::Request, ShutdownStage::Requests)?;
        gone(Kind::Buffer, ShutdownStage::Buffers)?;
        gone(Kind::Client, ShutdownStage::Clients)?;
        gone(Kind::Credentials, ShutdownStage::Credentials)?;
        self.bootstrap = None;
        gone(Kind::Bootstrap, ShutdownStage::Bootstrap)?;
        self.resolver = None;
        gone(Kind::Resolver, ShutdownStage::Resolver)?;
        self.event_loops = None;
        gone(Kind::EventLoops, ShutdownStage::EventLoops)?;
        gone(Kind::Wrapper, ShutdownStage::Wrappers)?;
        let Some(library) = self.library.take() else {
            return Ok(());
        };
        // SAFETY: every kind of object was waited for, and this thread is in no callback.
        let left = unsafe { library.leave(deadline) };
        left.map_err(|error| match error {
            LeaveError::Threads => ShutdownStage::Threads,
            LeaveError::Leak(bytes) => ShutdownStage::Leak(bytes),
        })
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // The library's use is taken by an orderly shutdown only.
        if self.library.is_some() {
            log::warn!("the CRT runtime was dropped before its shutdown had ended");
        }
    }
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.stage {
            ShutdownStage::Refused => "called from a callback",
            ShutdownStage::Requests => "requests are still alive",
            ShutdownStage::Buffers => "body parts are still held",
            ShutdownStage::Clients => "clients are still held",
            ShutdownStage::Credentials => "credentials providers are still held",
            ShutdownStage::Bootstrap => "the bootstrap is still alive",
            ShutdownStage::Resolver => "the host resolver is still alive",
            ShutdownStage::EventLoops => "event loops are still alive",
            ShutdownStage::Wrappers => "wrappers are still held",
            ShutdownStage::Threads => "threads still run",
            ShutdownStage::Leak(bytes) => {
                return write!(f, "CRT shutdown: {bytes} bytes were never given back");
            }
        };
        write!(f, "CRT shutdown: {what}")
    }
}

impl StdError for ShutdownError {}

/// Gives C a [`Keep`] as user data, to be dropped by [`on_shutdown`].
pub(super) fn into_user_data(keep: Keep) -> *mut c_void {
    Box::into_raw(Box::new(keep)).cast()
}

/// Takes back what [`into_user_data`] gave.
///
/// # Safety
/// `user_data` comes from [`into_user_data`], and C has not and will not call [`on_shutdown`].
pub(super) unsafe fn reclaim(user_data: *mut c_void) {
    // SAFETY: this function's contract.
    drop(unsafe { Box::from_raw(user_data.cast::<Keep>()) });
}

/// The shutdown callback of everything whose user data comes from [`into_user_data`].
pub(super) unsafe extern "C" fn on_shutdown(user_data: *mut c_void) {
    guard_or_log("a shutdown callback", || {
        // SAFETY: C calls this once, as the last use of the user data (aws/common/shutdown_types.h
        // and the headers of the clients and providers that take such a callback).
        unsafe { reclaim(user_data) };
    });
}

fn new_event_loops(
    shared: &Arc<Shared>,
    threads: Option<NonZeroU16>,
) -> Result<Handle<sys::aws_event_loop_group>, Error> {
    let user_data = into_user_data(shared.keep(Kind::EventLoops));
    let shutdown = sys::aws_shutdown_callback_options {
        shutdown_callback_fn: Some(on_shutdown),
        shutdown_callback_user_data: user_data,
    };
    let options = sys::aws_event_loop_group_options {
        loop_count: threads.map_or(0, NonZeroU16::get),
        type_: sys::AWS_EVENT_LOOP_PLATFORM_DEFAULT,
        shutdown_options: &raw const shutdown,
        cpu_group: ptr::null(),
        clock_override: None,
    };
    // SAFETY: the options are read during the call, the shutdown options are copied
    // (aws/io/event_loop.h).
    let group = unsafe { sys::aws_event_loop_group_new(shared.allocator(), &raw const options) };
    // SAFETY: a new reference, or NULL.
    let group = unsafe { Handle::adopt(group) };
    if group.is_err() {
        // SAFETY: the callback belongs to the group, and there is none.
        unsafe { reclaim(user_data) };
    }
    group
}

fn new_resolver(
    shared: &Arc<Shared>,
    event_loops: &Handle<sys::aws_event_loop_group>,
) -> Result<Handle<sys::aws_host_resolver>, Error> {
    let user_data = into_user_data(shared.keep(Kind::Resolver));
    let shutdown = sys::aws_shutdown_callback_options {
        shutdown_callback_fn: Some(on_shutdown),
        shutdown_callback_user_data: user_data,
    };
    let options = sys::aws_host_resolver_default_options {
        max_entries: RESOLVER_ENTRIES,
        el_group: event_loops.as_ptr(),
        shutdown_options: &raw const shutdown,
        system_clock_override_fn: None,
    };
    // SAFETY: the options are read during the call, the group is acquired, the shutdown options are
    // copied (aws/io/host_resolver.h).
    let resolver =
        unsafe { sys::aws_host_resolver_new_default(shared.allocator(), &raw const options) };
    // SAFETY: a new reference, or NULL.
    let resolver = unsafe { Handle::adopt(resolver) };
    if resolver.is_err() {
        // SAFETY: the callback belongs to the resolver, and there is none.
        unsafe { reclaim(user_data) };
    }
    resolver
}

fn new_bootstrap(
    shared: &Arc<Shared>,
    event_loops: &Handle<sys::aws_event_loop_group>,
    resolver: &Handle<sys::aws_host_resolver>,
) -> Result<Handle<sys::aws_client_bootstrap>, Error> {
    let user_data = into_user_data(shared.keep(Kind::Bootstrap));
    let options = sys::aws_client_bootstrap_options {
        event_loop_group: event_loops.as_ptr(),
        host_resolver: resolver.as_ptr(),
        host_resolution_config: ptr::null(),
        on_shutdown_complete: Some(on_shutdown),
        user_data,
    };
    // SAFETY: the options are read during the call; group and resolver are acquired
    // (aws/io/channel_bootstrap.h).
    let bootstrap =
        unsafe { sys::aws_client_bootstrap_new(shared.allocator(), &raw const options) };
    // SAFETY: a new reference, or NULL.
    let bootstrap = unsafe { Handle::adopt(bootstrap) };
    if bootstrap.is_err() {
        // SAFETY: the callback belongs to the bootstrap, and there is none.
        unsafe { reclaim(user_data) };
    }
    bootstrap
}

ref_counted!(
    aws_event_loop_group,
    aws_event_loop_group_acquire,
    aws_event_loop_group_release
);
ref_counted!(
    aws_host_resolver,
    aws_host_resolver_acquire,
    aws_host_resolver_release
);
ref_counted!(
    aws_client_bootstrap,
    aws_client_bootstrap_acquire,
    aws_client_bootstrap_release
);

// SAFETY: loops are chosen by atomics; the group's list of loops never changes (event_loop.c).
unsafe impl ThreadSafe for sys::aws_event_loop_group {}
// SAFETY: the default resolver locks inside (host_resolver.c).
unsafe impl ThreadSafe for sys::aws_host_resolver {}
// SAFETY: immutable after its construction, but for its count (channel_bootstrap.c).
unsafe impl ThreadSafe for sys::aws_client_bootstrap {}

/// Host names that the resolver remembers. A mount talks to a few: the bucket's endpoint, and
/// those of the credentials providers.
const RESOLVER_ENTRIES: usize = 64;

const FAILED_START_DEADLINE: Duration = Duration::from_secs(2);

const _: () = {
    static_assertions::assert_impl_all!(Runtime: Send, Sync);
};
