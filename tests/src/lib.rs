//! Real clusters for tests: start, stop, crash, standby, several sessions.
