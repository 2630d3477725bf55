//! The text of a tuple that has all its values inside, compressed or not.

use std::borrow::Cow;

use pgrx::pg_sys;

/// How long the text is, known without unpacking it. `at`: where it begins, by `Tuple::text_at`.
pub fn length(tuple: &[u8], at: usize) -> usize {
    let Some(value) = value(tuple, at) else {
        return 0;
    };
    // SAFETY: a whole value, by the tuple's own account.
    unsafe {
        if pgrx::varlena::varatt_is_4b_c(value) {
            pg_sys::toast_raw_datum_size(pg_sys::Datum::from(value)) - pg_sys::VARHDRSZ
        } else {
            pgrx::varlena::varsize_any_exhdr(value)
        }
    }
}

pub fn bytes(tuple: &[u8], at: usize) -> Cow<'_, [u8]> {
    let Some(value) = value(tuple, at) else {
        return Cow::Borrowed(&[]);
    };
    // SAFETY: a whole value, by the tuple's own account; what is unpacked is copied and freed.
    unsafe {
        if !pgrx::varlena::varatt_is_4b_c(value) {
            return Cow::Borrowed(content(value));
        }
        let unpacked = pg_sys::pg_detoast_datum(value.cast_mut());
        let copy = content(unpacked).to_vec();
        pg_sys::pfree(unpacked.cast());
        Cow::Owned(copy)
    }
}

fn value(tuple: &[u8], at: usize) -> Option<*const pg_sys::varlena> {
    Some(tuple.get(at..)?.as_ptr().cast())
}

/// # Safety
/// A whole value, not compressed.
unsafe fn content<'a>(value: *const pg_sys::varlena) -> &'a [u8] {
    // SAFETY: promised by the caller.
    unsafe {
        let data = pgrx::varlena::vardata_any(value).cast::<u8>();
        std::slice::from_raw_parts(data, pgrx::varlena::varsize_any_exhdr(value))
    }
}
