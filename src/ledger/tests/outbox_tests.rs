//! Outboxes: named at every boot, or lost for all to see.

use super::*;
use crate::domain::ids::{NodeId, OutboxId, Sequence};
use crate::ledger::outboxes::OUTBOXES_MAX;
use crate::ledger::rows::LaneRow;
use muniment_evidence::opening::{BootOutbox, DownloadDocument, DownloadEndDocument};

const ID: u64 = 77;

fn there(id: u64) -> BootOutbox {
    BootOutbox {
        id: OutboxId::new(id),
        next: Sequence::FIRST,
        last: Digest::ZERO,
        lost: false,
    }
}

/// A BOOT of node 1 that tells of these.
fn boot(boots: &mut TestSigner, ledger: &TestLedger, outboxes: Vec<BootOutbox>) -> Submission {
    let mut boot = super::boot(1);
    if let Document::Boot(boot) = &mut boot {
        boot.outboxes = outboxes;
    }
    boots.write(ledger, &boot)
}

fn download(signer: &mut TestSigner, ledger: &TestLedger) -> Submission {
    signer.write_in(
        ledger,
        &Document::Download(DownloadDocument {
            tenant: "default".into(),
            uid: [1; 16],
            role: "original".into(),
            sha256: Digest([2; 32]),
            chunk_root: Digest([2; 32]),
            start: 0,
            end: 1,
            length: 1,
            deadline_ms: None,
        }),
        Mode::Deferred,
    )
}

/// Another statement than a download.
fn of_none() -> Document {
    Document::DownloadEnd(DownloadEndDocument {
        tenant: "default".into(),
        downloads: Vec::new(),
    })
}

fn lane(ledger: &TestLedger, id: u64) -> Option<LaneRow> {
    ledger
        .tables()
        .lane(NodeId::new(1), Lane::Outbox(OutboxId::new(id)))
        .unwrap()
}

#[test]
fn an_outbox_drains_over_boots_while_strict_lanes_close() {
    let (mut ledger, mut boots, mut strict) = TestLedger::booted();
    let mut outbox = TestSigner::new(1, Lane::Outbox(OutboxId::new(ID)));
    // No BOOT has named it.
    let early = download(
        &mut TestSigner::new(1, Lane::Outbox(OutboxId::new(ID))),
        &ledger,
    );
    assert_eq!(ledger.apply(0, vec![early]), [Answer::LaneClosed]);
    let first = boot(&mut boots, &ledger, vec![there(ID)]);
    assert_eq!(ledger.apply(0, vec![first]), [ok(2)]);
    assert_eq!(ledger.tables().outboxes(NodeId::new(1)).unwrap().len(), 1);
    // The invoice is not there, so REFUSED; the number is consumed all the same.
    let said: Vec<_> = (0..3).map(|_| download(&mut outbox, &ledger)).collect();
    let gone = refused(3, Reason::NotFound);
    assert_eq!(ledger.apply(0, vec![said[0].clone()]), [gone]);
    let stale = strict.write(&ledger, &remark(1));
    assert_eq!(ledger.apply(0, vec![stale]), [Answer::LaneClosed]);
    let again = BootOutbox {
        next: Sequence::new(3),
        last: said[2].statement.hash(),
        ..there(ID)
    };
    let second = boot(&mut boots, &ledger, vec![again]);
    assert_eq!(ledger.apply(0, vec![second]), [ok(4)]);
    // What was signed before goes on, as the same bytes, and is seen once.
    let answers = ledger.apply(0, said);
    let rest = [
        gone,
        refused(5, Reason::NotFound),
        refused(6, Reason::NotFound),
    ];
    assert_eq!(answers, rest);
    assert_eq!(lane(&ledger, ID).unwrap().next_seq, Sequence::new(3));
}

#[test]
fn a_boot_that_leaves_an_outbox_out_or_takes_statements_back_is_refused() {
    let (mut ledger, mut boots, _) = TestLedger::booted();
    let named = boot(&mut boots, &ledger, vec![there(ID)]);
    ledger.apply(0, vec![named]);
    let mut outbox = TestSigner::new(1, Lane::Outbox(OutboxId::new(ID)));
    let said = [
        download(&mut outbox, &ledger),
        download(&mut outbox, &ledger),
    ];
    let last = said[1].statement.hash();
    ledger.apply(0, said.to_vec());
    let many = (0..OUTBOXES_MAX as u64).map(there);
    let wrong: [Vec<BootOutbox>; 8] = [
        vec![],
        vec![there(78)],
        // Below what is recorded, and at it with another past.
        vec![BootOutbox {
            next: Sequence::new(1),
            last,
            ..there(ID)
        }],
        vec![BootOutbox {
            next: Sequence::new(2),
            last: Digest([9; 32]),
            ..there(ID)
        }],
        vec![BootOutbox {
            next: Sequence::new(1),
            last,
            lost: true,
            ..there(ID)
        }],
        // Twice, one that nobody knew as lost, and more than a node can have.
        vec![
            BootOutbox {
                next: Sequence::new(2),
                last,
                ..there(ID)
            };
            2
        ],
        vec![
            BootOutbox {
                next: Sequence::new(2),
                last,
                ..there(ID)
            },
            BootOutbox {
                lost: true,
                ..there(79)
            },
        ],
        many.chain([BootOutbox {
            next: Sequence::new(2),
            last,
            ..there(ID)
        }])
        .collect(),
    ];
    for (at, outboxes) in wrong.into_iter().enumerate() {
        let index = 5 + at as u64;
        let boot = boot(&mut boots, &ledger, outboxes);
        let answers = ledger.apply(0, vec![boot]);
        assert_eq!(answers, [refused(index, Reason::Malformed)], "case {at}");
    }
    let right = boot(
        &mut boots,
        &ledger,
        vec![BootOutbox {
            next: Sequence::new(9),
            last,
            ..there(ID)
        }],
    );
    assert_eq!(ledger.apply(0, vec![right]), [ok(13)]);
}

#[test]
fn a_lost_outbox_is_closed_for_ever_and_need_not_be_named_again() {
    let (mut ledger, mut boots, _) = TestLedger::booted();
    let named = boot(&mut boots, &ledger, vec![there(ID)]);
    ledger.apply(0, vec![named]);
    let mut outbox = TestSigner::new(1, Lane::Outbox(OutboxId::new(ID)));
    let first = download(&mut outbox, &ledger);
    let last = first.statement.hash();
    ledger.apply(0, vec![first.clone()]);
    let lost = BootOutbox {
        next: Sequence::new(1),
        last,
        lost: true,
        ..there(ID)
    };
    let tells = boot(&mut boots, &ledger, vec![lost, there(78)]);
    assert_eq!(ledger.apply(0, vec![tells]), [ok(4)]);
    assert!(lane(&ledger, ID).unwrap().closed);
    let ids: Vec<OutboxId> = ledger
        .tables()
        .outboxes(NodeId::new(1))
        .unwrap()
        .iter()
        .map(|o| o.0)
        .collect();
    assert_eq!(ids, [OutboxId::new(78)]);
    // Neither its next statement nor the id from its beginning.
    let late = download(&mut outbox, &ledger);
    assert_eq!(ledger.apply(0, vec![late]), [Answer::LaneClosed]);
    assert_eq!(ledger.apply(0, vec![first]), [Answer::Forgotten]);
    let back = boot(&mut boots, &ledger, vec![there(78), there(ID)]);
    assert_eq!(ledger.apply(0, vec![back]), [refused(5, Reason::Malformed)]);
    let on = boot(&mut boots, &ledger, vec![there(78)]);
    assert_eq!(ledger.apply(0, vec![on]), [ok(6)]);
}

/// An outbox is for releases that were promised, and the record says that they were.
#[test]
fn only_deferred_downloads_stand_in_an_outbox() {
    let (mut ledger, mut boots, _) = TestLedger::booted();
    let named = boot(&mut boots, &ledger, vec![there(ID)]);
    ledger.apply(0, vec![named]);
    let mut outbox = TestSigner::new(1, Lane::Outbox(OutboxId::new(ID)));
    let other = outbox.write(&ledger, &remark(1));
    assert_eq!(
        ledger.apply(0, vec![other]),
        [refused(3, Reason::Malformed)]
    );
}

/// Whoever could say fewer at the next start could unsay what he promised.
#[test]
fn what_a_boot_says_of_an_outbox_binds_the_next_and_the_lane() {
    let (mut ledger, mut boots, _) = TestLedger::booted();
    let named = boot(&mut boots, &ledger, vec![there(ID)]);
    ledger.apply(0, vec![named]);
    let mut outbox = TestSigner::new(1, Lane::Outbox(OutboxId::new(ID)));
    let promised = download(&mut outbox, &ledger);
    let pending = BootOutbox {
        next: Sequence::new(1),
        last: promised.statement.hash(),
        ..there(ID)
    };
    let says = boot(&mut boots, &ledger, vec![pending]);
    assert_eq!(ledger.apply(0, vec![says]), [ok(3)]);
    let unsays = boot(&mut boots, &ledger, vec![there(ID)]);
    let answers = ledger.apply(0, vec![unsays]);
    assert_eq!(answers, [refused(4, Reason::Malformed)]);
    // Another statement in its place; then the very one.
    let mut other = TestSigner::new(1, Lane::Outbox(OutboxId::new(ID)));
    let other = other.write_in(&ledger, &of_none(), Mode::Deferred);
    assert_eq!(ledger.apply(0, vec![other]), [Answer::Equivocation]);
    let answers = ledger.apply(0, vec![promised]);
    assert_eq!(answers, [refused(5, Reason::NotFound)]);
}
