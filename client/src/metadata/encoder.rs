//! Serializes into the values of protobuf. `serde_json` would turn NaN into null, and does not report the path of a
//! refused value.

use std::{collections::BTreeMap, fmt};

use prost_types::{ListValue, Struct, Value, value::Kind};
use serde::{
    Serialize,
    ser::{
        self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant, Serializer,
    },
};

use super::{InvalidValue, MAX_DEPTH, MAX_INTEGER, key_text};

impl ser::Error for InvalidValue {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(format!("cannot be serialized: {message}"))
    }
}

/// Encodes one value inside `depth` objects and lists.
#[derive(Clone, Copy, Default)]
pub(super) struct Encoder {
    depth: usize,
}

impl Encoder {
    fn inside(self) -> Result<Self, InvalidValue> {
        if self.depth >= MAX_DEPTH {
            return Err(InvalidValue::new(format!("is nested deeper than {MAX_DEPTH} objects and lists")));
        }
        Ok(Self { depth: self.depth + 1 })
    }

    fn list(self, variant: Option<&'static str>) -> Result<List, InvalidValue> {
        // The name of a variant is a key around the list.
        let outside = if variant.is_some() { self.inside()? } else { self };
        Ok(List { variant, element: outside.inside()?, values: Vec::new() })
    }

    fn object(self, variant: Option<&'static str>) -> Result<Object, InvalidValue> {
        let outside = if variant.is_some() { self.inside()? } else { self };
        Ok(Object { variant, element: outside.inside()?, key: None, fields: BTreeMap::new() })
    }

    fn integer(number: impl TryInto<i64> + fmt::Display + Copy) -> Result<Value, InvalidValue> {
        match number.try_into() {
            Ok(exact) if exact.unsigned_abs() <= MAX_INTEGER => Ok(value(Kind::NumberValue(exact as f64))),
            _ => Err(InvalidValue::new(format!(
                "must be an integer from -2^53 to 2^53, not {number}: send it as a string"
            ))),
        }
    }
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn with_variant(variant: Option<&'static str>, inner: Value) -> Value {
    match variant {
        Some(name) => value(Kind::StructValue(Struct { fields: BTreeMap::from([(name.to_owned(), inner)]) })),
        None => inner,
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, number: $type) -> Result<Value, InvalidValue> {
            Self::integer(number)
        })*
    };
}

impl Serializer for Encoder {
    type Ok = Value;
    type Error = InvalidValue;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = List;
    type SerializeTupleVariant = List;
    type SerializeMap = Object;
    type SerializeStruct = Object;
    type SerializeStructVariant = Object;

    integers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128
    }

    fn serialize_bool(self, from: bool) -> Result<Value, InvalidValue> {
        Ok(value(Kind::BoolValue(from)))
    }

    fn serialize_f32(self, from: f32) -> Result<Value, InvalidValue> {
        // 0.1 means 0.1, not the nearest double, 0.10000000149011612.
        self.serialize_f64(from.to_string().parse().unwrap_or(f64::from(from)))
    }

    fn serialize_f64(self, from: f64) -> Result<Value, InvalidValue> {
        if from.is_finite() {
            return Ok(value(Kind::NumberValue(from)));
        }
        Err(InvalidValue::new(format!("must be a finite number, not {from}")))
    }

    fn serialize_char(self, from: char) -> Result<Value, InvalidValue> {
        self.serialize_str(from.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, from: &str) -> Result<Value, InvalidValue> {
        Ok(value(Kind::StringValue(from.to_owned())))
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Value, InvalidValue> {
        Err(InvalidValue::new("must not be bytes, which JSON does not have: send a string, such as base64"))
    }

    fn serialize_none(self) -> Result<Value, InvalidValue> {
        Ok(value(Kind::NullValue(0)))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, from: &T) -> Result<Value, InvalidValue> {
        from.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, InvalidValue> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, InvalidValue> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value, InvalidValue> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, from: &T) -> Result<Value, InvalidValue> {
        from.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        from: &T,
    ) -> Result<Value, InvalidValue> {
        let inner = from.serialize(self.inside()?).map_err(|error| error.within(&format!(".{}", key_text(variant))))?;
        Ok(with_variant(Some(variant), inner))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List, InvalidValue> {
        self.list(None)
    }

    fn serialize_tuple(self, _: usize) -> Result<List, InvalidValue> {
        self.list(None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List, InvalidValue> {
        self.list(None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<List, InvalidValue> {
        self.list(Some(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object, InvalidValue> {
        self.object(None)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Object, InvalidValue> {
        self.object(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Object, InvalidValue> {
        self.object(Some(variant))
    }
}

/// A list that is being encoded.
pub(super) struct List {
    variant: Option<&'static str>,
    element: Encoder,
    values: Vec<Value>,
}

impl List {
    fn push<T: Serialize + ?Sized>(&mut self, from: &T) -> Result<(), InvalidValue> {
        let position = self.values.len();
        self.values.push(from.serialize(self.element).map_err(|error| error.within(&format!("[{position}]")))?);
        Ok(())
    }

    fn finish(self) -> Result<Value, InvalidValue> {
        Ok(with_variant(self.variant, value(Kind::ListValue(ListValue { values: self.values }))))
    }
}

macro_rules! lists {
    ($($trait:ident::$method:ident),*) => {
        $(impl $trait for List {
            type Ok = Value;
            type Error = InvalidValue;

            fn $method<T: Serialize + ?Sized>(&mut self, from: &T) -> Result<(), InvalidValue> {
                self.push(from)
            }

            fn end(self) -> Result<Value, InvalidValue> {
                self.finish()
            }
        })*
    };
}

lists! {
    SerializeSeq::serialize_element, SerializeTuple::serialize_element, SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
}

/// An object that is being encoded.
pub(super) struct Object {
    variant: Option<&'static str>,
    element: Encoder,
    /// The key of the next value.
    key: Option<String>,
    fields: BTreeMap<String, Value>,
}

impl Object {
    fn insert<T: Serialize + ?Sized>(&mut self, key: String, from: &T) -> Result<(), InvalidValue> {
        let inner = from.serialize(self.element).map_err(|error| error.within(&format!(".{}", key_text(&key))))?;
        self.fields.insert(key, inner);
        Ok(())
    }

    fn finish(self) -> Result<Value, InvalidValue> {
        Ok(with_variant(self.variant, value(Kind::StructValue(Struct { fields: self.fields }))))
    }
}

impl SerializeMap for Object {
    type Ok = Value;
    type Error = InvalidValue;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), InvalidValue> {
        match key.serialize(Encoder::default()).map(|value| value.kind) {
            Ok(Some(Kind::StringValue(key))) => {
                self.key = Some(key);
                Ok(())
            }
            _ => Err(InvalidValue::new("must have strings as keys")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, from: &T) -> Result<(), InvalidValue> {
        let key = self.key.take().unwrap_or_default();
        self.insert(key, from)
    }

    fn end(self) -> Result<Value, InvalidValue> {
        self.finish()
    }
}

macro_rules! objects {
    ($($trait:ident),*) => {
        $(impl $trait for Object {
            type Ok = Value;
            type Error = InvalidValue;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, from: &T) -> Result<(), InvalidValue> {
                self.insert(key.to_owned(), from)
            }

            fn end(self) -> Result<Value, InvalidValue> {
                self.finish()
            }
        })*
    };
}

objects! { SerializeStruct, SerializeStructVariant }
