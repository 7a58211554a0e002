//! What becomes of posted notes: the leader spreads them, every node keeps some.
//!
//! Promises: a follower gets each note that a majority has cosigned, and again when it has
//! more cosigners, with one message under way per peer, so that a peer that is slow or
//! away gets the newest and no backlog; of each second that had notes the last one is
//! kept. A node that missed notes works. Leaves finding kept notes to
//! [`crate::store::notes`].

use super::messages::encode_notes;
use super::{AGAIN_PAUSE, Cosigned, ROUND_MAX};
use crate::store::notes::Kept;
use crate::transport::{Class, Method};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// One note is kept of each such span.
const KEEP_EVERY: Duration = Duration::from_secs(1);
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

impl Cosigned {
    /// Spreads what this node posts while it leads, one worker for each other member.
    pub(super) async fn spread(&self) {
        let group = &self.0.means.group;
        let mut workers: HashMap<u64, Worker> = HashMap::new();
        let mut office = None;
        loop {
            office = Some(group.leadership_changed(office).await);
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
                    task: tokio::spawn(self.clone().spread_to(node, peer.address)),
                });
            }
        }
    }

    async fn spread_to(self, node: u64, address: String) {
        let means = &self.0.means;
        let mut board = self.0.board.follow();
        // Size to the cosigners of the note that was sent.
        let mut sent: BTreeMap<u64, usize> = BTreeMap::new();
        loop {
            let at_hand = board.borrow_and_update().clone();
            let smallest = at_hand.first().map_or(0, |posted| posted.size);
            sent.retain(|size, _| *size >= smallest);
            let fresh = |size, by| sent.get(size).is_none_or(|sent| sent < by);
            let news: Vec<_> = at_hand
                .iter()
                .filter(|posted| posted.is_agreed && fresh(&posted.size, &posted.cosigners))
                .cloned()
                .collect();
            if !news.is_empty() && means.group.is_leader() {
                let notes: Vec<Arc<str>> = news.iter().map(|n| n.note.clone()).collect();
                let body = Bytes::from(encode_notes(&notes));
                let (class, method) = (Class::Control, Method::Note);
                let to = address.clone();
                // Its own wait for what it has not applied, and the way there and back.
                let limit = 2 * ROUND_MAX;
                match means.transport.call(to, class, method, body, limit).await {
                    Ok(_) => sent.extend(news.iter().map(|n| (n.size, n.cosigners))),
                    Err(failure) => {
                        tracing::debug!(node, %failure, "notes were not taken");
                        tokio::time::sleep(RETRY_PAUSE).await;
                        continue;
                    }
                }
                continue;
            }
            if board.changed().await.is_err() {
                return;
            }
        }
    }

    /// Keeps the last note of each second that had one.
    pub(super) async fn keep(&self) {
        let means = &self.0.means;
        match means.notes.newest().await {
            Ok(newest) => {
                let size = newest.map_or(0, |kept| kept.size);
                self.0.kept_to.fetch_max(size, Ordering::AcqRel);
            }
            Err(error) => {
                self.storage_failed(&error);
                return;
            }
        }
        let mut kept: Option<Arc<str>> = None;
        let mut each = interval(KEEP_EVERY);
        each.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            each.tick().await;
            let newest = self.0.board.newest().filter(|posted| posted.is_agreed);
            let Some(newest) = newest.filter(|n| Some(&n.note) != kept.as_ref()) else {
                continue;
            };
            let keeping = Kept {
                size: newest.size,
                note: newest.note.to_string(),
            };
            let now_s = means.clock.now_ms() / 1000;
            if let Err(error) = means.notes.keep(keeping, now_s).await {
                self.storage_failed(&error);
                return;
            }
            self.0.kept_to.fetch_max(newest.size, Ordering::AcqRel);
            kept = Some(newest.note.clone());
        }
    }

    /// Tells the leader, maybe this node, that somebody here waits, until nobody does.
    pub(super) async fn forward_wants(&self) {
        let means = &self.0.means;
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
            if means.stop.why().is_some() {
                return;
            }
        }
    }

    async fn forward_want(&self, size: u64) {
        let means = &self.0.means;
        if means.group.is_leader() {
            self.want(size);
            return;
        }
        let Some((_, leader)) = means.group.leader() else {
            return;
        };
        let body = Bytes::from(super::messages::encode_want(size));
        let (class, method) = (Class::Control, Method::WantNote);
        let asked = means
            .transport
            .call(leader.address, class, method, body, ROUND_MAX);
        if let Err(failure) = asked.await {
            tracing::debug!(%failure, "the leader was not asked for a note");
        }
    }
}
