//! A server that answers what a test tells it, right or wrong.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// What a request says.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    /// First and last byte of the `Range`.
    pub(crate) range: Option<(u64, u64)>,
    /// The `Authorization`, in lower case.
    pub(crate) authorization: String,
}

impl Asked {
    pub(crate) fn is_list(&self) -> bool {
        self.path.contains("list-type=2")
    }
}

/// Starts a server that answers every request with what `answer` makes of it: all bytes of an
/// HTTP/1.1 answer. Its threads end with the process.
pub(crate) fn start(answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let answer = Arc::clone(&answer);
            // An error is a client that went away.
            thread::spawn(move || serve(&stream, &*answer).ok());
        }
    });
    addr
}

/// An answer with a body.
pub(crate) fn response(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    bytes.push_str("\r\n");
    let mut bytes = bytes.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The answer to a list of an empty bucket.
pub(crate) fn empty_list() -> Vec<u8> {
    let body = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
    response(200, &[], body)
}

fn serve(stream: &TcpStream, answer: &dyn Fn(&Asked) -> Vec<u8>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut asked = Asked::default();
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split(' ').map(str::to_owned);
        asked.method = words.next().unwrap_or_default();
        asked.path = words.next().unwrap_or_default();
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 {
                return Ok(());
            }
            let header = header.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(range) = header.strip_prefix("range: bytes=") {
                let (first, last) = range.split_once('-').unwrap_or_default();
                asked.range = first.parse().ok().zip(last.parse().ok());
            }
            if let Some(authorization) = header.strip_prefix("authorization: ") {
                authorization.clone_into(&mut asked.authorization);
            }
        }
        writer.write_all(&answer(&asked))?;
    }
}
