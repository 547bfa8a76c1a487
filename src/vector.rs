//! Vectors. A message consists mainly of floats, and generated code would read and write them one by one.

use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut, Bytes},
    encoding::{self, DecodeContext, WireType},
};

const VALUES: u32 = 1;
const FLOAT: usize = size_of::<f32>();
/// Floats that are encoded at once.
const BLOCK: usize = 256;

/// A vector of 4-byte floats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vector {
    /// The elements, each finite. Their number is the number of dimensions of the collection.
    pub values: Vec<f32>,
}

impl Message for Vector {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if self.values.is_empty() {
            return;
        }
        encoding::encode_key(VALUES, WireType::LengthDelimited, buf);
        encoding::encode_varint((FLOAT * self.values.len()) as u64, buf);
        for block in self.values.chunks(BLOCK) {
            let mut bytes = [[0; FLOAT]; BLOCK];
            for (bytes, value) in bytes.iter_mut().zip(block) {
                *bytes = value.to_le_bytes();
            }
            buf.put_slice(bytes[..block.len()].as_flattened());
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let result = match (tag, wire_type) {
            (VALUES, WireType::LengthDelimited) => self.merge_packed(buf, ctx),
            (VALUES, _) => encoding::float::merge_repeated(wire_type, &mut self.values, buf, ctx),
            _ => return encoding::skip_field(wire_type, tag, buf, ctx),
        };
        result.map_err(|mut error| {
            error.push("Vector", "values");
            error
        })
    }

    fn encoded_len(&self) -> usize {
        encoding::float::encoded_len_packed(VALUES, &self.values)
    }

    fn clear(&mut self) {
        self.values.clear();
    }
}

impl Vector {
    fn merge_packed(&mut self, buf: &mut impl Buf, ctx: DecodeContext) -> Result<(), DecodeError> {
        let mut packed = Bytes::new();
        encoding::bytes::merge(WireType::LengthDelimited, &mut packed, buf, ctx.clone())?;
        let (floats, mut rest) = packed.as_chunks();
        self.values.extend(floats.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        if rest.is_empty() {
            return Ok(());
        }
        // It ends within a float; this makes the error.
        encoding::float::merge(WireType::ThirtyTwoBit, &mut 0.0, &mut rest, ctx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As prost would generate it.
    #[derive(Clone, PartialEq, Message)]
    struct Generated {
        #[prost(float, repeated, tag = "1")]
        values: Vec<f32>,
    }

    /// The values, or the error.
    fn decode<M: Message + Default>(bytes: &[u8], values: fn(M) -> Vec<f32>) -> Result<Vec<f32>, String> {
        // In two parts, as HTTP/2 delivers them.
        let (first, second) = bytes.split_at(bytes.len() / 2);
        M::decode(first.chain(second)).map(values).map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_encoded_as_generated() {
        for length in [0, 1, 3, BLOCK - 1, BLOCK, 2 * BLOCK + 1, 4_000] {
            let values: Vec<f32> = (0..length).map(|number| 0.5 - number as f32 * 1.1).collect();
            let encoded = Vector { values: values.clone() }.encode_to_vec();
            assert_eq!(encoded, Generated { values: values.clone() }.encode_to_vec());
            assert_eq!(decode::<Vector>(&encoded, |vector| vector.values).as_ref(), Ok(&values));
        }
    }

    #[test]
    fn it_is_decoded_as_generated() {
        for bytes in [
            &b""[..],
            // Packed twice, with single floats before and between, and an unknown field.
            b"\x0d\0\0\x80\x3f\x0a\x08\0\0\0\x40\0\0\0\xbf\x10\x05\x0d\0\0\0\x40\x0a\x04\0\0\xc0\x7f",
            // Too short, in the middle of a float, no number, another type.
            b"\x0a\x08\0\0\0",
            b"\x0a\x05\0\0\0\x40\0",
            b"\x0a",
            b"\x0d\0\0",
            b"\x08\x01",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            let (ours, theirs) =
                (decode::<Vector>(bytes, |vector| vector.values), decode::<Generated>(bytes, |vector| vector.values));
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => {
                    assert_eq!(
                        ours.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
                        theirs.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
                    );
                }
                (Err(ours), Err(theirs)) => assert_eq!(ours.replace("Vector", ""), theirs.replace("Generated", "")),
                (ours, theirs) => panic!("{bytes:?}: {ours:?}, {theirs:?}"),
            }
        }
    }
}
