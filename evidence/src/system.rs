//! The documents of system kinds: public, with zero salt, never erased, in every bundle.
//!
//! Promises one encoding each, as in [`crate::opening`], which gathers them. They hold no
//! tenant's data. What a KEY record says is in [`crate::keychange`].
//!
//! Tests: `evidence/tests/documents.rs`, `evidence/tests/formats.rs`.

use crate::codec::{DecodeError, Reader, Writer};
use crate::digest::Digest;
use crate::endorsement::{Endorsable, Endorsements};
use crate::ids::{LogIndex, NodeId, OutboxId, Sequence, Term};
use crate::key::PublicKey;
use crate::opening::begin;
use crate::statement::Kind;

/// A founding member and its public keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub node: NodeId,
    pub region: String,
    pub zone: String,
    pub statement_key: PublicKey,
    pub cosignature_key: PublicKey,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenesisDocument {
    pub origin: String,
    pub log_key: PublicKey,
    pub members: Vec<Member>,
    /// How many of the root keys must endorse a change of keys; 0 where there are none,
    /// and a majority of the members endorses.
    pub threshold: u8,
    pub root_keys: Vec<PublicKey>,
    /// Who may order what no member decides alone; none where that was waived.
    pub operator_keys: Vec<PublicKey>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootDocument {
    pub incarnation: [u8; 16],
    pub statement_key: PublicKey,
    pub software: String,
    /// Every outbox that the node has, or had when it last booted.
    pub outboxes: Vec<BootOutbox>,
}

/// Where an outbox stands when its node boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootOutbox {
    pub id: OutboxId,
    /// The seq that its next statement will have.
    pub next: Sequence,
    /// Hash of the statement before `next`; zero at 0.
    pub last: Digest,
    /// The node no longer has it: what was not recorded by now will never be.
    pub lost: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderDocument {
    pub term: Term,
    pub leader: NodeId,
    /// Position of the leader's first entry in the Raft log.
    pub log_index: LogIndex,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipDocument {
    pub log_index: LogIndex,
    /// One set, or two while the members change.
    pub voters: Vec<Vec<NodeId>>,
    pub learners: Vec<NodeId>,
}

/// Somebody outside has vouched for a checkpoint of this ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorDocument {
    /// The signed note of the checkpoint.
    pub note: String,
    pub by: AnchoredBy,
}

/// Who vouches, and how; each kind has a code of its own, and there is room for more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnchoredBy {
    /// A witness, whose line is in the note; its key, `name+hash+key`, names its algorithm.
    Witness(String),
    /// A time stamping authority: a token of RFC 3161 over SHA-256 of the note's text. It is
    /// looked at by who knows the authority, and by nobody here.
    TimeStamp { authority: String, token: Vec<u8> },
}

impl AnchoredBy {
    /// The name by which people know it.
    pub fn who(&self) -> &str {
        match self {
            AnchoredBy::Witness(who) | AnchoredBy::TimeStamp { authority: who, .. } => who,
        }
    }
}

/// The setting that leaders move by themselves, so that bodies that no record names are
/// collected; every other is an operator's to will.
pub const UPLOAD_EPOCH: &str = "upload_epoch";

/// Settings of the ledger itself: each takes its value where this record stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDocument {
    pub settings: Vec<Setting>,
    /// Of an operator who wills it, where the ledger has operator keys.
    pub order: Option<Endorsements>,
}

impl Endorsable for PolicyDocument {
    fn unendorsed(&self) -> Vec<u8> {
        let mut w = begin(Kind::Policy);
        self.write_unendorsed(&mut w);
        w.finish()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub name: String,
    pub value: u64,
}

/// The setting that says what the ledger takes.
pub const FEATURE_LEVEL: &str = "feature_level";
/// From this level on, chain and keys may mean something else.
pub const CRITICAL_LEVEL: u64 = 1 << 32;

pub(crate) fn write_nodes(w: &mut Writer, nodes: &[NodeId]) {
    w.list(nodes, |w, node| {
        w.u64(node.get());
    });
}

impl GenesisDocument {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.text(&self.origin).raw(&self.log_key.0);
        w.list(&self.members, |w, member| {
            w.u64(member.node.get())
                .text(&member.region)
                .text(&member.zone);
            w.raw(&member.statement_key.0)
                .raw(&member.cosignature_key.0);
        });
        w.u8(self.threshold);
        for keys in [&self.root_keys, &self.operator_keys] {
            w.list(keys, |w, key| {
                w.raw(&key.0);
            });
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<GenesisDocument, DecodeError> {
        Ok(GenesisDocument {
            origin: r.text()?,
            log_key: PublicKey(r.array()?),
            members: r.list(|r| {
                Ok(Member {
                    node: NodeId::read(r)?,
                    region: r.text()?,
                    zone: r.text()?,
                    statement_key: PublicKey(r.array()?),
                    cosignature_key: PublicKey(r.array()?),
                })
            })?,
            threshold: r.u8()?,
            root_keys: r.list(|r| Ok(PublicKey(r.array()?)))?,
            operator_keys: r.list(|r| Ok(PublicKey(r.array()?)))?,
        })
    }
}

impl BootDocument {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.raw(&self.incarnation)
            .raw(&self.statement_key.0)
            .text(&self.software);
        w.list(&self.outboxes, |w, outbox| {
            w.u64(outbox.id.get())
                .u64(outbox.next.get())
                .digest(&outbox.last);
            w.u8(u8::from(outbox.lost));
        });
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<BootDocument, DecodeError> {
        Ok(BootDocument {
            incarnation: r.array()?,
            statement_key: PublicKey(r.array()?),
            software: r.text()?,
            outboxes: r.list(|r| {
                Ok(BootOutbox {
                    id: OutboxId::read(r)?,
                    next: Sequence::read(r)?,
                    last: r.digest()?,
                    lost: r.flag()?,
                })
            })?,
        })
    }
}

impl LeaderDocument {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.u64(self.term.get()).u64(self.leader.get());
        w.u64(self.log_index.get());
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<LeaderDocument, DecodeError> {
        Ok(LeaderDocument {
            term: Term::read(r)?,
            leader: NodeId::read(r)?,
            log_index: LogIndex::read(r)?,
        })
    }
}

impl MembershipDocument {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.u64(self.log_index.get());
        w.list(&self.voters, |w, set| write_nodes(w, set));
        write_nodes(w, &self.learners);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<MembershipDocument, DecodeError> {
        Ok(MembershipDocument {
            log_index: LogIndex::read(r)?,
            voters: r.list(|r| r.list(NodeId::read))?,
            learners: r.list(NodeId::read)?,
        })
    }
}

impl AnchorDocument {
    pub(crate) fn write(&self, w: &mut Writer) {
        match &self.by {
            AnchoredBy::Witness(witness) => w.u8(1).text(&self.note).text(witness),
            AnchoredBy::TimeStamp { authority, token } => {
                w.u8(2).text(&self.note).text(authority).bytes(token)
            }
        };
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<AnchorDocument, DecodeError> {
        let code = r.u8()?;
        if !(1..=2).contains(&code) {
            return Err(r.error("a type of anchors"));
        }
        let (note, who) = (r.text()?, r.text()?);
        let by = match code {
            1 => AnchoredBy::Witness(who),
            _ => AnchoredBy::TimeStamp {
                authority: who,
                token: r.bytes()?.to_vec(),
            },
        };
        Ok(AnchorDocument { note, by })
    }
}

impl PolicyDocument {
    pub(crate) fn write(&self, w: &mut Writer) {
        self.write_unendorsed(w);
        w.option(self.order.as_ref(), |w, order| order.write(w));
    }

    fn write_unendorsed(&self, w: &mut Writer) {
        w.list(&self.settings, |w, setting| setting.write(w));
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<PolicyDocument, DecodeError> {
        Ok(PolicyDocument {
            settings: r.list(Setting::read)?,
            order: r.option(Endorsements::read)?,
        })
    }
}

impl Setting {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.text(&self.name).u64(self.value);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Setting, DecodeError> {
        Ok(Setting {
            name: r.text()?,
            value: r.u64()?,
        })
    }
}
