//! Who asks: the search for credentials.

mod profile;
mod session;

use std::error::Error as StdError;
use std::fmt;
use std::time::SystemTime;

use super::{Auth, Error, ErrorKind};
use crate::crt::{CredentialsProvider, Error as CrtError, Prepare, Runtime, TlsContext};

/// Credentials that were found. They are refreshed as long as this, or a client that was made with
/// them, lives; always from the source that they were found in.
#[derive(Debug, Clone)]
pub struct Signer {
    /// What signs with them.
    pub provider: CredentialsProvider,
    /// Where they come from, in words: `profile work`.
    pub source: String,
    /// The access key's id; empty where nothing is signed.
    pub access_key_id: String,
    /// When they end, if they do.
    pub expires: Option<SystemTime>,
}

/// Why there are no credentials: every source that was tried, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCredentials {
    /// The sources.
    pub attempts: Vec<Attempt>,
}

/// A source that has no credentials, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The source, in words.
    pub source: String,
    /// Why it has none; and what helps, where that is known.
    pub reason: String,
}

/// Where and how to search for credentials.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// What the sources on the network are asked with.
    pub runtime: &'a Runtime,
    /// Whom they are trusted by.
    pub tls: &'a TlsContext,
    /// Where to search.
    pub auth: &'a Auth,
    /// The region whose STS is asked for web identities where nothing else names one.
    pub region: Option<&'a str>,
    /// Whether the metadata service of EC2 instances may be asked.
    pub instance_metadata: bool,
}

impl Search<'_> {
    /// Finds credentials. Of [`Auth::DefaultChain`] the first source wins that has any: the
    /// environment, the profile, the token of a web identity, and the container's or, outside of
    /// one, the instance's metadata service. `begin` is told of each before it is asked.
    ///
    /// # Errors
    /// No source has any.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the source that is asked running; its answer is thrown away.
    pub async fn run(&self, begin: &(dyn Fn(&str) + Sync)) -> Result<Signer, NoCredentials> {
        let runtime = self.runtime;
        match self.auth {
            Auth::Anonymous => {
                let unsigned = CredentialsProvider::anonymous(runtime);
                fixed("none: requests are not signed", "", unsigned)
            }
            Auth::Static {
                access_key_id: id,
                secret_access_key: secret,
                session_token: token,
            } => {
                let given = CredentialsProvider::fixed(runtime, id, secret, token.as_deref());
                fixed("a key that was given", id, given)
            }
            Auth::Profile(name) => {
                let source = || profile::source(runtime, self.tls, Some(name));
                self.first(&[&source], begin).await
            }
            Auth::DefaultChain => {
                let environment = || self.environment();
                let profile = || profile::source(runtime, self.tls, None);
                let web_identity = || self.web_identity();
                let machine = || self.machine();
                let chain: [&(dyn Fn() -> Source + Sync); 4] =
                    [&environment, &profile, &web_identity, &machine];
                self.first(&chain, begin).await
            }
        }
    }

    /// The first of `sources` that has credentials.
    async fn first(
        &self,
        sources: &[&(dyn Fn() -> Source + Sync)],
        begin: &(dyn Fn(&str) + Sync),
    ) -> Result<Signer, NoCredentials> {
        let mut attempts = Vec::new();
        for source in sources {
            let source = source();
            begin(&source.name);
            match self.ask(source).await {
                Ok(signer) => {
                    log::info!("credentials come from: {}", signer.source);
                    return Ok(signer);
                }
                Err(attempt) => {
                    log::debug!("no credentials: {attempt}");
                    attempts.push(attempt);
                }
            }
        }
        Err(NoCredentials { attempts })
    }

    async fn ask(&self, source: Source) -> Result<Signer, Attempt> {
        let Source {
            name,
            provider,
            prepare,
            failure,
            remedy,
        } = source;
        let provider = provider.and_then(|provider| {
            CredentialsProvider::refreshed(self.runtime, provider, prepare)
                .map_err(|error| describe(&error))
        });
        let loaded = match provider {
            Ok(provider) => match provider.load().await {
                Ok(loaded) => Ok((provider, loaded)),
                Err(error) => Err(failure.map_or_else(|| describe(&error), str::to_owned)),
            },
            Err(reason) => Err(reason),
        };
        match loaded {
            Ok((provider, loaded)) => Ok(Signer {
                provider,
                source: name,
                access_key_id: loaded.access_key_id,
                expires: loaded.expires,
            }),
            Err(reason) => Err(Attempt {
                source: name,
                reason: match remedy {
                    Some(remedy) => format!("{reason}; {remedy}"),
                    None => reason,
                },
            }),
        }
    }

    fn environment(&self) -> Source {
        let provider = CredentialsProvider::environment(self.runtime);
        let source = Source::new(
            "environment variables",
            provider.map_err(|error| describe(&error)),
        );
        Source {
            failure: Some("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set"),
            ..source
        }
    }

    fn web_identity(&self) -> Source {
        let provider = CredentialsProvider::web_identity(self.runtime, self.tls, None, self.region);
        let provider = provider.map_err(|_| {
            "AWS_ROLE_ARN or AWS_WEB_IDENTITY_TOKEN_FILE is not set, or there is no region"
                .to_owned()
        });
        Source::new("web identity", provider)
    }

    /// The container's metadata service where there is one, else that of the instance.
    fn machine(&self) -> Source {
        let container = CredentialsProvider::container(self.runtime, self.tls);
        if let Ok(provider) = container {
            return Source::new("container", Ok(provider));
        }
        let provider = if self.instance_metadata {
            CredentialsProvider::instance(self.runtime).map_err(|error| describe(&error))
        } else {
            Err("AWS_EC2_METADATA_DISABLED is set".to_owned())
        };
        Source::new("instance metadata", provider)
    }
}

/// A source that may have credentials.
struct Source {
    name: String,
    /// What asks it, or why it cannot be asked.
    provider: Result<CredentialsProvider, String>,
    /// What has to be done before it is asked.
    prepare: Option<Prepare>,
    /// What it means if it has none; without it that is what the CRT says.
    failure: Option<&'static str>,
    /// What helps if it has none.
    remedy: Option<String>,
}

impl Source {
    fn new(name: impl Into<String>, provider: Result<CredentialsProvider, String>) -> Self {
        Self {
            name: name.into(),
            provider,
            prepare: None,
            failure: None,
            remedy: None,
        }
    }

    fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }
}

/// Lets other credentials be fetched if a server has refused those that it was asked with.
pub(super) fn reconsider(provider: &CredentialsProvider, error: &Error) {
    if error.kind() == ErrorKind::BadCredentials {
        provider.doubt();
    }
}

/// Credentials that need neither loading nor refreshing.
fn fixed(
    source: &str,
    access_key_id: &str,
    made: Result<CredentialsProvider, CrtError>,
) -> Result<Signer, NoCredentials> {
    match made {
        Ok(provider) => Ok(Signer {
            provider,
            source: source.to_owned(),
            access_key_id: access_key_id.to_owned(),
            expires: None,
        }),
        Err(error) => Err(NoCredentials {
            attempts: vec![Attempt {
                source: source.to_owned(),
                reason: describe(&error),
            }],
        }),
    }
}

/// The name of a CRT error may be looked up, and its text says more.
fn describe(error: &CrtError) -> String {
    format!(
        "{} ({})",
        error.message().trim_end_matches('.'),
        error.name()
    )
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.reason)
    }
}

impl fmt::Display for NoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no credentials could be loaded: ")?;
        for (index, attempt) in self.attempts.iter().enumerate() {
            let separator = if index == 0 { "" } else { " | " };
            write!(f, "{separator}{attempt}")?;
        }
        Ok(())
    }
}

impl StdError for NoCredentials {}
