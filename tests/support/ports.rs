//! Ports for the stores that tests start.

use std::net::{Ipv4Addr, TcpListener};

/// Free ports of loopback, each with the port 10,000 above it free as well.
pub(crate) fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let mut held = Vec::new();
    let mut ports = [0; COUNT];
    for slot in &mut ports {
        *slot = loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let port = listener.local_addr().expect("its number").port();
            held.push(listener);
            // Ports for the kernel's own choice start at 32768: fold them to below 55536.
            if port < 55_536
                && let Ok(above) = TcpListener::bind((Ipv4Addr::LOCALHOST, port + 10_000))
            {
                held.push(above);
                break port;
            }
        };
    }
    ports
}
