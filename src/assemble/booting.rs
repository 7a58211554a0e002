//! Booting into the ledger: what a node does before it says or signs anything.
//!
//! Promises the order: 1 a founded ledger is applied here and fresh, 2 it is the one that
//! this node is configured and keyed for, 3 the outboxes are inventoried, 4 the node's
//! BOOT, which tells of them, is committed, 5 the sign guard allows, 6 the lanes open and
//! clients are served. Whatever fails for good stops the node. Afterwards it starts what
//! attests what falls due and what this node goes by, and what moves upload epochs.

use crate::bodies::{Bodies, epochs};
use crate::checkpoint::guarding::Guarding;
use crate::checkpoint::keys::KeysInForce;
use crate::domain::cause::Cause;
use crate::domain::ids::RecordIndex;
use crate::keyring::guard::SignGuard;
use crate::raft::context::Context;
use crate::recorder::booted::Booted;
use crate::recorder::download_ends::DownloadEnds;
use crate::recorder::outbox::{OutboxBounds, OutboxLane, Promises, inventory};
use crate::recorder::{StatementSigner, boot, configured, due, lane, later_boot};
use crate::store::StoreError;
use crate::store::outbox::{OutboxDir, OutboxLog};
use crate::supervise::{self, Life};
use muniment_evidence::digest::Digest;
use muniment_evidence::genesis::Genesis;
use muniment_evidence::key::{PublicKey, SecretKey, Signer as _};
use muniment_evidence::keychange::Role;
use muniment_evidence::opening::{BootDocument, BootOutbox, Document};
use muniment_evidence::tenancy::ConfigDocument;
use std::sync::Arc;
use tokio::sync::watch;

/// BOOTs that are drawn up anew because what they told of outboxes was overtaken: each by
/// one batch that was on its way when the process before ended.
const OVERTAKEN_MAX: usize = 4;

/// What booting needs of its node.
pub(super) struct Booting {
    pub context: Context,
    pub means: boot::BootContext,
    /// The ledger that this node is configured for.
    pub origin: String,
    pub software: String,
    pub keys: Arc<KeysInForce>,
    pub bodies: Bodies,
    pub outboxes: OutboxDir,
    pub guard: SignGuard,
    /// Statements that may wait for the lane.
    pub queue: usize,
    pub bounds: OutboxBounds,
    /// What this node goes by, for the record.
    pub config: ConfigDocument,
    /// Where readers find what there is once this is over.
    pub booted: watch::Sender<Option<Booted>>,
}

impl Booting {
    /// Boots, then starts what goes on until the node ends.
    pub async fn run(self) {
        let Booting {
            context,
            means,
            bodies,
            booted,
            config,
            ..
        } = &self;
        let (context, bodies, booted) = (context.clone(), bodies.clone(), booted.clone());
        let config = config.clone();
        let (group, reader, state) = (
            means.group.clone(),
            means.reader.clone(),
            means.state.clone(),
        );
        let ready = match self.once().await {
            Ok(ready) => ready,
            Err(why) => {
                context.stop.broken(why.to_string());
                return;
            }
        };
        tracing::info!(origin = ready.origin, "booted into the ledger");
        let recorder = ready.recorder.clone();
        booted.send_replace(Some(ready));
        let (stop, blocking) = (context.stop.clone(), context.blocking);
        let configured = configured::attest(recorder.clone(), group.watch_applied(), config);
        supervise::keep(&stop, Life::UntilStopped, "the CONFIG record", async move {
            configured.await;
            // It is said once.
            std::future::pending::<()>().await;
        });
        let ticking = epochs::tick(bodies, context, recorder.clone());
        supervise::keep(&stop, Life::UntilStopped, "the upload epochs", ticking);
        let broken = stop.clone();
        supervise::keep(&stop, Life::UntilStopped, "what is due", async move {
            let attested = due::attest(recorder, group, reader, state, blocking).await;
            if let Err(error) = attested {
                broken.broken(format!("what is due cannot be read: {error}"));
            }
        });
    }

    async fn once(self) -> Result<Booted, Cause> {
        let ledger = self.means.founded().await.map_err(Cause::new)?;
        if ledger.origin != self.origin {
            return Err(Cause::new(format!(
                "the ledger is {}, but this node is configured for {}",
                ledger.origin, self.origin
            )));
        }
        let genesis = self.genesis().await?;
        let signer = self.own_key().await?;
        let statement_key = signer.public();
        let signer = self.statement_signer(ledger.id, signer);
        let (index, outboxes) = self.boot_telling(&signer, statement_key).await?;
        self.watch_later_boots(index);
        let guarding = Guarding(self.context.clone());
        let guarded = guarding.start(self.guard).await?;
        let lane = lane::LaneContext {
            signer,
            group: self.means.group,
            reader: self.means.reader,
            intake: self.means.intake,
            state: self.means.state,
            blocking: self.means.blocking,
            transport: self.means.transport,
            stop: self.context.stop,
        };
        let recorder = lane::start(lane.clone(), index, self.queue);
        let download_ends = DownloadEnds::start(recorder.clone(), &lane.stop);
        let outboxes = outboxes.into_iter();
        let start = |log| OutboxLane::start(lane.clone(), download_ends.clone(), log, self.bounds);
        let outboxes: Vec<OutboxLane> = outboxes.map(start).collect();
        let promises = Promises::of(&outboxes);
        // Without a handle the others only drain.
        let outbox = outboxes.into_iter().next();
        Ok(Booted {
            download_ends,
            recorder,
            outbox,
            promises,
            genesis: Arc::new(genesis),
            origin: ledger.origin,
            guarded,
        })
    }

    fn watch_later_boots(&self, own: RecordIndex) {
        let Context {
            state,
            blocking,
            group,
            stop,
            ..
        } = &self.context;
        let watched = later_boot::watch(state.clone(), *blocking, group.node(), own, stop.clone());
        let name = "the watch over later boots";
        supervise::keep(stop, Life::UntilStopped, name, watched);
    }

    fn statement_signer(&self, ledger: Digest, signer: Arc<SecretKey>) -> StatementSigner {
        StatementSigner {
            node: self.context.group.node(),
            ledger,
            signer: self.context.signatures.signing(signer),
            clock: self.context.clock.clone(),
        }
    }

    /// The statement key to boot under; an error where a key is missing here.
    async fn own_key(&self) -> Result<Arc<SecretKey>, Cause> {
        let known = self.keys.now().await.map_err(Cause::new)?;
        let size = self.context.group.applied().size;
        for key in known.history.log_keys_at(size) {
            if self.keys.keyring().find(Role::Log, key).is_none() {
                return Err(Cause::new(format!(
                    "the log key {key:?}, which the ledger names, is not held here: log.key is \
                     not the one, or log-<id>.key is missing beside it"
                )));
            }
        }
        self.keys.active_key(&known, size)
    }

    /// Inventories the outboxes and submits the BOOT that tells of them.
    async fn boot_telling(
        &self,
        signer: &StatementSigner,
        statement_key: PublicKey,
    ) -> Result<(RecordIndex, Vec<OutboxLog>), Cause> {
        let mut refused: Option<(Vec<BootOutbox>, Cause)> = None;
        for _ in 0..OVERTAKEN_MAX {
            let (outboxes, there) = self.inventory().await?;
            if let Some((told, why)) = &refused
                && *told == outboxes
            {
                return Err(why.clone());
            }
            let document = Document::Boot(BootDocument {
                incarnation: self.bodies.holder.incarnation,
                statement_key,
                software: self.software.clone(),
                outboxes: outboxes.clone(),
            });
            match self.means.boot(signer, document).await {
                Ok(index) => return Ok((index, there)),
                // Statements of the process before may have been recorded meanwhile.
                Err(why) => refused = Some((outboxes, Cause::new(why))),
            }
        }
        Err(refused.map_or_else(|| Cause::from(""), |(_, why)| why))
    }

    async fn inventory(&self) -> Result<(Vec<BootOutbox>, Vec<OutboxLog>), Cause> {
        let (state, dir) = (self.context.state.clone(), self.outboxes.clone());
        let (node, clock) = (self.context.group.node(), self.context.clock.clone());
        let taken = self.context.blocking.run(move || {
            state.read(|tables| {
                let found = inventory::take_inventory(&dir, tables, node, clock.as_ref())?;
                Ok((found.reported, found.open))
            })
        });
        taken.await.map_err(Cause::new)
    }

    async fn genesis(&self) -> Result<Genesis, Cause> {
        let read = self.context.read(|tables| {
            let missing = || StoreError::corrupt("GENESIS is missing");
            let record = tables
                .record_bytes(RecordIndex::FIRST)?
                .ok_or_else(missing)?;
            let (document, _) = tables.openings(RecordIndex::FIRST)?;
            Ok(Genesis {
                record,
                opening: document.ok_or_else(missing)?.bytes,
            })
        });
        read.await.map_err(Cause::new)
    }
}
