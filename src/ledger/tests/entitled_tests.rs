//! Who may say what: a node's word is about itself, and of its role.

use super::membership_tests::{four, issue, named};
use super::*;
use crate::domain::ids::{LogIndex, Term};
use crate::ledger::policy::UPLOAD_EPOCH;
use muniment_evidence::mode::Phase;
use muniment_evidence::opening::{
    DownloadDocument, DownloadEndDocument, LeaderDocument, ModeDocument, PolicyDocument, Setting,
};

fn begin_term(ledger: &mut TestLedger, term: u64, log_index: u64) {
    let (term, log_index) = (Term::new(term), LogIndex::new(log_index));
    let mut txn = Txn::begin(ledger.engine.as_ref(), Generation(0));
    apply::leader(&mut txn, &mut ledger.tip, term, log_index).unwrap();
    ledger.engine.write(txn.into_batch()).unwrap();
    ledger.term = term;
}

fn office(term: u64, leader: u64, log_index: u64) -> Document {
    Document::Leader(LeaderDocument {
        term: Term::new(term),
        leader: NodeId::new(leader),
        log_index: LogIndex::new(log_index),
    })
}

fn said(ledger: &mut TestLedger, lane: &mut TestSigner, document: &Document) -> Outcome {
    let said = lane.write(ledger, document);
    ledger.outcomes(vec![said])[0]
}

/// The next leader was not there: it can neither say who led before nor that it did itself.
#[test]
fn a_term_is_attested_by_its_own_leader_once_and_only_while_it_lasts() {
    let (mut ledger, mut lane) = four();
    begin_term(&mut ledger, 7, 40);
    begin_term(&mut ledger, 8, 50);
    let refused = Outcome::Refused;
    for (document, outcome) in [
        (office(7, 1, 40), refused(Reason::NotDue)),
        (office(7, 2, 40), refused(Reason::NotEntitled)),
        (office(8, 2, 50), refused(Reason::NotEntitled)),
        (office(8, 1, 40), refused(Reason::NotDue)),
        (office(8, 1, 50), Outcome::Ok),
        (office(8, 1, 50), refused(Reason::NotDue)),
    ] {
        assert_eq!(said(&mut ledger, &mut lane, &document), outcome);
    }
    // Of a term that is over nothing is due any more.
    begin_term(&mut ledger, 9, 60);
    begin_term(&mut ledger, 10, 70);
    let due = ledger.tables().due(10).unwrap();
    let due: Vec<u64> = due.iter().map(|(log_index, _)| log_index.get()).collect();
    assert_eq!(due.last(), Some(&70));
    assert!(!due.contains(&60), "{due:?}");
}

#[test]
fn a_learner_moves_no_epoch() {
    let (mut ledger, _) = four();
    let mut boots = TestSigner::new(4, Lane::Boot);
    let row = ledger.tables().lane(NodeId::new(4), Lane::Boot).unwrap();
    let row = row.unwrap();
    (boots.seq, boots.prev) = (row.next_seq.get(), row.last);
    let mut learner = ledger.boot(&mut boots);
    let policy = Document::Policy(PolicyDocument {
        settings: vec![Setting {
            name: UPLOAD_EPOCH.into(),
            value: ledger.head().upload_epoch.next().get(),
        }],
        order: None,
    });
    let not_entitled = Outcome::Refused(Reason::NotEntitled);
    assert_eq!(said(&mut ledger, &mut learner, &policy), not_entitled);
}

/// Its keys are still in force, and it may go on submitting: it is not heard.
#[test]
fn a_node_that_has_left_has_no_lane_any_more() {
    let (mut ledger, mut lane) = four();
    let mut boots = TestSigner::new(3, Lane::Boot);
    let row = ledger.tables().lane(NodeId::new(3), Lane::Boot).unwrap();
    let row = row.unwrap();
    (boots.seq, boots.prev) = (row.next_seq.get(), row.last);
    let mut leaving = ledger.boot(&mut boots);
    let prepared = ledger.head().size.next_index();
    let step = |phase| {
        Document::Mode(ModeDocument {
            phase,
            number: 0,
            voters: [1, 2, 4].map(NodeId::new).to_vec(),
            sync_learners: Vec::new(),
            async_learners: Vec::new(),
            prepared: (phase != Phase::Prepare).then_some(prepared),
            reason: String::new(),
            order: None,
        })
    };
    assert_eq!(
        said(&mut ledger, &mut lane, &step(Phase::Prepare)),
        Outcome::Ok
    );
    ledger.members(&[&[1, 2, 4]], &[]);
    let last = leaving.write(&ledger, &remark(1));
    assert_eq!(ledger.outcomes(vec![last]), [Outcome::Ok]);
    assert_eq!(
        said(&mut ledger, &mut lane, &step(Phase::Done)),
        Outcome::Ok
    );
    let more = leaving.write(&ledger, &remark(2));
    let again = boots.write(&ledger, &boot(3));
    let answers = ledger.apply(0, vec![more, again]);
    assert_eq!(answers, [Answer::LaneClosed, Answer::LaneClosed]);
}

#[test]
fn a_download_is_ended_once_by_who_served_it_with_what_its_range_has() {
    let (mut ledger, mut lane) = four();
    let issued = issue(&ledger, &mut lane, 1, Level::Quorum, &[(1, 1), (2, 2)]);
    assert_eq!(ledger.outcomes(vec![issued]), [Outcome::Ok]);
    let download = |start, end| {
        Document::Download(DownloadDocument {
            tenant: "default".into(),
            uid: [1; 16],
            role: "original".into(),
            sha256: Digest([5; 32]),
            chunk_root: Digest([5; 32]),
            start,
            end,
            length: 4,
            deadline_ms: None,
        })
    };
    let malformed = Outcome::Refused(Reason::Malformed);
    assert_eq!(said(&mut ledger, &mut lane, &download(3, 2)), malformed);
    assert_eq!(said(&mut ledger, &mut lane, &download(0, 5)), malformed);
    let of = ledger.head().size.next_index();
    assert_eq!(said(&mut ledger, &mut lane, &download(1, 4)), Outcome::Ok);
    let end_of = |tenant: &str, download, bytes| {
        let delivered = Delivered {
            download,
            bytes,
            complete: false,
        };
        Document::DownloadEnd(DownloadEndDocument {
            tenant: tenant.into(),
            downloads: vec![delivered],
        })
    };
    let end = |download, bytes| end_of("default", download, bytes);
    let mut boots = TestSigner::new(2, Lane::Boot);
    let row = ledger.tables().lane(NodeId::new(2), Lane::Boot).unwrap();
    let row = row.unwrap();
    (boots.seq, boots.prev) = (row.next_seq.get(), row.last);
    let mut other = ledger.boot(&mut boots);
    let refused = Outcome::Refused;
    let not_due = refused(Reason::NotDue);
    let stolen = said(&mut ledger, &mut other, &end(of, 3));
    assert_eq!(stolen, refused(Reason::NotEntitled));
    let elsewhere = said(&mut ledger, &mut lane, &end_of("other", of, 3));
    assert_eq!(elsewhere, refused(Reason::NotEntitled));
    assert_eq!(said(&mut ledger, &mut lane, &end(of, 4)), malformed);
    let no_download = RecordIndex::new(2);
    assert_eq!(said(&mut ledger, &mut lane, &end(no_download, 0)), not_due);
    assert_eq!(said(&mut ledger, &mut lane, &end(of, 3)), Outcome::Ok);
    assert_eq!(said(&mut ledger, &mut lane, &end(of, 3)), not_due);
}

/// Enough others hold it; the one that does not fit would spoil the record for every verifier.
#[test]
fn a_holding_of_another_zone_or_ledger_or_body_is_refused_though_it_is_not_needed() {
    let (mut ledger, mut lane) = four();
    let holders = [(1, 1), (2, 2), (3, 3)];
    let mut decided = |number, spoil: fn(&mut muniment_evidence::opening::Holding)| {
        let mut document = named(&ledger, number, &holders);
        spoil(&mut document.holdings[2]);
        let said = super::membership_tests::issue_of(&ledger, &mut lane, Level::Quorum, document);
        ledger.outcomes(vec![said])[0]
    };
    let refused = Outcome::Refused(Reason::HoldingsInsufficient);
    assert_eq!(decided(1, |holding| holding.zone = "z9".into()), refused);
    assert_eq!(
        decided(2, |holding| holding.ledger = Digest([9; 32])),
        refused
    );
    assert_eq!(decided(3, |holding| holding.length = 5), refused);
    assert_eq!(
        decided(4, |holding| holding.node = NodeId::new(99)),
        refused
    );
    assert_eq!(decided(5, |_| {}), Outcome::Ok);
}
