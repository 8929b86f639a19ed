//! A body that arrives in pieces, put together.

use bytes::{Bytes, BytesMut};

/// The pieces of a body so far. Most bodies arrive in one piece, which is then passed on as it is.
#[derive(Debug, Default)]
pub struct Pieces {
    only: Bytes,
    several: BytesMut,
}

impl Pieces {
    /// Adds the next piece.
    pub fn push(&mut self, piece: Bytes) {
        if self.size() == 0 {
            self.only = piece;
            return;
        }
        self.several.extend_from_slice(&std::mem::take(&mut self.only));
        self.several.extend_from_slice(&piece);
    }

    /// How many bytes there are.
    pub fn size(&self) -> usize {
        self.only.len() + self.several.len()
    }

    /// All of them.
    pub fn into_bytes(self) -> Bytes {
        match self.several.is_empty() {
            true => self.only,
            false => self.several.freeze(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_together(pieces: &[&'static str]) -> Bytes {
        let mut all = Pieces::default();
        for piece in pieces {
            all.push(Bytes::from_static(piece.as_bytes()));
        }
        all.into_bytes()
    }

    #[test]
    fn pieces_keep_their_order_and_empty_ones_change_nothing() {
        assert_eq!(put_together(&[]), "");
        assert_eq!(put_together(&["", ""]), "");
        assert_eq!(put_together(&["", "a", "", "bc", "", "d"]), "abcd");
    }

    #[test]
    fn a_piece_that_is_alone_is_not_copied() {
        const ALONE: &str = "all of it";
        assert_eq!(put_together(&["", ALONE]).as_ptr(), ALONE.as_ptr());
    }
}
