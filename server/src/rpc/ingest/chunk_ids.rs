//! Finds the chunks of a document that are already stored. They keep their ids, and so their vectors stay as they are.

use std::collections::HashMap;

use crate::{chunk::Chunk, store::ContentHash};

/// The id of a chunk within its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkId {
    pub(super) id: i32,
    pub(super) is_stored: bool,
}

/// Gives each chunk the id of a stored chunk with the same text, or else a new id. Each stored chunk is used once.
pub(super) fn assign(chunks: &[Chunk], stored: &[(i32, ContentHash)]) -> Vec<ChunkId> {
    let mut ids: HashMap<&ContentHash, Vec<i32>> = HashMap::new();
    // The last one is taken first.
    for (id, hash) in stored.iter().rev() {
        ids.entry(hash).or_default().push(*id);
    }
    let found: Vec<Option<i32>> = chunks.iter().map(|chunk| ids.get_mut(&chunk.hash)?.pop()).collect();
    // If none is kept, all chunks are replaced, whatever is stored by then.
    let kept = found.iter().flatten().next().is_some();
    let mut next = if kept { stored.iter().map(|(id, _)| id + 1).max().unwrap_or_default() } else { 0 };
    let assign = |found: Option<i32>| {
        found.map_or_else(
            || {
                next += 1;
                ChunkId { id: next - 1, is_stored: false }
            },
            |id| ChunkId { id, is_stored: true },
        )
    };
    found.into_iter().map(assign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(texts: &[u8], stored: &[(i32, u8)]) -> Vec<(i32, bool)> {
        let chunk = |text: &u8| Chunk { bytes: 0..1, characters: 0..1, headings: None, hash: [*text; 32] };
        let chunks: Vec<Chunk> = texts.iter().map(chunk).collect();
        let stored: Vec<(i32, ContentHash)> = stored.iter().map(|(id, text)| (*id, [*text; 32])).collect();
        assign(&chunks, &stored).into_iter().map(|id| (id.id, id.is_stored)).collect()
    }

    #[test]
    fn what_is_stored_keeps_its_id() {
        assert_eq!(ids(b"abc", &[]), [(0, false), (1, false), (2, false)]);
        assert_eq!(ids(b"bxa", &[(0, b'a'), (1, b'b'), (4, b'c')]), [(1, true), (5, false), (0, true)]);
        assert_eq!(ids(b"xy", &[(3, b'a'), (4, b'b')]), [(0, false), (1, false)]);
    }

    #[test]
    fn equal_texts_keep_apart() {
        assert_eq!(ids(b"aaa", &[(0, b'a'), (1, b'a')]), [(0, true), (1, true), (2, false)]);
        assert_eq!(ids(b"a", &[(0, b'a'), (1, b'a')]), [(0, true)]);
    }
}
