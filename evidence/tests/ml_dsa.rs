//! ML-DSA-44 against what others wrote: known answers of Wycheproof, a cosignature by
//! another program, and fixed bytes of our own.
//!
//! `testdata/ml-dsa-44.tsv` is a selection from C2SP/wycheproof (`mldsa_44_sign_seed_test`,
//! `mldsa_44_verify_test`; Apache-2.0); `testdata/torchwood-subtree.txt` is the key and the
//! line by filippo.io/torchwood that transparency-dev/formats tests itself with (Apache-2.0).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use muniment_evidence::digest::{Digest, hex, unhex};
use muniment_evidence::ids::TreeSize;
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::ml_dsa::{KEY_BYTES, MlDsaPublicKey, MlDsaSecretKey, SIGNATURE_BYTES};
use muniment_evidence::note::{Checkpoint, Note, TypedKey, VerifierKey, Vouch};

const ANSWERS: &str = include_str!("../testdata/ml-dsa-44.tsv");
const SUBTREE: &str = include_str!("../testdata/torchwood-subtree.txt");

fn base64(text: &str) -> Vec<u8> {
    BASE64.decode(text).unwrap()
}

fn seed(text: &str) -> [u8; 32] {
    unhex(text).unwrap().try_into().unwrap()
}

fn secret(number: u8) -> MlDsaSecretKey {
    MlDsaSecretKey::from_seed(&[number; 32])
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        origin: "ledger.example/0".into(),
        size: TreeSize::new(12),
        root: Digest([9; 32]),
    }
}

fn note_with(line: &str) -> Note {
    Note::parse(format!("{}\n{line}", checkpoint().text()).as_bytes()).unwrap()
}

/// Keys from seeds, signatures from keys, and the refusal of every second writing: hints out
/// of order, repeated or too many, bits in the padding, coefficients out of range.
#[test]
fn the_known_answers_are_reproduced() {
    let mut cases = 0;
    for line in ANSWERS.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [source, case, result, _, from, key, message, signature] = columns[..] else {
            panic!("eight columns: {line}");
        };
        let what = format!("{source} {case}");
        if from != "-" {
            let secret = MlDsaSecretKey::from_seed(&seed(from));
            assert_eq!(&secret.public().bytes()[..], base64(key), "{what}");
            assert_eq!(secret.seed(), seed(from));
            let signed = secret.sign(&unhex(message).unwrap());
            assert!(signed == base64(signature), "{what}: another signature");
        }
        let key = MlDsaPublicKey::from_bytes(&base64(key));
        let holds = key.is_some_and(|key| key.verify(&unhex(message).unwrap(), &base64(signature)));
        assert_eq!(holds, result == "valid", "{what}");
        cases += 1;
    }
    assert_eq!(cases, 24);
}

/// The message is composed here by the words of tlog-cosignature, since no note carries a
/// subtree that does not begin at 0.
#[test]
fn a_cosignature_of_a_subtree_by_another_program_verifies() {
    let mut lines = SUBTREE.lines();
    let key = VerifierKey::parse(lines.next().unwrap()).unwrap();
    let TypedKey::MlDsaCosigner(public) = &key.key else {
        panic!("an ML-DSA key");
    };
    let blob = base64(lines.next().unwrap().rsplit(' ').next().unwrap());
    assert_eq!(blob[..4], key.id());
    let root = base64(lines.next().unwrap().rsplit(' ').next().unwrap());
    let (start, end, origin) = (8_u64, 13_u64, "example.com/log");
    let mut message = b"subtree/v1\n\0".to_vec();
    message.push(key.name.len() as u8);
    message.extend_from_slice(key.name.as_bytes());
    message.extend_from_slice(&blob[4..12]);
    message.push(origin.len() as u8);
    message.extend_from_slice(origin.as_bytes());
    message.extend_from_slice(&start.to_be_bytes());
    message.extend_from_slice(&end.to_be_bytes());
    message.extend_from_slice(&root);
    assert!(public.verify(&message, &blob[12..]));
    message[0] ^= 1;
    assert!(!public.verify(&message, &blob[12..]));
    assert_eq!(VerifierKey::parse(&key.to_string()), Ok(key));
}

/// Whoever writes another verifier can compare with these.
#[test]
fn our_own_cosignature_has_fixed_bytes() {
    let line = checkpoint()
        .cosign_ml_dsa("witness.example/w", &secret(7), 1_700_000_000)
        .unwrap();
    let key = VerifierKey::ml_dsa_cosigner("witness.example/w", secret(7).public());
    assert_eq!(hex(&key.id()), "6d246c16");
    assert_eq!(
        hex(&Digest::of(&[line.as_bytes()]).0),
        "4fb02b58805631a7860d10d8a4a53d68f42aa829684654df2cb677df10b0534a"
    );
    assert_eq!(
        note_with(&line).vouch(&key),
        Vouch::Cosigned {
            time_s: 1_700_000_000
        }
    );
}

#[test]
fn a_cosignature_holds_for_its_name_time_and_checkpoint_only() {
    let name = "witness.example/w";
    let line = checkpoint().cosign_ml_dsa(name, &secret(7), 5).unwrap();
    let key = VerifierKey::ml_dsa_cosigner(name, secret(7).public());
    let blob = base64(line.trim_end().rsplit(' ').next().unwrap());
    let with = |key: &VerifierKey, bytes: &[u8]| {
        let blob = [&key.id(), bytes].concat();
        note_with(&format!("\u{2014} {} {}\n", key.name, BASE64.encode(blob))).vouch(key)
    };
    assert_eq!(with(&key, &blob[4..]), Vouch::Cosigned { time_s: 5 });
    // Each byte of the time, and some of the signature: first, last, and in each part.
    for at in [4, 11, 12, 40, 1000, 2300, 2400, blob.len() - 1] {
        let mut other = blob.clone();
        other[at] ^= 1;
        assert_eq!(with(&key, &other[4..]), Vouch::Invalid, "byte {at}");
    }
    // Cut short, drawn out, or of the other algorithm's length.
    for other in [
        &blob[4..blob.len() - 1],
        &[&blob[4..], &[0]].concat(),
        &blob[4..76],
        &[],
    ] {
        assert_eq!(with(&key, other), Vouch::Invalid);
    }
    // The name is signed, unlike under Ed25519.
    let renamed = VerifierKey::ml_dsa_cosigner("witness.example/v", secret(7).public());
    assert_eq!(with(&renamed, &blob[4..]), Vouch::Invalid);
    let stranger = VerifierKey::ml_dsa_cosigner(name, secret(8).public());
    assert_eq!(note_with(&line).vouch(&stranger), Vouch::Absent);
    assert_eq!(with(&stranger, &blob[4..]), Vouch::Invalid);
    // Another size, root or origin.
    for text in [
        checkpoint().text().replace("\n12\n", "\n13\n"),
        checkpoint().text().replace("/0\n", "/1\n"),
        Checkpoint {
            root: Digest([8; 32]),
            ..checkpoint()
        }
        .text(),
        // What it does not cover is not carried along under it.
        format!("{}extension\n", checkpoint().text()),
    ] {
        let note = Note::parse(format!("{text}\n{line}").as_bytes()).unwrap();
        assert_eq!(note.vouch(&key), Vouch::Invalid, "{text}");
    }
    // A time of 2^63 or more is none, whoever signed it.
    let late = checkpoint()
        .cosign_ml_dsa(name, &secret(7), 1 << 63)
        .unwrap();
    assert_eq!(note_with(&late).vouch(&key), Vouch::Invalid);
}

#[test]
fn a_key_has_one_writing_and_a_name_that_it_can_sign() {
    let public = secret(7).public();
    let key = VerifierKey::ml_dsa_cosigner("w", public.clone());
    let text = key.to_string();
    assert_eq!(VerifierKey::parse(&text), Ok(key.clone()));
    assert!(VerifierKey::parse(&text.replacen(&hex(&key.id()), "00000000", 1)).is_err());
    let typed = |bytes: &[u8]| {
        let id = hex(&key.id());
        VerifierKey::parse(&format!("w+{id}+{}", BASE64.encode([&[6], bytes].concat())))
    };
    assert!(typed(public.bytes()).is_ok());
    for bytes in [&public.bytes()[1..], &[0; KEY_BYTES + 1], &[0; 32], &[]] {
        assert!(typed(bytes).unwrap_err().0.contains("1312 bytes"));
    }
    // The two algorithms share no key id, name or bytes.
    let ed25519 = VerifierKey::cosigner("w", SecretKey::from_seed(&[7; 32]).public());
    assert_ne!(ed25519.id(), key.id());
    let long = "n".repeat(256);
    assert!(checkpoint().cosign_ml_dsa(&long, &secret(7), 5).is_err());
    assert!(
        checkpoint()
            .cosign_ml_dsa(&long[1..], &secret(7), 5)
            .is_ok()
    );
    let unsignable = VerifierKey::ml_dsa_cosigner(&long, public);
    assert!(!unsignable.is_usable());
    assert!(VerifierKey::parse(&unsignable.to_string()).is_err());
    assert_eq!(SIGNATURE_BYTES, 2420);
}
