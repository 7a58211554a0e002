//! Changes of keys, as the ledger in memory makes and proves them.

use super::Ledger;
use muniment_evidence::endorsement::{Endorsable, Endorsements};
use muniment_evidence::ids::{NodeId, RecordIndex};
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::keychange::{Action, KeyChange, KeyDocument, Role};
use muniment_evidence::opening::Document;
use muniment_evidence::receipt::KeyRecord;
use muniment_evidence::record::Outcome;
use muniment_evidence::statement::Kind;

impl Ledger {
    /// A KEY record, endorsed by the added keys given, and by those who decide.
    pub fn change_keys(&mut self, changes: Vec<KeyChange>, added: &[SecretKey]) -> u64 {
        let document = self.key_document(changes, added);
        self.strict(1, Document::Key(document), Outcome::Ok)
    }

    pub fn key_document(&self, changes: Vec<KeyChange>, added: &[SecretKey]) -> KeyDocument {
        let serial = self.key_records(self.len()).len() as u64;
        let mut document = KeyDocument {
            serial,
            changes,
            threshold: self.roots,
            endorsements: self.endorsements(),
        };
        for key in added {
            document.endorse(&self.id, key);
        }
        self.endorse(&mut document);
        document
    }

    /// By those who decide: the root keys, or a majority of the members.
    pub fn endorse(&self, document: &mut KeyDocument) {
        match self.roots {
            0 => [1, 2]
                .map(|node| document.endorse(&self.id, &self.key(node)))
                .len(),
            roots => (0..roots)
                .map(|n| document.endorse(&self.id, &self.root_key(n)))
                .count(),
        };
    }

    /// None yet, to hold from here on for an hour.
    pub fn endorsements(&self) -> Endorsements {
        let after = self.len() - 1;
        let expires_ms = self.entries[after as usize].record.committed_at_ms + 3_600_000;
        Endorsements::new(RecordIndex::new(after), self.leaf(after), expires_ms)
    }

    /// What an operator signs here and now.
    pub fn order(&self, what: &dyn Endorsable, operator: &SecretKey) -> Option<Endorsements> {
        let mut order = self.endorsements();
        order.sign(&self.id, what, operator);
        Some(order)
    }

    pub fn operator_key(&self, turn: u8) -> SecretKey {
        self.key_for(turn, 5)
    }

    /// Of the ledger itself: its log, root and operator keys.
    pub fn ledger_change(&self, action: Action, role: Role, key: &SecretKey) -> KeyChange {
        KeyChange {
            role,
            ..self.log_change(action, key)
        }
    }

    pub fn log_change(&self, action: Action, key: &SecretKey) -> KeyChange {
        KeyChange {
            action,
            role: Role::Log,
            node: NodeId::NONE,
            region: String::new(),
            zone: String::new(),
            key: key.public(),
        }
    }

    pub fn node_change(&self, action: Action, role: Role, node: u64, key: &SecretKey) -> KeyChange {
        let add = action == Action::Add;
        KeyChange {
            action,
            role,
            node: NodeId::new(node),
            region: if add { "r1".into() } else { String::new() },
            zone: if add {
                format!("z{node}")
            } else {
                Default::default()
            },
            key: key.public(),
        }
    }

    /// The OK KEY records, proven in the tree of `size`.
    pub fn key_records(&self, size: u64) -> Vec<KeyRecord> {
        let below = self.entries[..size as usize].iter();
        below
            .filter(|entry| {
                let record = &entry.record;
                record.statement.kind == Kind::Key && record.outcome == Outcome::Ok
            })
            .map(|entry| KeyRecord {
                record: entry.record.encode().to_vec(),
                opening: entry.document.bytes.clone(),
                path: self.path(entry.record.index.get(), size),
            })
            .collect()
    }
}
