//! What the layers that handle one request know of it together.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::conn::Connection;
use crate::model::Decision;
use crate::object::Blob;

/// One request on its way through the layers; travels in the request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct RequestContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connection: Arc<Connection>,
    target: OnceLock<Target>,
    decision: OnceLock<Decision>,
    body: Mutex<Option<BodyRange>>,
}

/// What the request asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target {
    pub(crate) operation: String,
    pub(crate) bucket: String,
    /// Key, or the prefix of a list.
    pub(crate) key: String,
}

/// Part of an object to send.
#[derive(Debug)]
pub(crate) struct BodyRange {
    pub(crate) blob: Blob,
    pub(crate) range: std::ops::Range<u64>,
}

impl RequestContext {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self(Arc::new(Inner {
            connection,
            target: OnceLock::new(),
            decision: OnceLock::new(),
            body: Mutex::new(None),
        }))
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.0.connection
    }

    pub(crate) fn set_target(&self, target: Target, decision: Decision) {
        // A request passes the gate once.
        let _ = self.0.target.set(target);
        let _ = self.0.decision.set(decision);
    }

    /// `None` for a request refused before its operation was known.
    pub(crate) fn target(&self) -> Option<&Target> {
        self.0.target.get()
    }

    pub(crate) fn decision(&self) -> Option<&Decision> {
        self.0.decision.get()
    }

    /// Answers with part of an object instead of the body in the response.
    pub(crate) fn set_body(&self, body: BodyRange) {
        *self.0.body.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }

    pub(crate) fn take_body(&self) -> Option<BodyRange> {
        self.0
            .body
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}
