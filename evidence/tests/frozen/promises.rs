//! Promises, and the bundles that say what became of them: one for each fate.
//!
//! Promises that each bundle verifies, whatever it says of a promise. What becomes of which
//! promise stands in `MANIFEST.tsv`.

use super::{Vector, cosigned_frames, document, revoke};
use crate::ledger::{Ledger, seal};
use crate::promising::promise;
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{OutboxId, Sequence};
use muniment_evidence::opening::{BootOutbox, Document, DownloadDocument};
use muniment_evidence::promise::Promise;
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::statement::Lane;

/// Of node 3, by its number.
const OUTBOX: u64 = 3;
/// Of node 2, which no BOOT names.
const UNNAMED: u64 = 9;
/// Between two records of a small ledger.
const STEP_MS: u64 = 7;

pub fn all() -> Vec<Vector> {
    let (recorded, mut promises) = recorded();
    let restarted = restarted(&recorded, &mut promises);
    let (revoked, kept) = revoked_later();
    promises.push(("promise-revoked-later", kept));
    let mut all: Vec<Vector> = [
        ("bundle-promises.bin", cosigned_frames(&recorded, 0)),
        ("bundle-restarts.bin", restarted.frames(0)),
        ("slice-restarts.bin", restarted.frames(10)),
        ("bundle-revoked-later.bin", revoked.frames(0)),
    ]
    .map(|(name, frames)| (name.to_owned(), seal(&frames)))
    .into();
    let encoded = |(name, promise): (&str, Promise)| (name.to_owned(), promise.encode());
    all.extend(promises.into_iter().map(encoded));
    all
}

/// A deferred download in the outbox, up to a deadline; its index.
fn defer(ledger: &mut Ledger, lane: Lane, deadline_ms: Option<u64>, outcome: Outcome) -> u64 {
    let download = Document::Download(DownloadDocument {
        deadline_ms,
        ..ledger.download_of([4; 16])
    });
    let node = if lane == outbox(UNNAMED) { 2 } else { 3 };
    ledger.record(node, lane, download, outcome)
}

fn outbox(id: u64) -> Lane {
    Lane::Outbox(OutboxId::new(id))
}

/// A BOOT of node 3 that says of its outbox that the statement `next` is the next one.
fn boot_saying(ledger: &mut Ledger, next: u64, last: Digest, lost: bool) {
    let Document::Boot(mut boot) = document(ledger, 3) else {
        panic!("record 3 is a BOOT");
    };
    boot.outboxes = vec![BootOutbox {
        id: OutboxId::new(OUTBOX),
        next: Sequence::new(next),
        last,
        lost,
    }];
    ledger.record(3, Lane::Boot, Document::Boot(boot), Outcome::Ok);
}

/// Ten records: one in time, to the millisecond; one a millisecond late; one refused; one that
/// is another than was promised; and time goes on.
fn recorded() -> (Ledger, Vec<(&'static str, Promise)>) {
    let mut ledger = Ledger::found(1);
    for node in 1..=3 {
        ledger.boot(node);
    }
    ledger.issue(1, "D-1", Outcome::Ok);
    let lane = outbox(OUTBOX);
    let next_ms = |ledger: &Ledger| time_ms(ledger) + STEP_MS;
    let (in_time, late) = (next_ms(&ledger), next_ms(&ledger) + STEP_MS - 1);
    let in_time = defer(&mut ledger, lane, Some(in_time), Outcome::Ok);
    let late = defer(&mut ledger, lane, Some(late), Outcome::Ok);
    let refused = Outcome::Refused(Reason::NotFound);
    let refused = defer(&mut ledger, lane, None, refused);
    let mut twice = ledger.clone();
    let other = defer(&mut twice, lane, Some(1), Outcome::Ok);
    let other = promise(&twice, other);
    defer(&mut ledger, lane, None, Outcome::Ok);
    // Signed, and not yet recorded: the numbers 4, 5 and 6; and one of a node that hides it.
    let mut ahead = ledger.clone();
    let passed = Some(time_ms(&ledger));
    let pending = defer(&mut ahead, lane, None, Outcome::Ok);
    let overdue = defer(&mut ahead, lane, passed, Outcome::Ok);
    let denied = defer(&mut ahead, lane, None, Outcome::Ok);
    let hidden = defer(&mut ahead, outbox(UNNAMED), None, Outcome::Ok);
    ledger.issue(1, "D-2", Outcome::Ok);
    let promises = vec![
        ("promise-in-time", promise(&ledger, in_time)),
        ("promise-late", promise(&ledger, late)),
        ("promise-refused", promise(&ledger, refused)),
        ("promise-other", other),
        ("promise-pending", promise(&ahead, pending)),
        ("promise-overdue", promise(&ahead, overdue)),
        ("promise-denied", promise(&ahead, denied)),
        ("promise-hidden", promise(&ahead, hidden)),
    ];
    (ledger, promises)
}

fn time_ms(ledger: &Ledger) -> u64 {
    let last = ledger.entries.last().expect("a ledger begins with GENESIS");
    last.record.committed_at_ms
}

/// Three BOOTs more: node 3 says that five were signed; that the outbox is lost; and node 2
/// that it has none. A promise from the lost one comes after that.
fn restarted(recorded: &Ledger, promises: &mut Vec<(&'static str, Promise)>) -> Ledger {
    let mut ledger = recorded.clone();
    let name = "promise-pending";
    let pending = promises.iter().find(|(known, _)| *known == name);
    let last = pending.expect("it is made above").1.statement.hash();
    // After what was signed meanwhile: four statements, by the same clock.
    for number in ["D-3", "D-4", "D-5", "D-6"] {
        ledger.issue(1, number, Outcome::Ok);
    }
    boot_saying(&mut ledger, 5, last, false);
    boot_saying(&mut ledger, 5, last, true);
    ledger.boot(2);
    let mut after = ledger.clone();
    let at = defer(&mut after, outbox(OUTBOX), None, Outcome::Ok);
    promises.push(("promise-given-up", promise(&after, at)));
    ledger
}

/// A key promises and records, and is revoked from there on.
fn revoked_later() -> (Ledger, Promise) {
    let mut ledger = Ledger::found_with_roots(1, 2);
    ledger.boot(1);
    ledger.boot(2);
    ledger.issue(1, "D-1", Outcome::Ok);
    let download = Document::Download(ledger.download_of([3; 16]));
    let at = ledger.record(2, outbox(5), download, Outcome::Ok);
    let kept = promise(&ledger, at);
    let trusted_until = ledger.len();
    revoke(&mut ledger, 2, trusted_until);
    ledger.boot(1);
    (ledger, kept)
}
