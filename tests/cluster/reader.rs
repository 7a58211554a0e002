//! A reader in another language, written from the published formats alone, reads live
//! nodes: it agrees with every replica, and finds what a node or a middleman changed.
//!
//! Runs `tests/reader/reader.py`. Where no Python with `cryptography` is found the tests
//! say so and pass, unless `MUNIMENT_PYTHON_READER=required`, as in `make test`.

use crate::harness::{Cluster, Node, ORIGIN};
use crate::http::get;
use crate::oracles::{fill, log_vkey, published};
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::note::{Checkpoint, Note, VerifierKey};
use muniment_evidence::receipt::Receipt;
use muniment_proto::v1;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use tlog_tiles::{Hash, check_record, record_hash};
use tokio::task::block_in_place;

const WITNESS: &str = "witness.test/one";
const COSIGNED_AT_S: u64 = 1_700_000_000;

/// Reads with one Python.
struct Reader(&'static str);

impl Reader {
    /// The first Python that has what the reader needs: that of the path, which may be
    /// the user's own, or that of the system, for which packages exist.
    fn find() -> Option<Reader> {
        let has_all = |python: &&str| {
            let probe = Command::new(python)
                .args(["-c", "import cryptography"])
                .output();
            probe.is_ok_and(|probe| probe.status.success())
        };
        let found = ["python3", "/usr/bin/python3"].into_iter().find(has_all);
        if found.is_none() {
            let required = std::env::var("MUNIMENT_PYTHON_READER");
            assert_ne!(
                required.as_deref(),
                Ok("required"),
                "no Python 3 with `cryptography`; .ci/bootstrap installs it"
            );
            eprintln!("not run: no Python 3 with `cryptography` here");
        }
        found.map(Reader)
    }

    /// What it says, and that its exit code says the same.
    fn run(&self, arguments: &[&str]) -> Value {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reader/reader.py");
        let output = Command::new(self.0)
            .arg(script)
            .args(arguments)
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&output.stderr);
        let said: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {shown}"));
        let code = i32::from(said["ok"] != true);
        assert_eq!(output.status.code(), Some(code), "{said} {shown}");
        said
    }

    fn accepts(&self, arguments: &[&str]) -> Value {
        let said = self.run(arguments);
        assert_eq!(said["ok"], true, "{arguments:?}: {said}");
        said
    }

    /// Refused, and for the right reason.
    fn refuses(&self, arguments: &[&str], why: &str) {
        let said = self.run(arguments);
        let error = said["error"].as_str().unwrap_or_default();
        assert!(error.contains(why), "{arguments:?}: {said}, not: {why}");
    }
}

/// Stands between reader and node, and changes what the node said.
struct Middleman {
    port: u16,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Middleman {
    fn before(node: u16, change: impl Fn(&str, Vec<u8>) -> Vec<u8> + Send + 'static) -> Middleman {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ending = Arc::new(AtomicBool::new(false));
        let ended = ending.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                pass_on(stream.unwrap(), node, &change);
            }
        });
        Middleman {
            port,
            ending,
            thread: Some(thread),
        }
    }

    fn url(&self) -> String {
        url(self.port)
    }
}

impl Drop for Middleman {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        // Wakes it; if it is gone already, there is nothing to wake.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

fn pass_on(stream: TcpStream, node: u16, change: &dyn Fn(&str, Vec<u8>) -> Vec<u8>) {
    let mut asked = BufReader::new(stream);
    let mut request = String::new();
    asked.read_line(&mut request).unwrap();
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert!(asked.read_line(&mut line).unwrap() > 0, "half a request");
    }
    let path = request.split(' ').nth(1).unwrap();
    let answer = get(node, path);
    let body = change(path, answer.body);
    let head = format!(
        "HTTP/1.1 {} Passed\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.status,
        body.len()
    );
    let mut stream = asked.into_inner();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body).unwrap();
}

/// One bit of one answer is another.
fn flip(path: &'static str, at: usize) -> impl Fn(&str, Vec<u8>) -> Vec<u8> {
    move |asked, mut body| {
        if asked == path {
            body[at] ^= 1;
        }
        body
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn witness() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

fn witness_vkey() -> String {
    VerifierKey::cosigner(WITNESS, witness().public()).to_string()
}

/// The note with the witness's line at its end.
fn cosigned(note: &str) -> String {
    let text = Note::parse(note.as_bytes()).unwrap().text;
    let checkpoint = Checkpoint::parse(&text).unwrap();
    let line = checkpoint.cosign(WITNESS, &witness(), COSIGNED_AT_S);
    format!("{note}{line}")
}

async fn receipt(node: &Node, index: u64) -> Receipt {
    let request = v1::GetReceiptRequest {
        what: Some(v1::get_receipt_request::What::RecordIndex(index)),
        ..Default::default()
    };
    let answer = node.evidence().get_receipt(request).await.unwrap();
    Receipt::decode(&answer.into_inner().receipt.unwrap().bytes).unwrap()
}

/// A receipt's path and checkpoint as C2SP wants them.
fn tlog_proof(index: u64, receipt: &Receipt) -> String {
    let mut proof = format!("c2sp.org/tlog-proof@v1\nindex {index}\n");
    for hash in &receipt.path {
        proof += &format!("{}\n", Hash(hash.0));
    }
    format!("{proof}\n{}", cosigned(&receipt.checkpoint))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_in_another_language_agrees_and_finds_what_was_changed() {
    let Some(reader) = Reader::find() else {
        return;
    };
    let cluster = Cluster::start().await;
    let files = tempfile::tempdir().unwrap();
    let early = files.path().join("early.note");
    let kept = block_in_place(|| get(cluster.nodes[0].ports[2], "/checkpoint"));
    std::fs::write(&early, &kept.body).unwrap();
    fill(&cluster, 280, |_| {}).await;
    let size = published(&cluster).await;
    assert!(size > 256, "{size} records fill no tile");
    let vkey = log_vkey(&cluster);
    let genesis = cluster.trust.genesis.to_hex();
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.ports[2]).collect();
    block_in_place(|| {
        let said = ports.iter().map(|port| {
            let early = early.to_str().unwrap();
            let pins = ["--genesis", &genesis, "--head", early];
            reader.accepts(&[&["log", &url(*port), &vkey], &pins[..]].concat())
        });
        let said: Vec<Value> = said.collect();
        assert!(said.iter().all(|one| *one == said[0]), "{said:?}");
        assert_eq!(said[0]["size"], size);
        assert_eq!(said[0]["tiles"], 3, "two of level 0, one of level 1");
        assert_eq!(said[0]["outcomes"]["OK"], size);
        assert_eq!(said[0]["heads"], 1);
        finds_changes(&reader, ports[1], &vkey);
        counts_cosigners(&reader, ports[2], &vkey);
    });
    for (node, index) in cluster.nodes.iter().zip([0, 255, size - 1]) {
        let receipt = receipt(node, index).await;
        let proof = files.path().join(format!("{index}.tlog-proof"));
        std::fs::write(&proof, tlog_proof(index, &receipt)).unwrap();
        block_in_place(|| {
            checks_proof(&reader, &proof, index, &receipt, node.ports[2], &vkey);
        });
    }
}

fn finds_changes(reader: &Reader, port: u16, vkey: &str) {
    let refuses = |change: Middleman, why| {
        reader.refuses(&["log", &change.url(), vkey], why);
    };
    let flipped = |path, at| Middleman::before(port, flip(path, at));
    let entries = "/tile/entries/000";
    refuses(flipped(entries, 2 + 100), "another root");
    refuses(flipped(entries, 1), "bundle 0");
    refuses(flipped("/tile/0/000", 8191), "tile/0/000 is another");
    refuses(flipped("/tile/1/000.p/1", 0), "tile/1/000.p/1 is another");
    // In the root's base64, which the signature covers.
    refuses(flipped("/checkpoint", ORIGIN.len() + 6), "does not hold");
    let no_end = |path: &str, mut body: Vec<u8>| {
        if path == "/checkpoint" {
            body.pop();
        }
        body
    };
    refuses(Middleman::before(port, no_end), "no end");
    let zeros = |path: &str, body: Vec<u8>| match path {
        "/checkpoint" => String::from_utf8(body)
            .unwrap()
            .replacen('\n', "\n0", 1)
            .into_bytes(),
        _ => body,
    };
    refuses(Middleman::before(port, zeros), "does not hold");
    let url = url(port);
    let other = VerifierKey::log(ORIGIN, witness().public()).to_string();
    reader.refuses(&["log", &url, &other], "has not signed");
    let pinned = ["log", &url, vkey, "--genesis", &"0".repeat(64)];
    reader.refuses(&pinned, "another GENESIS");
}

/// A stock client ignores lines it has no key for; who has the key counts them.
fn counts_cosigners(reader: &Reader, port: u16, vkey: &str) {
    let cosign = |path: &str, body: Vec<u8>| match path {
        "/checkpoint" => cosigned(std::str::from_utf8(&body).unwrap()).into_bytes(),
        _ => body,
    };
    let middleman = Middleman::before(port, cosign);
    let witness_vkey = witness_vkey();
    let counted = ["--cosigner", &witness_vkey, "--quorum", "1"];
    let (direct, through) = (url(port), middleman.url());
    reader.accepts(&["log", &through, vkey]);
    let said = reader.accepts(&[&["log", &through, vkey], &counted[..]].concat());
    assert_eq!(said["cosigned"][WITNESS], COSIGNED_AT_S);
    let none = [&["log", &direct, vkey], &counted[..]].concat();
    reader.refuses(&none, "0 cosignatures, not 1");
    let spoilt = Middleman::before(port, move |path, body| {
        let mut body = cosign(path, body);
        if path == "/checkpoint" {
            // In the middle of the last line's base64.
            let at = body.len() - 20;
            body[at] = if body[at] == b'A' { b'B' } else { b'A' };
        }
        body
    });
    let spoilt = spoilt.url();
    reader.refuses(
        &[&["log", &spoilt, vkey], &counted[..]].concat(),
        "does not hold",
    );
}

fn checks_proof(
    reader: &Reader,
    proof: &Path,
    index: u64,
    receipt: &Receipt,
    port: u16,
    vkey: &str,
) {
    // First as `tlog_tiles` judges the same path.
    let note = Note::parse(receipt.checkpoint.as_bytes()).unwrap();
    let head = tlog_tiles::Checkpoint::from_bytes(note.text.as_bytes()).unwrap();
    let path = receipt.path.iter().map(|hash| Hash(hash.0)).collect();
    let leaf = record_hash(&receipt.record);
    check_record(&path, head.size(), *head.hash(), index, leaf).unwrap();

    let (file, entry) = (proof.to_str().unwrap(), index.to_string());
    let (url, witness_vkey) = (url(port), witness_vkey());
    let asked = ["proof", file, vkey, "--entry", &entry];
    let counted = ["--cosigner", &witness_vkey, "--quorum", "1"];
    let from_node = [&asked[..], &["--url", &url], &counted].concat();
    let said = reader.accepts(&from_node);
    assert_eq!(said["size"], head.size());
    assert_eq!(said["cosigned"][WITNESS], COSIGNED_AT_S);
    let record = proof.with_extension("record");
    std::fs::write(&record, &receipt.record).unwrap();
    let from_file = [&asked[..], &["--leaf", record.to_str().unwrap()]].concat();
    assert_eq!(reader.accepts(&from_file)["leaf"], said["leaf"]);
    std::fs::write(&record, &receipt.record[1..]).unwrap();
    reader.refuses(&from_file, "does not lead");

    let text = std::fs::read_to_string(proof).unwrap();
    let refuses = |text: String, why| {
        std::fs::write(proof, text).unwrap();
        reader.refuses(&from_node, why);
    };
    refuses(text.replacen("@v1", "@v2", 1), "version 1");
    refuses(text.replacen("index ", "index 0", 1), "index");
    refuses(text.replacen('\n', "\nextra AB==\n", 1), "not canonical");
    let line = format!("{}\n", Hash([9; 32]));
    refuses(
        text.replacen("\n\n", &format!("\n{line}\n"), 1),
        "does not lead",
    );
    std::fs::write(proof, text.replacen('\n', "\nextra AA==\n", 1)).unwrap();
    reader.accepts(&from_node);
}
