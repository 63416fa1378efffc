//! One object: its content, synthetic or uploaded, and its metadata.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use s3s::dto::{Checksum, ServerSideEncryption};

use crate::synthetic;

/// An object as the store keeps it. Small, because a million of them must be cheap.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) content: Content,
    /// Seconds since 1970.
    pub(crate) modified: u32,
    /// `None` for an object without any metadata, of storage class STANDARD.
    pub(crate) meta: Option<Arc<Meta>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Synthetic { seed: u64, size: u64 },
    Stored(Arc<Stored>),
}

/// Uploaded content.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) blob: Blob,
    /// Without quotes.
    pub(crate) etag: String,
    pub(crate) checksum: Checksum,
    /// Empty unless the object came from a multipart upload.
    pub(crate) parts: Vec<PartInfo>,
}

/// One part of an object made by a multipart upload.
#[derive(Debug, Clone)]
pub(crate) struct PartInfo {
    pub(crate) size: u64,
    pub(crate) checksum: Checksum,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Meta {
    /// `None` is STANDARD.
    pub(crate) storage_class: Option<String>,
    pub(crate) restore: Restore,
    pub(crate) content_type: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) user: HashMap<String, String>,
    pub(crate) encryption: Option<Encryption>,
    /// Checksum of a synthetic object, when one was asked for.
    pub(crate) checksum: Option<Checksum>,
}

/// How an object is said to be encrypted.
#[derive(Debug, Clone)]
pub(crate) struct Encryption {
    pub(crate) algorithm: String,
    pub(crate) key: Option<String>,
}

/// Whether an archived object can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Restore {
    #[default]
    None,
    InProgress,
    /// Readable until this time, in seconds since 1970.
    Until(u32),
}

/// Bytes that can be sliced without a copy.
#[derive(Debug, Clone)]
pub(crate) enum Blob {
    Synthetic {
        seed: u64,
        size: u64,
    },
    /// Pieces with the offset at which each begins; none is empty.
    Pieces {
        pieces: Arc<[(u64, Bytes)]>,
        size: u64,
    },
    /// Uploaded bytes that were not kept: they are read as zeros.
    Discarded {
        size: u64,
    },
}

impl Object {
    pub(crate) fn size(&self) -> u64 {
        match &self.content {
            Content::Synthetic { size, .. } => *size,
            Content::Stored(stored) => stored.blob.size(),
        }
    }

    /// Without quotes.
    pub(crate) fn etag(&self) -> String {
        match &self.content {
            Content::Synthetic { seed, size } => synthetic::etag(*seed, *size),
            Content::Stored(stored) => stored.etag.clone(),
        }
    }

    pub(crate) fn blob(&self) -> Blob {
        match &self.content {
            Content::Synthetic { seed, size } => Blob::Synthetic {
                seed: *seed,
                size: *size,
            },
            Content::Stored(stored) => stored.blob.clone(),
        }
    }

    pub(crate) fn parts(&self) -> &[PartInfo] {
        match &self.content {
            Content::Synthetic { .. } => &[],
            Content::Stored(stored) => &stored.parts,
        }
    }

    pub(crate) fn checksum(&self) -> Option<&Checksum> {
        match &self.content {
            Content::Synthetic { .. } => self.meta.as_ref()?.checksum.as_ref(),
            Content::Stored(stored) => Some(&stored.checksum),
        }
    }

    /// `None` is STANDARD.
    pub(crate) fn storage_class(&self) -> Option<&str> {
        self.meta.as_ref()?.storage_class.as_deref()
    }

    pub(crate) fn restore(&self) -> Restore {
        self.meta
            .as_ref()
            .map_or(Restore::None, |meta| meta.restore)
    }

    /// Whether GetObject is refused until the object is restored.
    pub(crate) fn is_archived(&self) -> bool {
        matches!(self.storage_class(), Some("GLACIER" | "DEEP_ARCHIVE"))
            && !matches!(self.restore(), Restore::Until(_))
    }
}

impl Meta {
    /// What the headers tell of an encryption: its algorithm and its key.
    pub(crate) fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.encryption {
            Some(Encryption { algorithm, key }) => (Some(algorithm.clone().into()), key.clone()),
            None => (None, None),
        }
    }
}

impl Blob {
    pub(crate) fn empty() -> Self {
        Self::from_pieces(std::iter::empty())
    }

    pub(crate) fn from_pieces(source: impl IntoIterator<Item = Bytes>) -> Self {
        let mut size = 0;
        let mut pieces = Vec::new();
        for piece in source.into_iter().filter(|piece| !piece.is_empty()) {
            let begin = size;
            size += piece.len() as u64;
            pieces.push((begin, piece));
        }
        Self::Pieces {
            pieces: pieces.into(),
            size,
        }
    }

    /// One after the other; discarded if one of them is.
    pub(crate) fn join<'b>(blobs: impl IntoIterator<Item = &'b Self> + Clone) -> Self {
        let all = || blobs.clone().into_iter();
        if all().any(|blob| matches!(blob, Self::Discarded { .. })) {
            return Self::Discarded {
                size: all().map(Self::size).sum(),
            };
        }
        Self::from_pieces(all().flat_map(|blob| blob.pieces_of(0..blob.size())))
    }

    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Synthetic { size, .. } | Self::Pieces { size, .. } | Self::Discarded { size } => {
                *size
            }
        }
    }

    /// Between 1 and `max` bytes from `offset`, which lies before the end; `max` is at least 1.
    pub(crate) fn chunk_at(&self, offset: u64, max: usize) -> Bytes {
        match self {
            Self::Synthetic { seed, size } => {
                let left = usize::try_from(size - offset).unwrap_or(usize::MAX);
                synthetic::chunk(*seed, offset, max.min(left))
            }
            Self::Pieces { pieces, .. } => {
                let index = pieces.partition_point(|(begin, _)| *begin <= offset) - 1;
                let (begin, piece) = &pieces[index];
                let from = usize::try_from(offset - begin).expect("a piece fits memory");
                piece.slice(from..piece.len().min(from.saturating_add(max)))
            }
            Self::Discarded { size } => {
                let left = usize::try_from(size - offset).unwrap_or(usize::MAX);
                Bytes::from_static(&ZEROS[..max.min(left).min(ZEROS.len())])
            }
        }
    }

    /// The bytes of `range`, which lies within the content, as pieces.
    pub(crate) fn pieces_of(&self, range: std::ops::Range<u64>) -> impl Iterator<Item = Bytes> {
        let mut at = range.start;
        std::iter::from_fn(move || {
            let left = usize::try_from(range.end - at).unwrap_or(usize::MAX);
            (left > 0).then(|| {
                let piece = self.chunk_at(at, left);
                at += piece.len() as u64;
                piece
            })
        })
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Self {
        Self::from_pieces([bytes])
    }
}

/// What discarded bytes are read as.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Now, in seconds since 1970: the resolution of S3's modification times.
pub(crate) fn now() -> u32 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
