//! Whoever changes a bundle is found out: each test plays one forger. Receipts have theirs
//! in `receipts.rs`.

mod expecting;
mod ledger;

use expecting::{gravest, pinned};
use ledger::{Ledger, checkpoint_frame, seal};
use muniment_evidence::bundle::{Frame, Manifest};
use muniment_evidence::class::FindingClass;
use muniment_evidence::digest::{Digest, tag};
use muniment_evidence::ids::{NodeId, RecordIndex, Sequence, TreeSize, UploadEpoch};
use muniment_evidence::opening::{
    Delivered, Document, DownloadEndDocument, Holding, PolicyDocument, commit_document,
};
use muniment_evidence::record::{Outcome, Reason};
use muniment_evidence::report::{Report, Verdict};
use muniment_evidence::statement::{Kind, Lane};
use muniment_evidence::trust::Trust;
use muniment_evidence::verify::{self, BundleVerifier, VerifyOptions};

fn verify_with(bytes: &[u8], options: VerifyOptions) -> Report {
    let mut verifier = BundleVerifier::new(options);
    for piece in bytes.chunks(4096) {
        verifier.push(piece);
    }
    verifier.finish()
}

fn verify(bytes: &[u8], trust: &Trust) -> Report {
    let trust = Some(trust.clone());
    verify_with(
        bytes,
        VerifyOptions {
            trust,
            ..VerifyOptions::default()
        },
    )
}

fn classes(report: &Report) -> Vec<FindingClass> {
    report
        .findings
        .iter()
        .map(|finding| finding.class)
        .collect()
}

fn record_at(frames: &mut [Frame], index: usize) -> &mut muniment_evidence::bundle::RecordFrame {
    match &mut frames[index + 1] {
        Frame::Record(frame) => frame,
        other => panic!("not a record: {other:?}"),
    }
}

fn manifest(frames: &mut [Frame]) -> &mut Manifest {
    match &mut frames[0] {
        Frame::Manifest(manifest) => manifest,
        other => panic!("not a manifest: {other:?}"),
    }
}

#[test]
fn an_honest_bundle_verifies_and_says_what_is_in_it() {
    let ledger = Ledger::realistic(1);
    let report = verify(&ledger.bundle(), &ledger.trust());
    assert_eq!(report.findings, []);
    assert_eq!(report.exit_code(), 0);
    assert_eq!(report.size, Some(TreeSize::new(ledger.len())));
    assert_eq!(report.counts.total(), ledger.len());
    let issues = report.counts.rows().find(|(kind, _)| *kind == Kind::Issue);
    assert_eq!(issues, Some((Kind::Issue, [8, 1, 1])));
    let unfinished = report.unfinished.as_ref().unwrap();
    assert_eq!((unfinished.count, unfinished.ends_unread), (12, 0));
    assert!(report.is_self_attested());
    let unpinned = verify_with(&ledger.bundle(), VerifyOptions::default());
    assert_eq!(unpinned.verdict(), Verdict::Unpinned);
    assert_eq!(unpinned.exit_code(), 3);
}

#[test]
fn every_level_accepts_an_honest_bundle() {
    let ledger = Ledger::realistic(1);
    for level in 0..=5 {
        let report = verify_with(
            &ledger.bundle(),
            VerifyOptions {
                trust: Some(ledger.trust()),
                head: Some(ledger.note(9).into()),
                level,
                ..VerifyOptions::default()
            },
        );
        assert_eq!(report.findings, [], "level {level}");
        // A shallow check must not pass for a deep one.
        assert_eq!(report.level, level);
        assert_eq!(report.head_size, (level >= 3).then_some(TreeSize::new(9)));
    }
}

#[test]
fn a_slice_verifies_wherever_it_begins() {
    let ledger = Ledger::realistic(1);
    for begin in 0..=ledger.len() {
        let report = verify(&seal(&ledger.frames(begin)), &ledger.trust());
        // The end of a download may be inside where its beginning is not.
        assert_eq!(report.findings, [], "from {begin}");
    }
}

#[test]
fn many_records_are_checked_on_several_threads_alike() {
    let mut ledger = Ledger::found(1);
    ledger.boot(1);
    let uid = ledger.issue(1, "A-1", Outcome::Ok);
    for _ in 0..1500 {
        ledger.download(1, uid);
    }
    assert_eq!(verify(&ledger.bundle(), &ledger.trust()).findings, []);
    ledger.entries[1300].record.signature.0[5] ^= 1;
    ledger.rechain();
    let report = verify(&ledger.bundle(), &ledger.trust());
    assert_eq!(report.findings.len(), 1);
    assert_eq!(gravest(&report), (FindingClass::BadSignature, Some(1300)));
    let unfinished = report.unfinished.unwrap();
    assert_eq!((unfinished.count, unfinished.indexes.len()), (1500, 100));
}

/// Erasing is lawful: it leaves the evidence whole.
#[test]
fn erased_openings_are_no_fault_unless_they_are_public() {
    let ledger = Ledger::small();
    let mut frames = ledger.frames(0);
    for index in 2..ledger.len() as usize {
        record_at(&mut frames, index).document = None;
        record_at(&mut frames, index).actor = None;
    }
    let report = verify(&seal(&frames), &ledger.trust());
    assert_eq!(report.findings, []);
    assert_eq!(report.unfinished.unwrap().ends_unread, 1);
    record_at(&mut frames, 1).document = None;
    let report = verify(&seal(&frames), &ledger.trust());
    assert_eq!(gravest(&report), (FindingClass::MissingData, Some(1)));
}

#[test]
fn any_flipped_byte_of_a_bundle_is_found() {
    let ledger = Ledger::small();
    let bytes = ledger.bundle();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x01;
        let report = verify(&flipped, &ledger.trust());
        assert!(!report.findings.is_empty(), "byte {at}");
    }
}

/// The forger repairs the END digest too, so that only the evidence itself can tell.
#[test]
fn any_flipped_byte_is_found_even_under_a_repaired_digest() {
    let ledger = Ledger::small();
    let bytes = ledger.bundle();
    // The END frame: type, length, counts, digest.
    let kinds = 8;
    let end = bytes.len() - (1 + 4 + 4 + kinds * 10 + 32);
    for at in 0..end {
        for bit in [0x01, 0x80] {
            let mut flipped = bytes.clone();
            flipped[at] ^= bit;
            let digest = Digest::of(&[tag::BUNDLE, &flipped[..end]]);
            let digest_at = bytes.len() - 32;
            flipped[digest_at..].copy_from_slice(&digest.0);
            let report = verify(&flipped, &ledger.trust());
            assert!(!report.findings.is_empty(), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn truncation_anywhere_is_missing_data() {
    let ledger = Ledger::small();
    let bytes = ledger.bundle();
    for length in (0..bytes.len()).step_by(37) {
        let report = verify(&bytes[..length], &ledger.trust());
        assert_eq!(
            classes(&report).last(),
            Some(&FindingClass::MissingData),
            "{length}"
        );
    }
    let longer = [&bytes[..], b"x"].concat();
    assert_eq!(
        gravest(&verify(&longer, &ledger.trust())).0,
        FindingClass::Structure
    );
}

#[test]
fn deleted_repeated_and_exchanged_records_are_found() {
    let ledger = Ledger::realistic(1);
    let trust = ledger.trust();
    for index in 0..ledger.len() as usize {
        let mut deleted = ledger.frames(0);
        deleted.remove(index + 1);
        let report = verify(&seal(&deleted), &trust);
        assert!(
            classes(&report).contains(&FindingClass::MissingData),
            "{index}"
        );

        let mut repeated = ledger.frames(0);
        repeated.insert(index + 1, repeated[index + 1].clone());
        let report = verify(&seal(&repeated), &trust);
        assert_eq!(
            gravest(&report),
            (FindingClass::BrokenChain, Some(index as u64))
        );

        if index > 0 {
            let mut exchanged = ledger.frames(0);
            exchanged.swap(index, index + 1);
            assert!(!verify(&seal(&exchanged), &trust).findings.is_empty());
        }
    }
}

/// The forger deletes a record and makes index, chain, manifest, tree and END agree
/// again, even with the log key: the lane still has a hole.
#[test]
fn a_deleted_record_shows_in_its_lane_even_when_the_log_is_rewritten() {
    let ledger = Ledger::realistic(1);
    let trust = ledger.trust();
    let last_of_lane = |index: usize| {
        let lane =
            |entry: &ledger::Entry| (entry.record.statement.node, entry.record.statement.lane);
        let gone = lane(&ledger.entries[index]);
        !ledger.entries[index + 1..]
            .iter()
            .any(|entry| lane(entry) == gone)
    };
    for index in 1..ledger.entries.len() {
        let mut forged = ledger.clone();
        forged.entries.remove(index);
        forged.rechain();
        let report = verify(&forged.bundle(), &trust);
        // The last statement of a lane leaves no hole: promises, BOOT records and saved
        // heads are there for it.
        if !last_of_lane(index) {
            assert!(
                classes(&report).contains(&FindingClass::Lane),
                "record {index}"
            );
        }
        // But whoever kept a checkpoint sees it always.
        let report = verify_with(
            &forged.bundle(),
            VerifyOptions {
                trust: Some(trust.clone()),
                head: Some(ledger.note(index as u64 + 1).into()),
                level: 5,
                ..VerifyOptions::default()
            },
        );
        let found = classes(&report);
        assert!(
            found.contains(&FindingClass::Fork) || found.contains(&FindingClass::MissingData),
            "record {index}"
        );
    }
}

#[test]
fn a_checkpoint_without_the_logs_signature_is_found() {
    let ledger = Ledger::small();
    let trust = ledger.trust();
    let size = ledger.len();
    let text = ledger.checkpoint(size).text();
    let by_node = ledger.checkpoint(size).sign(&ledger.key(1));
    let elsewhere = ledger.note(size).replace(ledger::ORIGIN, "other.example/0");
    let notes = [
        text,
        by_node,
        elsewhere,
        ledger.note(size - 1),
        String::new(),
    ];
    for note in notes {
        let mut frames = ledger.frames(0);
        *frames.last_mut().unwrap() = checkpoint_frame(note.clone());
        let report = verify(&seal(&frames), &trust);
        assert_eq!(
            gravest(&report),
            (FindingClass::Checkpoint, None),
            "{note:?}"
        );
        let mut receipt = ledger.receipt(2);
        if note != ledger.note(size - 1) {
            receipt.checkpoint = note;
            let report = verify::receipt(&receipt.encode(), pinned(&trust));
            assert_eq!(gravest(&report), (FindingClass::Checkpoint, None));
        }
    }
    let mut frames = ledger.frames(0);
    frames.pop();
    let report = verify(&seal(&frames), &trust);
    assert_eq!(gravest(&report), (FindingClass::Checkpoint, None));
}

#[test]
fn exchanged_openings_are_found() {
    let ledger = Ledger::realistic(1);
    let issues: Vec<usize> = (0..ledger.entries.len())
        .filter(|i| ledger.entries[*i].record.statement.kind == Kind::Issue)
        .collect();
    let (a, b) = (issues[0], issues[1]);
    let mut forged = ledger.clone();
    forged.entries[a].document = ledger.entries[b].document.clone();
    let report = verify(&forged.bundle(), &ledger.trust());
    assert_eq!(gravest(&report), (FindingClass::Opening, Some(a as u64)));
    let mut forged = ledger.clone();
    forged.entries[b].actor = ledger.entries[a].actor.clone();
    let report = verify(&forged.bundle(), &ledger.trust());
    assert_eq!(gravest(&report), (FindingClass::Opening, Some(b as u64)));
    // Document and actor commit under tags of their own.
    let mut forged = ledger.clone();
    let entry = &mut forged.entries[a];
    std::mem::swap(&mut entry.document, &mut entry.actor);
    let report = verify(&forged.bundle(), &ledger.trust());
    assert_eq!(
        classes(&report),
        [FindingClass::Opening, FindingClass::Opening]
    );
}

#[test]
fn evidence_signed_by_other_keys_is_untrusted() {
    let (ours, theirs) = (Ledger::realistic(1), Ledger::realistic(2));
    let report = verify(&theirs.bundle(), &ours.trust());
    assert_eq!(gravest(&report), (FindingClass::Untrusted, None));
    let receipt = theirs.receipt(7).encode();
    let report = verify::receipt(&receipt, pinned(&ours.trust()));
    assert_eq!(gravest(&report), (FindingClass::Untrusted, None));
    // Their genesis does not pass as ours beside our records either.
    let mut mixed = ours.frames(0);
    manifest(&mut mixed).genesis = theirs.genesis();
    let report = verify(&seal(&mixed), &ours.trust());
    assert_eq!(gravest(&report), (FindingClass::Untrusted, None));
}

#[test]
fn a_rewritten_ledger_contradicts_a_saved_head() {
    let ledger = Ledger::realistic(1);
    let mut rewritten = ledger.clone();
    rewritten.entries[12].record.committed_at_ms += 1;
    rewritten.rechain();
    // All in itself is well: the operator holds every key.
    assert_eq!(verify(&rewritten.bundle(), &ledger.trust()).findings, []);
    let with_head = |bytes: &[u8], head: String, level| {
        verify_with(
            bytes,
            VerifyOptions {
                trust: Some(ledger.trust()),
                head: Some(head.into()),
                level,
                ..VerifyOptions::default()
            },
        )
    };
    for level in 3..=5 {
        let agrees = with_head(&rewritten.bundle(), ledger.note(12), level);
        assert_eq!(
            (agrees.findings.len(), agrees.head_size),
            (0, Some(TreeSize::new(12)))
        );
        let fork = with_head(&rewritten.bundle(), ledger.note(13), level);
        assert_eq!(gravest(&fork), (FindingClass::Fork, None));
    }
    let beyond = with_head(&seal(&ledger.frames(10)), ledger.note(9), 5);
    assert_eq!(gravest(&beyond), (FindingClass::MissingData, None));
    let foreign = with_head(&ledger.bundle(), Ledger::realistic(2).note(5), 5);
    assert_eq!(gravest(&foreign), (FindingClass::Checkpoint, None));
}

/// Records are replayed against the root, whatever the chain says.
#[test]
fn records_that_do_not_lead_to_the_root_are_found() {
    let ledger = Ledger::small();
    let mut forged = ledger.clone();
    forged.entries[5].record.outcome = Outcome::Refused(Reason::NotFound);
    forged.rechain();
    let mut frames = forged.frames(0);
    *frames.last_mut().unwrap() = checkpoint_frame(ledger.note(ledger.len()));
    let report = verify(&seal(&frames), &ledger.trust());
    // The tree as replayed, and the path of its last record.
    assert_eq!(classes(&report), [FindingClass::BadTree; 2]);
}

/// Made with the nodes' own keys: a faulty or lying node.
#[test]
fn lanes_that_break_their_rules_are_found() {
    let base = || {
        let mut ledger = Ledger::found(1);
        ledger.boot(1);
        ledger.download(1, [1; 16]);
        ledger
    };
    let lane_finding = |ledger: &Ledger, index| {
        let report = verify(&ledger.bundle(), &ledger.trust());
        assert_eq!(gravest(&report), (FindingClass::Lane, Some(index)));
    };
    let some_download = base().entries[2].clone();
    let document = || Document::decode(&some_download.document.bytes).unwrap();

    let mut closed = base();
    closed.boot(1);
    closed.record(
        1,
        Lane::Strict(RecordIndex::new(1)),
        document(),
        Outcome::Ok,
    );
    lane_finding(&closed, 4);

    let mut of_another_node = base();
    of_another_node.record(
        2,
        Lane::Strict(RecordIndex::new(1)),
        document(),
        Outcome::Ok,
    );
    lane_finding(&of_another_node, 3);

    let mut boot_lane = base();
    boot_lane.record(1, Lane::Boot, document(), Outcome::Ok);
    lane_finding(&boot_lane, 3);

    for (seq, prev) in [(5, None), (0, None), (1, Some(Digest([9; 32])))] {
        let mut ledger = base();
        ledger.download(1, [2; 16]);
        let statement = &mut ledger.entries[3].record.statement;
        statement.seq = Sequence::new(seq);
        statement.prev = prev.unwrap_or(statement.prev);
        ledger.resign(3);
        lane_finding(&ledger, 3);
    }

    let mut refused_boot = Ledger::found(1);
    refused_boot.boot(1);
    refused_boot.entries[1].record.outcome = Outcome::Refused(Reason::Malformed);
    refused_boot.download(1, [1; 16]);
    lane_finding(&refused_boot, 2);
}

#[test]
fn other_faults_have_their_own_class() {
    let find = |ledger: &Ledger| gravest(&verify(&ledger.bundle(), &ledger.trust()));

    let mut back_in_time = Ledger::small();
    back_in_time.entries[3].record.committed_at_ms -= 1_000;
    back_in_time.rechain();
    assert_eq!(find(&back_in_time), (FindingClass::Time, Some(3)));

    let mut unknown_node = Ledger::found(1);
    unknown_node.boot(9);
    assert_eq!(find(&unknown_node), (FindingClass::UnknownKey, Some(1)));

    let mut self_duplicate = Ledger::small();
    self_duplicate.issue(1, "B", Outcome::DuplicateOf(RecordIndex::new(7)));
    assert_eq!(find(&self_duplicate), (FindingClass::BrokenChain, Some(7)));
    let mut of_refused = Ledger::small();
    of_refused.issue(1, "B", Outcome::DuplicateOf(RecordIndex::new(5)));
    assert_eq!(find(&of_refused), (FindingClass::BrokenChain, Some(7)));

    let mut second_genesis = Ledger::small();
    let genesis = Document::decode(&second_genesis.entries[0].document.bytes).unwrap();
    second_genesis.record(1, Lane::Boot, genesis, Outcome::Ok);
    assert_eq!(find(&second_genesis), (FindingClass::BrokenChain, Some(7)));

    // An end for an ISSUE, for a download of the future, and a second end.
    for wrong in [2, 7, 3] {
        let mut ledger = Ledger::small();
        ledger.end(1, &[wrong]);
        assert_eq!(find(&ledger), (FindingClass::BrokenChain, Some(7)));
    }
    let mut of_another_node = Ledger::small();
    of_another_node.boot(2);
    let download = of_another_node.download(1, [1; 16]);
    of_another_node.end(2, &[download]);
    assert_eq!(find(&of_another_node), (FindingClass::BrokenChain, Some(9)));

    // A document of another kind than its statement, rightly committed to.
    let mut wrong_kind = Ledger::small();
    let ends = Document::DownloadEnd(DownloadEndDocument {
        tenant: "default".into(),
        downloads: vec![Delivered {
            download: RecordIndex::new(3),
            bytes: 1,
            complete: false,
        }],
    });
    wrong_kind.strict(1, ends, Outcome::Ok);
    wrong_kind.entries[7].record.statement.kind = Kind::Void;
    wrong_kind.resign(7);
    assert_eq!(find(&wrong_kind), (FindingClass::Opening, Some(7)));
}

type Change = dyn Fn(&mut Holding);

#[test]
fn holdings_are_checked_with_their_holders_keys() {
    let issue_with = |change: &Change| {
        let mut ledger = Ledger::small();
        let mut invoice = ledger.invoice("H");
        change(&mut invoice.holdings[1]);
        ledger.strict(1, Document::Issue(invoice), Outcome::Ok);
        verify(&ledger.bundle(), &ledger.trust())
    };
    assert_eq!(issue_with(&|_| {}).findings, []);
    let cases: [(FindingClass, &Change); 6] = [
        (FindingClass::BadSignature, &|h| h.signature.0[0] ^= 1),
        (FindingClass::BadSignature, &|h| {
            h.epoch = UploadEpoch::new(2);
        }),
        (FindingClass::UnknownKey, &|h| h.node = NodeId::new(8)),
        (FindingClass::Opening, &|h| h.zone = "z3".into()),
        (FindingClass::Opening, &|h| h.length += 1),
        (FindingClass::Opening, &|h| h.ledger = Digest::ZERO),
    ];
    for (class, change) in cases {
        assert_eq!(gravest(&issue_with(change)), (class, Some(7)));
    }
}

/// A member of a later version, or one that lies, leaves such records; what the ledger refused
/// unread is no fault of the log, and what it refused for another reason is to be readable.
#[test]
fn what_was_refused_unread_is_asked_for_its_commitment_alone() {
    let unread = |outcome| {
        let mut ledger = Ledger::small();
        let policy = Document::Policy(PolicyDocument {
            settings: Vec::new(),
            order: None,
        });
        let index = ledger.strict(1, policy, outcome);
        let entry = &mut ledger.entries[index as usize];
        entry.document.bytes = vec![2, 0xff];
        entry.record.statement.document =
            commit_document(&entry.document.salt, &entry.document.bytes);
        ledger.resign(index);
        ledger.rechain();
        let report = verify(&ledger.bundle(), &ledger.trust());
        report
            .findings
            .iter()
            .any(|finding| finding.class == FindingClass::Opening)
    };
    assert!(!unread(Outcome::Refused(Reason::Malformed)));
    assert!(!unread(Outcome::Refused(Reason::FeatureLevel)));
    assert!(unread(Outcome::Refused(Reason::NotDue)));
}
