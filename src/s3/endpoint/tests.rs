use proptest::prelude::*;

use super::{Addressing, Endpoint, InvalidEndpoint, Query};
use crate::crt::s3::SigningAlgorithm;
use crate::crt::{EndpointRules, Runtime, RuntimeConfig};
use crate::s3::BucketName;
use crate::wait::LONG;

mod recorded;

const VIRTUAL: Addressing = Addressing {
    path_style: false,
    dual_stack: false,
    accelerate: false,
    fips: false,
};
const PATH: Addressing = Addressing {
    path_style: true,
    ..VIRTUAL
};
const DUAL: Addressing = Addressing {
    dual_stack: true,
    ..VIRTUAL
};
const FAST: Addressing = Addressing {
    accelerate: true,
    ..VIRTUAL
};
const FIPS: Addressing = Addressing {
    fips: true,
    ..VIRTUAL
};

/// The rules, and the runtime that they need, which has to end without anything left.
struct Rules {
    rules: Option<EndpointRules>,
    runtime: Option<Runtime>,
}

impl Rules {
    fn read() -> Self {
        let runtime = Runtime::start(RuntimeConfig::default()).unwrap();
        let rules = EndpointRules::new(&runtime).unwrap();
        Self {
            rules: Some(rules),
            runtime: Some(runtime),
        }
    }

    fn endpoint(&self, query: &Query<'_>) -> Result<Endpoint, InvalidEndpoint> {
        Endpoint::resolve(self.rules.as_ref().unwrap(), query)
    }

    fn resolve(
        &self,
        bucket: &str,
        region: &str,
        url: Option<&str>,
        addressing: Addressing,
    ) -> Result<String, InvalidEndpoint> {
        let bucket = BucketName::new(bucket).unwrap();
        let query = Query {
            bucket: &bucket,
            region,
            url,
            addressing,
            signed: true,
        };
        let Endpoint { origin, path, .. } = self.endpoint(&query)?;
        Ok(format!("{origin}{path}/"))
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        self.rules = None;
        let ended = self.runtime.take().map(|it| it.shutdown(LONG));
        if !std::thread::panicking() {
            assert_eq!(ended, Some(Ok(())));
        }
    }
}

#[test]
fn resolve_with_url_goes_there() {
    let rules = Rules::read();
    for (bucket, url, addressing, expected) in [
        (
            "bkt",
            "https://s3.example.com",
            VIRTUAL,
            "https://bkt.s3.example.com/",
        ),
        (
            "bkt",
            "https://s3.example.com:8443/",
            VIRTUAL,
            "https://bkt.s3.example.com:8443/",
        ),
        (
            "bkt",
            "http://s3.example.com/base/",
            VIRTUAL,
            "http://bkt.s3.example.com/base/",
        ),
        (
            "bkt",
            "http://s3.example.com/base",
            PATH,
            "http://s3.example.com/base/bkt/",
        ),
        (
            "b.k",
            "https://s3.example.com",
            VIRTUAL,
            "https://s3.example.com/b.k/",
        ),
        (
            "b.k",
            "http://s3.example.com",
            VIRTUAL,
            "http://s3.example.com/b.k/",
        ),
        (
            "Old_One",
            "http://s3.example.com",
            VIRTUAL,
            "http://s3.example.com/Old_One/",
        ),
        (
            "bkt",
            "http://127.0.0.1:9000",
            VIRTUAL,
            "http://127.0.0.1:9000/bkt/",
        ),
        (
            "bkt",
            "http://127.0.0.1:9000/base",
            VIRTUAL,
            "http://127.0.0.1:9000/base/bkt/",
        ),
        (
            "bkt",
            "http://[::1]:9000",
            VIRTUAL,
            "http://[::1]:9000/bkt/",
        ),
        ("bkt", "http://[::1]", VIRTUAL, "http://[::1]/bkt/"),
        (
            "bkt",
            "http://localhost:9000",
            VIRTUAL,
            "http://localhost:9000/bkt/",
        ),
        (
            "logs--use1-az5--x-s3",
            "https://s3.example.com",
            VIRTUAL,
            "https://logs--use1-az5--x-s3.s3.example.com/",
        ),
        (
            "logs--use1-az5--x-s3",
            "http://localhost:9000/base",
            VIRTUAL,
            "http://localhost:9000/base/logs--use1-az5--x-s3/",
        ),
    ] {
        let resolved = rules.resolve(bucket, "us-east-1", Some(url), addressing);
        assert_eq!(resolved.as_deref(), Ok(expected), "{bucket} {url}");
    }
}

#[test]
fn resolve_asks_for_sessions_only_where_the_host_is_the_bucket_and_requests_are_signed() {
    let rules = Rules::read();
    let bucket = BucketName::new("logs--use1-az5--x-s3").unwrap();
    for (url, signed, algorithm) in [
        (None, true, SigningAlgorithm::V4S3Express),
        (None, false, SigningAlgorithm::V4),
        (Some("http://localhost:9000"), true, SigningAlgorithm::V4),
        (
            Some("https://s3.example.com"),
            true,
            SigningAlgorithm::V4S3Express,
        ),
    ] {
        let query = Query {
            bucket: &bucket,
            region: "us-east-1",
            url,
            addressing: VIRTUAL,
            signed,
        };
        let scheme = rules.endpoint(&query).unwrap().scheme;
        assert_eq!(
            (scheme.algorithm, &*scheme.service),
            (algorithm, "s3express"),
            "{url:?}"
        );
    }
}

#[test]
fn resolve_refuses_what_is_no_endpoint() {
    let rules = Rules::read();
    for url in ["s3.example.com", "ftp://host", "", "localhost:9000", "://x"] {
        let resolved = rules.resolve("bkt", "us-east-1", Some(url), VIRTUAL);
        assert!(matches!(resolved, Err(InvalidEndpoint::Scheme)), "{url}");
    }
    for url in [
        "http://",
        "http:///path",
        "http://user:secret@host",
        "http://host:0",
        "http://host:65536",
        "http://host:+80",
        "http://host:",
        "http://host?query",
        "http://host/path?query",
        "http://host/a b",
        "http://host\r\nX-Evil: 1",
        "http://[::1",
        "http://[zz]",
        "http://[::1]x",
    ] {
        let resolved = rules.resolve("bkt", "us-east-1", Some(url), VIRTUAL);
        assert!(matches!(resolved, Err(InvalidEndpoint::Url)), "{url}");
    }
    for region in ["", "us east", "evil.com/", "-x", "US-EAST-1"] {
        let resolved = rules.resolve("bkt", region, None, VIRTUAL);
        assert!(
            matches!(resolved, Err(InvalidEndpoint::Region(_))),
            "{region}"
        );
    }
}

#[test]
fn resolve_refuses_what_does_not_fit_together_and_names_it() {
    let rules = Rules::read();
    let url = Some("https://s3.example.com");
    let fast_path = Addressing {
        accelerate: true,
        ..PATH
    };
    let access_point = "arn:aws:s3:eu-west-1:123456789012:accesspoint/ap";
    let mrap = "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap";
    let lambda = "arn:aws:s3-object-lambda:us-east-1:123456789012:accesspoint/ol";
    let outpost = "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-01/accesspoint/ap";
    for (bucket, region, url, addressing, words) in [
        (
            "bkt",
            "us-east-1",
            None,
            fast_path,
            "Path-style addressing cannot be used",
        ),
        ("b.k", "us-east-1", None, FAST, "S3 Accelerate"),
        (
            "bkt",
            "cn-north-1",
            None,
            FAST,
            "S3 Accelerate cannot be used in this region",
        ),
        ("bkt", "us-east-1", url, FAST, "custom endpoint"),
        ("bkt", "us-east-1", url, DUAL, "custom endpoint"),
        ("bkt", "us-east-1", url, FIPS, "custom endpoint"),
        (
            access_point,
            "eu-west-1",
            None,
            PATH,
            "Path-style addressing cannot be used with ARN",
        ),
        (
            access_point,
            "eu-west-1",
            None,
            FAST,
            "Access Points do not support S3 Accelerate",
        ),
        (
            access_point,
            "cn-north-1",
            None,
            VIRTUAL,
            "partition `aws-cn`",
        ),
        (
            mrap,
            "us-east-1",
            None,
            DUAL,
            "MRAP does not support dual-stack",
        ),
        (mrap, "us-east-1", None, FIPS, "MRAP does not support FIPS"),
        (
            lambda,
            "us-east-1",
            None,
            DUAL,
            "Object Lambda does not support Dual-stack",
        ),
        (
            outpost,
            "us-west-2",
            None,
            FIPS,
            "Outposts does not support FIPS",
        ),
        (
            "logs--use1-az5--x-s3",
            "us-east-1",
            None,
            FAST,
            "S3Express does not support S3 Accelerate",
        ),
        (
            "logs--x-s3",
            "us-east-1",
            None,
            VIRTUAL,
            "Unrecognized S3Express bucket name",
        ),
        (
            "arn:aws:s3:eu-west-1:123456789012:accesspoint/ap/object/key",
            "eu-west-1",
            None,
            VIRTUAL,
            "single resource component",
        ),
        (
            "arn:aws:s3:eu-west-1:123456789012:bucket/x",
            "eu-west-1",
            None,
            VIRTUAL,
            "Unrecognized format",
        ),
    ] {
        let refusal = rules.resolve(bucket, region, url, addressing).unwrap_err();
        assert!(
            matches!(refusal, InvalidEndpoint::Refused(_)),
            "{bucket}: {refusal:?}"
        );
        assert!(refusal.to_string().contains(words), "{bucket}: {refusal}");
    }
}

#[test]
fn prop_resolve_never_panics_nor_lets_the_url_or_the_name_escape() {
    let rules = Rules::read();
    let strategy = (
        ".{0,40}",
        ".{0,20}",
        "[a-zA-Z0-9._:/-]{3,40}",
        any::<[bool; 5]>(),
    );
    proptest!(|((url, tail, name, [path_style, dual_stack, accelerate, fips, arn]) in strategy)| {
        let addressing = Addressing { path_style, dual_stack, accelerate, fips };
        let name = if arn { format!("arn:aws:s3:us-east-1:123456789012:{name}") } else { name };
        let http = format!("http://{url}");
        let https = format!("https://host{tail}");
        for url in [None, Some(&*url), Some(&*http), Some(&*https)] {
            for name in ["bkt", "a--use1-az5--x-s3", &name] {
                let Ok(bucket) = BucketName::new(name) else { continue };
                let resolved = rules.resolve(bucket.as_str(), "us-east-1", url, addressing);
                if let Ok(resolved) = resolved {
                    let printable = resolved.bytes().all(|byte| byte.is_ascii_graphic());
                    prop_assert!(printable && !resolved.contains(['@', '?', '#']));
                }
            }
        }
    });
}
