use super::{BucketKind, BucketName, InvalidBucketName};

fn name(text: &str) -> BucketName {
    BucketName::new(text).unwrap()
}

#[test]
fn new_accepts_what_stores_allow() {
    for text in ["abc", "my.bucket", "Old_Bucket", "ap-alias-s3alias", "a-1"] {
        assert_eq!(name(text).as_str(), text);
    }
}

#[test]
fn new_refuses_with_the_reason() {
    let refusal = |text: &str| BucketName::new(text).unwrap_err();
    assert!(matches!(refusal("ab"), InvalidBucketName::Length(_)));
    assert!(matches!(refusal(""), InvalidBucketName::Length(_)));
    for text in ["a/b/c", "a b c", "...", "evil.com#x", "bücket", "a\r\nb"] {
        assert!(matches!(refusal(text), InvalidBucketName::Character(_)));
    }
    for text in [
        "arn:aws:s3:us-east-1:123456789012",
        "arn:aws:s3:us-east-1::accesspoint/x",
        "arn:aws:s3:::",
        "arn:aws:s3:::bucket/prefix",
        "arn:aws:iam::123456789012:role/x",
        "arn:aws:s3:us-east-1:123456789012:accesspoint/a b",
        "arn:aws:s3:us-east-1:123456789012:accesspoint/a\r\nx: y",
        "arn:aws:s3:evil.com/:123456789012:accesspoint/a",
    ] {
        assert!(matches!(refusal(text), InvalidBucketName::Arn(_)), "{text}");
    }
    let bucket = refusal("arn:aws:s3:::my.bucket");
    assert_eq!(bucket, InvalidBucketName::BucketArn("my.bucket".to_owned()));
}

#[test]
fn kind_and_region_are_what_the_name_tells() {
    use BucketKind::{Directory, GeneralPurpose, Outposts};
    let outpost = "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-01/accesspoint/ap";
    for (text, kind, region) in [
        ("bucket", GeneralPurpose, None),
        ("reports-abc123xyz-s3alias", GeneralPurpose, None),
        ("logs--use1-az5--x-s3", Directory, Some("us-east-1")),
        ("logs--apne1-az4--x-s3", Directory, Some("ap-northeast-1")),
        ("ap--eun1-az1--xa-s3", Directory, Some("eu-north-1")),
        ("logs--usgw1-az1--x-s3", Directory, Some("us-gov-west-1")),
        ("logs--usw2-lax1-az1--x-s3", Directory, Some("us-west-2")),
        ("logs--nowhere--x-s3", Directory, None),
        ("logs--x-s3", Directory, None),
        (
            "test-o01ac5d28a6a232904e8xz5w8ijx1qzlbp3i3kuse10--op-s3",
            Outposts,
            None,
        ),
        (outpost, Outposts, Some("us-west-2")),
        (
            "arn:aws:s3:eu-west-1:123456789012:accesspoint/ap",
            GeneralPurpose,
            Some("eu-west-1"),
        ),
        (
            "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap",
            GeneralPurpose,
            None,
        ),
        (
            "arn:aws:s3-object-lambda:us-east-1:123456789012:accesspoint/ol",
            GeneralPurpose,
            Some("us-east-1"),
        ),
    ] {
        let name = name(text);
        assert_eq!(
            (name.kind(), name.region().as_deref()),
            (kind, region),
            "{text}"
        );
    }
}

#[test]
fn fits_host_needs_a_single_lower_case_label() {
    let fits = |text: &str| name(text).fits_host();
    assert!(fits("my-bucket-1"));
    for text in ["my.bucket", "Bucket", "a_b", "-ab", "ab-", &"x".repeat(64)] {
        assert!(!fits(text), "{text}");
    }
}
