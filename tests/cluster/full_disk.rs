//! A disk that fills up: bodies are refused early, reads, evidence and deletes go on.

use crate::harness::{Cluster, Settings, body, download, http, issue, key};
use muniment_evidence::report::Verdict;
use muniment_proto::v1;
use std::path::{Path, PathBuf};
use std::process::Command;
use tonic::Code;

const DISK_MIB: u64 = 512;
const RESERVE_MIB: u64 = 64;
const BODY_BYTES: usize = 1 << 20;

/// A file system of its own, gone when it is dropped.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    /// `None`, with a word, where it cannot be mounted.
    fn mount() -> Option<Disk> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={DISK_MIB}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "muniment-test"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Disk { dir }),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                println!("skipped: no tmpfs can be mounted here: {why}");
                None
            }
            Err(error) => {
                println!("skipped: no tmpfs can be mounted here: {error}");
                None
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn grow(&self, mib: u64) {
        let size = format!("remount,size={mib}m");
        let grown = Command::new("mount")
            .args(["-o", &size])
            .arg(self.dir.path())
            .status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg("-l")
            .arg(self.dir.path())
            .status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.dir.path().display());
        }
    }
}

fn free_mib(dir: &Path) -> u64 {
    muniment::preflight::free_bytes(dir).unwrap() >> 20
}

#[tokio::test(flavor = "multi_thread")]
async fn i11_a_full_disk_refuses_bodies_and_goes_on() {
    let Some(disk) = Disk::mount() else {
        return;
    };
    let settings = Settings {
        limits: "disk_reserve_bytes = 67108864",
        ..Settings::default()
    };
    let mut cluster = Cluster::start_prepared(settings, |nodes| {
        let text = std::fs::read_to_string(&nodes[0].config).unwrap();
        let data_dir = format!("data_dir = \"{}\"", disk.path().display());
        let text = text.replace("data_dir = \"data\"", &data_dir);
        std::fs::write(&nodes[0].config, text).unwrap();
    })
    .await;
    let small = &cluster.nodes[0];
    let mut taken = 0u64;
    let refused = loop {
        let (number, request) = (format!("F-{taken}"), format!("f-{taken}"));
        match issue(small, &number, &request, &body(taken, BODY_BYTES)).await {
            Ok(_) => taken += 1,
            Err(status) => break status,
        }
        assert!(taken < 2 * DISK_MIB, "bodies are never refused");
    };
    let free = free_mib(disk.dir.path());
    println!("refused after {taken} bodies of 1 MiB with {free} MiB of {DISK_MIB} free");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("nearly full"), "{refused:?}");
    assert!(taken > 20, "refused long before the disk was full");
    // Early: the reserve is untouched.
    assert!(free >= RESERVE_MIB, "{free}");

    // Reads, downloads with their records, and what deletes go on here.
    for n in 0..50 {
        let number = format!("F-{}", n % taken);
        let get = v1::GetRequest {
            key: key(&number),
            read: None,
        };
        small.invoices().get(get).await.unwrap();
        let (_, bytes, _) = download(small, &number).await.unwrap();
        assert_eq!(bytes, body(n % taken, BODY_BYTES));
    }
    let void = v1::VoidRequest {
        request_id: "void".into(),
        key: key("F-0"),
        ..Default::default()
    };
    small.invoices().void(void).await.unwrap();
    // So does issuing elsewhere: the level's other holders have room.
    for n in 0..4 {
        let (number, request) = (format!("E-{n}"), format!("e-{n}"));
        issue(&cluster.nodes[1], &number, &request, &body(n, BODY_BYTES))
            .await
            .unwrap();
    }
    assert!(small.status().await.unwrap().ready);

    // Something else eats into what is kept for evidence.
    let eaten = free_mib(disk.dir.path()) - RESERVE_MIB / 8;
    let filler = disk.dir.path().join("filler");
    std::fs::write(&filler, vec![1; (eaten as usize) << 20]).unwrap();
    let status = small
        .wait_status("it says that it is nearly full", |s| !s.ready)
        .await;
    let why = status.reasons.join("; ");
    assert!(why.contains("disk nearly full"), "{why}");
    assert!(http(small, "/readyz").await.0.contains("503"));
    let (_, bytes, _) = download(small, "F-1").await.unwrap();
    assert_eq!(bytes, body(1, BODY_BYTES));
    std::fs::remove_file(&filler).unwrap();
    small.wait_status("it is ready again", |s| s.ready).await;

    // With more room it takes bodies again, and starts as it was.
    disk.grow(3 * DISK_MIB);
    let (number, request) = (format!("F-{taken}"), format!("f-{taken}"));
    let mut issued = Err(refused);
    for _ in 0..20 {
        issued = issue(small, &number, &request, &body(taken, BODY_BYTES)).await;
        if issued.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(issued.is_ok(), "{issued:?}");
    cluster.nodes[0].terminate();
    cluster.nodes[0].start();
    cluster.wait_ready().await;
    let states = cluster.settled().await;
    assert!(states.iter().all(|s| s.state_hash == states[0].state_hash));
    let report = cluster.verify(&cluster.export(0).await);
    assert_eq!(report.verdict(), Verdict::Verified, "{report}");
    drop(cluster);
    drop(disk);
}
