//! Two versions of the software in one cluster: that of the commit in `BASE`, and this one.
//!
//! Promises: a ledger that the old version founded is taken to this one node by node, under load,
//! and nothing acknowledged is lost and no call unanswered; whoever leads, old or new, the replicas
//! stay one; what is above the ledger's level is refused alike; the level rises when every member
//! knows it, and not before; then there is no way back, and the old version says so; what was
//! written is evidence to the old verifier too. `run.sh` builds the old version and names its
//! directory; without it these tests say that they have nothing to compare with. They are part of
//! the binary of `tests/cluster`, since each that runs a node links RocksDB.

mod load;

use crate::bad_member::{Honest, Role, Scene};
use crate::configured::{configs, configs_now};
use crate::deferred;
use crate::harness::{Cluster, LOOK_PAUSE, Node, SOON, Settings, THIS, metric};
use load::Load;
use muniment::ledger::policy::FEATURE_LEVEL;
use muniment::recorder::Intent;
use muniment_evidence::bundle::{BundleParser, Frame};
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::{Document, PlannedDocument};
use muniment_evidence::promise::Promise;
use muniment_evidence::record::{Outcome, Reason, Record};
use muniment_evidence::tenancy::{ConfigDocument, ConfigMoment};
use muniment_proto::v1;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::time::Instant;

/// Where the binaries of the commit in `BASE` are.
const OLD_DIR: &str = "MUNIMENT_UPGRADE_BASE";
/// The level that the old version founds at; the next is this one's.
const BEFORE: u64 = FEATURE_LEVEL - 1;

/// The binaries of the old version, if somebody has built them.
fn old() -> Option<PathBuf> {
    let dir = std::env::var_os(OLD_DIR).map(PathBuf::from);
    if dir.is_none() {
        println!(
            "{OLD_DIR} names no build of tests/upgrade/BASE: nothing is compared; see make upgrade"
        );
    }
    dir
}

/// Three nodes of the old version, and a ledger that they founded.
async fn founded_by(old: &Path) -> Cluster {
    let program = old.join("muniment");
    let of_old = |nodes: &mut [Node]| {
        for node in nodes {
            node.program.clone_from(&program);
        }
    };
    // Callers and both versions share two cores, and nobody is to fail over because of that.
    let settings = Settings {
        cluster: "profile = \"wan\"",
        ..Settings::default()
    };
    let cluster = Cluster::start_prepared(settings, of_old).await;
    for node in &cluster.nodes {
        let status = node.status().await.unwrap();
        let levels = (status.feature_level, status.known_feature_level);
        assert_eq!(levels, (BEFORE, BEFORE), "it is the version before");
    }
    cluster
}

/// Puts this version in the place of the one that a node runs, as an operator does.
async fn renew(cluster: &mut Cluster, at: usize) {
    let node = &mut cluster.nodes[at];
    assert!(node.terminate().success());
    node.program = THIS.into();
    node.start();
    cluster.wait_ready().await;
    let status = cluster.nodes[at].status().await.unwrap();
    let levels = (status.feature_level, status.known_feature_level);
    assert_eq!(levels, (BEFORE, FEATURE_LEVEL));
}

/// Has a node lead; the leader hands over where it does not lag.
async fn lead(cluster: &Cluster, at: usize) {
    let (to, deadline) = (cluster.nodes[at].id, Instant::now() + SOON);
    loop {
        let leader = cluster.leader().await;
        if leader == at {
            return;
        }
        let mut service = cluster.nodes[leader].cluster();
        let asked = service.transfer(v1::TransferRequest { to }).await;
        assert!(
            Instant::now() < deadline,
            "node {to} does not lead: {asked:?}"
        );
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Whoever leads compares the states all the time.
async fn nobody_diverges(cluster: &Cluster) {
    for node in &cluster.nodes {
        let seen = metric(node, "muniment_divergence_total ").await;
        assert_eq!(seen, 0.0, "as node {} sees it", node.id);
        assert!(node.status().await.unwrap().misdeeds.is_empty());
    }
}

async fn raise(cluster: &Cluster) -> Result<String, String> {
    let level = FEATURE_LEVEL.to_string();
    cluster.muniment(&["cluster", "raise-level", &level]).await
}

/// A node that does not know the level could not follow the ledger any more.
async fn is_not_raised(cluster: &Cluster) {
    let why = raise(cluster).await.unwrap_err();
    let said = format!("knows feature levels up to {BEFORE}: renew its software first");
    assert!(why.contains(&said), "{why}");
    let this = PathBuf::from(THIS);
    let mut left = cluster.nodes.iter().filter(|node| node.program != this);
    let named = left.any(|node| why.contains(&format!("node {} (", node.id)));
    assert!(named, "{why}");
}

/// Each promise has its record: the very statement.
fn all_are_kept(promises: &[Vec<u8>], bundle: &[u8]) {
    let mut parser = BundleParser::new();
    parser.push(bundle);
    let mut recorded = HashSet::new();
    while let Some(frame) = parser.next().unwrap() {
        if let Frame::Record(frame) = frame {
            let record = Record::decode(&frame.record).unwrap();
            recorded.insert(record.statement.hash());
        }
    }
    for promise in promises {
        let statement = Promise::decode(promise).unwrap().statement;
        assert!(recorded.contains(&statement.hash()), "{statement:?}");
    }
}

/// What the old verifier says of a bundle and of promises, as its exit code does.
fn old_verifier_agrees(old: &Path, cluster: &Cluster, bundle: &[u8], promises: &[&Vec<u8>]) {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let trust = file("trust", cluster.trust.to_string().as_bytes());
    let bundle = file("bundle", bundle);
    let verifier = |question: &str, about: &Path| {
        let mut command = Command::new(old.join("muniment-verify"));
        command.arg(question).arg(about).arg("--trust").arg(&trust);
        command
    };
    let agrees = |mut command: Command| {
        let done = command.output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{command:?}: {said}");
    };
    agrees(verifier("bundle", &bundle));
    for promise in promises {
        let mut command = verifier("promise", &file("promise", promise));
        command.arg("--bundle").arg(&bundle);
        agrees(command);
    }
}

/// The way of an operator from the old version to this one, and what stops him on the way back.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_taken_to_this_version_node_by_node_and_not_back() {
    let Some(old) = old() else { return };
    let mut cluster = founded_by(&old).await;
    let mut load = Load::start(&cluster);
    load.goes_on().await;
    let leader = cluster.leader().await;
    let [first, second] = [1, 2].map(|n| (leader + n) % 3);

    // The old one leads, and one new one follows; then two.
    renew(&mut cluster, first).await;
    is_not_raised(&cluster).await;
    load.goes_on().await;
    renew(&mut cluster, second).await;
    load.goes_on().await;
    nobody_diverges(&cluster).await;
    // A new one leads, and an old one follows.
    lead(&cluster, first).await;
    load.goes_on().await;
    is_not_raised(&cluster).await;
    nobody_diverges(&cluster).await;
    renew(&mut cluster, leader).await;
    load.goes_on().await;

    // As long as it is not raised the new version does nothing that the old one did not.
    assert!(configs_now(&cluster.nodes[first]).await.is_empty());
    raise(&cluster).await.unwrap();
    let said = configs(&cluster.nodes[second], 3).await;
    let mut nodes: Vec<u64> = said.iter().map(|(r, _)| r.statement.node.get()).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, [1, 2, 3]);
    load.goes_on().await;
    nobody_diverges(&cluster).await;
    let promises = load.end(&cluster).await;

    for node in &cluster.nodes {
        deferred::drained(node).await;
    }
    cluster.settled().await;
    let bundle = cluster.export(first).await;
    all_are_kept(&promises, &bundle);
    // Each takes the whole bundle; the first and the last are of both versions.
    let few: Vec<&Vec<u8>> = promises.iter().step_by(promises.len() / 3).collect();
    for promise in &few {
        let audited = deferred::judge(&cluster, promise, &bundle);
        assert_eq!(audited.exit_code(), 0, "{audited}");
    }
    old_verifier_agrees(&old, &cluster, &bundle, &few);
    does_not_go_back(&mut cluster, second, &old).await;
}

/// The old version would apply what it does not know by other rules.
async fn does_not_go_back(cluster: &mut Cluster, at: usize, old: &Path) {
    let node = &mut cluster.nodes[at];
    assert!(node.terminate().success());
    node.program = old.join("muniment");
    node.start();
    assert_eq!(node.ended().await, Some(78));
    let log = node.log();
    let said = format!("is at feature level {FEATURE_LEVEL}");
    assert!(
        log.contains(&said) && log.contains("start a version that knows"),
        "{log}"
    );
    // Nothing on its disk is other than before.
    node.program = THIS.into();
    node.start();
    cluster.wait_ready().await;
    configs(&cluster.nodes[at], 4).await;
    nobody_diverges(cluster).await;
}

/// Node 1 is of the old version, nodes 2 and 3 of this one; node 3 says what is above the level
/// as a member with valid keys can, once following and once leading.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_above_the_level_is_refused_alike() {
    let Some(old) = old() else { return };
    for role in Role::BOTH {
        let mut cluster = founded_by(&old).await;
        renew(&mut cluster, 1).await;
        let mut scene = Scene::set_on(cluster, role, Honest).await;
        scene.begin();
        for moment in [ConfigMoment::Start, ConfigMoment::Reload] {
            let said = Document::Planned(PlannedDocument::Config(ConfigDocument {
                moment,
                digest: Digest([7; 32]),
                changed: Vec::new(),
            }));
            let recorded = scene.bad.record(Intent::system(said)).await;
            let outcome = recorded.expect("it leaves a record").outcome;
            assert_eq!(outcome, Outcome::Refused(Reason::FeatureLevel));
        }
        let after = scene.judged().await;
        after.blames_no_honest_node().await;
        after.agrees().await;
    }
}
