//! Who waits for a note at this node, and telling the leader.
//!
//! Promises: while somebody waits, the leader is asked again and again; whoever comes is
//! told to it at once; when nobody waits any more, nothing is asked. Leaves the rounds that
//! this begins to [`super::rounds`].

use super::messages::encode_want;
use super::{AGAIN_PAUSE, Cosigning, ROUND_MAX};
use crate::domain::ids::TreeSize;
use crate::transport::{Class, Method};
use bytes::Bytes;

/// Who waits here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waiting {
    size: TreeSize,
    waiters: usize,
}

/// Counts one who waits for as long as it lives.
pub(super) struct Waiter<'a>(&'a Cosigning);

impl Waiter<'_> {
    pub(super) fn enter(cosigned: &Cosigning, size: TreeSize) -> Waiter<'_> {
        cosigned.0.waiting.send_modify(|waiting| {
            waiting.size = waiting.size.max(size);
            waiting.waiters += 1;
        });
        Waiter(cosigned)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let leave = |waiting: &mut Waiting| {
            waiting.waiters -= 1;
            // Nobody is waiting for what was asked for long ago.
            if waiting.waiters == 0 {
                waiting.size = TreeSize::EMPTY;
            }
            false
        };
        self.0.0.waiting.send_if_modified(leave);
    }
}

impl Cosigning {
    /// Tells the leader, maybe this node, that somebody here waits, until nobody does.
    pub(super) async fn forward_wants(&self) {
        let context = &self.0.context;
        let mut waiting = self.0.waiting.subscribe();
        loop {
            let now = *waiting.borrow_and_update();
            if now.waiters == 0 {
                if waiting.changed().await.is_err() {
                    return;
                }
                continue;
            }
            self.forward_want(now.size).await;
            // Asked again at once for a newcomer, else while somebody still waits.
            let _ = tokio::time::timeout(AGAIN_PAUSE, waiting.changed()).await;
            if context.stop.why().is_some() {
                return;
            }
        }
    }

    async fn forward_want(&self, size: TreeSize) {
        let context = &self.0.context;
        if context.group.is_leader() {
            self.want(size);
            return;
        }
        let Some((node, leader)) = context.group.leader() else {
            return;
        };
        let body = Bytes::from(encode_want(size));
        let (class, method) = (Class::Control, Method::WantNote);
        let asked =
            context
                .transport
                .call(leader.destination(node), class, method, body, ROUND_MAX);
        if let Err(failure) = asked.await {
            tracing::debug!(%failure, "the leader was not asked for a note");
        }
    }
}
