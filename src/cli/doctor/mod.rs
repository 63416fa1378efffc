//! `mount-s3 doctor`: looks at everything that a mount needs, and says what to change.

mod bucket;
mod cache;
mod identity;
mod machine;
mod network;
mod report;
mod request;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use futures::executor::block_on;

use super::args_caching::SharedCacheArgs;
use super::args_doctor::DoctorArgs;
use super::config::{ClientOptions, Environment, LogOptions};
use super::connect::client_config;
use super::diagnosis::connect_failure;
use super::exit::Failure;
use super::fail;
use super::logging;
use super::machine::Throughput;
use super::shared_cache::cache_config;
use crate::crt::{Headers, Runtime, RuntimeConfig, TlsContext, Trust, Uri};
use crate::s3::{BucketName, ErrorKind, Prefix, S3Config, S3Store};
use report::{Report, Step};

/// Examines what was asked for, and gives the exit status: 0 when a mount would work.
pub(super) fn main(args: DoctorArgs) -> ExitCode {
    match run(args, Environment::read()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => fail(&failure),
    }
}

fn run(args: DoctorArgs, mut environment: Environment) -> Result<bool, Failure> {
    logging::start(&LogOptions::of_command(args.debug, &environment)?)?;
    let variables = Environment::names();
    environment.ask_instance(args.connect.region.is_some(), false);
    let throughput = Throughput::choose(None, environment.instance_type(), Path::new("/"));
    let client = ClientOptions::new(args.connect, args.client, throughput, environment)?;
    let runtime = Runtime::start(RuntimeConfig::default()).map_err(|error| {
        Failure::new("Failed to start the AWS Common Runtime").caused_by(&error)
    })?;
    let (bucket, prefix) = args.source;
    let mut report = Report::new(args.json);
    machine::examine(&mut report, Path::new("/"), &client.throughput);
    let examination = Examination {
        runtime: &runtime,
        client: &client,
        config: client_config(bucket, prefix, &client),
        variables,
        write: args.write,
        shared_cache: args.shared_cache,
    };
    examination.run(&mut report);
    drop(examination);
    let is_well = report.finish();
    // What does not end in time ends with the process.
    if let Err(error) = runtime.shutdown(SHUTDOWN_DEADLINE) {
        log::debug!("{error}");
    }
    Ok(is_well)
}

/// The bucket that is examined, and how it is reached.
struct Examination<'a> {
    runtime: &'a Runtime,
    client: &'a ClientOptions,
    config: S3Config,
    variables: Vec<String>,
    write: bool,
    shared_cache: SharedCacheArgs,
}

impl Examination<'_> {
    fn run(&self, report: &mut Report) {
        let Some(tls) = self.tls(report) else { return };
        let (runtime, client) = (self.runtime, self.client);
        let signer = identity::examine(report, runtime, client, &tls, &self.variables);
        let Some(origin) = self.origin(report) else {
            return;
        };
        let Some(headers) = network::examine(report, runtime, client, &tls, &origin) else {
            return;
        };
        let Some(signer) = signer else { return };
        let region = self.region(report, &headers);
        let is_aws = origin.host().contains(".amazonaws.com");
        report.add(identity::caller(runtime, &tls, &signer, &region, is_aws));
        let region = self.bucket(report).unwrap_or(region);
        if let Some(text) = self.shared_cache.conflict(&self.config.bucket) {
            report.add(Step::fail("cache-xz", text).remedy("name another, or go without"));
        } else if let Some(bucket) = &self.shared_cache.cache_xz {
            let config = cache_config(self.config.clone(), bucket, &region);
            report.add(cache::examine(runtime, client, config, &region));
        }
    }

    /// The certificates that are trusted.
    fn tls(&self, report: &mut Report) -> Option<TlsContext> {
        let trust = match &self.client.ca_bundle {
            Some(path) => Trust::CaFile(path),
            None => Trust::System,
        };
        TlsContext::new(self.runtime, trust)
            .inspect_err(|error| {
                report.add(match &self.client.ca_bundle {
                    Some(path) => Step::fail("tls", format!("{}: {error}", path.display()))
                        .remedy("--ca-bundle and AWS_CA_BUNDLE name a PEM file of certificates"),
                    None => Step::fail("tls", format!("the system's certificates: {error}"))
                        .remedy("install the package ca-certificates"),
                });
            })
            .ok()
    }

    fn origin(&self, report: &mut Report) -> Option<Uri> {
        let origin = S3Store::origin(self.runtime, &self.config)
            .map_err(|error| error.to_string())
            .and_then(|origin| {
                Uri::parse(self.runtime, &origin)
                    .map(|uri| (origin, uri))
                    .map_err(|error| error.to_string())
            });
        match origin {
            Ok((origin, uri)) => {
                let given = match &self.client.endpoint_url {
                    Some(_) => "as was asked for",
                    None => "by AWS's rules",
                };
                report.add(Step::ok("endpoint", format!("{origin}, {given}")));
                Some(uri)
            }
            Err(error) => {
                report.add(
                    Step::fail("endpoint", error)
                        .remedy("check the bucket's name or ARN, --region and --endpoint-url"),
                );
                None
            }
        }
    }

    /// The region that counts, and whether the endpoint says another one.
    fn region(&self, report: &mut Report, headers: &Headers) -> String {
        let told = headers.get("x-amz-bucket-region");
        let given = self.config.region.as_deref();
        let (step, region) = match (given, told) {
            (Some(given), Some(told)) if given != told => (
                Step::fail("region", format!("{given}; the bucket is in {told}"))
                    .remedy(format!("use --region {told}")),
                told,
            ),
            (Some(given), _) => (
                Step::ok("region", format!("{given}, of --region or AWS_REGION")),
                given,
            ),
            (None, Some(told)) => (
                Step::ok("region", format!("{told}, as the endpoint says")),
                told,
            ),
            (None, None) => (
                Step::info("region", "not given, and found out by a mount"),
                self.client.likely_region.as_deref().unwrap_or("us-east-1"),
            ),
        };
        report.add(step);
        region.to_owned()
    }

    /// The bucket, and its region if it can be reached.
    fn bucket(&self, report: &mut Report) -> Option<String> {
        let (bucket, prefix): (&BucketName, &Prefix) = (&self.config.bucket, &self.config.prefix);
        match block_on(S3Store::connect(self.runtime, self.config.clone())) {
            Ok(store) => {
                bucket::examine(report, &store, prefix, self.write);
                Some(store.region().to_owned())
            }
            Err(error) => {
                let failure = connect_failure(bucket, self.client, &error);
                let name = match error.kind() {
                    ErrorKind::WrongRegion => "region",
                    _ => "list",
                };
                let step = Step::fail(name, error.to_string());
                report.add(step.advised_by(&failure));
                None
            }
        }
    }
}

const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(2);
