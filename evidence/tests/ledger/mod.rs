//! A small realistic ledger, built in memory: what a healthy cluster would have written.
//! Three nodes in three zones; boots, issues with holdings, downloads and their ends, a
//! reversal, a void, refused and duplicate outcomes, for tests to put together wrongly.
#![allow(dead_code, reason = "each test file uses its own part")]

mod changes;

use muniment_evidence::bundle::{BundleWriter, CheckpointFrame, Frame, Manifest, RecordFrame};
use muniment_evidence::digest::Digest;
use muniment_evidence::genesis::Genesis;
use muniment_evidence::ids::{
    BodyId, LogIndex, NodeId, OutboxId, RecordIndex, Sequence, Term, TreeSize, UploadEpoch,
};
use muniment_evidence::key::{SecretKey, Signature, Signer};
use muniment_evidence::ledger::cosigner_name;
use muniment_evidence::note::Checkpoint;
use muniment_evidence::opening::{
    Actor, BootDocument, Delivered, Document, DownloadDocument, DownloadEndDocument,
    GenesisDocument, Holding, HoldingKind, Identity, IssueDocument, LeaderDocument, Member,
    Metadata, Money, Opening, PUBLIC_SALT, Rendition, VoidDocument, commit_actor, commit_document,
};
use muniment_evidence::receipt::{LastRecord, Receipt};
use muniment_evidence::record::{Outcome, Reason, Record};
use muniment_evidence::statement::{Kind, Lane, Level, Mode, Statement};
use muniment_evidence::tree::{self, Frontier, MemoryRows};
use muniment_evidence::trust::Trust;
use std::collections::HashMap;

pub const ORIGIN: &str = "ledger.example/0";
pub const NODES: u64 = 3;
pub const BODY: &[u8] = b"%PDF-1.7 an invoice";

/// A record and its openings.
#[derive(Clone)]
pub struct Entry {
    pub record: Record,
    pub document: Opening,
    pub actor: Opening,
}

#[derive(Clone)]
pub struct Ledger {
    /// Changes every key, and nothing else.
    pub generation: u8,
    pub id: Digest,
    pub entries: Vec<Entry>,
    /// Root keys of this many, all of which must endorse.
    pub roots: u8,
    /// Which of its keys a node signs with: counted up by a rotation.
    pub turns: HashMap<u64, u8>,
    /// Which log keys sign checkpoints, by their turn.
    pub log_keys: Vec<u8>,
    lanes: HashMap<(u64, Lane), (u64, Digest)>,
    boots: HashMap<u64, u64>,
    time_ms: u64,
}

impl Ledger {
    /// Genesis by node 1.
    pub fn found(generation: u8) -> Ledger {
        Ledger::found_with_roots(generation, 0)
    }

    pub fn found_with_roots(generation: u8, roots: u8) -> Ledger {
        Ledger::found_with_operators(generation, roots, 0)
    }

    pub fn found_with_operators(generation: u8, roots: u8, operators: u8) -> Ledger {
        let mut ledger = Ledger {
            generation,
            roots,
            turns: HashMap::new(),
            log_keys: vec![0],
            id: Digest::ZERO,
            entries: Vec::new(),
            lanes: HashMap::new(),
            boots: HashMap::new(),
            time_ms: 1_795_467_594_000,
        };
        let members = (1..=NODES).map(|node| ledger.member(node)).collect();
        let genesis = Document::Genesis(GenesisDocument {
            origin: ORIGIN.into(),
            log_key: ledger.log_key().public(),
            members,
            threshold: roots,
            root_keys: (0..roots).map(|n| ledger.root_key(n).public()).collect(),
            operator_keys: (0..operators)
                .map(|n| ledger.operator_key(n).public())
                .collect(),
        });
        ledger.record(1, Lane::Boot, genesis, Outcome::Ok);
        ledger.id = ledger.leaf(0);
        ledger
    }

    /// About eight records: small enough to flip each byte.
    pub fn small() -> Ledger {
        let mut ledger = Ledger::found(1);
        ledger.boot(1);
        let uid = ledger.issue(1, "A-1", Outcome::Ok);
        let download = ledger.download(1, uid);
        ledger.end(1, &[download]);
        ledger.issue(1, "A-1", Outcome::Refused(Reason::IdentityTaken));
        ledger.issue(1, "A-1", Outcome::DuplicateOf(RecordIndex::new(2)));
        ledger
    }

    /// About forty records.
    pub fn realistic(generation: u8) -> Ledger {
        let mut ledger = Ledger::found(generation);
        for node in 1..=NODES {
            ledger.boot(node);
        }
        let leader = Document::Leader(LeaderDocument {
            term: Term::new(1),
            leader: NodeId::new(1),
            log_index: LogIndex::new(2),
        });
        ledger.strict(1, leader, Outcome::Ok);
        for i in 0..8 {
            let node = 1 + i % NODES;
            let uid = ledger.issue(node, &format!("R-{i}"), Outcome::Ok);
            let issued = ledger.entries.len() as u64 - 1;
            let first = ledger.download(1 + (i + 1) % NODES, uid);
            if i % 2 == 0 {
                ledger.end(1 + (i + 1) % NODES, &[first]);
            }
            match i {
                2 => {
                    ledger.issue(node, "R-2", Outcome::Refused(Reason::IdentityTaken));
                }
                3 => {
                    ledger.issue(node, "R-3", Outcome::DuplicateOf(RecordIndex::new(issued)));
                }
                4 => {
                    // A restart in the middle closes the node's strict lane.
                    ledger.boot(node);
                }
                5 => {
                    let void = Document::Void(VoidDocument {
                        tenant: "default".into(),
                        uid,
                        request_id: "v".into(),
                        reason: "issued twice".into(),
                    });
                    ledger.strict(node, void, Outcome::Ok);
                }
                6 => {
                    let reversal = ledger.invoice("R-6-reversal");
                    ledger.strict(node, Document::Reverse(reversal), Outcome::Ok);
                }
                _ => {}
            }
            let deferred = ledger.download_document(uid);
            ledger.record(
                node,
                Lane::Outbox(OutboxId::new(node)),
                deferred,
                Outcome::Ok,
            );
        }
        ledger
    }

    /// The statement key under which the node signs now.
    pub fn key(&self, node: u64) -> SecretKey {
        let turn = self.turns.get(&node).copied().unwrap_or(0);
        self.key_for(node as u8, 1 + 10 * turn)
    }

    pub fn root_key(&self, n: u8) -> SecretKey {
        self.key_for(n, 4)
    }

    /// The log key after `turn` rotations.
    pub fn log_key_of(&self, turn: u8) -> SecretKey {
        self.key_for(0, 3 + 10 * turn)
    }

    pub fn cosignature_key(&self, node: u64) -> SecretKey {
        self.key_for(node as u8, 2)
    }

    pub fn log_key(&self) -> SecretKey {
        self.log_key_of(self.log_keys[0])
    }

    pub(crate) fn key_for(&self, node: u8, purpose: u8) -> SecretKey {
        let mut seed = [0; 32];
        seed[..3].copy_from_slice(&[self.generation, node, purpose]);
        SecretKey::from_seed(&seed)
    }

    fn member(&self, node: u64) -> Member {
        Member {
            node: NodeId::new(node),
            region: "r1".into(),
            zone: format!("z{node}"),
            statement_key: self.key(node).public(),
            cosignature_key: self.cosignature_key(node).public(),
        }
    }

    pub fn boot(&mut self, node: u64) -> u64 {
        let boot = Document::Boot(BootDocument {
            incarnation: [node as u8; 16],
            statement_key: self.key(node).public(),
            software: "test".into(),
            outboxes: Vec::new(),
        });
        let index = self.record(node, Lane::Boot, boot, Outcome::Ok);
        self.boots.insert(node, index);
        index
    }

    pub fn invoice(&self, number: &str) -> IssueDocument {
        let id = [self.entries.len() as u8; 16];
        let sha256 = Digest::of(&[BODY, number.as_bytes()]);
        let length = (BODY.len() + number.len()) as u64;
        let holding = |node| {
            let mut holding = Holding {
                kind: HoldingKind::Node,
                ledger: self.id,
                body_id: BodyId::new(id),
                sha256,
                chunk_root: sha256,
                length,
                node: NodeId::new(node),
                incarnation: [node as u8; 16],
                zone: format!("z{node}"),
                epoch: UploadEpoch::new(1),
                signature: Signature([0; 64]),
            };
            holding.signature = self.key(node).sign(&holding.signed_bytes());
            holding
        };
        IssueDocument {
            uid: id,
            request_id: format!("request {number}"),
            metadata: Metadata {
                identity: Identity {
                    tenant: "default".into(),
                    scheme: "generic".into(),
                    issuer: "local".into(),
                    number: number.into(),
                    period: String::new(),
                },
                total: Some(Money {
                    minor_units: 1234,
                    currency: "CNY".into(),
                    exponent: 2,
                }),
                ..Metadata::default()
            },
            renditions: vec![Rendition {
                role: "original".into(),
                media_type: "application/pdf".into(),
                length,
                sha256,
                chunk_root: sha256,
                body_id: BodyId::new(id),
            }],
            holdings: vec![holding(1), holding(2)],
        }
    }

    /// The uid.
    pub fn issue(&mut self, node: u64, number: &str, outcome: Outcome) -> [u8; 16] {
        let invoice = self.invoice(number);
        let uid = invoice.uid;
        self.strict(node, Document::Issue(invoice), outcome);
        uid
    }

    /// The index.
    pub fn issue_at(&mut self, node: u64, number: &str) -> u64 {
        self.issue(node, number, Outcome::Ok);
        self.len() - 1
    }

    fn download_document(&self, uid: [u8; 16]) -> Document {
        Document::Download(self.download_of(uid))
    }

    pub fn download_of(&self, uid: [u8; 16]) -> DownloadDocument {
        DownloadDocument {
            tenant: "default".into(),
            uid,
            role: "original".into(),
            sha256: Digest::of(&[BODY]),
            chunk_root: Digest::of(&[BODY]),
            start: 0,
            end: BODY.len() as u64,
            length: BODY.len() as u64,
            deadline_ms: None,
        }
    }

    /// The index.
    pub fn download(&mut self, node: u64, uid: [u8; 16]) -> u64 {
        let document = self.download_document(uid);
        self.strict(node, document, Outcome::Ok)
    }

    pub fn end(&mut self, node: u64, downloads: &[u64]) -> u64 {
        let ends = downloads.iter().map(|download| Delivered {
            download: RecordIndex::new(*download),
            bytes: BODY.len() as u64,
            complete: true,
        });
        let document = Document::DownloadEnd(DownloadEndDocument {
            tenant: "default".into(),
            downloads: ends.collect(),
        });
        self.strict(node, document, Outcome::Ok)
    }

    pub fn strict(&mut self, node: u64, document: Document, outcome: Outcome) -> u64 {
        let lane = Lane::Strict(RecordIndex::new(self.boots[&node]));
        self.record(node, lane, document, outcome)
    }

    pub fn record(&mut self, node: u64, lane: Lane, document: Document, outcome: Outcome) -> u64 {
        let kind = document.kind();
        let actor = Actor {
            subject: if kind.is_system() { "" } else { "billing" }.into(),
            ..Actor::default()
        };
        let index = self.entries.len() as u64;
        let salt = |n: u8| match kind.is_system() {
            true => PUBLIC_SALT,
            false => Digest::of(&[&index.to_be_bytes(), &[n]]).0,
        };
        let document = Opening {
            salt: salt(1),
            bytes: document.encode(),
        };
        let actor = Opening {
            salt: salt(2),
            bytes: actor.encode(),
        };
        let (seq, prev) = *self.lanes.get(&(node, lane)).unwrap_or(&(0, Digest::ZERO));
        self.time_ms += 7;
        let statement = Statement {
            kind,
            mode: match (kind, lane) {
                (Kind::Download, Lane::Outbox(_)) => Mode::Deferred,
                (Kind::Download, _) => Mode::Strict,
                _ => Mode::None,
            },
            level: if kind == Kind::Issue {
                Level::Zones(2)
            } else {
                Level::None
            },
            ledger: self.id,
            node: NodeId::new(node),
            lane,
            seq: Sequence::new(seq),
            prev,
            witnessed_at_ms: self.time_ms - 1,
            document: commit_document(&document.salt, &document.bytes),
            actor: commit_actor(&actor.salt, &actor.bytes),
        };
        self.lanes.insert((node, lane), (seq + 1, statement.hash()));
        let signature = self.key(node).sign(&statement.signed_bytes());
        let record = Record {
            index: RecordIndex::new(index),
            prev: match index {
                0 => Digest::ZERO,
                _ => self.leaf(index - 1),
            },
            committed_at_ms: self.time_ms,
            keys: self.keys_before(index),
            outcome,
            statement,
            signature,
        };
        self.entries.push(Entry {
            record,
            document,
            actor,
        });
        index
    }

    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    pub fn leaf(&self, index: u64) -> Digest {
        self.entries[index as usize].record.leaf_hash()
    }

    /// Makes indexes, counts and chain links agree again after entries were changed; the
    /// statements and their signatures stay as they are.
    pub fn rechain(&mut self) {
        for i in 0..self.entries.len() {
            self.entries[i].record.index = RecordIndex::new(i as u64);
            self.entries[i].record.keys = self.keys_before(i as u64);
            self.link(i);
        }
    }

    /// As [`Ledger::rechain`], for counts of KEY records that stay wrong.
    pub fn rechain_only(&mut self) {
        (0..self.entries.len()).for_each(|i| self.link(i));
    }

    fn link(&mut self, at: usize) {
        self.entries[at].record.prev = match at {
            0 => Digest::ZERO,
            _ => self.leaf(at as u64 - 1),
        };
    }

    /// Signs the statement again after it was changed.
    pub fn resign(&mut self, index: u64) {
        let key = self.key(self.entries[index as usize].record.statement.node.get());
        let record = &mut self.entries[index as usize].record;
        record.signature = key.sign(&record.statement.signed_bytes());
    }

    pub fn genesis(&self) -> Genesis {
        Genesis {
            record: self.entries[0].record.encode().to_vec(),
            opening: self.entries[0].document.bytes.clone(),
        }
    }

    pub fn trust(&self) -> Trust {
        Trust {
            origin: ORIGIN.into(),
            genesis: self.leaf(0),
        }
    }

    pub fn frontier(&self, size: u64) -> Frontier {
        let mut frontier = Frontier::new();
        for index in 0..size {
            frontier.append(self.leaf(index));
        }
        frontier
    }

    pub fn checkpoint(&self, size: u64) -> Checkpoint {
        Checkpoint {
            origin: ORIGIN.into(),
            size: TreeSize::new(size),
            root: self.frontier(size).root(),
        }
    }

    pub fn note(&self, size: u64) -> String {
        let checkpoint = self.checkpoint(size);
        let mut note = checkpoint.sign(&self.log_key());
        for turn in &self.log_keys[1..] {
            note += &checkpoint.log_line(&self.log_key_of(*turn));
        }
        note
    }

    pub fn cosigned_note(&self, size: u64) -> String {
        let checkpoint = self.checkpoint(size);
        let mut note = self.note(size);
        for node in 1..=NODES {
            let name = cosigner_name(ORIGIN, &self.member(node));
            note += &checkpoint.cosign(&name, &self.cosignature_key(node), 1_795_467_600);
        }
        note
    }

    pub fn receipt(&self, index: u64) -> Receipt {
        let entry = &self.entries[index as usize];
        Receipt {
            genesis: self.genesis(),
            keys: self.key_records(self.len()),
            record: entry.record.encode().to_vec(),
            document: Some(entry.document.clone()),
            actor: Some(entry.actor.clone()),
            path: self.path(index, self.len()),
            last: (index + 1 < self.len()).then(|| self.last_record(self.len())),
            checkpoint: self.cosigned_note(self.len()),
        }
    }

    /// The record before `size`, proven in the tree of that size.
    pub fn last_record(&self, size: u64) -> LastRecord {
        let record = &self.entries[size as usize - 1].record;
        LastRecord {
            record: record.encode().to_vec(),
            path: self.path(size - 1, size),
        }
    }

    /// OK KEY records before this one.
    fn keys_before(&self, index: u64) -> u64 {
        let before = self.entries[..index as usize].last();
        before.map_or(0, |entry| entry.record.keys_through())
    }

    pub fn frame(&self, index: u64) -> Frame {
        let entry = &self.entries[index as usize];
        Frame::Record(RecordFrame {
            record: entry.record.encode().to_vec(),
            document: Some(entry.document.clone()),
            actor: Some(entry.actor.clone()),
        })
    }

    pub fn path(&self, index: u64, size: u64) -> Vec<Digest> {
        let (index, size) = (RecordIndex::new(index), TreeSize::new(size));
        let Ok(path) = tree::inclusion_proof(&self.rows(), index, size);
        path
    }

    pub fn rows(&self) -> MemoryRows {
        let mut rows = MemoryRows::new();
        let mut frontier = Frontier::new();
        for i in 0..self.len() {
            rows.extend(frontier.append(self.leaf(i)));
        }
        rows
    }

    /// All frames of a bundle of the records from `first` on.
    pub fn frames(&self, first: u64) -> Vec<Frame> {
        let mut frames = vec![Frame::Manifest(Manifest {
            origin: ORIGIN.into(),
            ledger: self.leaf(0),
            first: RecordIndex::new(first),
            end: TreeSize::new(self.len()),
            head: TreeSize::new(self.len()),
            selection: String::new(),
            peaks: self.frontier(first).peaks().to_vec(),
            genesis: self.genesis(),
        })];
        frames.extend(self.key_records(self.len()).into_iter().map(Frame::Key));
        frames.extend((first..self.len()).map(|index| self.frame(index)));
        frames.push(Frame::Last(self.last_record(self.len())));
        frames.push(checkpoint_frame(self.note(self.len())));
        frames
    }

    /// All frames of a selection of these records.
    pub fn selection(&self, indexes: &[u64]) -> Vec<Frame> {
        let mut frames = self.frames(0);
        if let Frame::Manifest(manifest) = &mut frames[0] {
            manifest.selection = "tenant=default issuer=local".into();
        }
        frames.retain(|frame| !matches!(frame, Frame::Record(_)));
        let end = frames.split_off(frames.len() - 2);
        for index in indexes {
            if let Frame::Record(frame) = self.frame(*index) {
                frames.push(Frame::Proven(frame, self.path(*index, self.len())));
            }
        }
        frames.extend(end);
        frames
    }

    pub fn bundle(&self) -> Vec<u8> {
        seal(&self.frames(0))
    }
}

pub fn checkpoint_frame(note: String) -> Frame {
    let consistency = Vec::new();
    Frame::Checkpoint(CheckpointFrame { note, consistency })
}

/// A whole bundle, its END digest right whatever the frames hold.
pub fn seal(frames: &[Frame]) -> Vec<u8> {
    let mut writer = BundleWriter::new();
    let mut bytes: Vec<u8> = frames.iter().flat_map(|f| writer.frame(f)).collect();
    bytes.extend(writer.finish());
    bytes
}
