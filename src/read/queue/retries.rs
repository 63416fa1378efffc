//! Whether a failed fetch is tried again.

use crate::s3::ErrorKind;

/// How often a failed fetch may still be restarted before its readers see the error. The store
/// retries each part by itself, so this is for what its retries cannot mend.
#[derive(Debug)]
pub(super) struct Retries {
    /// After a broken transfer. None until bytes arrive: a server that never answered will not.
    transfer: u32,
    /// After a wrong checksum.
    integrity: u32,
    /// After a failure that happened while nobody waited: the next reader deserves a fresh try.
    unseen: u32,
}

impl Retries {
    /// Those of a fetch that begins.
    pub(super) fn new() -> Self {
        Self {
            transfer: 0,
            integrity: INTEGRITY_RETRIES,
            unseen: 0,
        }
    }

    /// Notes that bytes have arrived.
    pub(super) fn note_progress(&mut self) {
        self.transfer = TRANSFER_RETRIES;
    }

    /// Notes that it has failed while nobody waited.
    pub(super) fn note_unseen(&mut self) {
        self.unseen = 1;
    }

    /// Whether a fetch that has failed like this may be restarted, which counts.
    pub(super) fn take(&mut self, kind: ErrorKind) -> bool {
        let left = match kind {
            // This version of the object is gone.
            ErrorKind::Precondition | ErrorKind::NotFound => return false,
            _ if self.unseen > 0 => &mut self.unseen,
            ErrorKind::Integrity => &mut self.integrity,
            ErrorKind::Connection | ErrorKind::Timeout | ErrorKind::Protocol => &mut self.transfer,
            _ => return false,
        };
        match left.checked_sub(1) {
            Some(fewer) => {
                *left = fewer;
                true
            }
            None => false,
        }
    }
}

/// Restarts without progress after a broken transfer.
const TRANSFER_RETRIES: u32 = 2;

/// Restarts after a wrong checksum.
const INTEGRITY_RETRIES: u32 = 1;
