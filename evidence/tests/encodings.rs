//! Each thing that is signed or handed over has one encoding, and reads back from it alone.
//!
//! Statement, record, receipt and promise: cut short, made longer or with a code that the
//! format does not know, none is read. Leaves their meaning to the verifier's tests.

use muniment_evidence::codec::{Reader, Writer};
use muniment_evidence::digest::Digest;
use muniment_evidence::genesis::Genesis;
use muniment_evidence::ids::{NodeId, RecordIndex, Sequence};
use muniment_evidence::key::Signature;
use muniment_evidence::opening::Opening;
use muniment_evidence::promise::Promise;
use muniment_evidence::receipt::{KeyRecord, LastRecord, PATH_MAX, Receipt};
use muniment_evidence::record::{Outcome, Reason, Record};
use muniment_evidence::statement::{Kind, Lane, Level, Mode, Statement};

fn sample() -> Statement {
    Statement {
        kind: Kind::Issue,
        mode: Mode::None,
        level: Level::Zones(2),
        ledger: Digest([1; 32]),
        node: NodeId::new(2),
        lane: Lane::Strict(RecordIndex::new(7)),
        seq: Sequence::new(3),
        prev: Digest([4; 32]),
        witnessed_at_ms: 5,
        document: Digest([6; 32]),
        actor: Digest([7; 32]),
    }
}

#[test]
fn a_statement_has_one_encoding() {
    let bytes = sample().encode();
    assert_eq!(Statement::decode(&bytes), Ok(sample()));
    for length in 0..bytes.len() {
        assert!(Statement::decode(&bytes[..length]).is_err());
    }
    assert!(Statement::decode(&[&bytes[..], &[0]].concat()).is_err());
    for (at, wrong) in [(0, 9), (1, 0), (2, 3), (3, 9), (45, 3)] {
        let mut bad = bytes;
        bad[at] = wrong;
        assert!(Statement::decode(&bad).is_err(), "byte {at}");
    }
    // A kind of a later version is read, so that what it stands in can be.
    for code in 1..=255 {
        let mut later = bytes;
        later[1] = code;
        let statement = Statement::decode(&later).unwrap();
        assert_eq!(statement.kind.code(), code);
        assert_eq!(statement.encode(), later);
        assert_eq!(matches!(statement.kind, Kind::Later(_)), code > 33);
    }
}

#[test]
fn a_record_has_one_encoding() {
    for outcome in [
        Outcome::Ok,
        Outcome::Refused(Reason::IdentityTaken),
        Outcome::DuplicateOf(RecordIndex::new(9)),
    ] {
        let record = Record {
            index: RecordIndex::new(1),
            prev: Digest([2; 32]),
            committed_at_ms: 3,
            keys: 4,
            outcome,
            statement: sample(),
            signature: Signature([8; 64]),
        };
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes), Ok(record));
        assert!(Record::decode(&bytes[1..]).is_err());
    }
    let mut w = Writer::new();
    w.u8(0).u16(1).u64(0);
    assert!(Outcome::read(&mut Reader::new(&w.finish())).is_err());
    for (code, reason) in (1..).zip(Reason::ALL) {
        assert_eq!(
            (reason.code(), Reason::from_code(code)),
            (code, Some(reason))
        );
    }
    assert_eq!(Reason::from_code(0), None);
    assert_eq!(Reason::from_code(999).map(Reason::code), Some(999));
}

#[test]
fn a_receipt_has_one_encoding() {
    assert_eq!(Record::LENGTH, 298, "the error texts name it");
    let receipt = Receipt {
        genesis: Genesis {
            record: vec![1; Record::LENGTH],
            opening: vec![2; 9],
        },
        keys: vec![KeyRecord {
            record: vec![9; Record::LENGTH],
            opening: vec![8; 3],
            path: vec![Digest([7; 32])],
        }],
        record: vec![3; Record::LENGTH],
        document: Some(Opening {
            salt: [4; 32],
            bytes: vec![5],
        }),
        actor: None,
        path: vec![Digest([6; 32])],
        last: Some(LastRecord {
            record: vec![5; Record::LENGTH],
            path: vec![Digest([4; 32])],
        }),
        checkpoint: "note\n".into(),
    };
    let bytes = receipt.encode();
    assert_eq!(Receipt::decode(&bytes), Ok(receipt.clone()));
    for length in 0..bytes.len() {
        assert!(Receipt::decode(&bytes[..length]).is_err());
    }
    assert!(Receipt::decode(&[&bytes[..], &[0]].concat()).is_err());
    let mut short = receipt.clone();
    short.record.pop();
    assert!(Receipt::decode(&short.encode()).is_err());
    let mut long = receipt;
    long.path = vec![Digest::ZERO; PATH_MAX + 1];
    assert!(Receipt::decode(&long.encode()).is_err());
}

#[test]
fn a_promise_has_one_encoding() {
    let opening = |byte| Opening {
        salt: [byte; 32],
        bytes: vec![byte; 3],
    };
    let promise = Promise {
        genesis: Genesis {
            record: vec![1; Record::LENGTH],
            opening: vec![2; 9],
        },
        keys: vec![KeyRecord {
            record: vec![9; Record::LENGTH],
            opening: vec![8; 3],
            path: Vec::new(),
        }],
        statement: sample(),
        signature: Signature([3; 64]),
        document: opening(4),
        actor: opening(5),
    };
    let bytes = promise.encode();
    assert_eq!(Promise::decode(&bytes), Ok(promise));
    for length in 0..bytes.len() {
        assert!(Promise::decode(&bytes[..length]).is_err());
    }
    assert!(Promise::decode(&[&bytes[..], &[0]].concat()).is_err());
}
