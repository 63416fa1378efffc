//! The way to a [`S3Store`]: credentials, endpoint, region, and one request that proves them.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::{mpsc as channel, oneshot};
use futures::future::{Either, select};

use super::buffers::Buffers;
use super::classify::{LIST, Subject};
use super::client::{S3Store, Shared};
use super::credentials::Search;
use super::endpoint::{Endpoint, Query};
use super::message::Common;
use super::probe::Probe;
use super::proof::Proofs;
use super::{Auth, BucketKind, Context, Error, ErrorKind, ListedObject, S3Config, session};
use crate::crt::s3::{Client, ClientConfig, Stall};
use crate::crt::{
    CredentialsProvider, EndpointRules, ErrorKind as CrtErrorKind, FailedHandshakes, Runtime,
    TlsContext, Trust, Uri,
};

impl S3Store {
    /// Connects to a bucket and lists one entry, so that a wrong endpoint, bucket, region or
    /// credential is found now. Takes no longer than 10 seconds.
    ///
    /// # Errors
    /// The kind and the text name the cause: [`ErrorKind::NoSuchBucket`], [`ErrorKind::Denied`],
    /// [`ErrorKind::NoCredentials`], [`ErrorKind::BadCredentials`], [`ErrorKind::WrongRegion`] (its
    /// context names the right one), [`ErrorKind::Dns`], [`ErrorKind::Connection`],
    /// [`ErrorKind::Tls`], [`ErrorKind::Timeout`], or [`ErrorKind::Other`] for settings that do not
    /// fit together.
    ///
    /// # Cancel safety
    /// Dropping the future cancels what is under way.
    pub async fn connect(runtime: &Runtime, config: S3Config) -> Result<Self, Error> {
        let probe = Probe::List(config.prefix.clone());
        let (store, _nothing) = Self::connect_by(&probe, runtime, config).await?;
        Ok(store)
    }

    /// As [`Self::connect`], but fetches the first byte of an object that is known instead, so that
    /// no permission is needed but that to read: of the first of `known`, or, where that is refused,
    /// of the next one. Without any, nothing is asked.
    ///
    /// All of them are readable and not empty. What is known of one may be outdated, which is no
    /// error, as the bucket was reached: then the answer comes with the store.
    ///
    /// # Errors
    /// Those of [`Self::connect`].
    ///
    /// # Cancel safety
    /// Dropping the future cancels what is under way.
    pub async fn connect_to_known(
        runtime: &Runtime,
        config: S3Config,
        known: Vec<ListedObject>,
    ) -> Result<(Self, Option<Error>), Error> {
        Self::connect_by(&Probe::Get(known), runtime, config).await
    }

    async fn connect_by(
        probe: &Probe,
        runtime: &Runtime,
        config: S3Config,
    ) -> Result<(Self, Option<Error>), Error> {
        let deadline = after(CONNECT_DEADLINE);
        let (operation, key) = probe.subject();
        let subject = Subject {
            operation,
            bucket: config.bucket.to_string(),
            key: key.to_owned(),
            region: config.region.clone().unwrap_or_default(),
        };
        let step = Step::default();
        let connecting = std::pin::pin!(connect(runtime, &config, &subject, &step, probe));
        match select(connecting, deadline.elapsed).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(match step.credentials() {
                Some(source) => subject.error(
                    ErrorKind::NoCredentials,
                    no_answer(&format!("the source of the credentials ({source})")),
                ),
                None => subject.error(ErrorKind::Timeout, no_answer(&s3(&config))),
            }),
        }
    }

    /// Where a bucket's requests go first: scheme, host and, if it is not the scheme's own, port.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`]: settings that do not fit together.
    pub fn origin(runtime: &Runtime, config: &S3Config) -> Result<String, Error> {
        let subject = Subject {
            operation: LIST,
            bucket: config.bucket.to_string(),
            key: config.prefix.as_str().to_owned(),
            region: config.region.clone().unwrap_or_default(),
        };
        Ok(Place::first(runtime, config, &subject)?.endpoint.origin)
    }
}

/// The source of credentials that is being asked, if one is.
#[derive(Default)]
struct Step(Mutex<Option<String>>);

impl Step {
    fn set(&self, source: Option<&str>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = source.map(str::to_owned);
    }

    fn credentials(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Nothing came before the deadline.
fn no_answer(who: &str) -> String {
    let seconds = CONNECT_DEADLINE.as_secs();
    format!("no answer from {who} within {seconds} seconds")
}

fn s3(config: &S3Config) -> String {
    match config.endpoint_url.as_deref() {
        Some(url) if is_https(url) => format!("{url} over TLS"),
        Some(url) => url.to_owned(),
        None => "S3".to_owned(),
    }
}

async fn connect(
    runtime: &Runtime,
    config: &S3Config,
    subject: &Subject,
    step: &Step,
    probe: &Probe,
) -> Result<(S3Store, Option<Error>), Error> {
    let mut place = Place::first(runtime, config, subject)?;
    let identity = Identity::find(runtime, config, subject, step).await?;
    let probed = match try_probe(runtime, config, &identity, subject, &place, probe).await {
        Err(error) if error.kind() == ErrorKind::WrongRegion => {
            let right = error.context().region.clone();
            match (&config.region, right) {
                (None, Some(right)) if right != place.region => {
                    log::info!("bucket {} is in region {right}", config.bucket);
                    place = place.moved_to(config, subject, right)?;
                    try_probe(runtime, config, &identity, subject, &place, probe).await
                }
                (_, right) => Err(wrong_region(&error, &place.region, right.as_deref())),
            }
        }
        probed => probed,
    }?;
    let store = identity.store(runtime, config, subject, &place, Tries::Configured)?;
    Ok((store, probed))
}

/// Where the bucket is taken to be.
struct Place {
    rules: EndpointRules,
    region: String,
    endpoint: Endpoint,
}

impl Place {
    /// Where the settings say, or the bucket's name, or what is likely.
    fn first(runtime: &Runtime, config: &S3Config, subject: &Subject) -> Result<Self, Error> {
        let rules = EndpointRules::new(runtime).map_err(|error| {
            let text = "the rules of S3's endpoints cannot be read".to_owned();
            caused(subject, ErrorKind::Other, text, error)
        })?;
        let region = config
            .region
            .clone()
            .or_else(|| config.bucket.region())
            .or_else(|| config.likely_region.clone())
            .unwrap_or_else(|| FIRST_REGION.to_owned());
        Self::new(rules, config, subject, region)
    }

    /// In another region.
    fn moved_to(self, config: &S3Config, subject: &Subject, region: String) -> Result<Self, Error> {
        Self::new(self.rules, config, subject, region)
    }

    fn new(
        rules: EndpointRules,
        config: &S3Config,
        subject: &Subject,
        region: String,
    ) -> Result<Self, Error> {
        let query = Query {
            bucket: &config.bucket,
            region: &region,
            url: config.endpoint_url.as_deref(),
            addressing: config.addressing,
            signed: !matches!(config.auth, Auth::Anonymous),
        };
        let endpoint = Endpoint::resolve(&rules, &query)
            .map_err(|invalid| subject.error(ErrorKind::Settings, invalid.to_string()))?;
        Ok(Self {
            rules,
            region,
            endpoint,
        })
    }
}

/// Asks what `probe` says, by a client of its own that gives up soon.
async fn try_probe(
    runtime: &Runtime,
    config: &S3Config,
    identity: &Identity,
    subject: &Subject,
    place: &Place,
    probe: &Probe,
) -> Result<Option<Error>, Error> {
    let (failed, mut failures) = channel::unbounded();
    let store = identity.store(runtime, config, subject, place, Tries::Few { failed })?;
    let origin = &place.endpoint.origin;
    let asked = std::pin::pin!(probe.ask(&store));
    match select(asked, failures.select_next_some()).await {
        // A server without TLS may just close the connection.
        Either::Left((Err(error), _))
            if error.kind() == ErrorKind::Connection && is_https(origin) =>
        {
            let mut context = error.context().clone();
            let text = context.message.unwrap_or_default();
            context.message = Some(format!("no answer from {origin} over TLS: {text}"));
            Err(Error::new(error.kind(), context))
        }
        Either::Left((Err(error), _)) if is_refused_session(&error) => {
            Err(session::refusal(store.shared()).await.unwrap_or(error))
        }
        Either::Left((answer, _)) => answer,
        // Its request would not hear of it before the deadline.
        Either::Right((failure, _)) => {
            let text = format!("no TLS connection to {origin}: {}", failure.reason);
            Err(caused(subject, ErrorKind::Tls, text, failure.error))
        }
    }
}

fn is_refused_session(error: &Error) -> bool {
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<crate::crt::Error>());
    cause.is_some_and(|cause| cause.kind() == CrtErrorKind::Session)
}

fn is_https(url: &str) -> bool {
    url.starts_with("https:")
}

/// Whether a client gives up soon or as configured.
enum Tries {
    Few { failed: FailedHandshakes },
    Configured,
}

/// Who asks, and whom it trusts.
struct Identity {
    tls: TlsContext,
    credentials: CredentialsProvider,
}

impl Identity {
    async fn find(
        runtime: &Runtime,
        config: &S3Config,
        subject: &Subject,
        step: &Step,
    ) -> Result<Self, Error> {
        let trust = match &config.ca_bundle {
            Some(path) => Trust::CaFile(path),
            None => Trust::System,
        };
        let tls = TlsContext::new(runtime, trust).map_err(|error| {
            let text = match &config.ca_bundle {
                Some(path) => format!("cannot use the CA bundle {}", path.display()),
                None => "cannot use the system's trusted certificates".to_owned(),
            };
            caused(subject, ErrorKind::Tls, text, error)
        })?;
        let search = Search {
            runtime,
            tls: &tls,
            auth: &config.auth,
            region: config.region.as_deref(),
            instance_metadata: config.instance_metadata,
        };
        let signer = search.run(&|source| step.set(Some(source))).await;
        step.set(None);
        let signer = signer.map_err(|error| {
            let context = Context {
                message: Some(error.to_string()),
                ..subject.context()
            };
            Error::with_source(ErrorKind::NoCredentials, context, error)
        })?;
        let credentials = signer.provider;
        Ok(Self { tls, credentials })
    }

    fn store(
        &self,
        runtime: &Runtime,
        config: &S3Config,
        subject: &Subject,
        place: &Place,
        tries: Tries,
    ) -> Result<S3Store, Error> {
        let endpoint = &place.endpoint;
        let failed = |error| {
            let text = "the client cannot be made".to_owned();
            caused(subject, ErrorKind::Other, text, error)
        };
        let mut client = ClientConfig::new(&place.region, &self.credentials);
        client.signing = endpoint.scheme.signing();
        client.tls = Some(&self.tls);
        client.part_bytes = Some(config.part_bytes);
        client.throughput_target_gbps = Some(config.throughput_target_gbps);
        client.memory_limit_bytes = config.memory_limit_bytes;
        client.backpressure = true;
        client.network_interfaces = &config.network_interfaces;
        client.backoff_base = Some(BACKOFF_BASE);
        let stall_timeout = match tries {
            Tries::Few { failed } => {
                client.failed_handshakes = Some(failed);
                client.max_retries = Some(FEW_RETRIES);
                client.backoff_limit = Some(FEW_BACKOFF_CAP);
                client.connect_timeout = Some(config.connect_timeout.min(FEW_TIMEOUT));
                config.stall_timeout.min(FEW_TIMEOUT)
            }
            Tries::Configured => {
                // The CRT takes no retries for its default.
                client.max_retries =
                    NonZeroU32::new(config.max_attempts.get() - 1).or(Some(NonZeroU32::MIN));
                client.backoff_limit = Some(BACKOFF_CAP);
                client.connect_timeout = Some(config.connect_timeout);
                config.stall_timeout
            }
        };
        client.stall = Some(Stall {
            bytes_per_second: 1,
            interval: stall_timeout.max(Duration::from_secs(1)),
        });
        let write_part_bytes = config.write_part_bytes.clamp(1, LARGEST_PART);
        let write_part_bytes = usize::try_from(write_part_bytes).unwrap_or(usize::MAX);
        Ok(S3Store::new(Shared {
            client: Client::new(runtime, &client).map_err(failed)?,
            credentials: Arc::new(self.credentials.clone()),
            endpoint: Uri::parse(runtime, &endpoint.origin).map_err(failed)?,
            common: Common {
                path: endpoint.path.clone(),
                user_agent: config.user_agent(),
                requester_pays: config.requester_pays,
                expected_bucket_owner: config.expected_bucket_owner.clone(),
                storage_class: config.storage_class.clone(),
                encryption: config.encryption.clone(),
                checksums: config.upload_checksums,
                has_archive: config.kind == BucketKind::GeneralPurpose,
                has_order: config.kind != BucketKind::Directory,
            },
            bucket: config.bucket.to_string(),
            region: place.region.clone(),
            scheme: endpoint.scheme.clone(),
            part_bytes: config.part_bytes,
            write_part_bytes,
            buffers: Buffers::new(write_part_bytes),
            proofs: Proofs::default(),
            metrics: Arc::clone(&config.metrics),
        }))
    }
}

fn wrong_region(error: &Error, region: &str, right: Option<&str>) -> Error {
    let text = match right {
        Some(right) => format!("the bucket is in region {right}, not in {region}"),
        None => format!("the bucket is not in region {region}"),
    };
    let context = Context {
        message: Some(text),
        ..error.context().clone()
    };
    Error::with_source(ErrorKind::WrongRegion, context, error.clone())
}

fn caused(subject: &Subject, kind: ErrorKind, text: String, cause: crate::crt::Error) -> Error {
    let context = Context {
        message: Some(text),
        ..subject.context()
    };
    Error::with_source(kind, context, cause)
}

/// A point in time to wait for. Dropping it ends its thread.
struct Deadline {
    elapsed: oneshot::Receiver<()>,
    _stop: mpsc::Sender<()>,
}

/// The CRT has no timer to wait for and nothing else here needs one, so a thread sleeps.
fn after(time: Duration) -> Deadline {
    let (fire, elapsed) = oneshot::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    thread::spawn(move || {
        if stopped.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Timeout) {
            // Nobody waits any more when the connection was made at this very moment.
            let _unheard = fire.send(());
        }
    });
    Deadline {
        elapsed,
        _stop: stop,
    }
}

/// What S3 takes: 5 GiB.
const LARGEST_PART: u64 = 5 << 30;

const CONNECT_DEADLINE: Duration = Duration::from_secs(9);
const FIRST_REGION: &str = "us-east-1";

/// Enough to come through a store that answers 503 to every second request.
const FEW_RETRIES: NonZeroU32 = NonZeroU32::new(4).expect("four is not zero");
const FEW_BACKOFF_CAP: Duration = Duration::from_millis(500);
const FEW_TIMEOUT: Duration = Duration::from_secs(3);

/// The first wait is up to this long, and each one up to twice as long as the one before.
const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_CAP: Duration = Duration::from_secs(20);
