//! Forgeries of what everything else relies on: the genesis, changes of keys, the note.
//!
//! Promises one change each, as in `negative`; each is here for one check of the verifier.

use super::negative::{altered, log_note, with_revoked_node_key};
use super::{document, key_of_turn, reopen, rotation, small};
use crate::ledger::{Ledger, ORIGIN};
use muniment_evidence::ids::NodeId;
use muniment_evidence::key::SecretKey;
use muniment_evidence::keychange::{Action, KeyDocument, Role};
use muniment_evidence::opening::{Document, GenesisDocument, Opening};
use muniment_evidence::receipt::Receipt;
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::statement::Kind;

pub fn all() -> Vec<(&'static str, Receipt)> {
    let mut all = Vec::from(geneses());
    all.extend(changes());
    all.extend(counts());
    all.extend(notes());
    all.push((
        "receipt-retired-fork.bin",
        before_retirement(true).receipt(3),
    ));
    all
}

fn geneses() -> [(&'static str, Receipt); 7] {
    let small = small();
    let mut founder = Ledger::found(1);
    founder.entries[0].record.statement.node = NodeId::new(9);
    founder.resign(0);
    let mut kind = Ledger::found(1);
    kind.boot(1);
    let boot = kind.entries[1].document.clone();
    reopen(&mut kind, 0, boot);
    [
        (
            "genesis-unreadable.bin",
            altered(&small, 4, &|receipt| receipt.genesis.record[0] = 9),
        ),
        (
            "genesis-second.bin",
            altered(&small, 4, &|receipt| receipt.genesis.record[8] = 1),
        ),
        (
            "genesis-opening.bin",
            altered(&small, 4, &|receipt| receipt.genesis.opening[6] ^= 1),
        ),
        ("genesis-kind.bin", kind.receipt(0)),
        (
            "genesis-origin.bin",
            founded(&|genesis| genesis.origin = "ledger example".into()).receipt(0),
        ),
        ("genesis-founder.bin", founder.receipt(0)),
        (
            "genesis-signature.bin",
            altered(&small, 4, &|receipt| receipt.genesis.record[240] ^= 1),
        ),
    ]
}

/// A ledger that says something else of itself, rightly signed.
pub fn founded(change: &dyn Fn(&mut GenesisDocument)) -> Ledger {
    let mut ledger = Ledger::found(1);
    let Document::Genesis(mut genesis) = document(&ledger, 0) else {
        panic!("the first record is GENESIS");
    };
    change(&mut genesis);
    let opening = Opening::public(Document::Genesis(genesis).encode());
    reopen(&mut ledger, 0, opening);
    ledger
}

fn changes() -> [(&'static str, Receipt); 10] {
    let rotation = rotation();
    let thief = SecretKey::from_seed(&[77; 32]);
    let add = |ledger: &Ledger| vec![ledger.log_change(Action::Add, &thief)];
    let mut kind = Ledger::found(1);
    kind.boot(1);
    let boot = document(&kind, 1);
    let at = kind.strict(1, boot, Outcome::Ok);
    kind.entries[at as usize].record.statement.kind = Kind::Key;
    kind.resign(at);
    [
        (
            "key-unreadable.bin",
            altered(&rotation, 12, &|receipt| receipt.keys[0].record[0] = 9),
        ),
        (
            "key-repeated.bin",
            altered(&rotation, 12, &|receipt| {
                let last = receipt.keys.last().expect("there are five").clone();
                receipt.keys.push(last);
            }),
        ),
        (
            "key-opening.bin",
            altered(&rotation, 12, &|receipt| receipt.keys[4].opening[9] ^= 1),
        ),
        ("key-kind.bin", kind.receipt(at)),
        ("key-twin.bin", with_twins()),
        (
            "key-endorsement.bin",
            changed(&|ledger| {
                let mut change = ledger.key_document(add(ledger), std::slice::from_ref(&thief));
                change.endorsements.list[0].signature.0[0] ^= 1;
                change
            }),
        ),
        (
            "key-possession.bin",
            changed(&|ledger| ledger.key_document(add(ledger), &[])),
        ),
        (
            "key-nothing.bin",
            changed(&|ledger| ledger.key_document(Vec::new(), &[])),
        ),
        (
            "key-impossible.bin",
            changed(&|ledger| {
                let retire = ledger.log_change(Action::RETIRE, &thief);
                ledger.key_document(vec![retire], &[])
            }),
        ),
        (
            "key-none-left.bin",
            changed(&|ledger| {
                let retire = ledger.log_change(Action::RETIRE, &ledger.log_key());
                ledger.key_document(vec![retire], &[])
            }),
        ),
    ]
}

/// Five records under the log key that the sixth retires; or, later and under the same key,
/// others in their place.
pub fn before_retirement(forked: bool) -> Ledger {
    let mut ledger = rotation();
    ledger.entries.truncate(5);
    ledger.log_keys = vec![0];
    if forked {
        ledger.entries[3].record.outcome = Outcome::Refused(Reason::NotFound);
        ledger.rechain();
    }
    ledger
}

/// Two log keys with one key id, found among fifty thousand.
fn with_twins() -> Receipt {
    let mut ledger = Ledger::found(1);
    ledger.boot(1);
    for number in [17_590u32, 49_978] {
        let mut seed = [90; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        let key = SecretKey::from_seed(&seed);
        let add = ledger.log_change(Action::Add, &key);
        ledger.change_keys(vec![add], &[key]);
    }
    ledger.receipt(1)
}

/// The receipt of a change that nobody should believe.
fn changed(document: &dyn Fn(&Ledger) -> KeyDocument) -> Receipt {
    let mut ledger = Ledger::found(1);
    ledger.boot(1);
    let document = document(&ledger);
    let at = ledger.strict(1, Document::Key(document), Outcome::Ok);
    ledger.receipt(at)
}

fn counts() -> [(&'static str, Receipt); 4] {
    let mut fewer = with_revoked_node_key();
    fewer.entries[6].record.keys = 0;
    fewer.rechain_only();
    let mut one_fewer = with_revoked_node_key();
    one_fewer.issue(1, "V-3", Outcome::Ok);
    one_fewer.entries[6].record.keys = 0;
    one_fewer.rechain_only();
    [
        (
            "last-unreadable.bin",
            altered(&small(), 4, &|receipt| {
                let last = receipt.last.as_mut().expect("record 4 is not the last");
                last.record[0] = 9;
            }),
        ),
        ("last-counts-fewer.bin", fewer.receipt(3)),
        ("record-counts-fewer.bin", one_fewer.receipt(6)),
        ("receipt-thief-early.bin", with_thiefs_own_key().receipt(3)),
    ]
}

/// A thief of the root keys adds one of his own, before the change that revoked him.
fn with_thiefs_own_key() -> Ledger {
    let mut ledger = Ledger::found_with_roots(1, 2);
    ledger.boot(1);
    ledger.boot(2);
    ledger.issue(2, "V-1", Outcome::Ok);
    let own = key_of_turn(&ledger, 1, 1);
    let add = ledger.node_change(Action::Add, Role::Statement, 1, &own);
    ledger.change_keys(vec![add], &[own]);
    ledger
}

fn notes() -> [(&'static str, Receipt); 4] {
    let small = small();
    let size = small.len();
    let noted = |note: String| altered(&small, 4, &|receipt| receipt.checkpoint = note.clone());
    let text = small.checkpoint(size).text();
    let elsewhere = text.replacen(ORIGIN, "ledger.example/1", 1);
    let mut retired = rotation();
    retired.log_keys = vec![0, 1];
    let mut two = Ledger::found(1);
    two.boot(1);
    let second = two.log_key_of(1);
    let add = two.log_change(Action::Add, &second);
    two.change_keys(vec![add], &[second]);
    two.issue(1, "N-1", Outcome::Ok);
    let checkpoint = two.checkpoint(two.len());
    // Of another text, under the first key; the second key's line holds.
    let wrong = log_note(&checkpoint.text(), b"another text", &two.log_key_of(0));
    let note = wrong + &checkpoint.log_line(&two.log_key_of(1));
    [
        (
            "note-unreadable.bin",
            noted(small.note(size) + "a line that is no signature\n"),
        ),
        (
            "note-origin.bin",
            noted(log_note(&elsewhere, elsewhere.as_bytes(), &small.log_key())),
        ),
        ("note-retired-key.bin", retired.receipt(12)),
        (
            "note-log-line.bin",
            altered(&two, 3, &|receipt| receipt.checkpoint = note.clone()),
        ),
    ]
}
