//! The preflight: what a node needs of its machine, looked at before it starts.
//!
//! Promises: each check says what it found and, when it fails, what to do. Changes
//! nothing but a probe file that it removes. Leaves starting to `node`.

use super::Config;
use crate::keyring;
use crate::store::marker::Marker;
use crate::witness::post::Target;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

/// Descriptors that a node should have: databases, peers, clients, and room.
const FD_MIN: u64 = 4096;
/// Probes whose median is shown; few, since each is an fsync.
const FSYNC_PROBES: usize = 9;
/// Above this, group commit cannot keep a write below a tenth of a second.
const FSYNC_SLOW_MS: f64 = 50.0;

/// One line of the preflight.
#[derive(Clone, Debug)]
pub struct Finding {
    pub what: &'static str,
    pub good: bool,
    pub detail: String,
}

/// Looks at everything; the node may start if every finding is good.
pub fn preflight(config: &Config) -> Vec<Finding> {
    let dir = &config.node.data_dir;
    let mut findings = vec![
        finding("data directory writable", writable(dir)),
        finding("fsync", fsync(dir)),
        finding(
            "free space",
            free_space(dir, config.limits.disk_reserve_bytes),
        ),
        finding("file descriptors", descriptors()),
        finding("keys", keys(&config.keys.dir)),
        finding("data directory is this node's", belongs(config)),
    ];
    if !config.witness.is_empty() {
        findings.push(finding("witnesses", witnesses(config)));
    }
    let listen = &config.listen;
    for (what, address) in [
        ("client port", listen.client),
        ("peer port", listen.peer),
        ("http port", listen.http),
    ] {
        findings.push(finding(what, port(address)));
    }
    findings
}

fn finding(what: &'static str, result: Result<String, String>) -> Finding {
    let good = result.is_ok();
    Finding {
        what,
        good,
        detail: result.unwrap_or_else(|why| why),
    }
}

fn writable(dir: &Path) -> Result<String, String> {
    let shown = dir.display();
    std::fs::create_dir_all(dir)
        .and_then(|()| {
            let probe = dir.join(".probe");
            std::fs::write(&probe, b"probe")?;
            std::fs::remove_file(&probe)
        })
        .map(|()| shown.to_string())
        .map_err(|e| format!("{shown}: {e}; give the node's user write permission"))
}

fn fsync(dir: &Path) -> Result<String, String> {
    let path = dir.join(".probe");
    let probe = || -> std::io::Result<f64> {
        let mut file = std::fs::File::create(&path)?;
        let mut times = Vec::new();
        for _ in 0..FSYNC_PROBES {
            file.write_all(&[0; 4096])?;
            let started = tokio::time::Instant::now();
            file.sync_data()?;
            times.push(started.elapsed().as_secs_f64() * 1000.0);
        }
        times.sort_by(f64::total_cmp);
        std::fs::remove_file(&path)?;
        Ok(times[FSYNC_PROBES / 2])
    };
    match probe() {
        Ok(ms) if ms > FSYNC_SLOW_MS => Err(format!(
            "median {ms:.2} ms; this disk is too slow for a synced log"
        )),
        Ok(ms) => Ok(format!("median {ms:.2} ms")),
        Err(error) => Err(format!("{}: {error}", dir.display())),
    }
}

/// Bytes that the node's user may still write below `dir`.
pub fn free_bytes(dir: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail * stat.f_frsize)
}

fn free_space(dir: &Path, reserve: u64) -> Result<String, String> {
    let mib = |bytes: u64| bytes >> 20;
    match free_bytes(dir) {
        Ok(free) if free < reserve => Err(format!(
            "{} MiB free, below limits.disk_reserve_bytes ({} MiB); make room",
            mib(free),
            mib(reserve)
        )),
        Ok(free) => Ok(format!("{} MiB free", mib(free))),
        Err(error) => Err(format!("{}: {error}", dir.display())),
    }
}

fn descriptors() -> Result<String, String> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if current < FD_MIN {
        return Err(format!(
            "limit is {current}, below {FD_MIN}; raise it (ulimit -n, LimitNOFILE)"
        ));
    }
    Ok(format!("limit is {current}"))
}

fn keys(dir: &Path) -> Result<String, String> {
    keyring::Keyring::load(dir)
        .map(|_| dir.display().to_string())
        .map_err(|error| error.to_string())
}

fn belongs(config: &Config) -> Result<String, String> {
    let dir = &config.node.data_dir;
    match Marker::read(dir).map_err(|error| error.to_string())? {
        None => Ok("empty, will be this node's".into()),
        Some(marker) => marker
            .check(&config.cluster.origin, config.node.id)
            .map(|()| format!("node {} of {}", marker.node, marker.origin))
            .map_err(|error| error.to_string()),
    }
}

/// Whether each could be asked; nobody is asked here, since none must be up for a start.
fn witnesses(config: &Config) -> Result<String, String> {
    for witness in &config.witness {
        Target::new(&witness.url, witness.ca.as_deref())?;
    }
    let names = config.witness.iter().map(|w| w.key.name.as_str());
    Ok(names.collect::<Vec<_>>().join(", "))
}

fn port(address: SocketAddr) -> Result<String, String> {
    TcpListener::bind(address)
        .map(|_| address.to_string())
        .map_err(|e| format!("{address}: {e}; another process may be using it"))
}
