//! Forgeries of a bundle: its frames, its chain, its lanes, its checkpoints; and of a promise.
//!
//! Promises one change each, as in `negative`; each is here for one check of the verifier.

use super::forged_keys::before_retirement;
use super::negative::{AT, Change, forged, opened, with_stolen_node_key};
use super::{anchor, cosigned_frames, document, later, small, vouch};
use crate::ledger::{Ledger, seal};
use crate::promising;
use muniment_evidence::bundle::{FRAME_BYTES_MAX, Frame, Manifest};
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{OutboxId, RecordIndex, Sequence, TreeSize};
use muniment_evidence::opening::{BootOutbox, Document};
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::statement::Lane;

pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let small = small();
    let mut promise = promising::promise(&small, 9).encode();
    promise.pop();
    let stolen = promising::promise(&with_stolen_outbox_key(), 4);
    let mut all = vec![
        ("head-nothing", small.note(0).into_bytes()),
        (
            "head-retired",
            before_retirement(false).note(5).into_bytes(),
        ),
        ("head-fork", other_root().note(small.len()).into_bytes()),
        ("promise-truncated", promise),
        ("promise-stolen", stolen.encode()),
        ("promise-strict", promising::promise(&small, 5).encode()),
    ];
    all.extend(streams());
    all.extend(frames().map(|(name, frames)| (name, seal(&frames))));
    all.extend(ledgers().map(|(name, ledger)| (name, ledger.bundle())));
    all
}

/// Whoever stole a node's key promises under it.
pub fn with_stolen_outbox_key() -> Ledger {
    let mut ledger = with_stolen_node_key();
    ledger.entries.truncate(4);
    let download = Document::Download(ledger.download_of([3; 16]));
    ledger.record(2, Lane::Outbox(OutboxId::new(5)), download, Outcome::Ok);
    ledger
}

/// The very statement that record 7 refuses stands as OK at 11 too.
pub fn statement_twice() -> Ledger {
    forged(&|ledger| {
        let mut again = ledger.entries[7].clone();
        again.record.outcome = Outcome::Ok;
        again.record.committed_at_ms = ledger.entries[10].record.committed_at_ms;
        ledger.entries.push(again);
    })
}

fn other_root() -> Ledger {
    forged(&|ledger| ledger.entries[7].record.outcome = Outcome::Refused(Reason::NotFound))
}

fn streams() -> [(&'static str, Vec<u8>); 3] {
    let frames = cosigned_frames(&small(), 0);
    let bytes = seal(&frames);
    let first_record_at = seal(&frames[..AT]).len() - seal(&[]).len() + magic();
    let changed = |at: usize, to: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = to;
        bytes
    };
    let too_long = (FRAME_BYTES_MAX as u32 + 1).to_be_bytes();
    let mut length = bytes.clone();
    length[first_record_at + 1..first_record_at + 5].copy_from_slice(&too_long);
    [
        ("stream-begins.bin", changed(0, b'M')),
        ("stream-length.bin", length),
        // Neither there nor not: type, length, length of the record, the record, the flag.
        ("stream-flag.bin", changed(first_record_at + 5 + 4 + 298, 2)),
    ]
}

/// Of the magic that begins even an empty bundle.
fn magic() -> usize {
    muniment_evidence::bundle::MAGIC.len()
}

fn frames() -> [(&'static str, Vec<Frame>); 8] {
    let small = small();
    let frames = |change: Change<'_, Vec<Frame>>| {
        let mut frames = cosigned_frames(&small, 0);
        change(&mut frames);
        frames
    };
    let announced = |change: Change<'_, Manifest>| {
        frames(&|frames| match &mut frames[0] {
            Frame::Manifest(manifest) => change(manifest),
            other => panic!("not a manifest: {other:?}"),
        })
    };
    let mut root = other_root().frames(0);
    vouch(&mut root, small.note(small.len()));
    for frame in &mut root {
        if let Frame::Last(last) = frame {
            *last = small.last_record(small.len());
        }
    }
    let mut first = later();
    first.remove(first.len() - 2);
    let mut again = later();
    again.extend(again.last().cloned());
    [
        (
            "frame-order.bin",
            frames(&|frames| {
                let checkpoint = frames.pop().expect("a checkpoint");
                frames.insert(AT + 2, checkpoint);
            }),
        ),
        (
            "manifest-origin.bin",
            announced(&|manifest| manifest.origin = "ledger.example/1".into()),
        ),
        (
            "record-of-bundle.bin",
            frames(&|frames| opened(&mut frames[AT + 6]).record[0] = 9),
        ),
        (
            "range-short.bin",
            announced(&|manifest| {
                manifest.end = TreeSize::new(12);
                manifest.head = TreeSize::new(12);
            }),
        ),
        (
            "range-exceeded.bin",
            announced(&|manifest| manifest.end = TreeSize::new(10)),
        ),
        ("records-root.bin", root),
        ("checkpoint-first.bin", first),
        ("checkpoint-again.bin", again),
    ]
}

fn ledgers() -> [(&'static str, Ledger); 15] {
    let mut prev = small();
    prev.entries[6].record.prev = Digest([1; 32]);
    for at in 7..prev.len() {
        prev.entries[at as usize].record.prev = prev.leaf(at - 1);
    }
    let mut unused = Ledger::found(1);
    for node in [1, 2, 2] {
        unused.boot(node);
    }
    let download = Document::Download(unused.download_of([4; 16]));
    unused.record(2, Lane::Strict(RecordIndex::new(2)), download, Outcome::Ok);
    let stated = |next, last| {
        forged(&|ledger| {
            let Document::Boot(mut boot) = document(ledger, 3) else {
                panic!("record 3 is a BOOT");
            };
            boot.outboxes.push(BootOutbox {
                id: OutboxId::new(3),
                next: Sequence::new(next),
                last,
                lost: false,
            });
            ledger.record(3, Lane::Boot, Document::Boot(boot), Outcome::Ok);
        })
    };
    // Three statements of an outbox are pending, and then the node says otherwise.
    let restated = |again: &[u64], last| {
        forged(&|ledger| {
            let says = |ledger: &mut Ledger, nexts: &[u64]| {
                let Document::Boot(mut boot) = document(ledger, 1) else {
                    panic!("record 1 is a BOOT");
                };
                boot.outboxes = nexts
                    .iter()
                    .map(|next| BootOutbox {
                        id: OutboxId::new(7),
                        next: Sequence::new(*next),
                        last: if *next == 0 { Digest::ZERO } else { last },
                        lost: false,
                    })
                    .collect();
                ledger.record(1, Lane::Boot, Document::Boot(boot), Outcome::Ok);
            };
            says(ledger, &[1]);
            match again {
                [] => {
                    let download = Document::Download(ledger.download_of([4; 16]));
                    ledger.record(1, Lane::Outbox(OutboxId::new(7)), download, Outcome::Ok);
                }
                nexts => says(ledger, nexts),
            }
        })
    };
    let ends = |download| {
        forged(&|ledger| {
            ledger.end(2, &[download]);
        })
    };
    [
        ("chain-prev.bin", prev),
        ("statement-twice.bin", statement_twice()),
        (
            "lane-boot.bin",
            forged(&|ledger| {
                let download = document(ledger, 5);
                ledger.record(1, Lane::Boot, download, Outcome::Ok);
            }),
        ),
        ("lane-unused.bin", unused),
        (
            "lane-repeat.bin",
            forged(&|ledger| {
                ledger.entries[10].record.statement.seq = Sequence::new(1);
                ledger.resign(10);
            }),
        ),
        (
            "lane-link.bin",
            forged(&|ledger| {
                ledger.entries[10].record.statement.prev = Digest([1; 32]);
                ledger.resign(10);
            }),
        ),
        ("outbox-next.bin", stated(0, Digest::ZERO)),
        ("outbox-last.bin", stated(1, Digest([1; 32]))),
        ("outbox-back.bin", restated(&[0], Digest([7; 32]))),
        ("outbox-twice.bin", restated(&[1, 1], Digest([7; 32]))),
        ("outbox-as-said.bin", restated(&[], Digest([7; 32]))),
        (
            "duplicate-later.bin",
            forged(&|ledger| {
                ledger.issue(1, "X", Outcome::DuplicateOf(RecordIndex::new(11)));
            }),
        ),
        (
            "anchor-nothing.bin",
            forged(&|ledger| {
                let anchor = anchor(ledger, &ledger.checkpoint(0), true);
                ledger.strict(1, anchor, Outcome::Ok);
            }),
        ),
        ("end-later.bin", ends(11)),
        ("end-of-issue.bin", ends(4)),
    ]
}
