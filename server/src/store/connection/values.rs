//! Values whose Postgres type follows from their Rust type, so that a statement can be sent without asking for types.

use std::time::SystemTime;

use tokio_postgres::types::{ToSql, Type};

/// A parameter of a statement.
pub trait Value: Sync {
    /// Its Postgres type.
    fn sql_type(&self) -> Type;
    /// The value to send.
    fn as_sql(&self) -> &(dyn ToSql + Sync);
}

/// A Rust type with exactly one Postgres type.
pub trait Typed: ToSql + Sync {
    /// The Postgres type.
    const TYPE: Type;
}

/// A [`Typed`] that can be in a list.
pub trait Element: Typed {
    /// The type of such a list.
    const ARRAY: Type;
}

impl<T: Typed> Value for T {
    fn sql_type(&self) -> Type {
        T::TYPE
    }

    fn as_sql(&self) -> &(dyn ToSql + Sync) {
        self
    }
}

/// A value whose type only the database knows, such as a type of an extension.
#[derive(Clone, Debug)]
pub(in crate::store) struct Foreign<'a, T> {
    pub(in crate::store) value: &'a T,
    pub(in crate::store) sql_type: &'a Type,
}

impl<T: ToSql + Sync> Value for Foreign<'_, T> {
    fn sql_type(&self) -> Type {
        self.sql_type.clone()
    }

    fn as_sql(&self) -> &(dyn ToSql + Sync) {
        self.value
    }
}

macro_rules! elements {
    ($($rust:ty: $sql:ident, $array:ident;)*) => { $(
        impl Typed for $rust {
            const TYPE: Type = Type::$sql;
        }
        impl Element for $rust {
            const ARRAY: Type = Type::$array;
        }
    )* };
}

elements! {
    bool: BOOL, BOOL_ARRAY;
    i16: INT2, INT2_ARRAY;
    i32: INT4, INT4_ARRAY;
    i64: INT8, INT8_ARRAY;
    f32: FLOAT4, FLOAT4_ARRAY;
    f64: FLOAT8, FLOAT8_ARRAY;
    &str: TEXT, TEXT_ARRAY;
    String: TEXT, TEXT_ARRAY;
    &[u8]: BYTEA, BYTEA_ARRAY;
    SystemTime: TIMESTAMPTZ, TIMESTAMPTZ_ARRAY;
}

impl<T: Typed> Typed for &T {
    const TYPE: Type = T::TYPE;
}

impl<T: Element> Element for &T {
    const ARRAY: Type = T::ARRAY;
}

impl<T: Typed> Typed for Option<T> {
    const TYPE: Type = T::TYPE;
}

impl<T: Element> Element for Option<T> {
    const ARRAY: Type = T::ARRAY;
}

impl<T: Element> Typed for Vec<T> {
    const TYPE: Type = T::ARRAY;
}

impl<T: Element> Typed for &[T] {
    const TYPE: Type = T::ARRAY;
}
