//! Ledgers that let take effect what their rules do not: rightly signed, chained and in the tree,
//! as whoever has the log key could have it.
//!
//! Promises one broken rule each, at the last record. What each must be found as stands in
//! `MANIFEST.tsv`.

use super::negative::Change;
use super::{cosigned_frames, document, key_of_turn, revoke};
use crate::ledger::{Ledger, seal};
use muniment_evidence::bundle::Frame;
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{
    LogIndex, NodeId, OutboxId, RecordIndex, Sequence, Term, UploadEpoch,
};
use muniment_evidence::key::Signer as _;
use muniment_evidence::keychange::{Action, Role};
use muniment_evidence::losses::{BodyLostDocument, WaiverDocument};
use muniment_evidence::opening::{
    AddRenditionDocument, BootOutbox, Delivered, Document, DownloadEndDocument, IssueDocument,
    LeaderDocument, PolicyDocument, Setting, VoidDocument,
};
use muniment_evidence::planned::PlannedDocument as Planned;
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::statement::{Lane, Level};

/// The uid of record 6, an invoice of 12.34.
const UID: [u8; 16] = [6; 16];

/// Every rule is judged, and holds: the members are known, and nothing is withheld.
pub fn lawful() -> Ledger {
    let mut ledger = begun();
    let again = ledger.invoice("F-1");
    ledger.strict(1, Document::Issue(again), repeats(6));
    let mut renamed = ledger.invoice("F-1");
    renamed.request_id = "another".into();
    ledger.strict(2, Document::Issue(renamed), repeats(6));
    let added = added(&ledger, "copy");
    ledger.strict(1, Document::AddRendition(added.clone()), Outcome::Ok);
    let index = ledger.len() - 1;
    ledger.strict(2, Document::AddRendition(added), repeats(index));
    let download = ledger.download(2, UID);
    ledger.end(2, &[download]);
    for (number, amount) in [("R-1", Some(1_000)), ("R-2", None)] {
        let reversal = ledger.reversal_of(number, UID, amount);
        ledger.strict(3, Document::Reverse(reversal), Outcome::Ok);
    }
    let uid = ledger.issue(3, "F-2", Outcome::Ok);
    ledger.strict(1, void("v-1", uid), Outcome::Ok);
    ledger.strict(2, led(2, 2), Outcome::Ok);
    ledger.boot(3);
    ledger.issue(3, "F-3", Outcome::Ok);
    ledger
}

/// Founded, booted, led, attested; and one invoice.
fn begun() -> Ledger {
    let mut ledger = Ledger::found(1);
    for node in 1..=3 {
        ledger.boot(node);
    }
    ledger.strict(1, led(1, 1), Outcome::Ok);
    ledger.attest(1);
    ledger.issue(1, "F-1", Outcome::Ok);
    ledger
}

/// Of the first invoice nothing but the record is shown, and of what follows nobody can say that
/// it repeats nothing.
pub fn without_an_opening() -> Vec<Frame> {
    let mut frames = cosigned_frames(&lawful(), 0);
    // After the manifest.
    if let Frame::Record(shown) = &mut frames[7] {
        shown.document = None;
    }
    frames
}

fn repeats(index: u64) -> Outcome {
    Outcome::DuplicateOf(RecordIndex::new(index))
}

fn led(node: u64, term: u64) -> Document {
    Document::Leader(LeaderDocument {
        term: Term::new(term),
        leader: NodeId::new(node),
        log_index: LogIndex::new(2 + term),
    })
}

fn void(request_id: &str, uid: [u8; 16]) -> Document {
    Document::Void(VoidDocument {
        tenant: "default".into(),
        uid,
        request_id: request_id.into(),
        reason: "issued twice".into(),
    })
}

fn added(ledger: &Ledger, role: &str) -> AddRenditionDocument {
    let mut invoice = ledger.invoice("copy");
    invoice.renditions[0].role = role.into();
    AddRenditionDocument {
        tenant: "default".into(),
        uid: UID,
        request_id: format!("add {role}"),
        rendition: invoice.renditions.remove(0),
        holdings: invoice.holdings,
    }
}

/// The range of a ledger that goes on wrongly.
fn gone_on(change: Change<'_, Ledger>) -> Vec<u8> {
    let mut ledger = begun();
    change(&mut ledger);
    seal(&cosigned_frames(&ledger, 0))
}

fn issued(change: Change<'_, IssueDocument>) -> Vec<u8> {
    gone_on(&|ledger| {
        let mut invoice = ledger.invoice("F-2");
        change(&mut invoice);
        for holding in &mut invoice.holdings {
            holding.signature = ledger.key(holding.node.get()).sign(&holding.signed_bytes());
        }
        ledger.strict(1, Document::Issue(invoice), Outcome::Ok);
    })
}

fn ok(document: impl Fn(&Ledger) -> Document) -> Vec<u8> {
    gone_on(&|ledger| {
        let document = document(ledger);
        ledger.strict(1, document, Outcome::Ok);
    })
}

fn ended(tenant: &str, bytes: u64) -> Vec<u8> {
    gone_on(&|ledger| {
        let download = ledger.download(1, UID);
        let document = Document::DownloadEnd(DownloadEndDocument {
            tenant: tenant.into(),
            downloads: vec![Delivered {
                download: RecordIndex::new(download),
                bytes,
                complete: true,
            }],
        });
        ledger.strict(1, document, Outcome::Ok);
    })
}

fn reversed(amounts: &[Option<i64>]) -> Vec<u8> {
    gone_on(&|ledger| {
        for (at, amount) in amounts.iter().enumerate() {
            let reversal = ledger.reversal_of(&format!("R-{at}"), UID, *amount);
            ledger.strict(1, Document::Reverse(reversal), Outcome::Ok);
        }
    })
}

/// What record 6 has, or another digest.
fn lost(ledger: &Ledger, sha256: Option<Digest>) -> Document {
    let Document::Issue(issued) = document(ledger, 6) else {
        panic!("record 6 is an ISSUE");
    };
    let rendition = &issued.renditions[0];
    let sha256 = sha256.unwrap_or(rendition.sha256);
    Document::Planned(Planned::BodyLost(BodyLostDocument {
        tenant: "default".into(),
        uid: UID,
        role: rendition.role.clone(),
        body_id: rendition.body_id,
        sha256,
        chunk_root: sha256,
        length: rendition.length,
        asked: vec![NodeId::new(1)],
        reason: "a fire".into(),
        endorsements: ledger.endorsements(),
    }))
}

fn waived(ledger: &Ledger, index: u64, leaf: Digest) -> Document {
    Document::Planned(Planned::Waiver(WaiverDocument {
        index: RecordIndex::new(index),
        leaf,
        check: "R4".into(),
        reason: "looked into".into(),
        endorsements: ledger.endorsements(),
    }))
}

/// A change of keys that is as it should be, and refused all the same.
fn refused_key(reason: Reason) -> Vec<u8> {
    gone_on(&|ledger| {
        let fresh = key_of_turn(ledger, 2, 1);
        let add = ledger.node_change(Action::Add, Role::Statement, 2, &fresh);
        let change = Document::Key(ledger.key_document(vec![add], &[fresh]));
        ledger.strict(1, change, Outcome::Refused(reason));
    })
}

fn retires(last_epoch: u64) -> Action {
    Action::Retire {
        last_epoch: UploadEpoch::new(last_epoch),
    }
}

/// Node 2 starts under another key, its first is retired.
fn with_retired_key(last_epoch: u64, outboxes: Vec<BootOutbox>, mut ledger: Ledger) -> Ledger {
    let (before, fresh) = (ledger.key(2), key_of_turn(&ledger, 2, 1));
    let add = ledger.node_change(Action::Add, Role::Statement, 2, &fresh);
    ledger.change_keys(vec![add], &[fresh]);
    ledger.turns.insert(2, 1);
    ledger.boot_from(2, [2; 16], outboxes);
    let retire = ledger.node_change(retires(last_epoch), Role::Statement, 2, &before);
    ledger.change_keys(vec![retire], &[]);
    ledger
}

/// What was promised under a key that is retired is recorded, as far as a BOOT says; or `more`.
pub fn retired_outbox(more: bool) -> Ledger {
    let id = OutboxId::new(2);
    let mut promised = begun();
    let download = Document::Download(promised.download_of(UID));
    let at = promised.record(2, Lane::Outbox(id), download.clone(), Outcome::Ok);
    let first = promised.entries[at as usize].clone();
    let outbox = BootOutbox {
        id,
        next: Sequence::new(1),
        last: first.record.statement.hash(),
        lost: false,
    };
    let mut ledger = with_retired_key(1, vec![outbox], begun());
    ledger.turns.insert(2, 0);
    ledger.record(2, Lane::Outbox(id), download.clone(), Outcome::Ok);
    // It was signed before the key was retired: the very statement that the BOOT named.
    let last = ledger
        .entries
        .last_mut()
        .expect("it has just been recorded");
    last.record.statement = first.record.statement;
    last.record.signature = first.record.signature;
    (last.document, last.actor) = (first.document, first.actor);
    ledger.follow_in(2, Lane::Outbox(id));
    if more {
        ledger.record(2, Lane::Outbox(id), download, Outcome::Ok);
    }
    ledger
}

/// A holding under a retired key, of an epoch that came after.
fn retired_holding() -> Ledger {
    let mut ledger = with_retired_key(1, Vec::new(), begun());
    let name = "upload_epoch".into();
    let settings = vec![Setting { name, value: 2 }];
    let policy = PolicyDocument {
        settings,
        order: None,
    };
    ledger.strict(1, Document::Policy(policy), Outcome::Ok);
    let mut invoice = ledger.invoice("F-2");
    ledger.turns.insert(2, 0);
    for holding in &mut invoice.holdings {
        holding.epoch = UploadEpoch::new(2);
        holding.signature = ledger.key(holding.node.get()).sign(&holding.signed_bytes());
    }
    ledger.strict(1, Document::Issue(invoice), Outcome::Ok);
    ledger
}

/// Every later record would have this time.
fn late() -> Ledger {
    let mut ledger = begun();
    ledger.issue(1, "F-2", Outcome::Ok);
    let last = ledger.entries.last_mut().expect("it has just been issued");
    last.record.committed_at_ms = u64::MAX;
    ledger
}

pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let late = late();
    let revoked = {
        let mut ledger = begun();
        revoke(&mut ledger, 2, 100);
        ledger.issue(1, "F-2", Outcome::Ok);
        ledger
    };
    let mut all = vec![
        ("bundle-late.bin", seal(&cosigned_frames(&late, 0))),
        ("receipt-late.bin", late.receipt(6).encode()),
        (
            "rule-holder-revoked.bin",
            seal(&cosigned_frames(&revoked, 0)),
        ),
        (
            "holding-retired-epoch.bin",
            seal(&cosigned_frames(&retired_holding(), 0)),
        ),
        (
            "outbox-after-retirement.bin",
            seal(&cosigned_frames(&retired_outbox(true), 0)),
        ),
    ];
    all.extend(invoices());
    all.extend(levels());
    all.extend(others());
    all
}

fn invoices() -> Vec<(&'static str, Vec<u8>)> {
    let again = |change: &dyn Fn(&mut IssueDocument)| {
        ok(|ledger| {
            let mut invoice = ledger.invoice("F-1");
            change(&mut invoice);
            Document::Issue(invoice)
        })
    };
    let duplicate = |of| {
        gone_on(&|ledger| {
            ledger.issue(1, "F-1", repeats(of));
        })
    };
    vec![
        ("rule-repeated.bin", again(&|_| {})),
        (
            "rule-issued-twice.bin",
            again(&|invoice| {
                invoice.request_id = "another".into();
                invoice.metadata.type_code = "381".into();
            }),
        ),
        ("rule-uid-twice.bin", issued(&|invoice| invoice.uid = UID)),
        (
            "rule-rendition-twice.bin",
            ok(|ledger| Document::AddRendition(added(ledger, "original"))),
        ),
        ("rule-duplicate-of-other.bin", duplicate(4)),
        ("rule-void-unknown.bin", ok(|_| void("v-1", [99; 16]))),
        (
            "rule-download-unknown.bin",
            ok(|ledger| Document::Download(ledger.download_of([99; 16]))),
        ),
        (
            "rule-download-other.bin",
            ok(|ledger| {
                let mut download = ledger.download_of(UID);
                download.sha256.0[0] ^= 1;
                Document::Download(download)
            }),
        ),
        (
            "rule-void-twice.bin",
            gone_on(&|ledger| {
                ledger.strict(1, void("v-1", UID), Outcome::Ok);
                ledger.strict(1, void("v-2", UID), Outcome::Ok);
            }),
        ),
        (
            "rule-reversal-exceeds.bin",
            reversed(&[Some(1_000), Some(235)]),
        ),
        ("rule-reversed-twice.bin", reversed(&[None, None])),
        (
            "rule-reversal-of-nothing.bin",
            gone_on(&|ledger| {
                let reversal = ledger.reversal_of("R-1", [99; 16], None);
                ledger.strict(1, Document::Reverse(reversal), Outcome::Ok);
            }),
        ),
        ("rule-end-exceeds.bin", ended("default", 1_000_000_000_000)),
        ("rule-end-of-other-tenant.bin", ended("acme", 1)),
    ]
}

fn levels() -> Vec<(&'static str, Vec<u8>)> {
    let with_level = |level| {
        gone_on(&|ledger| {
            ledger.issue(1, "F-2", Outcome::Ok);
            let at = ledger.len() - 1;
            ledger.entries[at as usize].record.statement.level = level;
            ledger.resign(at);
        })
    };
    vec![
        (
            "rule-level-without-holdings.bin",
            issued(&|invoice| invoice.holdings.clear()),
        ),
        (
            "rule-level-one-thrice.bin",
            issued(&|invoice| {
                let one = invoice.holdings[0].clone();
                invoice.holdings = vec![one.clone(), one.clone(), one];
            }),
        ),
        ("rule-level-zones.bin", with_level(Level::Zones(3))),
        ("rule-level-all.bin", with_level(Level::All)),
        ("rule-level-none.bin", with_level(Level::None)),
        (
            "rule-holding-of-other-disk.bin",
            issued(&|invoice| invoice.holdings[1].incarnation = [9; 16]),
        ),
        (
            "rule-holding-of-later-epoch.bin",
            issued(&|invoice| invoice.holdings[1].epoch = UploadEpoch::new(2)),
        ),
    ]
}

fn others() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("rule-leader-twice.bin", ok(|_| led(1, 1))),
        ("rule-leader-of-other.bin", ok(|_| led(2, 2))),
        (
            "rule-other-disk.bin",
            gone_on(&|ledger| {
                ledger.boot_from(2, [9; 16], Vec::new());
            }),
        ),
        (
            "rule-no-disk.bin",
            gone_on(&|ledger| {
                ledger.boot_from(2, [0; 16], Vec::new());
            }),
        ),
        ("rule-key-refused.bin", refused_key(Reason::KeySerial)),
        (
            "rule-key-epoch.bin",
            gone_on(&|ledger| {
                let after = with_retired_key(2, Vec::new(), ledger.clone());
                *ledger = after;
            }),
        ),
        (
            "rule-waived-other.bin",
            ok(|ledger| waived(ledger, 3, Digest([9; 32]))),
        ),
        (
            "rule-waived-twice.bin",
            gone_on(&|ledger| {
                for _ in 0..2 {
                    let waiver = waived(ledger, 3, ledger.leaf(3));
                    ledger.strict(1, waiver, Outcome::Ok);
                }
            }),
        ),
        (
            "rule-lost-other.bin",
            ok(|ledger| lost(ledger, Some(Digest([9; 32])))),
        ),
        (
            "rule-lost-twice.bin",
            gone_on(&|ledger| {
                for _ in 0..2 {
                    let said = lost(ledger, None);
                    ledger.strict(1, said, Outcome::Ok);
                }
            }),
        ),
    ]
}
