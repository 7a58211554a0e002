//! What an operator accepts that a change of the members costs, by name.
//!
//! Promises: what he accepts is a cost that this change has, so that a slip of the pen is told;
//! it stands in the words of the PREPARE that he signs, and the leader that carries the change
//! through, be it a later one, reads it there and nowhere else. Pure. Leaves to
//! [`super::costs`] what a change costs.

use crate::domain::draft::{BadField, bad};
use crate::objective::write::WriteLevel;

/// Costs named in one request: more than the zones and regions that a change can lose.
const ACCEPTED_MAX: usize = 16;
/// In the words of a PREPARE, between what is done and what is accepted.
const ACCEPTED: &str = "; accepted: ";
const BETWEEN: &str = ", ";

/// Something that a change may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Records that were acknowledged at this level are not met any more.
    Level(WriteLevel),
    /// What the node that leaves has promised, and nobody else can record, is lost.
    Outbox,
}

/// How the last is named.
const OUTBOX: &str = "lost-outbox";

/// See the module; each cost once, in the order in which they were named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted(Vec<Cost>);

impl Cost {
    fn parse(word: &str) -> Result<Cost, String> {
        if word == OUTBOX {
            return Ok(Cost::Outbox);
        }
        match word.parse() {
            Ok(WriteLevel::Quorum | WriteLevel::All) => Err(format!(
                "{word} is of whoever are the members: no change loses it"
            )),
            Ok(level) => Ok(Cost::Level(level)),
            Err(_) => Err(format!("{word:?} is none of zones:K, regions:K, {OUTBOX}")),
        }
    }

    /// As it is named.
    pub fn name(self) -> String {
        match self {
            Cost::Level(level) => level.to_string(),
            Cost::Outbox => OUTBOX.to_owned(),
        }
    }
}

impl Accepted {
    pub fn parse(words: &[String]) -> Result<Accepted, BadField> {
        if words.len() > ACCEPTED_MAX {
            return Err(bad("accept", format!("names more than {ACCEPTED_MAX}")));
        }
        let mut accepted = Accepted::default();
        for word in words {
            let cost = Cost::parse(word).map_err(|why| bad("accept", why))?;
            if !accepted.has(cost) {
                accepted.0.push(cost);
            }
        }
        Ok(accepted)
    }

    pub fn has(&self, cost: Cost) -> bool {
        self.0.contains(&cost)
    }

    pub fn costs(&self) -> impl Iterator<Item = Cost> + '_ {
        self.0.iter().copied()
    }

    /// The words of a PREPARE: what is done, and at which cost.
    pub fn reason(&self, done: String) -> String {
        if self.0.is_empty() {
            return done;
        }
        let names: Vec<String> = self.0.iter().map(|cost| cost.name()).collect();
        format!("{done}{ACCEPTED}{}", names.join(BETWEEN))
    }

    /// What the words of a PREPARE accept. Other words, of a later version, accept nothing that
    /// this one knows.
    pub fn in_reason(reason: &str) -> Accepted {
        let names = reason.split_once(ACCEPTED).map(|(_, names)| names);
        let names = names.into_iter().flat_map(|names| names.split(BETWEEN));
        Accepted(names.flat_map(Cost::parse).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// A later leader knows of it from the record alone.
    #[test]
    fn what_is_accepted_is_read_back_from_the_words_of_the_record() {
        let accepted = Accepted::parse(&words(&["regions:2", "zones:3", "regions:2"])).unwrap();
        let reason = accepted.reason("remove node 4".into());
        assert_eq!(reason, "remove node 4; accepted: regions:2, zones:3");
        assert_eq!(Accepted::in_reason(&reason), accepted);
        assert!(accepted.has(Cost::Level(WriteLevel::Zones(3))));
        assert!(!accepted.has(Cost::Outbox));
        let dead = Accepted::parse(&words(&["lost-outbox"])).unwrap();
        let reason = dead.reason("replace node 3 by node 4".into());
        assert_eq!(Accepted::in_reason(&reason), dead);
        let none = Accepted::default();
        assert_eq!(none.reason("remove node 4".into()), "remove node 4");
        for reason in [
            "remove node 4",
            "",
            "; accepted: ",
            "; accepted: a later word",
        ] {
            assert_eq!(Accepted::in_reason(reason), none, "{reason}");
        }
    }

    #[test]
    fn what_no_change_costs_is_not_accepted() {
        for word in ["all", "quorum", "zones:0", "regions", "everything", ""] {
            let why = Accepted::parse(&words(&[word])).unwrap_err();
            assert_eq!(why.field, "accept");
        }
        let many = vec!["zones:2".to_owned(); ACCEPTED_MAX + 1];
        assert!(Accepted::parse(&many).is_err());
    }
}
