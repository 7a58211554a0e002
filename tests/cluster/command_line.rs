//! The command line against live nodes, as people and scripts use it: whatever it is fed, and
//! wherever its answers go.
//!
//! Promises: each claim is made of every command or input of its kind. Leaves what a command
//! answers to the tests of its subject.

use crate::harness::{Cluster, SOON, issue};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tokio::time::Instant;

fn muniment(cluster: &Cluster, words: &[&str]) -> Command {
    let endpoint = format!("http://127.0.0.1:{}", cluster.nodes[0].ports[0]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_muniment"));
    command.args(["--endpoints", &endpoint]).args(words);
    command
}

fn ended(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    (code, text(&output.stdout), text(&output.stderr))
}

fn run(cluster: &Cluster, words: &[&str]) -> (i32, String, String) {
    ended(&muniment(cluster, words).output().unwrap())
}

fn log_size(cluster: &Cluster) -> u64 {
    let (code, out, err) = run(cluster, &["evidence", "head", "--json"]);
    assert_eq!(code, 0, "{err}");
    let head: serde_json::Value = serde_json::from_str(&out).unwrap();
    head["size"].as_u64().unwrap()
}

/// Who looks at the exit code alone must not take an answer that was lost for one.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_written_fails_whatever_the_command() {
    let cluster = Cluster::start().await;
    issue(&cluster.nodes[0], "F-1", "r-F-1", b"first")
        .await
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let file = |name: &str| {
        let path = dir.join(name);
        std::fs::write(&path, name).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (a, b, c, d) = (file("a"), file("b"), file("c"), file("d"));
    let (keys, further) = (dir.join("keys"), dir.join("further"));
    let (keys, further) = (keys.to_str().unwrap(), further.to_str().unwrap());
    for words in [
        &["--help"][..],
        &["issue", "--help"],
        &["--version"],
        &[
            "issue",
            &a,
            "--number",
            "F-2",
            "--amount",
            "9",
            "--currency",
            "EUR",
        ],
        &["issue", &b, &c],
        &["get", "F-1"],
        &["list"],
        &["download", "F-1"],
        &["check", &a],
        &["reverse", "F-2", &d, "--number", "F-3"],
        &["add-rendition", "F-1", &d, "--role", "other"],
        &["void", "b", "--reason", "a test"],
        &["watch", "--from", "0", "--count", "1"],
        &["evidence", "head"],
        &["evidence", "tail"],
        &["evidence", "receipt", "0"],
        &["evidence", "trust"],
        &["evidence", "policy"],
        &["evidence", "export"],
        &["evidence", "prove", "F-1"],
        &["evidence", "who", "F-1"],
        &["evidence", "reconcile", "--write", "/dev/null"],
        &["evidence", "sample", "--count", "1", "--seed", "s"],
        &["evidence", "heads"],
        &["keys", "list"],
        &["cluster", "status"],
        &["cluster", "scrub", "1"],
        &["keygen", "--out", keys],
        &[
            "witness",
            "keygen",
            "--dir",
            further,
            "--name",
            "w.example/1",
        ],
        &[
            "check-config",
            "--config",
            cluster.nodes[0].config.to_str().unwrap(),
        ],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = muniment(&cluster, words).stdout(full).output().unwrap();
        let (code, _, err) = ended(&output);
        assert_eq!(code, 1, "{words:?}: {err}");
        assert!(
            !err.contains("panicked") && !err.is_empty(),
            "{words:?}: {err}"
        );
    }
    // A reader who has read enough: quietly, and a silent ledger does not hold it up.
    let mut watch = muniment(&cluster, &["watch", "--from", "0"]);
    let watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut watch = watch.spawn().unwrap();
    let mut first = String::new();
    let mut reader = BufReader::new(watch.stdout.take().unwrap());
    reader.read_line(&mut first).unwrap();
    assert!(first.contains("F-1"), "{first}");
    drop(reader);
    let until = Instant::now() + SOON;
    while watch.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "watch goes on for nobody");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let (code, _, err) = ended(&watch.wait_with_output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""));
}

fn fifo(path: &Path, bytes: &[u8]) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
    let (path, bytes) = (path.to_owned(), bytes.to_owned());
    std::thread::spawn(move || std::fs::write(path, bytes).unwrap());
}

/// An empty document under a verified receipt stays for ever.
#[tokio::test(flavor = "multi_thread")]
async fn every_input_is_stored_whole_or_nothing_is_recorded() {
    let cluster = Cluster::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let body = vec![7_u8; 700_000];
    let pipes: Vec<String> = ["issue", "reverse", "rendition"]
        .map(|name| dir.join(name))
        .iter()
        .map(|path| {
            fifo(path, &body);
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let priced = ["--amount", "12.34", "--currency", "EUR"];
    let stdin = ["issue", "/dev/stdin", "--number", "P-2", "--json"];
    let mut from_stdin = muniment(&cluster, &stdin);
    let from_stdin = from_stdin.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut from_stdin = from_stdin.spawn().unwrap();
    from_stdin.stdin.take().unwrap().write_all(&body).unwrap();
    let stored = [
        run(
            &cluster,
            &[
                &["issue", &pipes[0], "--number", "P-1", "--json"],
                &priced[..],
            ]
            .concat(),
        ),
        ended(&from_stdin.wait_with_output().unwrap()),
        run(
            &cluster,
            &["reverse", "P-1", &pipes[1], "--number", "P-3", "--json"],
        ),
        run(
            &cluster,
            &["add-rendition", "P-1", &pipes[2], "--role", "x", "--json"],
        ),
    ];
    for (code, out, err) in stored {
        assert_eq!(code, 0, "{err}");
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        for rendition in value["invoice"]["renditions"].as_array().unwrap() {
            assert_eq!(rendition["length"], 700_000, "{value:#}");
        }
    }
    // What the reversal took off, although it did not say how much.
    let table = dir.join("ours.csv");
    let words = ["evidence", "reconcile", "--write", table.to_str().unwrap()];
    assert_eq!(run(&cluster, &words).0, 3);
    let table = std::fs::read_to_string(table).unwrap();
    assert!(table.contains(",EUR,REVERSE,1,-12.34\n"), "{table}");

    let before = log_size(&cluster);
    let missing = dir.join("missing");
    let empty = dir.join("empty");
    std::fs::write(&empty, "").unwrap();
    for input in [
        "/dev/null",
        "/dev/zero",
        dir.to_str().unwrap(),
        missing.to_str().unwrap(),
        empty.to_str().unwrap(),
    ] {
        for words in [
            &["issue", input, "--number", "P-4"][..],
            &["reverse", "P-2", input, "--number", "P-5"],
            &["add-rendition", "P-2", input, "--role", "y"],
        ] {
            let (code, out, _) = run(&cluster, words);
            assert!(
                [1, 2, 5].contains(&code) && out.is_empty(),
                "{words:?}: {code}"
            );
        }
    }
    assert_eq!(log_size(&cluster), before, "something was recorded");
    let allowed = [
        "issue",
        empty.to_str().unwrap(),
        "--number",
        "P-6",
        "--allow-empty",
    ];
    assert_eq!(run(&cluster, &allowed).0, 0);
}

/// With one of three away, `issuing goes on` of the others would be wrong in an emergency.
#[tokio::test(flavor = "multi_thread")]
async fn status_counts_who_is_away_already() {
    let mut cluster = Cluster::start().await;
    let says = |cluster: &Cluster| run(cluster, &["cluster", "status"]).1;
    let until = Instant::now() + SOON;
    while says(&cluster).matches("issuing goes on").count() < 3 {
        assert!(Instant::now() < until, "{}", says(&cluster));
    }
    cluster.nodes[2].kill();
    let until = Instant::now() + SOON;
    loop {
        let said = says(&cluster);
        let counts = ["issuing goes on", "nothing can be issued then"]
            .map(|words| said.matches(words).count());
        if counts == [1, 2] {
            break;
        }
        assert!(Instant::now() < until, "{said}");
    }
}

/// A check that makes the data directory makes it for whoever ran the check.
#[tokio::test(flavor = "multi_thread")]
async fn check_config_changes_nothing_on_disk() {
    let mut cluster = Cluster::start().await;
    let node = &mut cluster.nodes[1];
    node.terminate();
    let tree = |root: &Path| {
        let mut all = std::collections::BTreeMap::new();
        let mut left = vec![root.to_owned()];
        while let Some(path) = left.pop() {
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                left.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            }
            all.insert(path, (metadata.len(), metadata.modified().unwrap()));
        }
        all
    };
    for wiped in [false, true] {
        if wiped {
            node.wipe();
        }
        let before = tree(&node.dir);
        let mut check = Command::new(env!("CARGO_BIN_EXE_muniment"));
        let check = check.args(["check-config", "--config"]).arg(&node.config);
        let (code, out, err) = ended(&check.output().unwrap());
        assert_eq!(code, 0, "{out}{err}");
        assert_eq!(tree(&node.dir), before);
    }
}
