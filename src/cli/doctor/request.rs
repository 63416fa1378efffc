//! One request that is answered, or not, soon.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc;
use futures::executor::block_on;
use futures::future::{Either, select};

use crate::crt::s3::{Client, ClientConfig, RequestKind, RequestOptions, Signing};
use crate::crt::{CredentialsProvider, Error, Headers, Runtime, TlsContext, Uri};

/// What to ask.
pub(super) struct Question<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) tls: &'a TlsContext,
    pub(super) credentials: &'a CredentialsProvider,
    pub(super) signing: Signing<'a>,
    pub(super) origin: &'a Uri,
    pub(super) method: &'a str,
    /// The operation, as AWS names it.
    pub(super) operation: &'a str,
    /// Of the type of a form; may be empty.
    pub(super) body: &'static str,
}

/// An answer, of whatever status.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
}

/// Why no answer came.
pub(super) struct Failure {
    pub(super) is_tls: bool,
    pub(super) text: String,
}

impl Question<'_> {
    /// Asks, through the proxy of the environment if it names one.
    pub(super) fn ask(&self) -> Result<Answer, Failure> {
        let (failed, mut failures) = mpsc::unbounded();
        let mut config = ClientConfig::new(self.signing.region, self.credentials);
        config.signing = self.signing;
        config.tls = Some(self.tls);
        config.failed_handshakes = Some(failed);
        config.max_retries = Some(NonZeroU32::MIN);
        config.connect_timeout = Some(PATIENCE);
        let client = Client::new(self.runtime, &config)?;
        let mut message = client.message(self.method, "/")?;
        message.header("Host", &self.origin.authority())?;
        if !self.body.is_empty() {
            message.header("Content-Type", "application/x-www-form-urlencoded")?;
            message.header("Content-Length", &self.body.len().to_string())?;
        }
        let operation = self.operation;
        let mut options = RequestOptions::new(RequestKind::Default { operation }, self.origin);
        options.body = Bytes::from_static(self.body.as_bytes());
        let answer = client.send(message, &options)?;
        match block_on(select(answer, failures.select_next_some())) {
            Either::Left((Ok(response), _)) => Ok(Answer {
                status: response.status,
                headers: response.headers,
                body: response.body,
            }),
            Either::Left((Err(error), _)) => match error.response {
                Some(response) => Ok(Answer {
                    status: response.status,
                    headers: response.headers,
                    body: response.body,
                }),
                None => Err(error.error.into()),
            },
            Either::Right((failure, _)) => Err(Failure {
                is_tls: true,
                text: format!("the handshake failed: {}", failure.reason),
            }),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            is_tls: false,
            text: error.to_string(),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(3);
