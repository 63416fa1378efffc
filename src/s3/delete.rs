//! DeleteObject.

use super::call;
use super::classify::DELETE;
use super::client::Shared;
use super::{Error, ErrorKind, Key};

/// Deletes an object; there may be none.
///
/// # Cancel safety
/// Dropping the future cancels the request.
pub(super) async fn delete(shared: &Shared, key: &Key) -> Result<(), Error> {
    let subject = shared.subject(DELETE, key.as_str());
    match call::send(shared, &subject, &shared.common.delete(key)).await {
        // S3 answers 204, other stores may not.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        answer => answer.map(drop),
    }
}
