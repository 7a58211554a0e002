//! Auditors' questions to `muniment-verify`: the answers, their limits, their exit codes.

#[path = "../../evidence/tests/ledger/mod.rs"]
mod ledger;
mod running;

use ledger::{BODY, Ledger, checkpoint_frame, seal};
use muniment_audit::sample::rank;
use muniment_evidence::bundle::Frame;
use muniment_evidence::digest::hex;
use muniment_evidence::drill::DRILL_TENANT;
use muniment_evidence::ids::RecordIndex;
use muniment_evidence::opening::{
    Delivered, Document, DownloadEndDocument, Money, Reference, VoidDocument,
};
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::Kind;
use running::{Files, json, run};
use std::fs;

struct Case {
    files: Files,
    ledger: Ledger,
    bundle: String,
    trust: String,
}

impl Case {
    fn new(name: &str, ledger: Ledger) -> Case {
        let files = Files::new(name);
        Case {
            bundle: files.write("bundle", ledger.bundle()),
            trust: files.write("trust", ledger.trust().to_string()),
            files,
            ledger,
        }
    }

    fn realistic(name: &str) -> Case {
        Case::new(name, Ledger::realistic(1))
    }

    /// `muniment-verify COMMAND FILE … --trust FILE --json`.
    fn ask(&self, command: &str, rest: &[&str], expected: i32) -> serde_json::Value {
        self.ask_of(&self.bundle, command, rest, expected)
    }

    fn ask_of(
        &self,
        bundle: &str,
        command: &str,
        rest: &[&str],
        expected: i32,
    ) -> serde_json::Value {
        let arguments = [&[command, bundle, "--trust", &self.trust], rest].concat();
        json(&arguments, expected)
    }

    /// A bundle from `first` on, its frames changed.
    fn altered(&self, first: u64, alter: impl Fn(u64, &mut Frame)) -> String {
        let mut frames = self.ledger.frames(first);
        let records = frames.iter_mut().filter(|f| matches!(f, Frame::Record(_)));
        for (index, frame) in (first..).zip(records) {
            alter(index, frame);
        }
        self.files.write("altered", seal(&frames))
    }

    /// The bundle without the document openings of some records.
    fn withheld(&self, withheld: impl Fn(&Ledger, u64) -> bool) -> String {
        self.altered(0, |index, frame| {
            if let Frame::Record(frame) = frame
                && withheld(&self.ledger, index)
            {
                frame.document = None;
            }
        })
    }

    fn kind(&self, index: u64) -> Kind {
        kind(&self.ledger, index)
    }
}

fn kind(ledger: &Ledger, index: u64) -> Kind {
    ledger.entries[index as usize].record.statement.kind
}

fn uid_text(uid: &[u8; 16]) -> String {
    let h = hex(uid);
    [&h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..]].join("-")
}

#[test]
fn an_invoice_is_followed_from_its_issue_to_each_download() {
    let case = Case::realistic("invoice");
    let value = case.ask("invoice", &["R-0"], 0);
    assert_eq!(value["proven"], true);
    let answer = &value["answer"];
    assert_eq!(answer["nobody_else"], true);
    assert_eq!(answer["doubts"], serde_json::json!([]));
    let records = answer["invoices"][0]["records"].as_array().unwrap();
    let kinds: Vec<_> = records.iter().map(|r| &r["record"]["kind"]).collect();
    assert_eq!(kinds, ["ISSUE", "DOWNLOAD", "DOWNLOAD"]);
    assert_eq!(records[1]["delivery"]["complete"], true);
    assert_eq!(records[1]["delivery"]["bytes"], BODY.len());
    assert_eq!(records[1]["record"]["actor"]["subject"], "billing");
    assert_eq!(records[1]["record"]["zone"], "z2");
    assert_eq!(records[2]["delivery"], serde_json::Value::Null);
    assert_eq!(records[2]["record"]["mode"], "deferred");
    // By its uid it is the same invoice.
    let uid = answer["invoices"][0]["uid"].as_str().unwrap();
    assert_eq!(case.ask("invoice", &[uid], 0)["answer"], *answer);
    // In words.
    let (code, out, _) = run(&["invoice", &case.bundle, "R-5", "--trust", &case.trust]);
    assert_eq!(code, 0, "{out}");
    for said in [
        "VERIFIED",
        "R-5 of local",
        "was issued",
        "was declared void",
        "Downloads   2",
        "no end on record: possibly all delivered",
        "Nobody else downloaded it up to size",
    ] {
        assert!(out.contains(said), "{said}: {out}");
    }
    assert!(!out.contains("cannot be excluded"));
}

#[test]
fn nobody_else_is_claimed_only_when_every_download_was_shown() {
    let case = Case::realistic("doubts");
    // A download of another invoice is withheld: for all we know it is of this one.
    let last = (0..case.ledger.len()).rfind(|i| case.kind(*i) == Kind::Download);
    let bundle = case.withheld(|_, index| Some(index) == last);
    let value = case.ask_of(&bundle, "invoice", &["R-0"], 0);
    assert_eq!(value["answer"]["nobody_else"], false);
    assert_eq!(value["answer"]["downloads_withheld"], 1);
    // A later range knows nothing of what came before.
    let issued = (0..case.ledger.len()).find(|i| case.kind(*i) == Kind::Issue);
    let later = case.altered(issued.unwrap(), |_, _| {});
    let value = case.ask_of(&later, "invoice", &["R-0"], 0);
    assert_eq!(value["answer"]["nobody_else"], false);
    assert!(
        value["answer"]["doubts"][0]
            .as_str()
            .unwrap()
            .contains("begins at record")
    );
    // The issue of another invoice is withheld: it may have the same number, not the uid.
    let bundle =
        case.withheld(|ledger, index| kind(ledger, index) == Kind::Issue && Some(index) != issued);
    let value = case.ask_of(&bundle, "invoice", &["R-0"], 0);
    assert_eq!(value["answer"]["nobody_else"], false);
    let uid = value["answer"]["invoices"][0]["uid"].as_str().unwrap();
    let value = case.ask_of(&bundle, "invoice", &[uid], 0);
    assert_eq!(value["answer"]["nobody_else"], true);
    // Who asked is committed to apart, and may be withheld alone.
    let bundle = case.altered(0, |_, frame| {
        if let Frame::Record(frame) = frame {
            frame.actor = None;
        }
    });
    let (code, out, _) = run(&["invoice", &bundle, "R-0", "--trust", &case.trust]);
    assert!(code == 0 && out.contains("by someone not shown"), "{out}");
}

#[test]
fn cut_downloads_reversals_and_the_same_bytes_elsewhere_are_told() {
    let mut ledger = Ledger::found(1);
    ledger.boot(1);
    let uid = ledger.issue(1, "A", Outcome::Ok);
    let download = ledger.download(1, uid);
    let end = Delivered {
        download: RecordIndex::new(download),
        bytes: 3,
        complete: false,
    };
    ledger.strict(
        1,
        Document::DownloadEnd(DownloadEndDocument {
            tenant: "default".into(),
            downloads: vec![end],
        }),
        Outcome::Ok,
    );
    let mut reversal = ledger.invoice("C");
    reversal.metadata.references = vec![Reference {
        relation: "REVERSES".into(),
        target: uid_text(&uid),
        sha256: None,
        amount: None,
    }];
    ledger.strict(1, Document::Reverse(reversal), Outcome::Ok);
    // The very same bytes under another number.
    let mut again = ledger.invoice("A");
    again.metadata.identity.number = "B".into();
    again.request_id = "request B".into();
    let other = again.uid;
    ledger.strict(1, Document::Issue(again), Outcome::Ok);
    ledger.download(1, other);
    let case = Case::new("deeds", ledger);
    let value = case.ask("invoice", &["A"], 0);
    let records = value["answer"]["invoices"][0]["records"]
        .as_array()
        .unwrap();
    let kinds: Vec<_> = records.iter().map(|r| &r["record"]["kind"]).collect();
    assert_eq!(kinds, ["ISSUE", "DOWNLOAD", "REVERSE", "DOWNLOAD"]);
    assert_eq!(records[1]["delivery"]["complete"], false);
    assert_eq!(records[1]["delivery"]["bytes"], 3);
    assert_eq!(records[3]["under_uid"], uid_text(&other));
}

/// A ledger should not release what it has not issued; if it says it did, a search by
/// number must not pass over it in silence.
#[test]
fn a_download_from_before_the_issue_is_found_by_uid_and_doubted_by_number() {
    let mut ledger = Ledger::found(1);
    ledger.boot(1);
    ledger.download(1, [3; 16]);
    assert_eq!(ledger.issue(1, "A", Outcome::Ok), [3; 16]);
    let case = Case::new("stray", ledger);
    let value = case.ask("invoice", &["A"], 32);
    assert_eq!(value["answer"]["nobody_else"], false);
    let value = case.ask("invoice", &[&uid_text(&[3; 16])], 32);
    assert_eq!(value["answer"]["invoices"][0]["downloads"], 1);
}

#[test]
fn a_number_of_several_invoices_or_of_none_is_not_guessed() {
    let mut ledger = Ledger::found(1);
    ledger.boot(1);
    for issuer in ["east", "west"] {
        let mut invoice = ledger.invoice("7");
        invoice.metadata.identity.issuer = issuer.into();
        invoice.request_id = issuer.into();
        ledger.strict(1, Document::Issue(invoice), Outcome::Ok);
    }
    let case = Case::new("several", ledger);
    let value = case.ask("invoice", &["7"], 2);
    assert_eq!(value["ending"], "SEVERAL");
    assert_eq!(value["answer"]["invoices"].as_array().unwrap().len(), 2);
    let value = case.ask("invoice", &["7", "--issuer", "west"], 0);
    assert_eq!(value["answer"]["invoices"][0]["identity"]["issuer"], "west");
    let value = case.ask("invoice", &["8"], 5);
    assert_eq!(value["ending"], "NOT_FOUND");
    let unknown = uid_text(&[9; 16]);
    assert_eq!(case.ask("invoice", &[&unknown], 5)["ending"], "NOT_FOUND");
}

/// An answer from evidence that does not hold must not pass for one.
#[test]
fn an_answer_from_evidence_that_does_not_hold_is_called_unproven() {
    let case = Case::realistic("unproven");
    let mut frames = case.ledger.frames(0);
    let at = frames.len() - 1;
    frames[at] = checkpoint_frame(Ledger::realistic(2).note(case.ledger.len()));
    let bundle = case.files.write("forged", seal(&frames));
    let table = case.files.0.join("table");
    let note = case.files.write("note", case.ledger.note(5));
    for arguments in [
        &["invoice", &bundle, "R-0"][..],
        &["sample", &bundle, "--count", "1", "--seed", "s"],
        &["reconcile", &bundle, "--write", table.to_str().unwrap()],
        &["heads", &note, "--bundle", &bundle],
    ] {
        let arguments = [arguments, &["--trust", &case.trust]].concat();
        let value = json(&arguments, 18);
        assert_eq!(value["proven"], false);
        assert_ne!(value["answer"]["nobody_else"], true);
        assert_ne!(value["answer"]["agree"], true);
        let (_, out, _) = run(&arguments);
        assert!(out.contains("not proven"), "{out}");
    }
    assert!(
        !table.exists(),
        "figures that are not proven are not written"
    );
    // Without a pin the answer is there, and the code says what is missing.
    let value = json(&["invoice", &case.bundle, "R-0"], 3);
    assert_eq!(value["proven"], false);
}

#[test]
fn figures_are_reconciled_row_by_row() {
    let mut ledger = Ledger::found(1);
    ledger.boot(1);
    let invoice = |ledger: &Ledger, number: &str, date: &str, units: Option<i64>| {
        let mut invoice = ledger.invoice(number);
        invoice.metadata.issue_date = date.into();
        match (units, &mut invoice.metadata.total) {
            (Some(units), Some(total)) => total.minor_units = units,
            (_, total) => *total = None,
        }
        invoice
    };
    let issue = |ledger: &mut Ledger, number: &str, date: &str, units: Option<i64>| {
        let invoice = invoice(ledger, number, date, units);
        let uid = invoice.uid;
        ledger.strict(1, Document::Issue(invoice), Outcome::Ok);
        uid
    };
    issue(&mut ledger, "1", "2026-10-31", Some(i64::MAX));
    issue(&mut ledger, "2", "2026-10-01+08:00", Some(i64::MAX));
    let voided = issue(&mut ledger, "3", "2026-11-01", Some(-5));
    // Without a date the month of the commitment counts: the ledger's first is 2026-11.
    issue(&mut ledger, "4", "", None);
    // Of a drill: in no row.
    let mut probe = ledger.invoice("probe");
    probe.metadata.identity.tenant = DRILL_TENANT.into();
    ledger.strict(1, Document::Issue(probe), Outcome::Ok);
    let again = Document::Issue(invoice(&ledger, "1", "2026-10-31", Some(i64::MAX)));
    ledger.strict(1, again, Outcome::DuplicateOf(RecordIndex::new(2)));
    let void = VoidDocument {
        tenant: "default".into(),
        uid: voided,
        request_id: "v".into(),
        reason: "twice".into(),
    };
    let void = ledger.strict(1, Document::Void(void), Outcome::Ok);
    let case = Case::new("figures", ledger);
    let path = case.files.0.join("ours.csv");
    let path = path.to_str().unwrap();
    case.ask("reconcile", &["--write", path], 0);
    let table = "issuer,month,currency,kind,count,sum\n\
        local,2026-10,CNY,ISSUE,2,184467440737095516.14\n\
        local,2026-11,,ISSUE,1,0\n\
        local,2026-11,CNY,ISSUE,1,-0.05\n\
        local,2026-11,CNY,VOID,1,-0.05\n";
    assert_eq!(fs::read_to_string(path).unwrap(), table);
    let value = case.ask("reconcile", &["--csv", path], 0);
    assert_eq!(value["answer"]["differences"], serde_json::json!([]));
    assert_eq!(value["answer"]["probes"], 1);
    // One row differs, one is only theirs, one only ours.
    let theirs = table
        .replace("2,184467440737095516.14", "2,184467440737095516.15")
        .replace("local,2026-11,,ISSUE", "other,2026-11,,ISSUE");
    let theirs = case.files.write("theirs.csv", theirs);
    let value = case.ask("reconcile", &["--csv", &theirs], 26);
    assert_eq!(value["ending"], "RECONCILIATION");
    let rows = value["answer"]["differences"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0]["theirs"]["sum"], "184467440737095516.15");
    assert_eq!(rows[0]["ours"]["sum"], "184467440737095516.14");
    assert_eq!(rows[1]["theirs"], serde_json::Value::Null);
    assert_eq!(rows[2]["ours"], serde_json::Value::Null);
    let (_, out, _) = run(&["reconcile", &case.bundle, "--csv", &theirs]);
    assert!(
        out.contains("only theirs") && out.contains("only ours"),
        "{out}"
    );
    // Equal figures say little when a record was not shown, or its invoice is not here.
    let bundle = case.withheld(|_, index| index == void);
    let less = case
        .files
        .write("less.csv", table.rsplit_once("local").unwrap().0);
    let value = case.ask_of(&bundle, "reconcile", &["--csv", &less], 15);
    assert_eq!(value["answer"]["withheld"], 1);
    let later = case.altered(void, |_, _| {});
    let none = case.files.write("none.csv", table.lines().next().unwrap());
    let value = case.ask_of(&later, "reconcile", &["--csv", &none], 15);
    assert_eq!(value["answer"]["voids_unplaced"], 1);
}

/// A reversal that says no amount takes all that is left, and that is what books must show.
#[test]
fn a_reversal_stands_with_what_it_took_off() {
    let mut ledger = Ledger::found(1);
    ledger.boot(1);
    let money = |minor_units: i64| Money {
        minor_units,
        currency: "EUR".into(),
        exponent: 2,
    };
    let mut uids = Vec::new();
    for (number, total) in [
        ("A", Some(1000)),
        ("B", Some(500)),
        ("C", None),
        ("D", Some(70)),
    ] {
        let mut invoice = ledger.invoice(number);
        invoice.metadata.total = total.map(money);
        uids.push(invoice.uid);
        ledger.strict(1, Document::Issue(invoice), Outcome::Ok);
    }
    let first_reversal = ledger.len();
    for (number, target, amount, total) in [
        ("A-1", 0, Some(300), Some(-300)),
        // All that is left: 7.00.
        ("A-2", 0, None, None),
        // What was taken off decides, whatever total is stated, and with which sign.
        ("B-1", 1, Some(200), Some(200)),
        ("B-2", 1, None, Some(-999)),
        // There was no total to take anything off.
        ("C-1", 2, None, None),
    ] {
        let mut reversal = ledger.invoice(number);
        reversal.metadata.total = total.map(money);
        reversal.metadata.references = vec![Reference {
            relation: "REVERSES".into(),
            target: uid_text(&uids[target]),
            sha256: None,
            amount: amount.map(money),
        }];
        ledger.strict(1, Document::Reverse(reversal), Outcome::Ok);
    }
    let case = Case::new("reversals", ledger);
    let value = case.ask("reconcile", &["--write", "/dev/null"], 0);
    let rows = value["answer"]["rows"].as_array().unwrap().iter();
    let reversals: Vec<_> = rows
        .filter(|row| row["kind"] == "REVERSE")
        .map(|row| {
            (
                row["currency"].clone(),
                row["count"].clone(),
                row["sum"].clone(),
            )
        })
        .collect();
    let row = |currency: &str, count: u64, sum: &str| (currency.into(), count.into(), sum.into());
    assert_eq!(reversals, [row("", 1, "0"), row("EUR", 4, "-15.00")]);
    // Where the invoices are not shown, what was left of them is not known.
    let later = case.altered(first_reversal, |_, _| {});
    let value = case.ask_of(&later, "reconcile", &["--write", "/dev/null"], 0);
    assert_eq!(value["answer"]["reversals_unplaced"], 2);
    let (_, out, _) = run(&["reconcile", &later, "--write", "/dev/null"]);
    assert!(out.contains("2 reversals take all that is left"), "{out}");
}

#[test]
fn a_sample_is_the_same_for_everyone_who_knows_the_seed() {
    let case = Case::realistic("sample");
    let flags = ["--count", "3", "--seed", "dice: 4 2 6", "--kind", "ISSUE"];
    let value = case.ask("sample", &flags, 0);
    let chosen = value["answer"]["chosen"].as_array().unwrap();
    // As another program would do it: all of them, sorted.
    let mut all: Vec<_> = (0..case.ledger.len())
        .filter(|i| case.kind(*i) == Kind::Issue)
        .filter(|i| case.ledger.entries[*i as usize].record.outcome == Outcome::Ok)
        .map(|i| (rank("dice: 4 2 6", &case.ledger.leaf(i)), i))
        .collect();
    all.sort();
    assert_eq!(value["answer"]["candidates"], all.len());
    let indexes: Vec<_> = chosen
        .iter()
        .map(|c| c["record"]["index"].as_u64())
        .collect();
    let expected: Vec<_> = all[..3].iter().map(|(_, index)| Some(*index)).collect();
    assert_eq!(indexes, expected);
    assert_eq!(chosen[0]["rank"], all[0].0.to_hex());
    assert!(
        chosen[0]["record"]["sentence"]
            .as_str()
            .unwrap()
            .contains("was issued")
    );
    // More than there are: all of them, of any kind.
    let value = case.ask("sample", &["--count", "10000", "--seed", "s"], 0);
    let chosen = value["answer"]["chosen"].as_array().unwrap();
    assert_eq!(value["answer"]["candidates"], chosen.len());
    let (code, out, _) = run(&["sample", &case.bundle, "--count", "1", "--seed", "s"]);
    assert!(code == 3 && out.contains("Sample      1 of"), "{out}");
    assert_eq!(value["answer"]["selects"], false);
}

/// Who draws from what somebody else has chosen before has no sample of the log.
#[test]
fn a_sample_of_a_selection_says_so() {
    let case = Case::realistic("sample-of-selection");
    let selection = case
        .files
        .write("selection", seal(&case.ledger.selection(&[5, 8])));
    let value = case.ask_of(&selection, "sample", &["--count", "1", "--seed", "s"], 0);
    assert_eq!(value["answer"]["selects"], true);
    let (_, out, _) = run(&["sample", &selection, "--count", "1", "--seed", "s"]);
    assert!(out.contains("The bundle is a selection"), "{out}");
}

#[test]
fn heads_agree_fork_or_cannot_be_compared() {
    let case = Case::realistic("heads");
    let size = case.ledger.len();
    let note = |name: &str, ledger: &Ledger, size| case.files.write(name, ledger.note(size));
    let (five, nine) = (note("5", &case.ledger, 5), note("9", &case.ledger, 9));
    let empty_to_all = note("all", &case.ledger, size);
    let receipt = case.files.write("receipt", case.ledger.receipt(2).encode());
    let heads = |rest: &[&str], expected| {
        json(
            &[&["heads", "--trust", &case.trust], rest].concat(),
            expected,
        )
    };
    let value = heads(&[&nine, &five, &empty_to_all, "--bundle", &case.bundle], 0);
    assert_eq!(value["answer"]["agree"], true);
    assert_eq!(value["answer"]["heads"][0]["size"], 5);
    let value = heads(&[&five, &five, "--genesis", &receipt], 0);
    assert_eq!(value["proven"], true);
    // Other sizes, and nothing in between.
    let value = heads(&[&five, &nine, "--genesis", &receipt], 15);
    assert_eq!(value["answer"]["agree"], false);
    let later = case.altered(7, |_, _| {});
    heads(&[&nine, "--bundle", &later], 0);
    heads(&[&five, &nine, "--bundle", &later], 15);
    // The same keys, another history.
    let mut other = case.ledger.clone();
    other.entries[4].record.committed_at_ms -= 1;
    other.rechain();
    let forked = note("forked", &other, 5);
    let value = heads(&[&five, &forked, "--genesis", &receipt], 14);
    assert_eq!(value["ending"], "FORK");
    heads(&[&forked, "--bundle", &case.bundle], 14);
    // A fork is not hidden by a file that is no checkpoint.
    let junk = case.files.write("junk", "junk");
    heads(&[&junk, &five, &forked, "--genesis", &receipt], 14);
    heads(&[&junk, &five, "--genesis", &receipt], 18);
    // Signed by the keys of another ledger.
    let stranger = note("stranger", &Ledger::realistic(2), 5);
    heads(&[&five, &stranger, "--genesis", &receipt], 18);
    // Keys of another ledger than the one that is pinned.
    let wrong = case
        .files
        .write("wrong", Ledger::realistic(2).receipt(2).encode());
    heads(&[&five, &five, "--genesis", &wrong], 22);
}

#[test]
fn mistakes_of_the_caller_are_refused_before_anything_is_read() {
    let case = Case::realistic("question-usage");
    let bundle = case.bundle.as_str();
    for usage in [
        &["invoice", bundle][..],
        &["invoice", bundle, "R-0", "R-1"],
        &["invoice", bundle, "R-0", "--csv", "x"],
        &["invoice", bundle, "R-0", "--level", "4"],
        &["reconcile", bundle],
        &["reconcile", bundle, "--csv"],
        &["reconcile", bundle, "--csv", "x", "--csv", "y"],
        &["sample", bundle, "--count", "3"],
        &["sample", bundle, "--count", "0", "--seed", "s"],
        &["sample", bundle, "--count", "10001", "--seed", "s"],
        &["sample", bundle, "--count", "x", "--seed", "s"],
        &["sample", bundle, "--count", "1", "--seed", ""],
        &[
            "sample", bundle, "--count", "1", "--seed", "s", "--kind", "issue",
        ],
        &["heads"],
        &["heads", bundle, bundle],
        &["heads", bundle, "--genesis", bundle],
        &["heads", bundle, "--genesis", bundle, "--bundle", bundle],
    ] {
        let (code, out, err) = run(usage);
        assert_eq!((code, out.as_str()), (2, ""), "{usage:?}");
        assert!(err.contains("--help"), "{err}");
    }
    let junk = case.files.write("junk.csv", "issuer\n");
    for unreadable in [
        &["invoice", "/nonexistent", "R-0"][..],
        &["reconcile", bundle, "--csv", "/nonexistent"],
        &["reconcile", bundle, "--csv", &junk],
        &["reconcile", bundle, "--write", "/nonexistent/x"],
        &["sample", "/nonexistent", "--count", "1", "--seed", "s"],
        &["heads", "/nonexistent", "--bundle", bundle],
        &["heads", bundle, "--bundle", "/nonexistent"],
        &["heads", bundle, bundle, "--genesis", "/nonexistent"],
    ] {
        assert_eq!(run(unreadable).0, 4, "{unreadable:?}");
    }
}
