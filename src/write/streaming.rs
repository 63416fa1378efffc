//! A file of more than one part, on its way.

use std::task::Poll;

use bytes::Bytes;
use futures::poll;

use super::buffer::Buffer;
use super::config::WriteConfig;
use super::error::Error;
use super::funds::Funds;
use crate::s3::{PutRequest, Store, Stored, Upload};

/// A multipart upload under way.
pub(super) struct Streaming {
    upload: Box<dyn Upload>,
    /// What it may hold.
    buffer: u64,
    /// Bytes of small writes, which are handed on together.
    chunk: Buffer,
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
        funds.pay(part + CHUNK as u64);
        let buffer = if funds.try_pay(2 * part + CHUNK as u64) {
            2 * part
        } else {
            part
        };
        Ok(Self {
            upload: store.upload(request, buffer)?,
            buffer,
            chunk: Buffer::default(),
            has_waited: false,
            funds,
        })
    }

    /// Takes `data` if that is possible without waiting, and says whether it did.
    pub(super) fn take_in_now(&mut self, data: &[u8]) -> bool {
        let fits = self.chunk.len() + data.len() < CHUNK;
        if fits {
            self.chunk.extend(data, CHUNK);
        }
        fits
    }

    /// Takes `data`, and waits while the upload holds all that it may.
    pub(super) async fn take_in(&mut self, data: Bytes, config: &WriteConfig) -> Result<(), Error> {
        if self.take_in_now(&data) {
            return Ok(());
        }
        if self.chunk.len() > 0 {
            let chunk = self.chunk.take();
            self.send(chunk, config).await?;
        }
        if data.len() < CHUNK {
            self.chunk.extend(&data, CHUNK);
            Ok(())
        } else {
            self.send(data, config).await
        }
    }

    /// Hands `bytes` to the upload.
    pub(super) async fn send(&mut self, bytes: Bytes, config: &WriteConfig) -> Result<(), Error> {
        if self.has_waited {
            self.grow(config);
        }
        let mut write = self.upload.write(bytes);
        let first = poll!(&mut write);
        self.has_waited = first.is_pending();
        match first {
            Poll::Ready(result) => result?,
            Poll::Pending => write.await?,
        }
        Ok(())
    }

    /// Lets the upload hold one part more, if there is memory.
    fn grow(&mut self, config: &WriteConfig) {
        let part = config.part_size;
        if self.funds.add(part, config.max_buffer) {
            self.buffer += part;
            self.upload.set_buffer(self.buffer);
        }
    }

    /// Ends the upload.
    pub(super) async fn complete(mut self, config: &WriteConfig) -> Result<Stored, Error> {
        if self.chunk.len() > 0 {
            let chunk = self.chunk.take();
            self.send(chunk, config).await?;
        }
        Ok(self.upload.complete().await?)
    }
}

/// Small writes are handed on to an upload when they make this many bytes together: as many as
/// the largest write request of the kernel has, which is handed on as it is.
const CHUNK: usize = 1 << 20;
