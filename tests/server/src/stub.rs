//! A small HTTP server for what clients of S3 talk to beside S3: its answers are a function of the
//! test's.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::tls;

/// A request that arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StubRequest {
    /// `POST`
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, as text.
    pub body: String,
}

/// An answer: status and body.
pub type StubAnswer = (u16, String);

type Answers = dyn Fn(&StubRequest) -> StubAnswer + Send + Sync;

/// A server on loopback. It lives as long as the process.
#[derive(Debug, Clone)]
pub struct Stub {
    addr: SocketAddr,
    requests: Arc<Mutex<Vec<StubRequest>>>,
}

impl Stub {
    /// Serves HTTP.
    ///
    /// # Errors
    /// There is no port.
    pub fn http(
        answer: impl Fn(&StubRequest) -> StubAnswer + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::start(None, Arc::new(answer))
    }

    /// Serves HTTPS with a certificate for these host names, whose authority is then in
    /// [`CA_FILE`](crate::CA_FILE) of `dir`.
    ///
    /// # Errors
    /// There is no port, or `dir` cannot be written to.
    pub fn https(
        dir: &Path,
        names: &[&str],
        answer: impl Fn(&StubRequest) -> StubAnswer + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let names = names.iter().map(|&name| name.to_owned());
        Self::start(Some(tls::server_config(dir, names)?), Arc::new(answer))
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<StubRequest> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn start(tls: Option<Arc<ServerConfig>>, answer: Arc<Answers>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let stub = Self {
            addr: listener.local_addr()?,
            requests: Arc::default(),
        };
        let serving = stub.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (serving, tls, answer) = (serving.clone(), tls.clone(), Arc::clone(&answer));
                // A client that breaks off is no concern of this server.
                thread::spawn(move || _ = serving.connection(stream, tls, &*answer));
            }
        });
        Ok(stub)
    }

    fn connection(
        &self,
        stream: TcpStream,
        tls: Option<Arc<ServerConfig>>,
        answer: &Answers,
    ) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        match tls {
            None => self.serve(stream, answer),
            Some(tls) => {
                let tls = ServerConnection::new(tls).map_err(io::Error::other)?;
                let mut stream = StreamOwned::new(tls, stream);
                self.serve(&mut stream, answer)?;
                stream.conn.send_close_notify();
                stream.flush()
            }
        }
    }

    /// Answers one request.
    fn serve(&self, mut stream: impl Read + Write, answer: &Answers) -> io::Result<()> {
        let request = read_request(&mut stream)?;
        let (status, body) = answer(&request);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(request);
        drop(requests);
        let head = format!(
            "HTTP/1.1 {status} Status\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes())?;
        stream.flush()
    }
}

fn read_request(stream: &mut impl Read) -> io::Result<StubRequest> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(request) = parse(&String::from_utf8_lossy(&bytes)) {
            return Ok(request);
        }
        let count = stream.read(&mut buffer)?;
        if count == 0 || bytes.len() > MOST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        bytes.extend_from_slice(&buffer[..count]);
    }
}

/// The request that `text` is, if it is whole.
fn parse(text: &str) -> Option<StubRequest> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(Some(0), |(_, length)| length.parse().ok())?;
    (body.len() >= length).then(|| StubRequest {
        method,
        target,
        headers,
        body: body.to_owned(),
    })
}

impl StubRequest {
    /// The value of a header, whose name is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of a request, at most.
const MOST: usize = 1 << 20;
