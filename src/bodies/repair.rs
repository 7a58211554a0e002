//! Repair: bodies that are missing or damaged here, brought from other holders.
//!
//! Promises: a body is in the queue once; some are fetched at a time, at a bounded rate;
//! of a damaged body only what is bad travels; each chunk is compared with its digest, and
//! a body without a manifest as a whole with the digest that its record names. Good bytes
//! are durable before the body counts as held. While a body that a record names is
//! damaged here, [`super::repair_queue::RepairQueue::low_watermark`] holds the body-complete index below that record. What
//! no holder has is asked for again and again, until an operator says that it is lost. Leaves finding damage to
//! [`super::quarantine`] and what is missing to [`super::complete`].
//! Tests: `tests/cluster/scrubbing.rs`.

use super::fetch::BodyLocation;
use super::names::{lost_by, name_of};
use super::pull::WantedBody;
use super::repair_queue::RepairJob;
use super::writer::CHUNK_BYTES;
use super::{Bodies, BodyError, BodyPlane, scrub};
use crate::domain::ids::NodeId;
use crate::ledger::state::State;
use crate::raft::types::Peer;
use crate::stop::Stop;
use crate::store;
use crate::store::bodies::BodyManifest;
use crate::store::damage::{Chunk, DamageFinding};
use crate::supervise::{self, Life};
use muniment_evidence::digest::{Digest, Hasher};
use muniment_evidence::opening::How;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Bodies brought at the same time: each holds a chunk or two in memory.
const FETCHES_MAX: usize = 4;
/// Damaged bodies read at a time when the node starts.
const PAGE: usize = 256;
/// Pause before the holders of a body are asked again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Starts what repairs and what scrubs; both end with the node.
pub fn start(bodies: &Bodies, state: &State, stop: &Stop) {
    let repairer = Repairer {
        bodies: bodies.clone(),
        state: state.clone(),
    };
    let broken = stop.clone();
    supervise::keep(stop, Life::UntilStopped, "repair", async move {
        if let Err(error) = repairer.run().await {
            broken.broken(format!("bodies cannot be repaired: {error}"));
        }
    });
    scrub::start(bodies.clone(), state.clone(), stop.clone());
}

struct Repairer {
    bodies: Bodies,
    state: State,
}

impl Repairer {
    /// Ends only with an error.
    async fn run(&self) -> Result<(), BodyError> {
        self.load().await?;
        let workers = (0..FETCHES_MAX).map(|_| self.work());
        futures::future::try_join_all(workers).await?;
        Ok(())
    }

    /// Queues the bodies that are marked as damaged on the disk.
    async fn load(&self) -> Result<(), BodyError> {
        let (store, repairs) = (&self.bodies.store, &self.bodies.repairs);
        let mut after = None;
        loop {
            let page = match store.damaged(after, PAGE).await {
                Ok(page) => page,
                Err(store::StoreError::Unreadable(why)) => {
                    // Each of them is met again by a whole pass of the scrub, after which
                    // the low watermark is known.
                    let health = repairs.health();
                    if health.passes == 0 && !health.scrubbing {
                        tracing::error!(%why, "the marks of damaged bodies cannot be listed");
                        repairs.ask_scrub();
                    }
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            for body in &page {
                if !repairs.damaged(*body) {
                    // The rest is loaded when these are repaired.
                    return Ok(());
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(*last),
                _ => break,
            }
        }
        repairs.loaded();
        Ok(())
    }

    async fn work(&self) -> Result<(), BodyError> {
        let repairs = &self.bodies.repairs;
        loop {
            let job = repairs.next().await;
            let body = uuid::Uuid::from_bytes(job.body.get());
            match self.repair(&job).await {
                Ok(true) => {
                    tracing::info!(%body, "a body is whole here again");
                    repairs.counters.repaired.fetch_add(1, Ordering::Relaxed);
                    repairs.finished(job.body);
                }
                Ok(false) => repairs.finished(job.body),
                Err(BodyError::Unavailable(why)) => {
                    if job.attempts == 0 {
                        tracing::warn!(%body, why, "a body is missing or damaged here");
                    }
                    repairs.again(job.body, RETRY_PAUSE);
                }
                Err(error) => return Err(error),
            }
            if repairs.wants_loading() {
                self.load().await?;
            }
        }
    }

    /// Makes a body whole here. False where there was nothing to do.
    async fn repair(&self, job: &RepairJob) -> Result<bool, BodyError> {
        let BodyPlane { store, inbound, .. } = &*self.bodies;
        let body = job.body;
        let Some(_guard) = inbound.enter(body) else {
            return Err(BodyError::Unavailable("it is arriving already".into()));
        };
        // Only then: most come with the first look.
        if job.attempts > 0 {
            let state = self.state.clone();
            let lost = self.bodies.blocking;
            let lost = lost.run(move || state.read(|tables| lost_by(tables, &body)));
            if lost.await?.is_some() {
                return Ok(false);
            }
        }
        let manifest = self.bodies.own_manifest(body, job.content, How::Read);
        let manifest = manifest.await?;
        let damage = store.damage(body).await?;
        let marked = damage.is_some();
        let (known, findings) = damage.map_or((None, Vec::new()), |d| (d.content, d.findings));
        if manifest.is_some() && !marked {
            return Ok(false);
        }
        let own = manifest.as_ref().map(|m| (m.length, m.sha256));
        let mut content = job.content.or(known).or(own);
        if job.content.is_none() || (marked && job.record.is_none()) {
            let (state, size) = (self.state.clone(), self.bodies.group.applied().size);
            let named = self.bodies.blocking;
            let named = named.run(move || name_of(&state, body)).await?;
            match named {
                Some((record, what)) => {
                    self.bodies.repairs.named(body, record);
                    content = Some(what);
                }
                None if job.content.is_none() => {
                    // A record that is not applied here may name it. If none does, it is
                    // collected as an orphan.
                    self.bodies.repairs.named(body, size.next_index());
                    return Err(BodyError::Unavailable("no record names it here yet".into()));
                }
                None => {}
            }
        }
        let Some((length, sha256)) = content else {
            return Err(BodyError::Unavailable("what it is, is not known".into()));
        };
        let wanted = WantedBody {
            body_id: body,
            length,
            sha256,
            chunk_root: None,
        };
        let lacking = match &manifest {
            Some(own) => {
                let bad = (0..)
                    .zip(&own.chunks)
                    .filter(|(at, _)| is_bad(&findings, *at));
                bad.map(|(_, (length, _))| u64::from(*length)).sum()
            }
            None => length,
        };
        let Some(_reservation) = self.bodies.disk_budget.reserve(lacking) else {
            return Err(BodyError::Unavailable(
                "this node's disk is nearly full".into(),
            ));
        };
        // Once: a holder that cuts bodies otherwise is asked chunk by chunk the next time.
        let absent = manifest.is_none() && !marked && job.attempts == 0;
        let at_once = absent && (1..=CHUNK_BYTES as u64).contains(&length);
        let mut why = String::from("no other member is known");
        for (node, peer) in self.bodies.others(body) {
            let brought = if at_once {
                self.bring_at_once(node, peer, &wanted).await
            } else {
                let own = manifest.as_ref();
                self.bring(node, peer, &wanted, own, &findings).await
            };
            match brought {
                Ok(()) => return Ok(true),
                Err(BodyError::Unavailable(from)) => why = format!("node {node}: {from}"),
                Err(error) => return Err(error),
            }
        }
        Err(BodyError::Unavailable(why))
    }

    /// A body of one chunk, of which nothing is here: one call, one sync.
    async fn bring_at_once(
        &self,
        node: NodeId,
        peer: Peer,
        wanted: &WantedBody,
    ) -> Result<(), BodyError> {
        let BodyPlane { store, repairs, .. } = &*self.bodies;
        // Before the call: what comes while nobody reads would hold up others on the way.
        repairs.rate_limiter.take(wanted.length).await;
        let mut pull = self
            .bodies
            .pull(&peer.destination(node), wanted.body_id, 0)
            .await?;
        pull.check(wanted)?;
        let chunks = pull.chunks.clone();
        // Its digest is the whole body's, and was compared.
        let [(_, digest)] = chunks[..] else {
            return Err(BodyError::Unavailable("it cut the body otherwise".into()));
        };
        let chunk = pull.next(digest).await?;
        store.put_chunk(wanted.body_id, 0, chunk).await?;
        let manifest = self.manifest(wanted, chunks);
        self.mend(wanted, Some(manifest), Vec::new(), node).await
    }

    /// What is missing or bad of a body, chunk by chunk: what is good here stays.
    async fn bring(
        &self,
        node: NodeId,
        peer: Peer,
        wanted: &WantedBody,
        manifest: Option<&BodyManifest>,
        findings: &[DamageFinding],
    ) -> Result<(), BodyError> {
        let source = self.bodies.source_at(node, peer, wanted).await?;
        let new = match manifest {
            Some(own) if own.chunks == source.chunks => {
                let numbers = 0..source.chunks.len() as u32;
                for number in numbers.filter(|number| is_bad(findings, *number)) {
                    self.chunk(&source, wanted, number).await?;
                }
                None
            }
            // Where the two differ, the digest of the whole body decides.
            _ => {
                self.all(&source, wanted).await?;
                Some(self.manifest(wanted, source.chunks))
            }
        };
        self.mend(wanted, new, findings.to_vec(), node).await
    }

    fn manifest(&self, wanted: &WantedBody, chunks: Vec<(u32, Digest)>) -> BodyManifest {
        BodyManifest {
            length: wanted.length,
            sha256: wanted.sha256,
            epoch: self.bodies.group.applied().upload_epoch,
            chunks,
        }
    }

    /// Good bytes are in their places.
    async fn mend(
        &self,
        wanted: &WantedBody,
        manifest: Option<BodyManifest>,
        findings: Vec<DamageFinding>,
        from: NodeId,
    ) -> Result<(), BodyError> {
        let BodyPlane { store, repairs, .. } = &*self.bodies;
        let mended = store.mend(wanted.body_id, manifest, findings, from);
        if !mended.await? {
            // More was found meanwhile: it is not whole yet.
            repairs.damaged(wanted.body_id);
        }
        repairs.notes.notify_one();
        Ok(())
    }

    /// Every chunk, and all of them compared with the digest that the record names.
    async fn all(&self, source: &BodyLocation, wanted: &WantedBody) -> Result<(), BodyError> {
        let mut whole = Hasher::new();
        for number in 0..source.chunks.len() as u32 {
            let chunk = self.chunk(source, wanted, number).await?;
            let hashed = self.bodies.blocking.run(move || {
                whole.update(&chunk);
                Ok(whole)
            });
            whole = hashed.await?;
        }
        match whole.finish() == wanted.sha256 {
            true => Ok(()),
            false => Err(BodyError::Unavailable("it holds other bytes".into())),
        }
    }

    /// A chunk that is good here, or is stored here after it was fetched.
    async fn chunk(
        &self,
        source: &BodyLocation,
        wanted: &WantedBody,
        number: u32,
    ) -> Result<bytes::Bytes, BodyError> {
        let BodyPlane { store, repairs, .. } = &*self.bodies;
        let (length, digest) = source.chunks[number as usize];
        if let Chunk::Good(chunk) = store.chunk(wanted.body_id, number, digest).await? {
            return Ok(chunk);
        }
        repairs.rate_limiter.take(u64::from(length)).await;
        let chunk = self.bodies.fetch(source, number, digest).await?;
        store
            .put_chunk(wanted.body_id, number, chunk.clone())
            .await?;
        Ok(chunk)
    }
}

/// Whether a chunk is to be looked at: what is wrong with all of a body may be wrong with any.
fn is_bad(findings: &[DamageFinding], number: u32) -> bool {
    let of = |f: &DamageFinding| f.chunk.is_none_or(|chunk| chunk == number);
    findings.iter().any(of)
}
