//! The zones of a cluster: how far each is behind, and what losing it would cost now.
//!
//! Promises the answering node's own figures, upper bounds all of them. Leaves asking to
//! `cluster`.

use crate::output;
use muniment_client::v1::{NodeStanding, StatusResponse, ZoneLoss};
use muniment_evidence::ids::NodeId;
use serde_json::{Value, json};

/// The leader's view where it answered, else that of whoever has heard of most nodes.
pub fn best<'a>(
    leader: NodeId,
    answers: impl Iterator<Item = &'a StatusResponse> + Clone,
) -> Option<&'a StatusResponse> {
    let mut all = answers.clone();
    all.find(|answer| answer.node == leader.get() && !answer.standings.is_empty())
        .or_else(|| answers.max_by_key(|answer| answer.standings.len()))
}

/// For people: one line on timing, one row per zone.
pub fn text(view: &StatusResponse) -> String {
    let mut text = format!(
        "Profile {}: without a leader for at most about {} ms. Writes that ask for nothing \
         wait for {}.\n\n",
        view.profile, view.worst_leaderless_ms, view.write_level
    );
    let headings = ["ZONE", "REGION", "NODES", "BEHIND", "LOSING IT NOW"];
    let rows: Vec<Vec<String>> = view
        .losses
        .iter()
        .map(|zone| {
            let nodes: Vec<String> = zone.nodes.iter().map(u64::to_string).collect();
            vec![
                zone.zone.clone(),
                zone.region.clone(),
                nodes.join(" "),
                lag(zone.lag_records, zone.lag_bytes, zone.lag_ms),
                cost(zone),
            ]
        })
        .collect();
    text.push_str(&output::table(&headings, &rows));
    text
}

fn lag(records: u64, bytes: u64, ms: u64) -> String {
    if records == 0 {
        return "nothing".to_owned();
    }
    format!("{records} records, {}, {ms} ms", output::size(bytes))
}

fn cost(zone: &ZoneLoss) -> String {
    let lost = match lag(zone.records, zone.bytes, zone.ms).as_str() {
        "nothing" => "loses nothing".to_owned(),
        lag => format!("loses {lag}"),
    };
    let then = match (zone.quorum_left, zone.level_left) {
        (false, _) => "nothing can be issued then",
        (true, false) => "the default level cannot be met then",
        (true, true) => "issuing goes on",
    };
    format!("{lost}; {then}")
}

pub fn loss_value(zone: &ZoneLoss) -> Value {
    json!({
        "zone": zone.zone,
        "region": zone.region,
        "nodes": zone.nodes,
        "lag": {"records": zone.lag_records, "bytes": zone.lag_bytes, "ms": zone.lag_ms},
        "loss": {"records": zone.records, "bytes": zone.bytes, "ms": zone.ms},
        "quorum_left": zone.quorum_left,
        "level_left": zone.level_left,
    })
}

pub fn standing_value(standing: &NodeStanding) -> Value {
    json!({
        "node": standing.node,
        "age_ms": standing.age_ms,
        "applied_index": standing.applied_index,
        "log_size": standing.log_size,
        "body_complete_index": standing.body_complete_index,
        "lag": {
            "records": standing.lag_records,
            "bytes": standing.lag_bytes,
            "ms": standing.lag_ms,
        },
        "disk_free_bytes": standing.disk_free_bytes,
        "fsync_p99_us": standing.fsync_p99_us,
        "ready": standing.ready,
        "bodies_missing": standing.bodies_missing,
        "repair_queue": standing.repair_queue,
        "orphan_bytes": standing.orphan_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_zone_costs_is_said_in_words() {
        let mut zone = ZoneLoss {
            zone: "a".into(),
            quorum_left: true,
            level_left: true,
            ..ZoneLoss::default()
        };
        assert_eq!(cost(&zone), "loses nothing; issuing goes on");
        zone.records = 3;
        zone.bytes = 2048;
        zone.ms = 12;
        zone.level_left = false;
        assert_eq!(
            cost(&zone),
            "loses 3 records, 2.0 KiB, 12 ms; the default level cannot be met then"
        );
        zone.quorum_left = false;
        assert!(cost(&zone).ends_with("nothing can be issued then"));
    }

    #[test]
    fn the_leaders_view_is_preferred() {
        let answer = |node, count| StatusResponse {
            node,
            standings: vec![NodeStanding::default(); count],
            ..StatusResponse::default()
        };
        let answers = [answer(1, 3), answer(2, 2), answer(3, 0)];
        assert_eq!(best(NodeId::new(2), answers.iter()).unwrap().node, 2);
        assert_eq!(best(NodeId::new(3), answers.iter()).unwrap().node, 1);
        assert_eq!(best(NodeId::new(9), [].iter()), None);
    }
}
