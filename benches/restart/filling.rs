//! Fills a founded directory through the Raft group and apply, without a network.
//!
//! Promises: every statement is signed and numbered as the node's own, and takes effect;
//! what is printed was applied and synced. Leaves signatures unverified, which intake
//! does in service.

use super::serving::{NODE, ZONE, data_of, keys_of};
use super::traffic::{Site, Traffic};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::BoxStream;
use muniment::clock::{Clock as _, SystemClock};
use muniment::domain::command::{Answer, Command, Submission};
use muniment::domain::ids::{NodeId, RecordIndex};
use muniment::keyring::Keyring;
use muniment::keyring::guard::SignedHead;
use muniment::ledger::state::State;
use muniment::misconduct::Misconduct;
use muniment::objective::timing::Profile;
use muniment::raft::group::{GroupSettings, RaftGroup};
use muniment::raft::proposals::ProposalTicket;
use muniment::stop::Stop;
use muniment::store::Blocking;
use muniment::store::engine::Engine;
use muniment::store::flush::Flusher;
use muniment::store::log::LogStore;
use muniment::store::marker::Marker;
use muniment::store::rocks::{Purpose, RocksEngine};
use muniment::store::watermark::WatermarkFile;
use muniment::telemetry::Metrics;
use muniment::transport::{Class, Destination, Failure, Frames, Method, Transport};
use muniment_evidence::key::Signer as _;
use muniment_evidence::keychange::Role;
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::Lane;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Enough entries to keep apply busy while others are made durable.
const IN_FLIGHT: usize = 64;
const PROGRESS_RECORDS: u64 = 100_000;
/// As the configuration has them when nothing is said.
const SNAPSHOT_AFTER_ENTRIES: u64 = 100_000;
const LOG_ENTRIES_KEPT: u64 = 50_000;
const LEADER_PAUSE: Duration = Duration::from_millis(20);

/// Nobody is there.
struct Alone;

impl Transport for Alone {
    fn call(
        &self,
        _to: Destination,
        _class: Class,
        _method: Method,
        _body: Bytes,
        _deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Failure>> {
        async { Err(Failure::Unreachable("there is one node".into())) }.boxed()
    }

    fn stream(
        &self,
        _to: Destination,
        _class: Class,
        _method: Method,
        _frames: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Frames, Failure>> {
        async { Err(Failure::Unreachable("there is one node".into())) }.boxed()
    }
}

/// Until the ledger has so many records.
pub async fn fill(dir: &Path, records: u64, entry_records: u64) -> Result<Value, Box<dyn Error>> {
    let data = data_of(dir);
    let engine: Arc<dyn Engine> =
        Arc::new(RocksEngine::open(&data.join("ledger"), Purpose::Ledger)?);
    let group = lead(&data, engine.clone()).await?;
    let (mut traffic, size) = begin(dir, engine.clone(), records)?;

    let begun = Instant::now();
    let (mut next, mut in_flight) = (size, VecDeque::new());
    while next < records {
        let count = entry_records.clamp(1, records - next);
        let submissions = (0..count).map(|_| {
            let written = traffic.write();
            Submission {
                statement: written.statement,
                signature: written.signature,
                document: written.document,
                actor: written.actor,
            }
            .into()
        });
        let command = Command {
            submissions: submissions.collect(),
            proposed_at_ms: SystemClock.now_ms(),
        };
        let ticket = group.queue(Bytes::from(command.encode())).await;
        let ticket = ticket.map_err(|refusal| refusal.to_string())?;
        in_flight.push_back((next, ticket));
        next += count;
        if in_flight.len() >= IN_FLIGHT {
            settle(&mut in_flight).await?;
        }
        if next / PROGRESS_RECORDS > (next - count) / PROGRESS_RECORDS {
            eprintln!("restart: {next} records after {:.0?}", begun.elapsed());
        }
    }
    while !in_flight.is_empty() {
        settle(&mut in_flight).await?;
    }
    let took = begun.elapsed().as_secs_f64();
    group.shutdown().await;
    engine.sync()?;
    Ok(json!({
        "records": next,
        "entry_records": entry_records,
        "seconds": took.round(),
        "records_per_second": ((next - size) as f64 / took).round(),
        "mib": bytes_below(&data)? >> 20,
    }))
}

/// Takes the oldest entry's answers; each must be the record that was meant.
async fn settle(in_flight: &mut VecDeque<(u64, ProposalTicket)>) -> Result<(), Box<dyn Error>> {
    let Some((first, ticket)) = in_flight.pop_front() else {
        return Ok(());
    };
    let proposed = ticket.done().await.map_err(|refusal| refusal.to_string())?;
    for (answer, index) in proposed.answers.iter().zip(first..) {
        let expected = Answer::Recorded {
            index: RecordIndex::new(index),
            outcome: Outcome::Ok,
        };
        if *answer != expected {
            return Err(format!("record {index} was not taken: {answer:?}").into());
        }
    }
    Ok(())
}

/// A group of one that leads, and has applied all that was there.
async fn lead(data: &Path, engine: Arc<dyn Engine>) -> Result<RaftGroup, Box<dyn Error>> {
    let stop = Stop::new();
    let flusher = Flusher::start(
        "ledger",
        engine.clone(),
        Blocking::Pool,
        stop.clone(),
        Arc::new(|_| {}),
    );
    let watermark = WatermarkFile::open(&data.join("watermark"))?;
    let log = LogStore::start(
        engine.clone(),
        Blocking::Pool,
        flusher,
        watermark,
        stop.clone(),
    );
    let settings = GroupSettings {
        node: NodeId::new(NODE),
        clock: Arc::new(SystemClock),
        timing: Profile::Lan.timing(),
        snapshot_after_entries: SNAPSHOT_AFTER_ENTRIES,
        log_entries_kept: LOG_ENTRIES_KEPT,
        snapshots: Some(data.join("snapshots")),
        has_disk_space: Arc::new(|| true),
        incarnation: [1; 16],
        misconduct: Misconduct::new(Metrics::new().peer_misdeeds, Arc::new(SystemClock)),
    };
    let transport = Arc::new(Alone);
    let group = RaftGroup::start(
        settings,
        engine,
        Blocking::Pool,
        log,
        transport,
        stop,
        SignedHead::default(),
    )
    .await?;
    loop {
        let status = group.status();
        // What the node had proposed when it was stopped is a record too.
        if group.is_leader() && status.applied_index == status.last_log_index {
            return Ok(group);
        }
        tokio::time::sleep(LEADER_PAUSE).await;
    }
}

/// The node's own traffic from where its ledger stands, and the ledger's size.
fn begin(
    dir: &Path,
    engine: Arc<dyn Engine>,
    records: u64,
) -> Result<(Traffic, u64), Box<dyn Error>> {
    let state = State::new(engine);
    let (head, boots) = state.read(|tables| {
        let boots = tables.lane(NodeId::new(NODE), Lane::Boot)?;
        Ok((tables.head()?, boots))
    })?;
    let boots = boots.ok_or("the node has never booted")?;
    let marker = Marker::read(&data_of(dir))?.ok_or("the directory has no marker")?;
    let keys = Keyring::load(&keys_of(dir))?;
    let public = *keys.public(Role::Statement).first().ok_or("no key")?;
    let key = keys.find(Role::Statement, &public).ok_or("no key")?;
    assert_eq!(key.public(), public);
    let site = Site {
        node: NODE,
        zone: ZONE.to_owned(),
        incarnation: marker.incarnation,
        key: (*key).clone(),
        boots: (boots.next_seq.get(), boots.last),
    };
    // A statement takes a millisecond of its clock, which is not to run ahead.
    let time_ms = SystemClock.now_ms().saturating_sub(records);
    let traffic = Traffic::new(head.ledger, vec![site], head.size.get(), time_ms);
    Ok((traffic, head.size.get()))
}

fn bytes_below(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => bytes_below(&entry.path())?,
            false => metadata.len(),
        };
    }
    Ok(bytes)
}
