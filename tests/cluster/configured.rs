//! CONFIG: each node says once for each boot by what it is configured, and nobody raises a ledger
//! that is at the highest level already.

use crate::harness::{Cluster, LOOK_PAUSE, Node, SOON, Settings};
use muniment::config::Config;
use muniment::config::effective::EffectiveConfig;
use muniment::ledger::policy::FEATURE_LEVEL;
use muniment_evidence::opening::{Document, PlannedDocument};
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::report::Verdict;
use muniment_evidence::statement::Lane;
use muniment_evidence::tenancy::{ConfigDocument, ConfigMoment};
use muniment_proto::v1;
use tokio::time::Instant;

/// The CONFIG records in the log, as one node has them.
pub async fn configs_now(node: &Node) -> Vec<(Record, ConfigDocument)> {
    let request = v1::ListRecordsRequest {
        page_size: 1000,
        kinds: vec!["CONFIG".into()],
        ..v1::ListRecordsRequest::default()
    };
    let answer = node.evidence().list_records(request).await.unwrap();
    let records = answer.into_inner().records.into_iter();
    let configs = records.map(|r| match Document::decode(&r.document) {
        Ok(Document::Planned(PlannedDocument::Config(config))) => {
            (Record::decode(&r.record).unwrap(), config)
        }
        other => panic!("{other:?}"),
    });
    configs.collect()
}

/// The same, once there are as many.
pub async fn configs(node: &Node, count: usize) -> Vec<(Record, ConfigDocument)> {
    let deadline = Instant::now() + SOON;
    loop {
        let configs = configs_now(node).await;
        if configs.len() >= count {
            return configs;
        }
        assert!(Instant::now() < deadline, "{count} CONFIGs: {configs:#?}");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_boot_says_once_by_what_its_node_is_configured() {
    let settings = Settings {
        cluster: "profile = \"wan\"",
        limits: "connections = 77",
        ..Settings::default()
    };
    let mut cluster = Cluster::start_with(settings).await;
    let again = (cluster.leader().await + 1) % 3;
    let mut expected: Vec<u64> = cluster.nodes.iter().map(|node| node.id).collect();
    let leader = cluster.leader().await;
    configs(&cluster.nodes[leader], 3).await;
    assert!(cluster.nodes[again].terminate().success());
    cluster.nodes[again].start();
    cluster.wait_ready().await;
    expected.push(cluster.nodes[again].id);
    // One of each boot, and no more of the one before.
    let said = configs(&cluster.nodes[again], 4).await;
    let mut nodes: Vec<u64> = said.iter().map(|(r, _)| r.statement.node.get()).collect();
    nodes.sort_unstable();
    expected.sort_unstable();
    assert_eq!(nodes, expected);
    let mut lanes = Vec::new();
    for (record, config) in &said {
        assert_eq!(record.outcome, Outcome::Ok);
        assert!(matches!(record.statement.lane, Lane::Strict(_)));
        lanes.push((record.statement.node, record.statement.lane));
        let node = cluster
            .nodes
            .iter()
            .find(|n| n.id == record.statement.node.get());
        let file = Config::load(&node.unwrap().config).unwrap();
        assert_eq!(config.moment, ConfigMoment::Start);
        assert_eq!(config.digest, EffectiveConfig::of(&file).digest());
        let changed: Vec<_> = config
            .changed
            .iter()
            .map(|c| (&c.name[..], &c.value[..]))
            .collect();
        let expected = [("cluster.profile", "wan"), ("limits.connections", "77")];
        assert_eq!(changed, expected);
    }
    lanes.sort();
    lanes.dedup();
    assert_eq!(lanes.len(), 4);
    let report = cluster.verify(&cluster.export(again).await);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
}

/// A ledger is founded at the level of the software that founds it, and there is none above.
#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_is_reached_or_not_known_is_not_raised_to() {
    let cluster = Cluster::start().await;
    for node in &cluster.nodes {
        let status = node.status().await.unwrap();
        assert_eq!(status.feature_level, FEATURE_LEVEL);
        assert_eq!(status.known_feature_level, FEATURE_LEVEL);
    }
    let (reached, beyond) = (FEATURE_LEVEL.to_string(), (FEATURE_LEVEL + 1).to_string());
    let why = cluster
        .muniment(&["cluster", "raise-level", &reached])
        .await;
    let why = why.unwrap_err();
    assert!(
        why.contains("at feature level") && why.contains("already"),
        "{why}"
    );
    let why = cluster.muniment(&["cluster", "raise-level", &beyond]).await;
    let why = why.unwrap_err();
    assert!(why.contains("renew its software first"), "{why}");
}
