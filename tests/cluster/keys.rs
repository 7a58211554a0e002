//! Keys of a live ledger: rotated without one failed verification, and revoked.

use crate::harness::{Cluster, Node, SOON, Settings, body, download, issue};
use bytes::Bytes;
use muniment::clock::SystemClock;
use muniment::keyring;
use muniment_client::v1;
use muniment_evidence::digest::{Digest, hex};
use muniment_evidence::endorsement::Endorsements;
use muniment_evidence::ids::{NodeId, RecordIndex, UploadEpoch};
use muniment_evidence::key::{PublicKey, SecretKey, Signer as _};
use muniment_evidence::keychange::{Action, KeyChange, KeyDocument, Role};
use muniment_evidence::note::{Note, VerifierKey, Vouch};
use muniment_evidence::opening::Document;
use muniment_evidence::policy::Policy;
use muniment_evidence::report::{Report, Verdict};
use muniment_evidence::trust::Trust;
use muniment_evidence::verify::{self, Expected};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;

fn check(receipt: &[u8], trust: &Trust, policy: Option<&Policy>) -> Report {
    let expected = Expected {
        trust: Some(trust),
        policy,
        ..Expected::default()
    };
    verify::receipt(receipt, expected)
}

async fn keys(node: &Node) -> v1::GetKeysResponse {
    let answer = node.cluster().get_keys(v1::GetKeysRequest {}).await;
    answer.unwrap().into_inner()
}

fn change(action: Action, role: Role, node: u64, zone: &str, key: PublicKey) -> KeyChange {
    let place = action == Action::Add && role.is_nodes();
    KeyChange {
        action,
        role,
        node: NodeId::new(node),
        region: if place {
            "region-1".to_owned()
        } else {
            String::new()
        },
        zone: if place {
            zone.to_owned()
        } else {
            String::new()
        },
        key,
    }
}

/// Draws up, endorses with the keys given, and submits.
async fn submit(
    at: &Node,
    changes: Vec<KeyChange>,
    endorsers: &[&SecretKey],
) -> Result<u64, tonic::Status> {
    let known = keys(at).await;
    let mut document = KeyDocument {
        serial: known.serial,
        changes,
        threshold: known.threshold as u8,
        endorsements: Endorsements::new(
            RecordIndex::new(known.after),
            Digest(known.leaf.as_ref().try_into().unwrap()),
            u64::MAX,
        ),
    };
    let ledger = Digest(known.ledger.as_ref().try_into().unwrap());
    for key in endorsers {
        document.endorse(&ledger, *key);
    }
    let change = Bytes::from(Document::Key(document).encode());
    let request = v1::ChangeKeysRequest { change };
    let answer = at.cluster().change_keys(request).await?;
    Ok(answer.into_inner().record_index)
}

/// The statement keys of nodes 1 and 2: more than half of the founding members decide.
fn deciders(cluster: &Cluster) -> [SecretKey; 2] {
    let key = |at: usize| {
        let file = cluster.nodes[at].dir.join("keys/statement.key");
        keyring::read_key(&file).unwrap()
    };
    [key(0), key(1)]
}

fn further(dir: &Path, role: Role) -> SecretKey {
    let (path, _) = keyring::generate_further(dir, role, &SystemClock).unwrap();
    keyring::read_key(&path).unwrap()
}

async fn receipt(node: &Node, request: v1::GetReceiptRequest) -> Bytes {
    let answer = node.evidence().get_receipt(request).await.unwrap();
    answer.into_inner().receipt.unwrap().bytes
}

fn of_record(index: u64) -> v1::GetReceiptRequest {
    v1::GetReceiptRequest {
        what: Some(v1::get_receipt_request::What::RecordIndex(index)),
        ..Default::default()
    }
}

/// Issues and downloads all the time; every receipt is verified at once and kept.
struct Traffic {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    receipts: Arc<Mutex<Vec<Bytes>>>,
    running: tokio::task::JoinHandle<()>,
}

impl Traffic {
    fn start(cluster: &Cluster) -> Traffic {
        let nodes: Vec<Node> = cluster.nodes.iter().map(Node::probe).collect();
        let trust = cluster.trust.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let receipts = Arc::new(Mutex::new(Vec::new()));
        let (stopped, counted, kept) = (stop.clone(), done.clone(), receipts.clone());
        let running = tokio::spawn(async move {
            let mut n = 0;
            while !stopped.load(Ordering::SeqCst) {
                n += 1;
                let number = format!("T-{n}");
                let at = &nodes[n as usize % 2];
                // A node that is being restarted refuses; whatever it gives out must hold.
                let Ok(issued) = issue(at, &number, &number, &body(n, 500)).await else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let bytes = issued.receipt.unwrap().bytes;
                assert_eq!(check(&bytes, &trust, None).findings, []);
                kept.lock().unwrap().push(bytes);
                if let Ok((header, _, _)) = download(at, &number).await {
                    let bytes = header.receipt.unwrap().bytes;
                    assert_eq!(check(&bytes, &trust, None).findings, []);
                    kept.lock().unwrap().push(bytes);
                }
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Traffic {
            stop,
            done,
            receipts,
            running,
        }
    }

    /// Until some more invoices were issued.
    async fn goes_on(&self) {
        let (before, deadline) = (self.done.load(Ordering::SeqCst), Instant::now() + SOON);
        while self.done.load(Ordering::SeqCst) < before + 5 {
            assert!(Instant::now() < deadline, "nothing is issued any more");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn end(self) -> Vec<Bytes> {
        self.stop.store(true, Ordering::SeqCst);
        self.running.await.unwrap();
        std::mem::take(&mut self.receipts.lock().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_live_ledger_are_rotated_without_one_failed_verification() {
    let mut cluster = Cluster::start().await;
    let trust = cluster.trust.clone();
    let traffic = Traffic::start(&cluster);
    traffic.goes_on().await;
    let early = receipt(&cluster.nodes[0], of_record(4)).await;

    // A second log key: first its file on every voter, then the change, then the overlap.
    let dirs: Vec<_> = cluster.nodes.iter().map(|n| n.dir.join("keys")).collect();
    let old_log = keyring::read_key(&dirs[0].join("log.key")).unwrap();
    let new_log = further(&dirs[0], Role::Log);
    let file = std::fs::read_dir(&dirs[0])
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("log-"))
        .unwrap();
    for dir in &dirs[1..] {
        std::fs::copy(&file, dir.join(file.file_name().unwrap())).unwrap();
    }
    let add = change(Action::Add, Role::Log, 0, "", new_log.public());
    let [one, two] = deciders(&cluster);
    let added = submit(&cluster.nodes[1], vec![add], &[&new_log, &one, &two])
        .await
        .unwrap();
    traffic.goes_on().await;
    // Who pins either key with stock tools is served.
    let head = v1::GetCheckpointRequest::default();
    for node in &cluster.nodes {
        let note = node.evidence().get_checkpoint(head.clone()).await.unwrap();
        let note = Note::parse(note.into_inner().note.as_bytes()).unwrap();
        for key in [&old_log, &new_log] {
            let key = VerifierKey::log(&trust.origin, key.public());
            assert_eq!(note.vouch(&key), Vouch::Signed);
        }
    }
    let retire = change(Action::RETIRE, Role::Log, 0, "", old_log.public());
    let retired = submit(&cluster.nodes[2], vec![retire], &[&one, &two])
        .await
        .unwrap();
    traffic.goes_on().await;
    let note = cluster.nodes[0]
        .evidence()
        .get_checkpoint(head.clone())
        .await
        .unwrap();
    let note = Note::parse(note.into_inner().note.as_bytes()).unwrap();
    let old = VerifierKey::log(&trust.origin, old_log.public());
    assert_eq!(note.vouch(&old), Vouch::Absent);

    rotate_a_nodes_keys(&mut cluster, &traffic).await;

    let receipts = traffic.end().await;
    // All that was given out on the way holds at the end, and so does the whole log.
    for bytes in receipts.iter().chain([&early]) {
        assert_eq!(check(bytes, &trust, None).findings, []);
    }
    let report = cluster.verify(&cluster.export(2).await);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
    assert_eq!(report.keys.len(), 4);
    // First receipts are the same bytes from every replica, whichever keys were in force.
    for index in [4, added, retired, retired + 5] {
        let first = receipt(&cluster.nodes[0], of_record(index)).await;
        for node in &cluster.nodes[1..] {
            assert_eq!(
                receipt(node, of_record(index)).await,
                first,
                "record {index}"
            );
        }
    }
    assert_eq!(receipt(&cluster.nodes[1], of_record(4)).await, early);
    an_old_record_stands_under_new_keys(&cluster, &old_log).await;
}

/// Node 3's own keys: the cosignature key at once, the statement key at its next start.
async fn rotate_a_nodes_keys(cluster: &mut Cluster, traffic: &Traffic) {
    let [one, two] = deciders(cluster);
    let dir = cluster.nodes[2].dir.join("keys");
    let (id, zone) = (cluster.nodes[2].id, cluster.nodes[2].zone.clone());
    let ring = keyring::Keyring::load(&dir).unwrap();
    let (statement, cosignature) = (
        further(&dir, Role::Statement),
        further(&dir, Role::Cosignature),
    );
    let adds = vec![
        change(Action::Add, Role::Statement, id, &zone, statement.public()),
        change(
            Action::Add,
            Role::Cosignature,
            id,
            &zone,
            cosignature.public(),
        ),
    ];
    let endorsers = [&statement, &cosignature, &one, &two];
    submit(&cluster.nodes[0], adds, &endorsers).await.unwrap();
    let old_statement = ring.public(Role::Statement)[0];
    let retire = |key| {
        change(
            Action::Retire {
                last_epoch: UploadEpoch::new(1),
            },
            Role::Statement,
            id,
            "",
            key,
        )
    };
    // Not while the node runs under it.
    let early_retire = submit(
        &cluster.nodes[0],
        vec![retire(old_statement)],
        &[&one, &two],
    )
    .await;
    assert_eq!(early_retire.unwrap_err().code(), Code::FailedPrecondition);
    traffic.goes_on().await;
    cluster.nodes[2].terminate();
    cluster.nodes[2].start();
    cluster.wait_ready().await;
    traffic.goes_on().await;
    let old_cosignature = ring.public(Role::Cosignature)[0];
    let retires = vec![
        retire(old_statement),
        change(Action::RETIRE, Role::Cosignature, id, "", old_cosignature),
    ];
    submit(&cluster.nodes[1], retires, &[&one, &two])
        .await
        .unwrap();
    traffic.goes_on().await;
    issue(&cluster.nodes[2], "by-3", "by-3", b"a body")
        .await
        .unwrap();
}

/// An old record under the keys of today, and cosigned with node 3's new key.
async fn an_old_record_stands_under_new_keys(cluster: &Cluster, old_log: &SecretKey) {
    let trust = &cluster.trust;
    let policy = v1::GetPolicyRequest {
        zones: 3,
        post_quantum: false,
    };
    let policy = cluster.nodes[0]
        .evidence()
        .get_policy(policy)
        .await
        .unwrap();
    let policy = policy.into_inner().policy;
    assert!(!policy.contains(&VerifierKey::log(&trust.origin, old_log.public()).to_string()));
    let request = v1::GetReceiptRequest {
        policy: policy.clone(),
        fresh: true,
        ..of_record(4)
    };
    let refreshed = receipt(&cluster.nodes[1], request).await;
    let policy = Policy::parse(&policy).unwrap();
    let report = check(&refreshed, trust, Some(&policy));
    assert_eq!((report.findings.len(), report.policy_met), (0, Some(true)));
    assert_eq!(report.keys.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_speaks_no_more_and_a_missing_one_is_told() {
    let mut cluster = Cluster::start().await;
    let dirs: Vec<_> = cluster.nodes.iter().map(|n| n.dir.join("keys")).collect();
    let log = keyring::read_key(&dirs[0].join("log.key")).unwrap();
    for n in 0..3u64 {
        let number = format!("R-{n}");
        issue(&cluster.nodes[n as usize], &number, &number, &body(n, 100))
            .await
            .unwrap();
    }
    let thief = SecretKey::from_seed(&[7; 32]);
    let [one, two] = deciders(&cluster);
    // Unendorsed, or endorsed by a stranger, by the log key that every voter has, or by one
    // member, nothing changes.
    let add = change(Action::Add, Role::Log, 0, "", thief.public());
    for endorsers in [vec![&thief], vec![&thief, &log], vec![&thief, &one], vec![]] {
        let refused = submit(&cluster.nodes[0], vec![add.clone()], &endorsers).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    }
    // Node 3's statement key is stolen: it is revoked from now on.
    let stolen = keyring::Keyring::load(&dirs[2])
        .unwrap()
        .public(Role::Statement)[0];
    let fresh = further(&dirs[2], Role::Statement);
    let (id, zone) = (cluster.nodes[2].id, cluster.nodes[2].zone.clone());
    let revoke = Action::Revoke {
        trusted_until: RecordIndex::new(u64::MAX),
    };
    let changes = vec![
        change(revoke, Role::Statement, id, "", stolen),
        change(Action::Add, Role::Statement, id, &zone, fresh.public()),
    ];
    submit(&cluster.nodes[0], changes, &[&fresh, &one, &two])
        .await
        .unwrap();
    // Its lane is closed: it says nothing under the stolen key, and starts anew under the
    // fresh one.
    let refused = issue(&cluster.nodes[2], "R-9", "R-9", b"body").await;
    assert!(refused.is_err());
    if cluster.nodes[2].status().await.is_ok() {
        cluster.nodes[2].terminate();
    } else {
        cluster.nodes[2].ended().await;
    }
    cluster.nodes[2].start();
    cluster.wait_ready().await;
    issue(&cluster.nodes[2], "R-9", "R-9", b"body")
        .await
        .unwrap();
    let report = cluster.verify(&cluster.export(0).await);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");

    // A log key whose file is missing on a node: the node says so, and mends by itself.
    let further_log = further(&dirs[0], Role::Log);
    let add = change(Action::Add, Role::Log, 0, "", further_log.public());
    submit(&cluster.nodes[0], vec![add], &[&further_log, &one, &two])
        .await
        .unwrap();
    let lacks = |status: &v1::StatusResponse| {
        !status.ready && status.reasons.iter().any(|why| why.contains("log key"))
    };
    let without = &cluster.nodes[1];
    // Asked for a receipt, it knows.
    let asked = without.evidence().get_receipt(of_record(1)).await;
    drop(asked);
    let head = v1::GetCheckpointRequest::default();
    let refused = without
        .evidence()
        .get_checkpoint(head.clone())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    without.wait_status("it lacks the key", lacks).await;
    let file = std::fs::read_dir(&dirs[0])
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("log-"))
        .unwrap();
    for dir in &dirs[1..] {
        std::fs::copy(&file, dir.join(file.file_name().unwrap())).unwrap();
    }
    let deadline = Instant::now() + SOON;
    while let Err(status) = without.evidence().get_checkpoint(head.clone()).await {
        assert_eq!(status.code(), Code::Unavailable);
        assert!(Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (_, whole, _) = download(&cluster.nodes[1], "R-9").await.unwrap();
    assert_eq!(whole, b"body");
}

/// Whoever has the log key, which is on every voter, changes nothing where GENESIS names
/// root keys.
#[tokio::test(flavor = "multi_thread")]
async fn offline_root_keys_decide_where_there_are_any() {
    let roots: Vec<SecretKey> = (1..=3).map(|n| SecretKey::from_seed(&[n; 32])).collect();
    let cluster = Cluster::start_with(Settings {
        root_keys: roots.iter().map(SecretKey::public).collect(),
        root_threshold: 2,
        ..Settings::default()
    })
    .await;
    let node = &cluster.nodes[0];
    let log = keyring::read_key(&node.dir.join("keys/log.key")).unwrap();
    let fresh = SecretKey::from_seed(&[11; 32]);
    let (id, zone) = (cluster.nodes[1].id, cluster.nodes[1].zone.clone());
    let add = change(Action::Add, Role::Cosignature, id, &zone, fresh.public());
    for too_few in [
        vec![&fresh, &log],
        vec![&fresh, &roots[0]],
        vec![&roots[0], &roots[1]],
    ] {
        let refused = submit(node, vec![add.clone()], &too_few).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    }
    let enough = [&fresh, &roots[0], &roots[2]];
    submit(node, vec![add], &enough).await.unwrap();
    // A root key is replaced by the two others.
    let next = SecretKey::from_seed(&[12; 32]);
    let changes = vec![
        change(Action::Add, Role::Root, 0, "", next.public()),
        change(Action::RETIRE, Role::Root, 0, "", roots[0].public()),
    ];
    let by_others = [&next, &roots[1], &roots[2]];
    submit(node, changes, &by_others).await.unwrap();
    let known = keys(node).await;
    assert_eq!((known.serial, known.threshold), (2, 2));
    let retire = change(Action::RETIRE, Role::Cosignature, id, "", fresh.public());
    let by_retired = submit(node, vec![retire.clone()], &[&roots[0], &roots[1]]).await;
    assert_eq!(by_retired.unwrap_err().code(), Code::InvalidArgument);
    submit(node, vec![retire], &[&next, &roots[1]])
        .await
        .unwrap();
    issue(node, "root", "root", b"a body").await.unwrap();
    let report = cluster.verify(&cluster.export(2).await);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
    assert_eq!(report.keys.len(), 3);
}

/// Each step as docs/operating.md has it: "The log key", then "Add a node".
#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_added_after_the_log_key_was_rotated() {
    let mut cluster = Cluster::start().await;
    let dirs: Vec<_> = cluster.nodes.iter().map(|n| n.dir.join("keys")).collect();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let keygen = ["keygen", "--out", &text(&dirs[0]), "--add", "log", "--json"];
    let made = cluster.muniment(&keygen).await.unwrap();
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let file = made["file"].as_str().unwrap();
    let name = Path::new(file).file_name().unwrap().to_str().unwrap();
    for dir in &dirs[1..] {
        std::fs::copy(file, dir.join(name)).unwrap();
    }
    let draft = text(&cluster.nodes[0].dir.join("change.json"));
    let members = [0, 1].map(|at| text(&dirs[at].join("statement.key")));
    let old = hex(&keyring::read_key(&dirs[0].join("log.key"))
        .unwrap()
        .public()
        .0);
    for (change, value) in [("--add", format!("log:{file}")), ("--retire", old)] {
        let drawn = ["keys", "draft", change, &value, "-o", &draft];
        cluster.muniment(&drawn).await.unwrap();
        let [one, two] = &members;
        let endorse = ["keys", "endorse", &draft, "--with", one, "--with", two];
        cluster.muniment(&endorse).await.unwrap();
        cluster.muniment(&["keys", "submit", &draft]).await.unwrap();
    }

    let four = cluster.add_node("zone-4").await;
    cluster.nodes[four].terminate();
    let copied = cluster.nodes[four].dir.join("keys").join(name);
    std::fs::copy(file, copied).unwrap();
    cluster.nodes[four].start();
    // Neither a log key nor one member lets anybody in, and the message says so.
    for too_few in [file, &members[0]] {
        let refused = cluster.admit_with(four, &[too_few.to_owned()]).await;
        let refused = refused.unwrap_err();
        assert!(
            refused.contains("2 members must endorse the change"),
            "{refused}"
        );
    }
    cluster.admit(four).await.unwrap();
    cluster.add(four, &[]).await.unwrap();
    cluster.wait_ready().await;
    let id = cluster.nodes[four].id.to_string();
    cluster
        .muniment(&["cluster", "promote", &id])
        .await
        .unwrap();
    issue(&cluster.nodes[four], "by-4", "by-4", b"a body")
        .await
        .unwrap();
    // It has the retired key too, so it makes the old receipts as the others do.
    let early = receipt(&cluster.nodes[0], of_record(1)).await;
    assert_eq!(receipt(&cluster.nodes[four], of_record(1)).await, early);
}
