//! ML-DSA cosignatures of real nodes: announced, given, and asked for by a policy.

use crate::harness::{Cluster, Node, Settings, body, issue};
use muniment::clock::SystemClock;
use muniment::keyring;
use muniment_evidence::note::{Note, TypedKey};
use muniment_evidence::policy::Policy;
use muniment_evidence::receipt::Receipt;
use muniment_proto::v1;
use tonic::{Code, Status};

fn switch_on(node: &Node) {
    keyring::ml_dsa::generate(&node.dir.join("keys"), &SystemClock).unwrap();
    let text = std::fs::read_to_string(&node.config).unwrap();
    let on = text.replace("[keys]\n", "[keys]\npost_quantum = true\n");
    assert_ne!(on, text);
    std::fs::write(&node.config, on).unwrap();
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
    let prepare = |nodes: &mut [Node]| nodes.iter().for_each(switch_on);
    let cluster = Cluster::start_prepared(Settings::default(), prepare).await;
    issue(&cluster.nodes[0], "Q-1", "Q-1", &body(1, 3000))
        .await
        .unwrap();
    let all = policy(&cluster.nodes[0], 3).await.unwrap();
    for node in &cluster.nodes[1..] {
        assert_eq!(policy(node, 3).await.unwrap(), all);
    }
    let quantum = all
        .witnesses()
        .iter()
        .filter(|witness| matches!(witness.key.key, TypedKey::MlDsaCosigner(_)));
    assert_eq!((quantum.count(), all.witnesses().len()), (3, 6));
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
    let prepare = |nodes: &mut [Node]| nodes[..2].iter().for_each(switch_on);
    let cluster = Cluster::start_prepared(Settings::default(), prepare).await;
    let refusal = policy(&cluster.nodes[0], 0).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable);
    assert!(refusal.message().contains("node 3"), "{refusal}");
}
