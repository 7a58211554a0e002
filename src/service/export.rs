//! Export: a range of the log as one bundle, streamed in bounded memory.
//!
//! Promises: the bundle ends in a checkpoint of exactly its end and in a digest of all
//! its bytes; what is exported is applied here before the first byte goes out.

use super::{Core, Error, Principal, prove};
use crate::domain::draft::bad;
use crate::objective::read::ReadLevel;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use muniment_evidence::bundle::{BundleWriter, Frame, Manifest, RecordFrame};
use muniment_evidence::note::Checkpoint;
use muniment_evidence::tree::Frontier;
use std::sync::Arc;

/// Records read at a time.
const RECORDS_AT_A_TIME: usize = 256;

enum Step {
    Manifest,
    Records(u64),
    End,
}

/// Records `from..to`; `to` 0 means the log as it is now.
pub async fn export(
    core: Arc<Core>,
    _principal: &Principal,
    from: u64,
    to: u64,
) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
    let booted = core.booted()?;
    core.fresh(ReadLevel::Linearizable).await?;
    let size = core.group.applied().size;
    let end = if to == 0 { size } else { to };
    if from >= end || end > size {
        let why = format!("{from}..{end} is not within the log's 0..{size}");
        return Err(bad("range", why).into());
    }
    let (genesis, origin) = (booted.genesis.clone(), booted.origin);
    let state = (core, Some(BundleWriter::new()), Step::Manifest);
    let pieces = stream::try_unfold(state, move |(core, writer, step)| {
        let (genesis, origin) = (genesis.clone(), origin.clone());
        async move {
            let Some(mut writer) = writer else {
                return Ok(None);
            };
            let (bytes, next) = match step {
                Step::Manifest => {
                    let edge = core
                        .read(move |tables| Frontier::load(&tables.tree_rows(), from))
                        .await?;
                    let manifest = Manifest {
                        origin,
                        ledger: genesis.leaf_hash(),
                        first: from,
                        end,
                        peaks: edge.peaks().to_vec(),
                        genesis: (*genesis).clone(),
                    };
                    let bytes = writer.frame(&Frame::Manifest(manifest));
                    (bytes, Step::Records(from))
                }
                Step::Records(next) if next < end => {
                    let page = core
                        .read(move |tables| prove::page(tables, next, end, RECORDS_AT_A_TIME))
                        .await?;
                    let (mut bytes, mut after) = (Vec::new(), next);
                    for listed in page {
                        after = listed.index + 1;
                        bytes.extend(writer.frame(&Frame::Record(RecordFrame {
                            record: listed.record,
                            document: listed.document,
                            actor: listed.actor,
                        })));
                    }
                    if after == next {
                        return Err(core.unavailable(format!("record {next} cannot be read")));
                    }
                    (bytes, Step::Records(after))
                }
                Step::Records(_) => {
                    let root = core.read(move |tables| tables.root_at(end)).await?;
                    let checkpoint = Checkpoint {
                        origin,
                        size: end,
                        root,
                    };
                    let note = checkpoint.sign(core.keys.log.as_ref());
                    (writer.frame(&Frame::Checkpoint(note)), Step::End)
                }
                Step::End => {
                    let end = Bytes::from(writer.finish());
                    return Ok(Some((end, (core, None, Step::End))));
                }
            };
            Ok(Some((Bytes::from(bytes), (core, Some(writer), next))))
        }
    });
    Ok(pieces.boxed())
}
