//! The history of a ledger's keys: from GENESIS on, changed by KEY records alone.
//!
//! Promises: pure rules, the same for apply, which refuses a KEY statement by them, and
//! for the verifier, which believes none without them. No key is ever used twice; a
//! retired key's signatures stay good; a revoked one's count below its `trusted_until`.
//! Who decides are the root keys, or where there are none a majority of the members.
//! Leaves to the auditor's pin whether the GENESIS is the right one.
//!
//! Tests: `evidence/tests/keys.rs`.

use crate::checks::Check;
use crate::digest::Digest;
use crate::endorsement::Place;
use crate::ids::{NodeId, RecordIndex, TreeSize, UploadEpoch};
use crate::key::PublicKey;
use crate::keychange::{Action, KeyChange, KeyDocument, Role};
use crate::ledger::cosigner_key_name;
use crate::name;
use crate::note::{VerifierKey, is_key_name};
use crate::opening::Document;
use crate::system::{GenesisDocument, Member};
use std::collections::BTreeMap;
use std::fmt;

/// The longest region or zone: both stand in key names.
pub const PLACE_BYTES_MAX: usize = 64;

/// Of the openings of all KEY records of a ledger together: with their records and paths they
/// stand in every receipt, which has 4 MiB.
pub const OPENINGS_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Whether a text can be a region's or a zone's.
pub(crate) fn is_place(text: &str) -> bool {
    is_key_name(text)
        && !text.contains('/')
        && text.len() <= PLACE_BYTES_MAX
        && name::check(text).is_ok()
}

/// One key, and from where to where it is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLife {
    pub key: PublicKey,
    /// Index of the KEY record that added it; `None` when GENESIS did.
    pub added: Option<RecordIndex>,
    /// Index of the KEY record that retired it.
    pub retired: Option<RecordIndex>,
    /// Of a statement key that is retired: the last upload epoch of which its holdings count.
    pub last_epoch: Option<UploadEpoch>,
    /// Nothing at this index or above is believed.
    pub trusted_until: Option<RecordIndex>,
    /// Index of the KEY record that revoked it first: what it decided before stays decided.
    pub revoked: Option<RecordIndex>,
}

/// What a key may say of a place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyValidity {
    InForce,
    /// Not yet, or no longer.
    NotInForce,
    /// It would be in force, had it not been revoked.
    Revoked,
}

impl KeyLife {
    fn new(key: PublicKey, added: Option<RecordIndex>) -> KeyLife {
        KeyLife {
            key,
            added,
            retired: None,
            last_epoch: None,
            trusted_until: None,
            revoked: None,
        }
    }

    fn validity(&self, index: RecordIndex, retired_counts: bool) -> KeyValidity {
        let begun = self.added.is_none_or(|added| added < index);
        let ended = retired_counts && self.retired.is_some_and(|retired| retired < index);
        if !begun || ended {
            KeyValidity::NotInForce
        } else if self.trusted_until.is_some_and(|until| index >= until) {
            KeyValidity::Revoked
        } else {
            KeyValidity::InForce
        }
    }

    /// For the statement of the record at `index`.
    pub fn at_record(&self, index: RecordIndex) -> KeyValidity {
        self.validity(index, true)
    }

    /// For statements of an outbox, signed earlier and recorded at `index`. A retired key's
    /// word stays good, as far as a BOOT says that it was given by then ([`crate::lanes`]).
    pub fn before_record(&self, index: RecordIndex) -> KeyValidity {
        self.validity(index, false)
    }

    /// For holdings of an upload epoch that the record at `index` brings.
    pub fn of_holding(&self, index: RecordIndex, epoch: UploadEpoch) -> KeyValidity {
        let retired = self.retired.is_some_and(|retired| retired < index);
        match retired && self.last_epoch.is_none_or(|last| epoch > last) {
            true => KeyValidity::NotInForce,
            false => self.before_record(index),
        }
    }

    /// For a checkpoint of `size` records: KEY records below it count.
    pub fn at_size(&self, size: TreeSize) -> KeyValidity {
        let begun = self.added.is_none_or(|added| size.contains(added));
        let ended = self.retired.is_some_and(|retired| size.contains(retired));
        if !begun || ended {
            KeyValidity::NotInForce
        } else if self.trusted_until.is_some_and(|until| size.contains(until)) {
            KeyValidity::Revoked
        } else {
            KeyValidity::InForce
        }
    }

    /// Whether it may decide what the record at `index` says: as the KEY records below left it.
    pub fn decides_at(&self, index: RecordIndex) -> bool {
        let below = |at: Option<RecordIndex>| at.is_some_and(|at| at < index);
        self.added.is_none_or(|added| added < index) && !below(self.retired) && !below(self.revoked)
    }

    /// Neither retired nor revoked.
    pub fn is_active(&self) -> bool {
        self.retired.is_none() && self.trusted_until.is_none()
    }
}

/// A node's place and keys.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MemberKeys {
    pub region: String,
    pub zone: String,
    pub statement: Vec<KeyLife>,
    pub cosignature: Vec<KeyLife>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct KeyHistory {
    /// As GENESIS names it: part of what keys are called in notes.
    pub origin: String,
    /// The serial that the next KEY record must have.
    pub serial: u64,
    /// Bytes of the document openings of the KEY records so far.
    pub opening_bytes: usize,
    /// In the order in which they were added; so are all lists here.
    pub log: Vec<KeyLife>,
    pub roots: Vec<KeyLife>,
    /// How many of the active root keys must endorse; 0 where there are none.
    pub threshold: u8,
    /// None where that was waived: then a voter's word does for an operator's.
    pub operators: Vec<KeyLife>,
    pub members: BTreeMap<NodeId, MemberKeys>,
}

/// Why a KEY document changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRefusal {
    Serial {
        expected: u64,
    },
    /// A key that cannot be, is there already, or is not there.
    Change {
        check: Check,
        why: String,
    },
    /// Not endorsed by those who must.
    Endorsement {
        check: Check,
        why: String,
    },
}

impl fmt::Display for KeyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyRefusal::Serial { expected } => {
                write!(f, "the next change of keys has the serial {expected}")
            }
            KeyRefusal::Change { why, .. } | KeyRefusal::Endorsement { why, .. } => {
                f.write_str(why)
            }
        }
    }
}

impl KeyRefusal {
    fn change(check: Check, why: impl Into<String>) -> KeyRefusal {
        let why = why.into();
        KeyRefusal::Change { check, why }
    }

    fn endorsement(check: Check, why: impl Into<String>) -> KeyRefusal {
        let why = why.into();
        KeyRefusal::Endorsement { check, why }
    }

    /// The check that it fails.
    pub fn check(&self) -> Check {
        match self {
            KeyRefusal::Serial { .. } => Check::ChangeSerial,
            KeyRefusal::Change { check, .. } | KeyRefusal::Endorsement { check, .. } => *check,
        }
    }
}

impl std::error::Error for KeyRefusal {}

impl KeyHistory {
    /// What GENESIS says; whether its names and keys are usable is checked there.
    pub fn founded(genesis: &GenesisDocument) -> KeyHistory {
        let life = |key: &PublicKey| KeyLife::new(*key, None);
        let member = |member: &Member| MemberKeys {
            region: member.region.clone(),
            zone: member.zone.clone(),
            statement: vec![life(&member.statement_key)],
            cosignature: vec![life(&member.cosignature_key)],
        };
        KeyHistory {
            origin: genesis.origin.clone(),
            serial: 0,
            opening_bytes: 0,
            log: vec![life(&genesis.log_key)],
            roots: genesis.root_keys.iter().map(life).collect(),
            threshold: genesis.threshold,
            operators: genesis.operator_keys.iter().map(life).collect(),
            members: genesis
                .members
                .iter()
                .map(|m| (m.node, member(m)))
                .collect(),
        }
    }

    /// The history after a KEY record at `index`. Signatures are the caller's to check
    /// ([`KeyDocument::is_signed`]); here is who must be among them.
    pub fn changed(
        &self,
        index: RecordIndex,
        document: &KeyDocument,
    ) -> Result<KeyHistory, KeyRefusal> {
        if Check::ChangeSerial.fails(document.serial != self.serial) {
            return Err(KeyRefusal::Serial {
                expected: self.serial,
            });
        }
        self.check_endorsers(document)?;
        let mut next = self.clone();
        next.serial += 1;
        next.opening_bytes += Document::Key(document.clone()).encode().len();
        let too_many = next.opening_bytes > OPENINGS_BYTES_MAX;
        if Check::ChangePossible.fails(too_many) {
            return Err(KeyRefusal::change(
                Check::ChangePossible,
                "there is no room in a receipt for more changes of this size",
            ));
        }
        next.threshold = document.threshold;
        let nothing = document.changes.is_empty() && document.threshold == self.threshold;
        if Check::ChangeNotEmpty.fails(nothing) {
            return Err(KeyRefusal::change(
                Check::ChangeNotEmpty,
                "nothing is changed",
            ));
        }
        for change in &document.changes {
            next.change(index, change, self.threshold > 0)
                .map_err(|why| KeyRefusal::change(Check::ChangePossible, why))?;
        }
        match next.check_whole() {
            Err(why) if Check::ChangeLeavesKeys.is_asked() => {
                Err(KeyRefusal::change(Check::ChangeLeavesKeys, why))
            }
            _ => Ok(next),
        }
    }

    /// Whether a note could not tell its lines from those of a key that was there before.
    fn has_twin(&self, change: &KeyChange) -> bool {
        let origin = &self.origin;
        let named = |key| match change.role {
            Role::Log => VerifierKey::log(origin, key),
            _ => {
                let name = cosigner_key_name(origin, &change.region, &change.zone, change.node);
                VerifierKey::cosigner(&name, key)
            }
        };
        let before = match change.role {
            Role::Log => Some(&self.log),
            Role::Cosignature => self.members.get(&change.node).map(|m| &m.cosignature),
            Role::Statement | Role::Root | Role::Operator => None,
        };
        let id = named(change.key).id();
        let mut before = before.into_iter().flatten();
        before.any(|life| named(life.key).id() == id)
    }

    /// `roots` says whether root keys decide: without them nobody does over what was believed.
    fn change(
        &mut self,
        index: RecordIndex,
        change: &KeyChange,
        roots: bool,
    ) -> Result<(), String> {
        let key = change.key;
        let places = [&change.region, &change.zone];
        if change.action == Action::Add {
            if self.has(&key) {
                return Err(format!("the key {key:?} was used before"));
            }
            if self.has_twin(change) {
                return Err(format!(
                    "the key {key:?} has the name and id of another in notes"
                ));
            }
            if !key.is_valid() {
                return Err(format!("{key:?} is no usable key"));
            }
            if change.role.is_nodes() {
                if !places.into_iter().all(|place| is_place(place)) {
                    return Err("a node's key names its region and zone".to_owned());
                }
            } else if places.into_iter().any(|place| !place.is_empty()) {
                return Err("a key that is no node's has no region and zone".to_owned());
            }
        } else if places.into_iter().any(|place| !place.is_empty()) {
            return Err("region and zone stand beside a key that is added".to_owned());
        }
        if change.role.is_nodes() != (change.node != NodeId::NONE) {
            return Err("a node's key, and no other, names its node".to_owned());
        }
        let lives = match change.role {
            Role::Log => &mut self.log,
            Role::Root => &mut self.roots,
            Role::Operator => &mut self.operators,
            role => {
                let member = match change.action {
                    Action::Add => self
                        .members
                        .entry(change.node)
                        .or_insert_with(|| MemberKeys {
                            region: change.region.clone(),
                            zone: change.zone.clone(),
                            ..MemberKeys::default()
                        }),
                    _ => self
                        .members
                        .get_mut(&change.node)
                        .ok_or_else(|| format!("node {} has no keys", change.node))?,
                };
                if change.action == Action::Add
                    && (member.region != change.region || member.zone != change.zone)
                {
                    return Err(format!(
                        "node {} stands in {}/{}",
                        change.node, member.region, member.zone
                    ));
                }
                match role {
                    Role::Statement => &mut member.statement,
                    _ => &mut member.cosignature,
                }
            }
        };
        if change.action == Action::Add {
            lives.push(KeyLife::new(key, Some(index)));
            return Ok(());
        }
        let life = lives
            .iter_mut()
            .find(|life| life.key == key)
            .ok_or_else(|| format!("there is no {} key {key:?}", change.role))?;
        end(life, index, change, roots)
    }

    /// Every key that is added proves that someone has it; and those decide whom the
    /// ledger lets: its root keys, or else a majority of the members that have a statement key.
    fn check_endorsers(&self, document: &KeyDocument) -> Result<(), KeyRefusal> {
        let endorsers = document.endorsements.keys();
        let mut added = document
            .changes
            .iter()
            .filter(|change| change.action == Action::Add);
        if let Some(change) = added.find(|change| !endorsers.contains(&change.key))
            && Check::ChangePossession.is_asked()
        {
            return Err(KeyRefusal::endorsement(
                Check::ChangePossession,
                format!(
                    "the key {:?} that is added has not signed the change",
                    change.key
                ),
            ));
        }
        let endorsing = |lives: &[KeyLife]| {
            let endorse = |life: &&KeyLife| life.is_active() && endorsers.contains(&life.key);
            lives.iter().filter(endorse).count()
        };
        let (who, needed, have) = match self.threshold {
            0 => {
                let members = || self.members.values().map(|member| &member.statement[..]);
                let able = members().filter(|lives| lives.iter().any(KeyLife::is_active));
                let have = members().filter(|lives| endorsing(lives) > 0);
                ("members", able.count() / 2 + 1, have.count())
            }
            k => ("active root keys", usize::from(k), endorsing(&self.roots)),
        };
        if Check::ChangeEndorsed.fails(have < needed) {
            let why = format!("{needed} {who} must endorse the change, {have} do");
            return Err(KeyRefusal::endorsement(Check::ChangeEndorsed, why));
        }
        Ok(())
    }

    /// What must be true of every history.
    pub(crate) fn check_whole(&self) -> Result<(), String> {
        let active = |lives: &[KeyLife]| lives.iter().filter(|life| life.is_active()).count();
        if active(&self.log) == 0 {
            return Err("a ledger has an active log key".to_owned());
        }
        if self.members.values().all(|m| active(&m.statement) == 0) {
            return Err("a ledger has an active statement key".to_owned());
        }
        if !self.operators.is_empty() && active(&self.operators) == 0 {
            return Err("a ledger that has operator keys has an active one".to_owned());
        }
        let roots = active(&self.roots);
        if usize::from(self.threshold) > roots || (self.threshold == 0) != (roots == 0) {
            return Err(format!(
                "of {roots} active root keys, {} cannot be asked to endorse",
                self.threshold
            ));
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &KeyLife> {
        let members = self.members.values();
        let nodes = members.flat_map(|member| member.statement.iter().chain(&member.cosignature));
        let of_all = self.log.iter().chain(&self.roots).chain(&self.operators);
        of_all.chain(nodes)
    }

    /// Whether a key is or was one of these.
    pub fn has(&self, key: &PublicKey) -> bool {
        self.all().any(|life| life.key == *key)
    }

    /// The keys that may order what the record at `index` says.
    pub fn operators_at(&self, index: RecordIndex) -> impl Iterator<Item = PublicKey> {
        let decide = self
            .operators
            .iter()
            .filter(move |life| life.decides_at(index));
        decide.map(|life| life.key)
    }

    /// The log keys that sign a checkpoint of `size`.
    pub fn log_keys_at(&self, size: TreeSize) -> impl Iterator<Item = &PublicKey> {
        self.log
            .iter()
            .filter(move |life| life.at_size(size) == KeyValidity::InForce)
            .map(|life| &life.key)
    }

    pub fn statement_keys(&self, node: NodeId) -> &[KeyLife] {
        self.members
            .get(&node)
            .map_or(&[], |member| &member.statement)
    }
}

/// Retires or revokes a key at `index`; `roots` as in [`KeyHistory::change`].
fn end(
    life: &mut KeyLife,
    index: RecordIndex,
    change: &KeyChange,
    roots: bool,
) -> Result<(), String> {
    let key = change.key;
    match change.action {
        Action::Retire { .. } if !life.is_active() => {
            return Err(format!("the key {key:?} is not active"));
        }
        Action::Retire { last_epoch } => {
            let of_holder = change.role == Role::Statement;
            if !of_holder && last_epoch != UploadEpoch::default() {
                return Err(format!("the {} key {key:?} signs no holdings", change.role));
            }
            life.retired = Some(index);
            life.last_epoch = of_holder.then_some(last_epoch);
        }
        Action::Revoke { trusted_until }
            if (roots || trusted_until >= index)
                && life
                    .trusted_until
                    .is_none_or(|until| trusted_until.min(index) < until) =>
        {
            life.trusted_until = Some(trusted_until.min(index));
            life.revoked = life.revoked.or(Some(index));
        }
        _ => {
            return Err(format!(
                "{key:?} can be revoked only from a size below one from which it was revoked \
                     before, and without root keys from {index} on"
            ));
        }
    }
    Ok(())
}

/// A change that is believed: signed, in turn, and endorsed for this place. That the record
/// after which it holds has the leaf hash, is for who holds the log to say.
pub fn believe(
    history: &KeyHistory,
    ledger: &Digest,
    place: Place,
    document: &KeyDocument,
) -> Result<KeyHistory, KeyRefusal> {
    if Check::ChangeSignatures.fails(!document.is_signed(ledger)) {
        return Err(KeyRefusal::endorsement(
            Check::ChangeSignatures,
            "an endorsement's signature does not hold, or a key endorses twice",
        ));
    }
    if let Err((check, why)) = document.endorsements.hold_at(place) {
        return Err(KeyRefusal::endorsement(check, why));
    }
    history.changed(place.index, document)
}
