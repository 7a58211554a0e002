//! A small realistic ledger, built in memory: what a healthy cluster would have written.
//! Three nodes in three zones; boots, issues with holdings, downloads and their ends, a
//! reversal, a void, refused and duplicate outcomes, for tests to put together wrongly.
#![allow(dead_code, unused_imports, reason = "each test file uses its own part")]

mod changes;
mod shown;

pub use shown::{checkpoint_frame, seal};

use muniment_evidence::digest::{Digest, hex};
use muniment_evidence::genesis::Genesis;
use muniment_evidence::ids::{
    BodyId, LogIndex, NodeId, OutboxId, RecordIndex, Sequence, Term, TreeSize, UploadEpoch,
};
use muniment_evidence::key::{SecretKey, Signature, Signer};
use muniment_evidence::ledger::cosigner_name;
use muniment_evidence::note::Checkpoint;
use muniment_evidence::opening::{
    Actor, BootDocument, BootOutbox, Delivered, Document, DownloadDocument, DownloadEndDocument,
    GenesisDocument, Holding, HoldingKind, Identity, IssueDocument, LeaderDocument, Member,
    MembershipDocument, Metadata, Money, Opening, PUBLIC_SALT, Reference, Rendition, VoidDocument,
    commit_actor, commit_document,
};
use muniment_evidence::record::{Outcome, Reason, Record};
use muniment_evidence::rules::REVERSES;
use muniment_evidence::statement::{Kind, Lane, Level, Mode, Statement};
use muniment_evidence::tree::Frontier;
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
                    let reversal = ledger.reversal_of("R-6-reversal", uid, None);
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
        self.boot_from(node, [node as u8; 16], Vec::new())
    }

    /// From a disk, with the outboxes on it.
    pub fn boot_from(&mut self, node: u64, disk: [u8; 16], outboxes: Vec<BootOutbox>) -> u64 {
        let boot = Document::Boot(BootDocument {
            incarnation: disk,
            statement_key: self.key(node).public(),
            software: "test".into(),
            outboxes,
        });
        let index = self.record(node, Lane::Boot, boot, Outcome::Ok);
        self.boots.insert(node, index);
        index
    }

    pub fn invoice(&self, number: &str) -> IssueDocument {
        let id = self.fresh_id();
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

    /// Of the record to come: its number in each byte, as long as there is room.
    fn fresh_id(&self) -> [u8; 16] {
        let mut id = [0xff; 16];
        match u8::try_from(self.entries.len()) {
            Ok(number) => id = [number; 16],
            Err(_) => id[..8].copy_from_slice(&self.len().to_be_bytes()),
        }
        id
    }

    /// Takes an amount off an invoice, or all of it.
    pub fn reversal_of(
        &self,
        number: &str,
        uid: [u8; 16],
        minor_units: Option<i64>,
    ) -> IssueDocument {
        let mut reversal = self.invoice(number);
        let total = reversal.metadata.total.clone().unwrap_or_default();
        reversal.metadata.references.push(Reference {
            relation: REVERSES.into(),
            target: uid_text(&uid),
            sha256: None,
            amount: minor_units.map(|minor_units| Money {
                minor_units,
                ..total
            }),
        });
        reversal
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

    /// All of the invoice's one rendition; of other bytes where there is no such invoice.
    pub fn download_of(&self, uid: [u8; 16]) -> DownloadDocument {
        let issued = self.entries.iter().find_map(|entry| {
            let document = Document::decode(&entry.document.bytes).ok()?;
            match document {
                Document::Issue(d) if d.uid == uid => d.renditions.into_iter().next(),
                _ => None,
            }
        });
        let (sha256, length) = issued.map_or_else(
            || (Digest::of(&[BODY]), BODY.len() as u64),
            |rendition| (rendition.sha256, rendition.length),
        );
        DownloadDocument {
            tenant: "default".into(),
            uid,
            role: "original".into(),
            sha256,
            chunk_root: sha256,
            start: 0,
            end: length,
            length,
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

    /// The members are those who founded it.
    pub fn attest(&mut self, node: u64) -> u64 {
        let document = Document::Membership(MembershipDocument {
            log_index: LogIndex::new(1),
            voters: vec![(1..=NODES).map(NodeId::new).collect()],
            learners: Vec::new(),
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
            level: match kind {
                Kind::Issue | Kind::Reverse | Kind::AddRendition => Level::Zones(2),
                _ => Level::None,
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

    /// The lane goes on from the statement that was recorded last.
    pub fn follow_in(&mut self, node: u64, lane: Lane) {
        let last = self.entries.last().expect("it has a record");
        let statement = &last.record.statement;
        let next = (statement.seq.get() + 1, statement.hash());
        self.lanes.insert((node, lane), next);
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

    /// OK KEY records before this one.
    fn keys_before(&self, index: u64) -> u64 {
        let before = self.entries[..index as usize].last();
        before.map_or(0, |entry| entry.record.keys_through())
    }
}

/// As RFC 9562 writes it.
pub fn uid_text(uid: &[u8; 16]) -> String {
    let digits = hex(uid);
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32];
    groups.map(|group| digits[group].to_owned()).join("-")
}
