//! Sessions that have lived for a while. The first time that a process touches a page of shared memory, the kernel has to map it
//! for that process: without huge pages that costs more than to put a row into it. A flusher lives for months and has every page
//! mapped; a session that a benchmark has just opened has none, and would pay for a good part of the pages that it writes.

use cluster_tests::Session;

/// Buffers that are left to what comes up besides.
const MARGIN: i64 = 2000;

/// Fills what is left of the buffers with clean pages of a table, which make room for others without being written.
pub fn fill_buffers(session: &mut Session) {
    let free = session.number(
        "SELECT setting::bigint - pg_database_size(current_database()) / current_setting('block_size')::bigint
         FROM pg_settings WHERE name = 'shared_buffers'",
    ) - MARGIN;
    session.exec(
        "CREATE UNLOGGED TABLE ballast (page text);
         ALTER TABLE ballast ALTER page SET STORAGE PLAIN",
    );
    session.exec(&format!(
        "INSERT INTO ballast SELECT repeat('x', 7000) FROM generate_series(1, {free})"
    ));
}

/// Has a session touch them all.
pub fn touch_buffers(session: &mut Session) {
    let touched = session.number(
        "SELECT count(*) FROM ballast WHERE ctid = ANY (ARRAY(
             SELECT format('(%s,1)', block)::tid
             FROM generate_series(0, pg_relation_size('ballast') / current_setting('block_size')::int - 1) AS block))",
    );
    assert!(touched > 0, "no buffer was touched");
}
