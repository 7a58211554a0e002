//! One node as `muniment serve` runs it: laid out, founded, started until it is ready.
//!
//! Promises: started means that /readyz answers 200; a node that is dropped is killed.
//! Leaves times to `main`.

use muniment::clock::SystemClock;
use muniment::keyring::{self, Keyring};
use muniment_evidence::digest::hex;
use muniment_evidence::keychange::Role;
use serde_json::json;
use std::error::Error;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub const ORIGIN: &str = "restart.example/0";
pub const NODE: u64 = 1;
pub const ZONE: &str = "zone-1";
const REGION: &str = "region-1";
const PROGRAM: &str = env!("CARGO_BIN_EXE_muniment");
/// Far beyond what is hoped for, so that a slow start is a figure and not an error.
const READY_MAX: Duration = Duration::from_secs(120);
/// Between two questions whether it is ready; the figures are as coarse.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// A directory with configuration and keys.
pub struct Site {
    dir: PathBuf,
    /// For clients, peers, and HTTP.
    ports: [u16; 3],
}

/// A process that was ready.
pub struct Node(Child);

/// Where a node laid out in `dir` keeps its keys.
pub fn keys_of(dir: &Path) -> PathBuf {
    dir.join("keys")
}

/// Where a node laid out in `dir` keeps its data.
pub fn data_of(dir: &Path) -> PathBuf {
    dir.join("data")
}

impl Site {
    pub fn lay_out(dir: &Path) -> Result<Site, Box<dyn Error>> {
        keyring::generate(&keys_of(dir), &SystemClock)?;
        keyring::generate_log_key(&keys_of(dir), &SystemClock)?;
        // Held together, so that they differ, and given back for the node to take.
        let held = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
        let mut ports = [0; 3];
        for (port, listener) in ports.iter_mut().zip(held) {
            *port = listener?.local_addr()?.port();
        }
        let site = Site {
            dir: dir.to_owned(),
            ports,
        };
        let [client, peer, http] = site.ports;
        let text = format!(
            "[node]\nid = {NODE}\nzone = \"{ZONE}\"\nregion = \"{REGION}\"\ndata_dir = \"data\"\n\
             [listen]\nclient = \"127.0.0.1:{client}\"\npeer = \"127.0.0.1:{peer}\"\n\
             http = \"127.0.0.1:{http}\"\n[keys]\ndir = \"keys\"\n\
             [cluster]\norigin = \"{ORIGIN}\"\n",
        );
        fs::write(site.config(), text)?;
        Ok(site)
    }

    fn config(&self) -> PathBuf {
        self.dir.join("muniment.toml")
    }

    /// Founds the ledger, and stops the node again.
    pub async fn found(&self) -> Result<(), Box<dyn Error>> {
        let keys = Keyring::load(&keys_of(&self.dir))?;
        let key = |role| keys.public(role).first().map(|key| hex(&key.0));
        let [client, peer, _] = self.ports;
        let members = json!([{
            "node": NODE,
            "region": REGION,
            "zone": ZONE,
            "client_address": format!("127.0.0.1:{client}"),
            "peer_address": format!("127.0.0.1:{peer}"),
            "statement_key": key(Role::Statement),
            "cosignature_key": key(Role::Cosignature),
        }]);
        let path = self.dir.join("members.json");
        fs::write(&path, members.to_string())?;
        let node = self.spawn()?;
        self.wait_for("/healthz", |_| true).await?;
        let founded = Command::new(PROGRAM)
            .args(["--endpoints", &format!("http://127.0.0.1:{client}")])
            .args(["cluster", "init", "--origin", ORIGIN, "--members"])
            .arg(&path)
            .arg("-o")
            .arg(self.dir.join("trust"))
            .output()?;
        if !founded.status.success() {
            let said = String::from_utf8_lossy(&founded.stderr);
            return Err(format!("cluster init: {said}").into());
        }
        self.wait_ready().await?;
        node.terminate()
    }

    /// Returns when it is ready.
    pub async fn start(&self) -> Result<Node, Box<dyn Error>> {
        let node = self.spawn()?;
        self.wait_ready().await?;
        Ok(node)
    }

    fn spawn(&self) -> Result<Node, Box<dyn Error>> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))?;
        let child = Command::new(PROGRAM)
            .args(["serve", "--config"])
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Node(child))
    }

    async fn wait_ready(&self) -> Result<(), Box<dyn Error>> {
        self.wait_for("/readyz", |head| head.starts_with("HTTP/1.1 200"))
            .await
    }

    async fn wait_for(
        &self,
        path: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(), Box<dyn Error>> {
        let begun = Instant::now();
        let mut said = String::from("nothing");
        while begun.elapsed() < READY_MAX {
            match self.get(path).await {
                Ok(head) if wanted(&head) => return Ok(()),
                Ok(head) => said = head,
                // Not listening yet.
                Err(error) => said = error.to_string(),
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        Err(format!("{path} says {said} after {READY_MAX:?}; the node's log:\n{log}").into())
    }

    async fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[2])).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

impl Node {
    /// SIGTERM; an error if it does not end as it was asked to.
    pub fn terminate(mut self) -> Result<(), Box<dyn Error>> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = self.0.wait()?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("serve ended with {status}").into()),
        }
    }

    /// SIGKILL, at whatever it is doing.
    pub fn kill(mut self) -> Result<(), Box<dyn Error>> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
