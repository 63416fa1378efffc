//! Empty: cargo wants a target before it will fetch. See `README.md`.
