//! Promises: what a bundle says became of them.

#[path = "../../evidence/tests/ledger/mod.rs"]
mod ledger;
#[path = "../../evidence/tests/promising/mod.rs"]
mod promising;
mod running;

use ledger::Ledger;
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{OutboxId, Sequence};
use muniment_evidence::opening::{BootDocument, BootOutbox, Document};
use muniment_evidence::promise::Promise;
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::statement::Lane;
use promising::promise;
use running::{Files, run};

const OUTBOX: u64 = 40;

/// An issue and a deferred download by node 3 with the outcome; its index.
fn with_download(outcome: Outcome) -> (Ledger, u64) {
    let mut ledger = Ledger::found(1);
    for node in 1..=3 {
        ledger.boot(node);
    }
    let uid = ledger.issue(1, "P-1", Outcome::Ok);
    let download = Document::Download(ledger.download_of(uid));
    let index = ledger.record(3, Lane::Outbox(OutboxId::new(OUTBOX)), download, outcome);
    (ledger, index)
}

/// A BOOT of node 3 that tells of its outbox.
fn boot_telling(ledger: &mut Ledger, outbox: BootOutbox) {
    let boot = Document::Boot(BootDocument {
        incarnation: [3; 16],
        statement_key: muniment_evidence::key::Signer::public(&ledger.key(3)),
        software: "test".into(),
        outboxes: vec![outbox],
    });
    ledger.record(3, Lane::Boot, boot, Outcome::Ok);
}

/// Runs the program; exit code, fate, and whether it says that the promise is verified.
fn ask(
    files: &Files,
    promise: &Promise,
    ledger: &Ledger,
    bundle: Option<&Ledger>,
) -> (i32, String) {
    let trust = files.write("trust", ledger.trust().to_string());
    let promise = files.write("promise", promise.encode());
    let mut arguments = vec!["promise", &promise, "--trust", &trust, "--json"];
    let bundle = bundle.map(|ledger| files.write("bundle", ledger.bundle()));
    if let Some(bundle) = &bundle {
        arguments.extend(["--bundle", bundle]);
    }
    let (code, out, err) = run(&arguments);
    assert_eq!(err, "");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let fate = json["answer"]["fate"].as_str().unwrap_or("-");
    (code, fate.to_owned())
}

#[test]
fn a_promise_is_kept_by_its_record_and_by_nothing_else() {
    let files = Files::new("promise");
    let (ledger, index) = with_download(Outcome::Ok);
    let kept = promise(&ledger, index);
    assert_eq!(ask(&files, &kept, &ledger, None), (0, "-".into()));
    let is = |bundle: &Ledger, code: i32, fate: &str| {
        let found = ask(&files, &kept, &ledger, Some(bundle));
        assert_eq!(found, (code, fate.to_owned()));
    };
    is(&ledger, 0, "KEPT");
    let mut before = ledger.clone();
    before.entries.truncate(index as usize);
    is(&before, 27, "PENDING");
    let (refused, _) = with_download(Outcome::Refused(Reason::NotFound));
    is(&refused, 27, "REFUSED");
    // The node signed another release under the same number.
    let mut other = before.clone();
    let uid = other.issue(1, "P-2", Outcome::Ok);
    let document = Document::Download(other.download_of(uid));
    let at = other.record(
        3,
        Lane::Outbox(OutboxId::new(OUTBOX)),
        document,
        Outcome::Ok,
    );
    other.entries[at as usize].record.statement.seq = Sequence::new(0);
    other.entries[at as usize].record.statement.prev = Digest::ZERO;
    other.resign(at);
    other.rechain();
    is(&other, 27, "OTHER");
    // A promise by another ledger's node is none of this bundle's business.
    let stranger = Ledger::realistic(2);
    let found = ask(&files, &kept, &ledger, Some(&stranger));
    assert_eq!(found, (22, "-".to_owned()));
}

#[test]
fn what_is_lost_is_told_and_touches_no_other_promise() {
    let files = Files::new("lost");
    let (mut ledger, index) = with_download(Outcome::Ok);
    let kept = promise(&ledger, index);
    let mut ahead = ledger.clone();
    let document = ahead.entries[index as usize].document.bytes.clone();
    let document = Document::decode(&document).unwrap();
    let at = ahead.record(
        3,
        Lane::Outbox(OutboxId::new(OUTBOX)),
        document,
        Outcome::Ok,
    );
    let pending = promise(&ahead, at);
    let told = BootOutbox {
        id: OutboxId::new(OUTBOX),
        next: Sequence::new(1),
        last: kept.statement.hash(),
        lost: true,
    };
    boot_telling(&mut ledger, told);
    let lost = ask(&files, &pending, &ledger, Some(&ledger));
    assert_eq!(lost, (25, "LOST".to_owned()));
    let kept = ask(&files, &kept, &ledger, Some(&ledger));
    assert_eq!(kept, (0, "KEPT".to_owned()));
}

/// A node that denies at its next start what it promised must not look as if it might still
/// keep it; nor one that promises from an outbox which it gave up before.
#[test]
fn what_a_later_start_denies_is_broken_and_not_pending() {
    let files = Files::new("broken");
    let (mut ledger, index) = with_download(Outcome::Ok);
    let kept = promise(&ledger, index);
    let stated = |lost| BootOutbox {
        id: OutboxId::new(OUTBOX),
        next: Sequence::new(1),
        last: kept.statement.hash(),
        lost,
    };
    let again = |ledger: &Ledger| {
        let mut ahead = ledger.clone();
        let document = &ahead.entries[index as usize].document.bytes;
        let document = Document::decode(document).unwrap();
        let lane = Lane::Outbox(OutboxId::new(OUTBOX));
        let at = ahead.record(3, lane, document, Outcome::Ok);
        promise(&ahead, at)
    };
    let denied = again(&ledger);
    let mut given_up = ledger.clone();
    boot_telling(&mut ledger, stated(false));
    let found = ask(&files, &denied, &ledger, Some(&ledger));
    assert_eq!(found, (27, "BROKEN".to_owned()));
    boot_telling(&mut given_up, stated(true));
    let late = again(&given_up);
    let found = ask(&files, &late, &given_up, Some(&given_up));
    assert_eq!(found, (27, "BROKEN".to_owned()));
}

/// What was handed out once is understood for ever, and kept by the frozen bundle.
#[test]
fn the_frozen_promise_is_kept_by_the_frozen_bundle() {
    let below = |name: &str| {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../evidence/testdata/v2");
        root.join(name).to_str().unwrap().to_owned()
    };
    let (promise, trust) = (below("promise"), below("trust"));
    let bundle = below("bundle-small.bin");
    let (code, out, _) = run(&["promise", &promise, "--trust", &trust, "--bundle", &bundle]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("kept: it is the record 9, OK"), "{out}");
}

/// A promise that may still be kept for ever promises nothing.
#[test]
fn a_promise_ends_with_its_deadline() {
    let files = Files::new("deadline");
    let (without, index) = with_download(Outcome::Ok);
    let committed_at_ms = without.entries[index as usize].record.committed_at_ms;
    let with = |deadline_ms| {
        let (mut ledger, index) = with_download(Outcome::Ok);
        ledger.entries.truncate(index as usize);
        let mut download = ledger.download_of([4; 16]);
        download.deadline_ms = Some(deadline_ms);
        let before = ledger.clone();
        let lane = Lane::Outbox(OutboxId::new(OUTBOX + 1));
        let at = ledger.record(3, lane, Document::Download(download), Outcome::Ok);
        (before, promise(&ledger, at), ledger)
    };
    let in_time = without.entries.len() as u64 * 1_000 + committed_at_ms;
    for (deadline_ms, kept, later) in [
        (in_time, (0, "KEPT"), (27, "PENDING")),
        (committed_at_ms, (27, "OVERDUE"), (27, "OVERDUE")),
    ] {
        let (before, promised, ledger) = with(deadline_ms);
        let fate = |bundle: &Ledger| ask(&files, &promised, &ledger, Some(bundle));
        assert_eq!(fate(&ledger), (kept.0, kept.1.to_owned()));
        assert_eq!(fate(&before), (27, "PENDING".to_owned()));
        let mut goes_on = before;
        goes_on.issue(1, "P-2", Outcome::Ok);
        assert_eq!(fate(&goes_on), (later.0, later.1.to_owned()));
    }
}
