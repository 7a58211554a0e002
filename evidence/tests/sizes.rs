//! How large receipts are: callers store one for each invoice, for ten years and more.
//!
//! Receipts of the ledger in memory, as they would be in a log of almost 2^20 records: the tree
//! between its few records is made of digests that stand for the rest, so that every path is as
//! long as there, and each receipt is verified before it is measured. The limits are those that
//! the format was accepted with; none is raised so that a test may pass.

mod ledger;

use ledger::{Entry, Ledger, ORIGIN};
use muniment_evidence::checks::Check;
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::key::SecretKey;
use muniment_evidence::keychange::{Action, Role};
use muniment_evidence::keys::{KeyHistory, OPENINGS_BYTES_MAX};
use muniment_evidence::note::Checkpoint;
use muniment_evidence::opening::Document;
use muniment_evidence::receipt::{KeyRecord, LastRecord, Receipt};
use muniment_evidence::record::Outcome;
use muniment_evidence::report::Verdict;
use muniment_evidence::statement::Kind;
use muniment_evidence::tree::{self, Rows};
use muniment_evidence::verify::{self, Expected};
use std::collections::BTreeMap;
use std::convert::Infallible;

/// The largest tree whose paths have at most 20 digests.
const SIZE: u64 = (1 << 20) - 1;

/// An ISSUE with two holdings and no parties, in the reply to its caller, no key ever changed.
const FIRST_RECEIPT_BYTES_MAX: usize = 3_600;
/// What a KEY record of one change adds to every receipt after it.
const KEY_RECORD_BYTES_MAX: usize = 1_400;
/// ... and one that takes a key away and gives another: 1.4 times 1,024.
const EXCHANGE_BYTES_MAX: usize = 1_433;
/// With the changes of keys that a ledger's life brings: its log key and a node's exchanged.
const HISTORY_BYTES_MAX: usize = 8_000;

/// A log of `SIZE` records, of which a few are there.
struct Sparse(BTreeMap<u64, Digest>);

impl Sparse {
    /// All but the last two entries where they stand, and these at the end.
    fn of(ledger: &mut Ledger) -> Sparse {
        let length = ledger.len();
        for (entry, index) in ledger.entries[length as usize - 2..]
            .iter_mut()
            .zip(SIZE - 2..)
        {
            entry.record.index = RecordIndex::new(index);
        }
        let leaves = ledger.entries.iter();
        let leaves = leaves.map(|entry| (entry.record.index.get(), entry.record.leaf_hash()));
        Sparse(leaves.collect())
    }

    /// Over the leaves from `number * 256^level` on.
    fn row(&self, level: u8, number: u64) -> Digest {
        let leaves = 256u64.pow(u32::from(level));
        let start = number * leaves;
        if self.0.range(start..start + leaves).next().is_none() {
            return Digest::of(&[b"others", &[level], &number.to_be_bytes()]);
        }
        if level == 0 {
            return self.0[&start];
        }
        let mut below: Vec<Digest> = (number * 256..(number + 1) * 256)
            .map(|number| self.row(level - 1, number))
            .collect();
        while below.len() > 1 {
            let pairs = below.chunks(2);
            below = pairs
                .map(|pair| tree::node_hash(&pair[0], &pair[1]))
                .collect();
        }
        below[0]
    }

    fn path(&self, index: u64) -> Vec<Digest> {
        let Ok(path) = tree::inclusion_proof(self, RecordIndex::new(index), TreeSize::new(SIZE));
        path
    }

    fn checkpoint(&self) -> Checkpoint {
        let Ok(root) = tree::root_at(self, TreeSize::new(SIZE));
        Checkpoint {
            origin: ORIGIN.into(),
            size: TreeSize::new(SIZE),
            root,
        }
    }
}

impl Rows for Sparse {
    type Error = Infallible;

    fn rows(&self, level: u8, first: u64, count: u64) -> Result<Vec<Digest>, Infallible> {
        let rows = first..first + count;
        Ok(rows.map(|number| self.row(level, number)).collect())
    }
}

/// The receipt that comes in the reply to an ISSUE, under the log key alone; it was verified.
fn first_receipt(mut ledger: Ledger) -> Receipt {
    let invoice = ledger.invoice("F-1");
    assert_eq!(invoice.holdings.len(), 2);
    assert!(invoice.metadata.seller.is_none() && invoice.metadata.buyer.is_none());
    ledger.strict(1, Document::Issue(invoice), Outcome::Ok);
    ledger.issue(1, "F-2", Outcome::Ok);
    let sparse = Sparse::of(&mut ledger);
    let shown = |entry: &Entry| entry.record.encode().to_vec();
    let [.., issue, last] = &ledger.entries[..] else {
        panic!("two records");
    };
    let is_change = |entry: &&Entry| {
        entry.record.statement.kind == Kind::Key && entry.record.outcome == Outcome::Ok
    };
    let keys = ledger
        .entries
        .iter()
        .filter(is_change)
        .map(|entry| KeyRecord {
            record: shown(entry),
            opening: entry.document.bytes.clone(),
            path: sparse.path(entry.record.index.get()),
        });
    let log_key = ledger.log_keys[ledger.log_keys.len() - 1];
    let receipt = Receipt {
        genesis: ledger.genesis(),
        keys: keys.collect(),
        record: shown(issue),
        document: Some(issue.document.clone()),
        actor: Some(issue.actor.clone()),
        path: sparse.path(SIZE - 2),
        last: Some(LastRecord {
            record: shown(last),
            path: sparse.path(SIZE - 1),
        }),
        checkpoint: sparse.checkpoint().sign(&ledger.log_key_of(log_key)),
    };
    let trust = ledger.trust();
    let expected = Expected {
        trust: Some(&trust),
        ..Expected::default()
    };
    let report = verify::receipt(&receipt.encode(), expected);
    assert_eq!(report.findings, []);
    assert_eq!(report.verdict(), Verdict::Unwitnessed);
    receipt
}

fn bytes(receipt: &Receipt) -> usize {
    receipt.encode().len()
}

/// A log key is added, and the one before it retired: two KEY records.
fn exchange_log_key(ledger: &mut Ledger) {
    let turn = ledger.log_keys[ledger.log_keys.len() - 1];
    let (old, new) = (ledger.log_key_of(turn), ledger.log_key_of(turn + 1));
    let add = ledger.log_change(Action::Add, &new);
    ledger.change_keys(vec![add], &[new]);
    let retire = ledger.log_change(Action::RETIRE, &old);
    ledger.change_keys(vec![retire], &[]);
    ledger.log_keys.push(turn + 1);
}

/// A node's statement key is revoked and has a successor: one KEY record.
fn replace_statement_key(ledger: &mut Ledger) {
    let (old, fresh) = (ledger.key(3), ledger.key_for(3, 90));
    let revoke = Action::Revoke {
        trusted_until: RecordIndex::new(ledger.len()),
    };
    let changes = vec![
        ledger.node_change(revoke, Role::Statement, 3, &old),
        ledger.node_change(Action::Add, Role::Statement, 3, &fresh),
    ];
    ledger.change_keys(changes, &[fresh]);
}

fn founded(roots: u8) -> Ledger {
    let mut ledger = Ledger::found_with_roots(1, roots);
    (1..=3).for_each(|node| {
        ledger.boot(node);
    });
    ledger
}

#[test]
fn a_first_receipt_is_small() {
    let receipt = first_receipt(founded(0));
    assert!(receipt.path.len() >= 19 && receipt.keys.is_empty());
    let first = bytes(&receipt);
    println!("a first receipt: {first} of {FIRST_RECEIPT_BYTES_MAX} bytes");
    for (what, bytes) in [
        (
            "genesis",
            receipt.genesis.record.len() + receipt.genesis.opening.len(),
        ),
        ("record", receipt.record.len()),
        (
            "document",
            receipt.document.as_ref().map_or(0, |o| o.bytes.len()),
        ),
        ("actor", receipt.actor.as_ref().map_or(0, |o| o.bytes.len())),
        ("path", 32 * receipt.path.len()),
        (
            "last record",
            receipt
                .last
                .as_ref()
                .map_or(0, |l| l.record.len() + 32 * l.path.len()),
        ),
        ("checkpoint", receipt.checkpoint.len()),
    ] {
        println!("  {what}: {bytes}");
    }
    assert!(first <= FIRST_RECEIPT_BYTES_MAX);
}

/// Endorsed by a majority of three members, or by two root keys, and by the key that is added.
#[test]
fn a_change_of_keys_adds_little_to_every_receipt_after_it() {
    for roots in [0, 2] {
        let plain = bytes(&first_receipt(founded(roots)));
        let mut ledger = founded(roots);
        exchange_log_key(&mut ledger);
        replace_statement_key(&mut ledger);
        let receipt = first_receipt(ledger);
        let sizes = receipt.keys.iter().map(|key| {
            assert_eq!(key.path.len(), 20);
            let others = receipt.keys.iter().filter(|other| *other != key);
            let without = Receipt {
                keys: others.cloned().collect(),
                ..receipt.clone()
            };
            bytes(&receipt) - bytes(&without)
        });
        let [add, retire, replace] = sizes.collect::<Vec<_>>()[..] else {
            panic!("three KEY records");
        };
        println!("{roots} roots: a key added {add}, retired {retire} of {KEY_RECORD_BYTES_MAX}");
        println!("{roots} roots: a key replaced {replace} of {EXCHANGE_BYTES_MAX}");
        assert_eq!(bytes(&receipt) - plain, add + retire + replace);
        assert!(add <= KEY_RECORD_BYTES_MAX && retire <= KEY_RECORD_BYTES_MAX);
        assert!(replace <= EXCHANGE_BYTES_MAX);
    }
}

#[test]
fn a_receipt_with_a_history_of_keys_stays_small() {
    for roots in [0, 2] {
        let mut ledger = founded(roots);
        exchange_log_key(&mut ledger);
        replace_statement_key(&mut ledger);
        let receipt = first_receipt(ledger);
        let (all, changes) = (bytes(&receipt), receipt.keys.len());
        println!("{roots} roots, {changes} KEY records: {all} of {HISTORY_BYTES_MAX} bytes");
        assert!(changes == 3 && all <= HISTORY_BYTES_MAX);
    }
}

/// Receipts carry all of them, and have a limit.
#[test]
fn changes_of_keys_are_bounded_in_bytes() {
    let mut history = KeyHistory::founded(&Ledger::found(1).genesis().document().unwrap());
    let ledger = Ledger::found(1);
    let mut refused = None;
    for serial in 0..1_024u64 {
        let fresh = (0..64u64).map(|n| {
            let seed = Digest::of(&[&serial.to_be_bytes(), &n.to_be_bytes()]);
            SecretKey::from_seed(&seed.0)
        });
        let fresh: Vec<SecretKey> = fresh.collect();
        let adds = fresh.iter();
        let mut document = ledger.key_document(
            adds.map(|key| ledger.ledger_change(Action::Add, Role::Operator, key))
                .collect(),
            &fresh,
        );
        document.serial = serial;
        match history.changed(RecordIndex::new(serial + 1), &document) {
            Ok(next) => history = next,
            Err(why) => {
                refused = Some(why.check());
                break;
            }
        }
    }
    assert_eq!(refused, Some(Check::ChangePossible));
    assert!(history.opening_bytes > OPENINGS_BYTES_MAX - 16 * 1024);
}
