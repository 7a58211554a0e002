//! Which disk stands behind a node id, compared with what the ledger knows (I2).
//!
//! A disk that was wiped has forgotten what it voted for and what it acknowledged: its
//! votes and its acknowledgements must not count. So a node shows its disk's incarnation
//! with every vote and at the head of every stream of answers, and who asked compares it
//! with the node's last BOOT record. Promises: what an unknown disk answers reaches the
//! library as if the node had not been reached; such a node is told by every member that
//! meets it, and ends once a majority of the voters has said so, never by one word. A node
//! that never booted has nothing to forget that the ledger relied on, and may be any disk.

use super::hearing::Unheard;
use crate::domain::cause::Cause;
use crate::domain::ids::NodeId;
use crate::ledger::state::State;
use crate::objective::majority::is_majority;
use crate::store::Blocking;
use bytes::Bytes;
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::hex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Sixteen random bytes of a data directory.
pub type Disk = [u8; 16];

/// Of what is shown before an answer; the answer itself has a version of its own.
const VERSION_SHOWN: u8 = 2;
const VERSION: u8 = 2;
/// Nodes whose words about this node's disk are kept: as many as a ledger has members.
const WORDS_MAX: usize = 64;
/// Voters in one word.
const VOTERS_MAX: usize = 64;
/// A node whose disk is empty knows no voters but those that it is told. It believes two
/// that name the same, never one alone: in a ledger of one voter such a node goes on, and
/// nothing that it says counts.
const WORDS_MIN: usize = 2;

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

/// What a node is told: which disk the ledger knows it by, and who the voters are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownDiskNotice {
    pub known: Disk,
    pub voters: BTreeSet<NodeId>,
}

impl KnownDiskNotice {
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        w.u8(VERSION).raw(&self.known);
        let voters: Vec<NodeId> = self.voters.iter().copied().collect();
        w.list(&voters, |w, node| {
            w.u64(node.get());
        });
        Bytes::from(w.finish())
    }

    pub fn decode(bytes: &[u8]) -> Result<KnownDiskNotice, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(r.error("a known disk, version 2"));
        }
        let known = r.array()?;
        let voters = r.list(NodeId::read)?;
        if voters.len() > VOTERS_MAX {
            return Err(r.error("a few voters"));
        }
        r.end()?;
        let voters = voters.into_iter().collect();
        Ok(KnownDiskNotice { known, voters })
    }
}

/// What others have said about this node's disk: of each its last word.
#[derive(Debug, Default)]
pub(super) struct DiskWords(BTreeMap<NodeId, KnownDiskNotice>);

impl DiskWords {
    /// Takes a word. True once a majority of the voters says that the ledger knows this node
    /// by one other disk than `own`. `voters` are those that this node knows; where it knows
    /// none, those that the words name count, as far as they agree.
    pub fn take(
        &mut self,
        own: &Disk,
        voters: &BTreeSet<NodeId>,
        from: NodeId,
        word: KnownDiskNotice,
    ) -> bool {
        if word.known == *own {
            self.0.remove(&from);
            return false;
        }
        if self.0.len() >= WORDS_MAX && !self.0.contains_key(&from) {
            return false;
        }
        self.0.insert(from, word.clone());
        let alike = self.0.iter().filter(|(_, other)| match voters.is_empty() {
            true => **other == word,
            false => other.known == word.known,
        });
        let nodes: Vec<NodeId> = alike.map(|(node, _)| *node).collect();
        match voters.is_empty() {
            true => nodes.len() >= WORDS_MIN && is_majority(&word.voters, nodes),
            false => is_majority(voters, nodes),
        }
    }
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

    /// Compares what a node shows with what the ledger knows.
    pub async fn recognise(&self, node: NodeId, shown: &Disk) -> Result<(), Unheard> {
        let known = self.of(node).await;
        let known = known.map_err(|error| Unheard::Unknown(Cause::new(error)))?;
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
                Err(Unheard::OtherDisk { node, known })
            }
            _ => Ok(()),
        }
    }
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
        let notice = word(3, &[1, 2, 3]);
        assert_eq!(KnownDiskNotice::decode(&notice.encode()), Ok(notice));
        assert!(KnownDiskNotice::decode(&[9; 17]).is_err());
    }

    fn nodes(of: &[u64]) -> BTreeSet<NodeId> {
        of.iter().copied().map(NodeId::new).collect()
    }

    fn word(known: u8, voters: &[u64]) -> KnownDiskNotice {
        KnownDiskNotice {
            known: [known; 16],
            voters: nodes(voters),
        }
    }

    /// Node 2 is told, by these, of these disks and voters: whether it ends by the last word.
    fn told(voters: &[u64], words: &[(u64, KnownDiskNotice)]) -> bool {
        let (mut heard, own, voters) = (DiskWords::default(), [77; 16], nodes(voters));
        let mut ends = false;
        for (from, word) in words {
            ends = heard.take(&own, &voters, NodeId::new(*from), word.clone());
        }
        ends
    }

    #[test]
    fn i2_a_node_ends_by_the_words_of_a_majority_about_its_disk_and_never_by_one() {
        let (known, other) = (word(2, &[1, 2, 3]), word(5, &[1, 2, 3]));
        for voters in [&[1, 2, 3][..], &[]] {
            let one = (1, known.clone());
            assert!(!told(voters, &[one.clone(), one.clone()]), "one, twice");
            assert!(told(voters, &[one.clone(), (3, known.clone())]));
            assert!(
                !told(voters, &[one.clone(), (9, known.clone())]),
                "a learner"
            );
            assert!(
                !told(voters, &[one.clone(), (3, other.clone())]),
                "two disks"
            );
            // It is known by this very disk: no word against it.
            assert!(!told(voters, &[one, (3, word(77, &[1, 2, 3]))]));
        }
    }

    /// A node with an empty disk knows nobody: whoever names himself the only voter is not
    /// believed, nor two that name different ones.
    #[test]
    fn i2_an_empty_disk_believes_no_single_voter() {
        assert!(!told(&[], &[(9, word(2, &[9]))]));
        assert!(!told(&[], &[(9, word(2, &[9])), (1, word(2, &[1, 2, 3]))]));
        // What it does know counts more than what it is told.
        assert!(!told(
            &[1, 2, 3],
            &[(8, word(2, &[8, 9])), (9, word(2, &[8, 9]))]
        ));
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
        let told = matches!(stranger, Unheard::OtherDisk { known, .. } if known == [1; 16]);
        assert!(told, "{stranger}");
        assert!(disks.recognise(NodeId::new(2), &[77; 16]).await.is_ok());
        assert_eq!(disks.refused(), 1);
    }
}
