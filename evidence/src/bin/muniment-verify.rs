//! `muniment-verify`: checks receipts and bundles offline.
//!
//! Promises: reads the files named and nothing else, writes nothing, and ends with the
//! exit code of the report. Leaves all judgement to [`muniment_evidence::verify`].

use muniment_evidence::digest::{Digest, Hasher};
use muniment_evidence::note::NOTE_BYTES_MAX;
use muniment_evidence::policy::{POLICY_BYTES_MAX, Policy};
use muniment_evidence::receipt::RECEIPT_BYTES_MAX;
use muniment_evidence::report::Report;
use muniment_evidence::trust::{TRUST_BYTES_MAX, Trust};
use muniment_evidence::verify::{
    self, BundleVerifier, Expected, LEVEL_DEFAULT, LEVEL_MAX, Options,
};
use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::process::ExitCode;

const USAGE: &str = "\
Checks Muniment's evidence offline.

  muniment-verify receipt FILE [--trust FILE] [--policy FILE] [--document FILE] [--json]
  muniment-verify bundle FILE [--trust FILE] [--policy FILE] [--head FILE]
                  [--level 0..6] [--json]
  muniment-verify --help | --version

  --trust FILE     the ledger that you mean: its origin and genesis, from someone you trust
  --policy FILE    whose signatures a checkpoint must carry (C2SP tlog-policy)
  --document FILE  the invoice that the receipt should be about
  --head FILE      a checkpoint that you kept from earlier: shows a rewritten ledger
  --level N        0 structure, 1 +signatures, 2 +checkpoint, 3 +saved head,
                   4 +full replay, 5 +openings (default), 6 +outside anchors, which
                   needs a policy that names their witnesses
  --json           the report as one line of JSON

FILE may be - for standard input (the evidence only). Exit codes: 0 verified; 2 usage;
3 verified, but without --trust; 4 a file cannot be read; 10 structure; 11 bad signature;
12 broken chain; 13 bad tree; 14 fork; 15 missing data; 16 lane; 17 unknown key;
18 checkpoint; 19 opening; 20 document; 21 time; 22 untrusted; 23 policy; 24 revoked;
25 lost.
";

/// Read at a time.
const PIECE_BYTES: usize = 1024 * 1024;

const USAGE_CODE: u8 = 2;
const UNREADABLE_CODE: u8 = 4;

/// What ends the program early: a code and what to say.
struct Stop(u8, String);

struct Arguments {
    command: String,
    file: String,
    trust: Option<String>,
    policy: Option<String>,
    document: Option<String>,
    head: Option<String>,
    level: u8,
    json: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = match std::env::args_os()
        .skip(1)
        .map(std::ffi::OsString::into_string)
        .collect()
    {
        Ok(arguments) => arguments,
        Err(_) => return stop(&Stop(USAGE_CODE, "an argument is not UTF-8".into())),
    };
    match arguments.first().map(String::as_str) {
        Some("--help" | "-h" | "help") => return print(USAGE),
        Some("--version" | "-V") => {
            let version = env!("CARGO_PKG_VERSION");
            return print(&format!("muniment-verify {version}, formats v1\n"));
        }
        _ => {}
    }
    match parse(arguments).and_then(|arguments| Ok((run(&arguments)?, arguments.json))) {
        Ok((report, json)) => {
            let text = if json {
                report.to_json() + "\n"
            } else {
                report.to_string()
            };
            // A closed pipe must not change the verdict.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::from(report.exit_code())
        }
        Err(error) => stop(&error),
    }
}

fn print(text: &str) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn stop(Stop(code, why): &Stop) -> ExitCode {
    eprintln!("muniment-verify: {why}");
    if *code == USAGE_CODE {
        eprintln!("Try: muniment-verify --help");
    }
    ExitCode::from(*code)
}

fn parse(arguments: Vec<String>) -> Result<Arguments, Stop> {
    let usage = |why: String| Stop(USAGE_CODE, why);
    let mut rest = arguments.into_iter();
    let command = match rest.next() {
        Some(command) if command == "receipt" || command == "bundle" => command,
        Some(other) => return Err(usage(format!("unknown command {other:?}"))),
        None => return Err(usage("say receipt or bundle".into())),
    };
    let receipt = command == "receipt";
    let mut parsed = Arguments {
        command,
        file: String::new(),
        trust: None,
        policy: None,
        document: None,
        head: None,
        level: LEVEL_DEFAULT,
        json: false,
    };
    let mut level = None;
    while let Some(argument) = rest.next() {
        let slot = match argument.as_str() {
            "--json" => {
                parsed.json = true;
                continue;
            }
            "--trust" => &mut parsed.trust,
            "--policy" => &mut parsed.policy,
            "--document" if receipt => &mut parsed.document,
            "--head" if !receipt => &mut parsed.head,
            "--level" if !receipt => &mut level,
            flag if flag.starts_with("--") => {
                return Err(usage(format!("unknown flag {flag}")));
            }
            _ if parsed.file.is_empty() && !argument.is_empty() => {
                parsed.file = argument;
                continue;
            }
            _ => return Err(usage(format!("one file only, not also {argument:?}"))),
        };
        let value = rest
            .next()
            .ok_or_else(|| usage(format!("{argument} needs a value")))?;
        if slot.replace(value).is_some() {
            return Err(usage(format!("{argument} is given twice")));
        }
    }
    if parsed.file.is_empty() {
        return Err(usage("name the file to verify".into()));
    }
    if let Some(level) = level {
        parsed.level = match level.parse() {
            Ok(level) if level <= LEVEL_MAX => level,
            _ => return Err(usage(format!("--level is 0 to 6, not {level:?}"))),
        };
    }
    if parsed.head.is_some() && parsed.level < 3 {
        return Err(usage("--head is compared from level 3 on".into()));
    }
    if parsed.level == LEVEL_MAX && parsed.policy.is_none() {
        return Err(usage(
            "level 6 needs --policy, which names the witnesses".into(),
        ));
    }
    Ok(parsed)
}

fn run(arguments: &Arguments) -> Result<Report, Stop> {
    let trust = match &arguments.trust {
        None => None,
        Some(path) => {
            let bytes = read(path, TRUST_BYTES_MAX)?;
            let text = String::from_utf8_lossy(&bytes);
            let trust =
                Trust::parse(&text).map_err(|e| Stop(UNREADABLE_CODE, format!("{path}: {e}")))?;
            Some(trust)
        }
    };
    let policy = match &arguments.policy {
        None => None,
        Some(path) => {
            let bytes = read(path, POLICY_BYTES_MAX)?;
            let text = String::from_utf8_lossy(&bytes);
            let policy =
                Policy::parse(&text).map_err(|e| Stop(UNREADABLE_CODE, format!("{path}: {e}")))?;
            Some(policy)
        }
    };
    if arguments.command == "receipt" {
        let document = match &arguments.document {
            None => None,
            Some(path) => Some(hash(path)?),
        };
        let bytes = read(&arguments.file, RECEIPT_BYTES_MAX)?;
        let document = document.as_ref().map(|(digest, length)| (digest, *length));
        let expected = Expected {
            trust: trust.as_ref(),
            policy: policy.as_ref(),
            document,
        };
        return Ok(verify::receipt(&bytes, expected));
    }
    let head = match &arguments.head {
        None => None,
        Some(path) => Some(read(path, NOTE_BYTES_MAX)?),
    };
    let mut verifier = BundleVerifier::new(Options {
        trust,
        policy,
        head,
        level: arguments.level,
    });
    let (file, total) = open(&arguments.file)?;
    let mut progress = Progress::new(total, arguments.json);
    each_piece(&arguments.file, file, |piece| {
        verifier.push(piece);
        progress.add(piece.len());
    })?;
    progress.clear();
    Ok(verifier.finish())
}

fn unreadable(path: &str, error: &io::Error) -> Stop {
    Stop(UNREADABLE_CODE, format!("cannot read {path}: {error}"))
}

/// The file, and its length where it has one.
fn open(path: &str) -> Result<(Box<dyn Read>, Option<u64>), Stop> {
    if path == "-" {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    let metadata = file.metadata().map_err(|e| unreadable(path, &e))?;
    let length = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(file), length))
}

/// All of a file up to one byte over its limit, which its reader then refuses.
fn read(path: &str, bytes_max: usize) -> Result<Vec<u8>, Stop> {
    let (file, _) = open(path)?;
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| unreadable(path, &e))?;
    Ok(bytes)
}

fn hash(path: &str) -> Result<(Digest, u64), Stop> {
    let (file, _) = open(path)?;
    let (mut hasher, mut length) = (Hasher::new(), 0);
    each_piece(path, file, |piece| {
        hasher.update(piece);
        length += piece.len() as u64;
    })?;
    Ok((hasher.finish(), length))
}

fn each_piece(
    path: &str,
    mut file: Box<dyn Read>,
    mut take: impl FnMut(&[u8]),
) -> Result<(), Stop> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => take(&piece[..length]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(unreadable(path, &e)),
        }
    }
}

/// One line on standard error, for people only.
struct Progress {
    shown: bool,
    done: u64,
    total: Option<u64>,
}

impl Progress {
    fn new(total: Option<u64>, json: bool) -> Progress {
        Progress {
            shown: !json && io::stderr().is_terminal(),
            done: 0,
            total,
        }
    }

    fn add(&mut self, bytes: usize) {
        const WIDTH: u64 = 30;
        self.done += bytes as u64;
        if !self.shown {
            return;
        }
        let mebibytes = self.done >> 20;
        match self.total {
            Some(total) if total > 0 => {
                let filled =
                    (self.done.min(total) as u128 * WIDTH as u128 / total as u128) as usize;
                let bar = "#".repeat(filled) + &".".repeat(WIDTH as usize - filled);
                eprint!("\rverifying [{bar}] {mebibytes} of {} MiB", total >> 20);
            }
            _ => eprint!("\rverifying {mebibytes} MiB"),
        }
    }

    fn clear(&self) {
        if self.shown {
            eprint!("\r\u{1b}[K");
        }
    }
}
