//! Credentials: what holds them, and asking for them.
//!
//! Where they come from is in `sources`, how they are kept fresh in `refresh`.

mod refresh;
mod sources;

use std::ffi::{c_int, c_void};
use std::fmt;
use std::future::Future;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crt_sys as sys;
use futures::channel::oneshot;

use super::bytes::text;
use super::callback::guard_or_log;
use super::error::{Error, check};
use super::handle::{Handle, ThreadSafe, ref_counted};
use super::live::{Keep, Kind, Shared};
use super::runtime::{Runtime, into_user_data, on_shutdown, reclaim};
use refresh::Refresher;

pub use refresh::Prepare;
pub use sources::AssumedRole;

/// A source of credentials. Clones share it.
#[derive(Debug, Clone)]
pub struct CredentialsProvider {
    handle: Handle<sys::aws_credentials_provider>,
    refresher: Option<Arc<Refresher>>,
    _keep: Keep,
}

/// What may be told about credentials that were loaded. Never a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The access key id; empty for anonymous requests.
    pub access_key_id: String,
    /// When they end, if they do.
    pub expires: Option<SystemTime>,
}

impl CredentialsProvider {
    /// Loads the credentials, to see whether there are any. Starts at once, not at the first poll.
    /// Wraps `aws_credentials_provider_get_credentials`.
    ///
    /// # Errors
    /// What the source reports.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the work running; its result is thrown away.
    pub fn load(&self) -> impl Future<Output = Result<Credentials, Error>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        self.query(move |result| {
            // Nobody may be waiting any more.
            let _unheard = sender.send(result.map(|credentials| describe(&credentials)));
        });
        async move {
            receiver.await.unwrap_or_else(|oneshot::Canceled| {
                Err(Error::from_constant(sys::AWS_ERROR_S3_CANCELED))
            })
        }
    }

    /// Asks for credentials; `done` is called once, on any thread, possibly before this returns.
    fn query(
        &self,
        done: impl FnOnce(Result<Handle<sys::aws_credentials>, Error>) + Send + 'static,
    ) {
        let user_data = Box::into_raw(Box::new(Query {
            done: Box::new(done),
            _provider: self.clone(),
        }));
        // SAFETY: a live provider; the user data lives until the callback, which C calls once if
        // and only if this succeeds (aws/auth/credentials.h).
        let started = check(unsafe {
            sys::aws_credentials_provider_get_credentials(
                self.handle.as_ptr(),
                Some(on_credentials),
                user_data.cast(),
            )
        });
        if let Err(error) = started {
            // SAFETY: the callback does not come, so the box is still ours.
            let query = unsafe { Box::from_raw(user_data) };
            (query.done)(Err(error));
        }
    }

    /// The provider, live as long as `self`.
    pub(super) fn as_ptr(&self) -> *mut sys::aws_credentials_provider {
        self.handle.as_ptr()
    }

    fn build(
        runtime: &Runtime,
        make: impl FnOnce(
            &Arc<Shared>,
            sys::aws_credentials_provider_shutdown_options,
        ) -> *mut sys::aws_credentials_provider,
    ) -> Result<Self, Error> {
        let shared = runtime.shared();
        let user_data = into_user_data(shared.keep(Kind::Credentials));
        let shutdown = sys::aws_credentials_provider_shutdown_options {
            shutdown_callback: Some(on_shutdown),
            shutdown_user_data: user_data,
        };
        let provider = make(shared, shutdown);
        // SAFETY: every `make` returns what a constructor did: a new reference, or NULL.
        let handle = unsafe { Handle::adopt(provider) };
        if handle.is_err() {
            // SAFETY: the callback belongs to the provider, and there is none.
            unsafe { reclaim(user_data) };
        }
        Ok(Self {
            handle: handle?,
            refresher: None,
            _keep: shared.keep(Kind::Wrapper),
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// A query under way, owned by C until its callback.
struct Query {
    done: Box<dyn FnOnce(Result<Handle<sys::aws_credentials>, Error>) + Send>,
    // Not every provider keeps itself alive for a query.
    _provider: CredentialsProvider,
}

unsafe extern "C" fn on_credentials(
    credentials: *mut sys::aws_credentials,
    error_code: c_int,
    user_data: *mut c_void,
) {
    // SAFETY: from `query`, given back here, once (aws/auth/credentials.h).
    let query = unsafe { Box::from_raw(user_data.cast::<Query>()) };
    guard_or_log("a credentials callback", move || {
        let result = NonNull::new(credentials)
            // SAFETY: live during the callback (aws/auth/credentials.h).
            .map(|credentials| unsafe { Handle::retain(credentials) })
            .ok_or_else(|| Error::from_code(error_code));
        (query.done)(result);
    });
}

fn describe(credentials: &Handle<sys::aws_credentials>) -> Credentials {
    // SAFETY: live credentials, by the handle (aws/auth/credentials.h).
    let key = unsafe { sys::aws_credentials_get_access_key_id(credentials.as_ptr()) };
    Credentials {
        // SAFETY: points into the credentials, which never change.
        access_key_id: unsafe { text(key) }.into_owned(),
        expires: expiry(credentials),
    }
}

/// When credentials end, if they do.
fn expiry(credentials: &Handle<sys::aws_credentials>) -> Option<SystemTime> {
    // SAFETY: live credentials, by the handle (aws/auth/credentials.h).
    let seconds =
        unsafe { sys::aws_credentials_get_expiration_timepoint_seconds(credentials.as_ptr()) };
    // The greatest value stands for "never", and overflows.
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

ref_counted!(
    aws_credentials_provider,
    aws_credentials_provider_acquire,
    aws_credentials_provider_release
);
ref_counted!(
    aws_credentials,
    aws_credentials_acquire,
    aws_credentials_release
);

// SAFETY: "Ref-counted. Thread-safe." (aws/auth/credentials.h).
unsafe impl ThreadSafe for sys::aws_credentials_provider {}
// SAFETY: never changed after they were made, and the count is atomic (credentials.c).
unsafe impl ThreadSafe for sys::aws_credentials {}

const _: () = {
    static_assertions::assert_impl_all!(CredentialsProvider: Send, Sync);
};
