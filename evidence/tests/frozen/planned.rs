//! Kinds whose features come later: as a later version may write them, and one spoilt document
//! of each; and what a verifier of this version must say that it does not understand.

use super::forged_records::said;
use super::{anchor, cosigned_frames, document, reopen, small};
use crate::ledger::{Ledger, seal, uid_text};
use crate::planning::{endorsements, month, planned, recovery, restore, tenant};
use muniment_evidence::bundle::Frame;
use muniment_evidence::digest::Digest;
use muniment_evidence::endorsement::Endorsements;
use muniment_evidence::ids::{BodyId, LogIndex, NodeId, RecordIndex, RecoveryEpoch, Term};
use muniment_evidence::mode::Phase;
use muniment_evidence::opening::{
    Actor, AddRenditionDocument, AnchoredBy, AttestedDate, CallerSignature, DamageKind, Document,
    DrillDocument, HoldingKind, How, LeaderDocument, MembershipDocument, ModeDocument, Opening,
    Party, PolicyDocument, ReadGap, Reference, ScrubDocument, ScrubOutcome, Setting, TaxSubtotal,
    VoidDocument, commit_actor,
};
use muniment_evidence::planned::PlannedDocument as Planned;
use muniment_evidence::receipt::{KeyRecord, Receipt};
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::statement::Kind;

pub fn honest() -> Ledger {
    let mut ledger = small();
    for document in planned() {
        let placed = Endorsements {
            leaf: ledger.leaf(4),
            ..endorsements()
        };
        let document = Document::Planned(of_this_log(&ledger, document)).under(placed);
        ledger.strict(1, document, Outcome::Ok);
    }
    let mut invoice = ledger.invoice("S-1");
    invoice.metadata.dates = vec![AttestedDate {
        what: "issued".into(),
        date: "2019-03-01".into(),
    }];
    let stored = &mut invoice.holdings[1];
    (stored.kind, stored.zone) = (HoldingKind::Store, "archive".into());
    stored.signature = muniment_evidence::key::Signer::sign(&ledger.key(2), &stored.signed_bytes());
    // Alone in its lane from here on: what is signed anew has another hash.
    let at = ledger.strict(3, Document::Issue(invoice), Outcome::Ok);
    act(&mut ledger, at, &caller());
    let Document::Anchor(mut stamped) = anchor(&ledger, &ledger.checkpoint(5), false) else {
        panic!("an ANCHOR");
    };
    stamped.by = AnchoredBy::TimeStamp {
        authority: "tsa.example".into(),
        token: vec![0x30, 0],
    };
    ledger.strict(1, Document::Anchor(stamped), Outcome::Ok);
    // A kind of no level is refused, and its opening shown all the same.
    let refused = Outcome::Refused(Reason::FeatureLevel);
    ledger.strict(1, Document::Planned(Planned::Restore(restore())), refused);
    ledger
}

/// What a WAIVER and a BODY_LOST name is there.
fn of_this_log(ledger: &Ledger, mut planned: Planned) -> Planned {
    let renditions = match document(ledger, 4) {
        Document::Issue(issued) => issued.renditions,
        _ => Vec::new(),
    };
    match &mut planned {
        Planned::Waiver(d) => d.leaf = ledger.leaf(d.index.get()),
        Planned::BodyLost(d) => {
            d.tenant = "default".into();
            (d.sha256, d.chunk_root) = (renditions[0].sha256, renditions[0].chunk_root);
        }
        _ => {}
    }
    planned
}

/// The kinds that no other file has.
pub fn other_kinds() -> Ledger {
    let mut ledger = small();
    let (nodes, node) = (vec![NodeId::new(1), NodeId::new(2)], NodeId::new(1));
    let mut reversal = ledger.invoice("R-1");
    reversal.metadata.references = vec![Reference {
        relation: "REVERSES".into(),
        target: uid_text(&[4; 16]),
        sha256: Some(Digest([3; 32])),
        amount: reversal.metadata.total.clone(),
    }];
    reversal.metadata.tax = vec![TaxSubtotal {
        category: "S".into(),
        rate_millionths: 190_000,
        taxable: reversal.metadata.total.clone().expect("it has one"),
        tax: reversal.metadata.total.clone().expect("it has one"),
    }];
    reversal.metadata.seller = Some(Party {
        scheme: "vat".into(),
        id: "DE123456789".into(),
        name: "Example Works".into(),
    });
    ledger.strict(1, Document::Reverse(reversal), Outcome::Ok);
    let mut added = ledger.invoice("F-1");
    added.renditions[0].role = "copy".into();
    let scrubbed = |outcome| {
        Document::Scrub(ScrubDocument {
            body_id: BodyId::new([4; 16]),
            chunk: Some(0),
            found: DamageKind::Mismatch,
            how: How::Read,
            outcome,
        })
    };
    let changed = |phase, prepared| {
        Document::Mode(ModeDocument {
            phase,
            number: 0,
            voters: nodes.clone(),
            sync_learners: vec![NodeId::new(3)],
            async_learners: Vec::new(),
            prepared,
            reason: "node 3 moves".into(),
            order: None,
        })
    };
    let settings = vec![Setting {
        name: "upload_epoch".into(),
        value: 2,
    }];
    for document in [
        Document::AddRendition(AddRenditionDocument {
            tenant: "default".into(),
            uid: [4; 16],
            request_id: "a-1".into(),
            rendition: added.renditions[0].clone(),
            holdings: added.holdings,
        }),
        Document::Void(VoidDocument {
            tenant: "default".into(),
            uid: [10; 16],
            request_id: "v-1".into(),
            reason: "a mistake".into(),
        }),
        Document::Membership(MembershipDocument {
            log_index: LogIndex::new(30),
            voters: vec![nodes.clone(), vec![NodeId::new(3)]],
            learners: vec![NodeId::new(3)],
        }),
        Document::Leader(LeaderDocument {
            term: Term::new(2),
            leader: node,
            log_index: LogIndex::new(31),
        }),
        Document::Policy(PolicyDocument {
            settings,
            order: None,
        }),
        scrubbed(ScrubOutcome::Quarantined),
        scrubbed(ScrubOutcome::Repaired { from: node }),
        Document::Drill(DrillDocument {
            target: "zone".into(),
            mode: "pause".into(),
            nodes: nodes.clone(),
            write_level: "zones:2".into(),
            acknowledged: 900,
            missing: 0,
            write_gap_ms: Some(1100),
            reads: vec![ReadGap {
                level: "local".into(),
                gap_ms: None,
            }],
        }),
        changed(Phase::Prepare, None),
        changed(Phase::Done, Some(RecordIndex::new(20))),
    ] {
        ledger.strict(1, document, Outcome::Ok);
    }
    ledger
}

fn caller() -> Actor {
    Actor {
        issuer: "https://id.example".into(),
        subject: "billing.service".into(),
        tenant: "default".into(),
        roles: vec!["issuer".into(), "reader".into()],
        authenticated: "mtls".into(),
        address: "192.0.2.17".into(),
        agent: "test".into(),
        on_behalf_of: "a.person".into(),
        link: "link-1".into(),
        signature: Some(CallerSignature {
            algorithm: 2,
            key: vec![1; 40],
            signature: vec![2; 80],
        }),
    }
}

/// Exchanges who asked, rightly signed.
fn act(ledger: &mut Ledger, index: u64, actor: &Actor) {
    let entry = &mut ledger.entries[index as usize];
    entry.actor.bytes = actor.encode();
    entry.record.statement.actor = commit_actor(&entry.actor.salt, &entry.actor.bytes);
    ledger.resign(index);
}

/// A kind that is critical and of which nobody here knows more.
fn critical() -> Ledger {
    let mut ledger = small();
    let at = ledger.download(1, [4; 16]);
    ledger.entries[at as usize].record.statement.kind = Kind::Later(128);
    ledger.resign(at);
    ledger.issue(2, "F-3", Outcome::Ok);
    ledger
}

fn after(document: Document) -> Ledger {
    let mut ledger = small();
    ledger.strict(1, document, Outcome::Ok);
    ledger
}

fn levelled(value: u64) -> Ledger {
    let name = "feature_level".into();
    let settings = vec![Setting { name, value }];
    after(Document::Policy(PolicyDocument {
        settings,
        order: None,
    }))
}

/// A RESTORE among the KEY records, as later versions have them.
fn among_keys() -> Receipt {
    let ledger = after(Document::Planned(Planned::Restore(restore())));
    let (mut receipt, at) = (ledger.receipt(4), ledger.len() - 1);
    let entry = &ledger.entries[at as usize];
    receipt.keys.push(KeyRecord {
        record: entry.record.encode().to_vec(),
        opening: entry.document.bytes.clone(),
        path: ledger.path(at, ledger.len()),
    });
    receipt
}

pub fn negative() -> Vec<(String, Vec<u8>)> {
    let restored = after(Document::Planned(Planned::Restore(restore())));
    let recovered = after(Document::Planned(Planned::Recovery(recovery())));
    let mut all = vec![
        ("bundle-restore.bin".to_owned(), cosigned(&restored)),
        ("bundle-recovery.bin".to_owned(), cosigned(&recovered)),
        ("bundle-critical.bin".to_owned(), cosigned(&critical())),
        (
            "receipt-critical.bin".to_owned(),
            critical().receipt(11).encode(),
        ),
        ("receipt-restore.bin".to_owned(), among_keys().encode()),
        ("bundle-level.bin".to_owned(), cosigned(&levelled(1 << 32))),
    ];
    let mut spoilt = spoilt();
    let unsound = |document| Document::Planned(document).encode();
    let mut wrong = restore();
    wrong.epoch = RecoveryEpoch::new(0);
    spoilt.push(("restore", unsound(Planned::Restore(wrong))));
    let mut counted = month();
    counted.count += 1;
    spoilt.push(("month-count", unsound(Planned::Month(counted))));
    let mut long = tenant();
    long.tenant += " ";
    spoilt.push(("tenant-name", unsound(Planned::Tenant(long))));
    all.extend(spoilt.into_iter().map(|(name, bytes)| {
        let receipt = with_opening(bytes);
        (format!("planned-{name}.bin"), receipt.encode())
    }));
    all.extend(parts().map(|(name, receipt)| (name.to_owned(), receipt.encode())));
    all
}

/// Each of them with its last byte cut off.
fn spoilt() -> Vec<(&'static str, Vec<u8>)> {
    let names = [
        "hold",
        "retention",
        "erase",
        "erased",
        "tenant",
        "grant",
        "config",
        "admin",
        "check",
        "export",
        "month",
        "waiver",
        "body-lost",
    ];
    let cut = planned().into_iter().map(|document| {
        let mut bytes = Document::Planned(document).encode();
        bytes.pop();
        bytes
    });
    names.into_iter().zip(cut).collect()
}

fn with_opening(bytes: Vec<u8>) -> Receipt {
    said(&|ledger| {
        let kind = Kind::from_code(bytes[1]).expect("a kind");
        let like = planned()
            .into_iter()
            .find(|document| document.kind() == kind);
        let like = like.unwrap_or_else(|| Planned::Restore(restore()));
        let at = ledger.strict(1, Document::Planned(like), Outcome::Ok);
        let salt = ledger.entries[at as usize].document.salt;
        let bytes = bytes.clone();
        reopen(ledger, at, Opening { salt, bytes });
    })
}

/// Parts of older kinds that a code names.
fn parts() -> [(&'static str, Receipt); 3] {
    let changed = |at: u64, byte: usize, to: u8| {
        said(&|ledger| {
            let document = document(ledger, at);
            let at = ledger.strict(1, document, Outcome::Ok);
            let mut opening = ledger.entries[at as usize].document.clone();
            opening.bytes[byte] = to;
            reopen(ledger, at, opening);
        })
    };
    let anchored = said(&|ledger| {
        let document = anchor(ledger, &ledger.checkpoint(5), true);
        let at = ledger.strict(1, document, Outcome::Ok);
        let mut opening = ledger.entries[at as usize].document.clone();
        opening.bytes[2] = 3;
        reopen(ledger, at, opening);
    });
    // The last bytes of an ISSUE are its last holding, those of a DOWNLOAD its deadline.
    let opening_length = |at: u64| small().entries[at as usize].document.bytes.len();
    let holding = 1 + 32 + 16 + 32 + 32 + 8 + 8 + 16 + (4 + 2) + 8 + 64;
    [
        ("anchor-type.bin", anchored),
        (
            "holding-kind.bin",
            changed(4, opening_length(4) - holding, 3),
        ),
        (
            "download-deadline.bin",
            changed(5, opening_length(5) - 1, 2),
        ),
    ]
}

pub fn cosigned(ledger: &Ledger) -> Vec<u8> {
    let frames: Vec<Frame> = cosigned_frames(ledger, 0);
    seal(&frames)
}
