//! GetObject: one auto-ranged meta request, whose parts are checked and handed on without a copy.
//!
//! The CRT splits the range into parts, fetches them in parallel and delivers them in order. It
//! repeats `If-Match` in every part, but a store may ignore that. So a part waits until the
//! telemetry of its HTTP request, which follows its body at once, shows that its ETag is the right
//! one; only then the sink gets it. A mixture of two versions cannot come about.

mod delivery;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use delivery::Delivery;

use super::classify::Subject;
use super::client::Shared;
use super::observe::Observer;
use super::{BodySink, Error, GetRequest, InFlight};
use crate::crt::s3::{Request, RequestKind};

/// Starts a GET.
pub(super) fn start(
    shared: &Shared,
    subject: Subject,
    request: GetRequest,
    sink: Arc<dyn BodySink>,
) -> Result<CancelOnDrop, Error> {
    let window = Window::new(request.window, shared.part_bytes);
    let mut options = shared.options(RequestKind::GetObject);
    options.part_bytes = Some(shared.part_bytes);
    options.read_window = window.granted;
    options.validate_checksum = true;
    let draft = shared
        .common
        .get(&request.key, &request.range, &request.if_match);
    let message = shared
        .message(&draft)
        .map_err(|error| subject.failed(error))?;
    let delivery = Delivery::new(Observer::new(shared, &subject, 0), request, sink);
    let request = shared
        .client
        .start(message, &options, delivery)
        .map_err(|error| subject.failed(error))?;
    Ok(CancelOnDrop {
        request,
        window: Mutex::new(window),
        subject,
    })
}

/// A GET as its caller holds it.
pub(super) struct CancelOnDrop {
    /// Dropping it cancels.
    request: Request,
    window: Mutex<Window>,
    subject: Subject,
}

impl InFlight for CancelOnDrop {
    fn extend_window(&self, bytes: u64) {
        let more = {
            let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
            window.extend(bytes)
        };
        if more > 0 {
            self.request.extend_window(more);
        }
    }
}

impl fmt::Debug for CancelOnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelOnDrop").field(&self.subject).finish()
    }
}

/// How much may be delivered. The CRT gets it in whole parts: it would deliver a piece of a part,
/// but the part's ETag is known only at its end, so that the piece would wait for a window that
/// its receiver has no reason to extend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    part_bytes: u64,
    /// What the caller allows, in all.
    allowed: u64,
    /// What the CRT was told, in all; a multiple of the part's size.
    granted: u64,
}

impl Window {
    fn new(allowed: u64, part_bytes: u64) -> Self {
        let mut window = Self {
            part_bytes,
            allowed: 0,
            granted: 0,
        };
        window.extend(allowed);
        window
    }

    /// Allows `bytes` more and says how much more to grant.
    fn extend(&mut self, bytes: u64) -> u64 {
        self.allowed = self.allowed.saturating_add(bytes);
        let parts = self.allowed.div_ceil(self.part_bytes);
        let target = parts.saturating_mul(self.part_bytes).max(self.granted);
        let more = target - self.granted;
        self.granted = target;
        more
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Window;

    #[test]
    fn extend_grants_whole_parts_once() {
        let mut window = Window::new(1, 8);
        assert_eq!(window.granted, 8);
        assert_eq!(window.extend(7), 0);
        assert_eq!(window.extend(1), 8);
        assert_eq!(window.extend(17), 16);
        assert_eq!(Window::new(0, 8).granted, 0);
    }

    proptest! {
        #[test]
        fn prop_grants_cover_what_is_allowed_and_less_than_a_part_more(
            part in 1u64..=1 << 40, steps in prop::collection::vec(0u64..=1 << 44, 0..20),
        ) {
            let mut window = Window::new(0, part);
            let (mut allowed, mut granted) = (0, 0);
            for step in steps {
                allowed += step;
                granted += window.extend(step);
                prop_assert!(granted >= allowed && granted - allowed < part);
            }
        }

        #[test]
        fn prop_extend_never_overflows(part in 1u64.., first: u64, second: u64) {
            let mut window = Window::new(first, part);
            window.extend(second);
            prop_assert!(window.granted >= window.allowed);
        }
    }
}
