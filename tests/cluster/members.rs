//! Members come and go under load; disks that were lost; leaders that die in between.

use crate::harness::{Cluster, Node, SOON, body, download, issue};
use muniment_client::v1;
use muniment_client::v1::draft_order_request::Wish;
use muniment_evidence::ids::NodeId;
use muniment_evidence::mode::Phase;
use muniment_evidence::opening::{Document, ModeDocument};
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::report::Verdict;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// The OK MODE records, as a node has them.
pub async fn modes(node: &Node) -> Vec<ModeDocument> {
    let request = v1::ListRecordsRequest {
        kinds: vec!["MODE".into()],
        page_size: 1000,
        ..Default::default()
    };
    let Ok(page) = node.evidence().list_records(request).await else {
        return Vec::new();
    };
    let records = page.into_inner().records.into_iter();
    let ok = records.filter(|r| Record::decode(&r.record).unwrap().outcome == Outcome::Ok);
    ok.map(|r| match Document::decode(&r.document).unwrap() {
        Document::Mode(mode) => mode,
        other => panic!("{other:?}"),
    })
    .collect()
}

async fn wait_for_mode(node: &Node, what: &str, wanted: impl Fn(&ModeDocument) -> bool) {
    let deadline = Instant::now() + SOON + SOON;
    loop {
        let modes = modes(node).await;
        if modes.iter().any(&wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "not in time: {what}: {modes:#?}");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

async fn voters(node: &Node) -> Vec<u64> {
    let status = node.status().await.unwrap();
    let mut voters: Vec<u64> = status
        .peers
        .iter()
        .filter(|p| p.voter)
        .map(|p| p.node)
        .collect();
    voters.sort_unstable();
    voters
}

/// Issues and downloads without a pause; remembers what was acknowledged.
struct Traffic {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<u64>>>,
    running: tokio::task::JoinHandle<()>,
}

impl Traffic {
    fn start(nodes: &[&Node], prefix: u64) -> Traffic {
        let nodes: Vec<Node> = nodes.iter().map(|node| node.probe()).collect();
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (stopped, kept) = (stop.clone(), Arc::<Mutex<Vec<u64>>>::clone(&acknowledged));
        let running = tokio::spawn(async move {
            let mut n = prefix;
            while !stopped.load(Ordering::SeqCst) {
                n += 1;
                let at = &nodes[n as usize % nodes.len()];
                let number = format!("M-{n}");
                match issue(at, &number, &number, &body(n, 3000)).await {
                    Ok(_) => kept.lock().unwrap().push(n),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
                if let Ok((_, bytes, _)) = download(at, &number).await {
                    assert_eq!(bytes, body(n, 3000));
                }
            }
        });
        Traffic {
            stop,
            acknowledged,
            running,
        }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    async fn wait_for_more(&self, more: usize) {
        let (from, deadline) = (self.count(), Instant::now() + SOON);
        while self.count() < from + more {
            assert!(Instant::now() < deadline, "nothing is acknowledged");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    async fn end(self) -> Vec<u64> {
        self.stop.store(true, Ordering::SeqCst);
        self.running.await.unwrap();
        self.acknowledged.lock().unwrap().clone()
    }
}

/// The whole life of a newcomer, under load: known by its keys, a learner, a voter in the
/// place of another. Nothing acknowledged is lost, the evidence shows each step, and the
/// one that left does not come back.
#[tokio::test(flavor = "multi_thread")]
async fn i8_a_voter_is_replaced_under_load_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start().await;
    let traffic = Traffic::start(&[&cluster.nodes[0], &cluster.nodes[1]], 0);
    traffic.wait_for_more(10).await;
    let four = cluster.add_node("zone-3").await;
    // Unknown nodes are not added, and the command says how to make one known.
    let why = cluster.add(four, &[]).await.unwrap_err();
    assert!(why.contains("keys draft"), "{why}");
    cluster.admit(four).await.unwrap();
    let said = cluster.add(four, &[]).await.unwrap();
    assert!(
        said.contains("prepare:") && said.contains("done:"),
        "{said}"
    );
    let ready = |s: &v1::StatusResponse| s.ready && s.role == "learner";
    cluster.nodes[four].wait_status("it learns", ready).await;
    assert_eq!(voters(&cluster.nodes[0]).await, [1, 2, 3]);

    let replaced = cluster.muniment(&["cluster", "replace", "3", "4"]).await;
    println!("{}", replaced.unwrap());
    traffic.wait_for_more(10).await;
    // Who has left may be stopped, and is not missed.
    cluster.nodes[2].terminate();
    traffic.wait_for_more(10).await;
    let acknowledged = traffic.end().await;
    println!("{} invoices acknowledged", acknowledged.len());
    assert_eq!(voters(&cluster.nodes[0]).await, [1, 2, 4]);
    for n in acknowledged {
        let (_, bytes, _) = download(&cluster.nodes[four], &format!("M-{n}"))
            .await
            .unwrap();
        assert_eq!(bytes, body(n, 3000));
    }
    let phases: Vec<_> = modes(&cluster.nodes[0])
        .await
        .into_iter()
        .map(|mode| (mode.phase, mode.number, mode.voters))
        .collect();
    let expected = [
        (Phase::Prepare, 0, [1, 2, 3]),
        (Phase::Done, 0, [1, 2, 3]),
        (Phase::Prepare, 1, [1, 2, 4]),
        (Phase::Done, 1, [1, 2, 4]),
    ]
    .map(|(phase, number, voters)| (phase, number, voters.map(NodeId::new).to_vec()));
    assert_eq!(phases, expected);
    let report = cluster.verify(&cluster.export(four).await);
    assert_eq!(
        report.verdict(),
        Verdict::Verified,
        "{:#?}",
        report.findings
    );
    let back = cluster.add(2, &[]).await.unwrap_err();
    assert!(back.contains("not taken back"), "{back}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_is_promoted_turned_and_removed_and_a_poor_layout_is_refused() {
    let mut cluster = Cluster::start().await;
    cluster.join("zone-1", &["--sync"]).await;
    // An operator turns a sync learner async; nobody else does.
    let turned = cluster.muniment(&["cluster", "add", "4"]).await;
    assert!(turned.unwrap().contains("async learner"));
    let roles = modes(&cluster.nodes[0]).await.pop().unwrap();
    assert_eq!(
        (roles.sync_learners, roles.async_learners),
        (vec![], vec![NodeId::new(4)])
    );
    // Two of three voters in one zone: its loss would stop the ledger.
    let why = cluster.muniment(&["cluster", "replace", "3", "4"]).await;
    let why = why.unwrap_err();
    assert!(why.contains("zone zone-1 would hold 2 of 3"), "{why}");
    let one = cluster.muniment(&["cluster", "remove", "9"]).await;
    assert!(one.unwrap_err().contains("no member"));
    // Four voters are allowed, with advice.
    let said = cluster
        .muniment(&["cluster", "promote", "4"])
        .await
        .unwrap();
    assert!(said.contains("advice:"), "{said}");
    assert_eq!(voters(&cluster.nodes[0]).await, [1, 2, 3, 4]);
    // Whoever leads may be removed as well: leadership is handed over first.
    let leader = cluster.leader().await;
    let id = cluster.nodes[leader].id.to_string();
    let removed = cluster.muniment(&["cluster", "remove", &id]).await;
    if leader == 3 || leader == 0 {
        println!("{}", removed.unwrap());
    } else {
        // Zone 1 would keep two of the three.
        assert!(removed.unwrap_err().contains("zone-1"));
    }
}

/// A disk that was wiped has forgotten its votes and acknowledgements (I2): it makes no
/// quorum, and ends by the words of a majority, not of one.
#[tokio::test(flavor = "multi_thread")]
async fn i2_a_wiped_disk_counts_for_no_quorum_and_its_node_ends() {
    let mut cluster = Cluster::start().await;
    issue(&cluster.nodes[0], "W-1", "w-1", &body(1, 1000))
        .await
        .unwrap();
    let leader = cluster.leader().await;
    let (away, wiped) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.settled().await;
    cluster.nodes[wiped].kill();
    cluster.nodes[wiped].wipe();
    cluster.nodes[away].kill();
    let before = cluster.nodes[leader]
        .status()
        .await
        .unwrap()
        .committed_index;
    cluster.nodes[wiped].start();
    let probe = cluster.nodes[leader].probe();
    // Two of three answer, but one of them is not the one that the ledger knows.
    let asked = tokio::spawn(async move { issue(&probe, "W-2", "w-2", &body(2, 1000)).await });
    let told = "told that the ledger knows another disk of this node";
    let deadline = Instant::now() + SOON;
    while !cluster.nodes[wiped].log().contains(told) {
        assert!(Instant::now() < deadline, "nobody tells it");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let after = cluster.nodes[leader]
        .status()
        .await
        .unwrap()
        .committed_index;
    assert_eq!(before, after, "a wiped disk made a quorum");
    // With an honest second, a majority says so, and things go on.
    cluster.nodes[away].start();
    let code = cluster.nodes[wiped].ended().await;
    assert_eq!(code, Some(70));
    let log = cluster.nodes[wiped].log();
    assert!(log.contains("join under a new id"), "{log}");
    let deadline = Instant::now() + SOON;
    while issue(&cluster.nodes[leader], "W-2", "w-2", &body(2, 1000))
        .await
        .is_err()
    {
        assert!(Instant::now() < deadline);
    }
    drop(asked);
}

/// The next leader ends what a leader that died had prepared: given up while the newcomer
/// is away, done when it is there (I8).
#[tokio::test(flavor = "multi_thread")]
async fn i8_a_leader_killed_between_prepare_and_done_is_resolved_by_the_next() {
    let mut cluster = Cluster::start().await;
    let four = cluster.join("zone-4", &[]).await;
    for (number, end) in [(1, Phase::Abort), (2, Phase::Done)] {
        cluster.nodes[four].kill();
        let leader = cluster.leader().await;
        // What it has to be brought takes seconds at the rate of repairs.
        for part in 0..2 {
            let name = format!("large-{number}-{part}");
            let bytes = body(10 * number + part, 16 << 20);
            issue(&cluster.nodes[leader], &name, &name, &bytes)
                .await
                .unwrap();
        }
        cluster.nodes[four].start();
        cluster.nodes[four].wait_status("it is up", |_| true).await;
        let promote = v1::PromoteRequest {
            node: 4,
            ..Default::default()
        };
        let order = cluster.order(leader, Wish::Promote(promote.clone())).await;
        let request = v1::PromoteRequest { order, ..promote };
        let mut service = cluster.nodes[leader].cluster();
        let mut steps = service.promote(request).await.unwrap().into_inner();
        while steps.message().await.unwrap().unwrap().phase != "bring" {}
        cluster.nodes[leader].kill();
        if end == Phase::Abort {
            cluster.nodes[four].kill();
        }
        let other = &cluster.nodes[(leader + 1) % 3];
        let ended = |m: &ModeDocument| m.number == number && m.phase == end;
        wait_for_mode(other, &format!("change {number} ends"), ended).await;
        let expected: &[u64] = match end {
            Phase::Done => &[1, 2, 3, 4],
            _ => &[1, 2, 3],
        };
        assert_eq!(voters(other).await, expected);
        cluster.nodes[leader].start();
        if end == Phase::Abort {
            cluster.nodes[four].start();
        }
        cluster.wait_ready().await;
    }
    let report = cluster.verify(&cluster.export(0).await);
    assert_eq!(
        report.verdict(),
        Verdict::Verified,
        "{:#?}",
        report.findings
    );
}

/// A drained node leads no more and takes no calls, until it is started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_can_be_stopped_without_anybody_noticing() {
    let mut cluster = Cluster::start().await;
    issue(&cluster.nodes[0], "D-1", "d-1", &body(1, 1000))
        .await
        .unwrap();
    let leader = cluster.leader().await;
    let id = cluster.nodes[leader].id.to_string();
    let said = cluster.muniment(&["cluster", "drain", &id]).await.unwrap();
    assert!(said.contains("may be stopped"), "{said}");
    let status = cluster.nodes[leader].status().await.unwrap();
    assert_ne!(status.role, "leader");
    assert!(!status.ready && status.reasons.contains(&"drained".to_owned()));
    let refused = issue(&cluster.nodes[leader], "D-2", "d-2", &body(2, 1000)).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::Unavailable);
    cluster.nodes[leader].terminate();
    let other = &cluster.nodes[(leader + 1) % 3];
    issue(other, "D-2", "d-2", &body(2, 1000)).await.unwrap();
    cluster.nodes[leader].start();
    cluster.wait_ready().await;
    let (_, bytes, _) = download(&cluster.nodes[leader], "D-2").await.unwrap();
    assert_eq!(bytes, body(2, 1000));
}

/// Two of three could be drained, and nobody led once the third was gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_leaves_enough_to_lead_and_is_undone_by_a_command() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let (first, second) = ((leader + 1) % 3, (leader + 2) % 3);
    let id = |at: usize| cluster.nodes[at].id.to_string();
    let (first_id, second_id) = (id(first), id(second));
    let drained = cluster.muniment(&["cluster", "drain", &first_id]).await;
    drained.unwrap();
    let refused = cluster.muniment(&["cluster", "drain", &second_id]).await;
    let why = refused.unwrap_err();
    assert!(why.contains("1 of 3 voters would stay"), "{why}");
    assert!(why.contains("is drained or stopping"), "{why}");
    // What was refused has changed nothing.
    issue(&cluster.nodes[second], "U-1", "u-1", &body(1, 1000))
        .await
        .unwrap();
    let undrained = cluster.muniment(&["cluster", "undrain", &first_id]).await;
    assert!(undrained.unwrap().contains("takes calls again"));
    let ready = |s: &v1::StatusResponse| s.ready;
    cluster.nodes[first].wait_status("it serves", ready).await;
    issue(&cluster.nodes[first], "U-2", "u-2", &body(2, 1000))
        .await
        .unwrap();
    let drained = cluster.muniment(&["cluster", "drain", &second_id]).await;
    drained.unwrap();
}

async fn move_to(cluster: &Cluster, there: &Node) -> Result<String, String> {
    let at = |port: u16| format!("127.0.0.1:{port}");
    let (client, peer) = (at(there.ports[0]), at(there.ports[1]));
    let id = there.id.to_string();
    let place = ["--peer-address", &peer, "--client-address", &client];
    let command = [&["cluster", "move", &id][..], &place].concat();
    cluster.muniment(&command).await
}

/// Nobody hears it: its address stands in a configuration that it cannot be told of. While it
/// still runs at the old address, what runs at the new one is a copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_moved_is_back_after_a_command_and_a_copy_is_not_taken_for_it() {
    let mut cluster = Cluster::start().await;
    let moved = (cluster.leader().await + 1) % 3;
    cluster.nodes[moved].terminate();
    let dir = cluster.nodes[moved].dir.with_file_name("copy");
    let mut copy = cluster.nodes[moved].copied_to(dir);
    cluster.nodes[moved].start();
    cluster.wait_ready().await;
    copy.start();
    copy.wait_status("it answers", |_| true).await;
    let refused = move_to(&cluster, &copy).await.unwrap_err();
    assert!(refused.contains("another process answers"), "{refused}");
    // Whoever hears both says so.
    let deadline = Instant::now() + SOON;
    let said = |node: &Node| node.log().contains("two_processes");
    while !cluster.nodes.iter().any(said) {
        assert!(Instant::now() < deadline, "nobody tells them apart");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    copy.kill();
    cluster.nodes[moved].terminate();
    let dir = cluster.nodes[moved].dir.with_file_name("moved");
    let mut there = cluster.nodes[moved].copied_to(dir);
    there.start();
    there.wait_status("it answers", |_| true).await;
    cluster.nodes[moved] = there;
    move_to(&cluster, &cluster.nodes[moved]).await.unwrap();
    cluster.wait_ready().await;
    issue(&cluster.nodes[moved], "M-1", "m-1", &body(1, 1000))
        .await
        .unwrap();
    let states = cluster.settled().await;
    assert!(states.iter().all(|s| s.state_hash == states[0].state_hash));
}

/// It was begun, and no other change and no write was possible for two minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_those_who_are_up_could_not_complete_is_refused_at_once() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let (dead, living) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.nodes[dead].kill();
    let id = cluster.nodes[living].id.to_string();
    let asked = Instant::now();
    let refused = cluster.muniment(&["cluster", "remove", &id]).await;
    let why = refused.unwrap_err();
    assert!(why.contains("of the 2 voters after the change"), "{why}");
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    assert!(modes(&cluster.nodes[leader]).await.is_empty(), "no PREPARE");
    issue(&cluster.nodes[leader], "Q-1", "q-1", &body(1, 1000))
        .await
        .unwrap();
}
