//! The words of a search: what the caller typed, and how texts are ranked by it.

mod ladder;
mod ranking;
mod statistics;

use crate::words::{Piece, Syntax, pieces};

pub(super) use ladder::{Rung, seeds};
#[cfg(test)]
pub(super) use ranking::Excluded;
pub(super) use ranking::{Measure, RankedTerm, Ranking};
pub(super) use statistics::Freshness;

/// What a caller typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    pieces: Vec<Piece>,
}

impl Words {
    pub(crate) fn parse(text: &str, syntax: Syntax) -> Self {
        Self { pieces: pieces(text, syntax) }
    }

    /// The words and phrases to look for.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(|piece| !piece.is_excluded)
    }

    /// The words and phrases that results must not contain.
    pub(crate) fn excluded(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(|piece| piece.is_excluded)
    }
}
