//! The preflight: what a node needs of its machine, looked at before it starts.
//!
//! Promises: each check says what it found and, when it fails, what to do. The preflight
//! makes and changes nothing on disk: what an fsync takes is measured on a file without a
//! name. Leaves starting to `node`, and what lies on
//! the machine already (keys, an older data directory) to those who read such files: they
//! hand in their findings.

use crate::config::Config;
use crate::objective::budget;
use crate::objective::disk::quantile;
use crate::objective::timing::{Contradiction, Profile};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Descriptors that a node should have: databases, peers, clients, and room.
const FD_MIN: u64 = 4096;
/// Probes whose median counts; few, since each is an fsync.
const FSYNC_PROBES: usize = 7;
/// Series of which the best counts: load on a disk passes, a slow disk stays.
const FSYNC_SERIES: usize = 3;
/// Where a probe is written, below the data directory.
const PROBE: &str = ".probe";

/// One line of the preflight.
#[derive(Clone, Debug)]
pub struct PreflightFinding {
    pub what: &'static str,
    pub good: bool,
    pub detail: String,
}

impl PreflightFinding {
    /// A check that told what it found, or what is wrong and what to do about it.
    pub fn new(what: &'static str, result: Result<String, impl fmt::Display>) -> PreflightFinding {
        PreflightFinding {
            what,
            good: result.is_ok(),
            detail: result.unwrap_or_else(|why| why.to_string()),
        }
    }
}

/// Why a machine does not fit.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// Something of it could not be used: what, why, and what to do about it.
    #[error("{place}: {error}{advice}")]
    Unusable {
        place: String,
        #[source]
        error: std::io::Error,
        advice: &'static str,
    },
    #[error("{}: {why}", dir.display())]
    SlowDisk { dir: PathBuf, why: Contradiction },
    #[error("{0}")]
    TooLittle(String),
}

impl Unfit {
    fn at(dir: &Path, error: std::io::Error) -> Unfit {
        Unfit::Unusable {
            place: dir.display().to_string(),
            error,
            advice: "",
        }
    }
}

/// Looks at the machine, with `files` between: findings on what lies there already. The
/// node may start if every finding is good.
pub fn preflight(config: &Config, files: Vec<PreflightFinding>) -> Vec<PreflightFinding> {
    let dir = &config.node.data_dir;
    let mut findings = vec![
        PreflightFinding::new("data directory writable", writable(dir)),
        PreflightFinding::new("fsync", fsync_unnamed(dir, config.cluster.profile)),
        PreflightFinding::new(
            "free space",
            free_space(there(dir), config.limits.disk_reserve_bytes),
        ),
        PreflightFinding::new("file descriptors", descriptors(config.limits.connections)),
    ];
    findings.extend(files);
    let listen = &config.listen;
    for (what, address) in [
        ("client port", listen.client),
        ("peer port", listen.peer),
        ("http port", listen.http),
    ] {
        findings.push(PreflightFinding::new(what, port(address)));
    }
    findings
}

/// The directory, or the one above it in which the node will make it.
fn there(dir: &Path) -> &Path {
    let mut above = dir.ancestors();
    let there = above.find(|dir| *dir != Path::new("") && dir.symlink_metadata().is_ok());
    there.unwrap_or(Path::new("."))
}

fn writable(dir: &Path) -> Result<String, Unfit> {
    use rustix::fs::Access;
    let there = there(dir);
    let unusable = |error| Unfit::Unusable {
        place: there.display().to_string(),
        error,
        advice: "; give the node's user write permission",
    };
    let metadata = std::fs::metadata(there).map_err(unusable)?;
    if !metadata.is_dir() {
        return Err(unusable(std::io::ErrorKind::NotADirectory.into()));
    }
    rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| unusable(error.into()))?;
    let shown = dir.display();
    Ok(match there == dir {
        true => shown.to_string(),
        false => format!(
            "{shown} is not there; the node makes it in {}",
            there.display()
        ),
    })
}

/// The same as at a start, on a file without a name where `dir` is or will be.
fn fsync_unnamed(dir: &Path, profile: Profile) -> Result<String, Unfit> {
    use rustix::fs::{Mode, OFlags};
    use rustix::io::Errno;
    let there = there(dir);
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(there, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => {
            let mut file = std::fs::File::from(file);
            fsync(there, profile, || fsync_page(&mut file))
        }
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Ok(
            "not measured: this file system has no files without a name; the node measures it \
             when it starts"
                .to_owned(),
        ),
        Err(error) => Err(Unfit::at(there, error.into())),
    }
}

/// What an fsync usually takes below `dir`, or that the profile does not allow it.
fn fsync(
    dir: &Path,
    profile: Profile,
    probe: impl FnMut() -> std::io::Result<Duration>,
) -> Result<String, Unfit> {
    let median = usual_fsync(profile, probe).map_err(|error| Unfit::at(dir, error))?;
    match profile.contradicted_by(None, Some(median)) {
        Some(why) => Err(Unfit::SlowDisk {
            dir: dir.to_owned(),
            why,
        }),
        None => Ok(format!("median {:.2} ms", median.as_secs_f64() * 1000.0)),
    }
}

/// Makes the directory if it is not there, and refuses a disk that is too slow for the
/// profile: its node would be in everybody's way.
pub fn disk_fits(dir: &Path, profile: Profile) -> Result<(), Unfit> {
    std::fs::create_dir_all(dir).map_err(|error| Unfit::at(dir, error))?;
    fsync(dir, profile, || probe_fsync(dir)).map(drop)
}

/// The best median of a few series; one that fits is enough.
fn usual_fsync(
    profile: Profile,
    mut probe: impl FnMut() -> std::io::Result<Duration>,
) -> std::io::Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..FSYNC_SERIES {
        let mut times = Vec::new();
        for _ in 0..FSYNC_PROBES {
            times.push(probe()?);
        }
        best = best.min(quantile(&mut times, 50).unwrap_or_default());
        if profile.contradicted_by(None, Some(best)).is_none() {
            break;
        }
    }
    Ok(best)
}

/// How long one page takes to be durable below `dir`; blocks.
pub fn probe_fsync(dir: &Path) -> std::io::Result<Duration> {
    let path = dir.join(PROBE);
    let probed = (|| -> std::io::Result<Duration> {
        let mut file = std::fs::File::create(&path)?;
        fsync_page(&mut file)
    })();
    // Also after a failure: a new directory must stay empty.
    let removed = std::fs::remove_file(&path);
    let took = probed?;
    removed.map(|()| took)
}

fn fsync_page(file: &mut std::fs::File) -> std::io::Result<Duration> {
    file.write_all(&[0; 4096])?;
    let started = tokio::time::Instant::now();
    file.sync_data()?;
    Ok(started.elapsed())
}

/// Bytes that the node's user may still write below `dir`.
pub fn free_bytes(dir: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail * stat.f_frsize)
}

/// What is free where data lies: of each volume less what the databases on it will take by
/// themselves, and of several volumes the least. `None` without an answer of the file system.
pub fn least_free(places: &[(PathBuf, u64)]) -> Option<u64> {
    let mut pending_on = BTreeMap::<u64, (&Path, u64)>::new();
    for (dir, pending) in places {
        let volume = std::fs::metadata(dir).ok()?.dev();
        let (_, sum) = pending_on.entry(volume).or_insert((dir, 0));
        *sum += pending;
    }
    let free = |(dir, pending): &(&Path, u64)| Some(free_bytes(dir).ok()?.saturating_sub(*pending));
    let each: Option<Vec<u64>> = pending_on.values().map(free).collect();
    each?.into_iter().min()
}

fn free_space(dir: &Path, reserve: u64) -> Result<String, Unfit> {
    let mib = |bytes: u64| bytes >> 20;
    // A database may have a volume of its own.
    let within = ["ledger", "bodies"].map(|name| dir.join(name));
    let within = within
        .iter()
        .filter(|dir| dir.exists())
        .map(|dir| free_bytes(dir));
    let least = within.fold(free_bytes(dir), |least, free| Ok(least?.min(free?)));
    match least {
        Ok(free) if free < reserve => Err(Unfit::TooLittle(format!(
            "{} MiB free, below limits.disk_reserve_bytes ({} MiB); make room",
            mib(free),
            mib(reserve)
        ))),
        Ok(free) => Ok(format!("{} MiB free", mib(free))),
        Err(error) => Err(Unfit::at(dir, error)),
    }
}

/// The limit that would be in force when a node with so many clients starts: it raises
/// the soft one as far as the hard one allows.
fn descriptors(connections: usize) -> Result<String, Unfit> {
    let wanted = budget::descriptors_wanted(connections).max(FD_MIN);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if most < wanted {
        return Err(Unfit::TooLittle(format!(
            "limit is {most}, below {wanted}: enough for {} client connections, not for \
             limits.connections ({connections}); raise it (ulimit -n, LimitNOFILE)",
            budget::client_connections(most).min(connections)
        )));
    }
    Ok(format!("limit is {most}, {wanted} are wanted"))
}

/// Raises the limit to `wanted`, as far as the machine allows; the limit in force.
pub fn raise_descriptors(wanted: u64) -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let (now, most) = (
        limit.current.unwrap_or(u64::MAX),
        limit.maximum.unwrap_or(u64::MAX),
    );
    if now >= wanted {
        return now;
    }
    let raised = wanted.min(most);
    limit.current = Some(raised);
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => raised,
        Err(error) => {
            tracing::warn!(%error, "the limit of file descriptors cannot be raised");
            now
        }
    }
}

fn port(address: SocketAddr) -> Result<String, Unfit> {
    let place = address.to_string();
    match TcpListener::bind(address) {
        Ok(_) => Ok(place),
        Err(error) => {
            let advice = match error.kind() {
                std::io::ErrorKind::AddrNotAvailable => "; it is no address of this machine",
                std::io::ErrorKind::PermissionDenied => "; this user may not listen there",
                _ => "; another process may be using it",
            };
            Err(Unfit::Unusable {
                place,
                error,
                advice,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Every path below, with what it is and when it was changed.
    fn tree(dir: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
        let mut all = BTreeMap::new();
        let mut left = vec![dir.to_owned()];
        while let Some(path) = left.pop() {
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                let entries = std::fs::read_dir(&path).unwrap();
                left.extend(entries.map(|entry| entry.unwrap().path()));
            }
            all.insert(
                path,
                (metadata.len(), metadata.mtime(), metadata.mtime_nsec()),
            );
        }
        all
    }

    /// A check that makes the directory makes it for the wrong user.
    #[test]
    fn the_preflight_changes_nothing_on_disk() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("there")).unwrap();
        for data in ["there", "missing", "missing/and/below"] {
            let mut config = Config::parse(crate::config::EXAMPLE).unwrap();
            config.node.data_dir = root.path().join(data);
            let before = tree(root.path());
            let findings = preflight(&config, Vec::new());
            assert_eq!(tree(root.path()), before, "{data}");
            let of_disk = |what: &str| findings.iter().find(|f| f.what == what).unwrap();
            for what in ["data directory writable", "free space"] {
                assert!(of_disk(what).good, "{data}: {}", of_disk(what).detail);
            }
            let said = &of_disk("data directory writable").detail;
            assert_eq!(
                said.contains("the node makes it"),
                data != "there",
                "{said}"
            );
        }
        // A file where the directory is to be.
        std::fs::write(root.path().join("file"), "x").unwrap();
        for data in ["file", "file/below"] {
            assert!(writable(&root.path().join(data)).is_err(), "{data}");
        }
    }

    /// Whoever mounts `bodies/` on a volume of its own was admitted by what another had free.
    #[test]
    fn of_several_volumes_the_one_with_the_least_room_counts() {
        let root = tempfile::tempdir().unwrap();
        let (ledger, bodies) = (root.path().join("ledger"), root.path().join("bodies"));
        for dir in [&ledger, &bodies] {
            std::fs::create_dir(dir).unwrap();
        }
        let least = |places: &[(&Path, u64)]| {
            let places = places
                .iter()
                .map(|(dir, pending)| (dir.to_path_buf(), *pending));
            least_free(&places.collect::<Vec<_>>())
        };
        let near = |a: u64, b: u64| a.abs_diff(b) < 64 << 20;
        let free = free_bytes(root.path()).unwrap();
        // On one volume, what both will take counts.
        let one = least(&[(&ledger, free / 4), (&bodies, free / 4)]).unwrap();
        assert!(near(one, free / 2), "{one} of {free}");
        // On two, each its own: the second has none left.
        let other = Path::new("/dev/shm");
        if std::fs::metadata(other).unwrap().dev() != std::fs::metadata(&ledger).unwrap().dev() {
            let all = free_bytes(other).unwrap();
            assert_eq!(least(&[(&ledger, 0), (other, 2 * all)]), Some(0));
            assert_eq!(least(&[(other, 2 * all), (&ledger, 0)]), Some(0));
        }
        assert_eq!(least(&[(&ledger, 0), (&root.path().join("gone"), 0)]), None);
    }

    #[test]
    fn an_address_of_another_machine_is_told_apart_from_one_in_use() {
        // 192.0.2.0/24 is of documents alone (RFC 5737).
        let elsewhere = port("192.0.2.1:7401".parse().unwrap()).unwrap_err();
        assert!(
            elsewhere.to_string().contains("no address of this machine"),
            "{elsewhere}"
        );
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let in_use = port(taken.local_addr().unwrap()).unwrap_err();
        assert!(in_use.to_string().contains("another process"), "{in_use}");
    }
}
