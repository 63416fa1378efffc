//! A minimal S3 client: HTTP/1.1 over a socket, Signature Version 4.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use s3s::crypto::{Checksum as _, Sha256};

use crate::wait::LONG;

/// Signs and sends requests, each on a connection of its own.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) addr: SocketAddr,
    pub(crate) host: String,
    /// Access key, secret key, region; `None` for anonymous.
    pub(crate) signer: Option<(String, String, String)>,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// A request to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// Decoded path, with the bucket.
    pub(crate) path: &'a str,
    pub(crate) query: Vec<(&'a str, &'a str)>,
    pub(crate) headers: Vec<(&'a str, String)>,
    pub(crate) body: Vec<u8>,
    /// Value of x-amz-content-sha256; empty for UNSIGNED-PAYLOAD.
    pub(crate) payload: &'a str,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The texts of all elements of this name, in order, with the few entities XML needs resolved.
    pub(crate) fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let found = text
            .split(&open)
            .skip(1)
            .filter_map(|rest| rest.split(&close).next());
        found
            .map(|text| {
                text.replace("&quot;", "\"")
                    .replace("&lt;", "<")
                    .replace("&amp;", "&")
            })
            .collect()
    }

    pub(crate) fn element(&self, name: &str) -> String {
        self.elements(name).into_iter().next().unwrap_or_default()
    }
}

impl Client {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        let signer = Some(("test".to_owned(), "test".to_owned(), "us-east-1".to_owned()));
        Self {
            addr,
            host: addr.to_string(),
            signer,
        }
    }

    pub(crate) fn get(&self, path: &str, headers: &[(&'static str, &str)]) -> Answer {
        self.send(&Request {
            method: "GET",
            path,
            headers: owned(headers),
            ..Request::default()
        })
    }

    pub(crate) fn head(&self, path: &str, headers: &[(&'static str, &str)]) -> Answer {
        self.send(&Request {
            method: "HEAD",
            path,
            headers: owned(headers),
            ..Request::default()
        })
    }

    pub(crate) fn put(&self, path: &str, body: &[u8], headers: &[(&'static str, &str)]) -> Answer {
        let body = body.to_vec();
        self.send(&Request {
            method: "PUT",
            path,
            headers: owned(headers),
            body,
            ..Request::default()
        })
    }

    pub(crate) fn list(&self, bucket: &str, query: &[(&str, &str)]) -> Answer {
        let mut query = query.to_vec();
        query.push(("list-type", "2"));
        self.send(&Request {
            method: "GET",
            path: bucket,
            query,
            ..Request::default()
        })
    }

    /// # Panics
    /// When no whole answer comes.
    pub(crate) fn send(&self, request: &Request<'_>) -> Answer {
        self.try_send(request).expect("an answer")
    }

    /// Sends a request and reads its answer until Content-Length bytes of body came.
    pub(crate) fn try_send(&self, request: &Request<'_>) -> io::Result<Answer> {
        let (head, mut stream) = self.start(request)?;
        let length = head
            .headers
            .get("content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        let length = if request.method == "HEAD" { 0 } else { length };
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok(Answer { body, ..head })
    }

    /// Sends a request and reads its answer's headers; the body is what the stream then holds.
    pub(crate) fn start(&self, request: &Request<'_>) -> io::Result<(Answer, TcpStream)> {
        let mut stream = TcpStream::connect(self.addr)?;
        stream.set_read_timeout(Some(LONG))?;
        stream.write_all(self.sign(request).as_bytes())?;
        stream.write_all(&request.body)?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let (first, rest) = head.split_once("\r\n").unwrap_or_default();
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0);
        let headers = rest.lines().filter_map(|line| line.split_once(": "));
        let headers = headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Ok((
            Answer {
                status,
                headers,
                body: Vec::new(),
            },
            stream,
        ))
    }

    /// The request's head, signed if we have a key.
    fn sign(&self, request: &Request<'_>) -> String {
        let path = encode(request.path, true);
        let mut query: Vec<_> = request
            .query
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name, false), encode(value, false)))
            .collect();
        query.sort();
        let query = query.join("&");
        let payload = if request.payload.is_empty() {
            "UNSIGNED-PAYLOAD"
        } else {
            request.payload
        };
        let (date, time) = now();
        let mut headers = vec![
            ("host".to_owned(), self.host.clone()),
            ("x-amz-content-sha256".to_owned(), payload.to_owned()),
            ("x-amz-date".to_owned(), format!("{date}T{time}Z")),
            ("content-length".to_owned(), request.body.len().to_string()),
        ];
        headers.extend(
            request
                .headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        headers.sort();
        if let Some((key, secret, region)) = &self.signer {
            let names = headers
                .iter()
                .map(|(name, _)| name.as_str())
                .collect::<Vec<_>>()
                .join(";");
            let lines: String = headers
                .iter()
                .map(|(name, value)| format!("{name}:{value}\n"))
                .collect();
            let canonical = format!(
                "{}\n{path}\n{query}\n{lines}\n{names}\n{payload}",
                request.method
            );
            let scope = format!("{date}/{region}/s3/aws4_request");
            let digest = hex(&Sha256::checksum(canonical.as_bytes()));
            let text = format!("AWS4-HMAC-SHA256\n{date}T{time}Z\n{scope}\n{digest}");
            let mut signing = hmac(format!("AWS4{secret}").as_bytes(), date.as_bytes());
            for part in [region.as_str(), "s3", "aws4_request"] {
                signing = hmac(&signing, part.as_bytes());
            }
            let signature = hex(&hmac(&signing, text.as_bytes()));
            headers.push((
                "authorization".to_owned(),
                format!("AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"),
            ));
        }
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let query = if query.is_empty() {
            query
        } else {
            format!("?{query}")
        };
        format!("{} {path}{query} HTTP/1.1\r\n{lines}\r\n", request.method)
    }
}

/// Sends one request to a control endpoint.
pub(crate) fn control(addr: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let client = Client {
        addr,
        host: addr.to_string(),
        signer: None,
    };
    client.send(&Request {
        method,
        path,
        body: body.as_bytes().to_vec(),
        ..Request::default()
    })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn owned(headers: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    headers
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect()
}

fn encode(text: &str, keep_slash: bool) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        b'/' if keep_slash => "/".to_owned(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::checksum(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = [&block.map(|byte| byte ^ 0x36)[..], data].concat();
    Sha256::checksum(
        &[
            &block.map(|byte| byte ^ 0x5c)[..],
            &Sha256::checksum(&inner),
        ]
        .concat(),
    )
}

/// The date (YYYYMMDD) and time (HHMMSS) in UTC.
fn now() -> (String, String) {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + u64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let date = format!("{year:04}{month:02}{:02}", days + 1);
    (
        date,
        format!("{:02}{:02}{:02}", rest / 3600, rest / 60 % 60, rest % 60),
    )
}
