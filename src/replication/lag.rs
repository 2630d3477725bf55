//! The rows of `replication_lag`: each standby that streams from this node, stage by stage, in bytes and in seconds.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::peers::{Peer, head, peers, ring};
use super::ring::Ring;
use crate::error::Error;
use crate::installed::Installed;
use crate::pg::replication::Position;
use crate::pg::{identity, process};

/// What a standby lacks at one stage.
struct Lack {
    bytes: Option<i64>,
    seconds: Option<f64>,
}

fn lacks(peer: &Peer, ring: &Ring, head: Position, now: i64) -> [Lack; 4] {
    peer.stages.map(|stage| Lack {
        bytes: stage.map(|position| i64::try_from(head.saturating_sub(position)).unwrap_or(i64::MAX)),
        seconds: stage.and_then(|position| ring.seconds_behind(position, head, now)),
    })
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn replication_lag_rows() -> Result<
    TableIterator<
        'static,
        (
            name!(standby, String),
            name!(client_addr, Option<String>),
            name!(state, String),
            name!(sync_state, String),
            name!(slot_name, Option<String>),
            name!(sent_lag_bytes, Option<i64>),
            name!(write_lag_bytes, Option<i64>),
            name!(flush_lag_bytes, Option<i64>),
            name!(replay_lag_bytes, Option<i64>),
            name!(sent_lag_seconds, Option<f64>),
            name!(write_lag_seconds, Option<f64>),
            name!(flush_lag_seconds, Option<f64>),
            name!(replay_lag_seconds, Option<f64>),
        ),
    >,
    ErrorReport,
> {
    let rows = identity::as_owner(|| {
        let ring = ring(&Installed::require()?)?;
        let peers = peers()?;
        let (head, now) = (head(), process::now());
        Ok::<_, Error>(
            peers
                .into_iter()
                .map(|peer| {
                    let lacks = lacks(&peer, &ring, head, now);
                    (peer, lacks)
                })
                .collect::<Vec<_>>(),
        )
    })?;
    Ok(TableIterator::new(rows.into_iter().map(|(peer, lacks)| {
        let [sent, write, flush, replay] = lacks;
        (
            peer.name,
            peer.address,
            peer.state,
            peer.sync_state,
            peer.slot,
            sent.bytes,
            write.bytes,
            flush.bytes,
            replay.bytes,
            sent.seconds,
            write.seconds,
            flush.seconds,
            replay.seconds,
        )
    })))
}
