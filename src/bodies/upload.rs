//! One body on its way in: stored here and, while still arriving, at the other voters.
//!
//! Promises: `finish` returns when the holdings meet the level, and no sooner; holders
//! that are slower go on in the background; a peer that stalls is given up for this
//! body rather than holding the client up, and a client that is faster than disk and peers
//! is held up rather than filling memory. Nothing is kept of an upload that is dropped.

use super::disk_budget::DiskReservation;
use super::fanout::{Fanout, FanoutAnswer, routes};
use super::inbound::InboundGuard;
use super::serve::{BodyHeader, encode_end, encode_piece};
use super::writer::BodyWriter;
use super::{Bodies, BodyError, SealedBody};
use crate::objective::write::{WriteLevel, meets};
use bytes::Bytes;
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::Holding;
use std::time::Duration;
use tokio::time::Instant;

/// How long a piece may wait for memory: longer than it takes to give up stalled peers.
const INGEST_MAX: Duration = Duration::from_secs(20);

/// What an upload came to.
pub struct StoredBody {
    pub body: SealedBody,
    /// Enough to meet the level.
    pub holdings: Vec<Holding>,
}

/// See the module.
pub struct BodyUpload {
    bodies: Bodies,
    ledger: Digest,
    epoch: u64,
    writer: Option<BodyWriter>,
    /// Kept until the body is sealed or forgotten: it is not collected meanwhile.
    guard: Option<InboundGuard>,
    peers: Fanout,
}

impl Bodies {
    /// Begins an upload and its fan-out.
    pub async fn begin(&self, reservation: DiskReservation) -> Result<BodyUpload, BodyError> {
        let head = self.group.applied();
        let id = self.clock.uuid_v7();
        let header = BodyHeader {
            ledger: head.ledger,
            body_id: id,
            epoch: head.upload_epoch,
            relays: Vec::new(),
        };
        let Some(guard) = self.inbound.enter(id) else {
            return Err(BodyError::Broken("a body id was drawn twice".into()));
        };
        let members = self.group.status().members;
        let routes = routes(self.node, &self.region, &members, &id);
        let writer = BodyWriter::new(self.store.clone(), self.blocking, id, reservation);
        Ok(BodyUpload {
            writer: Some(writer.stamped(head.upload_epoch)),
            guard: Some(guard),
            peers: self.fan_out(&header, routes),
            bodies: self.clone(),
            ledger: head.ledger,
            epoch: head.upload_epoch,
        })
    }
}

impl BodyUpload {
    pub fn length(&self) -> u64 {
        self.writer.as_ref().map_or(0, BodyWriter::length)
    }

    pub async fn push(&mut self, piece: Bytes) -> Result<(), BodyError> {
        if let Some(writer) = &mut self.writer {
            let taken = tokio::time::timeout(INGEST_MAX, self.bodies.ingest.take_in(piece.len()));
            let Ok(Some(held)) = taken.await else {
                return Err(BodyError::Unavailable(
                    "as much as it may is on its way here".into(),
                ));
            };
            let frame = encode_piece(&piece);
            let sending = self.peers.push(&frame, Some(&held));
            let (stored, ()) = futures::join!(writer.push(&piece), sending);
            stored?;
        }
        Ok(())
    }

    /// Checks length and digest with `accept`, then waits until enough holders have
    /// signed, or until then. A refusal of `accept` leaves nothing behind anywhere.
    pub async fn finish<E>(
        mut self,
        level: WriteLevel,
        until: Instant,
        accept: impl FnOnce(u64, Digest) -> Result<(), E>,
    ) -> Result<Result<StoredBody, E>, BodyError> {
        let Some(writer) = &mut self.writer else {
            return Err(BodyError::Broken("an upload is finished once".into()));
        };
        let digest = writer.digest().await?;
        if let Err(refusal) = accept(writer.length(), digest) {
            // Without an end frame the peers forget it too.
            self.abandon().await;
            return Ok(Err(refusal));
        }
        // Each peer compares its own digest with this one before it signs.
        let end = Bytes::from(encode_end(writer.length(), Some(&digest)));
        self.peers.end(&end);
        let Some(writer) = self.writer.take() else {
            return Err(BodyError::Broken("an upload is finished once".into()));
        };
        let body = writer.seal(self.epoch).await?;
        self.guard = None;
        let own = self.bodies.sign(self.ledger, &body, self.epoch);
        let mut holdings = vec![own];
        let members = self.bodies.members();
        let mut why = String::new();
        let gather = async {
            loop {
                let held: Vec<u64> = holdings.iter().map(|h| h.node).collect();
                if meets(level, &members, &held) {
                    return true;
                }
                match self.peers.next().await {
                    None => return false,
                    Some(FanoutAnswer::Holding { holding, .. }) if of(&holding, &body) => {
                        if !held.contains(&holding.node) {
                            holdings.push(holding);
                        }
                    }
                    Some(FanoutAnswer::Holding { via, .. }) => {
                        why = format!("; node {via} signed for something else");
                    }
                    Some(FanoutAnswer::Failed { via, failure }) => {
                        why = format!("; node {via}: {failure}");
                    }
                }
            }
        };
        let met = tokio::time::timeout_at(until, gather).await;
        if met == Ok(true) {
            return Ok(Ok(StoredBody { body, holdings }));
        }
        let held: Vec<u64> = holdings.iter().map(|h| h.node).collect();
        let others = members.iter().map(|member| member.node);
        let others: Vec<u64> = others.filter(|node| !held.contains(node)).collect();
        let why = format!("nodes {others:?} have not signed{why}");
        Err(BodyError::TooFewHolders { held, why })
    }

    /// Forgets the upload here; peers forget it when they see no end.
    async fn abandon(&mut self) {
        if let Some(writer) = self.writer.take() {
            forget(writer, self.guard.take()).await;
        }
    }
}

impl Drop for BodyUpload {
    /// A client that goes away midway leaves nothing.
    fn drop(&mut self) {
        if let (Some(writer), Ok(runtime)) =
            (self.writer.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(forget(writer, self.guard.take()));
        }
    }
}

async fn forget(writer: BodyWriter, guard: Option<InboundGuard>) {
    if let Err(error) = writer.abandon().await {
        tracing::warn!(%error, "an abandoned upload stays as an orphan");
    }
    drop(guard);
}

fn of(holding: &Holding, body: &SealedBody) -> bool {
    holding.body_id == body.id && holding.sha256 == body.sha256 && holding.length == body.length
}
