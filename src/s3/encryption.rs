//! Server-side encryption: what to ask for, and whether it was done.

use super::call::Reply;
use super::classify::Subject;
use super::message::Header;
use super::{Error, ErrorKind};

/// How S3 encrypts what is stored.
/// S3: [server-side encryption](https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// With keys of S3 (`AES256`).
    S3,
    /// With a key of the Key Management Service (`aws:kms`).
    Kms {
        /// The key's id, ARN or alias; `None` is AWS's own key for S3.
        key: Option<String>,
    },
    /// In two layers, with a key of the Key Management Service (`aws:kms:dsse`).
    KmsDualLayer {
        /// As for `Kms`.
        key: Option<String>,
    },
}

impl Encryption {
    /// What asks for it.
    pub(super) fn headers(&self) -> Vec<Header> {
        let mut headers = vec![(ALGORITHM.into(), self.algorithm().to_owned())];
        if let Some(key) = self.key() {
            headers.push((KEY.into(), key.to_owned()));
        }
        headers
    }

    /// Checks that the answer says that it was done.
    pub(super) fn check(&self, reply: &Reply, subject: &Subject) -> Result<(), Error> {
        let done = reply.headers.get(ALGORITHM);
        if done != Some(self.algorithm()) {
            let (asked, done) = (self.algorithm(), done.unwrap_or("nothing"));
            let text = format!("the store encrypts with {done}, not with {asked}");
            return Err(subject.error(ErrorKind::Integrity, text));
        }
        let Some(asked) = self.key() else {
            return Ok(());
        };
        let used = reply.headers.get(KEY);
        if !used.is_some_and(|used| is_same_key(asked, used)) {
            let used = used.unwrap_or("none");
            let text = format!("the store encrypts with the key {used}, not with {asked}");
            return Err(subject.error(ErrorKind::Integrity, text));
        }
        Ok(())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::S3 => "AES256",
            Self::Kms { .. } => "aws:kms",
            Self::KmsDualLayer { .. } => "aws:kms:dsse",
        }
    }

    fn key(&self) -> Option<&str> {
        match self {
            Self::S3 => None,
            Self::Kms { key } | Self::KmsDualLayer { key } => key.as_deref(),
        }
    }
}

/// S3 answers with the ARN of the key, whatever names it. What an alias stands for is not known
/// here.
fn is_same_key(asked: &str, used: &str) -> bool {
    let is_alias = asked.starts_with("alias/") || asked.contains(":alias/");
    used == asked
        || is_alias && !used.is_empty()
        || used
            .strip_suffix(asked)
            .is_some_and(|arn| arn.ends_with(":key/"))
}

const ALGORITHM: &str = "x-amz-server-side-encryption";
const KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::classify::PUT;

    fn check(encryption: &Encryption, headers: &[(&str, &str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let reply = Reply {
            headers: headers.collect(),
            body: Vec::new(),
        };
        encryption.check(&reply, &Subject::test(PUT)).is_ok()
    }

    #[test]
    fn an_answer_without_the_encryption_asked_for_is_refused() {
        let kms = Encryption::Kms { key: None };
        assert!(check(&Encryption::S3, &[(ALGORITHM, "AES256")]));
        assert!(check(&kms, &[(ALGORITHM, "aws:kms"), (KEY, "any")]));
        assert!(!check(&Encryption::S3, &[]));
        assert!(!check(&kms, &[(ALGORITHM, "AES256")]));
        assert!(!check(&kms, &[(ALGORITHM, "aws:kms:dsse")]));
    }

    #[test]
    fn a_key_may_be_named_by_its_id_or_its_arn() {
        let arn = "arn:aws:kms:us-east-1:1:key/0a-1b";
        let with = |key: &str, used: &str| {
            let encryption = Encryption::KmsDualLayer {
                key: Some(key.to_owned()),
            };
            check(&encryption, &[(ALGORITHM, "aws:kms:dsse"), (KEY, used)])
        };
        assert!(with(arn, arn));
        assert!(with("0a-1b", arn));
        assert!(with("alias/a", arn));
        assert!(!with("1b", arn));
        assert!(!with("0a-1c", arn));
        assert!(!with("arn:aws:kms:us-east-1:2:key/0a-1b", arn));
        assert!(!with("alias/a", ""));
    }
}
