//! The servers that stream from this one, as it sees them.

use pgrx::prelude::*;

use super::ring::{Beat, Ring};
use crate::error::Error;
use crate::installed::{Installed, Readable, Table};
use crate::pg::replication::{self, Position};
use crate::pg::{identity, xact};
use crate::sql::{argument, read};

/// A standby that streams from here.
pub struct Peer {
    pub name: String,
    pub address: Option<String>,
    pub state: String,
    pub sync_state: String,
    pub slot: Option<String>,
    /// Sent, written, flushed, replayed; None as long as the standby has not said.
    pub stages: [Option<Position>; 4],
}

/// All of them but base backups and logical consumers. Only statistics of the server are read, as a role that may read
/// those and nothing else.
pub fn peers() -> Result<Vec<Peer>, Error> {
    identity::as_statistics_reader(|| {
        read(
            "SELECT r.application_name, host(r.client_addr), r.state, r.sync_state, s.slot_name::text,
                    (r.sent_lsn - '0/0')::bigint, (r.write_lsn - '0/0')::bigint,
                    (r.flush_lsn - '0/0')::bigint, (r.replay_lsn - '0/0')::bigint
             FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid
             WHERE r.state <> 'backup' AND s.slot_type IS DISTINCT FROM 'logical'
             ORDER BY r.application_name, r.client_addr, r.client_port, r.pid",
            vec![],
            |rows| {
                rows.map(|row| {
                    let text = |column: usize| row.get::<String>(column);
                    let position = |column: usize| -> Result<Option<Position>, Error> {
                        Ok(row.get::<i64>(column)?.and_then(|value| value.try_into().ok()))
                    };
                    Ok(Peer {
                        name: text(1)?.unwrap_or_default(),
                        address: text(2)?,
                        state: text(3)?.unwrap_or_default(),
                        sync_state: text(4)?.unwrap_or_default(),
                        slot: text(5)?,
                        stages: [position(6)?, position(7)?, position(8)?, position(9)?],
                    })
                })
                .collect()
            },
        )
    })
}

/// The ring as it is visible here; empty when there is none, or it cannot be read. Positions in the WAL of another cluster, which a
/// dump or a subscription brought, mean nothing here.
pub fn ring(installed: &Installed) -> Result<Ring, Error> {
    if installed.readable(Table::Heartbeat)? != Readable::Yes {
        return Ok(Ring::default());
    }
    let beats = read(
        &format!(
            "SELECT (wal_position - '0/0')::bigint, written_at FROM {} WHERE split_part(writer, '/', 1) = $1",
            installed.qualified(Table::Heartbeat)
        ),
        vec![argument(replication::system_identifier().to_string())],
        |rows| {
            let mut beats = Vec::new();
            for row in rows {
                let (position, at) = (row.get::<i64>(1)?, row.get::<TimestampWithTimeZone>(2)?);
                if let (Some(Ok(position)), Some(at)) = (position.map(Position::try_from), at) {
                    beats.push(Beat {
                        position,
                        at: at.into(),
                    });
                }
            }
            Ok(beats)
        },
    )?;
    Ok(Ring::new(beats))
}

/// Where the WAL of this server ends: written here, or replayed here.
pub fn head() -> Position {
    if xact::in_recovery() {
        replication::replayed().0
    } else {
        replication::insert_position()
    }
}
