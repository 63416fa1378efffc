//! What to tell when S3 or the kernel refuse a mount: the cause by name, and what helps.

use super::config::{ClientOptions, CredentialsSource};
use super::exit::Failure;
use crate::fuse::MountError;
use crate::s3::{self, BucketName, ErrorKind};

/// Why the bucket cannot be reached.
pub(super) fn connect_failure(
    bucket: &BucketName,
    client: &ClientOptions,
    error: &s3::Error,
) -> Failure {
    let failure = Failure::new("Failed to create S3 client");
    let context = error.context();
    // Without a region of the user's, requests begin in a likely one and follow the answer.
    let told = client.region.clone().or_else(|| context.region.clone());
    let region = told
        .or_else(|| bucket.region())
        .or_else(|| client.likely_region.clone())
        .unwrap_or_else(|| DEFAULT_REGION.to_owned());
    // An error of no operation came before the first request.
    let failure = match context.operation {
        "" => failure,
        operation => failure.because(format!(
            "initial {operation} failed for bucket {bucket} in region {region}"
        )),
    };
    let failure = match error.kind() {
        ErrorKind::NoCredentials => failure.because("No signing credentials found"),
        ErrorKind::BadCredentials => failure.because("invalid AWS credentials"),
        ErrorKind::Denied => failure.because("Forbidden"),
        _ => failure,
    }
    .caused_by(error);
    match remedy(client, error) {
        Some(remedy) => failure.with_remedy(remedy),
        None => failure,
    }
}

/// Why the kernel cannot be served. The error gives its advice itself.
pub(super) fn session_failure(error: &MountError) -> Failure {
    Failure::new("Failed to create FUSE session").caused_by(error)
}

fn remedy(client: &ClientOptions, error: &s3::Error) -> Option<String> {
    let signed = client.credentials != CredentialsSource::Anonymous;
    let text = match error.kind() {
        ErrorKind::NoCredentials => {
            "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
             or use --no-sign-request for a public bucket"
        }
        ErrorKind::BadCredentials => {
            "check the credentials and their expiry, and the clock of this machine"
        }
        ErrorKind::Denied if signed && error.context().operation == CREATE_SESSION => {
            "the credentials need s3express:CreateSession for this bucket"
        }
        ErrorKind::Denied if signed && error.context().operation == GET => {
            "the credentials need s3:GetObject for this bucket and prefix (and s3:ListBucket to be told \
             of an object that is gone since the index was made); if they have it, make the index again"
        }
        ErrorKind::Denied if signed => {
            "the credentials need s3:ListBucket and s3:GetObject for this bucket and prefix"
        }
        ErrorKind::Denied => "the bucket is not public: mount it without --no-sign-request",
        ErrorKind::NoSuchBucket => "check the name of the bucket, and --endpoint-url if you use it",
        ErrorKind::WrongRegion => match &error.context().region {
            Some(region) => return Some(format!("use --region {region}")),
            None => "check --region and AWS_REGION",
        },
        ErrorKind::Dns | ErrorKind::Connection | ErrorKind::Timeout
            if let Some(proxy) = client.proxies.of(client.endpoint_url.as_deref()) =>
        {
            return Some(format!(
                "check the proxy {} that {} names, and whether it allows the endpoint; or list the \
                 endpoint's host in NO_PROXY to do without it",
                proxy.url, proxy.variable
            ));
        }
        ErrorKind::Dns | ErrorKind::Connection | ErrorKind::Timeout => {
            match client.endpoint_url.as_deref() {
                Some(url) if url.starts_with("https:") => {
                    "check --endpoint-url (or AWS_ENDPOINT_URL), whether it speaks TLS, and the network"
                }
                Some(_) => "check --endpoint-url (or AWS_ENDPOINT_URL) and the network",
                None => "check --region (or AWS_REGION) and the network",
            }
        }
        ErrorKind::Settings => {
            "check the bucket's name or ARN, --region (or AWS_REGION), --endpoint-url, \
             --force-path-style, --transfer-acceleration, --dual-stack \
             (or AWS_USE_DUALSTACK_ENDPOINT) and AWS_USE_FIPS_ENDPOINT"
        }
        ErrorKind::Tls => "if the endpoint has certificates of its own, name them with --ca-bundle",
        _ => return None,
    };
    Some(text.to_owned())
}

/// What is asked of a directory bucket before anything else.
const CREATE_SESSION: &str = "CreateSession";

/// What is asked first with an index.
const GET: &str = "GetObject";

/// Where S3 knows every bucket's region.
const DEFAULT_REGION: &str = "us-east-1";

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::args::Args;
    use super::super::config::{Config, Environment};
    use super::*;
    use crate::s3::Context;

    fn failure(flags: &[&str], kind: ErrorKind, context: Context) -> String {
        let words = [&["mount-s3", "bucket", "/mnt"], flags].concat();
        let args = Args::parse_words(words.iter().map(OsString::from)).expect("valid");
        let config = Config::new(args, Environment::default()).expect("valid");
        let error = s3::Error::new(kind, context);
        connect_failure(&config.bucket, &config.client, &error).to_string()
    }

    fn list(message: &str) -> Context {
        Context {
            operation: "ListObjectsV2",
            bucket: "bucket".to_owned(),
            message: Some(message.to_owned()),
            ..Context::default()
        }
    }

    #[test]
    fn connect_failure_names_operation_bucket_region_and_cause() {
        let text = failure(&["--region", "eu-west-1"], ErrorKind::Denied, list("no"));
        assert_eq!(
            text,
            "Failed to create S3 client\n\nCaused by:\n    \
             0: initial ListObjectsV2 failed for bucket bucket in region eu-west-1\n    \
             1: Forbidden\n    \
             2: ListObjectsV2 s3://bucket/: no\n\n\
             To fix it: the credentials need s3:ListBucket and s3:GetObject for this bucket and \
             prefix"
        );
    }

    #[test]
    fn connect_failure_before_a_request_names_the_cause_alone() {
        let context = Context {
            message: Some("bad option".to_owned()),
            ..Context::default()
        };
        let text = failure(&[], ErrorKind::Other, context);
        assert!(!text.contains("initial"), "{text}");
        assert!(text.contains("bad option"), "{text}");
    }

    #[test]
    fn connect_failure_has_a_remedy_for_what_users_can_change() {
        let region = Context {
            region: Some("eu-west-1".to_owned()),
            ..list("moved")
        };
        for (flags, kind, context, remedy) in [
            (
                &[][..],
                ErrorKind::NoCredentials,
                list("none"),
                "AWS_PROFILE",
            ),
            (&[], ErrorKind::BadCredentials, list("bad"), "clock"),
            (
                &[],
                ErrorKind::Denied,
                Context {
                    operation: "GetObject",
                    ..list("no")
                },
                "need s3:GetObject for",
            ),
            (
                &["--no-sign-request"],
                ErrorKind::Denied,
                list("no"),
                "not public",
            ),
            (
                &[],
                ErrorKind::NoSuchBucket,
                list("none"),
                "name of the bucket",
            ),
            (
                &[],
                ErrorKind::WrongRegion,
                region,
                "use --region eu-west-1",
            ),
            (&[], ErrorKind::Dns, list("unknown"), "--region"),
            (
                &["--endpoint-url", "http://127.0.0.1:1"],
                ErrorKind::Connection,
                list("refused"),
                "--endpoint-url",
            ),
            (&[], ErrorKind::Tls, list("untrusted"), "--ca-bundle"),
        ] {
            let text = failure(flags, kind, context);
            let (_, found) = text.split_once("To fix it: ").expect("a remedy");
            assert!(found.contains(remedy), "{kind:?}: {text}");
        }
    }
}
