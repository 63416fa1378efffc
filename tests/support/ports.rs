//! Ports for the stores that tests start.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Free ports of loopback, each with the port 10,000 above it free as well.
///
/// The stores take them a while later. So none is given twice, and all are below 32768, where those begin
/// that the kernel gives to whoever asks for any.
pub(crate) fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    [(); COUNT].map(|()| {
        loop {
            let asked = ASKED.fetch_add(1, Ordering::Relaxed);
            // Processes that ask at the same time begin apart.
            let number = process::id().wrapping_mul(64).wrapping_add(asked) % 10_000;
            let port = 10_000 + u16::try_from(number).expect("it is small");
            if is_free(port) && is_free(port + 10_000) {
                break port;
            }
        }
    })
}
