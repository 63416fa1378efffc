//! What every callback from C goes through.

use std::any::Any;
use std::cell::Cell;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::turn;

/// Runs `body` on behalf of C, in a turn ([`crate::turn`]): a panic in it ends here.
///
/// # Errors
/// The text of the panic.
pub(super) fn guard<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    let outer = IN_CALLBACK.replace(true);
    // The state that a panic may leave behind is that of the one object whose callback this is;
    // every caller stops using it then.
    let result = catch_unwind(AssertUnwindSafe(|| turn::run(body)));
    IN_CALLBACK.set(outer);
    result.map_err(panic_text)
}

/// Runs `body`, of a callback that has nowhere to report to: a panic is logged.
pub(super) fn guard_or_log(what: &str, body: impl FnOnce()) {
    if let Err(text) = guard(body) {
        // The logger is the user's code, too.
        let _ = guard(|| log::error!("panic in {what}: {text}"));
    }
}

/// Whether this thread is inside a callback from C, so that waiting for C would deadlock.
pub(super) fn in_callback() -> bool {
    IN_CALLBACK.get()
}

fn panic_text(payload: Box<dyn Any + Send>) -> String {
    let payload = match payload.downcast::<String>() {
        Ok(text) => return *text,
        Err(payload) => payload,
    };
    match payload.downcast::<&'static str>() {
        Ok(text) => (*text).to_owned(),
        Err(payload) => {
            // Its destructor is unknown code that may panic in turn, and here nothing would stop
            // that.
            mem::forget(payload);
            "a payload that is not text".to_owned()
        }
    }
}

thread_local! {
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guard_panic_with_text_returns_the_text() {
        assert_eq!(
            guard(|| panic!("static")),
            Err::<(), _>("static".to_owned())
        );
        assert_eq!(guard(|| panic!("{}", 7)), Err::<(), _>("7".to_owned()));
    }

    #[test]
    fn guard_panic_whose_payload_panics_on_drop_survives() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        let result: Result<(), String> = guard(|| std::panic::panic_any(Bomb));
        assert!(result.is_err());
    }

    #[test]
    fn guard_marks_the_thread_only_inside() {
        assert!(!in_callback());
        assert_eq!(
            guard(|| {
                let _ = guard(|| ());
                in_callback()
            }),
            Ok(true)
        );
        assert!(!in_callback());
    }
}
