//! Memory in which tuples lie one after the other, each aligned as the server wants it.

use std::collections::TryReserveError;

const WORD: usize = size_of::<u64>();

#[derive(Default)]
pub struct Arena {
    words: Vec<u64>,
}

/// Where bytes lie in an arena, in words.
pub type Place = u32;

impl Arena {
    /// In memory that was used before.
    pub fn within(mut words: Vec<u64>) -> Arena {
        words.clear();
        Arena { words }
    }

    /// Its memory, with all that lies in it.
    pub fn into_words(self) -> Vec<u64> {
        self.words
    }

    /// Room for `pieces` pieces of `bytes` bytes together, so that adding them allocates nothing.
    pub fn reserve(&mut self, pieces: usize, bytes: usize) -> Result<(), TryReserveError> {
        reserve(&mut self.words, bytes / WORD + pieces)
    }

    pub fn bytes(&self) -> usize {
        self.words.len() * WORD
    }

    /// Copies bytes to the end.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> Place {
        let place = self.words.len();
        let words = bytes.len().div_ceil(WORD);
        self.words.reserve(words);
        // SAFETY: room for that many words was reserved; the last one is zeroed first, as the bytes may not fill it.
        unsafe {
            let end = self.words.as_mut_ptr().add(place);
            if words > 0 {
                *end.add(words - 1) = 0;
            }
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), end.cast::<u8>(), bytes.len());
            self.words.set_len(place + words);
        }
        place as Place
    }

    #[inline]
    pub fn get(&self, place: Place, length: usize) -> &[u8] {
        let words = &self.words[place as usize..place as usize + length.div_ceil(WORD)];
        // SAFETY: the words hold at least that many bytes.
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<u8>(), length) }
    }

    #[inline]
    pub fn get_mut(&mut self, place: Place, length: usize) -> &mut [u8] {
        let words = &mut self.words[place as usize..place as usize + length.div_ceil(WORD)];
        // SAFETY: the words hold at least that many bytes.
        unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), length) }
    }
}

/// More than this at once is a large value, for which the vector does not double.
const LARGE: usize = 1 << 20;

/// Makes room for so many more elements, or says that there is none: to abort, as Rust does by itself, would restart the
/// server.
pub fn reserve<T>(vector: &mut Vec<T>, more: usize) -> Result<(), TryReserveError> {
    if more * size_of::<T>() >= LARGE {
        vector.try_reserve_exact(more)
    } else {
        vector.try_reserve(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_found_again_and_aligned() {
        let mut arena = Arena::default();
        let pieces: Vec<Vec<u8>> = (0..40).map(|n| vec![n as u8 + 1; n]).collect();
        let places: Vec<Place> = pieces.iter().map(|piece| arena.push(piece)).collect();
        for (place, piece) in places.iter().zip(&pieces) {
            let found = arena.get(*place, piece.len());
            assert_eq!(found, piece);
            assert_eq!(found.as_ptr() as usize % WORD, 0);
        }
    }
}
