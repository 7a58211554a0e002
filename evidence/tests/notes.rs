//! Notes, checkpoints and cosignatures against what others published.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::TreeSize;
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::note::{Checkpoint, Note, VerifierKey, Vouch};

/// From the C2SP signed-note specification.
#[test]
fn the_published_note_verifies() {
    let key =
        VerifierKey::parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
            .unwrap();
    let note = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    assert_eq!(
        Note::parse(note.as_bytes()).unwrap().vouch(&key),
        Vouch::Signed
    );
    let upper = key.to_string().replace("530d903a", "530D903A");
    assert!(VerifierKey::parse(&upper).is_err());
    let altered = note.replace("example message", "exemple message");
    assert_eq!(
        Note::parse(altered.as_bytes()).unwrap().vouch(&key),
        Vouch::Invalid
    );
}

/// The test key of transparency-dev/formats over checkpoint 15 of tessera's test log.
#[test]
fn the_published_cosignature_is_reproduced() {
    let checkpoint = Checkpoint::parse(
        "example.com/log/testdata\n15\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\n",
    )
    .unwrap();
    let seed = BASE64
        .decode("AeadRiG7XM4XiieCHzD8lxysXMwcViy5nYsoXURWGrlE")
        .unwrap();
    let key = SecretKey::from_seed(seed[1..].try_into().unwrap());
    let line = checkpoint.cosign("Wit1", &key, 1_700_000_000);
    assert_eq!(
        line,
        "\u{2014} Wit1 mz+y1QAAAABlU/EAYEDMPd8Ge7XzsHcNU+F3AzavfsuzhRT3gC4BORiySViMAWQq5znn5g+ruu+iDztzMS3EeF6xr4ug+O66ORoSAw==\n"
    );
    let key = VerifierKey::cosigner("Wit1", key.public());
    assert_eq!(
        key.to_string(),
        "Wit1+9b3fb2d5+BFhZSmQj9+SoL+p/nN0Hh76xXmF7QcHfytUrI1XfSClk"
    );
    let note = Note::parse(format!("{}\n{line}", checkpoint.text()).as_bytes()).unwrap();
    assert_eq!(
        note.vouch(&key),
        Vouch::Cosigned {
            time_s: 1_700_000_000
        }
    );
}

#[test]
fn a_checkpoint_reads_back_and_loose_writing_is_refused() {
    let checkpoint = Checkpoint {
        origin: "ledger.example/0".into(),
        size: TreeSize::new(12),
        root: Digest([9; 32]),
    };
    let text = checkpoint.text();
    assert_eq!(Checkpoint::parse(&text), Ok(checkpoint.clone()));
    for bad in [
        text.replace("\n12\n", "\n012\n"),
        text.replace("\n12\n", "\n+12\n"),
        text.trim_end().to_owned(),
        format!("{text}extension\n"),
        text.replace('\n', "\r\n"),
        text.replace("ledger", "led ger"),
    ] {
        assert!(Checkpoint::parse(&bad).is_err(), "{bad:?}");
    }
    let signer = SecretKey::from_seed(&[3; 32]);
    let note = Note::parse(checkpoint.sign(&signer).as_bytes()).unwrap();
    let key = VerifierKey::log("ledger.example/0", signer.public());
    assert_eq!(note.vouch(&key), Vouch::Signed);
    let other = VerifierKey::log("ledger.example/1", signer.public());
    assert_eq!(note.vouch(&other), Vouch::Absent);
}
