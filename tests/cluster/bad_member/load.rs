//! Issues at the honest nodes, beside a deed, and what must be so afterwards.

use super::member::{BadMember, CULPRIT, Role, Twist};
use crate::harness::{Cluster, LOOK_PAUSE, Node, SOON, body, issue, key, metric};
use muniment_evidence::report::Verdict;
use muniment_evidence::verify::{self, Expected};
use muniment_proto::v1;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Issues a second.
const RATE: u32 = 50;
/// What an invoice service waits for.
const CALL_MAX: Duration = Duration::from_secs(5);
/// From the deed until calls must succeed again.
const RECOVERY_MAX: Duration = Duration::from_secs(2);
/// How long they are watched after that.
const WATCHED: Duration = Duration::from_secs(2);
/// Of the calls begun then, how many of a hundred must succeed.
const SUCCEED_MIN: usize = 95;

/// One issue, as its caller saw it.
struct Call {
    number: String,
    begun: Instant,
    /// Absent while it is under way.
    answered: Option<Result<v1::IssueResponse, String>>,
}

/// A cluster with a bad member, under load.
pub struct Scene {
    pub cluster: Cluster,
    pub bad: BadMember,
    role: Role,
    calls: Arc<Mutex<Vec<Call>>>,
    load: JoinHandle<()>,
    deed_at: Option<Instant>,
    /// What a verifier is to say of the whole log.
    log_is: Verdict,
}

impl Scene {
    /// Two honest nodes and the culprit, who leads where its role says so; issues go on.
    pub async fn set(role: Role, twist: impl Twist) -> Scene {
        Scene::set_on(Cluster::start().await, role, twist).await
    }

    /// The same on a cluster that has been prepared, all of whose nodes run.
    pub async fn set_on(mut cluster: Cluster, role: Role, twist: impl Twist) -> Scene {
        cluster.nodes[2].terminate();
        let bad = BadMember::start(&cluster.nodes[2], twist).await;
        let leader = match role {
            Role::Leader => CULPRIT,
            Role::Follower => 1,
        };
        lead(&cluster.nodes[0], leader).await;
        let calls = Arc::default();
        let honest: Vec<Node> = cluster.nodes[..2].iter().map(Node::probe).collect();
        let load = tokio::spawn(issue_on_and_on(honest, Arc::clone(&calls)));
        let scene = Scene {
            cluster,
            bad,
            role,
            calls,
            load,
            deed_at: None,
            log_is: Verdict::Verified,
        };
        scene.acknowledged_from(Instant::now()).await;
        scene
    }

    /// The deed is in the log for ever, and verifiers are to find it there.
    pub fn log_is(&mut self, verdict: Verdict) {
        self.log_is = verdict;
    }

    /// The deed begins.
    pub fn begin(&mut self) {
        self.deed_at = Some(Instant::now());
        self.bad.begin();
    }

    /// Waits until an issue that was begun after this was acknowledged.
    pub async fn acknowledged_from(&self, from: Instant) {
        let deadline = Instant::now() + SOON;
        let acknowledged = |call: &Call| call.begun >= from && matches!(call.answered, Some(Ok(_)));
        while !self.calls.lock().unwrap().iter().any(acknowledged) {
            assert!(Instant::now() < deadline, "nothing is acknowledged");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Watches on, and looks at all that must be so.
    pub async fn judged(self) -> Aftermath {
        let deed_at = self.deed_at.expect("a deed was begun");
        let from = deed_at + RECOVERY_MAX;
        tokio::time::sleep_until(from + WATCHED).await;
        self.load.abort();
        self.all_answered().await;
        let calls = std::mem::take(&mut *self.calls.lock().unwrap());
        let after: Vec<&Call> = calls.iter().filter(|call| call.begun >= from).collect();
        let failed: Vec<&String> = after
            .iter()
            .filter_map(|call| call.answered.as_ref()?.as_ref().err())
            .collect();
        let (all, role) = (after.len(), self.role);
        assert!(all as u32 >= RATE, "{role:?}: only {all} calls were made");
        let succeeded = all - failed.len();
        assert!(
            succeeded * 100 >= all * SUCCEED_MIN,
            "{role:?}: {succeeded} of {all} calls succeed: {failed:?}"
        );
        self.nothing_is_lost(&calls).await;
        let nodes: Vec<Node> = self.cluster.nodes[..2].iter().map(Node::probe).collect();
        for node in &nodes {
            node.wait_status("it is ready", |status| status.ready).await;
        }
        Aftermath {
            nodes,
            role,
            scene: (self.cluster, self.bad),
        }
    }

    /// Waits until each call that was begun is answered or given up.
    async fn all_answered(&self) {
        let deadline = Instant::now() + CALL_MAX + CALL_MAX;
        let under_way = |call: &Call| call.answered.is_none();
        while self.calls.lock().unwrap().iter().any(under_way) {
            assert!(Instant::now() < deadline, "a call has no end");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    async fn nothing_is_lost(&self, calls: &[Call]) {
        let trust = &self.cluster.trust;
        let expected = Expected {
            trust: Some(trust),
            ..Expected::default()
        };
        for call in calls {
            let Some(Ok(answer)) = &call.answered else {
                continue;
            };
            let receipt = answer.receipt.as_ref().expect("a receipt");
            let report = verify::receipt(&receipt.bytes, expected);
            let number = &call.number;
            assert!(
                report.findings.is_empty(),
                "the receipt of {number}: {report:?}"
            );
            for node in &self.cluster.nodes[..2] {
                let request = v1::GetRequest {
                    key: key(number),
                    ..v1::GetRequest::default()
                };
                let found = node.invoices().get(request).await;
                found.unwrap_or_else(|why| panic!("{number} at node {}: {why}", node.id));
            }
        }
        for at in 0..2 {
            let report = self.cluster.verify(&self.cluster.export(at).await);
            assert_eq!(report.verdict(), self.log_is, "{report:?}");
        }
    }
}

/// What a scene came to.
pub struct Aftermath {
    nodes: Vec<Node>,
    role: Role,
    scene: (Cluster, BadMember),
}

impl Aftermath {
    /// The honest ones.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Runs the command line against the honest ones, as their operator does.
    pub async fn muniment(&self, args: &[&str]) -> Result<String, String> {
        self.scene.0.muniment(args).await
    }

    /// The honest nodes have one state, and so has the culprit.
    pub async fn agrees(&self) {
        let states = self.scene.0.settled().await;
        let first = &states[0].state_hash;
        assert!(states.iter().all(|s| s.state_hash == *first), "{states:#?}");
    }

    /// Status, metrics and log of an honest node name the culprit for this.
    pub async fn names(&self, misdeed: &str) {
        let mut told = Vec::new();
        for node in &self.nodes {
            let status = node.status().await.unwrap();
            let in_status = status
                .misdeeds
                .iter()
                .any(|seen| seen.node == CULPRIT && seen.misdeed == misdeed);
            let in_log = node
                .log()
                .lines()
                .any(|line| line.contains("does what no member does") && line.contains(misdeed));
            if in_status && in_log {
                let row = format!(
                    "muniment_peer_misdeeds_total{{misdeed=\"{misdeed}\",peer=\"{CULPRIT}\"}}"
                );
                assert!(metric(node, &row).await > 0.0);
                return;
            }
            told.push((node.id, status.misdeeds, in_log));
        }
        panic!("{:?}: nobody names it for {misdeed}: {told:?}", self.role);
    }

    /// No honest node blames an honest one.
    pub async fn blames_no_honest_node(&self) {
        for node in &self.nodes {
            let seen = node.status().await.unwrap().misdeeds;
            assert!(seen.iter().all(|seen| seen.node == CULPRIT), "{seen:?}");
        }
    }
}

/// Makes a node lead, and waits until it does.
async fn lead(by: &Node, leader: u64) {
    let deadline = Instant::now() + SOON;
    loop {
        let status = by.status().await.unwrap();
        if status.leader == leader {
            return;
        }
        // Refused where it lags; it is asked again.
        let _ = by
            .cluster()
            .transfer(v1::TransferRequest { to: leader })
            .await;
        assert!(Instant::now() < deadline, "node {leader} does not lead");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

async fn issue_on_and_on(honest: Vec<Node>, calls: Arc<Mutex<Vec<Call>>>) {
    let honest: Vec<Arc<Node>> = honest.into_iter().map(Arc::new).collect();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    for n in 0u64.. {
        ticks.tick().await;
        let (node, calls) = (honest[n as usize % honest.len()].clone(), calls.clone());
        tokio::spawn(async move {
            let number = format!("B-{n}");
            let call = Call {
                number: number.clone(),
                begun: Instant::now(),
                answered: None,
            };
            let at = {
                let mut calls = calls.lock().unwrap();
                calls.push(call);
                calls.len() - 1
            };
            let bytes = body(n, 900);
            let issued = issue(&node, &number, &number, &bytes);
            let answered = match tokio::time::timeout(CALL_MAX, issued).await {
                Ok(answer) => answer.map_err(|status| format!("node {}: {status}", node.id)),
                Err(_) => Err(format!("node {}: no answer in {CALL_MAX:?}", node.id)),
            };
            calls.lock().unwrap()[at].answered = Some(answered);
        });
    }
}
