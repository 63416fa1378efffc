//! Checksums of uploads: which are computed, and whether they are what the client said.

use http::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::Checksum as _;
use s3s::dto::{Checksum, ChecksumAlgorithm, ChecksumType};
use s3s::{S3Result, s3_error};

/// The algorithms that S3 knows, by the names of their headers' ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(super) const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// Its name in headers' names and, in upper case, in values.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "crc32",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    pub(super) fn parse(name: &str) -> S3Result<Self> {
        let found = Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            s3_error!(
                InvalidRequest,
                "Checksum algorithm provided is unsupported."
            )
        })
    }

    pub(super) fn of(self, checksum: &Checksum) -> Option<&String> {
        match self {
            Self::Crc32 => checksum.checksum_crc32.as_ref(),
            Self::Crc32c => checksum.checksum_crc32c.as_ref(),
            Self::Crc64Nvme => checksum.checksum_crc64nvme.as_ref(),
            Self::Sha1 => checksum.checksum_sha1.as_ref(),
            Self::Sha256 => checksum.checksum_sha256.as_ref(),
        }
    }

    pub(super) fn set(self, checksum: &mut Checksum, value: String) {
        let field = match self {
            Self::Crc32 => &mut checksum.checksum_crc32,
            Self::Crc32c => &mut checksum.checksum_crc32c,
            Self::Crc64Nvme => &mut checksum.checksum_crc64nvme,
            Self::Sha1 => &mut checksum.checksum_sha1,
            Self::Sha256 => &mut checksum.checksum_sha256,
        };
        *field = Some(value);
    }
}

/// The checksums that a request states, in headers and, once its body is read, in trailers.
#[derive(Debug, Default)]
pub(super) struct Stated {
    values: Vec<(Algorithm, String)>,
    trailer: Option<Algorithm>,
}

impl Stated {
    /// `named` is the algorithm asked for without a value.
    pub(super) fn in_headers(
        headers: &HeaderMap,
        named: Option<&ChecksumAlgorithm>,
    ) -> S3Result<Self> {
        let values = values_in(headers);
        if values.len() > 1 {
            return Err(s3_error!(
                InvalidRequest,
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
            ));
        }
        let announced = headers
            .get("x-amz-trailer")
            .and_then(|value| value.to_str().ok());
        let trailer = announced.and_then(|name| name.trim().strip_prefix("x-amz-checksum-"));
        let named = named
            .map(|name| Algorithm::parse(name.as_str()))
            .transpose()?;
        let trailer = trailer.map(Algorithm::parse).transpose()?;
        if values.is_empty() && trailer.is_none() && named.is_some() {
            return Ok(Self {
                values,
                trailer: named,
            });
        }
        Ok(Self { values, trailer })
    }

    /// The algorithms to compute; CRC64NVME when the client leaves it to S3.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let mut wanted: Vec<_> = self
            .values
            .iter()
            .map(|(algorithm, _)| *algorithm)
            .collect();
        wanted.extend(self.trailer);
        if wanted.is_empty() {
            wanted.push(Algorithm::Crc64Nvme);
        }
        wanted
    }

    pub(super) fn add_trailers(&mut self, trailers: &HeaderMap) {
        self.values.extend(values_in(trailers));
    }

    /// BadDigest unless every value stated is the one computed.
    pub(super) fn verify(&self, computed: &Checksum) -> S3Result<()> {
        for (algorithm, stated) in &self.values {
            if algorithm.of(computed) != Some(stated) {
                let name = algorithm.name().to_uppercase();
                return Err(s3_error!(
                    BadDigest,
                    "The {name} you specified did not match the calculated checksum."
                ));
            }
        }
        Ok(())
    }
}

/// A hasher of `algorithms`.
pub(super) fn hasher(algorithms: &[Algorithm]) -> ChecksumHasher {
    let mut hasher = ChecksumHasher::default();
    for algorithm in algorithms {
        match algorithm {
            Algorithm::Crc32 => hasher.crc32 = Some(s3s::crypto::Crc32::new()),
            Algorithm::Crc32c => hasher.crc32c = Some(s3s::crypto::Crc32c::new()),
            Algorithm::Crc64Nvme => hasher.crc64nvme = Some(s3s::crypto::Crc64Nvme::new()),
            Algorithm::Sha1 => hasher.sha1 = Some(s3s::crypto::Sha1::new()),
            Algorithm::Sha256 => hasher.sha256 = Some(s3s::crypto::Sha256::new()),
        }
    }
    hasher
}

/// The hasher's result as a checksum of the full object.
pub(super) fn full_object(hasher: ChecksumHasher) -> Checksum {
    let mut checksum = hasher.finalize();
    checksum.checksum_type = Some(ChecksumType::from_static(ChecksumType::FULL_OBJECT));
    checksum
}

/// The algorithm of an object's checksum.
pub(super) fn algorithm_of(checksum: &Checksum) -> Option<ChecksumAlgorithm> {
    let algorithm = Algorithm::ALL
        .into_iter()
        .find(|algorithm| algorithm.of(checksum).is_some())?;
    Some(algorithm.name().to_uppercase().into())
}

fn values_in(headers: &HeaderMap) -> Vec<(Algorithm, String)> {
    let stated = Algorithm::ALL.into_iter().filter_map(|algorithm| {
        let value = headers.get(format!("x-amz-checksum-{}", algorithm.name()))?;
        Some((algorithm, value.to_str().ok()?.to_owned()))
    });
    stated.collect()
}
