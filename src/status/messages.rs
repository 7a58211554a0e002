//! What nodes say of their status, byte for byte.
//!
//! Promises one encoding per message, led by a version; a message of a version that this
//! build does not know is refused by that number, never half understood. Leaves meaning
//! to the files beside.

use super::processes::Process;
use crate::domain::cause::Cause;
use crate::domain::ids::{LogIndex, NodeId, RecordIndex, TreeSize};
use crate::objective::timing::Profile;
use crate::objective::write::WriteLevel;
use crate::raft::identity::Disk;
use crate::transport::{Failure, MESSAGE_VERSION, read_message};
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;
use muniment_evidence::statement::Level;
use std::time::Duration;

/// Of [`StatusRequest`] and [`StatusReply`].
pub const STATUS_VERSION: u8 = 3;
/// Statuses in one answer: more members than any ledger has, far below a frame.
const STATUSES_MAX: usize = 256;
/// Earlier states in one status: a few steps of different width.
const MARKS_MAX: usize = 8;

/// Who a node is and how it is configured: as long as it runs, the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    pub node: NodeId,
    /// Of its data directory.
    pub incarnation: Disk,
    /// Of this start of it.
    pub process: Process,
    /// Of everything that must be configured alike on every node.
    pub config_digest: Digest,
    pub profile: Profile,
    pub software: String,
}

/// How far a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeProgress {
    /// Raft index applied, and the rolling state hash after it.
    pub applied_index: LogIndex,
    pub state_hash: Digest,
    /// Records in its log.
    pub log_size: TreeSize,
    /// Records below which it holds every record and body durably.
    pub body_complete: TreeSize,
}

/// How well a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeHealth {
    /// It has booted into the ledger.
    pub ready: bool,
    /// 99th percentile of the syncs of its ledger database, in the last window that had
    /// one.
    pub fsync_p99: Option<Duration>,
    /// It says itself that its disk is slow.
    pub disk_slow: bool,
    /// It is drained, or about to stop: others had better lead.
    pub leaving: bool,
    pub disk_free_bytes: u64,
    /// Bodies that records name and that it does not hold.
    pub bodies_missing: u64,
    pub repair_queue: u64,
    pub orphan_bytes: u64,
}

/// The status of one node, by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    pub identity: NodeIdentity,
    pub progress: NodeProgress,
    /// Its rolling state hash after some earlier entries, for others to compare.
    pub marks: Vec<(LogIndex, Digest)>,
    pub health: NodeHealth,
    /// What its wall clock says.
    pub clock_ms: u64,
}

/// A node tells another its status, and asks for the other's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRequest {
    pub own: NodeStatus,
    /// Whether the other is taken for the leader and asked for all that it knows.
    pub of_all: bool,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReply {
    pub own: NodeStatus,
    /// Only from the leader, to a member that asked for it.
    pub of_all: Option<AllStatuses>,
}

/// What the leader knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllStatuses {
    /// Every status, and its age in ms.
    pub statuses: Vec<(NodeStatus, u64)>,
}

/// A question how durable an entry and what it names are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurabilityRequest {
    pub raft_index: LogIndex,
    /// The record whose bodies must be held too; `None` where it names none.
    pub record: Option<RecordIndex>,
    /// Nodes that signed for the bodies.
    pub holders: Vec<NodeId>,
    pub level: WriteLevel,
    pub wait_ms: u64,
}

/// Where it is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DurabilityReply {
    pub met: bool,
    pub nodes: Vec<NodeId>,
}

impl NodeStatus {
    pub fn node(&self) -> NodeId {
        self.identity.node
    }

    fn write(&self, w: &mut Writer) {
        let NodeIdentity {
            node,
            incarnation,
            process,
            config_digest,
            profile,
            software,
        } = &self.identity;
        w.u64(node.get()).raw(incarnation).raw(process);
        w.digest(config_digest);
        w.text(&profile.to_string()).text(software);
        let progress = &self.progress;
        w.u64(progress.applied_index.get())
            .digest(&progress.state_hash);
        w.u64(progress.log_size.get())
            .u64(progress.body_complete.get());
        w.list(&self.marks, |w, (index, hash)| {
            w.u64(index.get()).digest(hash);
        });
        let health = &self.health;
        w.u8(u8::from(health.ready));
        let micros = health.fsync_p99.map(|time| time.as_micros() as u64);
        w.option(micros.as_ref(), |w, micros| {
            w.u64(*micros);
        });
        w.u8(u8::from(health.disk_slow));
        w.u8(u8::from(health.leaving)).u64(health.disk_free_bytes);
        w.u64(health.bodies_missing).u64(health.repair_queue);
        w.u64(health.orphan_bytes);
        w.u64(self.clock_ms);
    }

    fn read(r: &mut Reader<'_>) -> Result<NodeStatus, DecodeError> {
        Ok(NodeStatus {
            identity: NodeIdentity {
                node: NodeId::read(r)?,
                incarnation: r.array()?,
                process: r.array()?,
                config_digest: r.digest()?,
                profile: {
                    let name = r.text()?;
                    name.parse().map_err(|_| r.error("a timing profile"))?
                },
                software: r.text()?,
            },
            progress: NodeProgress {
                applied_index: LogIndex::read(r)?,
                state_hash: r.digest()?,
                log_size: TreeSize::read(r)?,
                body_complete: TreeSize::read(r)?,
            },
            marks: {
                let marks = r.list(|r| Ok((LogIndex::read(r)?, r.digest()?)))?;
                let few = marks.len() <= MARKS_MAX;
                few.then_some(marks).ok_or_else(|| r.error("a few marks"))?
            },
            health: NodeHealth {
                ready: r.flag()?,
                fsync_p99: r.option(Reader::u64)?.map(Duration::from_micros),
                disk_slow: r.flag()?,
                leaving: r.flag()?,
                disk_free_bytes: r.u64()?,
                bodies_missing: r.u64()?,
                repair_queue: r.u64()?,
                orphan_bytes: r.u64()?,
            },
            clock_ms: r.u64()?,
        })
    }
}

impl StatusRequest {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(STATUS_VERSION);
        self.own.write(&mut w);
        w.u8(u8::from(self.of_all));
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<StatusRequest, Failure> {
        read_status(bytes, |r| {
            Ok(StatusRequest {
                own: NodeStatus::read(r)?,
                of_all: r.flag()?,
            })
        })
    }
}

impl StatusReply {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(STATUS_VERSION);
        self.own.write(&mut w);
        w.option(self.of_all.as_ref(), |w, all| {
            w.list(&all.statuses, |w, (status, age_ms)| {
                status.write(w);
                w.u64(*age_ms);
            });
        });
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<StatusReply, Failure> {
        read_status(bytes, |r| {
            let reply = StatusReply {
                own: NodeStatus::read(r)?,
                of_all: r.option(|r| {
                    Ok(AllStatuses {
                        statuses: r.list(|r| Ok((NodeStatus::read(r)?, r.u64()?)))?,
                    })
                })?,
            };
            let all = reply.of_all.as_ref().map_or(0, |all| all.statuses.len());
            (all <= STATUSES_MAX)
                .then_some(reply)
                .ok_or_else(|| r.error("a few statuses"))
        })
    }
}

/// Reads a message of the status exchange behind its version, to its end.
fn read_status<T>(
    bytes: &[u8],
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<T, Failure> {
    let mut r = Reader::new(bytes);
    let version = r.u8().map_err(refused)?;
    if version != STATUS_VERSION {
        let why =
            format!("a status of version {version}; this build knows version {STATUS_VERSION}");
        return Err(Failure::Refused(why.into()));
    }
    let found = read(&mut r).map_err(refused)?;
    r.end().map_err(refused)?;
    Ok(found)
}

fn refused(error: DecodeError) -> Failure {
    Failure::Refused(Cause::new(error))
}

impl DurabilityRequest {
    pub fn encode(&self) -> Vec<u8> {
        let (class, k) = self.level.to_statement().code();
        let mut w = Writer::new();
        w.u8(MESSAGE_VERSION).u64(self.raft_index.get());
        w.option(self.record.as_ref(), |w, record| {
            w.u64(record.get());
        });
        w.list(&self.holders, |w, node| {
            w.u64(node.get());
        });
        w.u8(class).u8(k).u64(self.wait_ms);
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<DurabilityRequest, Failure> {
        read_message(bytes, |r| {
            Ok(DurabilityRequest {
                raft_index: LogIndex::read(r)?,
                record: r.option(RecordIndex::read)?,
                holders: r.list(NodeId::read)?,
                level: Level::from_code(r.u8()?, r.u8()?)
                    .and_then(WriteLevel::from_statement)
                    .ok_or_else(|| r.error("a write level"))?,
                wait_ms: r.u64()?,
            })
        })
    }
}

impl DurabilityReply {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(MESSAGE_VERSION).u8(u8::from(self.met));
        w.list(&self.nodes, |w, node| {
            w.u64(node.get());
        });
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<DurabilityReply, Failure> {
        read_message(bytes, |r| {
            Ok(DurabilityReply {
                met: r.flag()?,
                nodes: r.list(NodeId::read)?,
            })
        })
    }
}

/// A status of a node, for tests of what is made of it.
#[cfg(test)]
pub(super) fn status_for_tests(node: NodeId) -> NodeStatus {
    NodeStatus {
        identity: NodeIdentity {
            node,
            incarnation: [node.get() as u8; 16],
            process: [node.get() as u8; 16],
            config_digest: Digest([5; 32]),
            profile: Profile::Lan,
            software: "muniment".into(),
        },
        progress: NodeProgress::default(),
        marks: Vec::new(),
        health: NodeHealth::default(),
        clock_ms: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> NodeStatus {
        NodeStatus {
            identity: NodeIdentity {
                node: NodeId::new(3),
                incarnation: [4; 16],
                process: [6; 16],
                config_digest: Digest([5; 32]),
                profile: Profile::Wan,
                software: "muniment 0.1.0".into(),
            },
            progress: NodeProgress {
                applied_index: LogIndex::new(9),
                state_hash: Digest([7; 32]),
                log_size: TreeSize::new(8),
                body_complete: TreeSize::new(6),
            },
            marks: vec![(LogIndex::new(2), Digest([6; 32]))],
            health: NodeHealth {
                ready: true,
                fsync_p99: Some(Duration::from_micros(1234)),
                disk_slow: true,
                leaving: true,
                disk_free_bytes: 1,
                bodies_missing: 2,
                repair_queue: 3,
                orphan_bytes: 5,
            },
            clock_ms: 8,
        }
    }

    #[test]
    fn statuses_read_back() {
        for of_all in [false, true] {
            let request = StatusRequest {
                own: status(),
                of_all,
            };
            assert_eq!(StatusRequest::decode(&request.encode()), Ok(request));
        }
        let all = AllStatuses {
            statuses: vec![(status(), 20)],
        };
        for of_all in [None, Some(AllStatuses::default()), Some(all)] {
            let mut own = status();
            own.health.fsync_p99 = None;
            let reply = StatusReply { own, of_all };
            assert_eq!(StatusReply::decode(&reply.encode()), Ok(reply));
        }
    }

    /// What stands on the wire: a change of these bytes is a new version.
    #[test]
    fn the_bytes_of_version_3_are_these() {
        let request = StatusRequest {
            own: status(),
            of_all: true,
        };
        let number = |n: u64| n.to_be_bytes().to_vec();
        let text = |text: &str| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
        let bytes = [
            vec![3],
            number(3),
            vec![4; 16],
            vec![6; 16],
            vec![5; 32],
            text("wan"),
            text("muniment 0.1.0"),
            number(9),
            vec![7; 32],
            number(8),
            number(6),
            vec![0, 0, 0, 1],
            number(2),
            vec![6; 32],
            vec![1],
            vec![1],
            number(1234),
            vec![1],
            vec![1],
            number(1),
            number(2),
            number(3),
            number(5),
            number(8),
            vec![1],
        ];
        assert_eq!(request.encode(), bytes.concat());
    }

    /// While a cluster is brought to a newer build, node by node, the two do not
    /// understand half of each other.
    #[test]
    fn an_unknown_version_is_refused_by_its_number() {
        let request = StatusRequest {
            own: status(),
            of_all: false,
        };
        let mut later = request.encode();
        later[0] = 4;
        later.extend_from_slice(b"and what we do not know yet");
        match StatusRequest::decode(&later) {
            Err(Failure::Refused(why)) => assert!(why.to_string().contains("version 4"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert!(StatusRequest::decode(&[]).is_err());
        let whole = request.encode();
        assert!(StatusRequest::decode(&whole[..whole.len() - 1]).is_err());
        assert!(StatusRequest::decode(&[&whole[..], &[0]].concat()).is_err());
    }

    #[test]
    fn durability_reads_back_and_others_are_refused() {
        let request = DurabilityRequest {
            raft_index: LogIndex::new(1),
            record: Some(RecordIndex::new(2)),
            holders: [1, 3].map(NodeId::new).to_vec(),
            level: WriteLevel::Regions(2),
            wait_ms: 100,
        };
        let read = DurabilityRequest::decode(&request.encode());
        assert_eq!(read, Ok(request.clone()));
        let reply = DurabilityReply {
            met: false,
            nodes: vec![NodeId::new(1)],
        };
        assert_eq!(DurabilityReply::decode(&reply.encode()), Ok(reply));
        let mut later = request.encode();
        later[0] = 2;
        assert!(DurabilityRequest::decode(&later).is_err());
    }
}
