//! The keys that signatures are made with.

use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, SigningKey};
use ring::hmac::{self, HMAC_SHA256};

use super::authorization::Authorization;
use super::{Algorithm, Signer};

/// Whether `signer` signed `text`.
pub(super) fn verify(authorization: &Authorization<'_>, signer: &Signer, text: &[u8]) -> bool {
    let Ok(signature) = hex::decode(authorization.signature) else {
        return false;
    };
    match authorization.algorithm {
        Algorithm::V4 => {
            let key = symmetric(authorization, &signer.secret);
            hmac::verify(&hmac::Key::new(HMAC_SHA256, &key), text, &signature).is_ok()
        }
        Algorithm::V4Asymmetric => {
            let key = asymmetric(&signer.access_key, &signer.secret);
            let signature = Signature::from_der(&signature);
            key.zip(signature.ok()).is_some_and(|(key, signature)| {
                key.verifying_key().verify(text, &signature).is_ok()
            })
        }
    }
}

/// The key for one day, region and service.
fn symmetric(authorization: &Authorization<'_>, secret: &str) -> Vec<u8> {
    let scope = [
        authorization.day,
        authorization.region.unwrap_or_default(),
        authorization.service,
        "aws4_request",
    ];
    let first = format!("AWS4{secret}").into_bytes();
    scope
        .iter()
        .fold(first, |key, part| hmac_sha256(&key, part.as_bytes()))
}

/// The private key of a secret: of the numbers that a key derivation in counter mode (NIST SP
/// 800-108) gives, the first that is one.
pub(super) fn asymmetric(access_key: &str, secret: &str) -> Option<SigningKey> {
    let input = format!("AWS4A{secret}").into_bytes();
    (1..=254_u8).find_map(|counter| {
        let mut fixed = 1_u32.to_be_bytes().to_vec();
        fixed.extend(b"AWS4-ECDSA-P256-SHA256\0");
        fixed.extend(access_key.as_bytes());
        fixed.push(counter);
        fixed.extend(256_u32.to_be_bytes());
        let mut number = hmac_sha256(&input, &fixed);
        // The key is one more than the number, which must not reach the order of the group.
        for byte in number.iter_mut().rev() {
            let (sum, carries) = byte.overflowing_add(1);
            *byte = sum;
            if !carries {
                break;
            }
        }
        SigningKey::from_slice(&number).ok()
    })
}

fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(HMAC_SHA256, key);
    hmac::sign(&key, text).as_ref().to_vec()
}
