//! ML-DSA cosignatures of real nodes: announced, given, and asked for by a policy.

use crate::harness::{Cluster, Node, Settings, body, issue};
use muniment::keyring::ml_dsa::fingerprint;
use muniment_evidence::note::{Note, TypedKey};
use muniment_evidence::policy::Policy;
use muniment_evidence::receipt::Receipt;
use muniment_proto::v1;
use std::process::Command;
use tonic::{Code, Status};

/// As its operator does it; the fingerprint of the key, as it is printed.
fn switch_on(node: &Node) -> String {
    let made = Command::new(env!("CARGO_BIN_EXE_muniment"))
        .args(["--json", "keygen", "--post-quantum", "--out"])
        .arg(node.dir.join("keys"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let text = std::fs::read_to_string(&node.config).unwrap();
    let on = text.replace("[keys]\n", "[keys]\npost_quantum = true\n");
    assert_ne!(on, text);
    std::fs::write(&node.config, on).unwrap();
    made["sha256"].as_str().unwrap().to_owned()
}

async fn policy(node: &Node, zones: u32) -> Result<Policy, Status> {
    let wanted = v1::GetPolicyRequest {
        zones,
        post_quantum: true,
    };
    let given = node.evidence().get_policy(wanted).await?;
    Ok(Policy::parse(&given.into_inner().policy).unwrap())
}

/// Both keys of every node are asked for, whichever node is asked, and a receipt has them.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_pins_ml_dsa_keys_is_met_by_real_nodes() {
    let mut made = Vec::new();
    let prepare = |nodes: &mut [Node]| made.extend(nodes.iter().map(switch_on));
    let cluster = Cluster::start_prepared(Settings::default(), prepare).await;
    issue(&cluster.nodes[0], "Q-1", "Q-1", &body(1, 3000))
        .await
        .unwrap();
    let all = policy(&cluster.nodes[0], 3).await.unwrap();
    for node in &cluster.nodes[1..] {
        assert_eq!(policy(node, 3).await.unwrap(), all);
    }
    let mut quantum: Vec<String> = all
        .witnesses()
        .iter()
        .filter_map(|witness| match &witness.key.key {
            TypedKey::MlDsaCosigner(key) => Some(fingerprint(key)),
            _ => None,
        })
        .collect();
    made.sort();
    quantum.sort();
    assert_eq!(quantum, made);
    assert_eq!(all.witnesses().len(), 6);
    let wanted = v1::GetReceiptRequest {
        what: Some(v1::get_receipt_request::What::RecordIndex(4)),
        policy: all.to_string(),
        ..Default::default()
    };
    let given = cluster.nodes[1].evidence().get_receipt(wanted).await;
    let receipt = given.unwrap().into_inner().receipt.unwrap();
    let receipt = Receipt::decode(&receipt.bytes).unwrap();
    let note = Note::parse(receipt.checkpoint.as_bytes()).unwrap();
    let verdict = all.evaluate(&note);
    assert!(verdict.is_met(), "{:?}", verdict.missing);
    assert_eq!(verdict.cosigned.len(), 6);
}

/// A policy that left a node out in silence would count fewer zones than it says.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_an_ml_dsa_key_is_named() {
    let prepare = |nodes: &mut [Node]| {
        for node in &nodes[..2] {
            switch_on(node);
        }
    };
    let cluster = Cluster::start_prepared(Settings::default(), prepare).await;
    let refusal = policy(&cluster.nodes[0], 0).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable);
    assert!(refusal.message().contains("node 3"), "{refusal}");
}
