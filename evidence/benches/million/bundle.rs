//! A bundle of as many records as asked, streamed while it is signed.
//!
//! Promises: three nodes found a ledger, boot and go on as [`Traffic`] says; every
//! signature is made, none copied; memory for one record and the edge of the tree. Leaves
//! the file to the caller.

use super::traffic::{Site, Traffic, Written};
use muniment_evidence::bundle::{BundleWriter, CheckpointFrame, Frame, Manifest, RecordFrame};
use muniment_evidence::digest::Digest;
use muniment_evidence::genesis::Genesis;
use muniment_evidence::ids::{NodeId, RecordIndex, Sequence, TreeSize};
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::note::Checkpoint;
use muniment_evidence::opening::{
    Actor, Document, GenesisDocument, Member, Opening, commit_actor, commit_document,
};
use muniment_evidence::receipt::LastRecord;
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::statement::{Kind, Lane, Level, Mode, Statement};
use muniment_evidence::tree::{Frontier, TreeRow};
use muniment_evidence::trust::Trust;
use std::io::{self, Write};

pub const ORIGIN: &str = "million.example/0";
const NODES: u64 = 3;
const BEGUN_AT_MS: u64 = 1_795_467_594_000;

/// One record as it was made.
pub struct Made<'a> {
    pub record: &'a [u8; Record::LENGTH],
    pub written: &'a Written,
    /// The rows of the tree that it completes.
    pub rows: Vec<TreeRow>,
}

/// What stands beside the bundle.
pub struct Sealed {
    pub trust: Trust,
    pub genesis: Genesis,
    pub last: LastRecord,
    /// Of the whole.
    pub note: String,
    pub bytes: u64,
}

/// Writes a bundle of `records` records; `see` looks on. At least the GENESIS and the
/// BOOTs are written.
pub fn write(
    out: &mut impl Write,
    records: u64,
    mut see: impl FnMut(Made<'_>),
) -> io::Result<Sealed> {
    let end = records.max(1 + NODES);
    let founding = found();
    let genesis = Genesis {
        record: record(0, Digest::ZERO, BEGUN_AT_MS, &founding).to_vec(),
        opening: founding.document.bytes.clone(),
    };
    let ledger = genesis.leaf_hash();
    let boots = (1, founding.statement.hash());
    let sites = (1..=NODES).map(|node| Site {
        node,
        zone: format!("z{node}"),
        incarnation: [node as u8; 16],
        key: key(node as u8, 1),
        boots: if node == 1 { boots } else { (0, Digest::ZERO) },
    });
    let mut traffic = Traffic::new(ledger, sites.collect(), 1, BEGUN_AT_MS);
    let mut stream = Stream {
        out,
        writer: BundleWriter::new(),
        bytes: 0,
    };
    stream.frame(&Frame::Manifest(Manifest {
        origin: ORIGIN.into(),
        ledger,
        first: RecordIndex::new(0),
        end: TreeSize::new(end),
        head: TreeSize::new(end),
        selection: String::new(),
        peaks: Vec::new(),
        genesis: genesis.clone(),
    }))?;
    let (mut frontier, mut prev) = (Frontier::new(), Digest::ZERO);
    let mut last = None;
    let mut written = founding;
    for index in 0..end {
        if index > 0 {
            written = traffic.write();
        }
        let record = record(index, prev, traffic.time_ms(), &written);
        prev = muniment_evidence::tree::leaf_hash(&record);
        if index + 1 == end {
            // Every peak is a sibling on the last leaf's way up, the smallest first.
            let path = frontier.peaks().iter().rev().copied().collect();
            let record = record.to_vec();
            last = Some(LastRecord { record, path });
        }
        let rows = frontier.append(prev);
        stream.frame(&Frame::Record(RecordFrame {
            record: record.to_vec(),
            document: Some(written.document.clone()),
            actor: Some(written.actor.clone()),
        }))?;
        see(Made {
            record: &record,
            written: &written,
            rows,
        });
    }
    let last = last.expect("the log is not empty");
    stream.frame(&Frame::Last(last.clone()))?;
    let checkpoint = Checkpoint {
        origin: ORIGIN.into(),
        size: TreeSize::new(end),
        root: frontier.root(),
    };
    let note = checkpoint.sign(&key(0, 3));
    stream.frame(&Frame::Checkpoint(CheckpointFrame {
        note: note.clone(),
        consistency: Vec::new(),
    }))?;
    let bytes = stream.finish()?;
    Ok(Sealed {
        trust: Trust {
            origin: ORIGIN.into(),
            genesis: ledger,
        },
        genesis,
        last,
        note,
        bytes,
    })
}

struct Stream<'a, W> {
    out: &'a mut W,
    writer: BundleWriter,
    bytes: u64,
}

impl<W: Write> Stream<'_, W> {
    fn frame(&mut self, frame: &Frame) -> io::Result<()> {
        let bytes = self.writer.frame(frame);
        self.bytes += bytes.len() as u64;
        self.out.write_all(&bytes)
    }

    fn finish(self) -> io::Result<u64> {
        let bytes = self.writer.finish();
        self.out.write_all(&bytes)?;
        self.out.flush()?;
        Ok(self.bytes + bytes.len() as u64)
    }
}

fn key(node: u8, purpose: u8) -> SecretKey {
    let mut seed = [0; 32];
    seed[..3].copy_from_slice(&[77, node, purpose]);
    SecretKey::from_seed(&seed)
}

fn record(index: u64, prev: Digest, time_ms: u64, written: &Written) -> [u8; Record::LENGTH] {
    Record {
        index: RecordIndex::new(index),
        prev,
        committed_at_ms: time_ms,
        keys: 0,
        outcome: Outcome::Ok,
        statement: written.statement.clone(),
        signature: written.signature,
    }
    .encode()
}

/// GENESIS, by node 1.
fn found() -> Written {
    let members = (1..=NODES).map(|node| Member {
        node: NodeId::new(node),
        region: "r1".into(),
        zone: format!("z{node}"),
        statement_key: key(node as u8, 1).public(),
        cosignature_key: key(node as u8, 2).public(),
    });
    let document = Document::Genesis(GenesisDocument {
        origin: ORIGIN.into(),
        log_key: key(0, 3).public(),
        members: members.collect(),
        threshold: 0,
        root_keys: Vec::new(),
        operator_keys: Vec::new(),
    });
    let document = Opening::public(document.encode());
    let actor = Opening::public(Actor::default().encode());
    let statement = Statement {
        kind: Kind::Genesis,
        mode: Mode::None,
        level: Level::None,
        ledger: Digest::ZERO,
        node: NodeId::new(1),
        lane: Lane::Boot,
        seq: Sequence::new(0),
        prev: Digest::ZERO,
        witnessed_at_ms: BEGUN_AT_MS,
        document: commit_document(&document.salt, &document.bytes),
        actor: commit_actor(&actor.salt, &actor.bytes),
    };
    Written {
        signature: key(1, 1).sign(&statement.signed_bytes()),
        statement,
        document,
        actor,
    }
}
