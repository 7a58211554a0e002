//! `cluster drill`: stop something of a cluster on this machine on purpose, and measure.
//!
//! A load of writes and of reads of each level runs at the nodes that stay; then the leader,
//! a zone or a node is killed or paused, and brought back. Promises: gaps are times between
//! two answers that were seen, with the load's own pace in them; every write acknowledged
//! during the drill is looked for afterwards; what it came to is put on record. Works only
//! on nodes whose processes `--cluster-json` names on this machine, so that nobody drills
//! by mistake what is not his to stop.

use crate::exit::{CommandFailure, Exit};
use crate::reach::{self, NodeEntry, Reach};
use crate::{files, measure, now, output};
use bytes::Bytes;
use muniment_client::v1::{self, InvoiceKey, ReadLevel, invoice_key, read_level};
use muniment_client::{BodySource, Client, ClientError, UploadRequest};
use muniment_evidence::drill::DRILL_TENANT;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Load before anything is stopped, so that there is a pace to compare with.
const BEFORE: Duration = Duration::from_secs(2);
/// Writers and readers: enough that one that waits does not hide an answer to another.
const WRITERS: u64 = 8;
/// Pause of each prober between two calls.
const PACE: Duration = Duration::from_millis(20);
/// One attempt of a prober; what waits longer counts as a failure.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);
/// Below this a gap is the load's own pace and no interruption.
const PACE_GAP_MAX: Duration = Duration::from_millis(250);
/// Of the bounded reads: as long as what is stopped stays so by default.
const BOUND_MS: u32 = 5000;
/// Bytes of each probe: a small PDF.
const BODY_BYTES: usize = 8_000;

#[derive(clap::Args)]
pub struct DrillArgs {
    /// What is stopped
    #[arg(long, value_name = "WHAT", value_parser = ["leader", "zone", "node"])]
    kill: String,
    /// Which zone; for --kill zone
    #[arg(long, value_name = "Z", required_if_eq("kill", "zone"))]
    zone: Option<String>,
    /// Which node; for --kill node
    #[arg(long, value_name = "N", required_if_eq("kill", "node"))]
    node: Option<u64>,
    /// SIGKILL, or SIGSTOP and later SIGCONT
    #[arg(long, default_value = "crash", value_parser = ["crash", "pause"])]
    mode: String,
    /// How long what was stopped stays so
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Where the writes must be durable: quorum, zones:K, regions:K or all
    #[arg(long, value_name = "LEVEL", default_value = "zones:2")]
    level: String,
}

/// When answers came, since the start.
#[derive(Default)]
struct Answers(Mutex<Vec<Duration>>);

impl Answers {
    fn note(&self, at: Duration) {
        self.0.lock().expect("nobody panics with it").push(at);
    }

    /// The longest time without an answer from `from` on; none where that is the load's pace.
    fn gap(&self, from: Duration, until: Duration) -> Option<Duration> {
        let mut times = self.0.lock().expect("nobody panics with it").clone();
        times.sort_unstable();
        let before = times.iter().rev().find(|at| **at <= from);
        let mut last = before.copied().unwrap_or(from);
        let mut longest = Duration::ZERO;
        for at in times.into_iter().filter(|at| *at > from).chain([until]) {
            longest = longest.max(at.saturating_sub(last));
            last = at;
        }
        (longest > PACE_GAP_MAX).then_some(longest)
    }
}

/// A level at which it is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Probe {
    Linearizable,
    Bounded,
    Session,
    Local,
}

impl Probe {
    const ALL: [Probe; 4] = [
        Probe::Linearizable,
        Probe::Bounded,
        Probe::Session,
        Probe::Local,
    ];

    fn name(self) -> &'static str {
        match self {
            Probe::Linearizable => "linearizable",
            Probe::Bounded => "bounded:5000",
            Probe::Session => "session",
            Probe::Local => "local",
        }
    }

    /// None where there is nothing to ask for yet.
    fn level(self, session: Option<Bytes>) -> Option<ReadLevel> {
        use read_level::{Bounded, Level};
        let level = match self {
            Probe::Linearizable => Level::Linearizable(Default::default()),
            Probe::Bounded => Level::Bounded(Bounded {
                max_ms: BOUND_MS,
                local_only: true,
            }),
            Probe::Session => Level::Session(session?),
            Probe::Local => Level::Local(Default::default()),
        };
        Some(ReadLevel { level: Some(level) })
    }
}

struct Drill {
    args: DrillArgs,
    level: v1::WriteLevel,
    run: u64,
    started: Instant,
    on: AtomicBool,
    next: AtomicU64,
    writes: Answers,
    reads: Vec<(Probe, Answers)>,
    acknowledged: Mutex<Vec<String>>,
    /// What the writers have seen last; sessions read at least that.
    session: Mutex<Option<Bytes>>,
    failures: AtomicU64,
}

pub async fn run(args: DrillArgs, reach: &Reach) -> Result<Exit, CommandFailure> {
    let Some((file, nodes)) = reach.described()? else {
        let why = "a drill needs --cluster-json: it stops processes of this machine only";
        return Err(CommandFailure::usage(why));
    };
    let client = reach.client()?;
    let victims = victims(&args, reach, &client, &nodes).await?;
    let ids: Vec<u64> = victims.iter().map(|node| node.id).collect();
    let staying: Vec<&NodeEntry> = nodes.iter().filter(|n| !ids.contains(&n.id)).collect();
    if staying.is_empty() {
        return Err(CommandFailure::usage("no node would be left to ask"));
    }
    let level = measure::write_level(&args.level).map_err(CommandFailure::usage)?;
    let drill = Arc::new(Drill::new(args, level));
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let own = single(reach, staying[writer as usize % staying.len()])?;
        let drill = drill.clone();
        tasks.spawn(async move { drill.write_on(&own).await });
    }
    for at in 0..drill.reads.len() {
        for node in &staying {
            let (own, drill) = (single(reach, node)?, drill.clone());
            tasks.spawn(async move { drill.read_on(&own, at).await });
        }
    }
    tokio::time::sleep(BEFORE).await;
    let from = drill.started.elapsed();
    let mut stopped = Vec::new();
    let mut all = Ok(());
    for node in &victims {
        all = signal(node, drill.stopping());
        if all.is_err() {
            break;
        }
        stopped.push(node);
    }
    if all.is_ok() {
        output::complain(&format!("nodes {ids:?} are stopped ({})", drill.args.mode));
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(drill.args.seconds)) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }
    // Whatever happened: what was stopped runs again.
    let until = drill.started.elapsed();
    for node in stopped {
        let back = bring_back(file, node, &drill.args.mode).await;
        all = all.and(back);
    }
    drill.on.store(false, Ordering::SeqCst);
    tasks.join_all().await;
    all?;
    drill.report(&client, reach, ids, from, until).await
}

/// A client of one node, which gives up soon.
fn single(reach: &Reach, node: &NodeEntry) -> Result<Client, CommandFailure> {
    let mut options = reach.options()?;
    options.endpoints = vec![node.grpc.clone()];
    options.deadline = ATTEMPT_MAX;
    Ok(Client::new(options)?)
}

async fn victims(
    args: &DrillArgs,
    reach: &Reach,
    client: &Client,
    nodes: &[NodeEntry],
) -> Result<Vec<NodeEntry>, CommandFailure> {
    let chosen: Vec<NodeEntry> = match args.kill.as_str() {
        "leader" => {
            let mut leader = 0;
            for node in nodes {
                if let Ok(status) = client.status_of(&node.grpc, reach.deadline()).await
                    && status.role == "leader"
                {
                    leader = status.node;
                }
            }
            nodes.iter().filter(|n| n.id == leader).cloned().collect()
        }
        "zone" => {
            let zone = args.zone.as_deref().unwrap_or_default();
            nodes.iter().filter(|n| n.zone == zone).cloned().collect()
        }
        _ => {
            let id = args.node.unwrap_or_default();
            nodes.iter().filter(|n| n.id == id).cloned().collect()
        }
    };
    if chosen.is_empty() {
        let why = match args.kill.as_str() {
            "leader" => "no node that the file names leads",
            kill => &format!("the file names no such {kill}"),
        };
        return Err(CommandFailure::usage(why));
    }
    match chosen.iter().find(|node| node.pid.is_none()) {
        Some(node) => {
            let why = format!("the file names no process of node {}", node.id);
            Err(CommandFailure::usage(why))
        }
        None => Ok(chosen),
    }
}

fn signal(node: &NodeEntry, signal: Signal) -> Result<(), CommandFailure> {
    if let (Some(pid), Some(config)) = (node.pid, &node.config)
        && !reach::is_its_process(pid, config)
    {
        let why = format!(
            "process {pid} is not node {}: the file is out of date",
            node.id
        );
        return Err(CommandFailure::usage(why));
    }
    let pid = node.pid.and_then(|pid| Pid::from_raw(pid as i32));
    let pid =
        pid.ok_or_else(|| CommandFailure::usage(format!("node {} has no process", node.id)))?;
    kill_process(pid, signal)
        .map_err(|e| CommandFailure::local(format!("node {} (pid {pid:?})", node.id), &e.into()))
}

/// A node that was killed is started as its own process, and the file names it.
async fn bring_back(file: &Path, node: &NodeEntry, mode: &str) -> Result<(), CommandFailure> {
    if mode == "pause" {
        return signal(node, Signal::CONT);
    }
    // A build without a node cannot start one.
    let config = node.config.as_ref().filter(|_| cfg!(feature = "rocksdb"));
    let Some(config) = config else {
        output::complain(&format!("node {} is to be started by you", node.id));
        return Ok(());
    };
    let local = |what: &str, e: std::io::Error| CommandFailure::local(what, &e);
    let log = config.with_file_name("node.log");
    let output = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(|e| local("cannot open node.log", e))?;
    let program = std::env::current_exe().map_err(|e| local("cannot find this program", e))?;
    let child = std::process::Command::new(program)
        .args(["serve", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .spawn()
        .map_err(|e| local("cannot start the node again", e))?;
    rename_process(file, node.id, child.id()).await
}

async fn rename_process(file: &Path, id: u64, pid: u32) -> Result<(), CommandFailure> {
    let text =
        std::fs::read_to_string(file).map_err(|e| CommandFailure::local(file.display(), &e))?;
    let mut value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|e| CommandFailure::invalid(format!("{}: {e}", file.display())))?;
    if let Some(nodes) = value["nodes"].as_array_mut() {
        for node in nodes.iter_mut().filter(|node| node["id"] == id) {
            node["pid"] = pid.into();
        }
    }
    files::write(file, format!("{value:#}\n").as_bytes()).await
}

/// Of a probe: no tenant's invoice.
fn identity(number: &str) -> v1::Identity {
    v1::Identity {
        tenant: DRILL_TENANT.to_owned(),
        number: number.to_owned(),
        ..v1::Identity::default()
    }
}

impl Drill {
    fn new(args: DrillArgs, write_level: v1::WriteLevel) -> Drill {
        Drill {
            args,
            level: write_level,
            run: now::seed(),
            started: Instant::now(),
            on: AtomicBool::new(true),
            next: AtomicU64::new(0),
            writes: Answers::default(),
            reads: Probe::ALL.map(|probe| (probe, Answers::default())).into(),
            acknowledged: Mutex::default(),
            session: Mutex::default(),
            failures: AtomicU64::new(0),
        }
    }

    fn stopping(&self) -> Signal {
        match self.args.mode.as_str() {
            "pause" => Signal::STOP,
            _ => Signal::KILL,
        }
    }

    fn key(&self, number: &str) -> InvoiceKey {
        InvoiceKey {
            key: Some(invoice_key::Key::Identity(identity(number))),
        }
    }

    async fn write_on(&self, client: &Client) {
        while self.on.load(Ordering::SeqCst) {
            let n = self.next.fetch_add(1, Ordering::SeqCst);
            let number = format!("drill-{:016x}-{n}", self.run);
            let upload = UploadRequest {
                request_id: number.clone(),
                metadata: v1::Metadata {
                    identity: Some(identity(&number)),
                    ..v1::Metadata::default()
                },
                level: Some(self.level),
                ..UploadRequest::default()
            };
            let mut bytes = format!("%PDF-1.7\n% {number}\n").into_bytes();
            bytes.resize(BODY_BYTES, b' ');
            match client
                .issue(&upload, &BodySource::Memory(Bytes::from(bytes)))
                .await
            {
                Ok(_) => {
                    self.writes.note(self.started.elapsed());
                    let mut acknowledged = self.acknowledged.lock().expect("nobody panics");
                    acknowledged.push(number);
                    let seen = client.session_token().map(|token| token.encode().into());
                    *self.session.lock().expect("nobody panics") = seen;
                }
                Err(error) => self.failed("write", &error),
            }
            tokio::time::sleep(PACE).await;
        }
    }

    async fn read_on(&self, client: &Client, at: usize) {
        let (probe, answers) = &self.reads[at];
        while self.on.load(Ordering::SeqCst) {
            let known = self
                .acknowledged
                .lock()
                .expect("nobody panics")
                .first()
                .cloned();
            let session = self.session.lock().expect("nobody panics").clone();
            if let Some((number, level)) = known.zip(probe.level(session)) {
                match client.get(self.key(&number), Some(level)).await {
                    Ok(_) => answers.note(self.started.elapsed()),
                    // A replica that only has not applied it yet answers all the same.
                    Err(ClientError::NotFound(_)) if *probe == Probe::Local => {
                        answers.note(self.started.elapsed());
                    }
                    Err(error) => self.failed(probe.name(), &error),
                }
            }
            tokio::time::sleep(PACE).await;
        }
    }

    fn failed(&self, what: &str, error: &ClientError) {
        // Expected while something is stopped; the gaps say how long.
        self.failures.fetch_add(1, Ordering::SeqCst);
        tracing::debug!(what, %error, "a call of the drill failed");
    }

    async fn report(
        &self,
        client: &Client,
        reach: &Reach,
        nodes: Vec<u64>,
        from: Duration,
        until: Duration,
    ) -> Result<Exit, CommandFailure> {
        let numbers = self.acknowledged.lock().expect("nobody panics").clone();
        let level = Some(ReadLevel {
            level: Some(read_level::Level::Linearizable(Default::default())),
        });
        let mut missing = 0;
        for number in &numbers {
            match client.get(self.key(number), level.clone()).await {
                Ok(_) => {}
                Err(ClientError::NotFound(_)) => missing += 1,
                Err(error) => return Err(error.into()),
            }
        }
        let ms = |gap: Option<Duration>| gap.map(|gap| gap.as_millis() as u64);
        let write_gap_ms = ms(self.writes.gap(from, until));
        let reads: Vec<v1::DrillRead> = self
            .reads
            .iter()
            .map(|(probe, answers)| v1::DrillRead {
                level: probe.name().to_owned(),
                gap_ms: ms(answers.gap(from, until)),
            })
            .collect();
        let request = v1::RecordDrillRequest {
            target: self.args.kill.clone(),
            mode: self.args.mode.clone(),
            nodes: nodes.clone(),
            write_level: self.args.level.clone(),
            acknowledged: numbers.len() as u64,
            missing,
            write_gap_ms,
            reads: reads.clone(),
        };
        let index = client.record_drill(request).await?;
        if reach.json {
            let reads = reads.iter().map(|r| (r.level.clone(), json!(r.gap_ms)));
            output::say_json(&json!({
                "target": self.args.kill,
                "mode": self.args.mode,
                "nodes": nodes,
                "acknowledged": numbers.len(),
                "missing": missing,
                "failed_calls": self.failures.load(Ordering::SeqCst),
                "write_gap_ms": write_gap_ms,
                "read_gaps_ms": reads.collect::<serde_json::Map<_, _>>(),
                "record_index": index,
            }))?;
        } else {
            let gap =
                |ms: Option<u64>| ms.map_or("no interruption".into(), |ms| format!("{ms} ms"));
            let mut rows = vec![
                ("stopped", format!("nodes {nodes:?}, {}", self.args.mode)),
                ("acknowledged", format!("{} writes", numbers.len())),
                ("missing afterwards", missing.to_string()),
                ("without a write for", gap(write_gap_ms)),
            ];
            for ((probe, _), read) in self.reads.iter().zip(&reads) {
                let name = match probe {
                    Probe::Linearizable => "without a linearizable read for",
                    Probe::Bounded => "without a read bounded by 5 s for",
                    Probe::Session => "without a session read for",
                    Probe::Local => "without a local read for",
                };
                rows.push((name, gap(read.gap_ms)));
            }
            rows.push(("on record as", index.to_string()));
            output::say(&format!(
                "Drill of the {}\n{}",
                self.args.kill,
                output::lines(&rows)
            ))?;
        }
        if missing > 0 {
            let why = format!("{missing} acknowledged invoices are missing");
            return Err(CommandFailure::new(Exit::Unproven, why));
        }
        Ok(Exit::Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_the_longest_silence_after_the_stop() {
        let answers = Answers::default();
        let ms = Duration::from_millis;
        for at in [100, 200, 300, 1500, 1600] {
            answers.note(ms(at));
        }
        assert_eq!(answers.gap(ms(320), ms(1700)), Some(ms(1200)));
        assert_eq!(answers.gap(ms(1550), ms(1700)), None);
        // Nothing came any more: the silence lasts to the end.
        assert_eq!(answers.gap(ms(1650), ms(3000)), Some(ms(1400)));
        assert_eq!(Answers::default().gap(ms(0), ms(900)), Some(ms(900)));
    }
}
