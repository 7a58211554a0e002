//! One body on its way in: stored here and, while still arriving, at the other voters.
//!
//! Promises: `finish` returns when the holdings meet the level, and no sooner; each was
//! verified here, this node's own too, so that none is numbered that would be refused; holders
//! that are slower go on in the background; a peer that stalls is given up for this
//! body rather than holding the client up, and a client that is faster than disk and peers
//! is held up rather than filling memory. Nothing is kept of an upload that is dropped.
//! Tests: `tests/sim/main.rs`, `tests/cluster/bodies.rs`.

use super::disk_budget::DiskReservation;
use super::fanout::{Fanout, FanoutAnswer, routes};
use super::frames::{BodyHeader, encode_end, encode_piece};
use super::inbound::InboundGuard;
use super::queue::{LOOK_EVERY, STALL_MAX};
use super::writer::BodyWriter;
use super::{Bodies, BodyError, SealedBody};
use crate::domain::ids::{BodyId, NodeId, UploadEpoch};
use crate::misconduct::{Misconduct, Misdeed};
use crate::objective::write::{LevelMember, WriteLevel, meets};
use crate::recorder::holdings::HoldingVerifier;
use crate::store::bodies::BodyStore;
use bytes::Bytes;
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::Holding;
use std::time::Duration;
use tokio::time::Instant;

/// How long a piece may wait for memory: longer than it takes to give up stalled peers.
const INGEST_MAX: Duration = Duration::from_secs(20);

/// Peers that take nothing are given up before a client's piece is.
const _: () = assert!(INGEST_MAX.as_millis() > STALL_MAX.as_millis() + LOOK_EVERY.as_millis());

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
    epoch: UploadEpoch,
    writer: BodyWriter,
    unsealed: Unsealed,
    peers: Fanout,
}

/// Bytes that are here and not yet a body; dropped, they are deleted.
struct Unsealed {
    store: BodyStore,
    id: BodyId,
    /// Kept until the body is sealed or forgotten: it is not collected meanwhile. `None`
    /// once there is nothing to delete.
    guard: Option<InboundGuard>,
}

impl Bodies {
    /// Begins an upload and its fan-out.
    pub async fn begin(&self, reservation: DiskReservation) -> Result<BodyUpload, BodyError> {
        let head = self.group.applied();
        let id = self.clock.uuid_v7();
        let header = BodyHeader {
            ledger: head.ledger,
            body_id: BodyId::new(id),
            epoch: head.upload_epoch,
            relays: Vec::new(),
        };
        let Some(guard) = self.inbound.enter(BodyId::new(id)) else {
            return Err(BodyError::IdDrawnTwice);
        };
        let members = self.group.status().members;
        let routes = routes(
            self.holder.node,
            &self.holder.region,
            &members,
            &BodyId::new(id),
        );
        let writer = BodyWriter::new(
            self.store.clone(),
            self.blocking,
            BodyId::new(id),
            reservation,
        );
        Ok(BodyUpload {
            writer: writer.stamped(head.upload_epoch),
            unsealed: Unsealed {
                store: self.store.clone(),
                id: BodyId::new(id),
                guard: Some(guard),
            },
            peers: self.fan_out(&header, routes),
            bodies: self.clone(),
            ledger: head.ledger,
            epoch: head.upload_epoch,
        })
    }
}

impl BodyUpload {
    pub fn length(&self) -> u64 {
        self.writer.length()
    }

    pub async fn push(&mut self, piece: Bytes) -> Result<(), BodyError> {
        let taken = tokio::time::timeout(INGEST_MAX, self.bodies.ingest.take_in(piece.len()));
        let Ok(Some(held)) = taken.await else {
            return Err(BodyError::Unavailable(
                "as much as it may is on its way here".into(),
            ));
        };
        let frame = encode_piece(&piece);
        let sending = self.peers.push(&frame, Some(&held));
        let (stored, ()) = futures::join!(self.writer.push(&piece), sending);
        Ok(stored?)
    }

    /// Checks length and digest with `accept`, then waits until enough holders have
    /// signed, or until then. A refusal of `accept` leaves nothing behind anywhere.
    pub async fn finish<E>(
        self,
        level: WriteLevel,
        until: Instant,
        accept: impl FnOnce(u64, Digest) -> Result<(), E>,
    ) -> Result<Result<StoredBody, E>, BodyError> {
        let BodyUpload {
            bodies,
            ledger,
            epoch,
            mut writer,
            unsealed,
            mut peers,
        } = self;
        let digest = writer.digest().await?;
        if let Err(refusal) = accept(writer.length(), digest) {
            // Without an end frame the peers forget it too.
            unsealed.forget().await;
            return Ok(Err(refusal));
        }
        // Each peer compares its own digest with this one before it signs.
        let end = Bytes::from(encode_end(writer.length(), Some(&digest)));
        peers.end(&end);
        let guard = unsealed.keep();
        let body = writer.seal(epoch).await?;
        drop(guard);
        let wanted = Wanted {
            verifier: bodies.holdings.clone(),
            misconduct: bodies.group.misconduct().clone(),
            level,
            until,
            members: bodies.members(),
            body,
        };
        let own = bodies.sign(ledger, &body, epoch);
        let holdings = wanted.gather(&mut peers, own).await?;
        Ok(Ok(StoredBody { body, holdings }))
    }
}

/// What holdings are collected for.
struct Wanted {
    verifier: HoldingVerifier,
    misconduct: Misconduct,
    level: WriteLevel,
    until: Instant,
    members: Vec<LevelMember>,
    body: SealedBody,
}

/// Holdings that count, and why the last one that does not was left out.
#[derive(Default)]
struct Gathered {
    holdings: Vec<Holding>,
    why: String,
}

impl Gathered {
    fn nodes(&self) -> Vec<NodeId> {
        self.holdings.iter().map(|holding| holding.node).collect()
    }
}

impl Wanted {
    /// Waits for the holdings that meet the level; `own` is looked at first.
    async fn gather(&self, peers: &mut Fanout, own: Holding) -> Result<Vec<Holding>, BodyError> {
        let mut gathered = Gathered::default();
        let collecting = self.collect(peers, own, &mut gathered);
        // In time, and not broken: else what there is by then decides.
        if let Ok(collected) = tokio::time::timeout_at(self.until, collecting).await {
            collected?;
        }
        let held = gathered.nodes();
        if meets(self.level, &self.members, &held) {
            return Ok(gathered.holdings);
        }
        let others = self.members.iter().map(|member| member.node);
        let others: Vec<NodeId> = others.filter(|node| !held.contains(node)).collect();
        let why = format!("nodes {others:?} have not signed{}", gathered.why);
        Err(BodyError::TooFewHolders { held, why })
    }

    async fn collect(
        &self,
        peers: &mut Fanout,
        own: Holding,
        gathered: &mut Gathered,
    ) -> Result<(), BodyError> {
        self.take(own.node, own, gathered).await?;
        while !meets(self.level, &self.members, &gathered.nodes()) {
            match peers.next().await {
                None => return Ok(()),
                Some(FanoutAnswer::Holding { via, holding }) if of(&holding, &self.body) => {
                    self.take(via, *holding, gathered).await?;
                }
                Some(FanoutAnswer::Holding { via, .. }) => {
                    let why = "it signed for another body than it was sent";
                    self.misconduct.saw(via, Misdeed::BadHolding, &why);
                    gathered.why = format!("; node {via} signed for something else");
                }
                Some(FanoutAnswer::Failed { via, failure }) => {
                    gathered.why = format!("; node {via}: {failure}");
                }
            }
        }
        Ok(())
    }

    /// Takes a holding that the ledger will take, once.
    async fn take(
        &self,
        via: NodeId,
        holding: Holding,
        gathered: &mut Gathered,
    ) -> Result<(), BodyError> {
        let node = holding.node;
        match self.verifier.verify(holding).await? {
            Ok(holding) if !gathered.nodes().contains(&node) => gathered.holdings.push(holding),
            Ok(_) => {}
            Err(fault) => {
                tracing::error!(node = node.get(), %fault, "a holding does not count");
                // Of one that a relay passed on it is not known who spoilt it.
                if via == node && fault.is_misdeed() {
                    self.misconduct.saw(node, Misdeed::BadHolding, &fault);
                }
                gathered.why = format!("; the holding of node {node} does not count: {fault}");
            }
        }
        Ok(())
    }
}

impl Unsealed {
    /// The bytes become a body now: they stay, guarded for as long as what is returned.
    fn keep(mut self) -> Option<InboundGuard> {
        self.guard.take()
    }

    /// Deletes the bytes; peers forget theirs when they see no end.
    async fn forget(mut self) {
        if let Some(guard) = self.guard.take() {
            delete(self.store.clone(), self.id, guard).await;
        }
    }
}

impl Drop for Unsealed {
    /// A client that goes away midway leaves nothing.
    fn drop(&mut self) {
        if let (Some(guard), Ok(runtime)) =
            (self.guard.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(delete(self.store.clone(), self.id, guard));
        }
    }
}

async fn delete(store: BodyStore, id: BodyId, guard: InboundGuard) {
    if let Err(error) = store.delete(id).await {
        tracing::warn!(%error, "an abandoned upload stays as an orphan");
    }
    drop(guard);
}

fn of(holding: &Holding, body: &SealedBody) -> bool {
    holding.body_id == body.id
        && holding.sha256 == body.sha256
        && holding.chunk_root == body.chunk_root
        && holding.length == body.length
}
