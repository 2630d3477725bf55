//! A document of the server's type jsonb, read where it lies: nothing is copied, no number loses a digit.

use std::ffi::{CStr, CString};
use std::marker::PhantomData;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::prelude::*;

use crate::hot::document::{self, Kind};
use crate::hot::numeric;

/// An argument of a function, not read yet.
pub struct Jsonb<'a> {
    datum: pg_sys::Datum,
    lives: PhantomData<&'a ()>,
}

/// An object, an array, or a single value at the top.
#[derive(Clone, Copy)]
pub struct Container<'a> {
    pointer: *mut pg_sys::JsonbContainer,
    length: usize,
    lives: PhantomData<&'a ()>,
}

#[derive(Clone, Copy)]
pub enum Value<'a> {
    Null,
    Boolean(bool),
    Number(Number<'a>),
    Text(&'a str),
    Nested(Container<'a>),
}

#[derive(Clone, Copy)]
pub struct Number<'a> {
    numeric: pg_sys::Numeric,
    lives: PhantomData<&'a ()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Object,
    Array,
    /// Only at the top.
    Scalar,
}

/// The document `{}`.
pub fn empty_object() -> pg_sys::Datum {
    // SAFETY: text that the server reads as JSON; the document lies in the current context.
    unsafe { pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[c"{}".into_datum()]) }
        .unwrap_or(pg_sys::Datum::null())
}

impl<'a> Jsonb<'a> {
    /// Of a datum that is a jsonb and lives for 'a.
    pub(super) fn of(datum: pg_sys::Datum) -> Jsonb<'a> {
        Jsonb {
            datum,
            lives: PhantomData,
        }
    }

    pub fn datum(&self) -> pg_sys::Datum {
        self.datum
    }

    /// Bytes of the document, known before it is fetched from where it is kept.
    pub fn size(&self) -> usize {
        // SAFETY: the datum is a jsonb.
        unsafe { pg_sys::toast_raw_datum_size(self.datum) }
    }

    pub fn root(&self) -> Container<'a> {
        // SAFETY: the datum is a jsonb. A copy of it lies in the current context, which is that of the call of our function.
        unsafe {
            let whole = pg_sys::pg_detoast_datum(self.datum.cast_mut_ptr());
            Container {
                pointer: &raw mut (*whole.cast::<pg_sys::Jsonb>()).root,
                length: pgrx::varlena::varsize_any_exhdr(whole),
                lives: PhantomData,
            }
        }
    }
}

impl<'a> Container<'a> {
    pub fn shape(&self) -> Shape {
        let header = self.header();
        if header & pg_sys::JB_FSCALAR != 0 {
            Shape::Scalar
        } else if header & pg_sys::JB_FOBJECT != 0 {
            Shape::Object
        } else {
            Shape::Array
        }
    }

    /// How many pairs or elements it has.
    pub fn count(&self) -> usize {
        (self.header() & pg_sys::JB_CMASK) as usize
    }

    fn header(&self) -> u32 {
        // SAFETY: points to a container.
        unsafe { (*self.pointer).header }
    }

    /// As it is stored. Equal for equal documents, numbers with other trailing zeros aside.
    pub fn bytes(&self) -> &'a [u8] {
        // SAFETY: a container takes so many bytes.
        unsafe { std::slice::from_raw_parts(self.pointer.cast::<u8>(), self.length) }
    }

    /// The value of a key of an object.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        let length = i32::try_from(key.len()).ok()?;
        if self.header() & pg_sys::JB_FOBJECT == 0 {
            return None;
        }
        // SAFETY: an object, which is searched for a key of that length; the value is set if it is found.
        unsafe {
            let mut value = std::mem::zeroed::<pg_sys::JsonbValue>();
            let found =
                pg_sys::getKeyJsonValueFromContainer(self.pointer, key.as_ptr().cast(), length, &mut value);
            (!found.is_null()).then(|| Value::of(&value))
        }
    }

    /// The pairs of an object, in the order of jsonb: each key once.
    pub fn pairs(&self) -> Vec<(&'a str, Value<'a>)> {
        let mut pairs = Vec::with_capacity(self.count());
        let mut key = None;
        self.walk(|token, value| match (token, value) {
            (pg_sys::JsonbIteratorToken::WJB_KEY, Value::Text(text)) => key = Some(text),
            (pg_sys::JsonbIteratorToken::WJB_VALUE, value) => {
                pairs.extend(key.take().map(|key| (key, value)))
            }
            _ => {}
        });
        pairs
    }

    /// The elements of an array; of a single value at the top, that one.
    pub fn elements(&self) -> Vec<Value<'a>> {
        let mut elements = Vec::with_capacity(self.count());
        self.walk(|token, value| {
            if token == pg_sys::JsonbIteratorToken::WJB_ELEM {
                elements.push(value);
            }
        });
        elements
    }

    fn walk(&self, mut visit: impl FnMut(pg_sys::JsonbIteratorToken::Type, Value<'a>)) {
        // SAFETY: the container outlives the iterator, which ends, and frees itself, after its last token. The value is set for
        // keys, values and elements; those that are nested are not entered.
        unsafe {
            let mut iterator = pg_sys::JsonbIteratorInit(self.pointer);
            let mut value = std::mem::zeroed::<pg_sys::JsonbValue>();
            loop {
                let token = pg_sys::JsonbIteratorNext(&mut iterator, &mut value, true);
                match token {
                    pg_sys::JsonbIteratorToken::WJB_DONE => return,
                    pg_sys::JsonbIteratorToken::WJB_KEY
                    | pg_sys::JsonbIteratorToken::WJB_VALUE
                    | pg_sys::JsonbIteratorToken::WJB_ELEM => visit(token, Value::of(&value)),
                    _ => {}
                }
            }
        }
    }

    /// Levels of objects and arrays, this one included; no deeper than `most` is looked.
    pub fn depth(&self, most: usize) -> usize {
        let mut level = vec![*self];
        let mut depth = 0;
        while !level.is_empty() && depth <= most {
            depth += 1;
            level = level.iter().flat_map(Container::children).collect();
        }
        depth
    }

    fn children(&self) -> Vec<Container<'a>> {
        let mut children = Vec::new();
        self.walk(|_, value| {
            if let Value::Nested(child) = value {
                children.push(child);
            }
        });
        children
    }

    /// Bytes of its numbers as text, counted no further than beyond `most`. In the document few bytes may stand for up to
    /// 147,000 digits, and the server does not stop halfway when it writes them down.
    pub fn digits(&self, most: usize) -> usize {
        let mut open = vec![*self];
        let mut digits = 0;
        while let Some(container) = open.pop() {
            container.walk(|_, value| match value {
                Value::Number(number) if digits <= most => {
                    pgrx::check_for_interrupts!();
                    digits += number.text().len();
                }
                Value::Nested(child) => open.push(child),
                _ => {}
            });
        }
        digits
    }

    /// The text that the server shows for it.
    pub fn text(&self) -> String {
        // SAFETY: a container of that length; the server's string is in its encoding, UTF-8, and freed after it was copied.
        unsafe {
            let text = pg_sys::JsonbToCString(std::ptr::null_mut(), self.pointer, self.length as i32);
            let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
            pg_sys::pfree(text.cast());
            copy
        }
    }
}

/// Adds what a JSON text is to the bytes, in the server's layout, and says which kind of value it is. Raises the server's error
/// where the text is none.
pub fn layout_of(text: &str, bytes: &mut Vec<u8>) -> Kind {
    let Ok(text) = CString::new(text) else {
        return Kind::Null;
    };
    // SAFETY: the server's own reader; what it made is copied and freed.
    unsafe {
        let argument = Some(pg_sys::Datum::from(text.as_ptr()));
        let Some(datum) = pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[argument]) else {
            return Kind::Null;
        };
        let whole = datum.cast_mut_ptr::<pg_sys::varlena>();
        let data = pgrx::varlena::vardata_any(whole).cast::<u8>();
        let container = std::slice::from_raw_parts(data, pgrx::varlena::varsize_any_exhdr(whole));
        let kind = document::whole(container).map_or(Kind::Null, |item| {
            bytes.extend_from_slice(item.bytes);
            item.kind
        });
        pg_sys::pfree(whole.cast());
        kind
    }
}

/// A document in the server's layout with its length in front, as a value of SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built(pub Vec<u8>);

impl IntoDatum for Built {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        // SAFETY: room for the bytes is made in the current context.
        unsafe {
            let copy = pg_sys::palloc(self.0.len()).cast::<u8>();
            std::ptr::copy_nonoverlapping(self.0.as_ptr(), copy, self.0.len());
            Some(pg_sys::Datum::from(copy))
        }
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

// SAFETY: what is returned is a jsonb in the context of the call.
unsafe impl BoxRet for Built {
    unsafe fn box_into<'fcx>(self, info: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: promised by the caller.
            Some(datum) => unsafe { info.return_raw_datum(datum) },
            None => info.return_null(),
        }
    }
}

// SAFETY: the SQL type is the one that is written.
unsafe impl SqlTranslatable for Built {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Built);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("jsonb"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::literal("jsonb")));
}

impl FromDatum for Built {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the datum is a jsonb; what is unpacked has a length of four bytes in front.
        unsafe {
            let whole = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
            let size = pgrx::varlena::varsize_any(whole);
            Some(Built(
                std::slice::from_raw_parts(whole.cast::<u8>(), size).to_vec(),
            ))
        }
    }
}

impl<'a> Value<'a> {
    /// # Safety
    /// The value must be one that an iterator over a container which lives for 'a has just set.
    unsafe fn of(value: &pg_sys::JsonbValue) -> Value<'a> {
        // SAFETY: the type says which field of the union is set; strings are UTF-8, the encoding of every database that has the
        // extension.
        unsafe {
            match value.type_ {
                pg_sys::jbvType::jbvBool => Value::Boolean(value.val.boolean),
                pg_sys::jbvType::jbvNumeric => Value::Number(Number {
                    numeric: value.val.numeric,
                    lives: PhantomData,
                }),
                pg_sys::jbvType::jbvString => {
                    let string = value.val.string;
                    let bytes = std::slice::from_raw_parts(string.val.cast::<u8>(), string.len as usize);
                    Value::Text(std::str::from_utf8_unchecked(bytes))
                }
                pg_sys::jbvType::jbvBinary => Value::Nested(Container {
                    pointer: value.val.binary.data,
                    length: value.val.binary.len as usize,
                    lives: PhantomData,
                }),
                _ => Value::Null,
            }
        }
    }
}

impl Number<'_> {
    /// As it is stored, its length in front.
    fn bytes(&self) -> &[u8] {
        let start = self.numeric.cast::<u8>();
        // SAFETY: a numeric inside a document, which has its length in front in four bytes.
        unsafe { std::slice::from_raw_parts(start, pgrx::varlena::varsize_any(start.cast())) }
    }

    /// The double that is nearest.
    pub fn double(&self) -> Option<f64> {
        numeric::double(self.bytes()).or_else(|| self.text().parse().ok())
    }

    /// None where it is no bigint.
    pub fn whole(&self) -> Option<i64> {
        numeric::whole(self.bytes()).or_else(|| self.text().parse().ok())
    }

    /// All digits, without an exponent.
    pub fn text(&self) -> String {
        // SAFETY: a numeric; the server's string is freed after it was copied.
        unsafe {
            let argument = Some(pg_sys::Datum::from(self.numeric));
            let Some(datum) = pgrx::direct_function_call_as_datum(pg_sys::numeric_out, &[argument]) else {
                return String::new();
            };
            let text = datum.cast_mut_ptr::<std::ffi::c_char>();
            let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
            pg_sys::pfree(text.cast());
            copy
        }
    }
}

// SAFETY: a jsonb is taken as the datum that it is, and read as what the declaration of the function says.
unsafe impl<'fcx> ArgAbi<'fcx> for Jsonb<'fcx> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: promised by the caller; any datum can be taken as such.
        let datum = unsafe { arg.unbox_arg_using_from_datum::<RawDatum>() };
        Jsonb {
            datum: datum.map_or(pg_sys::Datum::null(), |raw| raw.0),
            lives: PhantomData,
        }
    }
}

struct RawDatum(pg_sys::Datum);

impl FromDatum for RawDatum {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        (!is_null).then_some(RawDatum(datum))
    }
}

// SAFETY: the SQL type is the one that is read.
unsafe impl SqlTranslatable for Jsonb<'_> {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Jsonb);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("jsonb"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::literal("jsonb")));
}
