//! Which node may answer: this one (`can_serve`), or one of those that stream from it (`route_read`).

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::classes::{Allowance, allowance};
use super::freshness::{Node, this_node};
use super::peers::{Peer, head, peers, ring};
use super::ring::{Time, seconds};
use super::verdict::Judged;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::{identity, process, replication};

#[pg_extern]
fn can_serve(class: Option<&str>) -> Result<bool, ErrorReport> {
    let Some(class) = class else { return Ok(false) };
    Ok(identity::as_owner(|| {
        let installed = Installed::require()?;
        match allowance(&installed, class)? {
            Allowance::Known(allowed) => Ok(node_may_serve(&this_node(&installed)?, allowed)),
            Allowance::NoSuchClass | Allowance::Locked => Ok(false),
        }
    })?)
}

fn node_may_serve(node: &Node, allowed: Time) -> bool {
    node.is_primary() || may_serve(&node.judged, allowed)
}

/// Whether a standby may serve data that are allowed to be this old; 0: only the primary may. Fails closed: where nothing is known
/// there is no bound.
fn may_serve(judged: &Judged, allowed: Time) -> bool {
    allowed > 0 && judged.at_most.is_some_and(|old| old <= seconds(allowed))
}

#[derive(Debug, Clone, PartialEq)]
struct Candidate {
    name: String,
    role: &'static str,
    address: Option<String>,
    eligible: bool,
    lag: Option<f64>,
    bytes: i64,
    reason: Option<String>,
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn route_read(
    class: Option<&str>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(candidate, String),
            name!(role, String),
            name!(client_addr, Option<String>),
            name!(eligible, bool),
            name!(lag_seconds, Option<f64>),
            name!(bytes_behind, i64),
            name!(reason, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let class = class.ok_or(Error::NullArgument { argument: "class" })?;
    let candidates = identity::as_owner(|| candidates(class))?;
    Ok(TableIterator::new(candidates.into_iter().map(|candidate| {
        (
            candidate.name,
            candidate.role.to_owned(),
            candidate.address,
            candidate.eligible,
            candidate.lag,
            candidate.bytes,
            candidate.reason,
        )
    })))
}

fn candidates(class: &str) -> Result<Vec<Candidate>, Error> {
    let installed = Installed::require()?;
    let allowed = match allowance(&installed, class)? {
        Allowance::Known(allowed) => allowed,
        Allowance::NoSuchClass => return Err(Error::UnknownReadClass(class.to_owned())),
        Allowance::Locked => return Err(Error::TableLocked(installed.qualified(Table::ReadClasses))),
    };
    let ring = ring(&installed)?;
    let node = this_node(&installed)?;
    let (head, now) = (head(), process::now());
    let mut candidates = vec![itself(&node, allowed)];
    for peer in peers()? {
        let replayed = peer.stages[3];
        let behind = replayed.and_then(|position| ring.seconds_behind(position, head, now));
        // What this node itself lacks, those behind it lack as well.
        let lag = node.judged.at_most.zip(behind).map(|(here, there)| here + there);
        let bytes = replayed.map_or(0, |position| head.saturating_sub(position));
        candidates.push(other(
            &peer,
            lag,
            bytes.saturating_add(node.judged.bytes_behind),
            allowed,
        ));
    }
    sort(&mut candidates);
    Ok(candidates)
}

fn itself(node: &Node, allowed: Time) -> Candidate {
    let eligible = node_may_serve(node, allowed);
    Candidate {
        name: replication::node_name(),
        role: node.role,
        address: None,
        eligible,
        lag: node.judged.at_most,
        bytes: i64::try_from(node.judged.bytes_behind).unwrap_or(i64::MAX),
        reason: (!eligible).then(|| why_not(node.judged.at_most, allowed, node.judged.why)),
    }
}

fn other(peer: &Peer, lag: Option<f64>, bytes: u64, allowed: Time) -> Candidate {
    let in_time = allowed > 0 && lag.is_some_and(|lag| lag <= seconds(allowed));
    let eligible = in_time && peer.state == "streaming";
    let state = (peer.state != "streaming").then(|| format!("its state is {}", peer.state));
    Candidate {
        name: peer.name.clone(),
        role: "standby",
        address: peer.address.clone(),
        eligible,
        lag,
        bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        reason: (!eligible).then(|| match state {
            Some(state) if in_time => state,
            _ => why_not(lag, allowed, state.as_deref()),
        }),
    }
}

fn why_not(lag: Option<f64>, allowed: Time, more: Option<&str>) -> String {
    let reason = match lag {
        _ if allowed == 0 => "only the primary may answer reads of this class".to_owned(),
        None => "its lag is not known".to_owned(),
        Some(lag) => format!(
            "its lag of {lag:.1} s is above the {} s of the class",
            seconds(allowed)
        ),
    };
    match more {
        Some(more) if allowed > 0 => format!("{reason}: {more}"),
        _ => reason,
    }
}

/// Those that may answer first; among them standbys, the freshest first, and the primary last: it has other work.
fn sort(candidates: &mut [Candidate]) {
    candidates.sort_by(|a, b| {
        let key = |c: &Candidate| (!c.eligible, c.role == "primary");
        let lag = |c: &Candidate| c.lag.unwrap_or(f64::MAX);
        key(a).cmp(&key(b)).then(lag(a).total_cmp(&lag(b)))
    });
}

#[cfg(test)]
mod tests {
    use super::super::verdict::Verdict;
    use super::*;

    fn peer(name: &str, state: &str) -> Peer {
        Peer {
            name: name.to_owned(),
            address: None,
            state: state.to_owned(),
            sync_state: "async".to_owned(),
            slot: None,
            stages: [None; 4],
        }
    }

    #[test]
    fn the_freshest_standby_comes_first_and_the_primary_after_all_that_may_answer() {
        let allowed = 3_000_000;
        let primary = Candidate {
            name: "primary".into(),
            role: "primary",
            address: None,
            eligible: true,
            lag: Some(0.0),
            bytes: 0,
            reason: None,
        };
        let mut all = vec![
            other(&peer("late", "streaming"), Some(9.0), 9, allowed),
            primary,
            other(&peer("good", "streaming"), Some(2.0), 2, allowed),
            other(&peer("unknown", "streaming"), None, 0, allowed),
            other(&peer("best", "streaming"), Some(1.0), 1, allowed),
            other(&peer("catching up", "catchup"), Some(1.0), 1, allowed),
        ];
        sort(&mut all);
        let names: Vec<&str> = all.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(
            names,
            ["best", "good", "primary", "catching up", "late", "unknown"]
        );
        for candidate in &all {
            assert_eq!(candidate.reason.is_none(), candidate.eligible, "{candidate:?}");
        }
    }

    #[test]
    fn only_a_known_bound_within_the_allowance_may_serve() {
        const S: Time = 1_000_000;
        let may = |at_most, allowed| {
            let judged = Judged {
                verdict: Verdict::Disconnected,
                at_most,
                at_least: None,
                bytes_behind: 0,
                skew: None,
                beat_age: None,
                heard_ago: None,
                why: None,
            };
            may_serve(&judged, allowed)
        };
        assert!(may(Some(0.5), 3 * S) && may(Some(3.0), 3 * S));
        assert!(!may(Some(3.1), 3 * S));
        assert!(may(Some(10.0), 300 * S), "the bound holds, connected or not");
        assert!(!may(None, Time::MAX));
        assert!(
            !may(Some(0.0), 0),
            "only the primary answers where nothing may be old"
        );
    }

    #[test]
    fn no_standby_is_good_enough_for_a_class_that_allows_no_lag() {
        let candidate = other(&peer("perfect", "streaming"), Some(0.0), 0, 0);
        assert!(!candidate.eligible && candidate.reason.is_some_and(|r| r.contains("only the primary")));
    }
}
