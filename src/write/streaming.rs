//! A file of more than one part, on its way.

use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use futures::poll;

use super::config::WriteConfig;
use super::error::Error;
use super::funds::Funds;
use super::window::{Share, Waited};
use crate::s3::{PutRequest, Store, Stored, Upload};

/// A multipart upload under way.
pub(super) struct Streaming {
    upload: Box<dyn Upload>,
    /// What it may hold.
    buffer: u64,
    share: Share,
    /// Bytes taken that the window was not told of.
    taken: u64,
    /// Whether the last bytes had to wait.
    has_waited: bool,
    funds: Funds,
}

impl Streaming {
    /// Starts the upload, which holds two parts at first, or one if memory is short.
    pub(super) fn start(
        store: &dyn Store,
        request: PutRequest,
        config: &WriteConfig,
        mut funds: Funds,
    ) -> Result<Self, Error> {
        let part = config.part_size;
        funds.pay(part);
        let buffer = if funds.try_pay(2 * part) {
            2 * part
        } else {
            part
        };
        Ok(Self {
            upload: store.upload(request, buffer)?,
            buffer,
            share: config.window.join(),
            taken: 0,
            has_waited: false,
            funds,
        })
    }

    /// Takes `data` if that is possible without waiting: `None` when it is not, and nothing has
    /// happened.
    pub(super) fn take_in_now(&mut self, data: &[u8]) -> Option<Result<(), Error>> {
        let taken = self.upload.write_now(data)?;
        self.taken += data.len() as u64;
        Some(taken.map_err(Error::S3))
    }

    /// Takes `data`, and waits while the upload holds all that it may.
    pub(super) async fn take_in(&mut self, data: Bytes, config: &WriteConfig) -> Result<(), Error> {
        self.taken += data.len() as u64;
        if self.has_waited || self.taken >= config.part_size {
            let delay = self.upload.delay();
            let waited = match self.has_waited {
                false => Waited::No,
                true if self.buffer + config.part_size <= self.share.bytes() => Waited::WithLess,
                true => Waited::WithAll,
            };
            let taken = std::mem::take(&mut self.taken);
            self.share.took(taken, waited, delay, Instant::now());
            self.resize(config.part_size);
        }
        let mut write = self.upload.write(data);
        let first = poll!(&mut write);
        self.has_waited = first.is_pending();
        match first {
            Poll::Ready(result) => result?,
            Poll::Pending => {
                write.await?;
                // Whoever has waited holds no more than the buffer now.
                self.funds.keep(self.buffer);
            }
        }
        Ok(())
    }

    /// Lets the upload hold its share of the window, as far as there is memory.
    fn resize(&mut self, part: u64) {
        let share = self.share.bytes();
        let more = share.saturating_sub(self.buffer);
        let buffer = if share < self.buffer {
            share
        } else if more >= part {
            match [more, part]
                .iter()
                .find(|more| self.funds.add(**more, share))
            {
                Some(more) => self.buffer + more,
                None => return,
            }
        } else {
            return;
        };
        self.buffer = buffer;
        self.upload.set_buffer(buffer);
    }

    /// Ends the upload.
    pub(super) async fn complete(self) -> Result<Stored, Error> {
        Ok(self.upload.complete().await?)
    }
}
