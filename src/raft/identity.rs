//! Which disk stands behind a node id, compared with what the ledger knows (I2).
//!
//! A disk that was wiped has forgotten what it voted for and what it acknowledged: its
//! votes and its acknowledgements must not count. So a node shows its disk's incarnation
//! with every vote and at the head of every stream of answers, and who asked compares it
//! with the node's last BOOT record. Promises: what an unknown disk answers reaches the
//! library as if the node had not been reached; such a node is told, and ends. A node that
//! never booted has nothing to forget that the ledger relied on, and may be any disk.

use crate::domain::cause::Cause;
use crate::domain::ids::NodeId;
use crate::ledger::state::State;
use crate::store::Blocking;
use bytes::Bytes;
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::hex;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Sixteen random bytes of a data directory.
pub type Disk = [u8; 16];

/// Of what is shown before an answer; the answer itself has a version of its own.
const VERSION_SHOWN: u8 = 2;
const VERSION: u8 = 1;

/// An answer, led by the disk of the node that answers.
pub(super) fn show(disk: &Disk, answer: &[u8]) -> Bytes {
    let mut w = Writer::new();
    w.u8(VERSION_SHOWN).raw(disk).raw(answer);
    Bytes::from(w.finish())
}

pub(super) fn shown(bytes: &Bytes) -> Result<(Disk, Bytes), DecodeError> {
    let mut r = Reader::new(bytes);
    if r.u8()? != VERSION_SHOWN {
        return Err(r.error("an answer that shows its disk, version 2"));
    }
    let disk = r.array()?;
    Ok((disk, bytes.slice(1 + size_of::<Disk>()..)))
}

/// Tells a node which disk the ledger knows it by.
pub(super) fn tell(known: Disk) -> Bytes {
    let mut w = Writer::new();
    w.u8(VERSION).raw(&known);
    Bytes::from(w.finish())
}

pub(super) fn told(bytes: &[u8]) -> Result<Disk, DecodeError> {
    let mut r = Reader::new(bytes);
    if r.u8()? != VERSION {
        return Err(r.error("a known disk, version 1"));
    }
    let known = r.array()?;
    r.end()?;
    Ok(known)
}

/// The disks that the ledger knows. Cheap to clone.
#[derive(Clone)]
pub struct KnownDisks(Arc<Inner>);

struct Inner {
    own: Disk,
    state: State,
    blocking: Blocking,
    /// A node that has booted never shows another disk: what was read once stays true.
    known: Mutex<HashMap<NodeId, Disk>>,
    strangers: Mutex<BTreeSet<Disk>>,
    refused: AtomicU64,
}

impl KnownDisks {
    pub(super) fn new(own: Disk, state: State, blocking: Blocking) -> KnownDisks {
        KnownDisks(Arc::new(Inner {
            own,
            state,
            blocking,
            known: Mutex::default(),
            strangers: Mutex::default(),
            refused: AtomicU64::new(0),
        }))
    }

    pub fn own(&self) -> &Disk {
        &self.0.own
    }

    /// Answers of strange disks that were refused.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// The disk of the node's newest boot; `None` before its first.
    pub async fn of(&self, node: NodeId) -> Result<Option<Disk>, crate::store::StoreError> {
        let cached = |known: &Mutex<HashMap<NodeId, Disk>>| {
            let known = known.lock().expect("nobody panics with it");
            known.get(&node).copied()
        };
        if let Some(disk) = cached(&self.0.known) {
            return Ok(Some(disk));
        }
        let state = self.0.state.clone();
        let read = self
            .0
            .blocking
            .run(move || state.read(|tables| tables.node(node)));
        let row = read.await?;
        let disk = row.and_then(|row| row.boot.map(|_| row.incarnation));
        if let Some(disk) = disk {
            let mut known = self.0.known.lock().expect("nobody panics with it");
            known.insert(node, disk);
        }
        Ok(disk)
    }

    /// Compares; `Err` carries the disk that the ledger knows instead, when it knows one.
    pub(super) async fn recognise(&self, node: NodeId, shown: &Disk) -> Result<(), UnknownDisk> {
        let known = self.of(node).await.map_err(|error| UnknownDisk {
            known: None,
            why: Cause::new(error),
        })?;
        match known {
            Some(known) if known != *shown => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                let mut met = self.0.strangers.lock().expect("nobody panics with it");
                if met.insert(*shown) {
                    tracing::error!(
                        node = node.get(),
                        shown = hex(shown),
                        known = hex(&known),
                        "a node shows another disk than the ledger knows: nothing that it \
                         says counts; a new disk joins under a new id"
                    );
                }
                Err(UnknownDisk {
                    known: Some(known),
                    why: format!("node {node} shows a disk that the ledger does not know").into(),
                })
            }
            _ => Ok(()),
        }
    }
}

/// Why a node was not recognised.
pub(super) struct UnknownDisk {
    pub known: Option<Disk>,
    pub why: Cause,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::TestLedger;

    #[test]
    fn what_is_shown_and_told_reads_back() {
        let answer = show(&[7; 16], b"answer");
        let (disk, rest) = shown(&answer).unwrap();
        assert_eq!((disk, &rest[..]), ([7; 16], &b"answer"[..]));
        assert!(shown(&Bytes::from_static(b"\x01answer")).is_err());
        assert_eq!(told(&tell([3; 16])), Ok([3; 16]));
        assert!(told(&[9; 17]).is_err());
    }

    #[tokio::test]
    async fn i2_a_disk_that_the_ledger_does_not_know_is_not_recognised() {
        let (story, ..) = TestLedger::booted();
        let state = State::new(story.engine.clone());
        let disks = KnownDisks::new([9; 16], state, Blocking::Inline);
        // Node 1 has booted from the disk of ones; node 2 never did.
        assert!(disks.recognise(NodeId::new(1), &[1; 16]).await.is_ok());
        let stranger = disks
            .recognise(NodeId::new(1), &[77; 16])
            .await
            .unwrap_err();
        assert_eq!(stranger.known, Some([1; 16]));
        assert!(disks.recognise(NodeId::new(2), &[77; 16]).await.is_ok());
        assert_eq!(disks.refused(), 1);
    }
}
