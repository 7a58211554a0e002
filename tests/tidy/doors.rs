//! The second law: what comes from outside is named behind one door each.
//!
//! Promises that neither an import under another name nor one within a group gets past.

use super::reading::{Broken, ident, names, sources};

/// A door: who may name these words. Folders end in a slash.
struct Door {
    what: &'static str,
    words: &'static [&'static str],
    rooms: &'static [&'static str],
}

const DOORS: [Door; 4] = [
    Door {
        what: "RocksDB is named in src/store/ only",
        words: &["rocksdb::"],
        rooms: &["src/store/"],
    },
    Door {
        what: "openraft is named in src/raft/ only",
        words: &["openraft::"],
        rooms: &["src/raft/"],
    },
    Door {
        what: "tonic is named in proto/, client/, src/rpc/, src/node.rs and the binary only",
        words: &[
            "tonic::",
            "tonic_prost::",
            "tonic_health::",
            "tonic_reflection::",
            "tonic_types::",
        ],
        rooms: &[
            "proto/",
            "client/",
            "src/rpc/",
            "src/node.rs",
            "src/bin/",
            "tests/",
            "benches/",
        ],
    },
    Door {
        what: "OS time and randomness are read in src/clock.rs only (timers are tokio's)",
        words: &[
            "SystemTime",
            "std::time::Instant",
            "getrandom::",
            "rand::",
            "OsRng",
        ],
        // Tests that run real processes measure them with the machine's clock.
        rooms: &[
            "src/clock.rs",
            "tests/cluster/",
            "benches/",
            "evidence/benches/",
            // The program that tells the library what time it is.
            "audit/src/bin/muniment-verify/main.rs",
        ],
    },
];

#[test]
fn what_comes_from_outside_is_named_behind_its_door() {
    let mut broken = Broken::default();
    for source in sources().iter().filter(|source| !source.is_a_law()) {
        for door in &DOORS {
            if door.rooms.iter().any(|room| source.path.starts_with(room)) {
                continue;
            }
            for (line, code) in source.lines() {
                if door.words.iter().any(|word| names(code, word)) || imports(code, door) {
                    broken.note(source, line, door.what);
                }
            }
        }
    }
    broken.tell();
}

/// Apply decides on records alone: were a body read there, replicas could differ, and one
/// that lacks it would stand still.
#[test]
fn i4_the_ledger_never_reaches_for_a_body() {
    let mut broken = Broken::default();
    for source in &sources() {
        for (line, code) in source.lines() {
            let ways = ["crate::bodies", "store::bodies", "BodyStore"];
            if source.path.starts_with("src/ledger/") && ways.iter().any(|way| names(code, way)) {
                broken.note(source, line, "apply never reads a body (I4)");
            }
        }
    }
    broken.tell();
}

/// Imports that name a thing without the `::` behind it.
fn imports(code: &str, door: &Door) -> bool {
    let Some(rest) = code
        .trim_start()
        .trim_start_matches("pub ")
        .strip_prefix("use ")
    else {
        return false;
    };
    let grouped_instant = rest.starts_with("std::time::{")
        && names(rest, "Instant")
        && door.words.contains(&"std::time::Instant");
    let whole = door.words.iter().any(|word| {
        word.strip_suffix("::")
            .is_some_and(|name| ident(rest.trim_start_matches("::")) == name)
    });
    grouped_instant || whole
}

#[test]
fn every_way_through_a_door_is_found() {
    assert!(names("let db = rocksdb::DB::open()", "rocksdb::"));
    assert!(names("use ::rand::Rng;", "rand::"));
    assert!(!names("operand::take()", "rand::"));
    assert!(imports("use std::time::{Duration, Instant};", &DOORS[3]));
    assert!(!imports("use std::time::Duration;", &DOORS[3]));
    assert!(!imports("use tokio::time::{Duration, Instant};", &DOORS[3]));
    assert!(imports("use openraft as raft;", &DOORS[1]));
}
