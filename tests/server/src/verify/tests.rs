//! Against the examples that AWS publishes.

use std::collections::HashMap;

use http::Request;
use p256::EncodedPoint;

use super::*;

fn verifier(algorithm: Algorithm, region: &str) -> Verifier {
    let signatures = Signatures {
        algorithm,
        service: "s3".to_owned(),
        region: region.to_owned(),
        sessions: None,
    };
    let key = (
        "AKIAIOSFODNN7EXAMPLE".to_owned(),
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
    );
    Verifier::new(signatures, HashMap::from([key]), Some("s3.amazonaws.com"))
}

/// The first example of "Signature Calculations for the Authorization Header" in S3's reference.
fn example(signature: &str) -> Request<()> {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature={signature}"
    );
    Request::get("/test.txt")
        .header("host", "examplebucket.s3.amazonaws.com")
        .header("range", "bytes=0-9")
        .header(
            "x-amz-content-sha256",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        )
        .header("x-amz-date", "20130524T000000Z")
        .header("authorization", authorization)
        .body(())
        .unwrap()
}

const SIGNATURE: &str = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";

#[test]
fn admit_takes_the_published_example_and_moves_its_bucket() {
    let admitted = verifier(Algorithm::V4, "us-east-1").admit(example(SIGNATURE));
    let Ok(Admitted::Request(request)) = admitted else {
        panic!("it is refused");
    };
    assert_eq!(request.uri(), "/examplebucket/test.txt");
    assert!(!request.headers().contains_key("authorization"));
}

#[test]
fn admit_refuses_whatever_differs() {
    let refusal = |verifier: Verifier, request| verifier.admit(request).err();
    let here = || verifier(Algorithm::V4, "us-east-1");
    let wrong = SIGNATURE.replace('f', "e");
    assert_eq!(
        refusal(here(), example(&wrong)),
        Some("SignatureDoesNotMatch")
    );
    for other in [
        verifier(Algorithm::V4, "eu-west-1"),
        verifier(Algorithm::V4Asymmetric, "*"),
    ] {
        let malformed = Some("AuthorizationHeaderMalformed");
        assert_eq!(refusal(other, example(SIGNATURE)), malformed);
    }
    let mut moved = example(SIGNATURE);
    *moved.uri_mut() = "/test2.txt".parse().unwrap();
    assert_eq!(refusal(here(), moved), Some("SignatureDoesNotMatch"));
    let mut more = example(SIGNATURE);
    let payer = HeaderValue::from_static("requester");
    more.headers_mut().insert("x-amz-request-payer", payer);
    assert_eq!(refusal(here(), more), Some("AccessDenied"));
    let mut unsigned = example(SIGNATURE);
    unsigned.headers_mut().remove("authorization");
    assert_eq!(refusal(here(), unsigned), Some("AccessDenied"));
}

/// The example of the Common Runtime's own tests.
#[test]
fn asymmetric_key_is_the_published_one() {
    let key = keys::asymmetric(
        "AKISORANDOMAASORANDOM",
        "q+jcrXGc+0zWN6uzclKVhvMmUsIfRPa4rlRandom",
    );
    let point: EncodedPoint = key.unwrap().verifying_key().to_encoded_point(false);
    let hex_of = |part: Option<&p256::FieldBytes>| hex::encode(part.unwrap());
    assert_eq!(
        hex_of(point.x()),
        "15d242ceebf8d8169fd6a8b5a746c41140414c3b07579038da06af89190fffcb"
    );
    assert_eq!(
        hex_of(point.y()),
        "0515242cedd82e94799482e4c0514b505afccf2c0c98d6a553bf539f424c5ec0"
    );
}
