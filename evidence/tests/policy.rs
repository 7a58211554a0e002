//! Trust policies: every rule of C2SP tlog-policy, and what a policy says of notes.
//!
//! The cases follow those that transparency-dev tests its own reader with, so that both
//! accept and refuse alike; where this reader is stricter, the case says so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use muniment_evidence::digest::{Digest, hex};
use muniment_evidence::ids::TreeSize;
use muniment_evidence::key::{PublicKey, SecretKey, Signer as _};
use muniment_evidence::ml_dsa::MlDsaPublicKey;
use muniment_evidence::note::{Checkpoint, Note, TypedKey, VerifierKey};
use muniment_evidence::policy::{
    GROUPS_MAX, LOGS_MAX, POLICY_BYTES_MAX, Policy, PolicyBuilder, PolicyCosigner, Threshold,
    WITNESSES_MAX,
};

const ORIGIN: &str = "example.com/log";

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn log_key() -> VerifierKey {
    VerifierKey::log(ORIGIN, secret(100).public())
}

fn witness_key(number: u8) -> VerifierKey {
    VerifierKey::cosigner(&format!("Wit{number}"), secret(number).public())
}

/// A key line of any type, with the id that belongs to it.
fn key_of_type(kind: u8, bytes: &[u8]) -> String {
    let typed = [&[kind], bytes].concat();
    let id = Digest::of(&[b"key.example\n", &typed]);
    format!("key.example+{}+{}", hex(&id.0[..4]), BASE64.encode(typed))
}

/// `L` stands for the log's key and `1`..`9` after a dollar for a witness's.
fn fill(text: &str) -> String {
    let mut text = text.replace("$L", &log_key().to_string());
    for number in 1..=9 {
        text = text.replace(&format!("${number}"), &witness_key(number).to_string());
    }
    text
}

const EXAMPLE: &str = "log $L

witness X1 $1
witness X2 $2
witness X3 $3
group X-witnesses 2 X1 X2 X3

witness Y1 $4
witness Y2 $5
witness Y3 $6
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
";

#[test]
fn the_example_of_the_format_is_read() {
    let policy = Policy::parse(&fill(EXAMPLE)).unwrap();
    assert_eq!(policy.logs()[0].key, log_key());
    let names: Vec<&str> = policy.witnesses().iter().map(|w| w.name.as_str()).collect();
    assert_eq!(names, ["X1", "X2", "X3", "Y1", "Y2", "Y3"]);
    let needed: Vec<usize> = policy.groups().iter().map(|g| g.needed).collect();
    assert_eq!(needed, [2, 1, 2]);
    assert_eq!(policy.groups()[2].members, ["X-witnesses", "Y-witnesses"]);
    assert_eq!(policy.quorum(), Some("X-and-Y"));
    assert_eq!(policy.witness("Y2"), Some(&witness_key(5)));
    assert_eq!(policy.witness("Y-witnesses"), None);
    assert_eq!(policy.name_of(&witness_key(6)), Some("Y3"));
    assert_eq!(policy.name_of(&witness_key(7)), None);
}

#[test]
fn what_the_format_allows_is_read_and_prints_back() {
    for (text, printed) in [
        ("quorum none\n", "quorum none\n"),
        ("log $L\nquorum none\n", "log $L\nquorum none\n"),
        // Space and tab, empty lines, comments, no line feed at the end.
        (
            "\n# comment\n\t # another\n\twitness \t w1  $1   https://w1.example/  \n\n  quorum\tw1",
            "witness w1 $1 https://w1.example/\nquorum w1\n",
        ),
        (
            "log $L https://log.example/\nwitness w1 $1\nquorum w1\n",
            "log $L https://log.example/\nwitness w1 $1\nquorum w1\n",
        ),
        // All keywords but `none` are names.
        (
            "witness all $1\nwitness any $2\ngroup group 2 all any\nquorum group\n",
            "witness all $1\nwitness any $2\ngroup group all all any\nquorum group\n",
        ),
        // Octets beyond ASCII are opaque: a Kelvin sign is not a K, and a space of
        // Unicode separates nothing.
        (
            "witness K $1\nwitness \u{212a} $2\nwitness a\u{2003}b $3\nquorum \u{212a}\n",
            "witness K $1\nwitness \u{212a} $2\nwitness a\u{2003}b $3\nquorum \u{212a}\n",
        ),
        // The quorum may stand before lines that it does not need.
        (
            "witness w1 $1\nquorum w1\nlog $L\nwitness w2 $2\ngroup g any w1 w2\n",
            "log $L\nwitness w1 $1\nwitness w2 $2\ngroup g any w1 w2\nquorum w1\n",
        ),
        // A group of one, in all three writings.
        (
            "witness w1 $1\ngroup a any w1\ngroup b all a\ngroup c 1 b\nquorum c\n",
            "witness w1 $1\ngroup a all w1\ngroup b all a\ngroup c all b\nquorum c\n",
        ),
        (
            "witness 1 $1\nwitness 2 $2\nwitness # $3\ngroup 3 2 1 2 #\nquorum 3\n",
            "witness 1 $1\nwitness 2 $2\nwitness # $3\ngroup 3 2 1 2 #\nquorum 3\n",
        ),
    ] {
        let policy = Policy::parse(&fill(text)).unwrap_or_else(|why| panic!("{text:?}: {why}"));
        assert_eq!(policy.to_string(), fill(printed));
        assert_eq!(Policy::parse(&policy.to_string()), Ok(policy));
    }
    let policy = Policy::parse(&fill(EXAMPLE)).unwrap();
    assert_eq!(Policy::parse(&policy.to_string()), Ok(policy));
    // A log and a witness may wrap the same bytes: the types of their keys differ.
    let same = VerifierKey::cosigner("same", secret(100).public());
    let text = fill(&format!("log $L\nwitness w1 {same}\nquorum w1\n"));
    assert_eq!(Policy::parse(&text).unwrap().to_string(), text);
}

#[test]
fn keys_and_names_that_the_format_forbids_are_refused_by_line() {
    let renamed = VerifierKey::cosigner("impostor", secret(1).public()).to_string();
    let relogged = VerifierKey::log("other.example", secret(100).public()).to_string();
    let plain = VerifierKey::log("Wit1", secret(1).public()).to_string();
    let cosigning_log = VerifierKey::cosigner(ORIGIN, secret(100).public()).to_string();
    let other_id = witness_key(1).to_string().replacen("Wit1+", "Wit1+0", 1);
    let ecdsa = key_of_type(0x02, &[1, 2, 3]);
    let unknown = key_of_type(0x63, &[0; 32]);
    let short = key_of_type(0x06, &[7; 1311]);
    refused(&[
        ("quorum none\n\u{1}", 2, "octet 0x01"),
        ("quorum none\r\n", 1, "octet 0x0d"),
        ("# comment \u{7f}\nquorum none\n", 1, "octet 0x7f"),
        ("quibble w1\nquorum none\n", 1, "keyword quibble"),
        ("Quorum none\n", 1, "keyword Quorum"),
        (
            "witness w1 $1 https://w1.example/ # comment\nquorum w1\n",
            1,
            "a witness line is",
        ),
        ("log\nquorum none\n", 1, "a log line is"),
        ("log $L a b\nquorum none\n", 1, "a log line is"),
        ("log garbage\nquorum none\n", 1, "name+hash+key"),
        (&format!("log {unknown}\nquorum none\n"), 1, "not 0x63"),
        // The format lets logs sign with other types; here there is one.
        (&format!("log {ecdsa}\nquorum none\n"), 1, "not 0x02"),
        (
            &format!("log {cosigning_log}\nquorum none\n"),
            1,
            "not 0x04",
        ),
        (
            "log $L\nlog $L https://log.example/\nquorum none\n",
            2,
            "there already",
        ),
        (
            &format!("log $L\nlog {relogged}\nquorum none\n"),
            2,
            "there already",
        ),
        ("witness w1\nquorum none\n", 1, "a witness line is"),
        (
            &format!("witness w1 {plain}\nquorum w1\n"),
            1,
            "not of type 0x01",
        ),
        (&format!("witness w1 {short}\nquorum w1\n"), 1, "1312 bytes"),
        // transparency-dev does not look at a witness key's id; here it must be right.
        (&format!("witness w1 {other_id}\nquorum w1\n"), 1, "hash"),
        ("witness none $1\nquorum none\n", 1, "reserved"),
        (
            "witness w1 $1\nwitness w1 $2\nquorum w1\n",
            2,
            "defined twice",
        ),
        (
            "witness w1 $1\nwitness w2 $1\nquorum w1\n",
            2,
            "there already",
        ),
        (
            &format!("witness w1 $1\nwitness w2 {renamed}\nquorum w1\n"),
            2,
            "there already",
        ),
    ]);
}

#[test]
fn groups_that_the_format_forbids_are_refused_by_line() {
    refused(&[
        (
            "witness w1 $1\ngroup w1 any w1\nquorum w1\n",
            2,
            "defined twice",
        ),
        (
            "witness w1 $1\ngroup g1 1\nquorum w1\n",
            2,
            "a group line is",
        ),
        (
            "witness w1 $1\ngroup none any w1\nquorum none\n",
            2,
            "reserved",
        ),
        ("witness w1 $1\ngroup g 0 w1\nquorum g\n", 2, "threshold 0"),
        ("witness w1 $1\ngroup g 2 w1\nquorum g\n", 2, "threshold 2"),
        (
            "witness w1 $1\ngroup g -1 w1\nquorum g\n",
            2,
            "threshold -1",
        ),
        (
            "witness w1 $1\ngroup g +1 w1\nquorum g\n",
            2,
            "threshold +1",
        ),
        (
            "witness w1 $1\ngroup g 01 w1\nquorum g\n",
            2,
            "threshold 01",
        ),
        (
            "witness w1 $1\ngroup g 99999999999999999999 w1\nquorum g\n",
            2,
            "threshold 9",
        ),
        (
            "witness w1 $1\ngroup g any w2\nquorum g\n",
            2,
            "not defined before",
        ),
        (
            "group g any w1\nwitness w1 $1\nquorum g\n",
            1,
            "not defined before",
        ),
        (
            "witness w1 $1\ngroup g any g w1\nquorum g\n",
            2,
            "not defined before",
        ),
        (
            "witness w1 $1\ngroup g any none w1\nquorum g\n",
            2,
            "not defined before",
        ),
        (
            "witness w1 $1\ngroup g all w1 w1\nquorum g\n",
            2,
            "more than once",
        ),
        (
            "witness w1 $1\nwitness w2 $2\ngroup g1 any w1 w2\ngroup g2 any w1\nquorum g1\n",
            4,
            "more than once",
        ),
    ]);
}

#[test]
fn there_is_one_quorum_of_what_was_defined_before() {
    refused(&[
        ("witness w1 $1\n", 0, "exactly one quorum"),
        ("", 0, "exactly one quorum"),
        (
            "witness w1 $1\nquorum w1\nquorum w1\n",
            3,
            "exactly one quorum",
        ),
        ("quorum none\nquorum none\n", 2, "exactly one quorum"),
        ("quorum unknown\n", 1, "not defined before"),
        ("quorum w1\nwitness w1 $1\n", 1, "not defined before"),
        ("quorum\n", 1, "a quorum line is"),
        ("quorum none none\n", 1, "a quorum line is"),
    ]);
}

/// Each text is refused at its line, in words that hold these.
fn refused(cases: &[(&str, usize, &str)]) {
    for (text, line, why) in cases {
        let error = Policy::parse(&fill(text)).expect_err(text);
        assert_eq!(error.line.unwrap_or(0), *line, "{text:?}: {error}");
        assert!(error.to_string().contains(why), "{text:?}: {error}");
    }
}

/// The format asks for 32 of each; and a policy of the greatest size is still read.
#[test]
fn limits_are_kept_on_both_sides() {
    let key = |number: usize, kind: fn(&str, _) -> VerifierKey| {
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        kind(&format!("k{number}"), SecretKey::from_seed(&seed).public())
    };
    let lines = |logs: usize, witnesses: usize, groups: usize| {
        let mut text = String::new();
        for n in 0..logs {
            text += &format!("log {}\n", key(n, VerifierKey::log));
        }
        for n in 0..witnesses {
            // The longest keys there are: any bytes of this length are one.
            let bytes = [n as u8; 1312];
            let ml_dsa = MlDsaPublicKey::from_bytes(&bytes).unwrap();
            let key = VerifierKey::ml_dsa_cosigner(&format!("k{n}"), ml_dsa);
            text += &format!("witness w{n} {key}\n");
        }
        for n in 0..groups {
            let member = n.checked_sub(1).map_or("w0".into(), |n| format!("g{n}"));
            text += &format!("group g{n} any {member}\n");
        }
        text + "quorum none\n"
    };
    let full = lines(LOGS_MAX, WITNESSES_MAX, GROUPS_MAX);
    const { assert!(LOGS_MAX >= 32 && WITNESSES_MAX >= 32 && GROUPS_MAX >= 32) };
    let padding = "#".repeat(POLICY_BYTES_MAX - full.len());
    let policy = Policy::parse(&(full.clone() + &padding)).unwrap();
    assert_eq!(
        policy.to_string().len(),
        full.replace(" any ", " all ").len()
    );
    assert!(Policy::parse(&(full + &padding + "#")).is_err());
    for (logs, witnesses, groups) in [
        (LOGS_MAX + 1, 1, 0),
        (0, WITNESSES_MAX + 1, 0),
        (0, 1, GROUPS_MAX + 1),
    ] {
        let error = Policy::parse(&lines(logs, witnesses, groups)).unwrap_err();
        assert!(error.why.contains("at most"), "{error}");
    }
}

/// Whoever builds a policy in code is held to the same rules, so that it prints well.
#[test]
fn a_built_policy_is_the_policy_it_prints() {
    let policy = Policy::builder()
        .log(log_key(), Some("https://log.example/"))
        .and_then(|b| b.witness("w1", witness_key(1), None))
        .and_then(|b| b.witness("w2", witness_key(2), None))
        .and_then(|b| b.witness("w3", witness_key(3), None))
        .and_then(|b| b.group("zone-a", Threshold::Any, &["w1", "w2"]))
        .and_then(|b| b.group("zones", Threshold::AtLeast(2), &["zone-a", "w3"]))
        .and_then(|b| b.quorum("zones"))
        .and_then(PolicyBuilder::build)
        .unwrap();
    assert_eq!(Policy::parse(&policy.to_string()), Ok(policy));

    let builder = Policy::builder;
    for bad in ["", "a b", "a\tb", "a\n", "none", "\u{7f}"] {
        assert!(builder().witness(bad, witness_key(1), None).is_err());
        assert!(bad == "none" || builder().log(log_key(), Some(bad)).is_err());
    }
    let unnamed = VerifierKey::cosigner("a+b", secret(1).public());
    assert!(builder().witness("w1", unnamed, None).is_err());
    let mut weak = witness_key(1);
    let mut identity = [0; 32];
    identity[0] = 1;
    weak.key = TypedKey::Cosigner(PublicKey(identity));
    assert!(builder().witness("w1", weak, None).is_err());
    assert!(builder().group("g", Threshold::All, &[]).is_err());
    assert!(builder().build().is_err());
}

fn checkpoint(origin: &str) -> Checkpoint {
    Checkpoint {
        origin: origin.to_owned(),
        size: TreeSize::new(42),
        root: Digest([0; 32]),
    }
}

/// A note by the log (if `logged`) and these witnesses, each at 1000 and its number.
fn note(logged: bool, witnesses: &[u8]) -> String {
    let checkpoint = checkpoint(ORIGIN);
    let mut note = checkpoint.sign(&secret(if logged { 100 } else { 101 }));
    for &number in witnesses {
        let time_s = 1000 + u64::from(number);
        note += &checkpoint.cosign(&format!("Wit{number}"), &secret(number), time_s);
    }
    note
}

fn parsed(note: &str) -> Note {
    Note::parse(note.as_bytes()).unwrap()
}

const NESTED: &str = "log $L
witness w1 $1
witness w2 $2
witness w3 $3
group inner any w2 w3
group outer all w1 inner
quorum outer
";

#[test]
fn a_quorum_is_met_by_enough_members_of_each_group() {
    let policy = Policy::parse(&fill(NESTED)).unwrap();
    let cases: [(&[u8], &[&str], Option<&str>); 6] = [
        (&[1, 2, 3], &["inner", "outer"], None),
        (&[3, 1], &["inner", "outer"], None),
        // Whom the policy does not know is passed over.
        (&[7, 1, 2, 8], &["inner", "outer"], None),
        (
            &[1],
            &[],
            Some(
                "the quorum is not met: outer needs 2 of 2 and has 1 (inner needs 1 of 2 and \
                 has 0 (w2 has not cosigned, w3 has not cosigned))",
            ),
        ),
        (
            &[2, 3],
            &["inner"],
            Some("the quorum is not met: outer needs 2 of 2 and has 1 (w1 has not cosigned)"),
        ),
        (
            &[],
            &[],
            Some(
                "the quorum is not met: outer needs 2 of 2 and has 0 (w1 has not cosigned, \
                 inner needs 1 of 2 and has 0 (w2 has not cosigned, w3 has not cosigned))",
            ),
        ),
    ];
    for (witnesses, groups, missing) in cases {
        let verdict = policy.evaluate(&parsed(&note(true, witnesses)));
        assert_eq!(verdict.log.as_deref(), Some(ORIGIN));
        assert_eq!(verdict.groups, groups);
        assert_eq!(verdict.missing.as_deref(), missing);
        assert_eq!(verdict.is_met(), missing.is_none());
        assert_eq!(verdict.quorum_met, missing.is_none());
        for number in 1..=3u8 {
            let cosigned = PolicyCosigner {
                name: format!("w{number}"),
                time_s: 1000 + u64::from(number),
            };
            let listed = verdict.cosigned.contains(&cosigned);
            assert_eq!(listed, witnesses.contains(&number));
        }
    }
}

#[test]
fn the_logs_own_signature_is_asked_for_whatever_the_quorum() {
    let none = Policy::parse(&fill("log $L\nquorum none\n")).unwrap();
    assert!(none.evaluate(&parsed(&note(true, &[]))).is_met());
    let unsigned = checkpoint(ORIGIN);
    let cosigned_only = format!(
        "{}\n{}",
        unsigned.text(),
        unsigned.cosign("Wit1", &secret(1), 5)
    );
    let verdict = none.evaluate(&parsed(&cosigned_only));
    assert_eq!(verdict.log, None);
    assert!(verdict.quorum_met && !verdict.is_met());
    let one = Policy::parse(&fill("log $L\nwitness w1 $1\nquorum w1\n")).unwrap();
    let verdict = one.evaluate(&parsed(&cosigned_only));
    assert!(verdict.quorum_met && verdict.missing.unwrap().contains("no log"));
    // Without logs there is a quorum but never a verdict in favour.
    let no_log = Policy::parse(&fill("witness w1 $1\nquorum w1\n")).unwrap();
    let verdict = no_log.evaluate(&parsed(&note(true, &[1])));
    assert!(verdict.quorum_met);
    assert_eq!(verdict.missing.as_deref(), Some("the policy names no log"));
    // Another key under the log's name is another key, and passed over.
    assert!(!none.evaluate(&parsed(&note(false, &[]))).is_met());
}

#[test]
fn any_of_several_logs_may_sign_but_only_for_its_own_origin() {
    let other = VerifierKey::log("other.example/log", secret(102).public());
    let rotated = VerifierKey::log(ORIGIN, secret(103).public());
    let text = format!("log {other}\nlog {rotated}\nlog $L\nquorum none\n");
    let policy = Policy::parse(&fill(&text)).unwrap();
    assert!(policy.evaluate(&parsed(&note(true, &[]))).is_met());
    assert!(
        policy
            .evaluate(&parsed(&checkpoint(ORIGIN).sign(&secret(103))))
            .is_met()
    );
    // The other log signs the text of this one: its key's name is not the origin.
    let signature = other_signature(&other, &secret(102));
    let foreign = format!("{}\n{signature}", checkpoint(ORIGIN).text());
    let verdict = policy.evaluate(&parsed(&foreign));
    assert_eq!(verdict.log, None);
    assert!(verdict.missing.unwrap().contains(ORIGIN));
    // Beside the log's own signature it does no harm.
    let both = note(true, &[]) + &signature;
    assert!(policy.evaluate(&parsed(&both)).is_met());
}

/// A signature of `key` on the checkpoint of [`ORIGIN`].
fn other_signature(key: &VerifierKey, secret: &SecretKey) -> String {
    let signature = secret.sign(checkpoint(ORIGIN).text().as_bytes());
    let blob = [&key.id()[..], &signature.0].concat();
    format!("\u{2014} {} {}\n", key.name, BASE64.encode(blob))
}

/// As C2SP signed-note demands: even a signature that was not needed must hold.
#[test]
fn one_signature_of_a_known_key_that_does_not_hold_spoils_the_note() {
    let policy = Policy::parse(&fill(NESTED)).unwrap();
    let good = note(true, &[1, 2]);
    assert!(policy.evaluate(&parsed(&good)).is_met());
    // Of another time, and so over another message.
    let line = checkpoint(ORIGIN).cosign("Wit3", &secret(3), 7);
    let (head, blob) = line.trim_end().rsplit_once(' ').unwrap();
    let mut blob = BASE64.decode(blob).unwrap();
    blob[11] ^= 1;
    let forged = format!("{good}{head} {}\n", BASE64.encode(&blob));
    let verdict = policy.evaluate(&parsed(&forged));
    assert_eq!(
        (verdict.log, verdict.cosigned, verdict.groups),
        (None, vec![], vec![])
    );
    assert!(!verdict.quorum_met);
    assert_eq!(
        verdict.missing.as_deref(),
        Some("the cosignature of w3 does not verify")
    );
    // Cut short, as a signature of the wrong length.
    let short = format!("{good}{head} {}\n", BASE64.encode(&blob[..40]));
    assert!(!policy.evaluate(&parsed(&short)).is_met());
    // The same from the log, beside a signature of it that holds.
    let of_other = other_signature(&log_key(), &secret(9));
    let verdict = policy.evaluate(&parsed(&(good + &of_other)));
    assert!(verdict.missing.unwrap().contains("signature of the log"));
    // A text that is no checkpoint has no origin to match.
    let text = "example.com/log\nnot a size\n";
    let signature = secret(100).sign(text.as_bytes());
    let blob = [&log_key().id()[..], &signature.0].concat();
    let no_checkpoint = format!("{text}\n\u{2014} {ORIGIN} {}\n", BASE64.encode(blob));
    let verdict = policy.evaluate(&parsed(&no_checkpoint));
    assert!(verdict.missing.unwrap().contains("no checkpoint"));
}
