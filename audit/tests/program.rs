//! The program `muniment-verify` as scripts call it: flags, exit codes, JSON.

#[path = "../../evidence/tests/ledger/mod.rs"]
mod ledger;
mod running;

use ledger::{BODY, Ledger};
use running::{Files, run, run_into};

#[test]
fn a_receipt_with_its_document_ends_in_zero_and_another_document_in_twenty() {
    let files = Files::new("receipt");
    let ledger = Ledger::small();
    let receipt = files.write("receipt", ledger.receipt(2).encode());
    let trust = files.write("trust", ledger.trust().to_string());
    let document = files.write("a.pdf", [BODY, b"A-1"].concat());
    let other = files.write("b.pdf", BODY);
    let bundle = files.write("bundle", ledger.bundle());
    let known = ["receipt", &receipt, "--trust", &trust, "--keys", &bundle];
    let (code, out, err) = run(&[&known[..], &["--document", &document]].concat());
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("VERIFIED") && out.contains("The invoice A-1 of local was issued"));
    let (code, out, _) = run(&[
        "receipt",
        &receipt,
        "--trust",
        &trust,
        "--document",
        &other,
        "--json",
    ]);
    assert_eq!(code, 20);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["verdict"], "FAILED");
    assert_eq!(json["class"], "DOCUMENT");
    assert_eq!(json["record"]["proven"], false);
    assert_eq!(json["record"]["sentence"], serde_json::Value::Null);
    assert_eq!(run(&["receipt", &receipt]).0, 3);
    // Pinned, and nothing but its own keys speaks for it.
    let (code, out, _) = run(&["receipt", &receipt, "--trust", &trust]);
    assert_eq!(code, 29);
    assert!(
        out.starts_with("UNWITNESSED") && out.contains("was issued"),
        "{out}"
    );
    // An age is that of signatures which somebody asks for.
    assert_eq!(run(&["receipt", &receipt, "--max-age", "60"]).0, 2);
    let wrong = files.write("wrong", Ledger::found(2).trust().to_string());
    assert_eq!(run(&["receipt", &receipt, "--trust", &wrong]).0, 22);
}

#[test]
fn a_bundle_is_verified_by_level_and_head() {
    let files = Files::new("bundle");
    let ledger = Ledger::realistic(1);
    let bundle = files.write("bundle", ledger.bundle());
    let trust = files.write("trust", ledger.trust().to_string());
    let head = files.write("head", ledger.note(5));
    let (code, out, err) = run(&[
        "bundle", &bundle, "--trust", &trust, "--head", &head, "--json",
    ]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["verdict"], "VERIFIED");
    assert_eq!(json["head_size"], 5);
    assert_eq!(json["self_attested"], true);
    assert_eq!(json["counts"]["ISSUE"]["REFUSED"], 1);
    let (code, out, _) = run(&["bundle", &bundle, "--trust", &trust, "--level", "1"]);
    assert_eq!(code, 0, "{out}");
    let short = files.write("short", &ledger.bundle()[..3000]);
    let (code, out, _) = run(&["bundle", &short, "--trust", &trust]);
    assert_eq!(code, 15, "{out}");
}

/// Whoever only looks at the exit code must not take a report that was lost for a good one.
#[test]
fn a_report_that_cannot_be_written_ends_in_four_whatever_the_command() {
    let files = Files::new("full");
    let ledger = Ledger::small();
    let bundle = files.write("bundle", ledger.bundle());
    let receipt = files.write("receipt", ledger.receipt(2).encode());
    let note = files.write("note", ledger.note(2));
    for command in [
        &["--help"][..],
        &["--version"],
        &["receipt", &receipt],
        &["bundle", &bundle],
        &["invoice", &bundle, "A-1"],
        &["reconcile", &bundle, "--write", "/dev/null"],
        &["sample", &bundle, "--count", "1", "--seed", "s"],
        &["promise", &receipt],
        &["heads", &note, "--bundle", &bundle],
    ] {
        for json in [&[][..], &["--json"]] {
            if command[0].starts_with("--") && !json.is_empty() {
                continue;
            }
            let full = std::fs::File::options().write(true).open("/dev/full");
            let (code, err) = run_into(&[command, json].concat(), full.unwrap().into());
            assert_eq!(code, 4, "{command:?}: {err}");
            assert!(err.contains("standard output"), "{err}");
            // A reader who has read enough changes nothing.
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let expected = run(&[command, json].concat()).0;
            let (code, err) = run_into(&[command, json].concat(), writer.into());
            assert_eq!((code, err.as_str()), (expected, ""), "{command:?}");
        }
    }
}

#[test]
fn mistakes_of_the_caller_are_told_apart_from_findings() {
    let files = Files::new("usage");
    let bundle = files.write("bundle", Ledger::small().bundle());
    for usage in [
        &[][..],
        &["frobnicate", &bundle],
        &["bundle"],
        &["bundle", &bundle, &bundle],
        &["bundle", &bundle, "--level", "7"],
        &["bundle", &bundle, "--document", "x"],
        &["bundle", &bundle, "--trust"],
        &["bundle", &bundle, "--head", &bundle, "--level", "2"],
    ] {
        let (code, out, err) = run(usage);
        assert_eq!((code, out.as_str()), (2, ""), "{usage:?}");
        assert!(err.contains("--help"), "{err}");
    }
    assert_eq!(run(&["bundle", "/nonexistent"]).0, 4);
    assert_eq!(run(&["bundle", &bundle, "--trust", &bundle]).0, 4);
    assert_eq!(run(&["receipt", &bundle]).0, 10);
    let (code, out, _) = run(&["--help"]);
    assert!(code == 0 && out.contains("--trust"));
    assert_eq!(run(&["--version"]).0, 0);
}
