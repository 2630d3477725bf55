//! How fresh this node is: what SQL asks, gathered and judged.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::ring::{NEWEST, Time};
use super::verdict::{Judged, Receiver, Standby, Verdict, judge};
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::pg::{identity, process, replication, xact};
use crate::sql::{argument, read};

/// What a beat says, as it is visible here.
struct Seen {
    at: Time,
    writer: String,
}

/// This node, as it is now.
pub struct Node {
    pub role: &'static str,
    pub timeline: u32,
    pub judged: Judged,
    receiver: Option<Receiver>,
    paused: Option<bool>,
    writer: Option<String>,
}

impl Node {
    pub fn is_primary(&self) -> bool {
        self.receiver.is_none()
    }
}

pub fn this_node(installed: &Installed) -> Result<Node, Error> {
    let beat = newest_beat(installed)?;
    let now = process::now();
    if !xact::in_recovery() {
        return Ok(primary(beat, now));
    }
    let (replayed, timeline) = replication::replayed();
    let receiver = replication::receiver();
    let paused = replication::is_replay_paused();
    let judged_as = match receiver {
        _ if !replication::is_receiver_wanted() => Receiver::NotWanted,
        receiver if receiver.running && receiver.streaming => Receiver::Streaming {
            sent_at: receiver.last_sent_at,
            received_at: receiver.last_received_at,
        },
        receiver if receiver.running => Receiver::Starting,
        _ => Receiver::Down,
    };
    let judged = judge(&Standby {
        now,
        beat: beat.as_ref().map(|beat| beat.at),
        receiver: judged_as,
        paused,
        replayed,
        heard_of: receiver.received.max(receiver.sender_end).max(replayed),
        interval: micros(guc::heartbeat_interval()),
        max_skew: micros(guc::max_clock_skew()),
    });
    Ok(Node {
        role: "standby",
        timeline,
        judged,
        receiver: Some(judged_as),
        paused: Some(paused),
        writer: beat.map(|beat| beat.writer),
    })
}

fn primary(beat: Option<Seen>, now: Time) -> Node {
    Node {
        role: "primary",
        timeline: replication::timeline(),
        judged: Judged {
            verdict: Verdict::Fresh,
            at_most: Some(0.0),
            at_least: Some(0.0),
            bytes_behind: 0,
            skew: None,
            beat_age: beat.as_ref().map(|beat| super::ring::seconds(now - beat.at)),
            heard_ago: None,
            why: None,
        },
        receiver: None,
        paused: None,
        writer: beat.map(|beat| beat.writer),
    }
}

/// None when the table is missing as well: then nothing is known, which is an answer.
fn newest_beat(installed: &Installed) -> Result<Option<Seen>, Error> {
    if installed.table_oid(Table::Heartbeat)?.is_none() {
        return Ok(None);
    }
    read(
        &format!(
            "SELECT written_at, writer FROM {} WHERE slot = $1",
            installed.qualified(Table::Heartbeat)
        ),
        vec![argument(NEWEST)],
        |rows| {
            if rows.is_empty() {
                return Ok(None);
            }
            let (at, writer) = rows.first().get_two::<TimestampWithTimeZone, String>()?;
            Ok(at.map(|at| Seen {
                at: at.into(),
                writer: writer.unwrap_or_default(),
            }))
        },
    )
}

fn micros(duration: std::time::Duration) -> Time {
    Time::try_from(duration.as_micros()).unwrap_or(Time::MAX)
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn freshness() -> Result<
    TableIterator<
        'static,
        (
            name!(role, String),
            name!(data_source, String),
            name!(verdict, String),
            name!(lag_seconds, Option<f64>),
            name!(lag_seconds_low, Option<f64>),
            name!(bytes_behind, i64),
            name!(receiver_state, Option<String>),
            name!(replay_paused, Option<bool>),
            name!(clock_skew_seconds, Option<f64>),
            name!(timeline, i32),
            name!(heartbeat_age_seconds, Option<f64>),
            name!(heartbeat_writer, Option<String>),
            name!(last_message_seconds, Option<f64>),
            name!(detail, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let node = identity::as_owner(|| this_node(&Installed::require()?))?;
    let judged = node.judged;
    Ok(TableIterator::once((
        node.role.to_owned(),
        replication::node_name(),
        judged.verdict.name().to_owned(),
        judged.at_most,
        judged.at_least,
        i64::try_from(judged.bytes_behind).unwrap_or(i64::MAX),
        node.receiver.map(|receiver| receiver.name().to_owned()),
        node.paused,
        judged.skew,
        i32::try_from(node.timeline).unwrap_or(i32::MAX),
        judged.beat_age,
        node.writer,
        judged.heard_ago,
        judged.why.map(str::to_owned),
    )))
}
