//! The words of the command line: commands, flags, and what is said about them.
//!
//! Promises: a flag that a command does not take, or a value that cannot be meant, is
//! refused before any file is read. Leaves reading the files to the commands.
//!
//! Tests: `audit/tests/program.rs`, `audit/tests/questions.rs` (mistakes of the caller).

use muniment_audit::sample;
use muniment_evidence::statement::Kind;
use muniment_evidence::verify::{LEVEL_DEFAULT, LEVEL_MAX};
use std::collections::{BTreeMap, BTreeSet};

pub const USAGE: &str = "\
Checks Muniment's evidence offline, and answers questions about it.

  muniment-verify receipt FILE [--trust FILE] [--policy FILE] [--keys FILE]
                  [--head FILE] [--max-age SECONDS] [--document FILE] [--issued]
                  [--strict] [--json]
  muniment-verify bundle FILE [--trust FILE] [--policy FILE] [--keys FILE] [--head FILE]
                  [--level 0..6] [--require-judged] [--strict] [--json]
  muniment-verify invoice FILE NUMBER|UID [--tenant T] [--scheme S] [--issuer I]
                  [--period P] [--trust FILE] [--policy FILE] [--keys FILE] [--head FILE] [--json]
  muniment-verify reconcile FILE [--csv FILE] [--write FILE]
                  [--trust FILE] [--policy FILE] [--keys FILE] [--head FILE] [--json]
  muniment-verify sample FILE --count K --seed TEXT [--kind ISSUE]
                  [--trust FILE] [--policy FILE] [--keys FILE] [--head FILE] [--json]
  muniment-verify promise FILE [--bundle FILE]
                  [--trust FILE] [--policy FILE] [--keys FILE] [--head FILE] [--json]
  muniment-verify heads NOTE... [--bundle FILE | --genesis FILE]
                  [--trust FILE] [--policy FILE] [--keys FILE] [--json]
  muniment-verify --help | --version

  receipt    one record, proven
  bundle     a range of records
  invoice    what happened to one invoice, and who downloaded it
  reconcile  counts and sums by issuer, month, currency and kind, against your own
  sample     records chosen by a seed: the same on every machine
  promise    a download that is to be recorded, and whether it was
  heads      whether checkpoints are of one history

  --trust FILE     the ledger that you mean: its origin and genesis, from someone you trust
  --policy FILE    whose signatures a checkpoint must carry (C2SP tlog-policy)
  --keys FILE      a receipt or bundle that you have: a revocation in it holds here too,
                   and evidence of a later size that lacks it is of another history
  --document FILE  the invoice that the receipt should be about; its record must be OK
  --issued         the record must be an invoice, and OK
  --head FILE      a checkpoint that you kept from earlier: shows a rewritten ledger
  --max-age N      the newest cosignature by a witness of the policy is at most N seconds old
  --level N        0 structure, 1 +signatures, 2 +checkpoint, 3 +saved head,
                   4 +full replay, 5 +openings (default), 6 +outside anchors, which
                   needs a policy that names their witnesses
  --csv FILE       your figures: issuer,month,currency,kind,count,sum
  --write FILE     writes the records' own figures in that form
  --count K        how many records, 1 to 10000
  --seed TEXT      chosen after the checkpoint, so that nobody could foresee the sample
  --kind KIND      of this kind only, such as ISSUE
  --bundle FILE    a bundle that covers the sizes of the notes, or should keep the promise
  --genesis FILE   without a bundle: any receipt of the ledger, which carries its keys
  --require-judged what the ledger's rules could not be judged of (a slice, an opening
                   that is withheld, members who were changing) is missing data
  --strict         what is told beside the verdict (a lost outbox or body) counts as a fault
  --json           the report as one line of JSON

FILE may be - for standard input (the evidence only). Questions are answered at level 5.
Exit codes: 0 verified; 2 usage, or several invoices have the number; 3 verified, but
without --trust; 4 a file cannot be read or written; 5 nothing has the name asked for;
10 structure; 11 bad signature; 12 broken chain; 13 bad tree; 14 fork; 15 missing data;
16 lane; 17 unknown key; 18 checkpoint; 19 opening; 20 document; 21 time; 22 untrusted;
23 policy; 24 revoked; 25 lost; 26 reconciliation; 27 promise not kept; 28 not done; 29 a receipt verified, but
without --policy or --keys; 30 not understood; 31 a body is lost; 32 a rule is broken.
Of several, the gravest: FORMAT.md has the order.
";

pub const USAGE_CODE: u8 = 2;
pub const UNREADABLE_CODE: u8 = 4;

/// What ends the program early: a code and what to say.
#[derive(Debug)]
pub struct EarlyExit(pub u8, pub String);

/// A command: how many operands it takes, and which flags.
struct Form {
    name: &'static str,
    operands: (usize, usize),
    /// With a value.
    flags: &'static [&'static str],
    /// Without one.
    switches: &'static [&'static str],
}

const FORMS: [Form; 7] = [
    Form {
        name: "receipt",
        operands: (1, 1),
        flags: &[
            "--trust",
            "--policy",
            "--keys",
            "--document",
            "--head",
            "--max-age",
        ],
        switches: &["--issued", "--strict", "--json"],
    },
    Form {
        name: "bundle",
        operands: (1, 1),
        flags: &["--trust", "--policy", "--keys", "--head", "--level"],
        switches: &["--require-judged", "--strict", "--json"],
    },
    Form {
        name: "invoice",
        operands: (2, 2),
        flags: &[
            "--trust", "--policy", "--keys", "--head", "--tenant", "--scheme", "--issuer",
            "--period",
        ],
        switches: &["--strict", "--json"],
    },
    Form {
        name: "reconcile",
        operands: (1, 1),
        flags: &[
            "--trust", "--policy", "--keys", "--head", "--csv", "--write",
        ],
        switches: &["--strict", "--json"],
    },
    Form {
        name: "sample",
        operands: (1, 1),
        flags: &[
            "--trust", "--policy", "--keys", "--head", "--count", "--seed", "--kind",
        ],
        switches: &["--strict", "--json"],
    },
    Form {
        name: "promise",
        operands: (1, 1),
        flags: &["--trust", "--policy", "--keys", "--head", "--bundle"],
        switches: &["--strict", "--json"],
    },
    Form {
        name: "heads",
        operands: (1, muniment_audit::heads::HEADS_MAX),
        flags: &["--trust", "--policy", "--keys", "--bundle", "--genesis"],
        switches: &["--strict", "--json"],
    },
];

/// The command line, taken apart.
pub struct Arguments {
    pub command: &'static str,
    pub operands: Vec<String>,
    flags: BTreeMap<&'static str, String>,
    switches: BTreeSet<&'static str>,
    pub level: u8,
    pub max_age_s: Option<u64>,
}

fn usage(why: impl Into<String>) -> EarlyExit {
    EarlyExit(USAGE_CODE, why.into())
}

impl Arguments {
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.flags.get(name).map(String::as_str)
    }

    pub fn is_on(&self, switch: &str) -> bool {
        self.switches.contains(switch)
    }

    pub fn json(&self) -> bool {
        self.is_on("--json")
    }

    pub fn owned(&self, name: &str) -> Option<String> {
        self.flag(name).map(str::to_owned)
    }

    pub fn parse(arguments: Vec<String>) -> Result<Arguments, EarlyExit> {
        let mut rest = arguments.into_iter();
        let Some(command) = rest.next() else {
            let names: Vec<_> = FORMS.iter().map(|form| form.name).collect();
            return Err(usage(format!("say one of: {}", names.join(", "))));
        };
        let form = FORMS.iter().find(|form| form.name == command);
        let form = form.ok_or_else(|| usage(format!("unknown command {command:?}")))?;
        let mut parsed = Arguments {
            command: form.name,
            operands: Vec::new(),
            flags: BTreeMap::new(),
            switches: BTreeSet::new(),
            level: LEVEL_DEFAULT,
            max_age_s: None,
        };
        while let Some(argument) = rest.next() {
            if let Some(switch) = form.switches.iter().find(|switch| **switch == argument) {
                parsed.switches.insert(switch);
            } else if let Some(flag) = form.flags.iter().find(|flag| **flag == argument) {
                let value = rest
                    .next()
                    .ok_or_else(|| usage(format!("{flag} needs a value")))?;
                if parsed.flags.insert(flag, value).is_some() {
                    return Err(usage(format!("{flag} is given twice")));
                }
            } else if argument.starts_with("--") {
                return Err(usage(format!("unknown flag {argument}")));
            } else if argument.is_empty() || parsed.operands.len() >= form.operands.1 {
                return Err(usage(format!("too many names: {argument:?}")));
            } else {
                parsed.operands.push(argument);
            }
        }
        if parsed.operands.len() < form.operands.0 {
            let why = match form.name {
                "invoice" => "name the bundle, and the invoice by number or uid",
                "heads" => "name the notes to compare",
                _ => "name the file to verify",
            };
            return Err(usage(why));
        }
        parsed.check()?;
        Ok(parsed)
    }

    /// What must be true of flags and operands together.
    fn check(&mut self) -> Result<(), EarlyExit> {
        if let Some(level) = self.flag("--level") {
            self.level = match level.parse() {
                Ok(level) if level <= LEVEL_MAX => level,
                _ => return Err(usage(format!("--level is 0 to 6, not {level:?}"))),
            };
        }
        if let Some(age) = self.flag("--max-age") {
            let age = age.parse();
            let age = age.map_err(|_| usage("--max-age is a number of seconds"))?;
            self.max_age_s = Some(age);
            if self.flag("--policy").is_none() {
                return Err(usage(
                    "--max-age needs --policy, which names whose time counts",
                ));
            }
        }
        if self.flag("--head").is_some() && self.level < 3 {
            return Err(usage("--head is compared from level 3 on"));
        }
        if self.level == LEVEL_MAX && self.flag("--policy").is_none() {
            return Err(usage("level 6 needs --policy, which names the witnesses"));
        }
        match self.command {
            "reconcile" if self.flag("--csv").or(self.flag("--write")).is_none() => {
                return Err(usage("give your figures with --csv, or --write ours"));
            }
            "sample" => {
                self.sample()?;
            }
            "promise"
                if self.flag("--bundle").is_none()
                    && self.flag("--policy").or(self.flag("--head")).is_some() =>
            {
                return Err(usage("--policy and --head are for the --bundle"));
            }
            "heads" => match (self.flag("--bundle"), self.flag("--genesis")) {
                (Some(_), Some(_)) => return Err(usage("--bundle or --genesis, not both")),
                (None, None) => {
                    return Err(usage(
                        "the ledger's keys are needed: give --bundle, or --genesis with a receipt",
                    ));
                }
                (None, Some(_)) if self.operands.len() < 2 => {
                    return Err(usage("name two notes or more, or give --bundle"));
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    /// The sample that is asked for.
    pub fn sample(&self) -> Result<sample::RecordSample, EarlyExit> {
        let (Some(count), Some(seed)) = (self.flag("--count"), self.flag("--seed")) else {
            return Err(usage("give --count and --seed"));
        };
        let kind = match self.flag("--kind") {
            None => None,
            Some(name) => {
                let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
                Some(kind.ok_or_else(|| usage(format!("there is no kind {name:?}")))?)
            }
        };
        let sample = count.parse().ok();
        sample
            .and_then(|count| sample::RecordSample::new(count, seed, kind))
            .ok_or_else(|| {
                usage(format!(
                    "--count is 1 to {}, --seed a text of at most {} bytes",
                    sample::COUNT_MAX,
                    sample::SEED_BYTES_MAX
                ))
            })
    }
}
