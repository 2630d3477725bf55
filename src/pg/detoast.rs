//! Tuples on their way out of a table take with them what the table keeps elsewhere.

use pgrx::pg_sys;

const COLUMNS: usize = 8;

/// Hands over the tuple with all values inside: itself, where they are, or a copy. Compressed ones stay compressed.
///
/// # Safety
/// The bytes must be a tuple of this descriptor.
pub unsafe fn with_values_inside(bytes: &[u8], descriptor: pg_sys::TupleDesc, take: impl FnOnce(&[u8])) {
    let header = bytes.as_ptr() as *mut pg_sys::HeapTupleHeaderData;
    // SAFETY: promised by the caller. The tuple is only read; `Vec` and `palloc` align alike, and all reads of it by the
    // server go by the descriptor.
    unsafe {
        let words: Vec<u64>;
        let header = if header.is_aligned() {
            header
        } else {
            words = aligned(bytes);
            words.as_ptr() as *mut pg_sys::HeapTupleHeaderData
        };
        if (*header).t_infomask & pg_sys::HEAP_HASEXTERNAL as u16 == 0 {
            return take(bytes);
        }
        let mut tuple = pg_sys::HeapTupleData {
            t_len: bytes.len() as u32,
            t_data: header,
            ..Default::default()
        };
        let mut values = [pg_sys::Datum::from(0); COLUMNS];
        let mut nulls = [true; COLUMNS];
        pg_sys::heap_deform_tuple(&mut tuple, descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
        let text = values[COLUMNS - 1].cast_mut_ptr::<pg_sys::varlena>();
        let inside = if nulls[COLUMNS - 1] {
            text
        } else {
            pg_sys::detoast_external_attr(text)
        };
        values[COLUMNS - 1] = pg_sys::Datum::from(inside);
        let whole = pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
        // Where it was.
        (*(*whole).t_data).t_ctid = (*header).t_ctid;
        take(std::slice::from_raw_parts(
            (*whole).t_data.cast::<u8>(),
            (*whole).t_len as usize,
        ));
        pg_sys::heap_freetuple(whole);
        if inside != text {
            pg_sys::pfree(inside.cast());
        }
    }
}

fn aligned(bytes: &[u8]) -> Vec<u64> {
    let mut words = vec![0u64; bytes.len().div_ceil(size_of::<u64>())];
    // SAFETY: the words have room for the bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), words.as_mut_ptr().cast::<u8>(), bytes.len());
    }
    words
}
