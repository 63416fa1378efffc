//! Endpoints and scopes of signatures as AWS documents them, for every kind of bucket.
//!
//! S3: [endpoints](https://docs.aws.amazon.com/general/latest/gr/s3.html),
//! [dual-stack](https://docs.aws.amazon.com/AmazonS3/latest/API/dual-stack-endpoints.html),
//! [access points](https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-referencing.html),
//! [multi-region access points](https://docs.aws.amazon.com/AmazonS3/latest/userguide/MultiRegionAccessPointRequests.html),
//! [directory buckets](https://docs.aws.amazon.com/AmazonS3/latest/userguide/endpoint-directory-buckets-AZ.html),
//! [Outposts](https://docs.aws.amazon.com/AmazonS3/latest/s3-outposts/s3-outposts-access-points-using.html).

use super::{Addressing, DUAL, FAST, FIPS, PATH, Query, Rules, VIRTUAL};
use crate::crt::s3::SigningAlgorithm;
use crate::s3::BucketName;

/// One endpoint as documented.
#[derive(Clone, Copy)]
struct Row {
    bucket: &'static str,
    region: &'static str,
    addressing: Addressing,
    /// Scheme and host.
    origin: &'static str,
    /// Before the `/` of the key.
    path: &'static str,
    scope: Scope,
}

/// Algorithm, service and region of signatures.
type Scope = (SigningAlgorithm, &'static str, &'static str);

const fn v4(service: &'static str, region: &'static str) -> Scope {
    (SigningAlgorithm::V4, service, region)
}

const fn express(region: &'static str) -> Scope {
    (SigningAlgorithm::V4S3Express, "s3express", region)
}

const fn row(
    bucket: &'static str,
    region: &'static str,
    addressing: Addressing,
    origin: &'static str,
    path: &'static str,
    scope: Scope,
) -> Row {
    Row {
        bucket,
        region,
        addressing,
        origin,
        path,
        scope,
    }
}

#[rustfmt::skip]
const GENERAL_PURPOSE: &[Row] = &[
    row("bkt", "us-east-1", VIRTUAL, "https://bkt.s3.us-east-1.amazonaws.com", "", v4("s3", "us-east-1")),
    row("bkt", "eu-west-1", VIRTUAL, "https://bkt.s3.eu-west-1.amazonaws.com", "", v4("s3", "eu-west-1")),
    row("bkt", "ap-southeast-5", VIRTUAL, "https://bkt.s3.ap-southeast-5.amazonaws.com", "", v4("s3", "ap-southeast-5")),
    row("bkt", "eu-future-9", VIRTUAL, "https://bkt.s3.eu-future-9.amazonaws.com", "", v4("s3", "eu-future-9")),
    row("bkt", "us-gov-west-1", VIRTUAL, "https://bkt.s3.us-gov-west-1.amazonaws.com", "", v4("s3", "us-gov-west-1")),
    row("bkt", "cn-north-1", VIRTUAL, "https://bkt.s3.cn-north-1.amazonaws.com.cn", "", v4("s3", "cn-north-1")),
    row("bkt", "cn-northwest-1", DUAL, "https://bkt.s3.dualstack.cn-northwest-1.amazonaws.com.cn", "", v4("s3", "cn-northwest-1")),
    row("bkt", "us-iso-east-1", VIRTUAL, "https://bkt.s3.us-iso-east-1.c2s.ic.gov", "", v4("s3", "us-iso-east-1")),
    row("bkt", "us-isob-east-1", VIRTUAL, "https://bkt.s3.us-isob-east-1.sc2s.sgov.gov", "", v4("s3", "us-isob-east-1")),
    row("bkt", "eu-isoe-west-1", VIRTUAL, "https://bkt.s3.eu-isoe-west-1.cloud.adc-e.uk", "", v4("s3", "eu-isoe-west-1")),
    row("bkt", "eusc-de-east-1", VIRTUAL, "https://bkt.s3.eusc-de-east-1.amazonaws.eu", "", v4("s3", "eusc-de-east-1")),
    row("bkt", "eu-west-1", PATH, "https://s3.eu-west-1.amazonaws.com", "/bkt", v4("s3", "eu-west-1")),
    row("b.k.t", "eu-west-1", VIRTUAL, "https://s3.eu-west-1.amazonaws.com", "/b.k.t", v4("s3", "eu-west-1")),
    row("Old_One", "us-east-1", VIRTUAL, "https://s3.us-east-1.amazonaws.com", "/Old_One", v4("s3", "us-east-1")),
    row("bkt", "eu-west-1", DUAL, "https://bkt.s3.dualstack.eu-west-1.amazonaws.com", "", v4("s3", "eu-west-1")),
    row("bkt", "eu-west-1", FAST, "https://bkt.s3-accelerate.amazonaws.com", "", v4("s3", "eu-west-1")),
    row("bkt", "us-west-2", FIPS, "https://bkt.s3-fips.us-west-2.amazonaws.com", "", v4("s3", "us-west-2")),
    row("bkt", "us-gov-east-1", FIPS, "https://bkt.s3-fips.us-gov-east-1.amazonaws.com", "", v4("s3", "us-gov-east-1")),
    row("b.k.t", "us-west-2", FIPS, "https://s3-fips.us-west-2.amazonaws.com", "/b.k.t", v4("s3", "us-west-2")),
    row("bkt", "us-west-2", Addressing { dual_stack: true, ..FIPS }, "https://bkt.s3-fips.dualstack.us-west-2.amazonaws.com", "", v4("s3", "us-west-2")),
    row("bkt", "us-west-2", Addressing { dual_stack: true, ..FAST }, "https://bkt.s3-accelerate.dualstack.amazonaws.com", "", v4("s3", "us-west-2")),
    row("bkt", "us-west-2", Addressing { dual_stack: true, ..PATH }, "https://s3.dualstack.us-west-2.amazonaws.com", "/bkt", v4("s3", "us-west-2")),
];

const ACCESS_POINT: &str = "arn:aws:s3:us-west-2:123456789012:accesspoint/finance";
const CHINESE: &str = "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/finance";
const LAMBDA: &str = "arn:aws:s3-object-lambda:us-east-1:123456789012:accesspoint/redact";
const EVERYWHERE: &str = "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap";
const OUTPOST: &str =
    "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-01ac5d28a6a232904/accesspoint/reports";

#[rustfmt::skip]
const ACCESS_POINTS: &[Row] = &[
    row(ACCESS_POINT, "us-west-2", VIRTUAL, "https://finance-123456789012.s3-accesspoint.us-west-2.amazonaws.com", "", v4("s3", "us-west-2")),
    // The ARN's region counts.
    row(ACCESS_POINT, "eu-west-1", VIRTUAL, "https://finance-123456789012.s3-accesspoint.us-west-2.amazonaws.com", "", v4("s3", "us-west-2")),
    row(ACCESS_POINT, "us-west-2", DUAL, "https://finance-123456789012.s3-accesspoint.dualstack.us-west-2.amazonaws.com", "", v4("s3", "us-west-2")),
    row(ACCESS_POINT, "us-west-2", FIPS, "https://finance-123456789012.s3-accesspoint-fips.us-west-2.amazonaws.com", "", v4("s3", "us-west-2")),
    row(CHINESE, "cn-north-1", VIRTUAL, "https://finance-123456789012.s3-accesspoint.cn-north-1.amazonaws.com.cn", "", v4("s3", "cn-north-1")),
    row("finance-wkajkzp3hsrjwwiw9mr1ynfwuse1a-s3alias", "us-east-1", VIRTUAL, "https://finance-wkajkzp3hsrjwwiw9mr1ynfwuse1a-s3alias.s3.us-east-1.amazonaws.com", "", v4("s3", "us-east-1")),
    row(LAMBDA, "us-east-1", VIRTUAL, "https://redact-123456789012.s3-object-lambda.us-east-1.amazonaws.com", "", v4("s3-object-lambda", "us-east-1")),
    row(LAMBDA, "us-east-1", FIPS, "https://redact-123456789012.s3-object-lambda-fips.us-east-1.amazonaws.com", "", v4("s3-object-lambda", "us-east-1")),
    row(EVERYWHERE, "us-east-1", VIRTUAL, "https://mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com", "", (SigningAlgorithm::V4Asymmetric, "s3", "*")),
    row(EVERYWHERE, "ap-south-1", VIRTUAL, "https://mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com", "", (SigningAlgorithm::V4Asymmetric, "s3", "*")),
    row(OUTPOST, "us-west-2", VIRTUAL, "https://reports-123456789012.op-01ac5d28a6a232904.s3-outposts.us-west-2.amazonaws.com", "", (SigningAlgorithm::V4Asymmetric, "s3-outposts", "*")),
];

#[rustfmt::skip]
const DIRECTORY_BUCKETS: &[Row] = &[
    row("logs--use1-az5--x-s3", "us-east-1", VIRTUAL, "https://logs--use1-az5--x-s3.s3express-use1-az5.us-east-1.amazonaws.com", "", express("us-east-1")),
    row("logs--apne1-az4--x-s3", "ap-northeast-1", VIRTUAL, "https://logs--apne1-az4--x-s3.s3express-apne1-az4.ap-northeast-1.amazonaws.com", "", express("ap-northeast-1")),
    row("logs--use1-az5--x-s3", "us-east-1", DUAL, "https://logs--use1-az5--x-s3.s3express-use1-az5.dualstack.us-east-1.amazonaws.com", "", express("us-east-1")),
    row("logs--use1-az5--x-s3", "us-east-1", FIPS, "https://logs--use1-az5--x-s3.s3express-fips-use1-az5.us-east-1.amazonaws.com", "", express("us-east-1")),
    row("logs--usw2-lax1-az1--x-s3", "us-west-2", VIRTUAL, "https://logs--usw2-lax1-az1--x-s3.s3express-usw2-lax1-az1.us-west-2.amazonaws.com", "", express("us-west-2")),
    row("team--usw2-az1--xa-s3", "us-west-2", VIRTUAL, "https://team--usw2-az1--xa-s3.s3express-usw2-az1.us-west-2.amazonaws.com", "", express("us-west-2")),
];

#[test]
fn resolve_follows_what_is_documented() {
    let rules = Rules::read();
    for row in [GENERAL_PURPOSE, ACCESS_POINTS, DIRECTORY_BUCKETS].concat() {
        let bucket = BucketName::new(row.bucket).unwrap();
        let query = Query {
            bucket: &bucket,
            region: row.region,
            url: None,
            addressing: row.addressing,
            signed: true,
        };
        let found = rules.endpoint(&query);
        let found = found.unwrap_or_else(|error| panic!("{}: {error}", row.bucket));
        assert_eq!((&*found.origin, &*found.path), (row.origin, row.path));
        let scheme = &found.scheme;
        let scope = (scheme.algorithm, &*scheme.service, &*scheme.region);
        assert_eq!(scope, row.scope, "{}", row.bucket);
        assert!(!scheme.double_encoding, "{}", row.bucket);
    }
}
