//! Values on the wire to Postgres, written without a copy or an allocation per value.

use bytes::{BufMut as _, Bytes, BytesMut};
use half::f16;
use pgvector::{HalfVector, Vector};
use tokio_postgres::types::{FromSql, IsNull, Kind, Oid, ToSql, Type, to_sql_checked};

use super::{
    VectorType,
    connection::{Element, Typed},
};
use crate::words::Lexeme;

type BoxedError = Box<dyn std::error::Error + Sync + Send>;

/// The types of a vector and of a list of vectors. Their ids depend on the database, since they belong to an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VectorTypes {
    pub(super) one: Type,
    pub(super) list: Type,
}

impl VectorTypes {
    pub(super) fn new(name: &str, schema: &str, oid: Oid, list_oid: Oid) -> Self {
        let one = Type::new(name.into(), oid, Kind::Simple, schema.into());
        let list = Type::new(format!("_{name}"), list_oid, Kind::Array(one.clone()), schema.into());
        Self { one, list }
    }
}

/// A vector as `vector` or `halfvec`: two bytes with the dimensions, two zero bytes, then the elements, all big-endian.
/// pgvector's own types would need a copy of the values and write them one by one, 17 times slower.
#[derive(Clone, Copy, Debug)]
pub(super) struct VectorValue<'a> {
    pub(super) values: &'a [f32],
    pub(super) vector_type: VectorType,
}

impl VectorValue<'_> {
    fn size(self) -> usize {
        4 + self.values.len() * self.vector_type.element_size()
    }

    fn write(self, out: &mut BytesMut) {
        // Collections have at most 16,000 dimensions, so the number fits.
        out.put_u16(self.values.len() as u16);
        out.put_u16(0);
        let start = out.len();
        out.resize(start + self.values.len() * self.vector_type.element_size(), 0);
        // Fixed-size chunks compile to vector instructions.
        match self.vector_type {
            VectorType::Vector => {
                let (chunks, _) = out[start..].as_chunks_mut::<4>();
                for (chunk, value) in chunks.iter_mut().zip(self.values) {
                    *chunk = value.to_be_bytes();
                }
            }
            VectorType::HalfVec => {
                let (chunks, _) = out[start..].as_chunks_mut::<2>();
                for (chunk, value) in chunks.iter_mut().zip(self.values) {
                    *chunk = f16::from_f32(*value).to_be_bytes();
                }
            }
        }
    }
}

impl ToSql for VectorValue<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxedError> {
        self.write(out);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.name(), "vector" | "halfvec")
    }

    to_sql_checked!();
}

/// A vector of either type, in the binary format of its type. Statements return vectors only in this way. Otherwise the
/// driver would first ask the database for their type, with additional statements.
pub(super) struct VectorColumn(pub(super) Vec<f32>);

impl<'a> FromSql<'a> for VectorColumn {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, BoxedError> {
        let is_half = raw.first_chunk().is_some_and(|dimensions| {
            raw.len() == 4 + usize::from(u16::from_be_bytes(*dimensions)) * VectorType::HalfVec.element_size()
        });
        Ok(Self(if is_half {
            HalfVector::from_sql(ty, raw)?.as_slice().iter().map(|value| value.to_f32()).collect()
        } else {
            Vector::from_sql(ty, raw)?.into()
        }))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::BYTEA
    }
}

/// Whole bytes as `bit` or `bit varying`: the number of bits, then the bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits<T>(pub(super) T);

impl<T: AsRef<[u8]> + std::fmt::Debug> ToSql for Bits<T> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxedError> {
        let bytes = self.0.as_ref();
        out.put_i32(i32::try_from(8 * bytes.len())?);
        out.put_slice(bytes);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::BIT | Type::VARBIT)
    }

    to_sql_checked!();
}

impl<T: AsRef<[u8]> + std::fmt::Debug + Sync> Typed for Bits<T> {
    const TYPE: Type = Type::VARBIT;
}

impl<T: AsRef<[u8]> + std::fmt::Debug + Sync> Element for Bits<T> {
    const ARRAY: Type = Type::VARBIT_ARRAY;
}

/// JSON text as `jsonb`, without a tree in between.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

/// `jsonb` on the wire is this byte, then the JSON text.
const JSONB_VERSION: u8 = 1;

impl<T: AsRef<str> + std::fmt::Debug> ToSql for Json<T> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxedError> {
        out.put_u8(JSONB_VERSION);
        out.put_slice(self.0.as_ref().as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSONB
    }

    to_sql_checked!();
}

impl<T: AsRef<str> + std::fmt::Debug + Sync> Typed for Json<T> {
    const TYPE: Type = Type::JSONB;
}

impl<T: AsRef<str> + std::fmt::Debug + Sync> Element for Json<T> {
    const ARRAY: Type = Type::JSONB_ARRAY;
}

impl<'a> FromSql<'a> for Json<&'a str> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxedError> {
        match raw.split_first() {
            Some((&JSONB_VERSION, json)) => Ok(Self(std::str::from_utf8(json)?)),
            _ => Err("an unknown version of jsonb".into()),
        }
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSONB
    }
}

/// Lexemes as `tsvector`: the number of lexemes, then for each its text, a zero byte, the number of its positions, and
/// the positions, all big-endian. The two highest bits of a position are a weight; 0 is D.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TsVector(Bytes);

impl TsVector {
    /// The lexemes must be sorted by bytes and within the limits of the type.
    pub(super) fn new(lexemes: &[Lexeme]) -> Self {
        let size = lexemes.iter().map(|lexeme| lexeme.text.len() + 3 + 2 * lexeme.positions.len());
        let mut out = BytesMut::with_capacity(4 + size.sum::<usize>());
        // A tsvector has less than 1 MB, and a lexeme at most 256 positions.
        out.put_u32(lexemes.len() as u32);
        for Lexeme { text, positions } in lexemes {
            out.put_slice(text.as_bytes());
            out.put_u8(0);
            out.put_u16(positions.len() as u16);
            for &position in positions {
                out.put_u16(position);
            }
        }
        Self(out.freeze())
    }

    /// Size on the wire in bytes.
    pub(super) fn size(&self) -> usize {
        self.0.len()
    }
}

impl std::fmt::Debug for TsVector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TsVector({} bytes)", self.size())
    }
}

impl ToSql for TsVector {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxedError> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TS_VECTOR
    }

    to_sql_checked!();
}

impl Typed for TsVector {
    const TYPE: Type = Type::TS_VECTOR;
}

impl Element for TsVector {
    const ARRAY: Type = Type::TS_VECTOR_ARRAY;
}

/// The values of a statement whose text depends on the request, with their types. Such statements are not prepared,
/// since their number is not limited.
#[derive(Default)]
pub(super) struct Parameters<'a>(Vec<(Box<dyn ToSql + Sync + Send + 'a>, Type)>);

impl<'a> Parameters<'a> {
    /// Adds a value and returns its number `n`. In the statement it is `$n`.
    pub(super) fn push(&mut self, value: impl ToSql + Sync + Send + 'a, value_type: Type) -> usize {
        self.0.push((Box::new(value), value_type));
        self.0.len()
    }

    /// The values in the form for `query_typed`.
    pub(super) fn typed(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.0.iter().map(|(value, value_type)| (&**value as &(dyn ToSql + Sync), value_type.clone())).collect()
    }
}

/// Rows `(bigint, int, vector)` in the binary format of COPY, in frames of about half a megabyte.
pub(super) fn copy_frames<'a>(rows: impl Iterator<Item = (i64, i32, VectorValue<'a>)>) -> impl Iterator<Item = Bytes> {
    const FRAME: usize = 512 * 1024;
    const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

    let mut rows = rows;
    let mut frame = BytesMut::from(SIGNATURE);
    let mut ended = false;
    std::iter::from_fn(move || {
        // Growing it would copy what it holds.
        frame.reserve(FRAME);
        while !ended && frame.len() < FRAME {
            if let Some((key, chunk, vector)) = rows.next() {
                let size = vector.size();
                frame.reserve(26 + size);
                frame.put_i16(3);
                frame.put_i32(8);
                frame.put_i64(key);
                frame.put_i32(4);
                frame.put_i32(chunk);
                frame.put_i32(size as i32);
                vector.write(&mut frame);
            } else {
                frame.put_i16(-1);
                ended = true;
            }
        }
        (!frame.is_empty()).then(|| frame.split().freeze())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_written_big_endian() {
        let mut out = BytesMut::new();
        VectorValue { values: &[1.0, -2.5], vector_type: VectorType::Vector }.write(&mut out);
        assert_eq!(out[..], [0, 2, 0, 0, 0x3f, 0x80, 0, 0, 0xc0, 0x20, 0, 0]);

        out.clear();
        VectorValue { values: &[1.0], vector_type: VectorType::HalfVec }.write(&mut out);
        assert_eq!(out[..], [0, 1, 0, 0, 0x3c, 0]);
    }

    #[test]
    fn a_tsvector_is_its_lexemes_and_their_positions() {
        let lexemes = [("a", vec![2, 16_383]), ("fox", vec![1])];
        let lexemes = lexemes.map(|(text, positions)| Lexeme { text: text.into(), positions });
        let tsvector = TsVector::new(&lexemes);
        assert_eq!(tsvector.0[..], *b"\0\0\0\x02a\0\0\x02\0\x02\x3f\xfffox\0\0\x01\0\x01");
        assert_eq!(tsvector.size(), 4 + (1 + 3 + 4) + (3 + 3 + 2));
    }

    #[test]
    fn frames_hold_every_row_once() {
        let values = vec![0.5; 1536];
        let vector = VectorValue { values: &values, vector_type: VectorType::Vector };
        let frames: Vec<Bytes> = copy_frames((0..300).map(|key| (key, 0, vector))).collect();
        let total: usize = frames.iter().map(Bytes::len).sum();
        assert_eq!(total, 19 + 300 * (2 + 4 + 8 + 4 + 4 + 4 + vector.size()) + 2);
        assert!(frames.len() > 3);
        assert!(frames.last().is_some_and(|frame| frame.ends_with(&[0xff, 0xff])));
    }

    #[test]
    fn an_empty_copy_is_header_and_trailer() {
        assert_eq!(copy_frames(std::iter::empty()).map(|frame| frame.len()).sum::<usize>(), 21);
    }
}
