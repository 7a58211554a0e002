//! The frozen vectors of format v2, made again in memory from small ledgers.
//!
//! Promises the same bytes at every run: keys, salts and times are all derived. Leaves
//! the comparison with the files to `formats`, and the forgeries to `negative` and the `forged_`
//! files.

mod forged_bundles;
mod forged_keys;
mod forged_orders;
mod forged_records;
mod forged_rules;
pub mod negative;
mod planned;
mod post_quantum;
mod promises;
mod soundness;

use crate::ledger::{BODY, Ledger, NODES, ORIGIN, checkpoint_frame, seal};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use muniment_evidence::bundle::{CheckpointFrame, Frame};
use muniment_evidence::digest::hex;
use muniment_evidence::ids::{OutboxId, RecordIndex, TreeSize, UploadEpoch};
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::keychange::{Action, Role};
use muniment_evidence::note::{Checkpoint, VerifierKey};
use muniment_evidence::opening::{
    AnchorDocument, AnchoredBy, Document, DownloadDocument, Opening, commit_document,
};
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::statement::{Kind, Lane};
use muniment_evidence::tree;

/// A file below `testdata/v2`.
pub type Vector = (String, Vec<u8>);

/// Every frozen file but the manifest, which is written by hand.
pub fn all() -> Vec<Vector> {
    let mut all = honest();
    all.extend(negative::all());
    all.extend(post_quantum::all());
    all.extend(promises::all());
    all.extend(soundness::all());
    let planned = planned::negative().into_iter();
    all.extend(planned.map(|(name, bytes)| (format!("negative/{name}"), bytes)));
    all
}

fn honest() -> Vec<Vector> {
    let (small, rotation, operated) = (small(), rotation(), forged_orders::operated());
    let revoked = negative::with_revoked_node_key();
    let size = small.len();
    let genesis = small.genesis();
    let framed = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let genesis = [framed(&genesis.record), framed(&genesis.opening)].concat();
    let cosigned = |ledger: &Ledger, first| seal(&cosigned_frames(ledger, first));
    let mut selection = small.selection(&[4, 5, 9]);
    vouch(&mut selection, small.cosigned_note(size));
    let text = |text: String| text.into_bytes();
    [
        ("genesis.bin", genesis),
        ("trust", text(small.trust().to_string())),
        ("trust-rotation", text(rotation.trust().to_string())),
        ("trust-operator", text(operated.trust().to_string())),
        ("policy", text(policy(&small, false))),
        ("policy-outside", text(policy(&small, true))),
        ("policy-rotation", text(policy(&rotation, false))),
        ("note", text(small.cosigned_note(size))),
        ("head", text(small.note(9))),
        ("invoice.pdf", [BODY, b"F-1"].concat()),
        ("example-receipt.bin", example().receipt(2).encode()),
        ("receipt-issue.bin", small.receipt(4).encode()),
        ("receipt-download.bin", small.receipt(5).encode()),
        ("receipt-refused.bin", small.receipt(7).encode()),
        ("receipt-duplicate.bin", small.receipt(8).encode()),
        ("receipt-before-rotation.bin", rotation.receipt(3).encode()),
        ("receipt-after-rotation.bin", rotation.receipt(12).encode()),
        ("bundle-small.bin", cosigned(&small, 0)),
        ("bundle-slice.bin", cosigned(&small, 5)),
        ("bundle-rotation.bin", cosigned(&rotation, 0)),
        ("bundle-operator.bin", seal(&operated.frames(0))),
        ("slice-operator.bin", seal(&operated.frames(8))),
        ("receipt-operator.bin", operated.receipt(8).encode()),
        ("bundle-reserved.bin", cosigned(&reserved(), 0)),
        ("bundle-planned.bin", planned::cosigned(&planned::honest())),
        (
            "bundle-kinds.bin",
            planned::cosigned(&planned::other_kinds()),
        ),
        ("bundle-wrong-lanes.bin", cosigned(&wrong_lanes(), 0)),
        ("bundle-later-kinds.bin", cosigned(&later_kinds(), 0)),
        (
            "bundle-revoked-writer.bin",
            seal(&revoked_writer().frames(0)),
        ),
        ("bundle-malformed.bin", seal(&malformed().frames(0))),
        ("bundle-lawful.bin", cosigned(&forged_rules::lawful(), 0)),
        (
            "bundle-withheld.bin",
            seal(&forged_rules::without_an_opening()),
        ),
        (
            "bundle-retired-outbox.bin",
            seal(&forged_rules::retired_outbox(false).frames(0)),
        ),
        ("slice-revoked.bin", seal(&revoked.frames(6))),
        ("bundle-later.bin", seal(&later())),
        ("bundle-anchor.bin", seal(&anchored(false).frames(0))),
        ("selection.bin", seal(&selection)),
        ("proof.tlog-proof", text(proof(&small, 4))),
        ("promise", crate::promising::promise(&small, 9).encode()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

/// The worked example of FORMAT.md: founded, started, one invoice issued.
pub fn example() -> Ledger {
    let mut ledger = Ledger::found(1);
    ledger.boot(1);
    ledger.issue(1, "A-1", Outcome::Ok);
    ledger
}

/// Eleven records: all outcomes, a download and its end, an outbox.
pub fn small() -> Ledger {
    let mut ledger = Ledger::found(1);
    for node in 1..=NODES {
        ledger.boot(node);
    }
    let uid = ledger.issue(1, "F-1", Outcome::Ok);
    let download = ledger.download(2, uid);
    ledger.end(2, &[download]);
    ledger.issue(1, "F-1", Outcome::Refused(Reason::IdentityTaken));
    ledger.issue(1, "F-1", Outcome::DuplicateOf(RecordIndex::new(4)));
    let deferred = Document::Download(DownloadDocument {
        deadline_ms: Some(1_795_467_660_000),
        ..ledger.download_of(uid)
    });
    ledger.record(3, Lane::Outbox(OutboxId::new(3)), deferred, Outcome::Ok);
    ledger.issue(2, "F-2", Outcome::Ok);
    ledger
}

pub fn document(ledger: &Ledger, index: u64) -> Document {
    Document::decode(&ledger.entries[index as usize].document.bytes).unwrap()
}

/// Thirteen records and two root keys: a log key and node 1's key are exchanged, and
/// node 2's is revoked.
pub fn rotation() -> Ledger {
    let mut ledger = Ledger::found_with_roots(1, 2);
    ledger.boot(1);
    ledger.boot(2);
    ledger.issue(1, "K-1", Outcome::Ok);
    let (old, new) = (ledger.log_key_of(0), ledger.log_key_of(1));
    let add = ledger.log_change(Action::Add, &new);
    ledger.change_keys(vec![add], &[new]);
    let retire = ledger.log_change(Action::RETIRE, &old);
    ledger.change_keys(vec![retire], &[]);
    ledger.log_keys = vec![1];

    let (before, after) = (ledger.key(1), key_of_turn(&ledger, 1, 1));
    let add = ledger.node_change(Action::Add, Role::Statement, 1, &after);
    ledger.change_keys(vec![add], &[after]);
    ledger.turns.insert(1, 1);
    ledger.boot(1);
    ledger.issue(1, "K-2", Outcome::Ok);
    let retire = ledger.node_change(
        Action::Retire {
            last_epoch: UploadEpoch::new(1),
        },
        Role::Statement,
        1,
        &before,
    );
    ledger.change_keys(vec![retire], &[]);

    let until = ledger.len();
    revoke(&mut ledger, 2, until);
    ledger.boot(2);
    ledger.issue(2, "K-3", Outcome::Ok);
    ledger
}

pub fn key_of_turn(ledger: &Ledger, node: u64, turn: u8) -> SecretKey {
    let mut then = ledger.clone();
    then.turns.insert(node, turn);
    then.key(node)
}

/// Revokes the node's first key and adds its second.
pub fn revoke(ledger: &mut Ledger, node: u64, trusted_until: u64) {
    let (stolen, fresh) = (ledger.key(node), key_of_turn(ledger, node, 1));
    let action = Action::Revoke {
        trusted_until: RecordIndex::new(trusted_until),
    };
    let changes = vec![
        ledger.node_change(action, Role::Statement, node, &stolen),
        ledger.node_change(Action::Add, Role::Statement, node, &fresh),
    ];
    ledger.change_keys(changes, &[fresh]);
    ledger.turns.insert(node, 1);
}

/// What a later version may write: kinds and reasons that this one has no words for.
fn reserved() -> Ledger {
    let mut ledger = small();
    let last = ledger.download(1, [4; 16]);
    let opening = Opening::public(b"of a later version".to_vec());
    ledger.entries[last as usize].record.statement.kind = Kind::Gap;
    reopen(&mut ledger, last, opening);
    let last = ledger.download(3, [4; 16]);
    ledger.entries[last as usize].record.outcome = Outcome::Refused(Reason::Later(999));
    ledger
}

/// Kinds above those known: taken by a ledger whose level knows it, refused unread by others.
fn later_kinds() -> Ledger {
    let mut ledger = small();
    let refused = Outcome::Refused(Reason::FeatureLevel);
    for (node, kind, outcome) in [
        (1, Kind::Later(34), Outcome::Ok),
        (2, Kind::Later(255), refused),
        (3, Kind::Snapshot, refused),
    ] {
        let last = ledger.download(node, [4; 16]);
        let opening = Opening {
            salt: [3; 32],
            bytes: vec![2, 0xff],
        };
        let entry = &mut ledger.entries[last as usize];
        entry.record.statement.kind = kind;
        entry.record.statement.document = commit_document(&opening.salt, &opening.bytes);
        entry.record.outcome = outcome;
        entry.document = opening;
        ledger.resign(last);
    }
    ledger
}

/// What a node says in the wrong lane is refused, and takes its number there.
fn wrong_lanes() -> Ledger {
    let mut ledger = small();
    let malformed = Outcome::Refused(Reason::Malformed);
    let download = document(&ledger, 5);
    ledger.record(1, Lane::Boot, download, malformed);
    let boot = document(&ledger, 1);
    ledger.strict(1, boot, malformed);
    ledger.issue(1, "F-3", Outcome::Ok);
    ledger
}

/// A node records a change of keys; later its own key is revoked from before that on. Who
/// may change keys, the endorsements say.
fn revoked_writer() -> Ledger {
    let mut ledger = Ledger::found_with_roots(1, 2);
    ledger.boot(1);
    ledger.boot(2);
    let fresh = key_of_turn(&ledger, 2, 1);
    let add = ledger.node_change(Action::Add, Role::Statement, 2, &fresh);
    let at = ledger.change_keys(vec![add], &[fresh]);
    revoke(&mut ledger, 1, at);
    ledger.boot(1);
    ledger
}

/// Statements that the ledger refused for what they are: two have no place in their lane.
fn malformed() -> Ledger {
    let mut ledger = small();
    let refused = Outcome::Refused(Reason::Malformed);
    let download = Document::Download(ledger.download_of([4; 16]));
    ledger.strict(1, download.clone(), refused);
    ledger.record(2, Lane::Boot, download, refused);
    let invoice = Document::Issue(ledger.invoice("M"));
    ledger.record(3, Lane::Outbox(OutboxId::new(3)), invoice, refused);
    ledger
}

/// A range of nine records, cosigned at eleven only.
pub fn later() -> Vec<Frame> {
    let whole = small();
    let (end, head) = (9, whole.len());
    let mut shown = whole.clone();
    shown.entries.truncate(end as usize);
    let mut frames = shown.frames(0);
    for frame in &mut frames {
        match frame {
            Frame::Manifest(manifest) => manifest.head = TreeSize::new(head),
            Frame::Last(last) => *last = whole.last_record(head),
            _ => {}
        }
    }
    let Ok(consistency) =
        tree::consistency_proof(&whole.rows(), TreeSize::new(end), TreeSize::new(head));
    frames.push(Frame::Checkpoint(CheckpointFrame {
        note: whole.cosigned_note(head),
        consistency,
    }));
    frames
}

fn witness() -> (SecretKey, VerifierKey) {
    let witness = SecretKey::from_seed(&[88; 32]);
    let key = VerifierKey::cosigner("witness.example/w", witness.public());
    (witness, key)
}

/// An outside witness has cosigned the first five records, or other ones.
pub fn anchored(forged: bool) -> Ledger {
    let mut ledger = small();
    let mut checkpoint = ledger.checkpoint(5);
    if forged {
        checkpoint.root.0[0] ^= 1;
    }
    let anchor = anchor(&ledger, &checkpoint, true);
    ledger.strict(1, anchor, Outcome::Ok);
    ledger
}

/// The ledger's own checkpoint, with the cosignature of an outside witness or without.
pub fn anchor(ledger: &Ledger, checkpoint: &Checkpoint, cosigned: bool) -> Document {
    let (witness, key) = witness();
    let mut note = checkpoint.sign(&ledger.log_key());
    if cosigned {
        note += &checkpoint.cosign(&key.name, &witness, 1_795_467_700);
    }
    let by = AnchoredBy::Witness(key.to_string());
    Document::Anchor(AnchorDocument { note, by })
}

/// Exchanges what a record commits to, rightly signed.
pub fn reopen(ledger: &mut Ledger, index: u64, opening: Opening) {
    let entry = &mut ledger.entries[index as usize];
    entry.record.statement.document = commit_document(&opening.salt, &opening.bytes);
    entry.document = opening;
    ledger.resign(index);
}

/// Two of three zones; or no quorum, and an outside witness by name.
fn policy(ledger: &Ledger, outside: bool) -> String {
    let log = VerifierKey::log(ORIGIN, ledger.log_key().public());
    let mut text = format!("# who must have signed\nlog {log}\n");
    for node in 1..=NODES {
        let name = format!("{ORIGIN}/r1/z{node}/{node}");
        let key = VerifierKey::cosigner(&name, ledger.cosignature_key(node).public());
        text += &format!("witness n{node} {key}\n");
    }
    text += "group zones 2 n1 n2 n3\n";
    match outside {
        true => text + &format!("witness outside {}\nquorum none\n", witness().1),
        false => text + "quorum zones\n",
    }
}

pub fn cosigned_frames(ledger: &Ledger, first: u64) -> Vec<Frame> {
    let mut frames = ledger.frames(first);
    vouch(&mut frames, ledger.cosigned_note(ledger.len()));
    frames
}

/// Exchanges the checkpoint at the end.
pub fn vouch(frames: &mut [Frame], note: String) {
    *frames.last_mut().expect("a bundle has frames") = checkpoint_frame(note);
}

fn proof(ledger: &Ledger, index: u64) -> String {
    let record = ledger.entries[index as usize].record.encode();
    let mut text = format!(
        "c2sp.org/tlog-proof@v1\nextra {}\nindex {index}\n",
        BASE64.encode(record)
    );
    for hash in ledger.path(index, ledger.len()) {
        text += &format!("{}\n", BASE64.encode(hash.0));
    }
    text + "\n" + &ledger.cosigned_note(ledger.len())
}

/// The worked example, as it stands in FORMAT.md.
pub fn worked_example() -> String {
    let ledger = example();
    let mut text = String::new();
    let mut put = |name: &str, bytes: &[u8]| {
        text += &format!("{name} ({} bytes)\n", bytes.len());
        for line in bytes.chunks(48) {
            text += &format!("  {}\n", hex(line));
        }
    };
    for index in 0..ledger.len() {
        let entry = &ledger.entries[index as usize];
        put(&format!("record {index}"), &entry.record.encode());
        put("  document salt", &entry.document.salt);
        put("  document opening", &entry.document.bytes);
        put("  actor salt", &entry.actor.salt);
        put("  actor opening", &entry.actor.bytes);
        let statement = entry.record.statement.hash();
        put("  statement hash", &statement.0);
        put("  leaf hash", &ledger.leaf(index).0);
    }
    let [a, b] = [ledger.leaf(0), ledger.leaf(1)];
    put("node over records 0 and 1", &tree::node_hash(&a, &b).0);
    put("root of size 3", &ledger.checkpoint(3).root.0);
    text + &format!("note of size 3, without cosignatures\n{}", ledger.note(3))
}
