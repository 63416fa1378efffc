//! An HTTP proxy on loopback: CONNECT for TLS, forwarding for the rest.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A proxy that knows where hosts are. It lives as long as the process.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    addr: SocketAddr,
    /// First lines of the first requests of connections.
    seen: Arc<Mutex<Vec<String>>>,
}

/// How a proxy is to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// Where hosts (`name:port`) are; others are where they say.
    pub(crate) hosts: HashMap<String, SocketAddr>,
    /// What `Proxy-Authorization` has to say.
    pub(crate) authorization: Option<String>,
    /// Everything is refused with this status.
    pub(crate) refuse: Option<u16>,
}

impl Proxy {
    pub(crate) fn start(rules: Rules) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let proxy = Self {
            addr: listener.local_addr().expect("bound"),
            seen: Arc::default(),
        };
        let serving = proxy.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (serving, rules) = (serving.clone(), rules.clone());
                // A client that breaks off is no concern of a proxy.
                thread::spawn(move || _ = serving.connection(stream, &rules));
            }
        });
        proxy
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The first lines of what was asked.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("not poisoned").clone()
    }

    fn connection(&self, mut client: TcpStream, rules: &Rules) -> io::Result<()> {
        let head = read_head(&mut client)?;
        let line = head.lines().next().unwrap_or_default().to_owned();
        let authorization = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("proxy-authorization")
                .then(|| value.trim().to_owned())
        });
        let mut seen = self.seen.lock().expect("not poisoned");
        seen.push(line.clone());
        drop(seen);
        let may = rules.authorization.is_none() || rules.authorization == authorization;
        let refusal = rules.refuse.or_else(|| (!may).then_some(407));
        if let Some(status) = refusal {
            let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
            client.write_all(answer.as_bytes())?;
            // Who sees the connection closed at the same moment may take that for the failure.
            return io::copy(&mut client, &mut io::sink()).map(drop);
        }
        let mut words = line.split(' ');
        let (method, target) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let host = match target.strip_prefix("http://") {
            Some(rest) => rest.split('/').next().unwrap_or_default(),
            None => target,
        };
        let mut server = match rules.hosts.get(host) {
            Some(addr) => TcpStream::connect(addr),
            None => TcpStream::connect(host),
        }?;
        if method == "CONNECT" {
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        } else {
            server.write_all(head.as_bytes())?;
        }
        let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || {
            _ = io::copy(&mut from_client, &mut to_server);
            _ = to_server.shutdown(Shutdown::Write);
        });
        _ = io::copy(&mut server, &mut client);
        client.shutdown(Shutdown::Both)
    }
}

/// A request to its empty line, byte by byte: what follows is for others.
fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
