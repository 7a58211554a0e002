//! Auditors' questions to live nodes, asked as an auditor does: by the command line.

use crate::harness::{Cluster, body, download, issue};
use muniment_evidence::class::FindingClass;
use muniment_evidence::digest::Digest;
use muniment_evidence::trust::Trust;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

struct Auditor<'a> {
    cluster: &'a Cluster,
    dir: &'a Path,
}

impl Auditor<'_> {
    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `muniment evidence … --json`; pinned, and by way of the second node.
    fn asks(&self, words: &[&str], expected: i32) -> Value {
        let trust = self.file("trust", self.cluster.trust.to_string());
        self.asks_of(&trust, words, expected)
    }

    fn asks_of(&self, trust: &str, words: &[&str], expected: i32) -> Value {
        self.asks_with(&["--trust", trust], words, expected)
    }

    fn asks_with(&self, pin: &[&str], words: &[&str], expected: i32) -> Value {
        let endpoint = format!("http://127.0.0.1:{}", self.cluster.nodes[1].ports[0]);
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new(env!("CARGO_BIN_EXE_muniment"))
            .args(["--endpoints", &endpoint, "--json"])
            .args(pin)
            .arg("evidence")
            .args(words)
            .output()
            .unwrap();
        let out = String::from_utf8(stdout).unwrap();
        let err = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(expected), "{words:?}: {out}{err}");
        serde_json::from_str(&out).unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_gets_verified_answers_from_a_live_ledger() {
    let cluster = Cluster::start().await;
    let bytes = body(1, 5000);
    for number in ["Q-1", "Q-2"] {
        let node = &cluster.nodes[0];
        issue(node, number, &format!("r-{number}"), &bytes)
            .await
            .unwrap();
    }
    download(&cluster.nodes[2], "Q-1").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let auditor = Auditor {
        cluster: &cluster,
        dir,
    };

    // Who: the one download, and that there is no other.
    let value = auditor.asks(&["who", "Q-1"], 0);
    assert_eq!(value["proven"], true);
    assert_eq!(value["answer"]["nobody_else"], true, "{value:#}");
    let records = value["answer"]["invoices"][0]["records"].as_array();
    let kinds: Vec<_> = records
        .unwrap()
        .iter()
        .map(|r| &r["record"]["kind"])
        .collect();
    assert_eq!(kinds, ["ISSUE", "DOWNLOAD"]);
    assert_eq!(records.unwrap()[1]["record"]["node"], 3);
    let uid = value["answer"]["invoices"][0]["uid"].as_str().unwrap();
    assert_eq!(auditor.asks(&["who", "--uid", uid], 0)["proven"], true);
    auditor.asks(&["who", "Q-3"], 5);
    auditor.asks(&["who", "Q-1", "--to", "2"], 5);

    // Books.
    let ours = dir.join("ours.csv");
    let ours = ours.to_str().unwrap();
    auditor.asks(&["reconcile", "--write", ours], 0);
    let table = std::fs::read_to_string(ours).unwrap();
    assert!(table.ends_with(",2026-11,,ISSUE,2,0\n"), "{table}");
    auditor.asks(&["reconcile", "--csv", ours], 0);
    let theirs = auditor.file("theirs.csv", table.replace(",2,0", ",3,0"));
    assert_eq!(
        auditor.asks(&["reconcile", "--csv", &theirs], 26)["exit_code"],
        26
    );

    // A sample is the same whoever draws it.
    let draw = [
        "sample", "--count", "1", "--seed", "4 2 6", "--kind", "ISSUE",
    ];
    let value = auditor.asks(&draw, 0);
    assert_eq!(value["answer"]["candidates"], 2);
    assert_eq!(
        auditor.asks(&draw, 0)["answer"]["chosen"],
        value["answer"]["chosen"]
    );
    auditor.asks(&["sample", "--count", "0", "--seed", "s"], 2);

    one_is_proven(&auditor, dir, &bytes).await;

    // Another ledger than the one that is meant.
    let wrong = Trust {
        genesis: Digest([7; 32]),
        ..cluster.trust.clone()
    };
    let wrong = auditor.file("wrong", wrong.to_string());
    assert_eq!(
        auditor.asks_of(&wrong, &["who", "Q-1"], 22)["proven"],
        false
    );

    // Without a pin, whatever is asked: the code of the verifier's own UNPINNED.
    let unpinned = i32::from(FindingClass::Unpinned.exit_code());
    for words in [
        &["receipt", "0"][..],
        &["prove", "Q-1"],
        &["who", "Q-1"],
        &["reconcile", "--write", "/dev/null"],
        &["sample", "--count", "1", "--seed", "s"],
        &["heads"],
    ] {
        auditor.asks_with(&[], words, unpinned);
    }

    heads_are_of_one_history(cluster, dir, &bytes).await;
}

/// One invoice, proven, with its document and with another.
async fn one_is_proven(auditor: &Auditor<'_>, dir: &Path, bytes: &[u8]) {
    let document = auditor.file("a.pdf", bytes);
    let other = auditor.file("b.pdf", b"other");
    let receipt = dir.join("receipt");
    let receipt = receipt.to_str().unwrap();
    // A receipt alone does not show which keys were revoked since; known changes do.
    let bundle = dir.join("known.bundle");
    let bundle = bundle.to_str().unwrap();
    std::fs::write(bundle, auditor.cluster.export(0).await).unwrap();
    let unwitnessed = i32::from(FindingClass::Unwitnessed.exit_code());
    let prove = ["prove", "Q-1", "--document", &document, "-o", receipt];
    auditor.asks(&prove, unwitnessed);
    let value = auditor.asks(&[&prove[..], &["--keys", bundle]].concat(), 0);
    assert_eq!(value["report"]["document_matches"], true);
    assert!(std::fs::metadata(receipt).unwrap().len() > 500);
    auditor.asks(&["prove", "Q-1", "--document", &other], 20);
    auditor.asks(&["prove", "Q-9"], 5);
    assert_eq!(
        auditor.asks(&["prove", "--index", "0"], unwitnessed)["record_index"],
        0
    );
}

/// Every node's head, and the one of before: other sizes, one history.
async fn heads_are_of_one_history(mut cluster: Cluster, dir: &Path, bytes: &[u8]) {
    let auditor = Auditor {
        cluster: &cluster,
        dir,
    };
    let kept = dir.join("kept.note");
    let kept = kept.to_str().unwrap();
    let value = auditor.asks(&["heads", "--save", kept], 0);
    assert_eq!(value["answer"]["heads"].as_array().unwrap().len(), 3);
    issue(&cluster.nodes[0], "Q-4", "r-Q-4", bytes)
        .await
        .unwrap();
    let value = auditor.asks(&["heads", "--against", kept], 0);
    let heads = value["answer"]["heads"].as_array().unwrap();
    assert_eq!(heads.len(), 4);
    assert!(heads[0]["size"].as_u64() < heads[3]["size"].as_u64());
    let junk = auditor.file("junk.note", "junk");
    auditor.asks(&["heads", "--against", &junk], 18);

    // A node that does not answer is not taken to agree.
    cluster.nodes[2].kill();
    let auditor = Auditor {
        cluster: &cluster,
        dir,
    };
    let value = auditor.asks(&["heads", "--against", kept], 6);
    assert_eq!(value["answer"]["agree"], true);
}
