//! Staged files over the in-memory store.
