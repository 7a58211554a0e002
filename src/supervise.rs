//! Tasks that live as long as the node, and what follows when one ends before it.
//!
//! A task that is gone is a promise that nobody keeps any more, and nobody notices: calls
//! wait, figures stand still, health says what it said last. Promises: every task that is
//! started here runs until the node ends; one that returns or panics before stops the node
//! with its name as the reason, or, where nothing that was promised hangs on it, is started
//! again after [`RESTART_PAUSE`] and says so. Which is which:
//!
//! | ends the node | started again |
//! |---|---|
//! | flushers, the log's trail, Raft's watch, read index | how the gRPC health service answers |
//! | lanes, later boots, outboxes, DOWNLOAD_ENDs, what is due, CONFIG, upload epochs | the questions to the members, and how long nobody led |
//! | completeness, repair, scrub, orphans, records of damage | the watch on the disk |
//! | cosigning, the verified index, the sign guard, reports to the leader, changes that were left | the submitters to the witnesses |
//!
//! Tasks of one call or connection are not its business: they end with it. Leaves what
//! follows from a stop to [`crate::stop`].

use crate::stop::Stop;
use std::future::Future;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Before a task that has ended is started again: a fault that is met at once each time
/// costs one line of the log in this time.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Until when a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Until the node is asked to stop.
    UntilStopped,
    /// Until calls in flight are drained: they need it.
    UntilDrained,
    /// It ends with what feeds it, and not before.
    UntilUnused,
}

/// Runs a task; one that ends before its time ends the node.
pub fn keep(
    stop: &Stop,
    life: Life,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let stop = stop.clone();
    tokio::spawn(async move {
        let _panics = BrokenByPanic { stop: &stop, name };
        match life {
            Life::UntilStopped => tokio::select! {
                biased;
                _ = stop.stopped() => {}
                () = task => ended(&stop, name),
            },
            Life::UntilDrained => tokio::select! {
                biased;
                () = stop.over() => {}
                () = task => ended(&stop, name),
            },
            Life::UntilUnused => task.await,
        }
    })
}

/// Runs a task until the node is asked to stop, and starts it again whenever it ends. What
/// a task that has panicked held is as it left it: only for tasks that start from nothing.
pub fn restart<F>(
    stop: &Stop,
    name: &'static str,
    mut start: impl FnMut() -> F + Send + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let stop = stop.clone();
    tokio::spawn(async move {
        let again = async {
            loop {
                // A task of its own, so that a panic ends it alone.
                let running = EndWithOwner(tokio::spawn(start()));
                running.ended(name).await;
                tokio::time::sleep(RESTART_PAUSE).await;
            }
        };
        tokio::select! {
            biased;
            _ = stop.stopped() => {}
            () = again => {}
        }
    })
}

/// What ends because the node stops is no fault.
fn ended(stop: &Stop, name: &str) {
    if stop.why().is_none() {
        stop.broken(format!("{name} has ended before the node"));
    }
}

/// Stops the node when the task that holds it panics, also while it is asked to stop.
struct BrokenByPanic<'a> {
    stop: &'a Stop,
    name: &'static str,
}

impl Drop for BrokenByPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stop
                .broken(format!("{} has broken its own rules", self.name));
        }
    }
}

/// A task that does not outlive whoever waits for it.
struct EndWithOwner(JoinHandle<()>);

impl EndWithOwner {
    async fn ended(mut self, name: &str) {
        match (&mut self.0).await {
            Ok(()) => tracing::error!(task = name, "a task has ended; it is started again"),
            Err(error) => {
                tracing::error!(task = name, %error, "a task has failed; it is started again");
            }
        }
    }
}

impl Drop for EndWithOwner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits for a change of a signal; one whose sender has gone changes never.
pub async fn changed<T>(signal: &mut tokio::sync::watch::Receiver<T>) {
    if signal.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stop::Why;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    async fn why(stop: &Stop) -> String {
        let stopped = tokio::time::timeout(Duration::from_secs(5), stop.stopped()).await;
        match stopped {
            Ok(Why::Broken(what)) => what.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_or_panics_before_the_node_ends_it_by_name() {
        for life in [Life::UntilStopped, Life::UntilDrained] {
            let stop = Stop::new();
            keep(&stop, life, "the lane", async {});
            assert_eq!(why(&stop).await, "the lane has ended before the node");
        }
        for life in [Life::UntilStopped, Life::UntilDrained, Life::UntilUnused] {
            let stop = Stop::new();
            keep(&stop, life, "the lane", async { panic!("on purpose") });
            assert_eq!(why(&stop).await, "the lane has broken its own rules");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_the_stop_ends_is_no_fault() {
        let stop = Stop::new();
        let kept = keep(&stop, Life::UntilStopped, "a task", std::future::pending());
        stop.request();
        kept.await.unwrap();
        assert_eq!(stop.why(), Some(Why::Requested));
        // What feeds it has gone.
        let stop = Stop::new();
        let kept = keep(&stop, Life::UntilUnused, "a task", async {});
        kept.await.unwrap();
        assert_eq!(stop.why(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_may_be_missed_for_a_moment_is_started_again() {
        let (stop, starts) = (Stop::new(), Arc::new(AtomicU32::new(0)));
        let counted = starts.clone();
        let running = restart(&stop, "health", move || {
            let counted = counted.clone();
            async move {
                match counted.fetch_add(1, Ordering::SeqCst) {
                    0 => panic!("on purpose"),
                    1 => {}
                    _ => std::future::pending().await,
                }
            }
        });
        tokio::time::sleep(10 * RESTART_PAUSE).await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
        assert_eq!(stop.why(), None);
        stop.request();
        running.await.unwrap();
    }
}
