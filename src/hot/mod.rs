//! Hot attributes: the latest value of each in one document per entity.

pub mod corrupt;
pub mod document;
pub mod merge;
pub mod moment;
pub mod numeric;
pub mod search;
pub mod stamp;
pub mod times;
pub mod value;
