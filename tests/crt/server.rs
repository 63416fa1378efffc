//! A small HTTP/1.1 server on loopback whose answers a test scripts.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A request that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    /// Counts the requests of this server, from 0.
    pub(crate) number: usize,
}

impl Incoming {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The `Range` header's bounds, both inclusive.
    pub(crate) fn range(&self) -> Option<(u64, u64)> {
        let (start, end) = self
            .header("range")?
            .strip_prefix("bytes=")?
            .split_once('-')?;
        Some((start.parse().ok()?, end.parse().ok()?))
    }
}

/// How to answer one request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The object's bytes, by range if one is asked for.
    Object,
    /// As `Object`, but the connection ends after so many bytes of the body.
    Truncated(usize),
    /// As `Object`, but nothing more comes after so many bytes of the body.
    Stalled(usize),
    /// As `Object`, at so many bytes a second.
    Slow(usize),
    /// The connection is reset after the request was read.
    Reset,
    /// Nothing comes.
    Silent,
    /// A status, headers and a body.
    Plain(u16, Vec<(&'static str, String)>, Vec<u8>),
}

/// Ends, with all its connections, when it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    script: Box<dyn Fn(&Incoming) -> Answer + Send + Sync>,
    object_size: u64,
    seen: Mutex<Vec<Incoming>>,
    bodies: Mutex<Vec<Vec<u8>>>,
    count: AtomicUsize,
    body_bytes: AtomicU64,
    stopping: AtomicBool,
    connections: Mutex<Vec<(Weak<TcpStream>, JoinHandle<()>)>>,
}

impl Server {
    /// Serves one object of `object_size` bytes under every path, as `script` says.
    pub(crate) fn start(
        object_size: u64,
        script: impl Fn(&Incoming) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind to loopback");
        let address = listener.local_addr().expect("local address");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            object_size,
            seen: Mutex::default(),
            bodies: Mutex::default(),
            count: AtomicUsize::new(0),
            body_bytes: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming() {
                    if shared.stopping.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(stream) = stream else { continue };
                    let stream = Arc::new(stream);
                    let weak = Arc::downgrade(&stream);
                    let serving = thread::spawn({
                        let shared = Arc::clone(&shared);
                        move || shared.serve(&stream)
                    });
                    shared.connections.lock().unwrap().push((weak, serving));
                }
            }
        });
        Self {
            address,
            shared,
            accepting: Some(accepting),
        }
    }

    /// `http://127.0.0.1:port`
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Incoming> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The bodies of the requests so far that have one, each whole.
    pub(crate) fn bodies(&self) -> Vec<Vec<u8>> {
        self.shared.bodies.lock().unwrap().clone()
    }

    /// Bytes of bodies sent so far.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.shared.body_bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let connections = std::mem::take(&mut *self.shared.connections.lock().unwrap());
        for (stream, serving) in connections {
            if let Some(stream) = stream.upgrade() {
                let _ = stream.shutdown(Shutdown::Both);
            }
            let _ = serving.join();
        }
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) {
        let _ = stream.set_nodelay(true);
        while let Some((head, incoming)) = self.peek_request(stream) {
            self.seen.lock().unwrap().push(incoming.clone());
            let answer = (self.script)(&incoming);
            if matches!(answer, Answer::Reset) {
                // Closed while bytes are unread: the kernel sends RST.
                return;
            }
            if io::copy(&mut stream.take(head), &mut io::sink()).is_err()
                || self.receive(stream, &incoming).is_none()
                || self.answer(stream, &incoming, &answer).is_none()
            {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    /// Takes the body of a request, if it has one.
    fn receive(&self, mut stream: &TcpStream, incoming: &Incoming) -> Option<()> {
        let Some(length) = incoming.header("content-length") else {
            return Some(());
        };
        let mut body = vec![0; length.parse().ok()?];
        stream.read_exact(&mut body).ok()?;
        self.bodies.lock().unwrap().push(body);
        Some(())
    }

    /// The next request, still unread, and the length of its head.
    fn peek_request(&self, stream: &TcpStream) -> Option<(u64, Incoming)> {
        let mut buffer = vec![0; 1 << 16];
        let text = loop {
            let length = stream.peek(&mut buffer).ok()?;
            if length == 0 {
                return None;
            }
            if !buffer[0].is_ascii_uppercase() {
                let _ = self.send(stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
                return None;
            }
            let text = String::from_utf8_lossy(&buffer[..length]);
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                break head.to_owned();
            }
            if self.stopping.load(Ordering::SeqCst) {
                return None;
            }
            // Peeking again returns at once, so wait a little.
            thread::sleep(Duration::from_millis(1));
        };
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let incoming = Incoming {
            method,
            path,
            headers,
            number: self.count.fetch_add(1, Ordering::SeqCst),
        };
        Some((text.len() as u64 + 4, incoming))
    }

    /// `None` ends the connection.
    fn answer(&self, stream: &TcpStream, incoming: &Incoming, answer: &Answer) -> Option<()> {
        match answer.clone() {
            Answer::Object => self.object(stream, incoming, usize::MAX, usize::MAX),
            Answer::Truncated(after) => {
                self.object(stream, incoming, after, usize::MAX)?;
                None
            }
            Answer::Stalled(after) => {
                self.object(stream, incoming, after, usize::MAX)?;
                self.wait_for_end(stream)
            }
            Answer::Slow(rate) => self.object(stream, incoming, usize::MAX, rate),
            Answer::Reset | Answer::Silent => self.wait_for_end(stream),
            Answer::Plain(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
                for (name, value) in headers {
                    head += &format!("{name}: {value}\r\n");
                }
                head += "\r\n";
                self.send(stream, head.as_bytes())?;
                if incoming.method == "HEAD" {
                    return Some(());
                }
                self.send(stream, &body)
            }
        }
    }

    fn object(
        &self,
        stream: &TcpStream,
        incoming: &Incoming,
        stop_after: usize,
        rate: usize,
    ) -> Option<()> {
        let size = self.object_size;
        let (status, start, end) = match incoming.range() {
            Some((start, end)) => (206, start, (end + 1).min(size)),
            None => (200, 0, size),
        };
        let mut head = format!(
            "HTTP/1.1 {status} OK\r\nContent-Length: {}\r\nETag: \"e\"\r\nx-amz-request-id: R{}\r\n",
            end - start,
            incoming.number,
        );
        if status == 206 {
            head += &format!("Content-Range: bytes {start}-{}/{size}\r\n", end - 1);
        }
        head += "\r\n";
        self.send(stream, head.as_bytes())?;
        if incoming.method == "HEAD" {
            return Some(());
        }
        let stop = end.min(start.saturating_add(stop_after as u64));
        // Some twenty chunks a second, unless there is no limit.
        let chunk = (rate / 20).clamp(1, 1 << 18);
        let mut at = start;
        while at < stop {
            let next = stop.min(at + chunk as u64);
            let bytes: Vec<u8> = (at..next).map(byte_at).collect();
            self.send(stream, &bytes)?;
            self.body_bytes.fetch_add(next - at, Ordering::SeqCst);
            at = next;
            if rate != usize::MAX {
                thread::sleep(Duration::from_secs_f64(chunk as f64 / rate as f64));
            }
        }
        Some(())
    }

    fn send(&self, mut stream: &TcpStream, bytes: &[u8]) -> Option<()> {
        stream.write_all(bytes).ok()
    }

    /// Waits until the client, or this server's end, closes the connection.
    fn wait_for_end(&self, mut stream: &TcpStream) -> Option<()> {
        let _ = stream.read(&mut [0; 1]);
        None
    }
}

/// The object's byte at `offset`: its period is odd, so that shifted parts show.
pub(crate) fn byte_at(offset: u64) -> u8 {
    (offset % 251) as u8 ^ (offset / 251 % 241) as u8
}
