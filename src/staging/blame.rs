//! What the SQLSTATE of a write that failed says about whose fault it is. Pure.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The row can never be stored: a constraint, a trigger, a function said so about its values.
    Row,
    /// Code that users added is broken, or refuses this row only: a missing function, a missing right, a policy.
    Code,
    /// Nothing is wrong with the row: a lock, a full disk, a server that goes down.
    Circumstances,
    /// The statement or the transaction as a whole is over; nothing is to be tried again within it.
    Caller,
}

pub fn blame(sqlstate: &str) -> Blame {
    match sqlstate {
        // query_canceled; serialization_failure: the transaction cannot commit any more
        "57014" | "40001" => return Blame::Caller,
        // internal_error: what C functions of extensions raise about a value that they cannot take, as well as what is really
        // broken. One such row must not keep all others of its partition waiting.
        "XX000" => return Blame::Code,
        _ => {}
    }
    match sqlstate.get(..2).unwrap_or_default() {
        // read only, already failed, …
        "25" => Blame::Caller,
        // connection (of a foreign table), transaction rollback, resources, object state, operator, system, snapshot,
        // configuration, foreign data, corruption
        "08" | "40" | "53" | "55" | "57" | "58" | "72" | "F0" | "HV" | "XX" => Blame::Circumstances,
        // feature not supported, grants, roles, cursors and statements by name, dependent objects, authorization, catalogs and
        // schemas, syntax or access rule
        "0A" | "0L" | "0P" | "24" | "26" | "28" | "2B" | "34" | "3B" | "3D" | "3F" | "42" => Blame::Code,
        // data exceptions, constraints, RAISE, limits (an index entry that is too long), and whatever a user made up
        _ => Blame::Row,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_fault_has_somebody_to_blame() {
        for (expected, sqlstates) in [
            (
                Blame::Row,
                &[
                    "22003", "22P02", "23502", "23503", "23505", "23514", "P0001", "P0004", "44000", "21000",
                    "54000", "UE001", "2F000", "38000", "",
                ][..],
            ),
            (
                Blame::Code,
                &["42501", "42883", "42P01", "0A000", "3F000", "XX000"],
            ),
            (
                Blame::Circumstances,
                &[
                    "53100", "53200", "55P03", "40P01", "57P01", "58030", "XX001", "08006", "HV00N",
                ],
            ),
            (Blame::Caller, &["57014", "40001", "25006", "25P02"]),
        ] {
            for sqlstate in sqlstates {
                assert_eq!(blame(sqlstate), expected, "{sqlstate}");
            }
        }
    }
}
