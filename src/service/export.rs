//! Export: a range of the log, or an issuer's part of it, as one bundle in bounded memory.
//!
//! Promises: the bundle ends in a checkpoint of exactly its end and in a digest of all
//! its bytes; what is exported is applied here before the first byte goes out; the same
//! request gives the same frames, so that a broken stream goes on at the frame where it
//! broke. A selection holds, of the range, the records about one issuer's invoices and
//! all system records.
//!
//! Tests: `tests/cluster/breadth.rs`, `tests/cluster/kills.rs`.

use super::records::{self, ListedRecord};
use super::{Parts, prove};
use crate::domain::call_error::CallError;
use crate::domain::draft::bad;
use crate::domain::ids::{RecordIndex, TreeSize, Uid};
use crate::ledger::state::Tables;
use crate::objective::read::ReadLevel;
use crate::raft::reads::Reads;
use crate::store;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use muniment_evidence::bundle::{BundleWriter, CheckpointFrame, Frame, Manifest, RecordFrame};
use muniment_evidence::opening::Document;
use muniment_evidence::record::Record;
use muniment_evidence::tree::{self, Frontier};
use std::collections::{HashMap, HashSet};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Records read at a time.
const RECORDS_AT_A_TIME: usize = 256;
/// Bytes gathered before they are handed on: well below one message.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that may wait for a slow reader.
const PIECES_WAITING_MAX: usize = 4;

/// Whose part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    pub tenant: String,
    pub issuer: String,
}

/// What is to be exported.
#[derive(Clone, Debug, Default)]
pub struct ExportRequest {
    pub from: RecordIndex,
    /// Exclusive; 0 means the log as it is now.
    pub to: TreeSize,
    /// Times of commitment in place of `from` and `to`.
    pub from_ms: Option<u64>,
    pub to_ms: Option<u64>,
    /// Size of the last checkpoint; 0 leaves it to the server. A stream that goes on
    /// names what its manifest said.
    pub head: TreeSize,
    pub issuer: Option<Issuer>,
    /// Frames that the caller has already.
    pub skip_frames: u64,
}

/// The bytes of the bundle, in pieces.
pub async fn export(
    parts: &Parts,
    mut wanted: ExportRequest,
) -> Result<BoxStream<'static, Result<Bytes, CallError>>, CallError> {
    let booted = parts.writes.booted()?;
    parts.reads.fresh(ReadLevel::Linearizable).await?;
    let size = parts.reads.context.group.applied().size;
    let first_since = |time_ms| parts.reads.read(move |tables| tables.first_since(time_ms));
    if let Some(time_ms) = wanted.from_ms {
        wanted.from = first_since(time_ms).await?;
    }
    if let Some(time_ms) = wanted.to_ms {
        wanted.to = first_since(time_ms).await?.size_before();
    }
    if wanted.to == TreeSize::EMPTY && wanted.to_ms.is_some() {
        return Err(bad("to_ms", "is before the first record").into());
    }
    if wanted.to > size {
        let why = format!(
            "{}..{} is not within the log's 0..{size}",
            wanted.from, wanted.to
        );
        return Err(bad("range", why).into());
    }
    let notes = prove::notes_from(parts, &booted, wanted.to, wanted.head, size).await?;
    // The end may be above `size`: the log has grown while a note was waited for.
    let (end, head) = (notes.end, notes.head);
    if wanted.from >= end.next_index() {
        let why = format!("{}..{end} is not within the log's 0..{size}", wanted.from);
        return Err(bad("range", why).into());
    }
    let issuer = match wanted.issuer {
        Some(issuer) => {
            let tenant = parts.tenants.name(&issuer.tenant)?;
            Some(Issuer { tenant, ..issuer })
        }
        None => None,
    };
    let known = parts.keys.now().await?;
    let (pieces, stream) = mpsc::channel(PIECES_WAITING_MAX);
    let exporter = Exporter {
        filter: SelectionFilter::new(issuer),
        out: Out {
            writer: BundleWriter::new(),
            skip: wanted.skip_frames,
            held: Vec::new(),
            pieces: pieces.clone(),
        },
        reads: parts.reads.clone(),
    };
    let from = wanted.from;
    tokio::spawn(async move {
        let manifest = move |tables: &Tables<'_>, selection: String| {
            let tip = Frontier::load(&tables.tree_rows(), from.size_before())?;
            Ok(Manifest {
                origin: booted.origin,
                ledger: booted.genesis.leaf_hash(),
                first: from,
                end,
                head,
                selection,
                peaks: tip.peaks().to_vec(),
                genesis: (*booted.genesis).clone(),
            })
        };
        let keys = move |tables: &Tables<'_>| known.proven(tables, head);
        let result = exporter
            .run(manifest, keys, from..end.next_index(), notes.frames)
            .await;
        if let Err(Some(error)) = result {
            // If the reader has gone, nobody needs to be told.
            let _ = pieces.send(Err(error)).await;
        }
    });
    Ok(ReceiverStream::new(stream).boxed())
}

struct Exporter {
    reads: Reads,
    filter: SelectionFilter,
    out: Out,
}

/// `Err(None)`: the reader has gone.
type Step<T> = Result<T, Option<CallError>>;

impl Exporter {
    async fn run(
        mut self,
        manifest: impl FnOnce(&Tables<'_>, String) -> Result<Manifest, store::StoreError>
        + Send
        + 'static,
        keys: impl FnOnce(
            &Tables<'_>,
        )
            -> Result<Vec<muniment_evidence::receipt::KeyRecord>, store::StoreError>
        + Send
        + 'static,
        range: std::ops::Range<RecordIndex>,
        notes: Vec<CheckpointFrame>,
    ) -> Step<()> {
        let words = self.filter.words();
        let read = self
            .reads
            .read(move |tables| Ok((manifest(tables, words)?, keys(tables)?)));
        let (manifest, keys) = read.await.map_err(Some)?;
        let head = manifest.head;
        self.out.frame(&Frame::Manifest(manifest)).await?;
        for key in keys {
            self.out.frame(&Frame::Key(key)).await?;
        }
        let (mut next, end) = (range.start, range.end);
        while next < end {
            let mut filter = self.filter;
            let read = self.reads.read(move |tables| {
                let page = records::page(tables, next, end, RECORDS_AT_A_TIME)?;
                let after = page.last().map_or(next, |listed| listed.index.next());
                let frames = filter.filter(tables, page, end)?;
                Ok((filter, frames, after))
            });
            let (back, frames, after) = read.await.map_err(Some)?;
            self.filter = back;
            if after == next {
                let why = format!("record {next} cannot be read");
                return Err(Some(self.reads.unavailable(why)));
            }
            next = after;
            for (frame, path) in frames {
                let frame = match path {
                    None => Frame::Record(frame),
                    Some(path) => Frame::Proven(frame, path),
                };
                self.out.frame(&frame).await?;
            }
        }
        let last = self
            .reads
            .read(move |tables| prove::last_record(tables, head));
        if let Some(last) = last.await.map_err(Some)? {
            self.out.frame(&Frame::Last(last)).await?;
        }
        for note in notes {
            self.out.frame(&Frame::Checkpoint(note)).await?;
        }
        self.out.finish().await
    }
}

/// Frames on their way out: those that the caller has are counted and hashed only.
struct Out {
    writer: BundleWriter,
    skip: u64,
    held: Vec<u8>,
    pieces: mpsc::Sender<Result<Bytes, CallError>>,
}

impl Out {
    async fn frame(&mut self, frame: &Frame) -> Step<()> {
        let bytes = self.writer.frame(frame);
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        self.held.extend_from_slice(&bytes);
        if self.held.len() >= PIECE_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Step<()> {
        let writer = std::mem::take(&mut self.writer);
        self.held.extend_from_slice(&writer.finish());
        self.send().await
    }

    async fn send(&mut self) -> Step<()> {
        let piece = Bytes::from(std::mem::take(&mut self.held));
        self.pieces.send(Ok(piece)).await.map_err(|_| None)
    }
}

/// Lets the records of a selection through; all of them where there is none.
struct SelectionFilter {
    issuer: Option<Issuer>,
    /// Whether an invoice is the issuer's: each is looked up once.
    known: HashMap<Uid, bool>,
    /// Downloads let through: their ends are too.
    downloads: HashSet<RecordIndex>,
}

type Filtered = Vec<(RecordFrame, Option<Vec<muniment_evidence::digest::Digest>>)>;

impl SelectionFilter {
    fn new(issuer: Option<Issuer>) -> SelectionFilter {
        SelectionFilter {
            issuer,
            known: HashMap::new(),
            downloads: HashSet::new(),
        }
    }

    fn words(&self) -> String {
        let words = |of: &Issuer| format!("tenant={} issuer={}", of.tenant, of.issuer);
        self.issuer.as_ref().map_or(String::new(), words)
    }

    fn filter(
        &mut self,
        tables: &Tables<'_>,
        page: Vec<ListedRecord>,
        end: RecordIndex,
    ) -> Result<Filtered, store::StoreError> {
        let mut filtered = Vec::with_capacity(page.len());
        for listed in page {
            let path = if self.issuer.is_none() {
                None
            } else if self.takes(tables, &listed)? {
                let rows = tables.tree_rows();
                Some(tree::inclusion_proof(
                    &rows,
                    listed.index,
                    end.size_before(),
                )?)
            } else {
                continue;
            };
            let frame = RecordFrame {
                record: listed.record,
                document: listed.document,
                actor: listed.actor,
            };
            filtered.push((frame, path));
        }
        Ok(filtered)
    }

    fn takes(
        &mut self,
        tables: &Tables<'_>,
        listed: &ListedRecord,
    ) -> Result<bool, store::StoreError> {
        let record = Record::decode(&listed.record).map_err(|error| {
            store::StoreError::corrupt_in(format!("record {}", listed.index), error)
        })?;
        if record.statement.kind.is_system() {
            return Ok(true);
        }
        // Without its opening (erased, or malformed) nobody can tell whose it is.
        let Some(Ok(document)) = listed
            .document
            .as_ref()
            .map(|opening| Document::decode(&opening.bytes))
        else {
            return Ok(false);
        };
        Ok(match document {
            Document::Issue(d) | Document::Reverse(d) => self.is_issuers(&d.metadata.identity),
            Document::AddRendition(d) => self.of_issuer(tables, Uid(d.uid))?,
            Document::Void(d) => self.of_issuer(tables, Uid(d.uid))?,
            Document::Download(d) => {
                let taken = self.of_issuer(tables, Uid(d.uid))?;
                if taken {
                    self.downloads.insert(listed.index);
                }
                taken
            }
            Document::DownloadEnd(d) => d
                .downloads
                .iter()
                .any(|end| self.downloads.contains(&end.download)),
            _ => false,
        })
    }

    fn is_issuers(&self, identity: &muniment_evidence::opening::Identity) -> bool {
        self.issuer
            .as_ref()
            .is_some_and(|of| of.tenant == identity.tenant && of.issuer == identity.issuer)
    }

    fn of_issuer(&mut self, tables: &Tables<'_>, uid: Uid) -> Result<bool, store::StoreError> {
        if let Some(known) = self.known.get(&uid) {
            return Ok(*known);
        }
        let of = match tables.invoice_row(uid)? {
            None => false,
            Some(row) => match tables.document(row.index)? {
                Document::Issue(d) | Document::Reverse(d) => self.is_issuers(&d.metadata.identity),
                _ => false,
            },
        };
        self.known.insert(uid, of);
        Ok(of)
    }
}
