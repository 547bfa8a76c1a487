//! Reads `model.safetensors`: 8 bytes with the length of the header, the header as JSON, then the tensors as raw
//! little-endian numbers.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use serde::Deserialize;

use super::LoadError;

/// Maximum size of a header. A real header has about 100 bytes per tensor.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// An open weights file.
#[derive(Debug)]
pub(super) struct Weights {
    path: PathBuf,
    file: File,
    /// The place where the data of the tensors begins in the file, and its length.
    data_start: u64,
    data_len: u64,
    tensors: HashMap<String, Tensor>,
}

#[derive(Debug, Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

impl Weights {
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let unusable = |why: String| LoadError::Unusable { file: path.to_owned(), why };
        let failed = |source: io::Error| LoadError::Read { file: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let file_len = file.metadata().map_err(failed)?.len();
        if file_len < 8 {
            return Err(unusable("not a safetensors file: shorter than 8 bytes".to_owned()));
        }
        let mut header_len = [0; 8];
        file.read_exact(&mut header_len).map_err(failed)?;
        let header_len = u64::from_le_bytes(header_len);
        if header_len > MAX_HEADER_BYTES || header_len > file_len - 8 {
            return Err(unusable(format!(
                "not a safetensors file, or only a part of one: it announces a header of {header_len} bytes but has \
                 only {file_len}"
            )));
        }
        let mut header = Vec::new();
        (&mut file).take(header_len).read_to_end(&mut header).map_err(failed)?;
        let mut entries: HashMap<String, serde_json::Value> = serde_json::from_slice(&header)
            .map_err(|error| unusable(format!("the safetensors header is broken: {error}")))?;
        entries.remove("__metadata__");
        let mut tensors = HashMap::new();
        for (name, entry) in entries {
            let tensor = serde_json::from_value(entry)
                .map_err(|error| unusable(format!("the safetensors header is broken at tensor {name}: {error}")))?;
            // Models saved with a head call the encoder "bert".
            let name = name.strip_prefix("bert.").map_or(name.clone(), ToOwned::to_owned);
            tensors.insert(name, tensor);
        }
        let data_start = 8 + header_len;
        Ok(Self { path: path.to_owned(), file, data_start, data_len: file_len - data_start, tensors })
    }

    /// Reads the tensor `name`, which must have exactly this shape, as `f32`.
    pub(super) fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(self.unusable(format!("it has no tensor {name}")));
        };
        if tensor.shape != shape {
            return Err(self.unusable(format!("tensor {name} has the shape {:?}, not {shape:?}", tensor.shape)));
        }
        let decode: fn(&[u8], &mut Vec<f32>) = match tensor.dtype.as_str() {
            "F32" => |bytes, out| out.extend(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b))),
            "F16" => |bytes, out| out.extend(bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32())),
            "BF16" => |bytes, out| out.extend(bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32())),
            other => {
                return Err(self.unusable(format!("tensor {name} is {other}; only F32, F16 and BF16 are supported")));
            }
        };
        let element_bytes = if tensor.dtype == "F32" { 4 } else { 2 };
        let bytes = shape.iter().try_fold(element_bytes, |product: u64, &len| product.checked_mul(len as u64));
        let (start, end) = tensor.data_offsets;
        if end > self.data_len || bytes.is_none() || end.checked_sub(start) != bytes {
            return Err(self.unusable(format!(
                "tensor {name} is at bytes {start}..{end} of {}: the file is cut off or broken",
                self.data_len
            )));
        }
        let start = self.data_start + start;
        self.read_values(start, end - tensor.data_offsets.0, decode)
            .map_err(|source| LoadError::Read { file: self.path.clone(), source })
    }

    /// Reads in blocks, so that the bytes and the values are never both in memory as a whole.
    fn read_values(&mut self, start: u64, len: u64, decode: fn(&[u8], &mut Vec<f32>)) -> io::Result<Vec<f32>> {
        let mut values = Vec::new();
        let mut block = vec![0; 1 << 16];
        let mut rest = len;
        self.file.seek(SeekFrom::Start(start))?;
        while rest > 0 {
            let block_len = rest.min(block.len() as u64);
            // At most the length of `block`, so the cast keeps the value.
            let block = &mut block[..block_len as usize];
            self.file.read_exact(block)?;
            decode(block, &mut values);
            rest -= block_len;
        }
        Ok(values)
    }

    fn unusable(&self, why: String) -> LoadError {
        LoadError::Unusable { file: self.path.clone(), why }
    }
}
