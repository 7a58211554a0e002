//! Which bodies are on their way to this node now.
//!
//! Promises that a body is written by one arrival at a time, so that one that fails can
//! delete what it wrote without taking another's bytes along. Bounded by the streams
//! that the peer listener allows. Leaves the writing to `serve` and `repair`.

use crate::domain::ids::BodyId;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct InboundBodies(Arc<Mutex<HashSet<BodyId>>>);

/// One arrival; over when it is dropped.
pub struct InboundGuard {
    all: InboundBodies,
    body: BodyId,
}

impl InboundBodies {
    /// `None` while the same body arrives already.
    pub fn enter(&self, body: BodyId) -> Option<InboundGuard> {
        let entered = self.lock().insert(body);
        entered.then(|| InboundGuard {
            all: self.clone(),
            body,
        })
    }

    pub fn has(&self, body: BodyId) -> bool {
        self.lock().contains(&body)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<BodyId>> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl Drop for InboundGuard {
    fn drop(&mut self) {
        self.all.lock().remove(&self.body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_arrives_once_at_a_time() {
        let inbound = InboundBodies::default();
        let first = inbound.enter(BodyId::new([1; 16]));
        assert!(first.is_some());
        assert!(inbound.enter(BodyId::new([1; 16])).is_none());
        assert!(inbound.enter(BodyId::new([2; 16])).is_some());
        drop(first);
        assert!(inbound.enter(BodyId::new([1; 16])).is_some());
    }
}
