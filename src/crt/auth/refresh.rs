//! Credentials that are kept fresh.
//!
//! The cache of the CRT asks its source again, and lets every request wait for it, from five minutes
//! before the credentials end; and it forgets credentials that are good when the source fails just
//! then. Here those that are good are used while new ones are fetched, on a thread of its own: some
//! sources run a process or read files, which would hold up an event loop.

use std::ffi::{c_int, c_void};
use std::fmt;
use std::mem;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use crt_sys as sys;

use super::{Credentials, CredentialsProvider, describe, expiry};
use crate::crt::callback::{guard, guard_or_log};
use crate::crt::error::Error;
use crate::crt::handle::Handle;
use crate::crt::live::{Keep, Kind};
use crate::crt::runtime::Runtime;

/// What keeps the credentials of one source fresh.
pub(super) struct Refresher {
    source: CredentialsProvider,
    /// Runs before the source is asked, and may take as long.
    prepare: Option<Prepare>,
    state: Mutex<State>,
}

/// What a source needs to be done before it is asked.
pub type Prepare = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct State {
    held: Option<Held>,
    loading: bool,
    waiting: Vec<Waiter>,
    /// The last failure, while it is recent enough to be the answer.
    failure: Option<(Error, SystemTime)>,
}

/// Credentials, and until when they are what.
#[derive(Clone)]
struct Held {
    credentials: Handle<sys::aws_credentials>,
    times: Times,
}

/// When to do what about credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    /// From then on others are fetched; these are still good.
    refresh: SystemTime,
    /// From then on they are of no use.
    end: Option<SystemTime>,
    loaded: SystemTime,
}

/// Who waits for credentials in C.
struct Waiter {
    callback: sys::aws_on_get_credentials_callback_fn,
    user_data: *mut c_void,
}

// SAFETY: C lets the callback be called on any thread (aws/auth/credentials.h).
unsafe impl Send for Waiter {}

/// What C holds for a provider, as user data, until its shutdown callback.
struct UserData {
    refresher: Arc<Refresher>,
    // Last: the count of providers includes the rest of this.
    _keep: Keep,
}

impl CredentialsProvider {
    /// The credentials of `source`, cached: until 5 minutes before they end, or a quarter of their
    /// time if that is shorter; or for 15 minutes, if they do not end. Then others are fetched while
    /// they are used on, so that no request waits for them; if that fails it is tried again every 10
    /// seconds, sooner before their end, and only when they have ended do requests fail. `prepare` is
    /// called each time before, on a thread of its own, where it may wait.
    /// Wraps `aws_credentials_provider_new_delegate`.
    ///
    /// # Errors
    /// `AWS_ERROR_OOM`.
    pub fn refreshed(
        runtime: &Runtime,
        source: Self,
        prepare: Option<Prepare>,
    ) -> Result<Self, Error> {
        let refresher = Arc::new(Refresher {
            source,
            prepare,
            state: Mutex::default(),
        });
        let shared = runtime.shared();
        let user_data = Box::into_raw(Box::new(UserData {
            refresher: Arc::clone(&refresher),
            _keep: shared.keep(Kind::Credentials),
        }));
        let options = sys::aws_credentials_provider_delegate_options {
            shutdown_options: sys::aws_credentials_provider_shutdown_options {
                shutdown_callback: Some(on_shutdown),
                shutdown_user_data: user_data.cast(),
            },
            get_credentials: Some(on_get),
            delegate_user_data: user_data.cast(),
        };
        // SAFETY: the options are copied during the call; the user data lives until the shutdown
        // callback (aws/auth/credentials.h).
        let provider = unsafe {
            sys::aws_credentials_provider_new_delegate(shared.allocator(), &raw const options)
        };
        // SAFETY: a new reference, or NULL.
        let handle = unsafe { Handle::adopt(provider) };
        if handle.is_err() {
            // SAFETY: the callbacks belong to the provider, and there is none.
            drop(unsafe { Box::from_raw(user_data) });
        }
        Ok(Self {
            handle: handle?,
            refresher: Some(refresher),
            _keep: shared.keep(Kind::Wrapper),
        })
    }

    /// Fetches other credentials soon, as a server refuses those that are held: they may have been
    /// replaced or revoked before their time. Of [`Self::refreshed`]; nothing happens to others. At
    /// most once in 10 seconds.
    pub fn doubt(&self) {
        if let Some(refresher) = &self.refresher {
            refresher.doubt(SystemTime::now());
        }
    }

    /// The credentials that [`Self::refreshed`] holds now, if it has loaded any.
    pub fn held(&self) -> Option<Credentials> {
        let state = self.refresher.as_ref()?.lock();
        state.held.as_ref().map(|held| describe(&held.credentials))
    }
}

impl Refresher {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers `waiter`, now or when there are credentials.
    fn get(self: &Arc<Self>, waiter: Waiter, now: SystemTime) {
        let mut state = self.lock();
        let good = state.held.clone().filter(|held| held.times.is_good(now));
        let wants = good.as_ref().is_none_or(|held| held.times.refresh <= now);
        let failed = state.failure.filter(|(_, until)| now < *until);
        let load = wants && !state.loading && failed.is_none();
        state.loading |= load;
        let answer = match (good, failed) {
            (Some(held), _) => Some(Ok(held.credentials)),
            (None, Some((error, _))) => Some(Err(error)),
            (None, None) => None,
        };
        let waiter = match answer {
            Some(answer) => Some((waiter, answer)),
            None => {
                state.waiting.push(waiter);
                None
            }
        };
        drop(state);
        if load {
            self.load();
        }
        if let Some((waiter, answer)) = waiter {
            waiter.answer(&answer);
        }
    }

    /// Asks the source, on a thread of its own.
    fn load(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let started = thread::Builder::new()
            .name("credentials".to_owned())
            .spawn(move || {
                if let Some(prepare) = &this.prepare {
                    prepare();
                }
                this.ask();
            });
        if started.is_err() {
            // Slower for the requests of this thread's event loop, but not wrong. What may wait for
            // that event loop is left out.
            self.ask();
        }
    }

    fn ask(self: &Arc<Self>) {
        let refresher = Arc::clone(self);
        self.source
            .query(move |result| refresher.loaded(result, SystemTime::now()));
    }

    fn loaded(&self, result: Result<Handle<sys::aws_credentials>, Error>, now: SystemTime) {
        let mut state = self.lock();
        state.loading = false;
        let waiting = mem::take(&mut state.waiting);
        let good = state.held.as_ref().filter(|held| held.times.is_good(now));
        let is_good = good.is_some();
        let pause = good.map_or(RETRY_WITHOUT, |held| held.times.pause(now));
        match &result {
            Ok(credentials) => {
                state.failure = None;
                state.held = Some(Held {
                    credentials: credentials.clone(),
                    times: Times::new(expiry(credentials), now),
                });
            }
            Err(error) => {
                state.failure = Some((*error, now + pause));
            }
        }
        drop(state);
        match &result {
            Ok(credentials) => log::debug!("credentials were loaded: {:?}", describe(credentials)),
            Err(error) if is_good => {
                log::warn!("credentials cannot be refreshed yet, and are used on: {error}");
            }
            Err(error) => log::error!("credentials cannot be loaded: {error}"),
        }
        for waiter in waiting {
            waiter.answer(&result);
        }
    }

    fn doubt(self: &Arc<Self>, now: SystemTime) {
        let mut state = self.lock();
        let is_loading = state.loading;
        let Some(held) = state.held.as_mut() else {
            return;
        };
        let age = now.duration_since(held.times.loaded).unwrap_or_default();
        if age < RETRY || is_loading {
            return;
        }
        // Until they are here, those that are held are the best there are.
        held.times.refresh = now;
        state.loading = true;
        drop(state);
        self.load();
    }
}

impl Times {
    /// For credentials that were loaded `now`.
    fn new(end: Option<SystemTime>, now: SystemTime) -> Self {
        let left = end.map(|end| end.duration_since(now).unwrap_or_default());
        let wait = left.map_or(UNLIMITED, |left| left.saturating_sub(EARLY.min(left / 4)));
        Self {
            refresh: now.checked_add(wait).unwrap_or(now),
            end,
            loaded: now,
        }
    }

    /// How long to wait after a failure, so that there are some more attempts before the end.
    fn pause(&self, now: SystemTime) -> Duration {
        let left = self
            .end
            .map(|end| end.duration_since(now).unwrap_or_default());
        left.map_or(RETRY, |left| RETRY.min(left / 4).max(RETRY_WITHOUT))
    }

    fn is_good(&self, now: SystemTime) -> bool {
        self.end.is_none_or(|end| now < end)
    }
}

impl Waiter {
    fn answer(self, result: &Result<Handle<sys::aws_credentials>, Error>) {
        let Some(callback) = self.callback else {
            return;
        };
        let (credentials, code) = match result {
            Ok(credentials) => (credentials.as_ptr(), 0),
            Err(error) => (ptr::null_mut(), error.code()),
        };
        // SAFETY: called once, as `self` is consumed; the credentials live during the call
        // (aws/auth/credentials.h).
        unsafe { callback(credentials, code, self.user_data) };
    }
}

impl fmt::Debug for Refresher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresher").finish_non_exhaustive()
    }
}

unsafe extern "C" fn on_get(
    user_data: *mut c_void,
    callback: sys::aws_on_get_credentials_callback_fn,
    callback_user_data: *mut c_void,
) -> c_int {
    let waiter = Waiter {
        callback,
        user_data: callback_user_data,
    };
    let asked = guard(|| {
        // SAFETY: the user data of `refreshed`, which lives while the provider does; it is shared
        // only.
        let user_data = unsafe { &*user_data.cast::<UserData>() };
        user_data.refresher.get(waiter, SystemTime::now());
    });
    if asked.is_ok() {
        return sys::AWS_OP_SUCCESS as c_int;
    }
    // SAFETY: no preconditions; writes a thread-local (aws/common/error.h).
    unsafe { sys::aws_raise_error_private(sys::AWS_ERROR_UNKNOWN as c_int) };
    sys::AWS_OP_ERR as c_int
}

unsafe extern "C" fn on_shutdown(user_data: *mut c_void) {
    guard_or_log("the shutdown callback of a credentials provider", || {
        // SAFETY: the box of `refreshed`; C calls this once, as the last use of it
        // (credentials_provider_delegate.c).
        drop(unsafe { Box::from_raw(user_data.cast::<UserData>()) });
    });
}

/// How long before their end credentials are replaced.
const EARLY: Duration = Duration::from_secs(5 * 60);

/// How long credentials without an end are held: their source may have others by then.
const UNLIMITED: Duration = Duration::from_secs(15 * 60);

/// The pause after a failure, while there are credentials that are good.
const RETRY: Duration = Duration::from_secs(10);

/// The pause after a failure that everybody waits for.
const RETRY_WITHOUT: Duration = Duration::from_secs(1);

const _: () = {
    static_assertions::assert_impl_all!(Refresher: Send, Sync);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn times_leave_time_to_fetch_others() {
        for (lifetime, refresh) in [
            (Some(3600), 3300),
            (Some(1200), 900),
            (Some(60), 45),
            (Some(4), 3),
            (Some(0), 0),
            (None, 900),
        ] {
            let times = Times::new(lifetime.map(after), after(0));
            assert_eq!(times.refresh, after(refresh), "{lifetime:?}");
            assert_eq!(times.end, lifetime.map(after));
        }
    }

    #[test]
    fn pause_leaves_time_for_more_attempts() {
        let times = Times::new(Some(after(3600)), after(0));
        for (now, pause) in [(3300, 10), (3580, 5), (3599, 1), (3600, 1)] {
            assert_eq!(times.pause(after(now)), Duration::from_secs(pause), "{now}");
        }
        let unlimited = Times::new(None, after(0));
        assert_eq!(unlimited.pause(after(9)), RETRY);
    }

    #[test]
    fn times_of_the_past_are_not_good() {
        let times = Times::new(Some(after(0)), after(5));
        assert!(!times.is_good(after(5)));
        assert_eq!(times.refresh, after(5));
        assert!(Times::new(None, after(0)).is_good(after(u32::MAX.into())));
    }
}
