//! Who asks: the credentials, and whose they are.

use std::time::SystemTime;

use futures::executor::block_on;

use super::report::{Report, Step};
use super::request::Question;
use crate::cli::config::{ClientOptions, CredentialsSource};
use crate::cli::connect::auth;
use crate::crt::s3::Signing;
use crate::crt::{ProfileOptions, Profiles, Runtime, TlsContext, Uri};
use crate::s3::{Search, Signer};

/// Tells which files and variables there are, and finds credentials.
pub(super) fn examine(
    report: &mut Report,
    runtime: &Runtime,
    client: &ClientOptions,
    tls: &TlsContext,
    variables: &[String],
) -> Option<Signer> {
    report.add(Step::info(
        "environment",
        match variables {
            [] => "no variable of AWS or of a proxy is set".to_owned(),
            names => format!("set: {}", names.join(", ")),
        },
    ));
    report.add(files(runtime, client));
    let auth = auth(&client.credentials);
    let search = Search {
        runtime,
        tls,
        auth: &auth,
        region: client.region.as_deref(),
        instance_metadata: client.instance_metadata,
    };
    match block_on(search.run(&|_| ())) {
        Ok(signer) => {
            report.add(found(&signer, SystemTime::now()));
            Some(signer)
        }
        Err(none) => {
            for attempt in &none.attempts {
                report.add(Step::info("credentials", attempt.to_string()));
            }
            report.add(Step::fail("credentials", "no source has any").remedy(
                "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; or use \
                 --no-sign-request for a public bucket",
            ));
            None
        }
    }
}

fn files(runtime: &Runtime, client: &ClientOptions) -> Step {
    let name = match &client.credentials {
        CredentialsSource::Profile(name) => Some(name.as_str()),
        CredentialsSource::Anonymous | CredentialsSource::DefaultChain => None,
    };
    let options = ProfileOptions {
        name,
        ..ProfileOptions::default()
    };
    match Profiles::read(runtime, &options) {
        Ok(profiles) => {
            let files =
                [profiles.config_file(), profiles.credentials_file()].map(|file| {
                    match &file.failure {
                        None => file.path.clone(),
                        Some(error) => format!("{} (not read: {})", file.path, error.message()),
                    }
                });
            let profile = profiles.selected();
            let has = if profiles.has(profile) {
                "has"
            } else {
                "has no"
            };
            Step::info(
                "files",
                format!("{}: {has} profile {profile}", files.join(", ")),
            )
        }
        Err(error) => Step::info("files", error.to_string()),
    }
}

fn found(signer: &Signer, now: SystemTime) -> Step {
    let mut text = signer.source.clone();
    if !signer.access_key_id.is_empty() {
        text = format!("{text}; key {}", masked(&signer.access_key_id));
    }
    let Some(end) = signer.expires else {
        return Step::ok("credentials", text);
    };
    match end.duration_since(now) {
        Ok(left) => Step::ok(
            "credentials",
            format!(
                "{text}; they end in {} minutes and are refreshed",
                left.as_secs() / 60
            ),
        ),
        Err(_) => Step::fail("credentials", format!("{text}; they have ended"))
            .remedy("renew them, and check the clock"),
    }
}

/// Enough of an access key's id to know it by.
fn masked(key: &str) -> String {
    let chars: Vec<char> = key.chars().collect();
    match chars.len() {
        0..=8 => "*".repeat(chars.len()),
        length => {
            let (head, tail) = (&chars[..4], &chars[length - 4..]);
            format!("{}…{}", String::from_iter(head), String::from_iter(tail))
        }
    }
}

/// Asks STS whose the credentials are. A store that is not AWS's has no STS.
/// AWS: [GetCallerIdentity](https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html).
pub(super) fn caller(
    runtime: &Runtime,
    tls: &TlsContext,
    signer: &Signer,
    region: &str,
    is_aws: bool,
) -> Step {
    if signer.access_key_id.is_empty() {
        return Step::info("identity", "nobody: requests are not signed");
    }
    if !is_aws {
        return Step::info("identity", "not asked for: the endpoint is not one of AWS");
    }
    match ask(runtime, tls, signer, region) {
        Ok(arn) => Step::ok("identity", arn),
        Err(reason) => Step::info("identity", format!("STS does not tell: {reason}")),
    }
}

fn ask(
    runtime: &Runtime,
    tls: &TlsContext,
    signer: &Signer,
    region: &str,
) -> Result<String, String> {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    let url = format!("https://sts.{region}.amazonaws.com{suffix}");
    let origin = Uri::parse(runtime, &url).map_err(|error| error.to_string())?;
    let question = Question {
        runtime,
        tls,
        credentials: &signer.provider,
        signing: Signing {
            service: "sts",
            ..Signing::s3(region)
        },
        origin: &origin,
        method: "POST",
        operation: "GetCallerIdentity",
        body: "Action=GetCallerIdentity&Version=2011-06-15",
    };
    let answer = question.ask().map_err(|failure| failure.text)?;
    let body = String::from_utf8_lossy(&answer.body);
    if let Some(arn) = between(&body, "<Arn>", "</Arn>") {
        return Ok(arn.to_owned());
    }
    let code = between(&body, "<Code>", "</Code>").unwrap_or("an answer without an ARN");
    Err(format!("{code} (HTTP {})", answer.status))
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    rest.split_once(end).map(|(found, _)| found.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_keys_can_be_told_apart_but_not_used() {
        assert_eq!(masked("AKIAIOSFODNN7EXAMPLE"), "AKIA…MPLE");
        assert_eq!(masked("test"), "****");
        assert_eq!(masked(""), "");
    }

    #[test]
    fn between_finds_what_tags_enclose() {
        assert_eq!(between("<a>\n<Arn>x </Arn>", "<Arn>", "</Arn>"), Some("x"));
        assert_eq!(between("<Arn>x", "<Arn>", "</Arn>"), None);
    }
}
