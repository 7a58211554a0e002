//! Outside witnesses: what a request holds, when one cosigns, and which answers are taken.

use muniment_evidence::digest::Digest;
use muniment_evidence::ids::TreeSize;
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::ml_dsa::MlDsaSecretKey;
use muniment_evidence::note::{Checkpoint, Note, VerifierKey, Vouch};
use muniment_evidence::tree::{self, Frontier, MemoryRows, leaf_hash};
use muniment_evidence::witness::{
    AddCheckpoint, HASHES_MAX, Head, REQUEST_BYTES_MAX, WitnessRefusal, accept, cosign, decide,
    parse_size,
};

const ORIGIN: &str = "ledger.example/0";
const WITNESS: &str = "witness.example/w1";

/// A log that can sign any size up to its own; `seed` sets its leaves apart.
struct Log {
    rows: MemoryRows,
    key: SecretKey,
}

impl Log {
    fn of(size: u64, seed: u8) -> Log {
        let (mut frontier, mut rows) = (Frontier::new(), MemoryRows::new());
        for index in 0..size {
            let leaf = [&[seed][..], &index.to_be_bytes()].concat();
            rows.extend(frontier.append(leaf_hash(&leaf)));
        }
        let key = SecretKey::from_seed(&[1; 32]);
        Log { rows, key }
    }

    fn head(&self, size: u64) -> Head {
        let root = tree::root_at(&self.rows, TreeSize::new(size)).unwrap();
        Head {
            size: TreeSize::new(size),
            root,
        }
    }

    fn note(&self, size: u64) -> String {
        let root = self.head(size).root;
        let origin = ORIGIN.to_owned();
        Checkpoint {
            origin,
            size: TreeSize::new(size),
            root,
        }
        .sign(&self.key)
    }

    fn request(&self, old: u64, new: u64) -> AddCheckpoint {
        let proof =
            tree::consistency_proof(&self.rows, TreeSize::new(old), TreeSize::new(new)).unwrap();
        AddCheckpoint::new(TreeSize::new(old), proof, &self.note(new)).unwrap()
    }

    fn keys(&self) -> [VerifierKey; 1] {
        [VerifierKey::log(ORIGIN, self.key.public())]
    }
}

fn status(decided: Result<(), WitnessRefusal>) -> u16 {
    decided.map_or_else(|refusal| refusal.status(), |()| 200)
}

#[test]
fn a_request_reads_back_and_loose_writing_is_refused() {
    let log = Log::of(13, 0);
    for (old, new) in [(0, 0), (0, 13), (5, 13), (8, 8), (12, 13)] {
        let request = log.request(old, new);
        let text = request.encode();
        assert_eq!(AddCheckpoint::decode(text.as_bytes()), Ok(request));
    }
    let good = log.request(5, 13).encode();
    assert!(good.starts_with("old 5\n"), "{good}");
    for (bad, what) in [
        (good.replacen("old 5", "old 05", 1), "a leading zero"),
        (good.replacen("old 5", "old +5", 1), "a sign"),
        (good.replacen("old 5", "old  5", 1), "two spaces"),
        (good.replacen("old 5", "Old 5", 1), "another word"),
        (good.replacen("old 5\n", "", 1), "no old line"),
        (good.replacen("=\n", "\n", 1), "no padding"),
        (good.replacen("old 5\n", "old 5\nAA==\n", 1), "a short hash"),
        (good.replacen("old 5\n", "old 5\n\n", 1), "an early blank"),
        (good.replace('\n', "\r\n"), "carriage returns"),
        (good.trim_end().to_owned(), "no last line feed"),
        (
            good.replacen(ORIGIN, "ledger example", 1),
            "a bad checkpoint",
        ),
        (String::new(), "nothing"),
    ] {
        assert!(AddCheckpoint::decode(bad.as_bytes()).is_err(), "{what}");
    }
    let long = vec![Digest::ZERO; HASHES_MAX + 1];
    assert!(AddCheckpoint::new(TreeSize::new(5), long, &log.note(13)).is_err());
    let most = vec![Digest::ZERO; HASHES_MAX];
    let most = AddCheckpoint::new(TreeSize::new(5), most, &log.note(13)).unwrap();
    assert!(AddCheckpoint::decode(most.encode().as_bytes()).is_ok());
    assert!(AddCheckpoint::decode(&vec![b'\n'; REQUEST_BYTES_MAX + 1]).is_err());
}

#[test]
fn a_log_that_grows_consistently_is_cosigned() {
    let log = Log::of(40, 0);
    let keys = log.keys();
    assert_eq!(decide(&log.request(0, 0), &keys, None), Ok(()));
    assert_eq!(decide(&log.request(0, 7), &keys, None), Ok(()));
    let mut last = log.head(7);
    for size in [7, 8, 9, 32, 33, 40] {
        let request = log.request(last.size.get(), size);
        assert_eq!(decide(&request, &keys, Some(last)), Ok(()), "{size}");
        last = log.head(size);
    }
}

/// Each answer of the protocol, and that the first reason wins.
#[test]
fn every_refusal_has_its_status() {
    let (log, other) = (Log::of(20, 0), Log::of(20, 1));
    let (keys, last) = (log.keys(), Some(log.head(8)));
    let decided = |request: &AddCheckpoint| decide(request, &keys, last);
    let forged =
        |old, proof: Vec<Digest>, size| AddCheckpoint::new(old, proof, &log.note(size)).unwrap();
    assert_eq!(decided(&log.request(8, 20)), Ok(()));

    let malformed = AddCheckpoint::decode(b"old 1\n").unwrap_err();
    assert_eq!(WitnessRefusal::Malformed(malformed).status(), 400);
    assert_eq!(
        decided(&forged(TreeSize::new(9), vec![], 8)),
        Err(WitnessRefusal::OldAboveSize)
    );
    assert_eq!(status(decided(&forged(TreeSize::new(9), vec![], 8))), 400);

    let unknown = decide(&log.request(8, 20), &[], last);
    assert_eq!(unknown, Err(WitnessRefusal::UnknownOrigin));
    assert_eq!(status(unknown), 404);

    let stranger = SecretKey::from_seed(&[2; 32]);
    let strange = [VerifierKey::log(ORIGIN, stranger.public())];
    let unsigned = decide(&log.request(8, 20), &strange, last);
    assert_eq!(unsigned, Err(WitnessRefusal::NotSigned));
    assert_eq!(status(unsigned), 403);
    // Of two keys that the log has, one signature is enough.
    let both = [strange[0].clone(), keys[0].clone()];
    assert_eq!(decide(&log.request(8, 20), &both, last), Ok(()));
    let text = log.note(20).replacen("\n20\n", "\n19\n", 1);
    let altered = AddCheckpoint::new(TreeSize::new(8), vec![], &text).unwrap();
    assert_eq!(decided(&altered), Err(WitnessRefusal::NotSigned));
    // The key of another origin says nothing about this one.
    let elsewhere = [VerifierKey::log("ledger.example/1", log.key.public())];
    let unsigned = decide(&log.request(8, 20), &elsewhere, last);
    assert_eq!(unsigned, Err(WitnessRefusal::NotSigned));

    for old in [0, 7, 9] {
        let refusal = decided(&log.request(old, 20)).unwrap_err();
        assert_eq!(
            refusal,
            WitnessRefusal::NotLast {
                size: TreeSize::new(8)
            }
        );
        let (status, kind) = (refusal.status(), refusal.content_type());
        assert_eq!((status, kind), (409, "text/x.tlog.size"));
        assert_eq!(refusal.body(), "8\n");
        assert_eq!(parse_size(&refusal.body()), Some(TreeSize::new(8)));
    }

    for (request, what) in [
        (other.request(8, 20), "another history"),
        (forged(TreeSize::new(8), vec![], 20), "no proof"),
        (
            forged(TreeSize::new(8), vec![Digest::ZERO; 3], 20),
            "another proof",
        ),
        (other.request(8, 8), "another root at the same size"),
        (
            forged(TreeSize::new(8), vec![Digest::ZERO], 8),
            "a proof to the same size",
        ),
    ] {
        assert_eq!(
            decided(&request),
            Err(WitnessRefusal::Inconsistent),
            "{what}"
        );
        assert_eq!(status(decided(&request)), 422, "{what}");
    }
    let proof_from_nothing = forged(TreeSize::new(0), vec![Digest::ZERO], 8);
    let decided = decide(&proof_from_nothing, &keys, None);
    assert_eq!(status(decided), 422);
}

#[test]
fn a_size_is_read_as_it_is_written() {
    for bad in ["", "8", "08\n", "-1\n", "8\n\n", " 8\n"] {
        assert_eq!(parse_size(bad), None, "{bad:?}");
    }
    assert_eq!(parse_size("0\n"), Some(TreeSize::EMPTY));
}

/// A node must not believe what a witness, or who stands before it, makes up.
#[test]
fn only_a_cosignature_that_verifies_is_accepted() {
    let log = Log::of(9, 0);
    let key = SecretKey::from_seed(&[5; 32]);
    let witness = VerifierKey::cosigner(WITNESS, key.public());
    let request = log.request(0, 9);
    let line = cosign(&request, WITNESS, &key, 1_700_000_000);
    let stranger = cosign(&request, "stranger", &SecretKey::from_seed(&[6; 32]), 1);
    let answer = format!("{stranger}{line}");
    let cosigned = accept(&log.note(9), &answer, &witness, None).unwrap();
    assert_eq!(cosigned.time_s, 1_700_000_000);
    let note = Note::parse(cosigned.note.as_bytes()).unwrap();
    assert_eq!(note.vouch(&log.keys()[0]), Vouch::Signed);
    let time_s = 1_700_000_000;
    assert_eq!(note.vouch(&witness), Vouch::Cosigned { time_s });
    assert_eq!(note.signatures.len(), 2, "the stranger's line is left out");
    for bad in ["", "\n", &stranger, line.trim_end(), "cosigned, honestly\n"] {
        assert!(
            accept(&log.note(9), bad, &witness, None).is_err(),
            "{bad:?}"
        );
    }
    // The cosignature of another size, passed off as one of this.
    assert!(accept(&log.note(8), &line, &witness, None).is_err());
}

/// A witness may begin to sign with a second key before those who ask it know of it, and
/// the other way round.
#[test]
fn a_line_of_the_witnesss_ml_dsa_key_is_kept_beside_the_other() {
    let log = Log::of(9, 0);
    let (key, quantum) = (
        SecretKey::from_seed(&[5; 32]),
        MlDsaSecretKey::from_seed(&[5; 32]),
    );
    let witness = VerifierKey::cosigner(WITNESS, key.public());
    let ml_dsa = VerifierKey::ml_dsa_cosigner(WITNESS, quantum.public());
    let request = log.request(0, 9);
    let line = cosign(&request, WITNESS, &key, 7);
    let second = request
        .checkpoint()
        .cosign_ml_dsa(WITNESS, &quantum, 7)
        .unwrap();
    let both = format!("{line}{second}");
    let cosigned = accept(&log.note(9), &both, &witness, Some(&ml_dsa)).unwrap();
    assert_eq!(cosigned.note, format!("{}{both}", log.note(9)));
    let unknown = accept(&log.note(9), &both, &witness, None).unwrap();
    assert_eq!(unknown.note, format!("{}{line}", log.note(9)));
    let alone = accept(&log.note(9), &line, &witness, Some(&ml_dsa)).unwrap();
    assert_eq!(alone.note, unknown.note);
    assert!(accept(&log.note(9), &second, &witness, Some(&ml_dsa)).is_err());
    let other = log
        .request(0, 8)
        .checkpoint()
        .cosign_ml_dsa(WITNESS, &quantum, 7);
    let spoiled = format!("{line}{}", other.unwrap());
    assert!(accept(&log.note(9), &spoiled, &witness, Some(&ml_dsa)).is_err());
}

#[test]
fn what_a_witness_keeps_has_no_strangers_lines() {
    let log = Log::of(9, 0);
    let key = SecretKey::from_seed(&[5; 32]);
    let plain = log.request(0, 9);
    let line = cosign(&plain, WITNESS, &key, 7);
    let stranger = cosign(&plain, "stranger", &SecretKey::from_seed(&[6; 32]), 1);
    let own = log.note(9);
    let twice = own.lines().last().unwrap();
    let submitted = format!("{own}{stranger}{twice}\n");
    let request = AddCheckpoint::new(TreeSize::new(0), vec![], &submitted).unwrap();
    let kept = request.cosigned(&log.keys(), &line);
    assert_eq!(kept, format!("{}{line}", log.note(9)));
}
