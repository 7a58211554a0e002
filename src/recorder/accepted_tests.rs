//! Whatever apply says OK to, a verifier accepts: of arbitrary statements of a member with
//! valid keys, taken in as a leader does and shown as a bundle.
//!
//! From seeds, so that a failure is met again.

use super::intake::{SubmissionSource, judged};
use crate::domain::command::{Command, ProposedSubmission};
use crate::domain::ids::{NodeId, RecordIndex, TreeSize};
use crate::ledger::state::State;
use crate::ledger::tests::{Random, TestLedger, four};
use muniment_evidence::bundle::{BundleWriter, CheckpointFrame, Frame, Manifest, RecordFrame};
use muniment_evidence::genesis::Genesis;
use muniment_evidence::key::SecretKey;
use muniment_evidence::note::Checkpoint;
use muniment_evidence::receipt::{KeyRecord, LastRecord};
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::tree;
use muniment_evidence::trust::Trust;
use muniment_evidence::verify::{BundleVerifier, VerifyOptions};

/// Ledgers, and statements on each: a verifier without optimization takes a while for them.
const LEDGERS: u64 = 16;
const STATEMENTS: u64 = 150;

fn path(ledger: &TestLedger, index: RecordIndex) -> Vec<muniment_evidence::digest::Digest> {
    let rows = ledger.tables();
    tree::inclusion_proof(&rows.tree_rows(), index, ledger.head().size).unwrap()
}

fn raw(ledger: &TestLedger, index: RecordIndex) -> Vec<u8> {
    ledger.tables().record_bytes(index).unwrap().unwrap()
}

/// All of a ledger, under its log key.
fn bundle(ledger: &TestLedger) -> Vec<u8> {
    let (tables, head) = (ledger.tables(), ledger.head());
    let public = |index| tables.openings(index).unwrap().0.unwrap().bytes;
    let mut frames = vec![Frame::Manifest(Manifest {
        origin: head.origin.clone(),
        ledger: head.ledger,
        first: RecordIndex::FIRST,
        end: head.size,
        head: head.size,
        selection: String::new(),
        peaks: Vec::new(),
        genesis: Genesis {
            record: raw(ledger, RecordIndex::FIRST),
            opening: public(RecordIndex::FIRST),
        },
    })];
    let keys = tables.key_changes().unwrap().into_iter().map(|index| {
        Frame::Key(KeyRecord {
            record: raw(ledger, index),
            opening: public(index),
            path: path(ledger, index),
        })
    });
    frames.extend(keys);
    let records = (0..head.size.get()).map(RecordIndex::new).map(|index| {
        let (document, actor) = tables.openings(index).unwrap();
        Frame::Record(RecordFrame {
            record: raw(ledger, index),
            document,
            actor,
        })
    });
    frames.extend(records);
    let last = RecordIndex::new(head.size.get() - 1);
    frames.push(Frame::Last(LastRecord {
        record: raw(ledger, last),
        path: path(ledger, last),
    }));
    let checkpoint = Checkpoint {
        origin: head.origin.clone(),
        size: head.size,
        root: head.root,
    };
    frames.push(Frame::Checkpoint(CheckpointFrame {
        note: checkpoint.sign(&SecretKey::from_seed(&[9; 32])),
        consistency: Vec::new(),
    }));
    let mut writer = BundleWriter::new();
    let mut bytes: Vec<u8> = frames.iter().flat_map(|f| writer.frame(f)).collect();
    bytes.extend(writer.finish());
    bytes
}

/// A fault that only verifiers find is a fault of the log, for ever and to everybody.
#[test]
fn whatever_apply_says_ok_to_a_verifier_accepts() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut ok, mut refused) = (0, 0);
    for _ in 0..LEDGERS {
        let (mut ledger, mut lane) = four();
        for _ in 0..STATEMENTS {
            let (mut said, _) = random.submission(&ledger, &mut lane);
            lane.sign(&mut said, !random.once_in(4));
            let (by, own) = match random.once_in(2) {
                true => (SubmissionSource::Local, 1),
                false => (SubmissionSource::Peer(NodeId::new(1)), 2),
            };
            let state = State::new(ledger.engine.clone());
            if let Ok(refusal) = judged(&state, by, NodeId::new(own), &said) {
                let command = Command {
                    proposed_at_ms: 1_000,
                    submissions: vec![ProposedSubmission {
                        refusal,
                        ..said.into()
                    }],
                };
                ledger.apply_command(&Command::decode(&command.encode()).unwrap());
            }
            if !lane.follow(&ledger) {
                break;
            }
        }
        for index in 0..ledger.head().size.get() {
            let record = Record::decode(&raw(&ledger, RecordIndex::new(index))).unwrap();
            match record.outcome {
                Outcome::Refused(_) => refused += 1,
                _ => ok += 1,
            }
        }
        let mut verifier = BundleVerifier::new(VerifyOptions {
            trust: Some(Trust {
                origin: ledger.head().origin.clone(),
                genesis: ledger.head().ledger,
            }),
            level: 5,
            ..VerifyOptions::default()
        });
        verifier.push(&bundle(&ledger));
        let report = verifier.finish();
        assert_eq!(report.findings, []);
        assert_eq!(report.size, Some(TreeSize::new(ledger.head().size.get())));
    }
    assert!(ok > 40 && refused > 100, "{ok} {refused}");
}
