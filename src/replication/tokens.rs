//! Reading one's own writes on another node: a token of what was written, and whether a node has come that far.

use std::time::{Duration, Instant};

use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::token::{Ancestry, Token, ancestry, end_of_record};
use crate::argument;
use crate::error::Error;
use crate::pg::{procedure, replication, signals, xact};

#[pg_extern]
fn commit_token() -> String {
    let (timeline, position) = if xact::in_recovery() {
        let (position, timeline) = replication::replayed();
        (timeline, position)
    } else {
        let (page, segment) = replication::sizes();
        let inserted = end_of_record(replication::insert_position(), page, segment);
        (replication::timeline(), inserted)
    };
    let token = Token {
        system: replication::system_identifier(),
        timeline,
        position,
        transaction: xact::full_id(),
    };
    token.write()
}

#[pg_extern]
fn token_reached(token: Option<&str>) -> Result<bool, ErrorReport> {
    Ok(is_reached(&parse(token)?)?)
}

fn parse(token: Option<&str>) -> Result<Token, Error> {
    let text = token.ok_or(Error::NullArgument { argument: "token" })?;
    Token::parse(text).ok_or_else(|| Error::InvalidText {
        argument: "token",
        fault: "it is not one that commit_token() returned".to_owned(),
    })
}

/// Uses no snapshot, and no SQL.
fn is_reached(token: &Token) -> Result<bool, Error> {
    if token.system != replication::system_identifier() {
        return Err(Error::TokenOfAnotherCluster);
    }
    let in_recovery = xact::in_recovery();
    let (reached, own) = if in_recovery {
        replication::replayed()
    } else {
        (replication::insert_position(), replication::timeline())
    };
    let history = (token.timeline < own)
        .then(|| replication::timeline_history(own))
        .flatten();
    let abandoned = Error::TokenAbandoned {
        timeline: token.timeline,
        own,
    };
    match ancestry(token.timeline, own, history.as_deref()) {
        None | Some(Ancestry::Stranger) => Err(abandoned),
        // A standby may still be about to follow; a primary was left behind.
        Some(Ancestry::Newer) if in_recovery => Ok(false),
        Some(Ancestry::Newer) => Err(Error::TokenOfNewerTimeline {
            timeline: token.timeline,
            own,
        }),
        Some(Ancestry::EndedAt(end)) if token.position > end => Err(abandoned),
        // Its number may belong to another transaction on this timeline.
        Some(Ancestry::EndedAt(_)) if token.transaction.is_some() => Err(abandoned),
        Some(Ancestry::EndedAt(_)) => Ok(reached >= token.position),
        Some(Ancestry::Same) => match token.transaction {
            None => Ok(reached >= token.position),
            Some(id) => match xact::fate(id) {
                xact::Fate::Committed => Ok(true),
                xact::Fate::Running => Ok(false),
                xact::Fate::RolledBack => Err(Error::TokenRolledBack),
                xact::Fate::Forgotten => Err(Error::TokenTooOld),
            },
        },
    }
}

/// Short enough to return within some milliseconds of replay; longer once nobody seems to be in a hurry.
fn next_look(waited: Duration) -> Duration {
    if waited < Duration::from_millis(500) {
        Duration::from_millis(1)
    } else {
        Duration::from_millis(5)
    }
}

/// False when the time is over. Nothing here takes a snapshot: one would hold up the replay that is waited for.
fn wait(token: &Token, limit: Duration) -> Result<bool, Error> {
    let start = Instant::now();
    loop {
        if is_reached(token)? {
            return Ok(true);
        }
        let waited = start.elapsed();
        if waited >= limit {
            return Ok(false);
        }
        signals::pause(next_look(waited).min(limit - waited));
    }
}

procedure::declare!(wait_for_token_wrapper, pg_finfo_wait_for_token_wrapper, |call| {
    let token = parse(call.argument::<String>(0).as_deref())?;
    let limit = argument::timeout(call.argument::<Interval>(1))?;
    call.let_go_of_snapshots("wait_for_token()")?;
    wait(&token, limit)
});
