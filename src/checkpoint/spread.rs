//! Notes spread by the leader.
//!
//! Promises: a follower gets each note that a majority has cosigned, and again when it has
//! more cosigners, with one message under way per peer, so that a peer that is slow or
//! away gets the newest and no backlog. A node that missed notes works.

use super::messages::{NOTES_SENT_MAX, encode_notes};
use super::{Cosigning, ROUND_MAX};
use crate::domain::ids::{NodeId, TreeSize};
use crate::supervise::{self, Life};
use crate::transport::{Class, Destination, Method};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Pause after a peer did not take notes.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// A task that ends with its owner.
struct Worker {
    address: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cosigning {
    /// Spreads what this node posts while it leads, one worker for each other member.
    pub(super) async fn spread(&self) {
        let group = &self.0.context.group;
        let mut workers: BTreeMap<NodeId, Worker> = BTreeMap::new();
        let mut leadership = None;
        loop {
            leadership = Some(group.leadership_changed(leadership).await);
            let members = group.status().members;
            workers.retain(|node, worker| {
                let member = members.get(node);
                member.is_some_and(|peer| peer.address == worker.address)
            });
            for (node, peer) in members {
                if node == group.node() {
                    continue;
                }
                workers.entry(node).or_insert_with(|| Worker {
                    address: peer.address.clone(),
                    task: supervise::keep(
                        &self.0.context.stop,
                        Life::UntilUnused,
                        "the notes to a member",
                        self.clone().spread_to(node, peer.address),
                    ),
                });
            }
        }
    }

    async fn spread_to(self, node: NodeId, address: String) {
        let context = &self.0.context;
        let mut following = self.0.recent.follow();
        // Size to the cosigners of the note that was sent.
        let mut sent: BTreeMap<TreeSize, usize> = BTreeMap::new();
        loop {
            let recent = following.borrow_and_update().clone();
            let smallest = recent.first().map_or(TreeSize::EMPTY, |posted| posted.size);
            sent.retain(|size, _| *size >= smallest);
            let fresh = |size, by| sent.get(size).is_none_or(|sent| sent < by);
            let mut news: Vec<_> = recent
                .iter()
                .filter(|posted| posted.is_agreed && fresh(&posted.size, &posted.cosigners))
                .cloned()
                .collect();
            // The newest of them; the others come next, if they are still news then.
            news.drain(..news.len().saturating_sub(NOTES_SENT_MAX));
            if !news.is_empty() && context.group.is_leader() {
                let notes: Vec<Arc<str>> = news.iter().map(|n| n.note.clone()).collect();
                let body = Bytes::from(encode_notes(&notes));
                let (class, method) = (Class::Control, Method::Note);
                let to = Destination {
                    node,
                    address: address.clone(),
                };
                // Its own wait for what it has not applied, and the way there and back.
                let limit = 2 * ROUND_MAX;
                match context.transport.call(to, class, method, body, limit).await {
                    Ok(_) => sent.extend(news.iter().map(|n| (n.size, n.cosigners))),
                    Err(failure) => {
                        tracing::debug!(node = node.get(), %failure, "notes were not taken");
                        tokio::time::sleep(RETRY_PAUSE).await;
                        continue;
                    }
                }
                continue;
            }
            if following.changed().await.is_err() {
                return;
            }
        }
    }
}
