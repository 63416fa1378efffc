//! Checksums and multipart uploads.

use s3_test_server::{Config, ObjectSpec, synthetic};
use s3s::crypto::{Checksum, Crc32c, Crc64Nvme, Md5};

use crate::client::{Client, Request, hex};
use crate::{start, start_with};

fn base64(bytes: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

/// `body` in the aws-chunked encoding with this trailer.
fn chunked(body: &[u8], trailer: &str) -> Vec<u8> {
    let mut encoded = Vec::new();
    for chunk in body.chunks(70_000) {
        encoded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        encoded.extend_from_slice(chunk);
        encoded.extend_from_slice(b"\r\n");
    }
    encoded.extend_from_slice(format!("0\r\n{trailer}\r\n\r\n").as_bytes());
    encoded
}

fn put_with_trailer(client: &Client, body: &[u8], value: &str) -> crate::client::Answer {
    client.send(&Request {
        method: "PUT",
        path: "/bucket/trailed",
        headers: vec![
            ("content-encoding", "aws-chunked".to_owned()),
            ("x-amz-decoded-content-length", body.len().to_string()),
            ("x-amz-trailer", "x-amz-checksum-crc32c".to_owned()),
        ],
        body: chunked(body, &format!("x-amz-checksum-crc32c:{value}")),
        payload: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        ..Request::default()
    })
}

#[test]
fn checksums_in_headers_are_verified_stored_and_returned() {
    let (_server, client) = start();
    let body = b"The quick brown fox";
    let right = base64(&Crc32c::checksum(body));
    let wrong = base64(&Crc32c::checksum(b"another"));
    let refused = client.put("/bucket/k", body, &[("x-amz-checksum-crc32c", &wrong)]);
    assert_eq!(
        (refused.status, refused.element("Code").as_str()),
        (400, "BadDigest")
    );
    assert_eq!(client.head("/bucket/k", &[]).status, 404);
    let put = client.put("/bucket/k", body, &[("x-amz-checksum-crc32c", &right)]);
    assert_eq!(
        (put.status, put.header("x-amz-checksum-crc32c")),
        (200, right.as_str())
    );
    let get = client.get("/bucket/k", &[("x-amz-checksum-mode", "ENABLED")]);
    assert_eq!(get.header("x-amz-checksum-crc32c"), right);
    assert_eq!(get.header("x-amz-checksum-type"), "FULL_OBJECT");
    assert_eq!(
        client.get("/bucket/k", &[]).header("x-amz-checksum-crc32c"),
        ""
    );
    let ranged = client.get(
        "/bucket/k",
        &[("x-amz-checksum-mode", "ENABLED"), ("range", "bytes=0-3")],
    );
    assert_eq!(
        (ranged.status, ranged.header("x-amz-checksum-crc32c")),
        (206, "")
    );
    assert_eq!(
        client
            .put(
                "/bucket/m",
                body,
                &[("content-md5", &base64(&Md5::checksum(b"x")))]
            )
            .status,
        400
    );
    assert_eq!(
        client
            .put(
                "/bucket/m",
                body,
                &[("content-md5", &base64(&Md5::checksum(body)))]
            )
            .status,
        200
    );
    let default = client.head("/bucket/m", &[("x-amz-checksum-mode", "ENABLED")]);
    assert_eq!(
        default.header("x-amz-checksum-crc64nvme"),
        base64(&Crc64Nvme::checksum(body))
    );
}

#[test]
fn checksums_in_trailers_are_verified_signed_or_not() {
    let (_server, signed) = start_with(Config {
        anonymous: true,
        ..Config::default()
    });
    let unsigned = Client {
        signer: None,
        ..signed.clone()
    };
    let body: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    for client in [&signed, &unsigned] {
        let refused = put_with_trailer(client, &body, &base64(&Crc32c::checksum(b"other")));
        assert_eq!(
            (refused.status, refused.element("Code").as_str()),
            (400, "BadDigest")
        );
        assert_eq!(client.head("/bucket/trailed", &[]).status, 404);
        assert_eq!(
            put_with_trailer(client, &body, &base64(&Crc32c::checksum(&body))).status,
            200
        );
        let got = client.get("/bucket/trailed", &[("x-amz-checksum-mode", "ENABLED")]);
        assert!(got.body == body);
        assert_eq!(
            got.header("x-amz-checksum-crc32c"),
            base64(&Crc32c::checksum(&body))
        );
        assert_eq!(got.header("content-encoding"), "");
        client.send(&Request {
            method: "DELETE",
            path: "/bucket/trailed",
            ..Request::default()
        });
    }
}

#[test]
fn multipart_upload_becomes_one_object() {
    let (server, client) = start();
    let create = Request {
        method: "POST",
        path: "/bucket/multi",
        query: vec![("uploads", "")],
        headers: vec![
            ("content-type", "text/x".to_owned()),
            ("x-amz-checksum-algorithm", "CRC32C".to_owned()),
        ],
        ..Request::default()
    };
    let id = client.send(&create).element("UploadId");
    let other = client.send(&create).element("UploadId");
    assert_ne!(id, other);
    let uploads = Request {
        method: "GET",
        path: "/bucket",
        query: vec![("uploads", "")],
        ..Request::default()
    };
    assert_eq!(
        client.send(&uploads).elements("UploadId"),
        [id.clone(), other.clone()]
    );

    let mut first = vec![0; 5 << 20];
    synthetic::fill(1, 0, &mut first);
    let part = |id: &str, number: &str, body: &[u8]| {
        client.send(&Request {
            method: "PUT",
            path: "/bucket/multi",
            query: vec![("partNumber", number), ("uploadId", id)],
            body: body.to_vec(),
            ..Request::default()
        })
    };
    let etag_1 = part(&id, "1", &first).header("etag").to_owned();
    server.put_object(&ObjectSpec::synthetic("bucket", "source", 8, 1 << 30));
    let copied = client.send(&Request {
        method: "PUT",
        path: "/bucket/multi",
        query: vec![("partNumber", "2"), ("uploadId", &id)],
        headers: vec![
            ("x-amz-copy-source", "bucket/source".to_owned()),
            (
                "x-amz-copy-source-range",
                format!("bytes=100-{}", 100 + (6 << 20) - 1),
            ),
        ],
        ..Request::default()
    });
    let etag_2 = copied.element("ETag");
    let etag_3 = part(&id, "7", b"tail").header("etag").to_owned();
    let parts = client.send(&Request {
        method: "GET",
        path: "/bucket/multi",
        query: vec![("uploadId", &id), ("max-parts", "2")],
        ..Request::default()
    });
    assert_eq!(
        (parts.elements("PartNumber"), parts.element("IsTruncated")),
        (vec!["1".into(), "2".into()], "true".into())
    );

    let complete = |parts: &[(&str, &str)], headers: Vec<(&'static str, String)>| {
        let parts: String = parts
            .iter()
            .map(|(number, etag)| {
                format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
            })
            .collect();
        client.send(&Request {
            method: "POST",
            path: "/bucket/multi",
            query: vec![("uploadId", &id)],
            headers,
            body: format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
                .into_bytes(),
            ..Request::default()
        })
    };
    let all = [("1", etag_1.as_str()), ("2", &etag_2), ("7", &etag_3)];
    assert_eq!(
        complete(&[all[1], all[0]], vec![]).element("Code"),
        "InvalidPartOrder"
    );
    assert_eq!(
        complete(&[all[0], ("2", &etag_1)], vec![]).element("Code"),
        "InvalidPart"
    );
    assert_eq!(
        complete(&[("7", &etag_3), ("8", &etag_3)], vec![]).element("Code"),
        "InvalidPart"
    );
    let small = part(&id, "9", b"x").header("etag").to_owned();
    assert_eq!(
        complete(&[all[2], ("9", &small)], vec![]).element("Code"),
        "EntityTooSmall"
    );
    let wrong = vec![("x-amz-checksum-crc32c", base64(&Crc32c::checksum(b"x")))];
    assert_eq!(complete(&all, wrong).element("Code"), "BadDigest");
    let done = complete(&all, vec![("if-none-match", "*".to_owned())]);
    assert_eq!(done.status, 200, "{}", done.text());

    let mut second = vec![0; 6 << 20];
    synthetic::fill(8, 100, &mut second);
    let bodies = [&first[..], &second, b"tail"];
    let digests: Vec<u8> = bodies.iter().flat_map(|body| Md5::checksum(body)).collect();
    let get = client.get("/bucket/multi", &[("x-amz-checksum-mode", "ENABLED")]);
    assert!(get.body == bodies.concat());
    assert_eq!(
        get.header("etag"),
        format!("\"{}-3\"", hex(&Md5::checksum(&digests)))
    );
    assert_eq!(get.header("content-type"), "text/x");
    let sums: Vec<u8> = bodies
        .iter()
        .flat_map(|body| Crc32c::checksum(body))
        .collect();
    assert_eq!(
        get.header("x-amz-checksum-crc32c"),
        format!("{}-3", base64(&Crc32c::checksum(&sums)))
    );
    assert_eq!(get.header("x-amz-checksum-type"), "COMPOSITE");
    let one = client.send(&Request {
        method: "GET",
        path: "/bucket/multi",
        query: vec![("partNumber", "3")],
        ..Request::default()
    });
    assert_eq!(
        (one.status, one.text(), one.header("x-amz-mp-parts-count")),
        (206, "tail".to_owned(), "3")
    );
    assert_eq!(complete(&all, vec![]).element("Code"), "NoSuchUpload");

    let abort = Request {
        method: "DELETE",
        path: "/bucket/multi",
        query: vec![("uploadId", &other)],
        ..Request::default()
    };
    assert_eq!(
        (client.send(&abort).status, client.send(&abort).status),
        (204, 404)
    );
    assert!(client.send(&uploads).elements("UploadId").is_empty());
}

#[test]
fn full_object_checksum_of_a_multipart_upload_is_that_of_its_bytes() {
    let (_server, client) = start_with(Config {
        min_part_size: 0,
        ..Config::default()
    });
    let path = "/bucket/multi";
    let created = client.send(&Request {
        method: "POST",
        path,
        query: vec![("uploads", "")],
        ..Request::default()
    });
    let id = created.element("UploadId");
    let mut parts = String::new();
    for (number, body) in [("1", "left "), ("2", "right")] {
        let query = vec![("partNumber", number), ("uploadId", id.as_str())];
        let body = body.as_bytes().to_vec();
        let put = client.send(&Request {
            method: "PUT",
            path,
            query,
            body,
            ..Request::default()
        });
        parts += &format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>",
            put.header("etag")
        );
    }
    let sum = base64(&Crc64Nvme::checksum(b"left right"));
    let done = client.send(&Request {
        method: "POST",
        path,
        query: vec![("uploadId", &id)],
        headers: vec![
            ("x-amz-checksum-crc64nvme", sum.clone()),
            ("x-amz-checksum-type", "FULL_OBJECT".to_owned()),
            ("x-amz-mp-object-size", "10".to_owned()),
        ],
        body: format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>").into_bytes(),
        ..Request::default()
    });
    assert_eq!((done.status, done.element("ChecksumCRC64NVME")), (200, sum));
}

#[test]
fn discarded_uploads_are_verified_and_leave_their_length_and_checksums() {
    let (_server, client) = start_with(Config {
        min_part_size: 0,
        fast_etag: true,
        discard_uploads: true,
        directory: true,
        ..Config::default()
    });
    let sum = |body: &[u8]| base64(&Crc32c::checksum(body));
    let (right, wrong) = (sum(b"content"), sum(b"another"));
    let put = |sum| client.put("/bucket/k", b"content", &[("x-amz-checksum-crc32c", sum)]);
    assert_eq!(put(&wrong).element("Code"), "BadDigest");
    let etag = put(&right).header("etag").to_owned();
    let get = client.get("/bucket/k", &[("x-amz-checksum-mode", "ENABLED")]);
    assert_eq!(get.body, [0; 7]);
    assert_eq!(get.header("x-amz-checksum-crc32c"), right);
    assert_ne!(
        client.put("/bucket/k", b"others.", &[]).header("etag"),
        etag
    );

    let offset = [("x-amz-write-offset-bytes", "7")];
    assert_eq!(client.put("/bucket/k", b"more", &offset).status, 200);
    assert_eq!(client.head("/bucket/k", &[]).header("content-length"), "11");

    let path = "/bucket/multi";
    let created = client.send(&Request {
        method: "POST",
        path,
        query: vec![("uploads", "")],
        ..Request::default()
    });
    let id = created.element("UploadId");
    let part = client.send(&Request {
        method: "PUT",
        path,
        query: vec![("partNumber", "1"), ("uploadId", &id)],
        body: vec![7; 100_000],
        ..Request::default()
    });
    let etag = part.header("etag");
    let parts = format!("<Part><ETag>{etag}</ETag><PartNumber>1</PartNumber></Part>");
    let done = client.send(&Request {
        method: "POST",
        path,
        query: vec![("uploadId", &id)],
        body: format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>").into_bytes(),
        ..Request::default()
    });
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(client.get(path, &[]).body, [0; 100_000]);
}
