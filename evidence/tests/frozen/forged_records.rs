//! Forgeries of one record: its statement, its openings, its holdings.
//!
//! Promises one change each, as in `negative`, rightly signed and in the tree; each is here
//! for one check of the verifier.

use super::negative::{Change, altered, forged};
use super::{anchor, document, key_of_turn, reopen, revoke, small};
use crate::ledger::Ledger;
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{NodeId, OutboxId, TreeSize, UploadEpoch};
use muniment_evidence::key::Signer as _;
use muniment_evidence::keychange::{Action, Role};
use muniment_evidence::opening::{
    Document, DownloadDocument, Holding, Opening, VoidDocument, commit_actor,
};
use muniment_evidence::receipt::Receipt;
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::Lane;

pub fn all() -> Vec<(&'static str, Receipt)> {
    let mut all = Vec::from(statements());
    all.extend(openings());
    all.extend(holdings());
    all
}

/// The receipt of the last record of a ledger that goes on wrongly.
pub fn said(change: Change<'_, Ledger>) -> Receipt {
    let ledger = forged(change);
    ledger.receipt(ledger.len() - 1)
}

fn statements() -> [(&'static str, Receipt); 6] {
    let mut revoked = Ledger::found_with_roots(1, 2);
    revoked.boot(1);
    revoked.boot(2);
    let uid = revoked.issue(2, "V-1", Outcome::Ok);
    let at = revoked.download(2, uid);
    revoke(&mut revoked, 2, at);
    [
        (
            "record-second-genesis.bin",
            said(&|ledger| {
                let genesis = document(ledger, 0);
                ledger.record(1, Lane::Boot, genesis, Outcome::Ok);
            }),
        ),
        (
            "record-unknown-node.bin",
            said(&|ledger| {
                let download = document(ledger, 5);
                ledger.record(9, Lane::Outbox(OutboxId::new(1)), download, Outcome::Ok);
            }),
        ),
        ("record-revoked.bin", revoked.receipt(at)),
        ("outbox-issue.bin", with_retired_key_in_an_outbox()),
        (
            "record-unreadable.bin",
            altered(&small(), 4, &|receipt| receipt.record[0] = 9),
        ),
        (
            "receipt-withheld.bin",
            altered(&small(), 4, &|receipt| receipt.document = None),
        ),
    ]
}

/// A retired key counts in an outbox, where an ISSUE has no place.
fn with_retired_key_in_an_outbox() -> Receipt {
    let mut ledger = Ledger::found(1);
    ledger.boot(1);
    let (before, after) = (ledger.key(1), key_of_turn(&ledger, 1, 1));
    let changes = vec![
        ledger.node_change(
            Action::Retire {
                last_epoch: UploadEpoch::new(1),
            },
            Role::Statement,
            1,
            &before,
        ),
        ledger.node_change(Action::Add, Role::Statement, 1, &after),
    ];
    ledger.change_keys(changes, &[after]);
    let invoice = Document::Issue(ledger.invoice("O"));
    let at = ledger.record(1, Lane::Outbox(OutboxId::new(77)), invoice, Outcome::Ok);
    ledger.receipt(at)
}

fn openings() -> [(&'static str, Receipt); 9] {
    // The last record is a download, or what is made of it.
    let shown = |bytes: Vec<u8>| {
        said(&|ledger| {
            let at = ledger.download(1, [4; 16]);
            let salt = ledger.entries[at as usize].document.salt;
            let bytes = bytes.clone();
            reopen(ledger, at, Opening { salt, bytes });
        })
    };
    let void = Document::Void(VoidDocument {
        tenant: "default".into(),
        uid: [4; 16],
        request_id: "v".into(),
        reason: "another kind".into(),
    });
    let anchored = |change: &dyn Fn(&mut TreeSize), cosigned| {
        said(&|ledger| {
            let mut checkpoint = ledger.checkpoint(5);
            change(&mut checkpoint.size);
            let anchor = anchor(ledger, &checkpoint, cosigned);
            ledger.strict(1, anchor, Outcome::Ok);
        })
    };
    [
        (
            "opening-salted.bin",
            said(&|ledger| {
                let at = ledger.boot(1);
                let bytes = ledger.entries[at as usize].document.bytes.clone();
                let salt = [1; 32];
                reopen(ledger, at, Opening { salt, bytes });
            }),
        ),
        ("opening-unreadable.bin", shown(vec![1, 5, 9])),
        ("opening-kind.bin", shown(void.encode())),
        (
            "opening-range.bin",
            said(&|ledger| {
                let download = DownloadDocument {
                    start: 5,
                    end: 4,
                    ..ledger.download_of([4; 16])
                };
                ledger.strict(1, Document::Download(download), Outcome::Ok);
            }),
        ),
        (
            "boot-key.bin",
            said(&|ledger| {
                let Document::Boot(mut boot) = document(ledger, 1) else {
                    panic!("record 1 is a BOOT");
                };
                boot.statement_key = ledger.key(2).public();
                ledger.record(1, Lane::Boot, Document::Boot(boot), Outcome::Ok);
            }),
        ),
        (
            "anchor-later.bin",
            anchored(&|size| *size = TreeSize::new(40), true),
        ),
        ("anchor-bare.bin", anchored(&|_| {}, false)),
        (
            "actor-other.bin",
            altered(&small(), 4, &|receipt| {
                receipt.actor = Some(small().entries[10].actor.clone());
            }),
        ),
        (
            "actor-unreadable.bin",
            said(&|ledger| {
                let at = ledger.download(1, [4; 16]);
                let entry = &mut ledger.entries[at as usize];
                entry.actor.bytes = vec![9];
                entry.record.statement.actor = commit_actor(&entry.actor.salt, &entry.actor.bytes);
                ledger.resign(at);
            }),
        ),
    ]
}

fn holdings() -> [(&'static str, Receipt); 5] {
    let held = |change: &dyn Fn(&mut Holding), signer: u64| {
        said(&|ledger| {
            let mut invoice = ledger.invoice("H");
            let holding = &mut invoice.holdings[1];
            change(holding);
            holding.signature = ledger.key(signer).sign(&holding.signed_bytes());
            ledger.strict(1, Document::Issue(invoice), Outcome::Ok);
        })
    };
    let begun = || {
        let mut ledger = Ledger::found_with_roots(1, 2);
        ledger.boot(1);
        ledger.boot(2);
        ledger
    };
    let mut revoked = begun();
    revoked.issue(1, "H", Outcome::Ok);
    revoke(&mut revoked, 2, 3);
    let mut early = begun();
    early.turns.insert(2, 1);
    early.issue(1, "H", Outcome::Ok);
    early.turns.insert(2, 0);
    let fresh = key_of_turn(&early, 2, 1);
    let add = early.node_change(Action::Add, Role::Statement, 2, &fresh);
    early.change_keys(vec![add], &[fresh]);
    [
        (
            "holding-ledger.bin",
            held(&|holding| holding.ledger = Digest([5; 32]), 2),
        ),
        (
            "holding-body.bin",
            held(&|holding| holding.sha256 = Digest([5; 32]), 2),
        ),
        (
            "holding-unknown-node.bin",
            held(&|holding| holding.node = NodeId::new(9), 9),
        ),
        ("holding-revoked.bin", revoked.receipt(3)),
        ("holding-early.bin", early.receipt(3)),
    ]
}
