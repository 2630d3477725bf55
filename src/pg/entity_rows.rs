//! The rows of one leaf of the projection, by their key.

use pgrx::pg_sys;

use super::btree_key::Kind;
use super::jsonb::Jsonb;
use super::rows_by_key;
use super::write_index::WriteIndex;

pub const COLUMNS: usize = 6;
pub const KEYS: usize = 2;

/// The document of an entity, as it lies on its page.
pub type Row = rows_by_key::Row<COLUMNS>;

pub type Lookup = rows_by_key::Lookup<KEYS, COLUMNS>;
pub type Near = rows_by_key::Near<KEYS, COLUMNS>;

/// Where the key is in a row.
pub const PLACES: [usize; KEYS] = [0, 1];

/// Tenant and entity.
pub const KINDS: [Kind; KEYS] = [Kind::Wide; KEYS];

/// The primary key of a leaf.
pub struct Key {
    pub(super) open: WriteIndex,
}

impl Key {
    /// None when it is not a plain unique index on the first two columns.
    pub fn open(oid: pg_sys::Oid, lock: u32) -> Option<Key> {
        // SAFETY: an index of an open table.
        unsafe {
            let open = WriteIndex::open(oid, lock);
            let (pointer, info) = (open.pointer, open.info);
            let index = (*pointer).rd_index;
            let plain = (*(*pointer).rd_rel).relam == pg_sys::BTREE_AM_OID
                && (*index).indisunique
                && (*index).indimmediate
                && (*index).indisvalid
                && (*index).indisready
                && (*info).ii_NumIndexAttrs == KEYS as i32
                && (*info).ii_NumIndexKeyAttrs == KEYS as i32
                && (&(*info).ii_IndexAttrNumbers)[..KEYS] == [1, 2]
                && (*info).ii_Expressions.is_null()
                && (*info).ii_Predicate.is_null();
            plain.then_some(Key { open })
        }
    }
}

impl Row {
    /// The document without its length in front; values that are kept elsewhere or compressed are fetched into the current
    /// memory context.
    pub fn attrs(&self) -> &[u8] {
        // SAFETY: a jsonb, NOT NULL, on a page that stays pinned, or in the current context.
        unsafe { content(self.values[4]) }
    }

    pub fn times(&self) -> Option<&[u8]> {
        // SAFETY: as above, a bytea.
        (!self.nulls[5]).then(|| unsafe { content(self.values[5]) })
    }

    /// The document as the server has it.
    pub fn document(&self) -> Jsonb<'_> {
        Jsonb::of(self.values[4])
    }

    pub fn is_deleted(&self) -> bool {
        !self.nulls[3]
    }
}

/// # Safety
/// A varlena that lives as long as is claimed.
pub(super) unsafe fn content<'a>(value: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: promised by the caller.
    unsafe {
        let whole = pg_sys::pg_detoast_datum_packed(value.cast_mut_ptr());
        let data = pgrx::varlena::vardata_any(whole).cast::<u8>();
        std::slice::from_raw_parts(data, pgrx::varlena::varsize_any_exhdr(whole))
    }
}
