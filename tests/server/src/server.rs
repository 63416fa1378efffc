//! The server as a whole: what it is told, its start and its end.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use s3s::crypto::{Checksum as _, Sha256};
use s3s::dto::Checksum;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::frontend::Frontend;
use crate::gate::{ExpiredKeys, Gate, Keys};
use crate::model::LiveModel;
use crate::object::{self, Object};
use crate::service::{RenameRoute, Service};
use crate::stats::Counters;
use crate::store::{Store, WriteCondition};
use crate::uploads::Uploads;
use crate::verify::Verifier;
use crate::{BulkSpec, Model, ObjectSpec, Signatures, Stats, control, listener, spec, tls};

/// How a server is to be.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where S3 is served over HTTP; port 0 takes a free one. Loopback only.
    pub addr: SocketAddr,
    /// Where the control endpoint is served. Loopback only.
    pub control_addr: SocketAddr,
    /// Serve S3 over HTTPS as well.
    pub tls: Option<TlsConfig>,
    /// Buckets that exist from the start.
    pub buckets: Vec<String>,
    /// Access keys with their secret keys.
    pub keys: Vec<(String, String)>,
    /// Accept requests without a signature.
    pub anonymous: bool,
    /// Region of the server and its buckets.
    pub region: String,
    /// Domain whose subdomains are buckets (virtual-hosted style), besides the path style.
    pub domain: Option<String>,
    /// Make ETags of uploads by a fast hash instead of MD5, which limits uploads to about 0.6 GB/s.
    pub fast_etag: bool,
    /// Keep of uploads their length, ETag and checksums only, so that no amount of them fills the
    /// memory. Their bytes are verified, then forgotten, and read as zeros.
    pub discard_uploads: bool,
    /// Least size of every part of a multipart upload but the last, in bytes.
    pub min_part_size: u64,
    /// The buckets are directory buckets: objects can be appended to and renamed.
    pub directory: bool,
    /// Keep the headers of requests in the log, too.
    pub log_headers: bool,
    /// Accept only these signatures, and take [`Self::domain`] for the buckets' only place.
    pub signatures: Option<Signatures>,
    /// Threads that serve.
    pub threads: usize,
}

/// How to serve HTTPS.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// Where; port 0 takes a free one. Loopback only.
    pub addr: SocketAddr,
    /// Directory that gets the certificate of the server's authority, [`CA_FILE`](crate::CA_FILE).
    pub dir: PathBuf,
}

/// A server that runs in this process, on threads of its own. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    control_addr: SocketAddr,
    tls_addr: Option<SocketAddr>,
    shared: Shared,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the endpoints share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) model: Arc<LiveModel>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) expired: Arc<ExpiredKeys>,
}

impl Default for Config {
    /// Free ports on 127.0.0.1, no TLS, no bucket, the key `test` with the secret `test`, region us-east-1.
    fn default() -> Self {
        Self {
            addr: LOOPBACK,
            control_addr: LOOPBACK,
            tls: None,
            buckets: Vec::new(),
            keys: vec![("test".to_owned(), "test".to_owned())],
            anonymous: false,
            region: "us-east-1".to_owned(),
            domain: None,
            fast_etag: false,
            discard_uploads: false,
            min_part_size: 5 * 1024 * 1024,
            directory: false,
            log_headers: false,
            signatures: None,
            threads: 2,
        }
    }
}

impl Server {
    /// Starts a server; it serves when this returns.
    ///
    /// # Errors
    /// When an address is not a loopback address or is taken, or the certificates
    /// cannot be written.
    pub fn start(config: Config) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(config.threads.max(1))
            .thread_name("s3-test-server")
            .enable_all()
            .build()?;
        let shared = Shared {
            store: Arc::new(Store::default()),
            model: Arc::new(LiveModel::default()),
            counters: Arc::new(Counters::default()),
            uploads: Arc::new(Uploads::default()),
            expired: Arc::default(),
        };
        config.buckets.iter().for_each(|bucket| {
            shared.store.create_bucket(bucket);
        });
        let frontend = frontend(&config, &shared);
        let s3 = bind(&runtime, config.addr)?;
        let control = bind(&runtime, config.control_addr)?;
        let (addr, control_addr) = (s3.local_addr()?, control.local_addr()?);
        let mut tls_addr = None;
        if let Some(tls) = &config.tls {
            let acceptor = tls::acceptor(&tls.dir, config.domain.as_deref())?;
            let https = bind(&runtime, tls.addr)?;
            tls_addr = Some(https.local_addr()?);
            runtime.spawn(listener::serve(https, Some(acceptor), frontend.clone()));
        }
        runtime.spawn(listener::serve(s3, None, frontend));
        runtime.spawn(control::serve(control, shared.clone()));
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("s3-test-server".to_owned())
            .spawn(move || {
                // Ends by a message as by the sender's end.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })?;
        Ok(Self {
            addr,
            control_addr,
            tls_addr,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// URL of the HTTP endpoint, for example `http://127.0.0.1:9000`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Address of the HTTP endpoint.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Address of the control endpoint.
    #[must_use]
    pub const fn control_addr(&self) -> SocketAddr {
        self.control_addr
    }

    /// Address of the HTTPS endpoint.
    #[must_use]
    pub const fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls_addr
    }

    /// Makes a bucket, if it is not there.
    pub fn create_bucket(&self, name: &str) {
        self.shared.store.create_bucket(name);
    }

    /// Plants an object, in place of the one of that key.
    pub fn put_object(&self, spec: &ObjectSpec) {
        self.shared.plant(spec);
    }

    /// Plants an object of this content, in place of the one of that key.
    pub fn put_bytes(&self, bucket: &str, key: &str, content: &[u8]) {
        let content = spec::stored(Bytes::copy_from_slice(content), Checksum::default());
        let object = Object {
            content,
            modified: object::now(),
            meta: None,
        };
        self.shared
            .store
            .put_all(bucket, [(key.to_owned(), object)]);
    }

    /// Plants many objects.
    ///
    /// # Errors
    /// When the key has no place for a number.
    pub fn put_objects(&self, spec: &BulkSpec) -> Result<(), &'static str> {
        self.shared.plant_many(spec)
    }

    /// Deletes an object, if it is there.
    pub fn delete_object(&self, bucket: &str, key: &str) {
        self.shared.delete(bucket, key);
    }

    /// The content of an object, whole, if it is there.
    #[must_use]
    pub fn read_object(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        let blob = self.shared.store.get(bucket, key).ok()?.blob();
        Some(blob.pieces_of(0..blob.size()).flatten().collect())
    }

    /// The keys of a bucket, in order.
    #[must_use]
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let keys = self.shared.store.with_bucket(bucket, |bucket| {
            bucket
                .objects
                .keys()
                .map(|key| String::from_utf8_lossy(key).into_owned())
                .collect()
        });
        keys.unwrap_or_default()
    }

    /// The keys of a bucket's multipart uploads under way, in order: one for each upload.
    #[must_use]
    pub fn uploads(&self, bucket: &str) -> Vec<String> {
        let uploads = self.shared.uploads.of_bucket(bucket);
        uploads.into_iter().map(|(_, upload)| upload.key).collect()
    }

    /// Makes an access key one that has expired: requests that are signed with it fail.
    pub fn expire_key(&self, access_key: &str) {
        self.shared.expired.add(access_key);
    }

    /// The model in force.
    #[must_use]
    pub fn model(&self) -> Model {
        self.shared.model.get()
    }

    /// Puts a model in force for the requests that follow.
    pub fn set_model(&self, model: Model) {
        self.shared.model.set(model);
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counters.snapshot()
    }

    /// Sets the counters to 0.
    pub fn reset_stats(&self) {
        self.shared.counters.reset();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has been reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    pub(crate) fn plant(&self, spec: &ObjectSpec) {
        self.store
            .put_all(&spec.bucket, [(spec.key.clone(), spec.to_object())]);
    }

    pub(crate) fn plant_many(&self, spec: &BulkSpec) -> Result<(), &'static str> {
        let objects = spec.objects().ok_or("the key has no {i} or {i:07}")?;
        self.store.put_all(&spec.bucket, objects);
        Ok(())
    }

    /// A line for each object of a bucket: SHA-256 in hexadecimal, size in bytes and key, with tabs between.
    pub(crate) fn manifest(&self, bucket: &str) -> String {
        let objects = self
            .store
            .with_bucket(bucket, |bucket| bucket.objects.clone())
            .unwrap_or_default();
        let line = |(key, object): (Box<[u8]>, Object)| {
            let blob = object.blob();
            let mut hasher = Sha256::new();
            blob.pieces_of(0..blob.size())
                .for_each(|piece| hasher.update(&piece));
            let digest: String = hasher
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!(
                "{digest}\t{}\t{}\n",
                blob.size(),
                String::from_utf8_lossy(&key)
            )
        };
        objects.into_iter().map(line).collect()
    }

    pub(crate) fn delete(&self, bucket: &str, key: &str) {
        // Without the bucket there is no object to delete.
        let _ = self.store.delete(bucket, key, &WriteCondition::default());
    }
}

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn frontend(config: &Config, shared: &Shared) -> Frontend {
    let region: Arc<str> = config.region.as_str().into();
    let service = Service {
        store: Arc::clone(&shared.store),
        uploads: Arc::clone(&shared.uploads),
        directory: config.directory,
        region: Arc::clone(&region),
        fast_etag: config.fast_etag,
        discard_uploads: config.discard_uploads,
        min_part_size: config.min_part_size,
    };
    let keys: HashMap<_, _> = config.keys.iter().cloned().collect();
    let verifier = config.signatures.clone().map(|signatures| {
        let verifier = Verifier::new(signatures, keys.clone(), config.domain.as_deref());
        Arc::new(verifier)
    });
    let gate = || Gate {
        model: Arc::clone(&shared.model),
        // What was verified comes without its signature.
        anonymous: config.anonymous || verifier.is_some(),
    };
    let mut builder = S3ServiceBuilder::new(service.clone());
    builder.set_auth(Keys {
        secrets: keys.clone(),
        expired: Arc::clone(&shared.expired),
    });
    builder.set_access(gate());
    builder.set_route(RenameRoute {
        service: service.clone(),
        gate: gate(),
        done: Mutex::default(),
    });
    if let Some(domain) = &config.domain {
        builder.set_host(crate::gate::Domain::new(domain));
    }
    Frontend {
        service: builder.build(),
        model: Arc::clone(&shared.model),
        counters: Arc::clone(&shared.counters),
        region,
        log_headers: config.log_headers,
        requests: Arc::default(),
        verifier,
    }
}

fn bind(runtime: &Runtime, addr: SocketAddr) -> io::Result<TcpListener> {
    if !addr.ip().is_loopback() {
        let reason = format!("{addr} is not a loopback address");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    runtime.block_on(TcpListener::bind(addr))
}
