//! What becomes of values of searchable attributes when they change.

use super::value::HotValue;
use crate::error::Error;
use crate::installed::Installed;

/// A searchable attribute of an entity has another value now, or none any more.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed<'a> {
    pub tenant_id: i64,
    pub entity_id: i64,
    pub attribute_id: i32,
    pub value: Option<HotValue<'a>>,
}

/// Called in the transaction that writes the documents, once for many of them, after they were written and while their rows are
/// locked by it: the same values are the latest there and here. It must wait for no lock that an application may hold.
pub fn apply(_installed: &Installed, _changed: &[Changed]) -> Result<(), Error> {
    Ok(())
}
