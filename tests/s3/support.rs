//! A server, a runtime and a store over them, for one test.

use std::time::Duration;

use futures::executor::block_on;
use mount_s3::crt::{Runtime, RuntimeConfig};
use mount_s3::s3::{Auth, BucketName, Error, ErrorKind, Restore, S3Config, S3Store, Store};
use s3_test_server::{Config, Model, ObjectSpec, RestoreSpec, Rule, Server};

use super::store_suite::{Archive, Bucket};
use super::stores::wait::LONG;

pub(crate) const BUCKET: &str = "bucket";
pub(crate) const MIB: u64 = 1 << 20;

/// A CRT runtime that has to end without anything left.
pub(crate) struct Crt(Option<Runtime>);

impl Crt {
    pub(crate) fn start() -> Self {
        let _already_set = env_logger::builder().is_test(true).try_init();
        Self(Some(
            Runtime::start(RuntimeConfig::default()).expect("a runtime"),
        ))
    }

    /// Connects, and again when it takes too long, which on a machine that stands still for a
    /// while is nobody's fault.
    pub(crate) fn connect(&self, config: S3Config) -> Result<S3Store, Error> {
        let mut connected = self.connect_once(config.clone());
        for _ in 1..5 {
            match &connected {
                Err(error) if error.kind() == ErrorKind::Timeout => {
                    connected = self.connect_once(config.clone());
                }
                _ => break,
            }
        }
        connected
    }

    pub(crate) fn connect_once(&self, config: S3Config) -> Result<S3Store, Error> {
        let runtime = self.0.as_ref().expect("it runs");
        block_on(S3Store::connect(runtime, config))
    }
}

impl Drop for Crt {
    fn drop(&mut self) {
        // A connection may live on for 30 seconds after a failed TLS handshake.
        let ended = self.0.take().map(|runtime| runtime.shutdown(LONG));
        if !std::thread::panicking() {
            assert_eq!(
                ended.map(|ended| ended.is_ok()),
                Some(true),
                "something was left"
            );
        }
    }
}

/// A server with one bucket, and a store over it. Fields are dropped in this order.
pub(crate) struct Fixture {
    pub(crate) store: S3Store,
    _crt: Crt,
    pub(crate) server: Server,
}

impl Fixture {
    pub(crate) fn start() -> Self {
        Self::with(|_| ())
    }

    /// With a configuration that `change` has changed.
    pub(crate) fn with(change: impl FnOnce(&mut S3Config)) -> Self {
        Self::over(Config::default(), change)
    }

    /// Over a server of directory buckets.
    pub(crate) fn directory() -> Self {
        let directory = Config {
            directory: true,
            ..Config::default()
        };
        Self::over(directory, |_| ())
    }

    /// Over a server of another configuration.
    pub(crate) fn over(server_config: Config, change: impl FnOnce(&mut S3Config)) -> Self {
        let server = server(server_config);
        let crt = Crt::start();
        let mut config = config(&server);
        change(&mut config);
        let store = crt.connect(config).expect("it connects");
        server.reset_stats();
        Self {
            store,
            _crt: crt,
            server,
        }
    }

    /// Plants a synthetic object.
    pub(crate) fn plant(&self, key: &str, seed: u64, size: u64) {
        self.server
            .put_object(&ObjectSpec::synthetic(BUCKET, key, seed, size));
    }

    /// Ends the store and its runtime, as the end of the program does.
    pub(crate) fn shut_down(self) -> Server {
        let Self {
            store,
            _crt: crt,
            server,
        } = self;
        drop(store);
        drop(crt);
        server
    }

    /// Puts faults in force.
    pub(crate) fn rules(&self, rules: &[Rule]) {
        self.server.set_model(Model {
            rules: rules.to_vec(),
            ..Model::default()
        });
    }

    /// How often the faults in force have struck.
    pub(crate) fn fired(&self) -> u64 {
        let rules = self.server.model().rules;
        rules.iter().map(|rule| rule.fired).sum()
    }
}

impl Bucket for Fixture {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn put(&self, key: &str, text: &str) {
        self.server.put_object(&ObjectSpec::text(BUCKET, key, text));
    }

    fn remove(&self, key: &str) {
        self.server.delete_object(BUCKET, key);
    }
}

impl Archive for Fixture {
    fn archive(&self, key: &str, text: &str, restore: Restore) {
        self.server.put_object(&ObjectSpec {
            storage_class: Some("GLACIER".to_owned()),
            restore: match restore {
                Restore::None => RestoreSpec::None,
                Restore::InProgress => RestoreSpec::InProgress,
                Restore::Done => RestoreSpec::Restored,
            },
            ..ObjectSpec::text(BUCKET, key, text)
        });
    }
}

pub(crate) fn server(config: Config) -> Server {
    let config = Config {
        buckets: vec![BUCKET.to_owned()],
        min_part_size: 1,
        ..config
    };
    Server::start(config).expect("a server")
}

/// How to reach `server`, with small parts, and with patience: what is asked again because the
/// machine stands still for a while would count twice.
pub(crate) fn config(server: &Server) -> S3Config {
    S3Config {
        endpoint_url: Some(server.endpoint()),
        region: Some("us-east-1".to_owned()),
        part_bytes: MIB,
        write_part_bytes: MIB,
        stall_timeout: LONG,
        ..with_key("test", "test")
    }
}

/// Lets a request be tried again soon when nothing comes.
pub(crate) fn impatient(config: &mut S3Config) {
    config.stall_timeout = Duration::from_secs(2);
}

/// The credentials of the server, or others.
pub(crate) fn with_key(id: &str, secret: &str) -> S3Config {
    let mut config = S3Config::new(BucketName::new(BUCKET).expect("a name"));
    config.auth = Auth::Static {
        access_key_id: id.to_owned(),
        secret_access_key: secret.to_owned(),
        session_token: None,
    };
    config
}
