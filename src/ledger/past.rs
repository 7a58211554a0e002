//! The past as apply knows it: the tables, read for the rules of the evidence crate.
//!
//! Promises: answers are those of this step, its own writes included; only storage can fail.
//! Leaves what follows from them to [`muniment_evidence::rules`], which every verifier asks too.

use super::rows::{DueRow, InvoiceRow, LedgerHead};
use super::tables;
use super::txn::Txn;
use super::{keys, membership, policy};
use crate::domain::ids::{NodeId, RecordIndex, Term, Uid, UploadEpoch};
use crate::objective::write::{LevelMember, MemberRole};
use crate::store::StoreError;
use muniment_evidence::digest::Digest;
use muniment_evidence::keys::KeyHistory;
use muniment_evidence::losses::BodyLostDocument;
use muniment_evidence::opening::{
    AlternativeId, Identity, LeaderDocument, MembershipDocument, Rendition, rendition_digest,
};
use muniment_evidence::rules::{Asked, InvoicePast, NodePast, OpenDownload, Past, Request};
use muniment_evidence::statement::Kind;

/// See the module.
pub(super) struct Applied<'t, 'v> {
    pub txn: &'t Txn<'v>,
    pub head: &'t LedgerHead,
    /// Of the entry: whoever led it has proposed it.
    pub term: Term,
}

impl InvoiceRow {
    pub(super) fn past(&self) -> InvoicePast {
        InvoicePast {
            is_reversal: self.is_reversal,
            void: self.void,
            total: self.total.clone(),
            reversed_minor_units: self.reversed_minor_units,
            reversed_whole: self.reversed_whole,
            renditions: self.renditions,
            reversals: self.reversals,
        }
    }
}

impl Applied<'_, '_> {
    fn invoice_row(&self, tenant: &str, uid: Uid) -> Result<Option<InvoiceRow>, StoreError> {
        let row = self.txn.row(&tables::invoice(uid))?;
        Ok(row.filter(|row| row.tenant == tenant))
    }
}

impl Past for Applied<'_, '_> {
    type Error = StoreError;

    fn ledger(&self) -> Digest {
        self.head.ledger
    }

    fn request(&self, asked: &Request<'_>) -> Result<Asked, StoreError> {
        let row = self.txn.row(&tables::request(asked.tenant, asked.id))?;
        Ok(match row {
            None => Asked::New,
            Some(row) if row.kind == asked.kind && row.content == *asked.content => {
                Asked::Same(row.index)
            }
            Some(_) => Asked::Other,
        })
    }

    fn identity(&self, identity: &Identity, asked: &Request<'_>) -> Result<Asked, StoreError> {
        let Some(uid) = self.txn.row(&tables::identity(identity))? else {
            return Ok(Asked::New);
        };
        let row = self.txn.row(&tables::invoice(uid))?;
        let row = row.ok_or_else(|| StoreError::corrupt("an identity names no invoice"))?;
        let same_kind = row.is_reversal == (asked.kind == Kind::Reverse);
        Ok(match same_kind && row.content == *asked.content {
            true => Asked::Same(row.index),
            false => Asked::Other,
        })
    }

    fn has_alternative_id(&self, tenant: &str, id: &AlternativeId) -> Result<bool, StoreError> {
        self.txn.has(&tables::alternative_id(tenant, id))
    }

    fn has_uid(&self, uid: &[u8; 16]) -> Result<bool, StoreError> {
        self.txn.has(&tables::invoice(Uid(*uid)))
    }

    fn invoice(&self, tenant: &str, uid: &[u8; 16]) -> Result<Option<InvoicePast>, StoreError> {
        let row = self.invoice_row(tenant, Uid(*uid))?;
        Ok(row.map(|row| row.past()))
    }

    fn rendition(&self, uid: &[u8; 16], rendition: &Rendition) -> Result<Asked, StoreError> {
        let row = self
            .txn
            .row(&tables::rendition(Uid(*uid), &rendition.role))?;
        Ok(match row {
            None => Asked::New,
            Some(row) if row.digest == rendition_digest(rendition) => Asked::Same(row.index),
            Some(_) => Asked::Other,
        })
    }

    fn has_bytes(&self, tenant: &str, uid: &[u8; 16], sha256: &Digest) -> Result<bool, StoreError> {
        self.txn
            .has(&tables::body_digest(tenant, sha256, Uid(*uid)))
    }

    fn has_body(&self, said: &BodyLostDocument) -> Result<bool, StoreError> {
        let uid = Uid(said.uid);
        let invoice = self.invoice_row(&said.tenant, uid)?;
        let known = self.txn.row(&tables::rendition(uid, &said.role))?;
        let named = self.txn.row(&tables::named(&said.body_id))?;
        Ok(match (invoice, known, named) {
            (Some(_), Some(known), Some(named)) => {
                known.index == named.index
                    && named.sha256 == said.sha256
                    && named.length == said.length
            }
            _ => false,
        })
    }

    fn is_lost(&self, said: &BodyLostDocument) -> Result<bool, StoreError> {
        let named = self.txn.row(&tables::named(&said.body_id))?;
        Ok(named.is_some_and(|named| named.lost.is_some()))
    }

    fn download(&self, index: RecordIndex) -> Result<Option<OpenDownload>, StoreError> {
        let row = self.txn.row(&tables::open_download(index))?;
        Ok(row.map(|row| OpenDownload {
            tenant: row.tenant,
            node: row.node,
            bytes: row.bytes,
        }))
    }

    fn node(&self, node: NodeId) -> Result<Option<NodePast>, StoreError> {
        let row = self.txn.row(&tables::node(node))?;
        Ok(row.map(|row| NodePast {
            incarnation: row.disk(),
            runs: row.boot.is_some(),
            zone: row.zone,
        }))
    }

    /// The voters in force, in both sets while they change, and from the PREPARE of a change to
    /// its end its target too: only what was issued before is brought to it before it votes.
    fn electorates(&self) -> Result<Vec<Vec<LevelMember>>, StoreError> {
        let voters = self.txn.row(&tables::voters())?.unwrap_or_default().0;
        let roles = membership::roles(self.txn)?;
        let learners = roles.sync_learners;
        let mut sets: Vec<_> = voters
            .into_iter()
            .map(|set| (set, learners.clone()))
            .collect();
        if let Some(change) = roles.preparing {
            let target = change.target;
            // At level 1 a learner that is to leave counted for the target too.
            let stays = |node: &NodeId| {
                self.head.feature_level == policy::FIRST_LEVEL
                    || target.sync_learners.contains(node)
            };
            let staying = learners.into_iter().filter(stays).collect();
            sets.push((target.voters, staying));
        }
        let mut electorates = Vec::with_capacity(sets.len());
        for (set, learners) in sets {
            let voting = set.iter().map(|node| (node, MemberRole::Voter));
            let learning = learners.iter().filter(|node| !set.contains(node));
            let learning = learning.map(|node| (node, MemberRole::SyncLearner));
            let mut members = Vec::with_capacity(set.len());
            for (node, role) in voting.chain(learning) {
                if let Some(row) = self.txn.row(&tables::node(*node))? {
                    members.push(LevelMember {
                        node: *node,
                        zone: row.zone,
                        region: row.region,
                        role,
                    });
                }
            }
            electorates.push(members);
        }
        Ok(electorates)
    }

    fn upload_epoch(&self) -> Result<UploadEpoch, StoreError> {
        Ok(self.head.upload_epoch)
    }

    /// In an entry of the term itself: only who leads it can propose in it.
    fn is_due_leader(&self, leader: &LeaderDocument) -> Result<bool, StoreError> {
        let due = self.txn.row(&tables::due(leader.log_index))?;
        let stated = DueRow::Leader { term: leader.term };
        Ok(leader.term == self.term && due == Some(stated))
    }

    fn is_due_membership(&self, membership: &MembershipDocument) -> Result<bool, StoreError> {
        let due = self.txn.row(&tables::due(membership.log_index))?;
        let stated = DueRow::Membership {
            voters: membership.voters.clone(),
            learners: membership.learners.clone(),
        };
        Ok(due == Some(stated))
    }

    fn keys(&self) -> Result<KeyHistory, StoreError> {
        keys::applied_history(self.txn)
    }

    fn leaf(&self, index: RecordIndex) -> Result<Option<Digest>, StoreError> {
        let record = self.txn.row(&tables::record(index))?;
        Ok(record.map(|record| record.leaf_hash()))
    }

    fn is_waived(&self, index: RecordIndex) -> Result<bool, StoreError> {
        self.txn.has(&tables::waiver(index))
    }
}
