//! Every document has one encoding, and reads back from it alone.

use muniment_evidence::digest::Digest;
use muniment_evidence::endorsement::Endorsements;
use muniment_evidence::ids::{BodyId, LogIndex, NodeId, RecordIndex, Term, UploadEpoch};
use muniment_evidence::key::{SecretKey, Signature};
use muniment_evidence::limits::{
    HOLDINGS_MAX, ID_BYTES_MAX, REQUEST_ID_BYTES_MAX, TEXT_BYTES_MAX, UnfitField,
};
use muniment_evidence::mode::Phase;
use muniment_evidence::opening::{
    AttestedDate, DamageKind, Delivered, Document, DownloadEndDocument, DrillDocument, Holding,
    HoldingKind, How, Identity, IssueDocument, Label, LeaderDocument, MembershipDocument, Metadata,
    ModeDocument, Money, PolicyDocument, ReadGap, Reference, Rendition, ScrubDocument,
    ScrubOutcome, Setting, content_digest,
};

fn issue() -> IssueDocument {
    IssueDocument {
        uid: [1; 16],
        request_id: "r-1".into(),
        metadata: Metadata {
            identity: Identity {
                tenant: "default".into(),
                scheme: "generic".into(),
                issuer: "local".into(),
                number: "7".into(),
                period: String::new(),
            },
            total: Some(Money {
                minor_units: -1234,
                currency: "EUR".into(),
                exponent: 2,
            }),
            references: vec![Reference {
                relation: "REVERSES".into(),
                target: "x".into(),
                sha256: Some(Digest([3; 32])),
                amount: None,
            }],
            dates: vec![AttestedDate {
                what: "issued".into(),
                date: "2019-03-01".into(),
            }],
            ..Metadata::default()
        },
        renditions: vec![Rendition {
            role: "original".into(),
            media_type: "application/pdf".into(),
            length: 4,
            sha256: Digest([5; 32]),
            chunk_root: Digest([10; 32]),
            body_id: BodyId::new([6; 16]),
        }],
        holdings: vec![Holding {
            kind: HoldingKind::Store,
            ledger: Digest([7; 32]),
            body_id: BodyId::new([6; 16]),
            sha256: Digest([5; 32]),
            chunk_root: Digest([10; 32]),
            length: 4,
            node: NodeId::new(1),
            incarnation: [8; 16],
            zone: "z1".into(),
            epoch: UploadEpoch::new(1),
            signature: Signature([9; 64]),
        }],
    }
}

#[test]
fn every_document_has_one_encoding() {
    let documents = [
        Document::Issue(issue()),
        Document::Reverse(issue()),
        Document::DownloadEnd(DownloadEndDocument {
            tenant: "default".into(),
            downloads: vec![Delivered {
                download: RecordIndex::new(3),
                bytes: 4,
                complete: true,
            }],
        }),
        Document::Membership(MembershipDocument {
            log_index: LogIndex::new(1),
            voters: vec![vec![NodeId::new(1), NodeId::new(2)], vec![NodeId::new(3)]],
            learners: vec![NodeId::new(4)],
        }),
        Document::Leader(LeaderDocument {
            term: Term::new(1),
            leader: NodeId::new(2),
            log_index: LogIndex::new(3),
        }),
        Document::Policy(PolicyDocument {
            settings: vec![Setting {
                name: "upload_epoch".into(),
                value: 7,
            }],
            order: None,
        }),
        Document::Scrub(ScrubDocument {
            body_id: BodyId::new([6; 16]),
            chunk: Some(4),
            found: DamageKind::Mismatch,
            how: How::Read,
            outcome: ScrubOutcome::Repaired {
                from: NodeId::new(2),
            },
        }),
        Document::Scrub(ScrubDocument {
            body_id: BodyId::new([6; 16]),
            chunk: None,
            found: DamageKind::Manifest,
            how: How::Scrub,
            outcome: ScrubOutcome::Quarantined,
        }),
    ];
    for document in documents {
        let bytes = document.encode();
        assert_eq!(Document::decode(&bytes), Ok(document));
        for length in 0..bytes.len() {
            assert!(Document::decode(&bytes[..length]).is_err());
        }
    }
}

#[test]
fn sameness_ignores_what_a_retry_changes() {
    let first = issue();
    let mut again = issue();
    again.renditions[0].body_id = BodyId::new([9; 16]);
    let digest = |d: &IssueDocument| content_digest(&d.metadata, &d.renditions);
    assert_eq!(digest(&first), digest(&again));
    again.renditions[0].length = 5;
    assert_ne!(digest(&first), digest(&again));
}

#[test]
fn each_step_has_one_encoding() {
    for phase in Phase::ALL {
        let mut document = ModeDocument {
            phase,
            number: 3,
            voters: vec![NodeId::new(1), NodeId::new(2), NodeId::new(4)],
            sync_learners: vec![NodeId::new(5)],
            async_learners: vec![NodeId::new(6), NodeId::new(7)],
            prepared: (phase != Phase::Prepare).then_some(RecordIndex::new(9)),
            reason: "replace node 3 by node 4".into(),
            order: None,
        };
        let mut order = Endorsements::new(RecordIndex::new(8), Digest([7; 32]), 9);
        order.sign(&Digest([1; 32]), &document, &SecretKey::from_seed(&[5; 32]));
        document.order = (phase == Phase::Prepare).then_some(order);
        let bytes = Document::Mode(document.clone()).encode();
        let read = Document::decode(&bytes);
        assert_eq!(read, Ok(Document::Mode(document.clone())));
        for length in 0..bytes.len() {
            assert!(Document::decode(&bytes[..length]).is_err());
        }
        document.prepared = document.prepared.xor(Some(RecordIndex::new(9)));
        assert!(Document::decode(&Document::Mode(document).encode()).is_err());
    }
}

#[test]
fn a_drill_has_one_encoding() {
    let drill = Document::Drill(DrillDocument {
        target: "zone".into(),
        mode: "pause".into(),
        nodes: vec![NodeId::new(2), NodeId::new(3)],
        write_level: "zones:2".into(),
        acknowledged: 900,
        missing: 0,
        write_gap_ms: Some(1100),
        reads: vec![ReadGap {
            level: "local".into(),
            gap_ms: None,
        }],
    });
    let bytes = drill.encode();
    assert_eq!(Document::decode(&bytes), Ok(drill));
    for length in 0..bytes.len() {
        assert!(Document::decode(&bytes[..length]).is_err());
    }
}

/// What a caller may hand in, apply takes; one byte more is refused under the field's name.
#[test]
fn a_text_at_its_limit_is_within_and_one_byte_more_names_its_field() {
    type Case = (&'static str, usize, fn(&mut IssueDocument, String));
    let cases: [Case; 5] = [
        ("request_id", REQUEST_ID_BYTES_MAX, |d, text| {
            d.request_id = text;
        }),
        ("metadata.identity.number", ID_BYTES_MAX, |d, text| {
            d.metadata.identity.number = text;
        }),
        ("rendition.role", ID_BYTES_MAX, |d, text| {
            d.renditions[0].role = text;
        }),
        ("metadata.references.target", TEXT_BYTES_MAX, |d, text| {
            d.metadata.references[0].target = text;
        }),
        ("metadata.labels.value", TEXT_BYTES_MAX, |d, text| {
            let key = "k".into();
            d.metadata.labels = vec![Label { key, value: text }];
        }),
    ];
    for (field, limit, set) in cases {
        let with = |length| {
            let mut document = issue();
            set(&mut document, "x".repeat(length));
            Document::Issue(document).within_limits()
        };
        assert_eq!(with(limit), Ok(()));
        assert_eq!(with(limit + 1), Err(UnfitField::Beyond { field, limit }));
    }
    let mut crowded = issue();
    crowded.holdings = vec![crowded.holdings[0].clone(); HOLDINGS_MAX + 1];
    let (field, limit) = ("holdings", HOLDINGS_MAX);
    let crowded = Document::Reverse(crowded).within_limits();
    assert_eq!(crowded, Err(UnfitField::Beyond { field, limit }));
    let mut unseen = issue();
    unseen.metadata.identity.number.push('\u{200b}');
    let unseen = Document::Issue(unseen).within_limits().unwrap_err();
    let told = unseen.to_string();
    assert!(
        told.starts_with("metadata.identity.number has a character"),
        "{told}"
    );
}
