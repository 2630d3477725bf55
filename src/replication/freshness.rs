//! How fresh this node is: what SQL asks, gathered and judged.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::clocks::{Clocks, Heard};
use super::ring::{NEWEST, Time, seconds};
use super::verdict::{Judged, Receiver, Seen, Standby, Verdict, judge};
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Readable, Table};
use crate::pg::{identity, process, replication, xact};
use crate::sql::{argument, read};

/// The newest beat, as far as it can be read.
enum Beat {
    Visible { seen: Seen, writer: String },
    None,
    Locked,
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
    let is_locked = matches!(beat, Beat::Locked);
    let (beat, writer) = match beat {
        Beat::Visible { seen, writer } => (Some(seen), Some(writer)),
        Beat::None | Beat::Locked => (None, None),
    };
    let mut node = if xact::in_recovery() {
        standby(beat)
    } else {
        primary(beat)
    };
    if is_locked && !node.is_primary() {
        node.judged.why = Some("replication_heartbeat is locked");
    }
    node.writer = writer;
    Ok(node)
}

fn standby(beat: Option<Seen>) -> Node {
    let (replayed, timeline) = replication::replayed();
    let words = replication::receiver();
    let paused = replication::is_replay_paused();
    let receiver = match words {
        _ if !replication::is_receiver_wanted() => Receiver::NotWanted,
        words if words.running && words.streaming => Receiver::Streaming,
        words if words.running => Receiver::Starting,
        _ => Receiver::Down,
    };
    let heard = Heard {
        sent_at: words.last_sent_at,
        received_at: words.last_received_at,
    };
    let judged = judge(&Standby {
        beat,
        receiver,
        clocks: Clocks {
            now: process::now(),
            heard: (receiver != Receiver::NotWanted).then_some(heard),
            max_skew: micros(guc::max_clock_skew()),
        },
        paused,
        replayed,
        heard_of: words.received.max(words.sender_end).max(replayed),
        interval: micros(guc::heartbeat_interval()),
    });
    Node {
        role: "standby",
        timeline,
        judged,
        receiver: Some(receiver),
        paused: Some(paused),
        writer: None,
    }
}

fn primary(beat: Option<Seen>) -> Node {
    let now = process::now();
    Node {
        role: "primary",
        timeline: replication::timeline(),
        judged: Judged {
            verdict: Verdict::Fresh,
            at_most: Some(0.0),
            at_least: Some(0.0),
            bytes_behind: 0,
            skew: None,
            beat_age: beat.map(|beat| seconds(now.saturating_sub(beat.at))),
            heard_ago: None,
            why: None,
        },
        receiver: None,
        paused: None,
        writer: None,
    }
}

/// Whether a primary of this cluster wrote a beat.
pub fn is_own(writer: &str) -> bool {
    writer
        .split_once('/')
        .is_some_and(|(system, _)| system.parse() == Ok(replication::system_identifier()))
}

/// None when the table is missing as well: then nothing is known, which is an answer.
fn newest_beat(installed: &Installed) -> Result<Beat, Error> {
    match installed.readable(Table::Heartbeat)? {
        Readable::Yes => {}
        Readable::Missing => return Ok(Beat::None),
        Readable::Locked => return Ok(Beat::Locked),
    }
    read(
        &format!(
            "SELECT written_at, writer FROM {} WHERE slot = $1",
            installed.qualified(Table::Heartbeat)
        ),
        vec![argument(NEWEST)],
        |rows| {
            if rows.is_empty() {
                return Ok(Beat::None);
            }
            let (at, writer) = rows.first().get_two::<TimestampWithTimeZone, String>()?;
            let writer = writer.unwrap_or_default();
            Ok(at.map_or(Beat::None, |at| Beat::Visible {
                seen: Seen {
                    at: at.into(),
                    own: is_own(&writer),
                },
                writer,
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
