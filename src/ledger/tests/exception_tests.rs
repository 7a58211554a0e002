//! What is wrong for good is said once, of what is there, by whom it is up to.

use super::order_tests::{hear, operated, operator};
use super::*;
use muniment_evidence::endorsement::Endorsable;
use muniment_evidence::opening::{PlannedDocument as Planned, Rendition};
use muniment_evidence::planned::{BodyLostDocument, WaiverDocument};

fn lost(ledger: &TestLedger, uid: [u8; 16], rendition: &Rendition) -> BodyLostDocument {
    BodyLostDocument {
        tenant: "t".into(),
        uid,
        role: rendition.role.clone(),
        body_id: rendition.body_id,
        sha256: rendition.sha256,
        chunk_root: rendition.chunk_root,
        length: rendition.length,
        asked: vec![NodeId::new(1), NodeId::new(2)],
        reason: "both disks burnt".into(),
        endorsements: ledger.endorsements(),
    }
}

fn waiver(ledger: &TestLedger, index: RecordIndex) -> WaiverDocument {
    let record = ledger.tables().record_bytes(index).unwrap().unwrap();
    WaiverDocument {
        index,
        leaf: muniment_evidence::tree::leaf_hash(&record),
        check: "R4".into(),
        reason: "node 1 led with a broken memory".into(),
        endorsements: ledger.endorsements(),
    }
}

const NOT_FOUND: Outcome = Outcome::Refused(Reason::NotFound);
const NOT_DUE: Outcome = Outcome::Refused(Reason::NotDue);

#[test]
fn a_body_is_lost_once_and_as_its_record_names_it() {
    let (mut ledger, mut lane) = four();
    let document = named(&ledger, 1, &[(1, 1), (2, 2)]);
    let tenant = document.metadata.identity.tenant.clone();
    let (uid, rendition) = (document.uid, document.renditions[0].clone());
    let said = issue_of(&ledger, &mut lane, Level::Quorum, document);
    ledger.apply(0, vec![said]);
    let good = || BodyLostDocument {
        tenant: tenant.clone(),
        ..lost(&ledger, uid, &rendition)
    };
    let other: [&dyn Fn(&mut BodyLostDocument); 6] = [
        &|d| d.tenant = "another".into(),
        &|d| d.uid = [9; 16],
        &|d| d.role = "xml".into(),
        &|d| d.body_id = BodyId::new([9; 16]),
        &|d| d.sha256 = Digest([9; 32]),
        &|d| d.length += 1,
    ];
    let wrong = other.map(|change| {
        let mut document = good();
        change(&mut document);
        Document::Planned(Planned::BodyLost(document))
    });
    let right = Document::Planned(Planned::BodyLost(good()));
    for document in &wrong {
        assert_eq!(
            hear(&mut ledger, &mut lane, document),
            NOT_FOUND,
            "{document:?}"
        );
    }
    let at = ledger.head().size.next_index();
    assert_eq!(hear(&mut ledger, &mut lane, &right), Outcome::Ok);
    let row = ledger.tables().named(&rendition.body_id).unwrap().unwrap();
    assert_eq!(row.lost, Some(at));
    assert_eq!(hear(&mut ledger, &mut lane, &right), NOT_DUE);
}

#[test]
fn a_record_is_waived_once_and_by_its_leaf() {
    let (mut ledger, mut lane) = four();
    let index = RecordIndex::new(3);
    let good = waiver(&ledger, index);
    let mut of_another = good.clone();
    of_another.leaf = Digest([9; 32]);
    let mut to_come = good.clone();
    to_come.index = RecordIndex::new(900);
    for wrong in [of_another, to_come] {
        let wrong = Document::Planned(Planned::Waiver(wrong));
        assert_eq!(hear(&mut ledger, &mut lane, &wrong), NOT_FOUND);
    }
    assert_eq!(ledger.tables().waived(index).unwrap(), None);
    let at = ledger.head().size.next_index();
    let good = Document::Planned(Planned::Waiver(good));
    assert_eq!(hear(&mut ledger, &mut lane, &good), Outcome::Ok);
    assert_eq!(ledger.tables().waived(index).unwrap(), Some(at));
    assert_eq!(hear(&mut ledger, &mut lane, &good), NOT_DUE);
}

/// A member that could waive its own bad record, or declare lost what it deleted, would have
/// every other one vouch for it.
#[test]
fn only_an_operator_says_what_is_wrong_for_good() {
    let (mut ledger, mut lane) = operated();
    let index = RecordIndex::new(2);
    let wanted = waiver(&ledger, index);
    let unsigned = Document::Planned(Planned::Waiver(wanted.clone()));
    let not_entitled = Outcome::Refused(Reason::NotEntitled);
    assert_eq!(hear(&mut ledger, &mut lane, &unsigned), not_entitled);
    let signed = |ledger: &TestLedger, key: &SecretKey| {
        let mut document = wanted.clone();
        let mut order = ledger.endorsements();
        order.sign(&ledger.head().ledger, &document as &dyn Endorsable, key);
        document.endorsements = order;
        Document::Planned(Planned::Waiver(document))
    };
    let by_a_member = signed(&ledger, &SecretKey::from_seed(&[1; 32]));
    assert_eq!(hear(&mut ledger, &mut lane, &by_a_member), not_entitled);
    let ordered = signed(&ledger, &operator(0));
    assert_eq!(hear(&mut ledger, &mut lane, &ordered), Outcome::Ok);
}
