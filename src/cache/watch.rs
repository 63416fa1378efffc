//! Who follows a long piece of work.

/// Who is told how far a long piece of work is. May be called from several threads at once.
pub trait Watch: Sync {
    /// So many bytes more are done.
    fn advanced(&self, bytes: u64);

    /// Whether the work is to end early.
    fn is_stopped(&self) -> bool;
}
