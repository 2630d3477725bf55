//! pg_telemetry: the data path of a telemetry platform inside PostgreSQL.
use pgrx::prelude::*;

pgrx::pg_module_magic!();
