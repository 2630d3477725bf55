//! Hot attributes: the latest value of each in one document per entity.

mod by_sql;
pub mod corrupt;
pub mod document;
pub mod entity;
mod horizon_age;
pub mod leaf;
pub mod merge;
pub mod moment;
pub mod numeric;
pub mod pending;
pub mod project;
pub mod reduce;
pub mod search;
mod spacing;
pub mod stamp;
pub mod times;
mod upsert;
pub mod value;
