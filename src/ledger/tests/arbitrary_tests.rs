//! Arbitrary commands on a filled ledger: whatever a member with valid keys may send.
//!
//! From a seed, so that a failure is met again. `MUNIMENT_APPLY_COMMANDS` asks for more
//! commands than the seconds that every run has.

use super::membership_tests::{four, issue, named};
use super::*;
use crate::domain::ids::{BodyId, LogIndex, OutboxId, Term, TreeSize, UploadEpoch};
use crate::ledger::openings::Shown;
use muniment_evidence::limits::{ID_BYTES_MAX, REQUEST_ID_BYTES_MAX};
use muniment_evidence::opening::{
    AddRenditionDocument, AnchorDocument, AnchoredBy, BootOutbox, DownloadDocument,
    DownloadEndDocument, Holding, HoldingKind, LeaderDocument, MembershipDocument, PolicyDocument,
    Rendition, Setting, VoidDocument,
};
use muniment_evidence::receipt::OPENING_BYTES_MAX;

/// Commands of an ordinary run: some seconds without optimization.
const COMMANDS: u64 = 1_500;
/// Commands on one ledger: arbitrary ones close lanes and change members.
const COMMANDS_PER_LEDGER: u64 = 200;

/// A xorshift generator: the same run from the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Numbers at the edges of their types, and small ones.
    fn number(&mut self) -> u64 {
        let edges = [0, 1, 2, 3, 4, 7, u64::from(u32::MAX), i64::MAX as u64];
        let edges = edges.into_iter().chain([u64::MAX - 1, u64::MAX]);
        let edges: Vec<u64> = edges.collect();
        edges[self.below(edges.len())]
    }

    /// Texts at the edges of their limits, and beyond what a key's length can say.
    fn text(&mut self) -> String {
        let lengths = [0, 1, 8, ID_BYTES_MAX, ID_BYTES_MAX + 1, 65_535, 70_000];
        let length = match self.once_in(4) {
            true => lengths[self.below(lengths.len())],
            false => self.below(9),
        };
        "x".repeat(length)
    }

    fn flip(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            bytes[at] = self.next() as u8;
        }
        if self.once_in(8) {
            bytes.truncate(self.below(bytes.len()));
        }
    }

    fn document(&mut self, ledger: &TestLedger) -> Document {
        let uid = [self.below(4) as u8; 16];
        let rendition = Rendition {
            role: self.text(),
            media_type: self.text(),
            length: self.number(),
            sha256: Digest([5; 32]),
            chunk_root: Digest([5; 32]),
            body_id: BodyId::new([self.below(4) as u8; 16]),
        };
        let holding = |node: u64| Holding {
            kind: HoldingKind::Node,
            ledger: ledger.tip.head.ledger,
            body_id: rendition.body_id,
            sha256: rendition.sha256,
            chunk_root: rendition.chunk_root,
            length: rendition.length,
            node: NodeId::new(node),
            incarnation: [node as u8; 16],
            zone: format!("z{node}"),
            epoch: UploadEpoch::new(node),
            signature: muniment_evidence::key::Signature([0; 64]),
        };
        let node = || NodeId::new(2);
        match self.below(12) {
            0 => genesis(),
            1 => self.boot(),
            2 | 3 => self.issue(ledger),
            4 => Document::AddRendition(AddRenditionDocument {
                tenant: "default".into(),
                uid,
                request_id: self.text(),
                holdings: (1..4).map(holding).collect(),
                rendition: rendition.clone(),
            }),
            5 => Document::Void(VoidDocument {
                tenant: self.text(),
                uid,
                request_id: self.text(),
                reason: self.text(),
            }),
            6 => Document::Download(DownloadDocument {
                tenant: "default".into(),
                uid,
                role: self.text(),
                sha256: Digest([5; 32]),
                chunk_root: Digest([5; 32]),
                start: self.number(),
                end: self.number(),
                length: self.number(),
                deadline_ms: None,
            }),
            7 => Document::DownloadEnd(DownloadEndDocument {
                tenant: "default".into(),
                downloads: vec![Delivered {
                    download: RecordIndex::new(self.number()),
                    bytes: self.number(),
                    complete: self.once_in(2),
                }],
            }),
            8 => Document::Membership(MembershipDocument {
                log_index: LogIndex::new(self.number()),
                voters: vec![vec![node()]; self.below(4)],
                learners: vec![node(); self.below(70)],
            }),
            9 => Document::Leader(LeaderDocument {
                term: Term::new(self.number()),
                leader: NodeId::new(self.number()),
                log_index: LogIndex::new(self.number()),
            }),
            10 => Document::Policy(PolicyDocument {
                settings: vec![Setting {
                    name: ["upload_epoch", "feature_level", "x"][self.below(3)].into(),
                    value: self.number(),
                }],
                order: None,
            }),
            _ => Document::Anchor(AnchorDocument {
                note: self.text(),
                by: match self.once_in(2) {
                    true => AnchoredBy::Witness(self.text()),
                    false => AnchoredBy::TimeStamp {
                        authority: self.text(),
                        token: vec![1; self.below(9)],
                    },
                },
            }),
        }
    }

    fn boot(&mut self) -> Document {
        let Document::Boot(mut boot) = boot(1) else {
            unreachable!("a boot document");
        };
        boot.software = self.text();
        boot.outboxes = vec![BootOutbox {
            id: OutboxId::new(self.number()),
            next: Sequence::new(self.number()),
            last: Digest::ZERO,
            lost: self.once_in(2),
        }];
        Document::Boot(boot)
    }

    fn issue(&mut self, ledger: &TestLedger) -> Document {
        let mut issue = named(ledger, self.below(6) as u64, &[(1, 1), (2, 2)]);
        if self.once_in(2) {
            issue.request_id = self.text();
        }
        if self.once_in(2) {
            issue.metadata.identity.number = self.text();
            issue.metadata.issue_date = self.text();
        }
        match self.once_in(2) {
            true => Document::Issue(issue),
            false => Document::Reverse(issue),
        }
    }

    /// A statement of this lane, mostly its next, and whether it is that.
    pub(crate) fn submission(
        &mut self,
        ledger: &TestLedger,
        lane: &mut TestSigner,
    ) -> (Submission, bool) {
        let document = self.document(ledger);
        let mut said = lane.write(ledger, &document);
        if self.once_in(4) {
            let codes = Kind::ALL;
            said.statement.kind = codes[self.below(codes.len())];
        }
        if self.once_in(3) {
            self.flip(&mut said.document.bytes);
        }
        if self.once_in(8) {
            self.flip(&mut said.actor.bytes);
        }
        if self.once_in(16) {
            said.document.salt = [7; 32];
        }
        if !self.once_in(8) {
            let (document, actor) = (&said.document, &said.actor);
            said.statement.document = commit_document(&document.salt, &document.bytes);
            said.statement.actor = commit_actor(&actor.salt, &actor.bytes);
        }
        let mut next = said.statement.kind != Kind::Genesis;
        if self.once_in(16) {
            said.statement.seq = Sequence::new(self.number());
            next &= said.statement.seq.get() == lane.seq - 1;
        }
        if self.once_in(16) {
            said.statement.lane = Lane::Outbox(OutboxId::new(self.number()));
            next = false;
        }
        lane.prev = said.statement.hash();
        (said, next)
    }
}

/// One bad member must not be able to stop the others, for ever and at every start, by what
/// it says: apply has an answer to everything.
#[test]
fn no_bytes_of_a_command_make_apply_fail_and_every_number_leaves_one_record() {
    let commands = std::env::var("MUNIMENT_APPLY_COMMANDS");
    let commands = commands.map_or(COMMANDS, |n| n.parse().unwrap());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut recorded, mut refused, mut unreadable) = (0, 0, 0);
    let mut done = 0;
    while done < commands {
        let (mut ledger, mut lane) = four();
        for number in 1..4 {
            let said = issue(
                &ledger,
                &mut lane,
                number,
                Level::Quorum,
                &[(1, 1), (2, 2), (3, 3)],
            );
            assert_eq!(ledger.outcomes(vec![said]), [Outcome::Ok]);
        }
        for _ in 0..COMMANDS_PER_LEDGER {
            done += 1;
            let before = (lane.seq, lane.prev);
            let (first, next) = random.submission(&ledger, &mut lane);
            let second = lane.write(&ledger, &remark(done));
            let command = Command {
                proposed_at_ms: random.number(),
                submissions: vec![first.into(), second.into()],
            };
            let mut bytes = command.encode();
            let mangled = random.once_in(4);
            if mangled {
                random.flip(&mut bytes);
            }
            let size = ledger.tip.head.size;
            // An entry that is no command at all says nothing.
            let received = Command::decode(&bytes).unwrap_or_default();
            let answers = ledger.apply_command(&received);
            assert_eq!(answers.len(), received.submissions.len());
            let new = |answer: &&Answer| matches!(answer, Answer::Recorded { index, .. } if !size.contains(*index));
            let new: Vec<&Answer> = answers.iter().filter(new).collect();
            assert_eq!(ledger.tip.head.size.count_since(size), new.len() as u64);
            for answer in new {
                recorded += 1;
                if matches!(
                    answer,
                    Answer::Recorded {
                        outcome: Outcome::Refused(_),
                        ..
                    }
                ) {
                    refused += 1;
                }
            }
            unreadable += answers.iter().filter(|a| **a == Answer::Unreadable).count();
            if next && !mangled {
                let is_recorded = |answer: &Answer| matches!(answer, Answer::Recorded { .. });
                assert!(is_recorded(&answers[0]), "{:?}", answers[0]);
            }
            let row = ledger.tables().lane(NodeId::new(1), lane.lane).unwrap();
            match row.filter(|row| !row.closed) {
                Some(row) => (lane.seq, lane.prev) = (row.next_seq.get(), row.last),
                None => break,
            }
            assert!(lane.seq >= before.0);
        }
    }
    // The generator reaches all of it.
    assert!(
        recorded > commands / 2 && refused > commands / 4 && unreadable > 0,
        "{recorded} {refused} {unreadable}"
    );
}

/// What stopped every replica at each of its starts: a text longer than a key can say.
#[test]
fn a_text_beyond_its_limit_is_refused_on_record() {
    let (mut ledger, _, mut lane) = TestLedger::booted();
    let mut void = |request_id: usize| {
        let document = Document::Void(VoidDocument {
            tenant: "default".into(),
            uid: [7; 16],
            request_id: "x".repeat(request_id),
            reason: String::new(),
        });
        let said = lane.write(&ledger, &document);
        ledger.outcomes(vec![said])[0]
    };
    let malformed = Outcome::Refused(Reason::Malformed);
    assert_eq!(void(70_000), malformed);
    assert_eq!(void(REQUEST_ID_BYTES_MAX + 1), malformed);
    let not_found = Outcome::Refused(Reason::NotFound);
    assert_eq!(void(REQUEST_ID_BYTES_MAX), not_found);
}

/// Evidence of it could not be read: a bundle has no room for the one, and no verifier takes
/// the other.
#[test]
fn an_opening_that_no_evidence_can_show_is_not_kept() {
    let (mut ledger, _, mut lane) = TestLedger::booted();
    let mut long = lane.write(&ledger, &remark(1));
    long.document.bytes.resize(OPENING_BYTES_MAX + 1, 0);
    long.statement.document = commit_document(&long.document.salt, &long.document.bytes);
    lane.prev = long.statement.hash();
    let mut salted = lane.write(&ledger, &remark(1));
    salted.document.salt = [1; 32];
    salted.statement.document = commit_document(&salted.document.salt, &salted.document.bytes);
    lane.prev = salted.statement.hash();
    let mut other = lane.write(&ledger, &remark(1));
    other.document.bytes = remark(2).encode();
    assert!(Shown::of(&other, ledger.head()).document.is_none());
    let outcomes = ledger.outcomes(vec![long, salted, other]);
    assert_eq!(outcomes, [Outcome::Refused(Reason::Malformed); 3]);
    for index in 2..5 {
        let (document, actor) = ledger.tables().openings(RecordIndex::new(index)).unwrap();
        assert!(document.is_none() && actor.is_some(), "{index}");
    }
}

/// Software that knows a kind, or a later version of an opening, and software that does not
/// must write the same record below its level: so nothing of it is decoded.
#[test]
fn what_is_above_the_level_is_refused_before_it_is_decoded() {
    let (mut ledger, _, mut lane) = TestLedger::booted();
    for kind in [
        Kind::Check,
        Kind::Snapshot,
        Kind::Restore,
        Kind::Hold,
        Kind::Gap,
        Kind::Tenant,
        Kind::Later(34),
        Kind::Later(255),
    ] {
        let mut said = lane.write(&ledger, &remark(1));
        said.statement.kind = kind;
        said.document.bytes = vec![0xff; 9];
        // Whether it has to be public is not known either.
        said.document.salt = [7; 32];
        said.statement.document = commit_document(&said.document.salt, &said.document.bytes);
        lane.prev = said.statement.hash();
        let index = RecordIndex::new(ledger.head().size.get());
        let answers = ledger.apply_bytes(vec![said]);
        assert_eq!(
            answers,
            [refused(index.get(), Reason::FeatureLevel)],
            "{kind}"
        );
        let (document, _) = ledger.tables().openings(index).unwrap();
        assert!(document.is_some(), "{kind}");
    }
    let mut later = lane.write(&ledger, &remark(1));
    later.document.bytes = vec![2, 0xff];
    later.statement.document = commit_document(&later.document.salt, &later.document.bytes);
    let level = Outcome::Refused(Reason::FeatureLevel);
    assert_eq!(ledger.outcomes(vec![later]), [level]);
}

/// A ledger founded on it could have no receipt that verifies, and take nothing else.
#[test]
fn a_genesis_that_no_verifier_takes_founds_nothing() {
    let Document::Genesis(good) = genesis() else {
        unreachable!("a genesis document");
    };
    let spoilt: [fn(&mut GenesisDocument); 4] = [
        |genesis| genesis.members[1].zone = "a zone".into(),
        |genesis| genesis.members[1].statement_key = genesis.members[0].statement_key,
        |genesis| genesis.threshold = 2,
        |genesis| {
            let founder = NodeId::new(1);
            genesis.members.retain(|member| member.node != founder);
        },
    ];
    for spoil in spoilt {
        let mut ledger = TestLedger::begin();
        let mut document = good.clone();
        spoil(&mut document);
        let mut signer = TestSigner::new(1, Lane::Boot);
        let bad = signer.write(&ledger, &Document::Genesis(document));
        assert_eq!(ledger.apply(0, vec![bad]), [Answer::Unreadable]);
        let head = ledger.head();
        assert_eq!((head.size, head.ledger), (TreeSize::EMPTY, Digest::ZERO));
        // What is right founds it all the same.
        let mut signer = TestSigner::new(1, Lane::Boot);
        let right = signer.write(&ledger, &genesis());
        assert_eq!(ledger.apply(0, vec![right]), [ok(0)]);
    }
}
