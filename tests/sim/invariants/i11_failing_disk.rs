//! I11: a failed fsync stops the process; a full disk refuses bodies early, still serves
//! reads, still commits evidence and deletes.
//!
//! Checked: a node whose sync has failed is gone within a moment, and no later sync of its
//! succeeds before that; a node whose disk is full takes no invoice in that came after it
//! had the time to notice, and goes on applying what others commit.

use super::Invariant;
use crate::facts::{Event, Fact};
use crate::mirror::Mirror;
use std::collections::BTreeMap;
use std::time::Duration;

/// A node ends within this after a sync has failed.
const END_MAX: Duration = Duration::from_millis(500);
/// How old a node's knowledge of its disk may be, with the time to get an invoice in.
const NOTICE_MAX: Duration = Duration::from_millis(400);

#[derive(Default)]
pub struct FailingDisk {
    judged: u64,
    failed: BTreeMap<u64, Duration>,
    full: BTreeMap<u64, Duration>,
}

impl Invariant for FailingDisk {
    fn name(&self) -> &'static str {
        "i11"
    }

    fn take(&mut self, _mirror: &Mirror, fact: &Fact, now: Duration) -> Result<(), String> {
        match fact {
            Fact::Raw(Event::SyncFailed { node }) => {
                self.failed.entry(*node).or_insert(now);
                self.judged += 1;
            }
            Fact::Raw(Event::Synced { node, .. }) if self.failed.contains_key(node) => {
                return Err(format!("node {node} syncs after a sync that failed"));
            }
            Fact::VoteWritten { node } if self.failed.contains_key(node) => {
                return Err(format!("node {node} votes after a sync that failed"));
            }
            Fact::Raw(Event::Down { node, .. }) => drop(self.failed.remove(node)),
            Fact::Raw(Event::Full { node, full }) => {
                match full {
                    true => self.full.insert(*node, now),
                    false => self.full.remove(node),
                };
            }
            Fact::Raw(Event::Issued {
                node,
                number,
                took_body: true,
                began_us,
                ..
            }) => {
                let began = Duration::from_micros(*began_us);
                if let Some(since) = self.full.get(node)
                    && began > *since + NOTICE_MAX
                {
                    return Err(format!("node {node} takes {number} in with a full disk"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, _mirror: &Mirror, now: Duration) -> Result<(), String> {
        match self
            .failed
            .iter()
            .find(|(_, since)| now > **since + END_MAX)
        {
            Some((node, _)) => Err(format!("node {node} goes on after a sync that failed")),
            None => Ok(()),
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
