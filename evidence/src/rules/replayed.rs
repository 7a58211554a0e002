//! The past of one record, as who verifies the log knows it.
//!
//! Promises: what was shown is answered, what may not have been there is *not judged*, and an
//! absence that nobody can know of is marked as a guess. Leaves the remembering to
//! [`super::Memory`], keys and leaves to whoever follows the log.

use super::judge::NotJudged;
use super::memory::Memory;
use super::{Asked, InvoicePast, NodePast, OpenDownload, Past, Request};
use crate::digest::Digest;
use crate::ids::{NodeId, RecordIndex, UploadEpoch};
use crate::invoice::{AlternativeId, Identity, Rendition, rendition_digest};
use crate::keys::KeyHistory;
use crate::level::{LevelMember, MemberRole};
use crate::losses::BodyLostDocument;
use crate::system::{LeaderDocument, MembershipDocument};

/// The past of one record: what is remembered, and what others hold of the log.
pub struct Replayed<'a> {
    pub memory: &'a Memory,
    /// Leaf hash of GENESIS.
    pub ledger: Digest,
    /// All keys that the evidence shows; of the changes, those below the record count.
    pub history: &'a KeyHistory,
    /// The keys as they were.
    pub keys: &'a dyn Fn() -> Option<KeyHistory>,
    /// The leaf hash of a record that was followed.
    pub leaf: &'a dyn Fn(RecordIndex) -> Option<Digest>,
}

impl Past for Replayed<'_> {
    type Error = NotJudged;

    fn ledger(&self) -> Digest {
        self.ledger
    }

    fn request(&self, asked: &Request<'_>) -> Result<Asked, NotJudged> {
        let memory = self.memory;
        let done = memory.done.get(&memory.request(asked.tenant, asked.id));
        Ok(memory.asked(done, memory.content(asked.kind, asked.content)))
    }

    fn identity(&self, identity: &Identity, asked: &Request<'_>) -> Result<Asked, NotJudged> {
        let memory = self.memory;
        let uid = memory.identities.get(&memory.name(("identity", identity)));
        let Some(invoice) = uid.and_then(|uid| memory.invoices.get(uid)) else {
            return Ok(memory.nothing(Asked::New));
        };
        Ok(
            match invoice.content == memory.content(asked.kind, asked.content) {
                true => Asked::Same(invoice.index),
                false => Asked::Other,
            },
        )
    }

    fn has_alternative_id(&self, tenant: &str, id: &AlternativeId) -> Result<bool, NotJudged> {
        let named = self
            .memory
            .name(("alternative id", tenant, &id.scheme, &id.value));
        Ok(self.memory.named.contains(&named) || self.memory.nothing(false))
    }

    fn has_uid(&self, uid: &[u8; 16]) -> Result<bool, NotJudged> {
        Ok(self.memory.invoices.contains_key(uid) || self.memory.nothing(false))
    }

    fn invoice(&self, tenant: &str, uid: &[u8; 16]) -> Result<Option<InvoicePast>, NotJudged> {
        let found = self.memory.past_of(tenant, uid);
        found.map_or_else(|| self.memory.missing(None), |found| Ok(Some(found)))
    }

    fn rendition(&self, uid: &[u8; 16], rendition: &Rendition) -> Result<Asked, NotJudged> {
        let memory = self.memory;
        let content = memory.name(("rendition", rendition_digest(rendition)));
        let done = memory.done.get(&memory.role(uid, &rendition.role));
        Ok(memory.asked(done, content))
    }

    fn has_bytes(&self, tenant: &str, uid: &[u8; 16], sha256: &Digest) -> Result<bool, NotJudged> {
        let named = self.memory.name(("bytes", tenant, uid, sha256));
        match self.memory.named.contains(&named) {
            true => Ok(true),
            false => self.memory.missing(false),
        }
    }

    fn has_body(&self, said: &BodyLostDocument) -> Result<bool, NotJudged> {
        match self.memory.named.contains(&self.memory.lost_body(said)) {
            true => Ok(true),
            false => self.memory.missing(false),
        }
    }

    fn is_lost(&self, said: &BodyLostDocument) -> Result<bool, NotJudged> {
        let lost = self.memory.name(("lost", said.body_id.as_bytes()));
        Ok(self.memory.named.contains(&lost) || self.memory.nothing(false))
    }

    /// One that is not there may have ended, or not been a download: the chain says so.
    fn download(&self, index: RecordIndex) -> Result<Option<OpenDownload>, NotJudged> {
        let memory = self.memory;
        let Some((tenant, node, bytes)) = memory.downloads.get(&index) else {
            return Err(memory.gap());
        };
        Ok(Some(OpenDownload {
            tenant: memory
                .tenants
                .get(*tenant as usize)
                .cloned()
                .unwrap_or_default(),
            node: *node,
            bytes: *bytes,
        }))
    }

    fn node(&self, node: NodeId) -> Result<Option<NodePast>, NotJudged> {
        let Some(member) = self.history.members.get(&node) else {
            return Ok(None);
        };
        let Some(known) = self.memory.nodes.get(&node) else {
            return match self.memory.whole {
                true => Ok(None),
                false => Err(NotJudged::Slice),
            };
        };
        Ok(Some(NodePast {
            zone: member.zone.clone(),
            incarnation: known.incarnation,
            runs: known.runs,
        }))
    }

    /// Members change in the replication log first; a record says so later. In between nobody
    /// can tell here which of them a write was judged by.
    fn electorates(&self) -> Result<Vec<Vec<LevelMember>>, NotJudged> {
        let memory = self.memory;
        if !memory.whole {
            return Err(NotJudged::Slice);
        }
        let voters = match memory.voters.as_deref() {
            Some([voters]) if !memory.preparing => voters,
            _ => return Err(NotJudged::MembersChange),
        };
        if memory
            .target
            .as_ref()
            .is_some_and(|target| !same(target, voters))
        {
            return Err(NotJudged::MembersChange);
        }
        let learning = memory
            .sync_learners
            .iter()
            .filter(|node| !voters.contains(node));
        let voting = voters.iter().map(|node| (node, MemberRole::Voter));
        let all = voting.chain(learning.map(|node| (node, MemberRole::SyncLearner)));
        let members = all.filter_map(|(node, role)| {
            let place = self.history.members.get(node)?;
            Some(LevelMember {
                node: *node,
                zone: place.zone.clone(),
                region: place.region.clone(),
                role,
            })
        });
        Ok(vec![members.collect()])
    }

    fn upload_epoch(&self) -> Result<UploadEpoch, NotJudged> {
        match self.memory.whole {
            true => Ok(self.memory.epoch),
            false => Err(NotJudged::Slice),
        }
    }

    fn is_due_leader(&self, leader: &LeaderDocument) -> Result<bool, NotJudged> {
        match self.memory.term {
            Some(term) => Ok(term < leader.term),
            None if self.memory.whole => Ok(true),
            None => Err(NotJudged::Slice),
        }
    }

    /// The replication log says when one is due.
    fn is_due_membership(&self, _: &MembershipDocument) -> Result<bool, NotJudged> {
        Ok(true)
    }

    fn keys(&self) -> Result<KeyHistory, NotJudged> {
        (self.keys)().ok_or(NotJudged::Withheld)
    }

    fn leaf(&self, index: RecordIndex) -> Result<Option<Digest>, NotJudged> {
        match (self.leaf)(index) {
            Some(leaf) => Ok(Some(leaf)),
            None if self.memory.whole => Ok(None),
            None => Err(NotJudged::Slice),
        }
    }

    fn is_waived(&self, index: RecordIndex) -> Result<bool, NotJudged> {
        Ok(self.memory.waived.contains(&index) || self.memory.nothing(false))
    }
}

fn same(a: &[NodeId], b: &[NodeId]) -> bool {
    a.len() == b.len() && a.iter().all(|node| b.contains(node))
}
