use super::{
    ABORT_UPLOAD, Answer, COMPLETE_UPLOAD, CREATE_UPLOAD, DELETE, GET, HEAD, LIST, PUT, RENAME,
    Subject, UPLOAD_PART,
};
use crate::s3::{Error, ErrorKind};

fn answered(operation: &'static str, status: u16, region: Option<&str>, body: &str) -> Error {
    let answer = Answer {
        status,
        request_id: Some("ID"),
        region,
        body: body.as_bytes(),
    };
    Subject::test(operation).answered(&answer)
}

#[test]
fn answered_without_a_body_goes_by_status() {
    let cases = [
        (HEAD, 404, ErrorKind::NotFound),
        (GET, 404, ErrorKind::NotFound),
        (LIST, 404, ErrorKind::NoSuchBucket),
        (HEAD, 403, ErrorKind::Denied),
        (HEAD, 400, ErrorKind::Other),
        (HEAD, 301, ErrorKind::WrongRegion),
        (HEAD, 307, ErrorKind::WrongRegion),
        (GET, 412, ErrorKind::Precondition),
        (GET, 416, ErrorKind::InvalidRange),
        (GET, 429, ErrorKind::Throttled),
        (GET, 503, ErrorKind::Throttled),
        (GET, 500, ErrorKind::Other),
        (PUT, 412, ErrorKind::Precondition),
        (PUT, 413, ErrorKind::TooLarge),
        (PUT, 501, ErrorKind::Other),
        (DELETE, 403, ErrorKind::Denied),
        (RENAME, 404, ErrorKind::NotFound),
        (CREATE_UPLOAD, 404, ErrorKind::NotFound),
        (UPLOAD_PART, 404, ErrorKind::Other),
        (COMPLETE_UPLOAD, 404, ErrorKind::Other),
        (ABORT_UPLOAD, 404, ErrorKind::Other),
    ];
    for (operation, status, kind) in cases {
        let error = answered(operation, status, None, "");
        assert_eq!(error.kind(), kind, "{operation} {status}");
        assert_eq!(error.context().status, Some(status));
        assert_eq!(error.context().request_id.as_deref(), Some("ID"));
    }
}

#[test]
fn answered_with_a_code_goes_by_code() {
    let cases = [
        (404, "NoSuchKey", ErrorKind::NotFound),
        (404, "NoSuchBucket", ErrorKind::NoSuchBucket),
        (403, "AccessDenied", ErrorKind::Denied),
        (403, "SignatureDoesNotMatch", ErrorKind::BadCredentials),
        (403, "InvalidAccessKeyId", ErrorKind::BadCredentials),
        (400, "ExpiredToken", ErrorKind::BadCredentials),
        (403, "RequestTimeTooSkewed", ErrorKind::BadCredentials),
        (403, "InvalidObjectState", ErrorKind::Archived),
        (
            400,
            "IllegalLocationConstraintException",
            ErrorKind::WrongRegion,
        ),
        (
            400,
            "AuthorizationHeaderMalformed",
            ErrorKind::BadCredentials,
        ),
        (503, "SlowDown", ErrorKind::Throttled),
        (400, "RequestTimeout", ErrorKind::Timeout),
        (400, "SomethingElse", ErrorKind::Other),
        (409, "ConditionalRequestConflict", ErrorKind::Precondition),
        (400, "InvalidWriteOffset", ErrorKind::Precondition),
        (400, "BadDigest", ErrorKind::Integrity),
        (400, "IncompleteBody", ErrorKind::Integrity),
        (400, "XAmzContentSHA256Mismatch", ErrorKind::Integrity),
        (400, "EntityTooLarge", ErrorKind::TooLarge),
        (404, "NoSuchUpload", ErrorKind::Other),
        (400, "InvalidPart", ErrorKind::Other),
    ];
    for (status, code, kind) in cases {
        let body = format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
        let error = answered(GET, status, None, &body);
        assert_eq!(error.kind(), kind, "{code}");
        assert_eq!(error.context().code.as_deref(), Some(code));
    }
}

#[test]
fn answered_from_elsewhere_names_the_region() {
    let malformed = "<Error><Code>AuthorizationHeaderMalformed</Code>\
                     <Region>eu-west-1</Region></Error>";
    for (status, header, body) in [
        (400, None, malformed),
        (400, Some("eu-west-1"), ""),
        (301, Some("eu-west-1"), ""),
    ] {
        let error = answered(LIST, status, header, body);
        assert_eq!(error.kind(), ErrorKind::WrongRegion);
        assert_eq!(error.context().region.as_deref(), Some("eu-west-1"));
    }
    let here = answered(HEAD, 400, Some("us-east-1"), "");
    assert_eq!(here.kind(), ErrorKind::Other);
}

#[test]
fn answered_shows_no_control_characters() {
    let body = format!(
        "<Error><Message>a\u{1b}[31m\nb{}</Message></Error>",
        "x".repeat(9999)
    );
    let error = answered(GET, 500, None, &body);
    let shown = error.to_string();
    assert!(!shown.contains(char::is_control), "{shown}");
    assert!(shown.len() < 700);
}
