//! The background scrub: every body that a record names, read and checked, over and over.
//!
//! Promises: a pass begins each period, and when it is asked for; it goes through the
//! records in order, so that a body which should be here and is not is found too; it reads
//! at a bounded rate and lets others go first between bodies; where it stands outlives a
//! restart. What nothing names is not read: nobody can ask for it. Leaves what becomes of
//! damage to [`super::quarantine`] and [`super::repair`].

use super::names::names;
use super::rate_limiter::RateLimiter;
use super::{Bodies, BodyError};
use crate::domain::ids::RecordIndex;
use crate::ledger::state::State;
use crate::stop::Stop;
use crate::store;
use crate::store::bodies::content;
use crate::store::damage::Suspect;
use crate::supervise::{self, Life};
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::opening::{How, Rendition};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// Pause after the records of one tile: with few bodies among many records, reading them
/// would else be a load of its own.
const PAGE_PAUSE: Duration = Duration::from_millis(10);
/// How long a pass waits for the look through the records to come as far as the log. What
/// has not been looked through may still be on its way here.
const SEEN_MAX: Duration = Duration::from_secs(10);
/// Notes that may wait for the evidence log: with more of them, the pass waits.
const NOTES_MAX: usize = 1000;
/// Pause while they do.
const NOTES_PAUSE: Duration = Duration::from_secs(1);
/// The wait for the next pass is looked at again this often, so that a change of the
/// machine's clock matters little.
const WAIT_MAX: Duration = Duration::from_secs(60);

const VERSION: u8 = 1;
const MILLIONTHS: u64 = 1_000_000;

/// Where the scrub stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    /// The record to go on from; `None` between passes.
    next: Option<RecordIndex>,
    /// When the pass under way began, by this machine's clock.
    began_ms: u64,
    /// When the next pass is due.
    due_ms: u64,
    /// How long the last whole pass took.
    last_pass_s: u64,
}

impl Position {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION).option(self.next.as_ref(), |w, next| {
            w.u64(next.get());
        });
        w.u64(self.began_ms).u64(self.due_ms).u64(self.last_pass_s);
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Position, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(r.error("scrub position version 1"));
        }
        let position = Position {
            next: r.option(RecordIndex::read)?,
            began_ms: r.u64()?,
            due_ms: r.u64()?,
            last_pass_s: r.u64()?,
        };
        r.end()?;
        Ok(position)
    }
}

pub(super) fn start(bodies: Bodies, state: State, stop: Stop) {
    // Before anybody can ask.
    let asked = bodies.repairs.asked.subscribe();
    let broken = stop.clone();
    supervise::keep(&stop, Life::UntilStopped, "the scrub", async move {
        let scrubber = Scrubber {
            rate_limiter: RateLimiter::new(bodies.repairs.settings.scrub_bytes_per_s),
            bodies,
            state,
        };
        if let Err(error) = scrubber.run(asked).await {
            broken.broken(format!("the bodies held here cannot be scrubbed: {error}"));
        }
    });
}

struct Scrubber {
    bodies: Bodies,
    state: State,
    rate_limiter: RateLimiter,
}

impl Scrubber {
    /// Ends only with an error.
    async fn run(&self, mut asked: watch::Receiver<u64>) -> Result<(), BodyError> {
        let (clock, repairs) = (&self.bodies.clock, &self.bodies.repairs);
        let period_ms = repairs.settings.scrub_period_s * 1000;
        let stored = self.bodies.store.scrub_position().await?;
        // One that cannot be read is forgotten: a pass too many does no harm.
        let known = stored.and_then(|bytes| Position::decode(&bytes).ok());
        let mut at = known.unwrap_or_else(|| {
            // Nodes that are founded together do not all read at the same time.
            let mut random = [0; 8];
            clock.random(&mut random);
            Position {
                due_ms: clock.now_ms() + u64::from_be_bytes(random) % period_ms,
                ..Position::default()
            }
        });
        self.keep(&at).await?;
        loop {
            let counters = &repairs.counters;
            counters
                .last_pass_s
                .store(at.last_pass_s, Ordering::Relaxed);
            let now = clock.now_ms();
            // A clock that was far ahead does not put the scrub off for ever.
            at.due_ms = at.due_ms.min(now + period_ms);
            if at.next.is_none() && now < at.due_ms && !asked.has_changed().unwrap_or(false) {
                let wait = Duration::from_millis(at.due_ms - now).min(WAIT_MAX);
                tokio::select! {
                    _ = asked.changed() => asked.mark_changed(),
                    () = tokio::time::sleep(wait) => {}
                }
                continue;
            }
            asked.mark_unchanged();
            if at.next.is_none() {
                (at.next, at.began_ms) = (Some(RecordIndex::FIRST), now);
            }
            counters.scrubbing.store(1, Ordering::Relaxed);
            let whole = at.next == Some(RecordIndex::FIRST);
            let reached = self.pass(&mut at).await?;
            let now = clock.now_ms();
            at.last_pass_s = now.saturating_sub(at.began_ms) / 1000;
            at.due_ms = at.began_ms + period_ms;
            at.next = None;
            self.keep(&at).await?;
            if whole && reached {
                repairs.looked_at_all();
            }
            counters.progress.store(MILLIONTHS, Ordering::Relaxed);
            counters.passes.fetch_add(1, Ordering::Relaxed);
            counters.scrubbing.store(0, Ordering::Relaxed);
            tracing::info!(seconds = at.last_pass_s, "a pass of the scrub has ended");
        }
    }

    async fn keep(&self, at: &Position) -> Result<(), BodyError> {
        let store = &self.bodies.store;
        Ok(store.set_scrub_position(at.encode()).await?)
    }

    /// Whether it came to the end of the log, and not to a body that nobody has.
    async fn pass(&self, at: &mut Position) -> Result<bool, BodyError> {
        let repairs = &self.bodies.repairs;
        let state = self.state.clone();
        let head = self.bodies.blocking;
        let head = head.run(move || state.read(|tables| tables.head())).await?;
        let mut seen = repairs.seen.subscribe();
        let caught_up = seen.wait_for(|seen| *seen >= head.size);
        // If it does not catch up, a body is missing that no holder has.
        let _ = tokio::time::timeout(SEEN_MAX, caught_up).await;
        // What was scrubbed before a restart will be looked through again.
        let from = at.next.unwrap_or(RecordIndex::FIRST);
        let again = seen.wait_for(|seen| *seen >= from.size_before());
        let _ = tokio::time::timeout(SEEN_MAX, again).await;
        let end = *repairs.seen.borrow();
        while let Some(from) = at.next.filter(|from| end.contains(*from)) {
            let (state, read) = (self.state.clone(), self.bodies.blocking);
            let read = read.run(move || state.read(|tables| names(tables, from, end.next_index())));
            let page = read.await?;
            if page.next <= from {
                // A snapshot took the place of the state; the rest is for the next pass.
                break;
            }
            for (_, rendition) in &page.named {
                self.check(rendition).await?;
            }
            at.next = Some(page.next);
            self.keep(at).await?;
            let progress = page.next.get() * MILLIONTHS / end.get().max(1);
            repairs.counters.progress.store(progress, Ordering::Relaxed);
            tokio::time::sleep(PAGE_PAUSE).await;
            while self.is_ahead_of_the_log().await? {
                tokio::time::sleep(NOTES_PAUSE).await;
            }
        }
        Ok(end >= head.size)
    }

    /// Whether more is noted than is recorded in good time.
    async fn is_ahead_of_the_log(&self) -> Result<bool, BodyError> {
        match self.bodies.store.notes(NOTES_MAX).await {
            Ok(notes) => Ok(notes.len() == NOTES_MAX),
            // Whoever records them says so.
            Err(store::StoreError::Unreadable(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads one body, unless it is being repaired anyway.
    async fn check(&self, rendition: &Rendition) -> Result<(), BodyError> {
        let bodies = &self.bodies;
        let (body, named) = (rendition.body_id, Some(content(rendition)));
        if bodies.store.damage(body).await?.is_some() {
            bodies.repairs.damaged(body);
            return Ok(());
        }
        let Some(manifest) = bodies.own_manifest(body, named, How::Scrub).await? else {
            // It was held here once: its record was looked through. Not seen again where it
            // was set aside just now.
            return bodies
                .quarantine(body, Suspect::Manifest(named), How::Scrub)
                .await;
        };
        for (number, (length, digest)) in manifest.chunks.into_iter().enumerate() {
            self.rate_limiter.take(u64::from(length)).await;
            bodies
                .own_chunk(body, number as u32, digest, How::Scrub)
                .await?;
            let scrubbed = &bodies.repairs.counters.scrubbed_bytes;
            scrubbed.fetch_add(u64::from(length), Ordering::Relaxed);
        }
        tokio::task::yield_now().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back_and_another_version_is_none() {
        for next in [None, Some(RecordIndex::new(7))] {
            let position = Position {
                next,
                began_ms: 1,
                due_ms: 2,
                last_pass_s: 3,
            };
            let mut bytes = position.encode();
            assert_eq!(Position::decode(&bytes), Ok(position));
            bytes[0] = 9;
            assert!(Position::decode(&bytes).is_err());
        }
    }
}
