//! `muniment-verify`: checks receipts and bundles offline, and answers questions about them.
//!
//! Promises: reads the files named and nothing else, writes nothing but the file that
//! `reconcile --write` names, and ends with the exit code of the report or the answer.
//! Leaves all verifying to [`muniment_evidence::verify`] and [`muniment_audit`].
//!
//! Tests: `audit/tests/program.rs`, `audit/tests/questions.rs`.

// What is printed past `print` and `stop` would panic on a full disk, or be lost in silence.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod arguments;
mod files;

use arguments::{Arguments, EarlyExit, UNREADABLE_CODE, USAGE, USAGE_CODE};
use muniment_audit::answer::Audited;
use muniment_audit::figures::Reckoning;
use muniment_audit::heads::{Heads, NamedNote};
use muniment_audit::invoice::{InvoiceQuestion, WhichInvoice};
use muniment_audit::keys::KeysReader;
use muniment_audit::promise::{PromiseQuestion, stated};
use muniment_audit::{csv, report};
use muniment_evidence::note::NOTE_BYTES_MAX;
use muniment_evidence::policy::{POLICY_BYTES_MAX, Policy};
use muniment_evidence::promise::PROMISE_BYTES_MAX;
use muniment_evidence::receipt::RECEIPT_BYTES_MAX;
use muniment_evidence::report::Report;
use muniment_evidence::trust::{TRUST_BYTES_MAX, Trust};
use muniment_evidence::verify::{
    self, BundleVerifier, Expected, KnownKeys, MaxAge, Observer, VerifyOptions,
};
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::SystemTime;

/// What a command has to say.
struct Said {
    code: u8,
    text: String,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = match std::env::args_os()
        .skip(1)
        .map(std::ffi::OsString::into_string)
        .collect()
    {
        Ok(arguments) => arguments,
        Err(_) => return stop(&EarlyExit(USAGE_CODE, "an argument is not UTF-8".into())),
    };
    match arguments.first().map(String::as_str) {
        Some("--help" | "-h" | "help") => return print(0, USAGE),
        Some("--version" | "-V") => {
            let version = env!("CARGO_PKG_VERSION");
            return print(0, &format!("muniment-verify {version}, formats v2\n"));
        }
        _ => {}
    }
    match Arguments::parse(arguments).and_then(|arguments| run(&arguments)) {
        Ok(said) => print(said.code, &said.text),
        Err(error) => stop(&error),
    }
}

fn print(code: u8, text: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    match written.and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::from(code),
        // Whoever closed the pipe has read enough: that must not change the verdict.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(code),
        Err(error) => {
            let why = format!("cannot write to standard output, so the report is lost: {error}");
            stop(&EarlyExit(UNREADABLE_CODE, why))
        }
    }
}

fn stop(EarlyExit(code, why): &EarlyExit) -> ExitCode {
    let hint = match *code == USAGE_CODE {
        true => "\nTry: muniment-verify --help",
        false => "",
    };
    // There is nowhere else to say it; the exit code remains.
    let _ = writeln!(io::stderr(), "muniment-verify: {why}{hint}");
    ExitCode::from(*code)
}

fn run(arguments: &Arguments) -> Result<Said, EarlyExit> {
    let audited = match arguments.command {
        "receipt" => return Ok(said_of(&receipt(arguments)?, arguments.json())),
        "bundle" => {
            let (report, ()) = bundle(&arguments.operands[0], arguments, ())?;
            return Ok(said_of(&report, arguments.json()));
        }
        "invoice" => invoice(arguments)?,
        "reconcile" => reconcile(arguments)?,
        "sample" => {
            let (report, sample) = bundle(&arguments.operands[0], arguments, arguments.sample()?)?;
            sample.conclude(report)
        }
        "promise" => promise(arguments)?,
        _ => heads(arguments)?,
    };
    Ok(Said {
        code: audited.exit_code(),
        text: match arguments.json() {
            true => audited.to_json() + "\n",
            false => audited.to_string(),
        },
    })
}

fn said_of(report: &Report, json: bool) -> Said {
    Said {
        code: report.exit_code(),
        text: match json {
            true => report::to_json(report) + "\n",
            false => report::to_text(report),
        },
    }
}

fn trust(arguments: &Arguments) -> Result<Option<Trust>, EarlyExit> {
    let read = |path| {
        files::parsed(path, TRUST_BYTES_MAX, |bytes| {
            Trust::parse(&String::from_utf8_lossy(bytes))
        })
    };
    arguments.flag("--trust").map(read).transpose()
}

fn policy(arguments: &Arguments) -> Result<Option<Policy>, EarlyExit> {
    let read = |path| {
        files::parsed(path, POLICY_BYTES_MAX, |bytes| {
            Policy::parse(&String::from_utf8_lossy(bytes))
        })
    };
    arguments.flag("--policy").map(read).transpose()
}

/// The changes of keys in evidence that the caller has already, under the same pin.
fn keys(arguments: &Arguments, trust: Option<&Trust>) -> Result<Option<KnownKeys>, EarlyExit> {
    let Some(path) = arguments.flag("--keys") else {
        return Ok(None);
    };
    let mut reader = KeysReader::new(trust);
    files::stream(path, true, |piece| reader.push(piece))?;
    let unusable = |why| {
        let why = format!("the keys in {path} are not to be used: {why}");
        EarlyExit(UNREADABLE_CODE, why)
    };
    reader.finish().map_err(unusable).map(Some)
}

fn receipt(arguments: &Arguments) -> Result<Report, EarlyExit> {
    let (trust, policy) = (trust(arguments)?, policy(arguments)?);
    let document = arguments.flag("--document").map(files::hash).transpose()?;
    let bytes = files::read(&arguments.operands[0], RECEIPT_BYTES_MAX)?;
    let keys = keys(arguments, trust.as_ref())?;
    let head = arguments
        .flag("--head")
        .map(|path| files::read(path, NOTE_BYTES_MAX));
    let head = head.transpose()?;
    let expected = Expected {
        trust: trust.as_ref(),
        policy: policy.as_ref(),
        keys: keys.as_ref(),
        document: document.as_ref().map(|(digest, length)| (digest, *length)),
        issued: arguments.is_on("--issued"),
        head: head.as_deref(),
        age: arguments.max_age_s.map(|most_s| MaxAge {
            now_s: now_s(),
            most_s,
        }),
    };
    Ok(judged(verify::receipt(&bytes, expected), arguments))
}

/// Seconds since 1970, by this machine's clock; before that, none have passed.
#[expect(
    clippy::disallowed_methods,
    reason = "the library is told what time it is, and this program is who tells it"
)]
fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The report as the caller wants it counted.
fn judged(mut report: Report, arguments: &Arguments) -> Report {
    if arguments.is_on("--require-judged") {
        report = report.require_judged();
    }
    match arguments.is_on("--strict") {
        true => report.strict(),
        false => report,
    }
}

/// Verifies a bundle while someone looks on.
fn bundle<O: Observer>(
    path: &str,
    arguments: &Arguments,
    observer: O,
) -> Result<(Report, O), EarlyExit> {
    let head = arguments.flag("--head");
    let head = head.map(|path| files::read(path, NOTE_BYTES_MAX));
    let trust = trust(arguments)?;
    let options = VerifyOptions {
        keys: keys(arguments, trust.as_ref())?,
        trust,
        policy: policy(arguments)?,
        head: head.transpose()?,
        level: arguments.level,
    };
    let mut verifier = BundleVerifier::observed(options, observer);
    files::stream(path, arguments.json(), |piece| verifier.push(piece))?;
    let (report, observer) = verifier.finish_observed();
    Ok((judged(report, arguments), observer))
}

fn invoice(arguments: &Arguments) -> Result<Audited, EarlyExit> {
    let name = &arguments.operands[1];
    let series = ["--tenant", "--scheme", "--issuer", "--period"];
    let narrowed = series.iter().any(|flag| arguments.flag(flag).is_some());
    // A series has numbers, also where they are written like uids.
    let uid = WhichInvoice::uid(name).filter(|_| !narrowed);
    let which = uid.unwrap_or_else(|| WhichInvoice::Number {
        number: name.clone(),
        tenant: arguments.owned("--tenant"),
        scheme: arguments.owned("--scheme"),
        issuer: arguments.owned("--issuer"),
        period: arguments.owned("--period"),
    });
    let question = InvoiceQuestion::new(which);
    let (report, question) = bundle(&arguments.operands[0], arguments, question)?;
    Ok(question.conclude(report))
}

fn reconcile(arguments: &Arguments) -> Result<Audited, EarlyExit> {
    let theirs = arguments
        .flag("--csv")
        .map(|path| files::parsed(path, csv::CSV_BYTES_MAX, csv::parse))
        .transpose()?;
    let (report, ours) = bundle(&arguments.operands[0], arguments, Reckoning::new())?;
    if let Some(path) = arguments.flag("--write") {
        // Figures of evidence that does not hold would outlive the report that says so.
        if report.holds() {
            std::fs::write(path, csv::write(ours.figures()))
                .map_err(|e| EarlyExit(UNREADABLE_CODE, format!("cannot write {path}: {e}")))?;
        }
    }
    Ok(ours.conclude(theirs.as_ref(), report))
}

fn promise(arguments: &Arguments) -> Result<Audited, EarlyExit> {
    let trust = trust(arguments)?;
    let bytes = files::read(&arguments.operands[0], PROMISE_BYTES_MAX)?;
    let keys = keys(arguments, trust.as_ref())?;
    let Some(path) = arguments.flag("--bundle") else {
        let (report, promised) = verify::promise(&bytes, trust.as_ref(), keys.as_ref());
        return Ok(stated(report, promised.as_ref()));
    };
    match PromiseQuestion::new(bytes, trust) {
        Ok(question) => {
            let (report, question) = bundle(path, arguments, question)?;
            Ok(question.conclude(report, keys.as_ref()))
        }
        Err(answer) => Ok(*answer),
    }
}

fn heads(arguments: &Arguments) -> Result<Audited, EarlyExit> {
    let notes = arguments.operands.iter().map(|path| {
        Ok(NamedNote {
            name: path.clone(),
            note: files::read(path, NOTE_BYTES_MAX)?,
        })
    });
    let heads = Heads::new(notes.collect::<Result<_, EarlyExit>>()?);
    if let Some(path) = arguments.flag("--bundle") {
        let (report, heads) = bundle(path, arguments, heads)?;
        return Ok(heads.conclude(report));
    }
    let (trust, policy) = (trust(arguments)?, policy(arguments)?);
    let path = arguments.flag("--genesis").unwrap_or_default();
    let receipt = files::read(path, RECEIPT_BYTES_MAX)?;
    let keys = keys(arguments, trust.as_ref())?;
    let expected = Expected {
        trust: trust.as_ref(),
        policy: policy.as_ref(),
        keys: keys.as_ref(),
        ..Expected::default()
    };
    Ok(heads.conclude_by_receipt(&receipt, expected))
}
