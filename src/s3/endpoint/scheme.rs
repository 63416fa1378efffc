//! How the rules say that requests are signed.

use serde::Deserialize;

use super::{InvalidEndpoint, Scheme};
use crate::crt::s3::{Signing, SigningAlgorithm};

/// What an endpoint's properties say, as far as it is of use here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Properties {
    auth_schemes: Vec<AuthScheme>,
}

/// One way to sign. The first that a client knows is the one to use.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AuthScheme {
    name: String,
    signing_name: Option<String>,
    signing_region: Option<String>,
    signing_region_set: Vec<String>,
    disable_double_encoding: bool,
}

impl Scheme {
    /// Reads the properties of an endpoint in `region`.
    pub(super) fn of_properties(json: &str, region: &str) -> Result<Self, InvalidEndpoint> {
        let unknown = |what: String| InvalidEndpoint::Unknown(what);
        let properties = if json.is_empty() {
            Properties::default()
        } else {
            serde_json::from_str(json).map_err(|error| unknown(error.to_string()))?
        };
        let mut schemes = properties.auth_schemes.into_iter().peekable();
        if schemes.peek().is_none() {
            return Ok(Self {
                algorithm: SigningAlgorithm::V4,
                service: "s3".to_owned(),
                region: region.to_owned(),
                double_encoding: false,
            });
        }
        let known = |scheme: AuthScheme| {
            let region = scheme.signing_region.unwrap_or_else(|| region.to_owned());
            let (algorithm, region) = match scheme.name.as_str() {
                "sigv4" => (SigningAlgorithm::V4, region),
                "sigv4a" => {
                    let regions = scheme.signing_region_set.join(",");
                    (SigningAlgorithm::V4Asymmetric, regions)
                }
                "sigv4-s3express" => (SigningAlgorithm::V4S3Express, region),
                _ => return None,
            };
            Some(Self {
                algorithm,
                service: scheme.signing_name.unwrap_or_else(|| "s3".to_owned()),
                region,
                double_encoding: !scheme.disable_double_encoding,
            })
        };
        schemes
            .find_map(known)
            .ok_or_else(|| unknown("another signature than SigV4 and SigV4A".to_owned()))
    }

    /// The scheme as the CRT takes it.
    pub(in crate::s3) fn signing(&self) -> Signing<'_> {
        Signing {
            algorithm: self.algorithm,
            service: &self.service,
            region: &self.region,
            double_encoding: self.double_encoding,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_properties_takes_the_first_scheme_that_is_known() {
        let json = r#"{"backend": "x", "authSchemes": [
            {"name": "sigv9"},
            {"name": "sigv4a", "signingName": "s3-outposts", "signingRegionSet": ["*"],
             "disableDoubleEncoding": true},
            {"name": "sigv4", "signingName": "s3-outposts", "signingRegion": "us-west-2"}]}"#;
        let scheme = Scheme::of_properties(json, "us-east-1").unwrap();
        assert_eq!(scheme.algorithm, SigningAlgorithm::V4Asymmetric);
        assert_eq!((&*scheme.service, &*scheme.region), ("s3-outposts", "*"));
        assert!(!scheme.double_encoding);
    }

    #[test]
    fn of_properties_has_a_default_and_refuses_what_it_does_not_know() {
        for json in ["", "{}", r#"{"authSchemes": []}"#] {
            let scheme = Scheme::of_properties(json, "eu-west-1").unwrap();
            assert_eq!((&*scheme.service, &*scheme.region), ("s3", "eu-west-1"));
            assert_eq!(scheme.algorithm, SigningAlgorithm::V4);
        }
        for json in ["[", r#"{"authSchemes": [{"name": "sigv9"}]}"#] {
            let refused = Scheme::of_properties(json, "eu-west-1");
            assert!(
                matches!(refused, Err(InvalidEndpoint::Unknown(_))),
                "{json}"
            );
        }
    }
}
