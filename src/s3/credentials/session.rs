//! Sessions of IAM Identity Center that last longer than their tokens.
//!
//! `aws sso login` leaves a token that lasts an hour, and another one by which it is renewed as long as
//! the session lasts. The AWS tools renew it whenever they are run; the CRT only reads it. So it is
//! renewed here, in the file that they all share.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::executor::block_on;
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::crt::s3::{Client, ClientConfig, RequestKind, RequestOptions};
use crate::crt::{CredentialsProvider, Error, Profiles, Runtime, TlsContext, Uri};

/// Renews the token of one session.
pub(super) struct Renewal {
    file: PathBuf,
    client: Client,
    origin: Uri,
}

/// What the file of a session says. What is not known here stays in it.
struct Token(Map<String, Value>);

impl Renewal {
    /// For the session that `profile` names. One of the old kind, which has no name, cannot be
    /// renewed.
    pub(super) fn of(
        runtime: &Runtime,
        tls: &TlsContext,
        profiles: &Profiles,
        profile: &str,
    ) -> Option<Self> {
        let session = profiles.property(profile, "sso_session")?;
        let region = profiles.session_property(&session, "sso_region")?;
        let file = profiles.session_file(&session)?;
        let made = || -> Result<Self, Error> {
            let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
            let url = format!("https://oidc.{region}.amazonaws.com{suffix}");
            let anonymous = CredentialsProvider::anonymous(runtime)?;
            let mut config = ClientConfig::new(&region, &anonymous);
            config.tls = Some(tls);
            config.connect_timeout = Some(PATIENCE);
            Ok(Self {
                file,
                client: Client::new(runtime, &config)?,
                origin: Uri::parse(runtime, &url)?,
            })
        };
        made()
            .inspect_err(|error| log::warn!("a session cannot be renewed: {error}"))
            .ok()
    }

    /// Renews the token if it ends soon. What goes wrong is logged: the source of the credentials
    /// then tells that the token has ended.
    pub(super) fn run(&self) {
        let token = match self.read() {
            Ok(token) => token,
            Err(error) => {
                log::debug!("{}: {error}", self.file.display());
                return;
            }
        };
        let now = SystemTime::now();
        if !token.ends_soon(now) {
            return;
        }
        let Some(request) = token.request() else {
            log::debug!("{}: this session cannot be renewed", self.file.display());
            return;
        };
        let renewed = self
            .send(&request)
            .and_then(|answer| token.renewed(&answer, now))
            .and_then(|token| self.write(&token).map_err(|error| error.to_string()));
        match renewed {
            Ok(()) => log::info!("the session of IAM Identity Center was renewed"),
            Err(reason) => {
                log::warn!("the session of IAM Identity Center cannot be renewed: {reason}");
            }
        }
    }

    /// AWS: [CreateToken](https://docs.aws.amazon.com/singlesignon/latest/OIDCAPIReference/API_CreateToken.html).
    fn send(&self, request: &Value) -> Result<Value, String> {
        let text = |error: Error| error.to_string();
        let body = Bytes::from(request.to_string());
        let mut message = self.client.message("POST", "/token").map_err(text)?;
        for (name, value) in [
            ("Host", self.origin.authority().as_str()),
            ("Content-Type", "application/json"),
            ("Content-Length", &body.len().to_string()),
        ] {
            message.header(name, value).map_err(text)?;
        }
        let operation = "CreateToken";
        let mut options = RequestOptions::new(RequestKind::Default { operation }, &self.origin);
        options.body = body;
        let answer = self.client.send(message, &options).map_err(text)?;
        let answer = block_on(answer).map_err(|error| match &error.response {
            Some(response) => format!("HTTP {}", response.status),
            None => error.error.to_string(),
        })?;
        serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
    }

    fn read(&self) -> io::Result<Token> {
        let text = fs::read(&self.file)?;
        Ok(Token(serde_json::from_slice(&text)?))
    }

    /// Replaces the file, which only its owner can read.
    fn write(&self, token: &Token) -> io::Result<()> {
        let directory = self.file.parent().ok_or(io::ErrorKind::NotFound)?;
        let mut file = NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec(&token.0)?)?;
        file.persist(&self.file)?;
        Ok(())
    }
}

impl Token {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn ends_soon(&self, now: SystemTime) -> bool {
        let end = self
            .text("expiresAt")
            .map(|end| OffsetDateTime::parse(end, &Rfc3339));
        let Some(Ok(end)) = end else { return true };
        SystemTime::from(end) < now + EARLY
    }

    /// What asks for another token, if this one can be renewed.
    fn request(&self) -> Option<Value> {
        Some(json!({
            "clientId": self.text("clientId")?,
            "clientSecret": self.text("clientSecret")?,
            "refreshToken": self.text("refreshToken")?,
            "grantType": "refresh_token",
        }))
    }

    /// What the file is to say after this answer.
    fn renewed(&self, answer: &Value, now: SystemTime) -> Result<Self, String> {
        let token = answer["accessToken"].as_str();
        let token = token.ok_or_else(|| "the answer has no token".to_owned())?;
        let seconds = answer["expiresIn"].as_u64().unwrap_or_default();
        let end = OffsetDateTime::from(now)
            .replace_nanosecond(0)
            .map_err(|error| error.to_string())?
            .checked_add(time::Duration::seconds(
                i64::try_from(seconds).unwrap_or_default(),
            ))
            .ok_or_else(|| "the answer has no end".to_owned())?;
        let end = end.format(&Rfc3339).map_err(|error| error.to_string())?;
        let mut renewed = self.0.clone();
        renewed.insert("accessToken".to_owned(), token.into());
        renewed.insert("expiresAt".to_owned(), end.into());
        if let Some(next) = answer["refreshToken"].as_str() {
            renewed.insert("refreshToken".to_owned(), next.into());
        }
        Ok(Self(renewed))
    }
}

/// How long before its end a token is renewed: as much as the credentials that it gives.
const EARLY: Duration = Duration::from_secs(5 * 60);

const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn token(value: Value) -> Token {
        match value {
            Value::Object(map) => Token(map),
            _ => unreachable!("an object"),
        }
    }

    fn after(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }

    #[test]
    fn token_that_ends_soon_is_known() {
        for (end, soon) in [
            ("2023-11-14T22:13:20Z", true),
            ("2023-11-14T22:18:00Z", true),
            ("2023-11-14T23:13:20Z", false),
            ("tomorrow", true),
        ] {
            assert_eq!(
                token(json!({"expiresAt": end})).ends_soon(after(0)),
                soon,
                "{end}"
            );
        }
        assert!(token(json!({})).ends_soon(after(0)));
    }

    #[test]
    fn token_without_a_way_to_renew_it_is_left() {
        assert_eq!(token(json!({"accessToken": "a"})).request(), None);
        let whole = json!({"clientId": "i", "clientSecret": "s", "refreshToken": "r"});
        let request = token(whole).request().expect("it can be renewed");
        assert_eq!(request["grantType"], "refresh_token");
        assert_eq!(request["refreshToken"], "r");
    }

    #[test]
    fn renewed_token_keeps_what_else_the_file_says() {
        let old = token(json!({"accessToken": "a", "refreshToken": "r", "startUrl": "u"}));
        let answer = json!({"accessToken": "b", "expiresIn": 60});
        let Token(new) = old.renewed(&answer, after(0)).expect("an answer");
        let expected = json!({
            "accessToken": "b",
            "expiresAt": "2023-11-14T22:14:20Z",
            "refreshToken": "r",
            "startUrl": "u",
        });
        assert_eq!(Value::Object(new), expected);
        assert!(old.renewed(&json!({"error": "no"}), after(0)).is_err());
        let huge = json!({"accessToken": "b", "expiresIn": u64::MAX});
        assert!(old.renewed(&huge, after(0)).is_ok());
    }
}
