//! The events of a GET: what the CRT delivers, checked and handed on.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::crt::HeadersView;
use crate::crt::s3::{BodyPart, Finished, Flow, RequestError, RequestEvents, RequestMetrics};
use crate::s3::observe::Observer;
use crate::s3::xml::etag;
use crate::s3::{BodySink, ETag, ErrorKind, GetRequest};

/// Receives what the CRT delivers for one GET.
pub(super) struct Delivery {
    observer: Observer,
    sink: Arc<dyn BodySink>,
    checks: Mutex<Checks>,
}

impl Delivery {
    pub(super) fn new(observer: Observer, request: GetRequest, sink: Arc<dyn BodySink>) -> Self {
        Self {
            observer,
            sink,
            checks: Mutex::new(Checks::new(request.range, request.if_match)),
        }
    }

    fn checks(&self) -> MutexGuard<'_, Checks> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestEvents for Delivery {
    fn headers(&self, status: u16, headers: &HeadersView<'_>) -> Flow {
        // An answer that is an error has no ETag; it ends the request without help.
        if !(200..300).contains(&status) {
            return Flow::Continue;
        }
        let tag = headers.get("ETag");
        flow(self.checks().tag(tag.as_deref()))
    }

    fn body(&self, offset: u64, part: BodyPart) -> Flow {
        self.observer.received(part.len());
        flow(self.checks().body(offset, Bytes::from_owner(part)))
    }

    fn telemetry(&self, metrics: &RequestMetrics<'_>) {
        self.observer.http_request(metrics);
        let parts = {
            let mut checks = self.checks();
            if !checks.waits_for(*metrics.part_range().start()) {
                // An attempt that failed, or a part whose body was cancelled.
                return;
            }
            let headers = metrics.headers().unwrap_or_default();
            let tag = checks.tag(headers.get("ETag"));
            let range = headers.get("Content-Range");
            if tag.and_then(|()| checks.range(range)).is_err() {
                // The next part is refused, or the end reports it.
                return;
            }
            std::mem::take(&mut checks.waiting)
        };
        for (offset, bytes) in parts {
            self.sink.part(offset, bytes);
        }
    }

    fn finish(&self, outcome: Result<Finished, RequestError>) {
        let checked = self.checks().end(outcome.is_ok());
        let result = match (checked, outcome) {
            (Err(Refusal { kind, reason }), _) => Err(self.observer.subject().error(kind, reason)),
            (Ok(()), Err(error)) => Err(self.observer.failed(&error)),
            (Ok(()), Ok(_)) => Ok(()),
        };
        self.sink.finish(result);
    }
}

fn flow(checked: Result<(), Refusal>) -> Flow {
    match checked {
        Ok(()) => Flow::Continue,
        Err(_) => Flow::Cancel,
    }
}

/// What a body must be like: a range of one version, in order, without gaps, and not more.
struct Checks {
    if_match: ETag,
    /// What is still to come.
    rest: Range<u64>,
    /// Bytes whose HTTP request has not yet shown its ETag.
    waiting: Vec<(u64, Bytes)>,
    /// The first refusal; everything after it is refused too.
    refused: Option<Refusal>,
}

/// Why a body cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refusal {
    kind: ErrorKind,
    reason: &'static str,
}

impl Checks {
    fn new(range: Range<u64>, if_match: ETag) -> Self {
        Self {
            if_match: etag(&if_match.text()),
            rest: range,
            waiting: Vec::new(),
            refused: None,
        }
    }

    /// Checks the `ETag` of an answer.
    fn tag(&mut self, tag: Option<&str>) -> Result<(), Refusal> {
        match tag.map(etag) {
            Some(tag) if tag == self.if_match => self.so_far(),
            Some(_) => self.refuse(ErrorKind::Precondition, "the object was replaced"),
            None => self.refuse(ErrorKind::Protocol, "the answer has no ETag"),
        }
    }

    /// Checks the `Content-Range` of the answer whose bytes wait. The CRT does so only where the
    /// header's name is written like this.
    fn range(&mut self, range: Option<&str>) -> Result<(), Refusal> {
        let Some((first, _)) = self.waiting.first() else {
            return self.so_far();
        };
        let bytes = format!("bytes {first}-{}/", self.rest.start - 1);
        match range {
            Some(range) if range.starts_with(&bytes) => self.so_far(),
            Some(_) => self.refuse(ErrorKind::Protocol, "the answer is another range"),
            None => self.refuse(ErrorKind::Protocol, "the answer has no Content-Range"),
        }
    }

    /// Takes bytes that wait for the ETag of their answer.
    fn body(&mut self, offset: u64, bytes: Bytes) -> Result<(), Refusal> {
        self.so_far()?;
        if offset != self.rest.start {
            return self.refuse(ErrorKind::Protocol, "the body has a gap");
        }
        let length = bytes.len() as u64;
        if length > self.rest.end - self.rest.start {
            return self.refuse(ErrorKind::Protocol, "the body is too long");
        }
        self.rest.start += length;
        self.waiting.push((offset, bytes));
        Ok(())
    }

    /// Whether bytes wait for the ETag of the part that begins at `start`. Other parts may fail
    /// and be reported meanwhile.
    fn waits_for(&self, start: u64) -> bool {
        let first = self.waiting.first();
        first.is_some_and(|(offset, _)| *offset == start)
    }

    /// Says whether everything was right, after the last event. Drops what was not handed on.
    fn end(&mut self, complete: bool) -> Result<(), Refusal> {
        let unconfirmed = !std::mem::take(&mut self.waiting).is_empty();
        self.so_far()?;
        if complete && unconfirmed {
            return self.refuse(ErrorKind::Protocol, "the body's version is not known");
        }
        if complete && !self.rest.is_empty() {
            return self.refuse(ErrorKind::Protocol, "the body is too short");
        }
        Ok(())
    }

    fn so_far(&self) -> Result<(), Refusal> {
        self.refused.map_or(Ok(()), Err)
    }

    fn refuse(&mut self, kind: ErrorKind, reason: &'static str) -> Result<(), Refusal> {
        let refusal = self.refused.get_or_insert(Refusal { kind, reason });
        self.waiting.clear();
        Err(*refusal)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Checks, Refusal};
    use crate::s3::{ETag, ErrorKind};

    fn checks() -> Checks {
        Checks::new(10..16, ETag::new("\"v1\""))
    }

    fn kind(checked: Result<(), Refusal>) -> Option<ErrorKind> {
        checked.err().map(|refusal| refusal.kind)
    }

    const PART: Bytes = Bytes::from_static(b"abc");

    #[test]
    fn a_whole_body_of_the_version_is_right() {
        let mut checks = checks();
        for offset in [10, 13] {
            assert!(!checks.waits_for(offset));
            assert_eq!(checks.body(offset, PART), Ok(()));
            assert!(checks.waits_for(offset) && !checks.waits_for(offset + 3));
            assert_eq!(checks.tag(Some("\"v1\"")), Ok(()));
            assert_eq!(std::mem::take(&mut checks.waiting), [(offset, PART)]);
        }
        assert_eq!(checks.end(true), Ok(()));
    }

    #[test]
    fn an_etag_without_quotes_is_the_same() {
        assert_eq!(checks().tag(Some("v1")), Ok(()));
    }

    #[test]
    fn a_part_of_another_version_is_never_handed_on() {
        let mut checks = checks();
        assert_eq!(checks.body(10, PART), Ok(()));
        let refused = checks.tag(Some("\"v2\""));
        assert_eq!(kind(refused), Some(ErrorKind::Precondition));
        assert!(checks.waiting.is_empty());
        let next = checks.body(13, PART);
        assert_eq!(kind(next), Some(ErrorKind::Precondition));
        assert_eq!(kind(checks.end(false)), Some(ErrorKind::Precondition));
    }

    #[test]
    fn a_body_of_the_wrong_shape_is_refused() {
        let refused = checks().body(11, PART);
        assert_eq!(kind(refused), Some(ErrorKind::Protocol));
        let long = Bytes::from_static(b"1234567");
        let refused = checks().body(10, long);
        assert_eq!(kind(refused), Some(ErrorKind::Protocol));
        assert_eq!(kind(checks().end(true)), Some(ErrorKind::Protocol));
        assert_eq!(kind(checks().tag(None)), Some(ErrorKind::Protocol));
    }

    #[test]
    fn a_part_of_another_range_is_never_handed_on() {
        let ranges = [
            "bytes 11-13/99",
            "bytes 10-13/99",
            "bytes 10-1",
            "",
            "10-12/99",
        ];
        for range in ranges.map(Some).into_iter().chain([None]) {
            let mut checks = checks();
            assert_eq!(checks.body(10, PART), Ok(()));
            assert_eq!(kind(checks.range(range)), Some(ErrorKind::Protocol));
            assert!(checks.waiting.is_empty(), "{range:?}");
        }
        let mut checks = checks();
        for (offset, range) in [(10, "bytes 10-12/99"), (13, "bytes 13-15/*")] {
            assert_eq!(checks.body(offset, PART), Ok(()));
            assert_eq!(checks.range(Some(range)), Ok(()));
            checks.waiting.clear();
        }
    }

    #[test]
    fn an_end_before_the_etag_is_known_is_refused() {
        let mut checks = checks();
        assert_eq!(checks.body(10, Bytes::from_static(b"abcdef")), Ok(()));
        assert_eq!(kind(checks.end(true)), Some(ErrorKind::Protocol));
    }

    #[test]
    fn a_failure_of_the_request_is_no_refusal() {
        let mut checks = checks();
        assert_eq!(checks.body(10, PART), Ok(()));
        assert_eq!(checks.end(false), Ok(()));
    }
}
