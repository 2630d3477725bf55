//! What is to be thought of a replication slot. Pure.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotVerdict {
    Ok,
    Warning,
    Critical,
    /// What its consumer needs is gone.
    Lost,
}

impl SlotVerdict {
    pub fn name(self) -> &'static str {
        match self {
            SlotVerdict::Ok => "ok",
            SlotVerdict::Warning => "warning",
            SlotVerdict::Critical => "critical",
            SlotVerdict::Lost => "lost",
        }
    }
}

/// What can be seen of a slot.
#[derive(Debug, Clone, Copy)]
pub struct Slot<'a> {
    pub wal_status: Option<&'a str>,
    /// The server has given it up, for lack of WAL or another reason.
    pub invalid: bool,
    /// A copy of a slot of the primary, which this standby keeps up to date.
    pub synced: bool,
    pub active: bool,
    /// WAL that is kept for it.
    pub retained: Option<i64>,
    /// WAL that may still be written before it is lost; None: max_slot_wal_keep_size sets no limit.
    pub safe: Option<i64>,
    pub inactive_seconds: Option<f64>,
    pub lag_seconds: Option<f64>,
    pub catalog_xmin_age: Option<i64>,
    /// WAL that is written in a second.
    pub rate: Option<f64>,
    pub free_on_disk: Option<i64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct JudgedSlot {
    pub verdict: SlotVerdict,
    /// Until it is lost or, without a limit, until it has filled the disk, if its consumer does not move.
    pub seconds_left: Option<f64>,
    pub remedy: Option<&'static str>,
}

const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;

/// Beyond it, catalogs that cannot be vacuumed slow everything down.
const OLD_CATALOG: i64 = 10_000_000;

pub fn judge_slot(slot: &Slot) -> JudgedSlot {
    if slot.invalid || slot.wal_status == Some("lost") {
        return JudgedSlot {
            verdict: SlotVerdict::Lost,
            seconds_left: None,
            remedy: Some(if slot.synced {
                "After a failover its consumer would need a new copy of the data. As long as the slot is well on the primary, the next synchronisation makes this one again."
            } else {
                "Its consumer needs a new copy of the data: pg_drop_replication_slot(), then start it anew."
            }),
        };
    }
    let left = slot.safe.or(slot.free_on_disk);
    let moves = slot.active && slot.lag_seconds.is_some_and(|lag| lag < MINUTE);
    let seconds_left = match (left, slot.rate) {
        (Some(left), Some(rate)) if rate > 0.0 && !moves && slot.retained.is_some() => {
            Some(left.max(0) as f64 / rate)
        }
        _ => None,
    };
    // Of the WAL that may be kept for it, how much is still free; only a limit makes this a question.
    let free = slot.safe.zip(slot.retained).map(|(safe, retained)| {
        let (safe, retained) = (safe.max(0) as f64, retained.max(0) as f64);
        safe / (safe + retained).max(1.0)
    });
    let is = |value: Option<f64>, below: f64| value.is_some_and(|value| value < below);
    let at_least = |value: Option<f64>, bound: f64| value.is_some_and(|value| value >= bound);
    let idle = if slot.active { None } else { slot.inactive_seconds };
    let none_retained = slot.retained.is_none();
    let limited = slot.safe.is_some();

    let (verdict, remedy) = if slot.wal_status == Some("unreserved")
        || is(free, 0.1)
        || is(seconds_left, 10.0 * MINUTE)
    {
        let remedy = if limited {
            "About to be lost: start its consumer now, or raise max_slot_wal_keep_size."
        } else {
            "About to fill the disk: start its consumer now, or drop the slot with pg_drop_replication_slot()."
        };
        (SlotVerdict::Critical, Some(remedy))
    } else if none_retained {
        (SlotVerdict::Ok, None)
    } else if at_least(idle, HOUR) {
        let remedy = if slot.synced {
            "It was not synchronised for an hour: see sync_replication_slots, and the slot on the primary."
        } else {
            "Nobody has read it for an hour: start its consumer, or drop it with pg_drop_replication_slot()."
        };
        (SlotVerdict::Critical, Some(remedy))
    } else if is(free, 0.2) || is(seconds_left, HOUR) {
        (
            SlotVerdict::Warning,
            Some(
                "It will not last: see whether its consumer keeps up, raise max_slot_wal_keep_size or add disk.",
            ),
        )
    } else if at_least(idle, 10.0 * MINUTE) {
        let remedy = if slot.synced {
            "It was not synchronised for ten minutes: see sync_replication_slots, and the slot on the primary."
        } else {
            "Nobody has read it for ten minutes: start its consumer."
        };
        (SlotVerdict::Warning, Some(remedy))
    } else if slot.catalog_xmin_age.is_some_and(|age| age > OLD_CATALOG) {
        (
            SlotVerdict::Warning,
            Some(
                "It keeps VACUUM from cleaning the catalogs: its consumer must confirm what it has read, or go.",
            ),
        )
    } else if slot.active && at_least(slot.lag_seconds, 5.0 * MINUTE) {
        (
            SlotVerdict::Warning,
            Some("Its consumer is connected but does not keep up, or does not confirm."),
        )
    } else {
        (SlotVerdict::Ok, None)
    };
    JudgedSlot {
        verdict,
        seconds_left,
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: i64 = 1 << 20;

    fn well() -> Slot<'static> {
        Slot {
            wal_status: Some("reserved"),
            invalid: false,
            synced: false,
            active: true,
            retained: Some(MB),
            safe: Some(1000 * MB),
            inactive_seconds: None,
            lag_seconds: Some(0.5),
            catalog_xmin_age: Some(10),
            rate: Some(MB as f64),
            free_on_disk: Some(10_000 * MB),
        }
    }

    fn idle(seconds: f64) -> Slot<'static> {
        Slot {
            active: false,
            inactive_seconds: Some(seconds),
            lag_seconds: Some(seconds),
            rate: Some(1000.0),
            ..well()
        }
    }

    #[test]
    fn every_situation_has_its_verdict_and_a_remedy() {
        use SlotVerdict::*;
        let table: &[(&str, Slot, SlotVerdict)] = &[
            ("well", well(), Ok),
            (
                "lost",
                Slot {
                    wal_status: Some("lost"),
                    ..idle(5.0)
                },
                Lost,
            ),
            (
                "given up by the server for another reason",
                Slot {
                    invalid: true,
                    ..well()
                },
                Lost,
            ),
            (
                "a synchronised slot, which nobody reads there",
                Slot {
                    synced: true,
                    ..idle(5.0)
                },
                Ok,
            ),
            (
                "a slot that is synchronised no more",
                Slot {
                    synced: true,
                    ..idle(601.0)
                },
                Warning,
            ),
            (
                "unreserved",
                Slot {
                    wal_status: Some("unreserved"),
                    ..idle(5.0)
                },
                Critical,
            ),
            ("just disconnected", idle(5.0), Ok),
            ("ten minutes without a reader", idle(601.0), Warning),
            ("an hour without a reader", idle(3601.0), Critical),
            (
                "a fifth is left",
                Slot {
                    retained: Some(850 * MB),
                    safe: Some(150 * MB),
                    ..idle(5.0)
                },
                Warning,
            ),
            (
                "a tenth is left",
                Slot {
                    retained: Some(950 * MB),
                    safe: Some(50 * MB),
                    ..idle(5.0)
                },
                Critical,
            ),
            (
                "half an hour is left",
                Slot {
                    rate: Some(1000.0 * MB as f64 / 1800.0),
                    ..idle(5.0)
                },
                Warning,
            ),
            (
                "a minute is left",
                Slot {
                    rate: Some(1000.0 * MB as f64 / 60.0),
                    ..idle(5.0)
                },
                Critical,
            ),
            (
                "the disk is full in a minute",
                Slot {
                    safe: None,
                    free_on_disk: Some(60 * MB),
                    rate: Some(MB as f64),
                    ..idle(5.0)
                },
                Critical,
            ),
            (
                "a catalog held back",
                Slot {
                    catalog_xmin_age: Some(20_000_000),
                    ..well()
                },
                Warning,
            ),
            (
                "connected, and does not keep up",
                Slot {
                    lag_seconds: Some(400.0),
                    rate: Some(1.0),
                    ..well()
                },
                Warning,
            ),
            (
                "never used",
                Slot {
                    retained: None,
                    safe: None,
                    wal_status: None,
                    lag_seconds: None,
                    ..idle(1e6)
                },
                Ok,
            ),
        ];
        for (situation, slot, verdict) in table {
            let judged = judge_slot(slot);
            assert_eq!(judged.verdict, *verdict, "{situation}");
            assert_eq!(judged.remedy.is_none(), *verdict == Ok, "{situation}");
        }
    }

    #[test]
    fn the_time_that_is_left_is_what_may_be_written_by_the_rate() {
        let slot = Slot {
            rate: Some(MB as f64),
            ..idle(5.0)
        };
        assert_eq!(judge_slot(&slot).seconds_left, Some(1000.0));
        assert_eq!(
            judge_slot(&Slot { safe: None, ..slot }).seconds_left,
            Some(10_000.0)
        );
        assert_eq!(
            judge_slot(&Slot {
                safe: Some(-5),
                ..slot
            })
            .seconds_left,
            Some(0.0)
        );
        for unknown in [
            Slot { rate: None, ..slot },
            Slot {
                rate: Some(0.0),
                ..slot
            },
            Slot {
                active: true,
                lag_seconds: Some(1.0),
                ..slot
            },
        ] {
            assert_eq!(judge_slot(&unknown).seconds_left, None, "{unknown:?}");
        }
    }
}
