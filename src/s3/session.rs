//! CreateSession, to learn why there is none.

use super::Error;
use super::call;
use super::classify::CREATE_SESSION;
use super::client::Shared;

/// Why the store gives no session to its directory bucket. The CRT asks for sessions by itself and
/// keeps the answer to itself when it is a refusal, so this asks once more.
/// S3: [CreateSession](https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateSession.html).
///
/// # Cancel safety
/// Dropping the future cancels the request.
pub(super) async fn refusal(shared: &Shared) -> Option<Error> {
    let subject = shared.subject(CREATE_SESSION, "");
    let draft = shared.common.create_session();
    // What is granted now is of no use: the CRT has its own.
    call::send(shared, &subject, &draft).await.err()
}
