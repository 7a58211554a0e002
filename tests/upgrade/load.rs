//! Issues, downloads and deferred downloads without a pause, while the software is exchanged.

use crate::deferred;
use crate::harness::{Cluster, LOOK_PAUSE, Node, SOON};
use crate::kills::{CALL_MAX, Probe, Seen, check, download_for_ever, issue_for_ever, passing};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

const ISSUERS: u64 = 2;
/// Between two calls of a caller: enough to meet every moment of an exchange, and few enough to
/// look at each of them afterwards.
const PAUSE: Duration = Duration::from_millis(100);
/// Of each sort, before the software goes on being exchanged.
const MORE: usize = 10;

type Promises = Arc<Mutex<Vec<Vec<u8>>>>;

/// What callers do, and what they were told.
pub struct Load {
    seen: Arc<Seen>,
    promises: Promises,
    on: Arc<AtomicBool>,
    callers: JoinSet<()>,
}

impl Load {
    pub fn start(cluster: &Cluster) -> Load {
        let nodes: Vec<Probe> = cluster.nodes.iter().map(|n| Probe(n.probe())).collect();
        let nodes = Arc::new(nodes);
        let (seen, promises) = (Arc::new(Seen::default()), Promises::default());
        let on = Arc::new(AtomicBool::new(true));
        let mut callers = JoinSet::new();
        for worker in 0..ISSUERS {
            let (nodes, seen, on) = (nodes.clone(), seen.clone(), on.clone());
            callers.spawn(issue_for_ever(nodes, worker, seen, on, PAUSE));
        }
        callers.spawn(download_for_ever(nodes, 0, seen.clone(), on.clone(), PAUSE));
        for node in &cluster.nodes {
            let (seen, promises) = (seen.clone(), promises.clone());
            callers.spawn(defer_for_ever(node.probe(), seen, promises, on.clone()));
        }
        Load {
            seen,
            promises,
            on,
            callers,
        }
    }

    fn done(&self) -> [usize; 3] {
        let issued = self.seen.issued.lock().unwrap().len();
        let delivered = self.seen.delivered.lock().unwrap().len();
        [issued, delivered, self.promises.lock().unwrap().len()]
    }

    /// Waits until more of each sort was answered.
    pub async fn goes_on(&mut self) {
        let (before, deadline) = (self.done(), Instant::now() + SOON);
        let more = |now: [usize; 3]| now.iter().zip(before).all(|(n, b)| *n >= b + MORE);
        while !more(self.done()) {
            while let Some(ended) = self.callers.try_join_next() {
                ended.expect("callers go on");
            }
            let now = self.done();
            assert!(Instant::now() < deadline, "from {before:?} to {now:?}");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Lets what is under way be answered, and looks whether all that was acknowledged is there;
    /// the promises that were given.
    pub async fn end(mut self, cluster: &Cluster) -> Vec<Vec<u8>> {
        self.on.store(false, Ordering::SeqCst);
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("each call is answered");
        }
        let done = self.done();
        println!("issued, downloaded, promised: {done:?}");
        let issued = self.seen.issued.lock().unwrap().clone();
        let delivered = self.seen.delivered.lock().unwrap().clone();
        check(cluster, &issued, &delivered).await;
        std::mem::take(&mut *self.promises.lock().unwrap())
    }
}

/// At one node, also while it is exchanged: between its end and its start it answers nobody.
async fn defer_for_ever(node: Node, seen: Arc<Seen>, promises: Promises, on: Arc<AtomicBool>) {
    let mut turn = 0;
    let mut answered = Instant::now();
    while on.load(Ordering::SeqCst) {
        let known: Vec<String> = {
            let issued = seen.issued.lock().unwrap();
            issued.keys().cloned().collect()
        };
        turn += 1;
        let number = match known.is_empty() {
            true => None,
            false => Some(&known[turn % known.len()]),
        };
        if let Some(number) = number {
            match deferred::download(&node, number).await {
                Ok((header, _)) => {
                    let promise = deferred::promise_of(&header);
                    promises.lock().unwrap().push(promise);
                    answered = Instant::now();
                }
                Err(status) => {
                    assert!(passing(&status), "{number} deferred: {status:?}");
                    assert!(answered.elapsed() < CALL_MAX, "{number}: {status:?}");
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
