//! Freshness when the clock of a standby, or of its primary, is wrong: a primary, two standbys, and a server below one of them.

use cluster_tests::eventually;
use cluster_tests::replicas::{
    Fleet, STARTED, TWO_BEATS, becomes, becomes_within, every_read_works, fleet, is_well, serves,
};

const WRONG: [i64; 4] = [5, -5, 3600, -3600];

#[test]
fn the_clock_of_a_standby() {
    let Fleet {
        mut pair,
        mut other,
        mut leaf,
    } = fleet();
    let clock = pair.standby.clock();
    for ahead in WRONG {
        clock.set_ahead(ahead);
        // The one below compares its clock with that of the server above it.
        for session in [&mut pair.replica, &mut leaf.session] {
            let row = becomes(session, "skewed");
            assert_eq!(row[2..4], ["<null>", "<null>"], "{row:?}");
            serves(session, "fff");
            every_read_works(session);
        }
        is_well(&mut other.session);
        clock.set_ahead(0);
        for session in [&mut pair.replica, &mut leaf.session] {
            becomes_within(STARTED, session, "fresh");
            is_well(session);
        }
    }

    // Set back after the connection has gone: the beat it has would look young for another hour.
    pair.wire.cut();
    becomes(&mut pair.replica, "disconnected");
    clock.set_ahead(-3600);
    becomes(&mut pair.replica, "skewed");
    serves(&mut pair.replica, "fff");
    clock.set_ahead(0);
    pair.wire.mend();
    becomes_within(STARTED, &mut pair.replica, "fresh");
}

#[test]
fn the_clock_of_the_primary() {
    let Fleet {
        mut pair,
        mut other,
        mut leaf,
    } = fleet();
    let clock = pair.primary.clock();
    for ahead in WRONG {
        clock.set_ahead(ahead);
        for session in [&mut pair.replica, &mut other.session] {
            let row = becomes(session, "skewed");
            assert_eq!(row[2..4], ["<null>", "<null>"], "{row:?}");
            serves(session, "fff");
            every_read_works(session);
        }
        // Two hops away only a time in the future proves it; a clock that is behind makes data look older than they are.
        becomes(&mut leaf.session, if ahead > 0 { "skewed" } else { "stale" });
        let expected = match ahead {
            -5 => "fft",
            _ => "fff",
        };
        serves(&mut leaf.session, expected);
        every_read_works(&mut leaf.session);
        serves(&mut pair.session, "ttt");
        // Heartbeats go on by that clock, and so the primary goes on telling who is behind.
        let fine = "SELECT state, replay_lag_seconds BETWEEN 0 AND 3 FROM telemetry.replication_lag";
        eventually(TWO_BEATS, "lags that are no hour", || {
            match pair.session.rows(fine) {
                rows if rows == [["streaming", "t"], ["streaming", "t"]] => Ok(()),
                rows => Err(rows),
            }
        });
        clock.set_ahead(0);
        for session in [&mut pair.replica, &mut other.session, &mut leaf.session] {
            becomes_within(STARTED, session, "fresh");
            is_well(session);
        }
    }
}
