//! Sessions of directory buckets.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use s3s::dto::{Timestamp, TimestampFormat};

use super::{Refused, Signer};

/// The header that says which session a request belongs to.
pub(super) const SESSION_TOKEN: &str = "x-amz-s3session-token";

/// All sessions, by their access keys, and their ends.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<String, (Signer, SystemTime)>>);

impl Sessions {
    /// Makes a session and gives the document that grants it.
    pub(super) fn grant(&self, life: Duration) -> String {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = sessions.len();
        let signer = Signer {
            access_key: format!("ASIASESSION{number:09}"),
            secret: format!("session/secret+{number}"),
            token: Some(format!("session//token+{number}==")),
        };
        let end = SystemTime::now() + life;
        let document = document(&signer, end);
        sessions.insert(signer.access_key.clone(), (signer, end));
        document
    }

    /// The owner of a session that has not ended.
    pub(super) fn find(&self, access_key: &str, token: &str) -> Result<Signer, Refused> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (signer, end) = sessions.get(access_key).ok_or("InvalidAccessKeyId")?;
        if signer.token.as_deref() != Some(token) {
            return Err("InvalidToken");
        }
        if *end <= SystemTime::now() {
            return Err("ExpiredToken");
        }
        Ok(signer.clone())
    }
}

fn document(signer: &Signer, end: SystemTime) -> String {
    let mut time = Vec::new();
    // Only a year that no test lives in cannot be written.
    let _ = Timestamp::from(end).format(TimestampFormat::DateTime, &mut time);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <CreateSessionResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Credentials>\
         <SessionToken>{}</SessionToken><SecretAccessKey>{}</SecretAccessKey>\
         <AccessKeyId>{}</AccessKeyId><Expiration>{}</Expiration>\
         </Credentials></CreateSessionResult>",
        signer.token.as_deref().unwrap_or_default(),
        signer.secret,
        signer.access_key,
        String::from_utf8_lossy(&time),
    )
}
