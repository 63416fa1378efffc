//! The credentials of a profile.
//!
//! The CRT resolves profiles itself, but for IAM Identity Center (SSO): a profile of that kind, and
//! one whose role is assumed with such a profile, are resolved here.

use std::process;

use super::session::Renewal;
use super::{Source, describe};
use crate::crt::{
    AssumedRole, CredentialsProvider, Prepare, ProfileFile, ProfileOptions, Profiles, Runtime,
    TlsContext,
};

/// The profile of this name; without one that of `AWS_PROFILE`, else `default`.
pub(super) fn source(runtime: &Runtime, tls: &TlsContext, name: Option<&str>) -> Source {
    let options = ProfileOptions {
        name,
        ..ProfileOptions::default()
    };
    let profiles = match Profiles::read(runtime, &options) {
        Ok(profiles) => profiles,
        Err(error) => return Source::new("profile", Err(describe(&error))),
    };
    let name = profiles.selected();
    let label = format!("profile {name}");
    if !profiles.has(name) {
        return Source::new(label, Err(missing(&profiles)));
    }
    match session_profile(&profiles, name, &mut Vec::new()) {
        None => {
            let provider = CredentialsProvider::profile(runtime, tls, &options);
            Source::new(label, provider.map_err(|error| describe(&error)))
        }
        Some(session) => {
            let provider = by_session(runtime, tls, &profiles, name);
            let source = Source::new(
                format!("{label} (IAM Identity Center)"),
                provider.map_err(|error| describe(&error)),
            );
            let renewal = Renewal::of(runtime, tls, &profiles, &session);
            Source {
                prepare: renewal.map(|renewal| Box::new(move || renewal.run()) as Prepare),
                ..source
            }
            .with_remedy(format!("log in: aws sso login --profile {session}"))
        }
    }
}

/// Why there is no such profile.
fn missing(profiles: &Profiles) -> String {
    let of = |file: &ProfileFile| match &file.failure {
        Some(error) => format!("{} ({})", file.path, error.message().trim_end_matches('.')),
        None => file.path.clone(),
    };
    format!(
        "there is no such profile in {} and {}",
        of(profiles.config_file()),
        of(profiles.credentials_file())
    )
}

/// The profile whose session of IAM Identity Center the credentials of `name` come from in the end.
fn session_profile(profiles: &Profiles, name: &str, seen: &mut Vec<String>) -> Option<String> {
    let has = |property| profiles.property(name, property).is_some();
    // The CRT explains a circle.
    if seen.iter().any(|earlier| earlier == name) {
        return None;
    }
    seen.push(name.to_owned());
    if has("role_arn") {
        let source = profiles.property(name, "source_profile")?;
        return session_profile(profiles, &source, seen);
    }
    let has_keys = has("aws_access_key_id") || has("aws_secret_access_key");
    let has_session = has("sso_session") || has("sso_start_url");
    (has_session && !has_keys).then(|| name.to_owned())
}

/// The credentials of a profile that [`session_profile`] knows.
fn by_session(
    runtime: &Runtime,
    tls: &TlsContext,
    profiles: &Profiles,
    name: &str,
) -> Result<CredentialsProvider, crate::crt::Error> {
    let property = |property| profiles.property(name, property);
    let (Some(arn), Some(source)) = (property("role_arn"), property("source_profile")) else {
        return CredentialsProvider::sso(runtime, tls, profiles, name);
    };
    let source = by_session(runtime, tls, profiles, &source)?;
    let session_name = property("role_session_name")
        .unwrap_or_else(|| format!("mount-s3-{}", process::id()))
        .chars()
        .take(LONGEST_SESSION_NAME)
        .collect::<String>();
    let external_id = property("external_id");
    let role = AssumedRole {
        arn: &arn,
        session_name: &session_name,
        external_id: external_id.as_deref(),
        profile: name,
    };
    CredentialsProvider::assumed_role(runtime, tls, profiles, &role, &source)
}

/// Of STS, in characters.
const LONGEST_SESSION_NAME: usize = 64;
