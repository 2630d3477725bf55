//! Hot attributes: the latest value of each in one document per entity.

mod by_sql;
pub mod corrupt;
pub mod document;
pub mod entity;
mod facts;
mod horizon_age;
mod latest;
pub mod leaf;
pub mod leaves;
pub mod merge;
pub mod moment;
pub mod numeric;
pub mod pending;
pub mod project;
mod rebuild;
pub mod reduce;
mod removal;
pub mod search;
mod spacing;
mod staged;
pub mod stamp;
pub mod times;
mod upsert;
pub mod value;
