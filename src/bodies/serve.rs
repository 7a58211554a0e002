//! What a holder does for its peers: takes bodies, signs for them, gives them out.
//!
//! Promises: a holding is signed only after this node has booted, and the body was hashed
//! here and is durable here; an upload without its end frame leaves nothing; a body that is held is never
//! written over; a disk that is nearly full takes none; an upload whose epoch has passed
//! is refused, before its first byte and before its seal. A relay passes frames on while
//! they come, and its members' holdings back. Leaves admission of uploads to the node that
//! took them from the client.

use super::Bodies;
use super::fanout::{Fanout, FanoutAnswer};
use super::frames::{BodyFrame, BodyHeader, decode_request, encode_digests};
use super::writer::BodyWriter;
use crate::domain::cause::{AnyError, Cause};
use crate::domain::ids::UploadEpoch;
use crate::ledger::policy;
use crate::transport::{Failure, Frames};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::How;
use std::time::Duration;

/// Without a frame for this long, an incoming body is given up.
const STALL_MAX: Duration = Duration::from_secs(30);
/// The largest body a holder takes from a peer: a bound against a broken peer; the
/// client-facing limit is configured and lower.
const BODY_BYTES_MAX: u64 = 1 << 30;

fn full() -> Failure {
    refused("the disk is nearly full")
}

fn refused(why: impl Into<Box<AnyError>>) -> Failure {
    Failure::Refused(Cause::new(why))
}

impl Bodies {
    /// Takes one body, and passes it on where it is asked to; answers with signed holdings,
    /// its own first.
    pub async fn serve_put(&self, mut frames: Frames) -> Result<Frames, Failure> {
        let header = BodyHeader::decode(&next(&mut frames).await?).map_err(refused)?;
        if self.booted.borrow().is_none() {
            return Err(refused("this node has not booted into the ledger yet"));
        }
        let head = self.group.applied();
        if header.ledger != head.ledger {
            return Err(refused("a body of another ledger"));
        }
        self.take_epoch(header.epoch)?;
        let Some(reservation) = self.disk_budget.reserve(0) else {
            return Err(full());
        };
        // What fails below is deleted: it must be this arrival's alone.
        let Some(_guard) = self.inbound.enter(header.body_id) else {
            return Err(refused("the body is arriving already"));
        };
        let held = self.store.manifest(header.body_id).await.map_err(refused)?;
        if held.is_some() {
            return Err(refused("the body is held here already"));
        }
        if !header.relays.is_empty() {
            tracing::debug!(to = ?header.relays, "passing a body on");
        }
        // Dropped before its end, it makes the others forget the body too.
        let mut relayed = self.fan_out(&header, self.relay_routes(&header.relays));
        let mut writer = BodyWriter::new(
            self.store.clone(),
            self.blocking,
            header.body_id,
            reservation,
        )
        .stamped(header.epoch);
        let received = self.receive(&mut writer, &mut frames, &mut relayed).await;
        let received = received.and_then(|announced| {
            self.take_epoch(header.epoch)?;
            Ok(announced)
        });
        match received {
            Ok(announced) => {
                let body = writer.seal(header.epoch).await.map_err(refused)?;
                if announced.is_some_and(|digest| digest != body.sha256) {
                    self.store.delete(body.id).await.map_err(refused)?;
                    return Err(refused("the bytes differ from their digest"));
                }
                let holding = self.sign(header.ledger, &body, header.epoch);
                let answer = Bytes::from(holding.encode());
                Ok(stream::iter([Ok(answer)])
                    .chain(passed_back(relayed))
                    .boxed())
            }
            Err(failure) => {
                writer.abandon().await.map_err(refused)?;
                Err(failure)
            }
        }
    }

    /// No record may name a body of an epoch that has passed: it would be an orphan.
    fn take_epoch(&self, epoch: UploadEpoch) -> Result<(), Failure> {
        match policy::may_be_named(epoch, self.group.applied().upload_epoch.max(epoch)) {
            true => Ok(()),
            false => Err(refused("an upload of an epoch that has passed")),
        }
    }

    /// Gives out a body that is held here: its digests, then the chunks from one on.
    pub async fn serve_get(&self, mut frames: Frames) -> Result<Frames, Failure> {
        let (body, first) = decode_request(&next(&mut frames).await?).map_err(refused)?;
        let manifest = self.own_manifest(body, None, How::Serve).await;
        let Some(manifest) = manifest.map_err(refused)? else {
            return Err(refused("the body is not held here"));
        };
        let head = stream::iter([Ok(encode_digests(&manifest.chunks))]);
        let this = self.clone();
        let chunks = manifest.chunks.into_iter().enumerate().skip(first as usize);
        let chunks = stream::iter(chunks).then(move |(number, (_, digest))| {
            let this = this.clone();
            async move {
                let number = number as u32;
                match this.own_chunk(body, number, digest, How::Serve).await {
                    Ok(Some(chunk)) => Ok(chunk),
                    Ok(None) => Err(refused("a chunk does not match its digest")),
                    Err(error) => Err(refused(error)),
                }
            }
        });
        Ok(head.chain(chunks).boxed())
    }
}

async fn next(frames: &mut Frames) -> Result<Bytes, Failure> {
    tokio::time::timeout(STALL_MAX, frames.next())
        .await
        .map_err(|_| Failure::Timeout)?
        .ok_or_else(|| refused("the sender ended early"))?
}

impl Bodies {
    /// Takes pieces up to the end frame and passes them on; the digest announced there, if
    /// any.
    async fn receive(
        &self,
        writer: &mut BodyWriter,
        frames: &mut Frames,
        relayed: &mut Fanout,
    ) -> Result<Option<Digest>, Failure> {
        loop {
            let frame = next(frames).await?;
            match BodyFrame::decode(&frame).map_err(refused)? {
                BodyFrame::Piece(piece) => {
                    // How long it will be is known at its end only.
                    if !writer.make_room(piece.len()) {
                        return Err(full());
                    }
                    let (stored, ()) =
                        futures::join!(writer.push(&piece), relayed.push(&frame, None));
                    stored.map_err(refused)?;
                    if writer.length() > BODY_BYTES_MAX {
                        return Err(refused("the body is too long"));
                    }
                }
                BodyFrame::End { length, sha256 } => {
                    if length != writer.length() {
                        return Err(refused("the body is shorter than announced"));
                    }
                    relayed.end(&frame);
                    return Ok(sha256);
                }
            }
        }
    }
}

/// The holdings of those that a relay has passed a body on to, as they come.
fn passed_back(relayed: Fanout) -> Frames {
    let next = |mut relayed: Fanout| async move {
        loop {
            match relayed.next().await? {
                FanoutAnswer::Holding { holding, .. } => {
                    return Some((Ok(Bytes::from(holding.encode())), relayed));
                }
                // Whoever uploads counts what comes: this one does not hold it.
                FanoutAnswer::Failed { via, failure } => {
                    tracing::debug!(node = via.get(), %failure, "a body was not passed on");
                }
            }
        }
    };
    stream::unfold(relayed, next).boxed()
}
