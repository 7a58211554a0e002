//! Policies with keys of several types: Ed25519, ML-DSA-44, and those of later versions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use muniment_evidence::digest::{Digest, hex};
use muniment_evidence::ids::TreeSize;
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::ml_dsa::MlDsaSecretKey;
use muniment_evidence::note::{Checkpoint, Note, VerifierKey};
use muniment_evidence::policy::Policy;

const ORIGIN: &str = "example.com/log";

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// A key line of any type, with the id that belongs to it.
fn key_of_type(kind: u8, bytes: &[u8]) -> String {
    let typed = [&[kind], bytes].concat();
    let id = Digest::of(&[b"key.example\n", &typed]);
    format!("key.example+{}+{}", hex(&id.0[..4]), BASE64.encode(typed))
}

/// `$L` stands for the log's key, `$1` and `$2` for witnesses'.
fn fill(text: &str) -> String {
    let log = VerifierKey::log(ORIGIN, secret(100).public());
    let witness = |n: u8| VerifierKey::cosigner(&format!("Wit{n}"), secret(n).public());
    text.replace("$L", &log.to_string())
        .replace("$1", &witness(1).to_string())
        .replace("$2", &witness(2).to_string())
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        origin: ORIGIN.to_owned(),
        size: TreeSize::new(42),
        root: Digest([7; 32]),
    }
}

fn parsed(note: &str) -> Note {
    Note::parse(note.as_bytes()).unwrap()
}

/// A policy outlives its readers: of a witness whose type they do not know, they say so, and
/// the others count as before.
#[test]
fn a_witness_of_an_unknown_type_is_kept_and_is_never_there() {
    for kind in [0x02, 0x03, 0x05, 0x07, 0x63, 0xfa, 0xff] {
        let unknown = key_of_type(kind, &[kind; 48]);
        let text = fill(&format!(
            "log $L\nwitness w1 $1\nwitness later {unknown}\ngroup one any w1 later\n\
             group both all one\nquorum both\n"
        ));
        let policy = Policy::parse(&text).unwrap_or_else(|why| panic!("{kind:#04x}: {why}"));
        assert_eq!(policy.to_string(), text);
        let mut note = checkpoint().sign(&secret(100));
        note += &checkpoint().cosign("Wit1", &secret(1), 7);
        // A line of it changes nothing, whatever it holds.
        let key = VerifierKey::parse_any(&unknown).unwrap();
        let blob = [&key.id()[..], b"of a later version"].concat();
        note += &format!("\u{2014} key.example {}\n", BASE64.encode(blob));
        let verdict = policy.evaluate(&parsed(&note));
        assert!(verdict.is_met(), "{kind:#04x}: {:?}", verdict.missing);
        assert_eq!(verdict.cosigned.len(), 1);
        let asks = Policy::parse(&text.replace("one any w1 later", "one all w1 later")).unwrap();
        let missing = asks.evaluate(&parsed(&note)).missing.unwrap();
        assert!(
            missing.contains("type") && missing.contains("later"),
            "{missing}"
        );
        assert!(VerifierKey::parse(&unknown).is_err());
        // It is still one witness, whose name and key stand once.
        let twice = format!("witness a {unknown}\nwitness b {unknown}\nquorum a\n");
        let error = Policy::parse(&twice).unwrap_err();
        assert_eq!(
            (error.line, error.why.contains("there already")),
            (Some(2), true)
        );
    }
}

/// A policy that pins ML-DSA keys asks for them like for any other, in any group.
#[test]
fn ml_dsa_witnesses_count_beside_others_in_the_same_groups() {
    let secret_of = |number: u8| MlDsaSecretKey::from_seed(&[number; 32]);
    let key_of = |n: u8| VerifierKey::ml_dsa_cosigner(&format!("Wit{n}"), secret_of(n).public());
    let text = fill(&format!(
        "log $L\nwitness w1 $1\nwitness w1-pq {}\nwitness w2 $2\nwitness w2-pq {}\n\
         group both-1 all w1 w1-pq\ngroup both-2 all w2 w2-pq\n\
         group any-both any both-1 both-2\nquorum any-both\n",
        key_of(1),
        key_of(2)
    ));
    let policy = Policy::parse(&text).unwrap();
    assert_eq!(policy.to_string(), text);
    let signed = checkpoint().sign(&secret(100));
    let classic = |n: u8| checkpoint().cosign(&format!("Wit{n}"), &secret(n), 7);
    let quantum = |n: u8, name: u8| {
        let name = format!("Wit{name}");
        let line = checkpoint().cosign_ml_dsa(&name, &secret_of(n), 8);
        line.unwrap()
    };
    let verdict = |lines: &[String]| policy.evaluate(&parsed(&(signed.clone() + &lines.concat())));
    assert!(verdict(&[classic(1), quantum(1, 1)]).is_met());
    assert!(verdict(&[quantum(2, 2), classic(1), classic(2)]).is_met());
    // Ed25519 alone, from both; or half from each.
    let missing = verdict(&[classic(1), classic(2)]).missing.unwrap();
    assert!(missing.contains("w1-pq has not cosigned"), "{missing}");
    assert!(!verdict(&[classic(1), quantum(2, 2)]).is_met());
    // Another's key under this name is another's line.
    assert!(!verdict(&[classic(1), quantum(3, 1)]).is_met());
    // One line that does not hold spoils the note, as with Ed25519.
    let mut blob = BASE64
        .decode(quantum(1, 1).trim_end().rsplit(' ').next().unwrap())
        .unwrap();
    blob[100] ^= 1;
    let bad = format!("\u{2014} Wit1 {}\n", BASE64.encode(blob));
    let spoiled = verdict(&[bad, classic(1), classic(2), quantum(2, 2)]);
    assert!(spoiled.missing.unwrap().contains("w1-pq does not verify"));
}

/// The manifest is about files that the verifier reads on; these it does not begin with.
#[test]
fn the_frozen_policies_that_are_none_are_refused() {
    for (text, why) in [
        (
            include_str!("../testdata/v2/negative/policy-ml-dsa-length"),
            "1312 bytes",
        ),
        (
            include_str!("../testdata/v2/negative/policy-plain-witness"),
            "not of type 0x01",
        ),
        (
            include_str!("../testdata/v2/negative/policy-same-key"),
            "there already",
        ),
    ] {
        let error = Policy::parse(text).unwrap_err();
        assert!(error.why.contains(why), "{error}");
    }
}
