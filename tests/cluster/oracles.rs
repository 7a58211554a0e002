//! What stock transparency-log crates make of live nodes: they read the tiles over HTTP
//! and prove with them, without any of our code.
//!
//! `tlog_tiles` and `signed_note` are ports of what the Go checksum database runs on.
//! Leaves a reader in another language to [`crate::reader`].

use crate::harness::{Cluster, ORIGIN, SOON, body, issue};
use crate::http::{ask, get};
use futures::StreamExt as _;
use muniment::keyring::Keyring;
use muniment_evidence::keychange::Role;
use muniment_evidence::note::VerifierKey;
use signed_note::{Note, StandardVerifier, VerifierList};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tlog_tiles::{
    Checkpoint, Hash, HashReader, Tile, TileHashReader, TileReader, check_record, check_tree,
    prove_record, prove_tree, record_hash, stored_hash_index, stored_hashes, tree_hash,
};
use tokio::task::block_in_place;
use tokio::time::Instant;

/// The log of tiles has tiles of 2^8 hashes.
const HEIGHT: u8 = 8;
const WIDTH: u64 = 1 << HEIGHT;
/// Calls at once: enough that several statements share a Raft entry.
const CALLS: usize = 48;
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The verifier key that an auditor gets from the operator.
pub fn log_vkey(cluster: &Cluster) -> String {
    let keys = Keyring::load(&cluster.nodes[0].dir.join("keys")).unwrap();
    VerifierKey::log(ORIGIN, keys.public(Role::Log)[0]).to_string()
}

/// Issues so many small invoices through all nodes; after each, `look` is shown the HTTP
/// port of a node, in turn.
pub async fn fill(cluster: &Cluster, count: u64, mut look: impl FnMut(u16)) {
    let calls = (0..count).map(|n| async move {
        let number = format!("N-{n}");
        let node = &cluster.nodes[n as usize % cluster.nodes.len()];
        issue(node, &number, &number, &body(n, 64)).await.unwrap();
        n
    });
    let mut done = futures::stream::iter(calls).buffer_unordered(CALLS);
    while let Some(n) = done.next().await {
        let node = &cluster.nodes[(n / 7) as usize % cluster.nodes.len()];
        block_in_place(|| look(node.ports[2]));
    }
}

/// Waits until every node publishes the whole of a log that no longer grows; its size.
pub async fn published(cluster: &Cluster) -> u64 {
    let size = cluster.settled().await[0].log_size;
    let deadline = Instant::now() + SOON;
    for node in &cluster.nodes {
        let line = size.to_string();
        while block_in_place(|| {
            get(node.ports[2], "/checkpoint").text().lines().nth(1) != Some(&line)
        }) {
            assert!(Instant::now() < deadline, "node {} lags", node.id);
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
    size
}

/// A node's log over HTTP, as `tlog_tiles` reads it; remembers what proved authentic.
struct Served {
    port: u16,
    authentic: RefCell<HashMap<Tile, Vec<u8>>>,
}

impl Served {
    fn by(port: u16) -> Served {
        Served {
            port,
            authentic: RefCell::default(),
        }
    }

    /// The newest checkpoint, once `signed_note` has verified its signature.
    fn checkpoint(&self, vkey: &str) -> Checkpoint {
        let verifier = StandardVerifier::new(vkey).unwrap();
        let note = Note::from_bytes(&get(self.port, "/checkpoint").body).unwrap();
        let (signed, _) = note
            .verify(&VerifierList::new(vec![Box::new(verifier)]))
            .unwrap();
        assert_eq!(signed.len(), 1);
        let checkpoint = Checkpoint::from_bytes(note.text()).unwrap();
        assert_eq!(checkpoint.origin(), ORIGIN);
        assert_eq!(checkpoint.extension(), "");
        checkpoint
    }

    fn entries(&self, index: u64, width: u64) -> Vec<Vec<u8>> {
        let path = path("entries", index, width);
        let answer = get(self.port, &path);
        assert_eq!(answer.status, 200, "{path}");
        let (mut rest, mut entries) = (&answer.body[..], Vec::new());
        while let Some((length, more)) = rest.split_first_chunk::<2>() {
            let (entry, after) = more.split_at(usize::from(u16::from_be_bytes(*length)));
            entries.push(entry.to_vec());
            rest = after;
        }
        assert!(rest.is_empty(), "{path}: half a length");
        assert_eq!(entries.len() as u64, width, "{path}");
        entries
    }
}

impl TileReader for Served {
    fn height(&self) -> u8 {
        HEIGHT
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &Tile| {
            if let Some(known) = self.authentic.borrow().get(tile) {
                return Ok(known.clone());
            }
            let answer = get(self.port, &tile_path(tile));
            let found = answer.status == 200;
            found
                .then_some(answer.body)
                .ok_or(tlog_tiles::Error::InvalidTile)
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, tiles: &[Tile], data: &[Vec<u8>]) {
        let pairs = tiles.iter().copied().zip(data.iter().cloned());
        self.authentic.borrow_mut().extend(pairs);
    }
}

/// The hashes of a tree that `tlog_tiles` has built from records alone.
struct Built(Vec<Hash>);

impl Built {
    fn from(records: &[Vec<u8>]) -> Built {
        let mut built = Built(Vec::new());
        for (n, record) in (0..).zip(records) {
            let more = stored_hashes(n, record, &built).unwrap();
            built.0.extend(more);
        }
        built
    }
}

impl HashReader for Built {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let read = |&index: &u64| self.0.get(index as usize).copied();
        let all: Option<Vec<Hash>> = indexes.iter().map(read).collect();
        all.ok_or(tlog_tiles::Error::IndexesNotInTree)
    }
}

/// C2SP leaves out the height, which Go's paths begin with.
fn tile_path(tile: &Tile) -> String {
    tile.path().replacen("tile/8/", "/tile/", 1)
}

/// The path of a bundle or tile whose index has three digits.
fn path(kind: &str, index: u64, width: u64) -> String {
    match width {
        WIDTH => format!("/tile/{kind}/{index:03}"),
        _ => format!("/tile/{kind}/{index:03}.p/{width}"),
    }
}

/// Two full tiles and a partial one, and every checkpoint on the way is a prefix of the
/// last one, whichever replica showed it.
#[tokio::test(flavor = "multi_thread")]
async fn stock_tools_read_every_replica_alike() {
    let cluster = Cluster::start().await;
    let vkey = log_vkey(&cluster);
    let mut seen = BTreeMap::new();
    let mut keep = |checkpoint: &Checkpoint| {
        let root = seen.entry(checkpoint.size()).or_insert(*checkpoint.hash());
        assert_eq!(root, checkpoint.hash(), "two roots of one size");
    };
    for node in &cluster.nodes {
        keep(&block_in_place(|| {
            Served::by(node.ports[2]).checkpoint(&vkey)
        }));
    }
    fill(&cluster, 560, |port| {
        let served = Served::by(port);
        let checkpoint = served.checkpoint(&vkey);
        // Whoever was shown a size finds its tiles at once, while the log grows on.
        let newest = stored_hash_index(0, checkpoint.size() - 1);
        TileHashReader::new(checkpoint.size(), *checkpoint.hash(), &served)
            .read_hashes(&[newest])
            .unwrap();
        keep(&checkpoint);
    })
    .await;
    let size = published(&cluster).await;
    assert!(size > 2 * WIDTH, "{size} records fill no two tiles");
    assert!(seen.len() > 2, "only sizes {:?} were seen", seen.keys());
    block_in_place(|| {
        let last: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| Served::by(node.ports[2]).checkpoint(&vkey))
            .collect();
        assert!(last.iter().all(|one| *one == last[0]), "{last:?}");
        assert_eq!(last[0].size(), size);
        for node in &cluster.nodes {
            let records = proofs_hold(node.ports[2], &last[0], &seen);
            every_size_has_its_tiles(node.ports[2], &records);
            answers_have_the_right_form(node.ports[2], size);
        }
    });
}

/// Proofs are made from a replica's tiles and checked against the checkpoints that any
/// replica signed. Returns the records.
fn proofs_hold(port: u16, last: &Checkpoint, seen: &BTreeMap<u64, Hash>) -> Vec<Vec<u8>> {
    let served = Served::by(port);
    let (size, root) = (last.size(), *last.hash());
    let tiles = TileHashReader::new(size, root, &served);
    let mut records = Vec::new();
    for index in 0..size.div_ceil(WIDTH) {
        let width = WIDTH.min(size - index * WIDTH);
        records.extend(served.entries(index, width));
    }
    for n in [0, 1, 254, 255, 256, 257, 511, 512, size - 1] {
        let proof = prove_record(size, n, &tiles).unwrap();
        let leaf = record_hash(&records[n as usize]);
        check_record(&proof, size, root, n, leaf).unwrap();
        let other = record_hash(&records[(n as usize + 1) % records.len()]);
        check_record(&proof, size, root, n, other).unwrap_err();
    }
    for (&before, &head) in seen {
        let proof = prove_tree(size, before, &tiles).unwrap();
        check_tree(&proof, size, root, before, head).unwrap();
    }
    records
}

/// A checkpoint of any size may have been signed, and then its partial tiles are due.
fn every_size_has_its_tiles(port: u16, records: &[Vec<u8>]) {
    let served = Served::by(port);
    let built = Built::from(records);
    for size in 1..=records.len() as u64 {
        for tile in Tile::new_tiles(HEIGHT, size - 1, size) {
            let answer = get(port, &tile_path(&tile));
            assert_eq!(answer.status, 200, "{tile:?} of size {size}");
            assert_eq!(
                answer.body,
                tile.read_data(&built).unwrap(),
                "{tile:?} of size {size}"
            );
        }
        let index = (size - 1) / WIDTH;
        let first = (index * WIDTH) as usize;
        assert_eq!(
            served.entries(index, size - index * WIDTH),
            records[first..size as usize]
        );
    }
    let size = records.len() as u64;
    let root = tree_hash(size, &built).unwrap();
    let unsigned = Checkpoint::new(ORIGIN, size, root, "").unwrap();
    let note = get(port, "/checkpoint");
    assert!(note.body.starts_with(&unsigned.to_bytes()));
}

fn answers_have_the_right_form(port: u16, size: u64) {
    let (full, rest) = (size / WIDTH, size % WIDTH);
    let checkpoint = get(port, "/checkpoint");
    assert_eq!(
        checkpoint.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    let cached = checkpoint.header("cache-control").unwrap();
    assert_eq!(cached, "public, max-age=1", "a few seconds at most");
    let whole = [
        path("0", 0, WIDTH),
        path("0", full, rest),
        path("1", 0, full),
        path("entries", 0, WIDTH),
        path("entries", full, rest),
    ];
    for tile in &whole {
        let answer = get(port, tile);
        assert_eq!(answer.status, 200, "{tile}");
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("application/octet-stream"), "{tile}");
        let cached = answer.header("cache-control").unwrap();
        assert!(cached.contains("immutable"), "{tile}: {cached}");
        assert_eq!(answer.header("content-encoding"), None, "{tile}");
    }
    assert_eq!(get(port, &whole[0]).body.len(), 8192);
    for there in whole.iter().map(String::as_str).chain(["/checkpoint"]) {
        let (got, head) = (get(port, there), ask(port, "HEAD", there));
        assert_eq!(head.status, 200, "{there}");
        assert!(head.body.is_empty(), "{there}");
        for name in ["content-type", "cache-control"] {
            assert_eq!(head.header(name), got.header(name), "{there}: {name}");
        }
        assert!(head.header("content-length").is_some(), "{there}");
        assert_eq!(ask(port, "POST", there).status, 405, "{there}");
    }
    let beyond = [
        path("0", full, rest + 1),
        path("0", full, WIDTH),
        path("0", full + 1, 1),
        path("1", 0, full + 1),
        path("1", 0, WIDTH),
        path("2", 0, 1),
        path("63", 0, 1),
        path("entries", full, rest + 1),
        path("entries", full, WIDTH),
        path("entries", full + 1, 1),
    ];
    let misspelt = [
        "/tile/0/000.p/0",
        "/tile/1/000.p/0",
        "/tile/entries/000.p/0",
        "/tile/0/000.p/256",
        "/tile/0/000.p/01",
        "/tile/0/000.p/+1",
        "/tile/0/000.p/",
        "/tile/0/0",
        "/tile/0/x000/000",
        "/tile/00/000",
        "/tile/64/000.p/1",
        "/tile/-1/000",
        "/tile/0/000/",
        "/tile/0/%30%30%30",
        "/tile/0%2F000",
        "/tile/8/0/000",
        "/tile/data/000",
        "/tile/0/x999/x999/x999/x999/x999/x999/999",
    ];
    let absent = beyond.iter().map(String::as_str).chain(misspelt);
    for path in absent {
        let answer = get(port, path);
        assert_eq!(answer.status, 404, "{path}");
        // Or a cache may go on denying a tile that came a moment later.
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
}
