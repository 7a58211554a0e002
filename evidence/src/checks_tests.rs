//! Each check is left out in turn, and a frozen file must notice.

use super::Check;
use crate::class::FindingClass;
use crate::digest::Digest;
use crate::ids::RecordIndex;
use crate::policy::Policy;
use crate::receipt;
use crate::report::Report;
use crate::trust::Trust;
use crate::verify::{
    self, BundleVerifier, Expected, KnownKeys, LEVEL_DEFAULT, MaxAge, VerifyOptions,
};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

thread_local! {
    /// The check that this thread does not ask.
    static LEFT_OUT: Cell<Option<Check>> = const { Cell::new(None) };
}

impl Check {
    pub(crate) fn is_asked(self) -> bool {
        LEFT_OUT.get() != Some(self)
    }
}

/// Checks that no frozen file decides, each with the reason.
const UNDECIDED: [(Check, &str); 1] = [(
    Check::KeyFramesCount,
    "1,025 KEY records are a file of 400 KB; `tests/bundle_stream.rs` makes them",
)];

/// A day after the cosignatures of the frozen files.
const NOW_S: u64 = 1_795_467_600 + 86_400;

type Found = Vec<(FindingClass, Option<RecordIndex>)>;

/// A line of the manifest, as the program would be called.
struct Asked {
    command: String,
    file: String,
    flags: BTreeMap<String, String>,
    switches: BTreeSet<String>,
}

fn read(name: &str) -> Vec<u8> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v2");
    fs::read(directory.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn text(name: &str) -> String {
    String::from_utf8(read(name)).unwrap()
}

impl Asked {
    fn new(line: &str) -> Asked {
        let mut words = line.split('\t').nth(1).unwrap().split(' ');
        let mut next = || words.next().map(str::to_owned);
        let (command, file) = (next().unwrap(), next().unwrap());
        let (mut flags, mut switches) = (BTreeMap::new(), BTreeSet::new());
        while let Some(word) = next() {
            match &word[..] {
                "--strict" | "--issued" | "--require-judged" => {
                    switches.insert(word);
                }
                _ => {
                    flags.insert(word, next().unwrap());
                }
            }
        }
        Asked {
            command,
            file,
            flags,
            switches,
        }
    }

    fn report(&self) -> Report {
        let flag = |name: &str| self.flags.get(name);
        let trust = flag("--trust").map(|name| Trust::parse(&text(name)).unwrap());
        let policy = flag("--policy").map(|name| Policy::parse(&text(name)).unwrap());
        let keys = flag("--keys").map(|name| known(&read(name), trust.as_ref()));
        let bytes = read(&self.file);
        let mut report = match &self.command[..] {
            "receipt" => {
                let document = flag("--document").map(|name| read(name));
                let document = document.map(|bytes| (Digest::of(&[&bytes]), bytes.len() as u64));
                let head = flag("--head").map(|name| read(name));
                let most_s = flag("--max-age").map(|most| most.parse().unwrap());
                let expected = Expected {
                    trust: trust.as_ref(),
                    policy: policy.as_ref(),
                    head: head.as_deref(),
                    age: most_s.map(|most_s| MaxAge {
                        now_s: NOW_S,
                        most_s,
                    }),
                    keys: keys.as_ref(),
                    document: document.as_ref().map(|(digest, length)| (digest, *length)),
                    issued: self.switches.contains("--issued"),
                };
                verify::receipt(&bytes, expected)
            }
            "promise" => verify::promise(&bytes, trust.as_ref(), keys.as_ref()).0,
            "bundle" => bundle(
                &bytes,
                VerifyOptions {
                    trust,
                    policy,
                    keys,
                    head: flag("--head").map(|name| read(name)),
                    level: flag("--level").map_or(LEVEL_DEFAULT, |level| level.parse().unwrap()),
                },
            ),
            other => panic!("no command {other}"),
        };
        if self.switches.contains("--require-judged") {
            report = report.require_judged();
        }
        match self.switches.contains("--strict") {
            true => report.strict(),
            false => report,
        }
    }

    fn found_without(&self, check: Check) -> Found {
        LEFT_OUT.set(Some(check));
        let found = self.report().classes();
        LEFT_OUT.set(None);
        found
    }
}

fn bundle(bytes: &[u8], options: VerifyOptions) -> Report {
    let mut verifier = BundleVerifier::new(options);
    verifier.push(bytes);
    verifier.finish()
}

fn known(bytes: &[u8], trust: Option<&Trust>) -> KnownKeys {
    let report = match bytes.starts_with(receipt::MAGIC) {
        true => verify::receipt(
            bytes,
            Expected {
                trust,
                ..Expected::default()
            },
        ),
        false => bundle(
            bytes,
            VerifyOptions {
                trust: trust.cloned(),
                level: 2,
                ..VerifyOptions::default()
            },
        ),
    };
    KnownKeys::of(&report).expect("keys to be used")
}

/// A verifier that forgets a check must be told by the vectors, or they hold nobody to it.
#[test]
fn whoever_leaves_out_a_check_disagrees_with_a_frozen_file() {
    let manifest = text("MANIFEST.tsv");
    let asked: Vec<Asked> = manifest.lines().skip(1).map(Asked::new).collect();
    let reports: Vec<Report> = asked.iter().map(Asked::report).collect();
    let mut unnoticed = Vec::new();
    for check in Check::ALL {
        // Where it did not fail, leaving it out changes nothing.
        let fails = |report: &Report| report.findings.iter().any(|f| f.check == check);
        let mut rows = asked.iter().zip(&reports).filter(|(_, r)| fails(r));
        let decides =
            |(asked, report): (&Asked, &Report)| asked.found_without(check) != report.classes();
        if !rows.any(decides) {
            unnoticed.push(check);
        }
    }
    let told: Vec<Check> = UNDECIDED.iter().map(|(check, _)| *check).collect();
    let ids = |checks: &[Check]| {
        checks
            .iter()
            .map(|c| format!("{c} {c:?}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ids(&unnoticed),
        ids(&told),
        "checks that no line of the manifest decides"
    );
}

/// Whoever reads a report looks a check up by its id: it stands there once, with its class.
#[test]
fn ids_are_told_apart_and_name_their_section() {
    let ids: BTreeSet<&str> = Check::ALL.iter().map(|check| check.id()).collect();
    assert_eq!(ids.len(), Check::ALL.len());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("FORMAT.md");
    let document = fs::read_to_string(path).unwrap();
    let (mut section, mut rows) = ("", BTreeMap::new());
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("## ").or(line.strip_prefix("### ")) {
            section = heading.split(' ').next().unwrap().trim_end_matches('.');
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", id, .., class, ""] = cells[..]
            && ids.contains(id)
        {
            let class = class.split(',').next().unwrap();
            let twice = rows.insert(id, (section, class));
            assert_eq!(twice, None, "{id} stands twice in FORMAT.md");
        }
    }
    for check in Check::ALL {
        let said = (check.section(), check.class().name());
        assert_eq!(rows.get(check.id()), Some(&said), "{check} in FORMAT.md");
    }
}
