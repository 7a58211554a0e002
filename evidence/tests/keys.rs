//! Keys come and go: what was signed stays proven, and what should not be believed is not.

mod ledger;

use ledger::{Ledger, ORIGIN, checkpoint_frame, seal};
use muniment_evidence::bundle::Frame;
use muniment_evidence::class::FindingClass;
use muniment_evidence::ids::{
    LogIndex, NodeId, OutboxId, RecordIndex, Sequence, TreeSize, UploadEpoch,
};
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::keychange::{Action, Role};
use muniment_evidence::ml_dsa::MlDsaSecretKey;
use muniment_evidence::note::VerifierKey;
use muniment_evidence::opening::{
    AnchorDocument, AnchoredBy, BootDocument, BootOutbox, Document, MembershipDocument,
};
use muniment_evidence::policy::Policy;
use muniment_evidence::record::Outcome;
use muniment_evidence::report::{Report, Verdict};
use muniment_evidence::statement::Lane;
use muniment_evidence::verify::{self, BundleVerifier, Expected, VerifyOptions};

fn options(ledger: &Ledger) -> VerifyOptions {
    VerifyOptions {
        trust: Some(ledger.trust()),
        ..VerifyOptions::default()
    }
}

fn verify_with(bytes: &[u8], options: VerifyOptions) -> Report {
    let mut verifier = BundleVerifier::new(options);
    verifier.push(bytes);
    verifier.finish()
}

fn bundle(ledger: &Ledger) -> Report {
    verify_with(&ledger.bundle(), options(ledger))
}

fn receipt(ledger: &Ledger, index: u64) -> Report {
    let bytes = ledger.receipt(index).encode();
    let trust = ledger.trust();
    let expected = Expected {
        trust: Some(&trust),
        ..Expected::default()
    };
    verify::receipt(&bytes, expected)
}

fn gravest(report: &Report) -> (FindingClass, Option<u64>) {
    let (class, index) = *report.classes().first().expect("a finding");
    (class, index.map(RecordIndex::get))
}

/// A ledger in which the log key and node 1's keys were rotated, step by step; `check`
/// is called after each step.
fn rotation(roots: u8, mut check: impl FnMut(&Ledger, &str)) -> Ledger {
    let mut ledger = Ledger::found_with_roots(1, roots);
    ledger.boot(1);
    ledger.boot(2);
    ledger.issue(1, "K-1", Outcome::Ok);
    check(&ledger, "before");

    let (old, new) = (ledger.log_key_of(0), ledger.log_key_of(1));
    let add = ledger.log_change(Action::Add, &new);
    ledger.change_keys(vec![add], std::slice::from_ref(&new));
    ledger.log_keys = vec![0, 1];
    check(&ledger, "log keys overlap");
    let retire = ledger.log_change(Action::RETIRE, &old);
    ledger.change_keys(vec![retire], &[]);
    ledger.log_keys = vec![1];
    check(&ledger, "the old log key is retired");

    let before = ledger.key(1);
    ledger.turns.insert(1, 1);
    let after = ledger.key(1);
    ledger.turns.insert(1, 0);
    let add = ledger.node_change(Action::Add, Role::Statement, 1, &after);
    ledger.change_keys(vec![add], std::slice::from_ref(&after));
    check(&ledger, "a statement key is added");
    ledger.turns.insert(1, 1);
    ledger.boot(1);
    ledger.issue(1, "K-2", Outcome::Ok);
    check(&ledger, "the node starts under it");
    let retire = ledger.node_change(
        Action::Retire {
            last_epoch: UploadEpoch::new(1),
        },
        Role::Statement,
        1,
        &before,
    );
    ledger.change_keys(vec![retire], &[]);
    ledger.issue(2, "K-3", Outcome::Ok);
    check(&ledger, "the old statement key is retired");
    ledger
}

#[test]
fn a_rotation_fails_no_verification_before_during_or_after() {
    for roots in [0, 2] {
        let mut early = Vec::new();
        let last = rotation(roots, |ledger, step| {
            let report = bundle(ledger);
            assert_eq!(report.findings, [], "{step}, {roots} root keys");
            assert_eq!(report.verdict(), Verdict::Verified);
            for index in 0..ledger.len() {
                assert_eq!(
                    receipt(ledger, index).findings,
                    [],
                    "{step}: record {index}"
                );
            }
            for begin in 0..=ledger.len() {
                let slice = seal(&ledger.frames(begin));
                assert_eq!(verify_with(&slice, options(ledger)).findings, [], "{step}");
            }
            early.push((ledger.receipt(3).encode(), ledger.note(ledger.len())));
        });
        assert_eq!(bundle(&last).keys.len(), 4);
        // Receipts and heads from every step still hold at the end.
        let trust = last.trust();
        for (receipt, note) in early {
            let expected = Expected {
                trust: Some(&trust),
                ..Expected::default()
            };
            assert!(verify::receipt(&receipt, expected).holds());
            let with_head = VerifyOptions {
                head: Some(note.into_bytes()),
                ..options(&last)
            };
            let report = verify_with(&last.bundle(), with_head);
            assert!(report.findings.is_empty() && report.head_size.is_some());
        }
    }
}

#[test]
fn a_key_not_in_force_signs_nothing() {
    // The retired log key signs once more.
    let ledger = rotation(0, |_, _| {});
    let mut frames = ledger.frames(0);
    let old = ledger.checkpoint(ledger.len()).sign(&ledger.log_key_of(0));
    *frames.last_mut().unwrap() = checkpoint_frame(old);
    let report = verify_with(&seal(&frames), options(&ledger));
    assert_eq!(gravest(&report).0, FindingClass::Checkpoint);
    // So does the retired statement key, and one that is added later.
    let mut stale = rotation(0, |_, _| {});
    stale.turns.insert(1, 0);
    let at = stale.issue_at(1, "K-4");
    assert_eq!(
        gravest(&bundle(&stale)),
        (FindingClass::UnknownKey, Some(at))
    );
    let mut early = Ledger::found(1);
    early.boot(1);
    early.turns.insert(1, 1);
    let next = early.key(1);
    let at = early.issue_at(1, "K-1");
    early.turns.insert(1, 0);
    let add = early.node_change(Action::Add, Role::Statement, 1, &next);
    early.change_keys(vec![add], std::slice::from_ref(&next));
    assert_eq!(
        gravest(&bundle(&early)),
        (FindingClass::UnknownKey, Some(at))
    );
}

#[test]
fn a_revoked_key_is_believed_up_to_its_size_only() {
    let mut ledger = Ledger::found_with_roots(1, 2);
    ledger.boot(1);
    ledger.boot(2);
    let good = ledger.issue_at(2, "V-1");
    let bad = ledger.issue_at(2, "V-2");
    let stolen = ledger.key(2);
    ledger.turns.insert(2, 1);
    let fresh = ledger.key(2);
    let changes = |until| {
        let action = Action::Revoke {
            trusted_until: until,
        };
        vec![
            ledger.node_change(action, Role::Statement, 2, &stolen),
            ledger.node_change(Action::Add, Role::Statement, 2, &fresh),
        ]
    };
    let (all, from_bad) = (
        changes(RecordIndex::new(ledger.len())),
        changes(RecordIndex::new(bad)),
    );
    let mut harmless = ledger.clone();
    harmless.change_keys(all, std::slice::from_ref(&fresh));
    assert_eq!(bundle(&harmless).findings, []);
    ledger.change_keys(from_bad, std::slice::from_ref(&fresh));
    ledger.boot(2);
    let report = bundle(&ledger);
    assert_eq!(gravest(&report), (FindingClass::Revoked, Some(bad)));
    assert_eq!(
        report.findings.len(),
        2,
        "the statement, and a holding of V-2"
    );
    assert_eq!(receipt(&ledger, good).findings, []);
    assert_eq!(
        gravest(&receipt(&ledger, bad)),
        (FindingClass::Revoked, Some(bad))
    );

    // A log key: checkpoints above the size are not believed.
    let mut ledger = Ledger::small();
    let next = ledger.log_key_of(1);
    let size = ledger.len();
    let revoke = ledger.log_change(
        Action::Revoke {
            trusted_until: RecordIndex::new(size),
        },
        &ledger.log_key_of(0),
    );
    let add = ledger.log_change(Action::Add, &next);
    ledger.change_keys(vec![revoke, add], std::slice::from_ref(&next));
    let mut frames = ledger.frames(0);
    let by_old = ledger.checkpoint(ledger.len()).sign(&ledger.log_key_of(0));
    *frames.last_mut().unwrap() = checkpoint_frame(by_old);
    let report = verify_with(&seal(&frames), options(&ledger));
    assert_eq!(gravest(&report), (FindingClass::Revoked, None));
    ledger.log_keys = vec![1];
    let saved = ledger.checkpoint(size).sign(&ledger.log_key_of(0));
    let with_head = VerifyOptions {
        head: Some(saved.into_bytes()),
        ..options(&ledger)
    };
    let report = verify_with(&ledger.bundle(), with_head);
    assert_eq!(
        (report.findings.len(), report.head_size),
        (0, Some(TreeSize::new(size)))
    );
}

/// Whoever cannot get the endorsements cannot bring in a key.
#[test]
fn changes_of_keys_that_are_not_endorsed_are_not_believed() {
    let thief = SecretKey::from_seed(&[77; 32]);
    let base = |roots| {
        let mut ledger = Ledger::found_with_roots(1, roots);
        ledger.boot(1);
        ledger
    };
    for roots in [0, 2] {
        let ledger = base(roots);
        let add = ledger.log_change(Action::Add, &thief);
        let good = ledger.key_document(vec![add], std::slice::from_ref(&thief));
        let accepted = |document: &muniment_evidence::keychange::KeyDocument| {
            let mut ledger = ledger.clone();
            ledger.strict(1, Document::Key(document.clone()), Outcome::Ok);
            bundle(&ledger).findings.is_empty()
        };
        assert!(accepted(&good), "{roots} root keys");
        // Each endorsement is needed.
        for without in 0..good.endorsements.list.len() {
            let mut document = good.clone();
            document.endorsements.list.remove(without);
            assert!(!accepted(&document));
            let mut document = good.clone();
            document.endorsements.list[without].signature.0[7] ^= 1;
            assert!(!accepted(&document));
        }
        let mut twice = good.clone();
        twice.endorsements.list.push(good.endorsements.list[0]);
        assert!(!accepted(&twice));
        let mut again = good.clone();
        again.serial = 1;
        assert!(!accepted(&again));
        // The log key, which every voter holds, decides nothing.
        let mut by_log = good.clone();
        by_log.endorsements.list.truncate(1);
        by_log.endorse(&ledger.id, &ledger.log_key());
        assert!(!accepted(&by_log));
        // Nothing may be left without a log key, nor with roots that cannot be met.
        let retire = ledger.log_change(Action::RETIRE, &ledger.log_key_of(0));
        assert!(!accepted(&ledger.key_document(vec![retire], &[])));
        let mut threshold = good.clone();
        threshold.threshold = 9;
        threshold.endorsements.list.clear();
        assert!(!accepted(&threshold));
        // A key that was used before does not come back.
        let node_key = ledger.key(2);
        let reused = ledger.log_change(Action::Add, &node_key);
        assert!(!accepted(&ledger.key_document(vec![reused], &[node_key])));
        // A key of the whole ledger stands nowhere.
        let mut placed = ledger.log_change(Action::Add, &thief);
        placed.zone = "z1".into();
        let placed = ledger.key_document(vec![placed], std::slice::from_ref(&thief));
        assert!(!accepted(&placed));
    }
}

#[test]
fn a_hidden_or_foreign_change_of_keys_is_found() {
    let ledger = rotation(0, |_, _| {});
    let frames = ledger.frames(0);
    let keys: Vec<usize> = (0..frames.len())
        .filter(|at| matches!(frames[*at], Frame::Key(_)))
        .collect();
    assert_eq!(keys.len(), 4);
    for at in &keys {
        let mut hidden = frames.clone();
        hidden.remove(*at);
        let report = verify_with(&seal(&hidden), options(&ledger));
        assert!(!report.findings.is_empty(), "without frame {at}");
        let mut astray = frames.clone();
        if let Frame::Key(key) = &mut astray[*at] {
            key.path.reverse();
        }
        let report = verify_with(&seal(&astray), options(&ledger));
        assert!(
            report
                .findings
                .iter()
                .any(|f| f.class == FindingClass::BadTree)
        );
    }
    // In a receipt too, but for the newest: what came after cannot be known from it.
    for hidden in 0..3 {
        let mut receipt = ledger.receipt(4);
        receipt.keys.remove(hidden);
        let trust = ledger.trust();
        let expected = Expected {
            trust: Some(&trust),
            ..Expected::default()
        };
        let report = verify::receipt(&receipt.encode(), expected);
        assert!(!report.findings.is_empty(), "without KEY record {hidden}");
    }
    // The newest shows where the receipt is about itself.
    let newest = ledger.key_records(ledger.len()).len() - 1;
    let about = ledger
        .entries
        .iter()
        .rposition(|entry| entry.record.statement.kind == muniment_evidence::statement::Kind::Key);
    let about = about.unwrap() as u64;
    let mut own = ledger.receipt(about);
    own.keys.remove(newest);
    let trust = ledger.trust();
    let expected = Expected {
        trust: Some(&trust),
        ..Expected::default()
    };
    let report = verify::receipt(&own.encode(), expected);
    assert_eq!(gravest(&report), (FindingClass::BrokenChain, Some(about)));
}

#[test]
fn members_are_admitted_by_keys_and_by_nothing_else() {
    let mut ledger = Ledger::found(1);
    ledger.boot(1);
    let members = |voters: &[u64]| {
        Document::Membership(MembershipDocument {
            log_index: LogIndex::new(9),
            voters: vec![voters.iter().map(|node| NodeId::new(*node)).collect()],
            learners: Vec::new(),
        })
    };
    let mut stranger = ledger.clone();
    let at = stranger.strict(1, members(&[1, 2, 9]), Outcome::Ok);
    assert_eq!(
        gravest(&bundle(&stranger)),
        (FindingClass::UnknownKey, Some(at))
    );
    let (statement, cosignature) = (ledger.key(9), ledger.cosignature_key(9));
    let changes = vec![
        ledger.node_change(Action::Add, Role::Statement, 9, &statement),
        ledger.node_change(Action::Add, Role::Cosignature, 9, &cosignature),
    ];
    // Not before its keys are in force.
    let mut early = ledger.clone();
    let at = early.strict(1, members(&[1, 2, 9]), Outcome::Ok);
    early.change_keys(changes.clone(), &[statement.clone(), cosignature.clone()]);
    assert_eq!(
        gravest(&bundle(&early)),
        (FindingClass::UnknownKey, Some(at))
    );
    ledger.change_keys(changes, &[statement, cosignature]);
    ledger.strict(1, members(&[1, 2, 9]), Outcome::Ok);
    ledger.boot(9);
    ledger.boot(2);
    ledger.issue(9, "M-1", Outcome::Ok);
    assert_eq!(bundle(&ledger).findings, []);
}

fn policy_of(ledger: &Ledger, outside: Option<&VerifierKey>, quorum: &str) -> Policy {
    let mut text = format!(
        "log {}\n",
        VerifierKey::log(ORIGIN, ledger.log_key().public())
    );
    for node in 1..=ledger::NODES {
        let name = format!("{ORIGIN}/r1/z{node}/{node}");
        let key = VerifierKey::cosigner(&name, ledger.cosignature_key(node).public());
        text += &format!("witness n{node} {key}\n");
    }
    text += "group zones 2 n1 n2 n3\n";
    if let Some(key) = outside {
        text += &format!("witness outside {key}\ngroup both all zones outside\n");
    }
    Policy::parse(&format!("{text}quorum {quorum}\n")).unwrap()
}

#[test]
fn a_policy_is_met_by_cosignatures_and_by_nothing_less() {
    let ledger = Ledger::small();
    let policy = policy_of(&ledger, None, "zones");
    let trust = ledger.trust();
    let verify_receipt = |receipt: &muniment_evidence::receipt::Receipt| {
        let expected = Expected {
            trust: Some(&trust),
            policy: Some(&policy),
            ..Expected::default()
        };
        verify::receipt(&receipt.encode(), expected)
    };
    let whole = ledger.receipt(2);
    let report = verify_receipt(&whole);
    assert_eq!((report.exit_code(), report.policy_met), (0, Some(true)));
    assert!(report.is_self_attested(), "members are not outsiders");
    let mut stripped = whole.clone();
    stripped.checkpoint = ledger.note(ledger.len());
    let report = verify_receipt(&stripped);
    assert_eq!(gravest(&report), (FindingClass::Policy, None));
    let with_policy = VerifyOptions {
        policy: Some(policy.clone()),
        ..options(&ledger)
    };
    let report = verify_with(&ledger.bundle(), with_policy.clone());
    assert_eq!(gravest(&report), (FindingClass::Policy, None));
    let mut frames = ledger.frames(0);
    *frames.last_mut().unwrap() = checkpoint_frame(ledger.cosigned_note(ledger.len()));
    assert_eq!(verify_with(&seal(&frames), with_policy).exit_code(), 0);
}

/// The ledger knows nothing of its members' ML-DSA keys: their names tell whose they are.
#[test]
fn a_member_is_not_outside_by_its_ml_dsa_key() {
    let ledger = Ledger::small();
    let secret = MlDsaSecretKey::from_seed(&[6; 32]);
    let judged = |name: &str| {
        let key = VerifierKey::ml_dsa_cosigner(name, secret.public());
        let line = ledger.checkpoint(ledger.len());
        let line = line.cosign_ml_dsa(name, &secret, 1_795_467_700).unwrap();
        let mut frames = ledger.frames(0);
        *frames.last_mut().unwrap() = checkpoint_frame(ledger.note(ledger.len()) + &line);
        let options = VerifyOptions {
            policy: Some(policy_of(&ledger, Some(&key), "outside")),
            ..options(&ledger)
        };
        verify_with(&seal(&frames), options)
    };
    let member = judged(&format!("{ORIGIN}/r1/z1/1"));
    assert_eq!(member.exit_code(), 0);
    assert!(member.is_self_attested());
    let outside = judged("witness.example/w");
    assert_eq!(outside.exit_code(), 0);
    assert!(!outside.is_self_attested());
}

#[test]
fn an_outside_witness_is_told_apart_and_its_anchors_are_compared() {
    let witness = SecretKey::from_seed(&[88; 32]);
    let key = VerifierKey::cosigner("witness.example/w", witness.public());
    let anchored = |ledger: &mut Ledger, size: u64, forged: bool| {
        let mut checkpoint = ledger.checkpoint(size);
        if forged {
            checkpoint.root.0[0] ^= 1;
        }
        let note = checkpoint.sign(&ledger.log_key())
            + &checkpoint.cosign(&key.name, &witness, 1_795_467_700);
        let anchor = AnchorDocument {
            note,
            by: AnchoredBy::Witness(key.to_string()),
        };
        ledger.strict(1, Document::Anchor(anchor), Outcome::Ok)
    };
    let mut ledger = Ledger::small();
    anchored(&mut ledger, 5, false);
    let deep = |ledger: &Ledger| VerifyOptions {
        policy: Some(policy_of(ledger, Some(&key), "none")),
        level: 6,
        ..options(ledger)
    };
    let report = verify_with(&ledger.bundle(), deep(&ledger));
    assert_eq!((report.findings.len(), report.anchors), (0, Some(1)));
    assert!(!report.is_self_attested());
    // Without one the level is not reached.
    let bare = Ledger::small();
    let report = verify_with(&bare.bundle(), deep(&bare));
    assert_eq!(gravest(&report), (FindingClass::MissingData, None));
    // What the witness saw is not what the ledger shows.
    let at = anchored(&mut ledger, 5, true);
    let report = verify_with(&ledger.bundle(), deep(&ledger));
    assert_eq!(gravest(&report), (FindingClass::Fork, Some(at)));
    let mut frames = bare.frames(0);
    let note = bare.note(bare.len())
        + &bare
            .checkpoint(bare.len())
            .cosign(&key.name, &witness, 1_795_467_700);
    *frames.last_mut().unwrap() = checkpoint_frame(note);
    let with_policy = VerifyOptions {
        policy: Some(policy_of(&bare, Some(&key), "outside")),
        ..options(&bare)
    };
    let report = verify_with(&seal(&frames), with_policy);
    assert!(report.findings.is_empty() && !report.is_self_attested());
}

#[test]
fn a_selection_proves_what_it_holds() {
    let ledger = Ledger::realistic(1);
    let chosen = [0, 1, 5, 6, 9, 12, ledger.len() - 1];
    let report = verify_with(&seal(&ledger.selection(&chosen)), options(&ledger));
    assert_eq!(report.findings, []);
    assert_eq!(report.counts.total(), chosen.len() as u64);
    assert!(report.selection.is_some());
    let frames = ledger.selection(&chosen);
    let place = frames
        .iter()
        .position(|frame| matches!(frame, Frame::Proven(..)))
        .unwrap();
    let mut astray = frames.clone();
    if let Frame::Proven(_, path) = &mut astray[place + 2] {
        path[0].0[3] ^= 1;
    }
    let report = verify_with(&seal(&astray), options(&ledger));
    assert_eq!(gravest(&report), (FindingClass::BadTree, Some(5)));
    let mut swapped = frames.clone();
    swapped.swap(place + 2, place + 3);
    let report = verify_with(&seal(&swapped), options(&ledger));
    assert_eq!(gravest(&report), (FindingClass::BrokenChain, Some(5)));
    // A range does not pass for a selection, nor the other way round.
    let mut mixed = frames.clone();
    mixed[place] = ledger.frame(0);
    let report = verify_with(&seal(&mixed), options(&ledger));
    assert_eq!(gravest(&report), (FindingClass::Structure, None));
}

#[test]
fn outboxes_that_are_pending_or_lost_are_told() {
    let boot = |ledger: &Ledger, outboxes| {
        Document::Boot(BootDocument {
            incarnation: [1; 16],
            statement_key: ledger.key(1).public(),
            software: "test".into(),
            outboxes,
        })
    };
    let outbox = |next, lost| BootOutbox {
        id: OutboxId::new(7),
        next,
        last: Default::default(),
        lost,
    };
    let with = |outboxes: &[Vec<BootOutbox>]| {
        let mut ledger = Ledger::found(1);
        for named in outboxes {
            let document = boot(&ledger, named.clone());
            ledger.record(1, Lane::Boot, document, Outcome::Ok);
        }
        bundle(&ledger)
    };
    let open = with(&[vec![outbox(Sequence::new(3), false)]]);
    assert_eq!((open.findings.len(), open.open_outboxes[0].pending), (0, 3));
    let lost = with(&[
        vec![outbox(Sequence::new(3), false)],
        vec![outbox(Sequence::new(3), true)],
    ]);
    assert!(lost.holds());
    assert_eq!(gravest(&lost.strict()), (FindingClass::Lost, Some(2)));
    let omitted = with(&[vec![outbox(Sequence::new(3), false)], vec![]]);
    assert_eq!(gravest(&omitted), (FindingClass::Lane, Some(2)));
    assert_eq!(
        with(&[vec![outbox(Sequence::new(0), false)], vec![]]).findings,
        []
    );
}
