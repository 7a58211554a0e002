//! Damage to stored bodies: what is known of it, what was set aside, what is to be recorded.
//!
//! Promises: damage is believed only after a second look, and noted in one batch that sets
//! the bad bytes aside, marks the body as damaged and keeps a note for the evidence log,
//! all durable before anyone is told. A damaged body does not count as held; its good
//! chunks stay. The mark goes when good bytes are durable in its place, in one batch with
//! the note of that. What was set aside is bounded: the oldest is written over. Leaves
//! finding damage and fetching good bytes to `bodies/`.
//!
//! Tests: `src/store/damage_tests.rs`.

use super::StoreError;
use super::bodies::{BodyManifest, BodyStore, Content};
use super::bodies::{chunk_key, manifest_key, read_manifest};
use super::engine::{Batch, Engine, prefix_end};
use crate::domain::ids::{BodyId, NodeId};
use bytes::Bytes;
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::{DamageKind, Document, How, ScrubDocument, ScrubOutcome};

/// Bad chunks (and manifests) kept for inquiry: 64 MiB at most, of 1 MiB each.
const SET_ASIDE_MAX: u64 = 64;

const VERSION: u8 = 1;

/// Notes go on from here when those that lie there cannot be listed.
const BEYOND_UNREADABLE: u64 = 1 << 62;

const DAMAGE: &[u8] = b"d";
/// How many were ever set aside: the next slot.
const SET_ASIDE_COUNT: &[u8] = b"qc";
const SET_ASIDE: &[u8] = b"qb";
const NOTES: &[u8] = b"qn";
const POSITION: &[u8] = b"qp";

/// A chunk as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    Good(Bytes),
    Bad(DamageKind),
}

/// One thing that is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamageFinding {
    /// `None`: the manifest, or all of it.
    pub chunk: Option<u32>,
    pub found: DamageKind,
    pub how: How,
}

/// What is wrong with a body, and what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// `None` while only its name is known.
    pub content: Option<Content>,
    pub findings: Vec<DamageFinding>,
}

/// A chunk or manifest that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    pub body: BodyId,
    pub chunk: Option<u32>,
    pub found: DamageKind,
    pub bytes: Vec<u8>,
}

/// What is said to be wrong, to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspect {
    /// A chunk and the digest that it should have.
    Chunk(u32, Digest),
    /// The manifest; with a content, one that names another is damage, and so is none.
    Manifest(Option<Content>),
}

impl Damage {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION).option(self.content.as_ref(), |w, content| {
            w.u64(content.0).digest(&content.1);
        });
        w.list(&self.findings, |w, finding| {
            w.option(finding.chunk.as_ref(), |w, chunk| {
                w.u32(*chunk);
            });
            w.u8(finding.found as u8).u8(finding.how as u8);
        });
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Damage, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(r.error("damage version 1"));
        }
        let damage = Damage {
            content: r.option(|r| Ok((r.u64()?, r.digest()?)))?,
            findings: r.list(|r| {
                Ok(DamageFinding {
                    chunk: r.option(Reader::u32)?,
                    found: found(r)?,
                    how: How::from_code(r.u8()?).ok_or_else(|| r.error("who came upon it"))?,
                })
            })?,
        };
        r.end()?;
        Ok(damage)
    }

    /// Of a body whose row cannot be read: nothing of it is believed.
    fn of_unreadable() -> Damage {
        Damage {
            content: None,
            findings: vec![DamageFinding {
                chunk: None,
                found: DamageKind::Unreadable,
                how: How::Read,
            }],
        }
    }
}

fn found(r: &mut Reader<'_>) -> Result<DamageKind, DecodeError> {
    DamageKind::from_code(r.u8()?).ok_or_else(|| r.error("what was found"))
}

pub(super) fn damage_key(body: &BodyId) -> Vec<u8> {
    [DAMAGE, body.as_bytes()].concat()
}

fn slot_key(slot: u64) -> Vec<u8> {
    [SET_ASIDE, &(slot as u32).to_be_bytes()].concat()
}

fn note_key(seq: u64) -> Vec<u8> {
    [NOTES, &seq.to_be_bytes()].concat()
}

/// What is known to be wrong with a body here.
pub(super) fn of(engine: &dyn Engine, body: &BodyId) -> Result<Option<Damage>, StoreError> {
    match engine.get(&damage_key(body)) {
        Ok(None) => Ok(None),
        Ok(Some(bytes)) => Ok(Some(
            Damage::decode(&bytes).unwrap_or_else(|_| Damage::of_unreadable()),
        )),
        Err(StoreError::Unreadable(_)) => Ok(Some(Damage::of_unreadable())),
        Err(error) => Err(error),
    }
}

/// As [`of`], but a row that cannot be read is none: it is written anew.
fn stored(engine: &dyn Engine, body: &BodyId) -> Result<Option<Damage>, StoreError> {
    let row = rest(engine, &damage_key(body))?;
    Ok(row.and_then(|bytes| Damage::decode(&bytes).ok()))
}

/// Reads a chunk and compares it with its digest.
pub(super) fn look(
    engine: &dyn Engine,
    body: &BodyId,
    number: u32,
    digest: &Digest,
) -> Result<Chunk, StoreError> {
    match engine.get(&chunk_key(body, number)) {
        Ok(None) => Ok(Chunk::Bad(DamageKind::Missing)),
        Ok(Some(bytes)) if Digest::of(&[&bytes]) == *digest => Ok(Chunk::Good(bytes.into())),
        Ok(Some(_)) => Ok(Chunk::Bad(DamageKind::Mismatch)),
        Err(StoreError::Unreadable(_)) => Ok(Chunk::Bad(DamageKind::Unreadable)),
        Err(error) => Err(error),
    }
}

/// The bytes to set aside, if there are any to be had.
fn rest(engine: &dyn Engine, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    match engine.get(key) {
        Err(StoreError::Unreadable(_)) => Ok(None),
        got => got,
    }
}

/// Looks again: what is wrong, where it lies, and what the body is. `None`: nothing is.
type Looked = Option<(DamageFinding, Vec<u8>, Option<Content>)>;

fn look_again(
    engine: &dyn Engine,
    body: &BodyId,
    suspect: Suspect,
    how: How,
) -> Result<Looked, StoreError> {
    let manifest = match read_manifest(engine, body) {
        Ok(manifest) => Ok(manifest),
        Err(StoreError::Unreadable(_)) => Err(()),
        Err(error) => return Err(error),
    };
    let content = |m: &BodyManifest| (m.length, m.sha256);
    let (chunk, found, key, content) = match (suspect, manifest) {
        // What was deleted meanwhile is not damaged.
        (Suspect::Chunk(..), Ok(None) | Err(())) => return Ok(None),
        (Suspect::Chunk(number, digest), Ok(Some(m))) => {
            match look(engine, body, number, &digest)? {
                Chunk::Good(_) => return Ok(None),
                Chunk::Bad(found) => {
                    let key = chunk_key(body, number);
                    (Some(number), found, key, Some(content(&m)))
                }
            }
        }
        (Suspect::Manifest(named), Err(())) => {
            (None, DamageKind::Manifest, manifest_key(body), named)
        }
        (Suspect::Manifest(None), Ok(None)) => return Ok(None),
        (Suspect::Manifest(Some(named)), Ok(None)) => {
            (None, DamageKind::Missing, manifest_key(body), Some(named))
        }
        (Suspect::Manifest(named), Ok(Some(m))) => match named {
            Some(named) if content(&m) != named => {
                (None, DamageKind::Manifest, manifest_key(body), Some(named))
            }
            _ => return Ok(None),
        },
    };
    Ok(Some((DamageFinding { chunk, found, how }, key, content)))
}

/// Adds a note for the evidence log to a batch, behind those that wait.
fn add_notes(
    engine: &dyn Engine,
    batch: &mut Batch,
    notes: impl Iterator<Item = ScrubDocument>,
) -> Result<(), StoreError> {
    let end = prefix_end(NOTES);
    let mut seq = match engine.scan_back(NOTES, &end, 1) {
        Ok(last) => last.first().map_or(0, |(key, _)| seq_of(key) + 1),
        Err(StoreError::Unreadable(_)) => BEYOND_UNREADABLE,
        Err(error) => return Err(error),
    };
    for note in notes {
        while rest(engine, &note_key(seq))?.is_some() {
            seq += 1;
        }
        batch.put(note_key(seq), Document::Scrub(note).encode());
        seq += 1;
    }
    Ok(())
}

fn seq_of(key: &[u8]) -> u64 {
    let tail = key.get(NOTES.len()..).and_then(|tail| tail.try_into().ok());
    tail.map_or(0, u64::from_be_bytes)
}

fn note(body: &BodyId, finding: &DamageFinding, outcome: ScrubOutcome) -> ScrubDocument {
    ScrubDocument {
        body_id: *body,
        chunk: finding.chunk,
        found: finding.found,
        how: finding.how,
        outcome,
    }
}

impl BodyStore {
    /// Looks again, and if it is so: sets the bad bytes aside, marks the body as damaged
    /// and keeps a note, durably. `None`: it is not so, or was known already.
    pub async fn quarantine(
        &self,
        body: BodyId,
        suspect: Suspect,
        how: How,
    ) -> Result<Option<DamageFinding>, StoreError> {
        let store = self.clone();
        let noted = self
            .blocking
            .run(move || {
                let _mending = store.mending.lock();
                let engine = store.engine.as_ref();
                let Some((finding, key, content)) = look_again(engine, &body, suspect, how)? else {
                    return Ok(None);
                };
                let known = stored(engine, &body)?;
                let findings = known.iter().flat_map(|known| &known.findings);
                let mut findings: Vec<DamageFinding> = findings.copied().collect();
                if findings.iter().any(|known| known.chunk == finding.chunk) {
                    return Ok(None);
                }
                findings.push(finding);
                let content = content.or(known.and_then(|known| known.content));
                let mut batch = Batch::new();
                if let Some(bytes) = rest(engine, &key)? {
                    set_aside(engine, &mut batch, &body, &finding, &bytes)?;
                }
                batch.delete(key);
                let damage = Damage { content, findings };
                batch.put(damage_key(&body), damage.encode());
                let notes = [note(&body, &finding, ScrubOutcome::Quarantined)];
                add_notes(engine, &mut batch, notes.into_iter())?;
                store.sealed().content.remove(&body);
                engine.write(batch)?;
                Ok(Some(finding))
            })
            .await?;
        if noted.is_some() {
            self.flusher.durable().await?;
        }
        Ok(noted)
    }

    /// What is known to be wrong with a body here.
    pub async fn damage(&self, body: BodyId) -> Result<Option<Damage>, StoreError> {
        let engine = self.engine.clone();
        self.blocking.run(move || of(engine.as_ref(), &body)).await
    }

    /// Up to `limit` damaged bodies, in key order after one.
    pub async fn damaged(
        &self,
        after: Option<BodyId>,
        limit: usize,
    ) -> Result<Vec<BodyId>, StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let start = match after {
                    None => DAMAGE.to_vec(),
                    Some(body) => [&damage_key(&body)[..], &[0]].concat(),
                };
                let rows = engine.scan(&start, &prefix_end(DAMAGE), limit)?;
                let body = |key: &[u8]| {
                    key.get(1..)
                        .and_then(|id| id.try_into().ok().map(BodyId::new))
                };
                Ok(rows.iter().filter_map(|(key, _)| body(key)).collect())
            })
            .await
    }

    /// Good bytes are in place of what `mended` names, sent by node `from`; with a manifest
    /// where that was bad. Returns once this is durable: whether the body is whole now.
    pub async fn mend(
        &self,
        body: BodyId,
        manifest: Option<BodyManifest>,
        mended: Vec<DamageFinding>,
        from: NodeId,
    ) -> Result<bool, StoreError> {
        if !mended.is_empty() {
            // The good bytes first: the mark may not go before they are durable.
            self.flusher.durable().await?;
        }
        let store = self.clone();
        let left = self
            .blocking
            .run(move || {
                let _mending = store.mending.lock();
                let engine = store.engine.as_ref();
                let known = of(engine, &body)?;
                let marked = known.is_some();
                let content = known.as_ref().and_then(|known| known.content);
                let findings = known.map(|known| known.findings).unwrap_or_default();
                let (done, left): (Vec<_>, Vec<_>) = findings
                    .into_iter()
                    .partition(|known| mended.contains(known));
                let mut batch = Batch::new();
                if let Some(manifest) = manifest {
                    batch.put(manifest_key(&body), manifest.encode());
                }
                let whole = left.is_empty();
                if whole && marked {
                    batch.delete(damage_key(&body));
                } else if !whole {
                    let findings = left;
                    let damage = Damage { content, findings };
                    batch.put(damage_key(&body), damage.encode());
                }
                let outcome = ScrubOutcome::Repaired { from };
                let notes = done.iter().map(|finding| note(&body, finding, outcome));
                add_notes(engine, &mut batch, notes)?;
                engine.write(batch)?;
                Ok(whole)
            })
            .await?;
        self.flusher.durable().await?;
        Ok(left)
    }

    /// The oldest notes that are not recorded yet: number and document.
    pub async fn notes(&self, limit: usize) -> Result<Vec<(u64, Document)>, StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let rows = engine.scan(NOTES, &prefix_end(NOTES), limit)?;
                rows.iter()
                    .map(|(key, bytes)| match Document::decode(bytes) {
                        Ok(document) => Ok((seq_of(key), document)),
                        Err(error) => {
                            Err(StoreError::corrupt(format!("a note of damage: {error}")))
                        }
                    })
                    .collect()
            })
            .await
    }

    /// A note is on record.
    pub async fn noted(&self, number: u64) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut batch = Batch::new();
                batch.delete(note_key(number));
                engine.write(batch)
            })
            .await
    }

    /// Where the scrub stands, as it wrote it last.
    pub async fn scrub_position(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || rest(engine.as_ref(), POSITION))
            .await
    }

    /// Not durable: what is lost is looked at again.
    pub async fn set_scrub_position(&self, position: Vec<u8>) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut batch = Batch::new();
                batch.put(POSITION, position);
                engine.write(batch)
            })
            .await
    }

    /// What was set aside last, in no order.
    pub async fn set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let end = prefix_end(SET_ASIDE);
                let rows = engine.scan(SET_ASIDE, &end, SET_ASIDE_MAX as usize)?;
                let read = |bytes: &[u8]| {
                    let mut r = Reader::new(bytes);
                    r.u8()?;
                    Ok(SetAside {
                        body: BodyId::new(r.array()?),
                        chunk: r.option(Reader::u32)?,
                        found: found(&mut r)?,
                        bytes: r.bytes()?.to_vec(),
                    })
                };
                rows.iter()
                    .map(|(_, bytes)| read(bytes))
                    .collect::<Result<_, DecodeError>>()
                    .map_err(StoreError::corrupt)
            })
            .await
    }
}

fn set_aside(
    engine: &dyn Engine,
    batch: &mut Batch,
    body: &BodyId,
    finding: &DamageFinding,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let count = rest(engine, SET_ASIDE_COUNT)?;
    let count = count.and_then(|bytes| bytes.try_into().ok());
    let count = count.map_or(0, u64::from_be_bytes);
    let mut w = Writer::new();
    w.u8(VERSION).raw(body.as_bytes());
    w.option(finding.chunk.as_ref(), |w, chunk| {
        w.u32(*chunk);
    });
    w.u8(finding.found as u8).bytes(bytes);
    batch.put(slot_key(count % SET_ASIDE_MAX), w.finish());
    batch.put(SET_ASIDE_COUNT, (count + 1).to_be_bytes());
    Ok(())
}

#[cfg(test)]
#[path = "damage_tests.rs"]
mod tests;
