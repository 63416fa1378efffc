use proptest::prelude::*;

use super::{Addressing, Endpoint, InvalidEndpoint};
use crate::s3::BucketName;

const VIRTUAL: Addressing = Addressing {
    path_style: false,
    dual_stack: false,
    accelerate: false,
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

fn resolve(
    bucket: &str,
    region: &str,
    url: Option<&str>,
    addressing: Addressing,
) -> Result<String, InvalidEndpoint> {
    let bucket = BucketName::new(bucket).unwrap();
    let Endpoint { origin, path } = Endpoint::resolve(&bucket, region, url, addressing)?;
    Ok(format!("{origin}{path}/"))
}

#[test]
fn resolve_without_url_follows_the_region() {
    let cases = [
        (
            "bkt",
            "us-east-1",
            VIRTUAL,
            "https://bkt.s3.us-east-1.amazonaws.com/",
        ),
        (
            "bkt",
            "us-gov-west-1",
            VIRTUAL,
            "https://bkt.s3.us-gov-west-1.amazonaws.com/",
        ),
        (
            "bkt",
            "cn-north-1",
            VIRTUAL,
            "https://bkt.s3.cn-north-1.amazonaws.com.cn/",
        ),
        (
            "bkt",
            "eu-west-1",
            PATH,
            "https://s3.eu-west-1.amazonaws.com/bkt/",
        ),
        (
            "b.k.t",
            "eu-west-1",
            VIRTUAL,
            "https://s3.eu-west-1.amazonaws.com/b.k.t/",
        ),
        (
            "Old_One",
            "us-east-1",
            VIRTUAL,
            "https://s3.us-east-1.amazonaws.com/Old_One/",
        ),
        (
            "bkt",
            "eu-west-1",
            DUAL,
            "https://bkt.s3.dualstack.eu-west-1.amazonaws.com/",
        ),
        (
            "bkt",
            "eu-west-1",
            FAST,
            "https://bkt.s3-accelerate.amazonaws.com/",
        ),
    ];
    for (bucket, region, addressing, expected) in cases {
        let resolved = resolve(bucket, region, None, addressing);
        assert_eq!(resolved.as_deref(), Ok(expected));
    }
}

#[test]
fn resolve_with_url_goes_there() {
    let cases = [
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
            "bkt",
            "http://127.0.0.1:9000",
            VIRTUAL,
            "http://127.0.0.1:9000/bkt/",
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
    ];
    for (bucket, url, addressing, expected) in cases {
        let resolved = resolve(bucket, "us-east-1", Some(url), addressing);
        assert_eq!(resolved.as_deref(), Ok(expected));
    }
}

#[test]
fn resolve_refuses_what_is_no_endpoint() {
    for url in ["s3.example.com", "ftp://host", "", "localhost:9000", "://x"] {
        let resolved = resolve("bkt", "us-east-1", Some(url), VIRTUAL);
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
        let resolved = resolve("bkt", "us-east-1", Some(url), VIRTUAL);
        assert!(matches!(resolved, Err(InvalidEndpoint::Url)), "{url}");
    }
    for region in ["", "us east", "evil.com/", "-x", "US-EAST-1"] {
        let resolved = resolve("bkt", region, None, VIRTUAL);
        assert!(
            matches!(resolved, Err(InvalidEndpoint::Region(_))),
            "{region}"
        );
    }
}

#[test]
fn resolve_refuses_options_that_exclude_each_other() {
    let both = Addressing {
        accelerate: true,
        ..PATH
    };
    let url = Some("http://host");
    let refusal =
        |bucket, region, url, addressing| resolve(bucket, region, url, addressing).unwrap_err();
    assert_eq!(
        refusal("bkt", "us-east-1", None, both),
        InvalidEndpoint::AcceleratePath
    );
    assert!(matches!(
        refusal("b.k", "us-east-1", None, FAST),
        InvalidEndpoint::AccelerateName(_)
    ));
    assert!(matches!(
        refusal("bkt", "cn-north-1", None, FAST),
        InvalidEndpoint::AccelerateRegion(_)
    ));
    assert!(matches!(
        refusal("bkt", "us-east-1", url, FAST),
        InvalidEndpoint::WithUrl(_)
    ));
    assert!(matches!(
        refusal("bkt", "us-east-1", url, DUAL),
        InvalidEndpoint::WithUrl(_)
    ));
}

proptest! {
    #[test]
    fn prop_resolve_never_panics_nor_lets_the_url_escape(url in ".{0,40}", tail in ".{0,20}") {
        for url in [url.clone(), format!("http://{url}"), format!("https://host{tail}")] {
            if let Ok(resolved) = resolve("bkt", "us-east-1", Some(&url), VIRTUAL) {
                let printable = resolved.bytes().all(|byte| byte.is_ascii_graphic());
                prop_assert!(printable && !resolved.contains(['@', '?', '#']));
            }
        }
    }
}
