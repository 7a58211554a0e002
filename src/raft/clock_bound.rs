//! Entries of a time that has not come: not taken in, and told to who proposed them.
//!
//! Promises: no entry whose time is more than [`clock::AHEAD_MAX`] ahead of this node's clock is
//! appended or acknowledged here, as if the message had been lost, so that a majority of clocks
//! stands behind the time of every committed record. Whoever sent it is told, at most once a
//! second; a leader that so many voters tell that none of its entries can be committed leads no
//! longer: it falls silent until another leads or they fall silent themselves. It cannot hand
//! over, since nobody has what it has appended. Leaves which clock is off to
//! `status/clock_health`.

use super::group::RaftGroup;
use super::types::{EntryPayload, TypeConfig};
use crate::domain::cause::Cause;
use crate::domain::command::Command;
use crate::domain::ids::{NodeId, Term};
use crate::misconduct::Misdeed;
use crate::objective::clock;
use crate::sync::Shared;
use crate::transport::{Class, Failure, Method};
use bytes::Bytes;
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use openraft::raft::AppendEntriesRequest;
use openraft::vote::RaftLeaderId as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Between two notices to a leader: it sends again several times a second.
const NOTICE_EVERY: Duration = Duration::from_secs(1);
/// A notice says nothing about now after this: three that were lost.
const NOTICE_FRESH_MAX: Duration = Duration::from_secs(4);
/// How long telling may take.
const TELL_MAX: Duration = Duration::from_secs(1);
/// Between two looks whether it must still be silent.
const SILENCE_LOOK: Duration = Duration::from_millis(100);

/// What of clocks concerns Raft. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct ClockBound(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// By how much this node's clock is ahead of the median of those it knows.
    ahead_of_median_ms: Shared<Option<i64>>,
    refused: AtomicU64,
    told_at: Shared<Option<Instant>>,
    notices: Shared<ClockNotices>,
    silent: AtomicBool,
}

/// Who told this node that its entries are ahead, in which term, and when last.
#[derive(Default)]
struct ClockNotices(BTreeMap<NodeId, (Term, Instant)>);

impl ClockNotices {
    fn take(&mut self, from: NodeId, term: Term, now: Instant) {
        self.0.insert(from, (term, now));
    }

    /// Whether those who tell so are so many that without them nothing is committed.
    fn leave_no_majority(&self, voters: &[NodeId], term: Term, now: Instant) -> bool {
        let told = voters.iter().filter(|voter| {
            let told = self.0.get(voter);
            told.is_some_and(|(of, at)| *of == term && now.duration_since(*at) <= NOTICE_FRESH_MAX)
        });
        let left = voters.len() - told.count();
        left <= voters.len() / 2
    }
}

fn decode_notice(bytes: &[u8]) -> Result<(Term, u64), DecodeError> {
    let mut r = Reader::new(bytes);
    if r.u8()? != 1 {
        return Err(r.error("a clock notice of version 1"));
    }
    let read = (Term::new(r.u64()?), r.u64()?);
    r.end()?;
    Ok(read)
}

fn encode_notice(term: Term, ahead_ms: u64) -> Bytes {
    let mut w = Writer::new();
    w.u8(1).u64(term.get()).u64(ahead_ms);
    Bytes::from(w.finish())
}

/// By how much the entries of a request are ahead of `now_ms`, at most, if that is too much.
fn ahead_ms(request: &AppendEntriesRequest<TypeConfig>, now_ms: u64) -> Option<u64> {
    let times = request.entries.iter().filter_map(|entry| {
        let EntryPayload::Normal(payload) = &entry.payload else {
            return None;
        };
        // What is no command has no time; apply makes nothing of it.
        Command::proposed_at_ms(&payload.0)
    });
    clock::too_far_ahead(times.max()?, now_ms)
}

impl RaftGroup {
    /// Append messages that were not taken in for their time, since the start.
    pub fn refused_for_time(&self) -> u64 {
        self.clock_bound.0.refused.load(Ordering::Relaxed)
    }

    /// What `status/` has found: by how much this node's clock is ahead of the median.
    pub fn note_clock(&self, ahead_of_median_ms: Option<i64>) {
        *self.clock_bound.0.ahead_of_median_ms.lock() = ahead_of_median_ms;
    }

    /// By how many ms this node's clock is ahead of the median of those it knows.
    pub fn ahead_of_median_ms(&self) -> Option<i64> {
        *self.clock_bound.0.ahead_of_median_ms.lock()
    }

    /// Takes in no entry of a time that has not come.
    pub(super) fn in_time(
        &self,
        from: NodeId,
        request: &AppendEntriesRequest<TypeConfig>,
    ) -> Result<(), Failure> {
        let Some(ahead_ms) = ahead_ms(request, self.clock.now_ms()) else {
            return Ok(());
        };
        let bound = &self.clock_bound.0;
        bound.refused.fetch_add(1, Ordering::Relaxed);
        let why = format!("its entries are {ahead_ms} ms ahead of this node's clock");
        let due = {
            let (mut told_at, now) = (bound.told_at.lock(), Instant::now());
            let due = told_at.is_none_or(|at| now.duration_since(at) >= NOTICE_EVERY);
            if due {
                *told_at = Some(now);
            }
            due
        };
        if due {
            // A node whose own clock is behind blames nobody; of few nobody can tell.
            let own_is_right = self
                .ahead_of_median_ms()
                .is_some_and(|ahead| !clock::is_off(ahead));
            match own_is_right {
                true => self.misconduct().saw(from, Misdeed::ClockAhead, &why),
                false => {
                    tracing::error!(leader = from.get(), ahead_ms, "entries of a time to come");
                }
            }
            self.tell_ahead(from, Term::new(request.vote.leader_id().term()), ahead_ms);
        }
        Err(Failure::Refused(Cause::from(why)))
    }

    fn tell_ahead(&self, leader: NodeId, term: Term, ahead_ms: u64) {
        let Some(peer) = self.member(leader) else {
            return;
        };
        let (to, transport) = (peer.destination(leader), self.transport.clone());
        let notice = encode_notice(term, ahead_ms);
        tokio::spawn(async move {
            let told = transport.call(to, Class::Control, Method::ClockNotice, notice, TELL_MAX);
            if let Err(failure) = told.await {
                // It sends again, and is told again.
                tracing::debug!(%failure, "a leader was not told that its clock is ahead");
            }
        });
    }

    /// A peer says that this node's entries are of a time to come.
    pub(super) fn told_ahead(&self, from: NodeId, told: &[u8]) -> Result<(), Failure> {
        let told = decode_notice(told).map_err(|error| Failure::Refused(Cause::new(error)))?;
        let (term, ahead_ms) = told;
        tracing::warn!(
            by = from.get(),
            ahead_ms,
            "told that this node's clock is ahead"
        );
        let bound = &self.clock_bound.0;
        bound.notices.lock().take(from, term, Instant::now());
        if self.is_refused_by_most() && !bound.silent.swap(true, Ordering::SeqCst) {
            let group = self.clone();
            tokio::spawn(async move { group.fall_silent().await });
        }
        Ok(())
    }

    /// Whether somebody has told this node so just now, in whatever term.
    pub fn was_told_ahead(&self) -> bool {
        let now = Instant::now();
        let notices = self.clock_bound.0.notices.lock();
        let mut told = notices.0.values();
        told.any(|(_, at)| now.duration_since(*at) <= NOTICE_FRESH_MAX)
    }

    fn is_refused_by_most(&self) -> bool {
        let status = self.status();
        let notices = self.clock_bound.0.notices.lock();
        self.is_leader() && notices.leave_no_majority(&status.voters, status.term, Instant::now())
    }

    /// Leads no longer: without heartbeats the others elect one of them.
    async fn fall_silent(&self) {
        tracing::error!(
            "so many voters find this node's clock ahead that it cannot lead: it leaves the lead"
        );
        self.raft.runtime_config().heartbeat(false);
        self.clock_off(true);
        while self.is_refused_by_most() {
            tokio::time::sleep(SILENCE_LOOK).await;
        }
        self.raft.runtime_config().heartbeat(true);
        self.clock_bound.0.silent.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::clock::AHEAD_MAX;
    use crate::raft::group_tests::{LONG, TestCluster, TestNode, nothing_at};

    #[tokio::test(start_paused = true)]
    async fn a_leader_gives_up_when_without_those_who_tell_it_so_nothing_is_committed() {
        let (term, now) = (Term::new(3), Instant::now());
        for (voters, needed) in [(2u64, 1), (3, 2), (4, 2), (5, 3)] {
            let all: Vec<NodeId> = (1..=voters).map(NodeId::new).collect();
            let mut notices = ClockNotices::default();
            // Neither a stranger nor what was said of another term counts.
            notices.take(NodeId::new(99), term, now);
            for told in 1..=needed {
                notices.take(NodeId::new(told + 1), Term::new(2), now);
                assert!(!notices.leave_no_majority(&all, term, now), "{voters}");
                notices.take(NodeId::new(told + 1), term, now);
            }
            assert!(notices.leave_no_majority(&all, term, now), "{voters}");
            let later = now + NOTICE_FRESH_MAX + Duration::from_millis(1);
            assert!(!notices.leave_no_majority(&all, term, later), "{voters}");
        }
    }

    #[test]
    fn a_notice_reads_back() {
        let notice = encode_notice(Term::new(7), 9);
        assert_eq!(decode_notice(&notice), Ok((Term::new(7), 9)));
        assert!(decode_notice(&notice[1..]).is_err());
    }

    async fn propose(group: &RaftGroup) -> crate::domain::ids::LogIndex {
        let queued = group.queue(nothing_at(1)).await.unwrap();
        queued.done().await.unwrap().raft_index
    }

    /// A leader whose clock is years ahead would date every later record by years. Its entries are
    /// like lost messages, and another leads, whose time the others share.
    #[tokio::test(start_paused = true)]
    async fn entries_of_a_time_to_come_are_committed_by_nobody_and_their_leader_leaves() {
        let cluster = TestCluster::start(3).await;
        let old = cluster.leader().await;
        let group = &cluster.node(old).group;
        let bound_ms = AHEAD_MAX.as_millis() as u64;
        let now_ms = cluster.node(old).clock.now_ms();
        // Within the bound nothing is lost.
        let near = group
            .queue(nothing_at(now_ms + bound_ms / 2))
            .await
            .unwrap();
        near.done().await.unwrap();
        let far = group
            .queue(nothing_at(now_ms + 1000 * bound_ms))
            .await
            .unwrap();
        let new = cluster.leader_of(|node| node != old).await;
        assert!(far.done().await.is_err(), "it was never committed");
        let index = propose(&cluster.node(new).group).await;
        assert!(cluster.node(old).group.wait_applied(index, LONG).await);
        assert_eq!(cluster.leader().await, new);
        let refused = |node: &&TestNode| node.group.refused_for_time() > 0;
        assert_eq!(cluster.nodes.iter().filter(refused).count(), 2);
    }

    /// Whose clock is behind takes in nothing for as long as that is so, and stops nobody.
    #[tokio::test(start_paused = true)]
    async fn one_follower_that_finds_entries_ahead_stops_nobody() {
        let cluster = TestCluster::start(3).await;
        let leader = cluster.leader().await;
        let group = &cluster.node(leader).group;
        let term = group.status().term;
        let follower = cluster.another(leader);
        for _ in 0..3 {
            let notice = encode_notice(term, 1);
            let from = NodeId::new(follower);
            group
                .serve_call(from, Method::ClockNotice, notice)
                .await
                .unwrap();
            propose(group).await;
        }
        assert_eq!(
            (cluster.leader().await, group.status().term),
            (leader, term)
        );
    }
}
