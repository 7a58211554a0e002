//! Promises: what they show by themselves. What became of one, a bundle says, and the
//! questions of `audit/` ask.

mod ledger;
mod promising;

use ledger::Ledger;
use muniment_evidence::class::FindingClass;
use muniment_evidence::ids::{NodeId, OutboxId, RecordIndex, UploadEpoch};
use muniment_evidence::keychange::{Action, Role};
use muniment_evidence::opening::Document;
use muniment_evidence::promise::Promise;
use muniment_evidence::record::Outcome;
use muniment_evidence::report::Verdict;
use muniment_evidence::statement::{Lane, Mode};
use muniment_evidence::verify::{self, Expected, KnownKeys};
use promising::promise;

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

#[test]
fn a_promise_that_is_altered_or_of_another_kind_does_not_verify() {
    let (ledger, index) = with_download(Outcome::Ok);
    let good = promise(&ledger, index);
    let class = |promise: &Promise| {
        let (report, promised) = verify::promise(&promise.encode(), Some(&ledger.trust()), None);
        assert_eq!(promised.is_some(), report.holds());
        match report.verdict() {
            Verdict::Failed(class) => Some(class),
            _ => None,
        }
    };
    assert_eq!(class(&good), None);
    let altered = |alter: &dyn Fn(&mut Promise)| {
        let mut promise = good.clone();
        alter(&mut promise);
        class(&promise)
    };
    assert_eq!(
        altered(&|p| p.signature.0[3] ^= 1),
        Some(FindingClass::BadSignature)
    );
    assert_eq!(
        altered(&|p| p.statement.seq = p.statement.seq.next()),
        Some(FindingClass::BadSignature)
    );
    assert_eq!(
        altered(&|p| p.document.salt[0] ^= 1),
        Some(FindingClass::Opening)
    );
    assert_eq!(
        altered(&|p| p.actor.bytes[0] ^= 1),
        Some(FindingClass::Opening)
    );
    assert_eq!(
        altered(&|p| p.statement.mode = Mode::Strict),
        Some(FindingClass::Structure)
    );
    assert_eq!(
        altered(&|p| p.statement.node = NodeId::new(99)),
        Some(FindingClass::UnknownKey)
    );
    let unpinned = verify::promise(&good.encode(), None, None).0;
    assert_eq!(unpinned.verdict(), Verdict::Unpinned);
    let other = Ledger::found(2).trust();
    let untrusted = verify::promise(&good.encode(), Some(&other), None).0;
    assert_eq!(
        untrusted.verdict(),
        Verdict::Failed(FindingClass::Untrusted)
    );
}

/// The node's key of then may be retired; once it is revoked, nobody believes its word.
#[test]
fn a_retired_key_still_promises_and_a_revoked_one_does_not() {
    let (mut ledger, index) = with_download(Outcome::Ok);
    let good = promise(&ledger, index);
    let old = ledger.key(3);
    ledger.turns.insert(3, 1);
    let fresh = ledger.key(3);
    ledger.turns.insert(3, 0);
    let add = ledger.node_change(Action::Add, Role::Statement, 3, &fresh);
    ledger.change_keys(vec![add], &[fresh]);
    let retire = ledger.node_change(
        Action::Retire {
            last_epoch: UploadEpoch::new(1),
        },
        Role::Statement,
        3,
        &old,
    );
    ledger.change_keys(vec![retire], &[]);
    let retired = Promise {
        keys: ledger.key_records(ledger.len()),
        ..good.clone()
    };
    assert!(verify::promise(&retired.encode(), None, None).0.holds());
    let revoke = Action::Revoke {
        trusted_until: RecordIndex::new(ledger.len()),
    };
    let revoke = ledger.node_change(revoke, Role::Statement, 3, &old);
    ledger.change_keys(vec![revoke], &[]);
    let revoked = Promise {
        keys: ledger.key_records(ledger.len()),
        ..good
    };
    let report = verify::promise(&revoked.encode(), None, None).0;
    assert_eq!(
        report.verdict(),
        Verdict::Failed(FindingClass::Revoked),
        "{report}"
    );
    // The same promise, as its node wrote it before: what is known since counts too.
    let later = verify::receipt(&ledger.receipt(0).encode(), Expected::default());
    let known = KnownKeys::of(&later).expect("the receipt shows all changes");
    let report = verify::promise(&retired.encode(), None, Some(&known)).0;
    assert_eq!(report.verdict(), Verdict::Failed(FindingClass::Revoked));
}
