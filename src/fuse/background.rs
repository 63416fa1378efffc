//! What the kernel may send before anybody waits for it.

/// Requests that the kernel sends before anybody waits for them: those of its read-ahead, and of
/// direct reads and writes that are asynchronous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Background {
    /// How many may be under way; at least 1.
    pub max: u16,
    /// From how many on the kernel takes the file system for congested; `None` is 3/4 of `max`.
    pub congestion: Option<u16>,
}

impl Default for Background {
    fn default() -> Self {
        Self {
            max: MAX_BACKGROUND,
            congestion: None,
        }
    }
}

/// Requests that the kernel sends ahead of a reader's need (read-ahead), at most.
const MAX_BACKGROUND: u16 = 64;
