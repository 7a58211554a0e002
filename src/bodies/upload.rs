//! One body on its way in: stored here and, while still arriving, at the other voters.
//!
//! Promises: `finish` returns when the holdings meet the level, and no sooner; holders
//! that are slower go on in the background; a peer that stalls is given up for this
//! body rather than holding the client up. Nothing is kept of an upload that is dropped.

use super::serve::{Header, encode_end, encode_piece};
use super::writer::BodyWriter;
use super::{Bodies, Error, Sealed};
use crate::objective::write::{WriteLevel, meets};
use crate::transport::{Class, Failure, Method};
use bytes::Bytes;
use futures::stream::StreamExt as _;
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::Holding;
use std::time::Duration;
use tokio::sync::mpsc;

/// Pieces that may wait for one peer: bounds memory per upload and peer to this many MiB.
const PIECES_AHEAD: usize = 4;
/// A peer that takes no piece for this long is given up for this body.
const STALL_MAX: Duration = Duration::from_secs(2);
/// A holding must come within this time after the last piece.
const HOLDING_MAX: Duration = Duration::from_secs(20);

/// What an upload came to.
pub struct Stored {
    pub body: Sealed,
    /// Enough to meet the level.
    pub holdings: Vec<Holding>,
}

/// See the module.
pub struct Upload {
    bodies: Bodies,
    ledger: Digest,
    epoch: u64,
    writer: Option<BodyWriter>,
    peers: Vec<mpsc::Sender<Bytes>>,
    holdings: mpsc::Receiver<(u64, Result<Holding, Failure>)>,
    asked: usize,
}

impl Bodies {
    /// Begins an upload and its fan-out.
    pub async fn begin(&self) -> Result<Upload, Error> {
        let head = self.group.applied();
        let id = self.clock.uuid_v7();
        let header = Header {
            ledger: head.ledger,
            body_id: id,
            epoch: head.upload_epoch,
        };
        let header = Bytes::from(header.encode());
        let (report, holdings) = mpsc::channel(64);
        let mut peers = Vec::new();
        for (node, peer) in self.group.status().members {
            if node == self.node {
                continue;
            }
            let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
            let head = futures::stream::iter([header.clone()]);
            let frames = head.chain(tokio_stream::wrappers::ReceiverStream::new(receiver));
            let opening =
                self.transport
                    .stream(peer.address, Class::Bulk, Method::PutBody, frames.boxed());
            let report = report.clone();
            tokio::spawn(async move {
                let holding = async {
                    let mut answers = opening.await?;
                    match answers.next().await {
                        Some(Ok(bytes)) => Holding::decode(&bytes)
                            .map_err(|error| Failure::Refused(error.to_string())),
                        Some(Err(failure)) => Err(failure),
                        None => Err(Failure::Refused("ended without a holding".into())),
                    }
                };
                // The upload may have been answered already: this holder came later.
                let _ = report.send((node, holding.await)).await;
            });
            peers.push(sender);
        }
        Ok(Upload {
            asked: peers.len(),
            writer: Some(BodyWriter::new(self.store.clone(), self.blocking, id)),
            bodies: self.clone(),
            ledger: head.ledger,
            epoch: head.upload_epoch,
            peers,
            holdings,
        })
    }
}

impl Upload {
    pub fn length(&self) -> u64 {
        self.writer.as_ref().map_or(0, BodyWriter::length)
    }

    pub async fn push(&mut self, piece: Bytes) -> Result<(), Error> {
        if let Some(writer) = &mut self.writer {
            let frame = encode_piece(&piece);
            let sending = self.peers.iter().map(|peer| {
                let piece = frame.clone();
                async move {
                    let sent = tokio::time::timeout(STALL_MAX, peer.send(piece)).await;
                    matches!(sent, Ok(Ok(())))
                }
            });
            let (stored, sent) =
                futures::join!(writer.push(&piece), futures::future::join_all(sending));
            stored?;
            let mut sent = sent.into_iter();
            self.peers.retain(|_| sent.next() == Some(true));
        }
        Ok(())
    }

    /// Checks length and digest with `accept`, then waits until enough holders have
    /// signed. A refusal of `accept` leaves nothing behind anywhere.
    pub async fn finish<E>(
        mut self,
        level: WriteLevel,
        accept: impl FnOnce(u64, Digest) -> Result<(), E>,
    ) -> Result<Result<Stored, E>, Error> {
        let Some(writer) = &mut self.writer else {
            return Err(Error::Broken("an upload is finished once".into()));
        };
        let digest = writer.digest().await?;
        if let Err(refusal) = accept(writer.length(), digest) {
            // Without an end frame the peers forget it too.
            self.abandon().await;
            return Ok(Err(refusal));
        }
        // Each peer compares its own digest with this one before it signs.
        let end = Bytes::from(encode_end(writer.length(), Some(&digest)));
        for peer in self.peers.drain(..) {
            // Its channel may be full of pieces that are still on their way: the end waits
            // behind them as any piece does, but nobody waits for it here.
            let end = end.clone();
            tokio::spawn(async move {
                // A peer that has stalled is given up: its holding does not come.
                let _ = tokio::time::timeout(STALL_MAX, peer.send(end)).await;
            });
        }
        let Some(writer) = self.writer.take() else {
            return Err(Error::Broken("an upload is finished once".into()));
        };
        let body = writer.seal(self.epoch).await?;
        let own = self.bodies.sign(self.ledger, &body, self.epoch);
        let mut holdings = vec![own];
        let members = self.bodies.members();
        let mut why = String::from("the other voters are not reached");
        let gather = async {
            let mut outstanding = self.asked;
            loop {
                let held: Vec<u64> = holdings.iter().map(|h| h.node).collect();
                if meets(level, &members, &held) {
                    return true;
                }
                if outstanding == 0 {
                    return false;
                }
                let Some((node, holding)) = self.holdings.recv().await else {
                    return false;
                };
                outstanding -= 1;
                match holding {
                    Ok(holding) if holding.node == node && of(&holding, &body) => {
                        holdings.push(holding);
                    }
                    Ok(_) => why = format!("node {node} signed for something else"),
                    Err(failure) => why = format!("node {node}: {failure}"),
                }
            }
        };
        let met = tokio::time::timeout(HOLDING_MAX, gather).await;
        if met == Ok(true) {
            return Ok(Ok(Stored { body, holdings }));
        }
        let held = holdings.iter().map(|h| h.node).collect();
        Err(Error::TooFewHolders { held, why })
    }

    /// Forgets the upload here; peers forget it when they see no end.
    async fn abandon(&mut self) {
        if let Some(writer) = self.writer.take() {
            forget(writer).await;
        }
    }
}

impl Drop for Upload {
    /// A client that goes away midway leaves nothing.
    fn drop(&mut self) {
        if let (Some(writer), Ok(runtime)) =
            (self.writer.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(forget(writer));
        }
    }
}

async fn forget(writer: BodyWriter) {
    if let Err(error) = writer.abandon().await {
        tracing::warn!(%error, "an abandoned upload stays as an orphan");
    }
}

fn of(holding: &Holding, body: &Sealed) -> bool {
    holding.body_id == body.id && holding.sha256 == body.sha256 && holding.length == body.length
}
