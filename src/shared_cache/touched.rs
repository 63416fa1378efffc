//! Blocks of which little was read lately.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::block::Block;

/// Remembers blocks of which a little was read that the cache did not have. To fetch all of a block
/// for a few of its bytes pays when more of it is read, and that it was read twice is a sign.
#[derive(Debug, Default)]
pub(super) struct Touched(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// In the order in which they came.
    order: VecDeque<Block>,
    blocks: HashSet<Block>,
}

impl Touched {
    /// Whether a little of `block` was read before, lately. If not, it was now.
    pub(super) fn again(&self, block: Block) -> bool {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { order, blocks } = &mut *inner;
        if blocks.contains(&block) {
            return true;
        }
        blocks.insert(block);
        order.push_back(block);
        if order.len() > MOST
            && let Some(oldest) = order.pop_front()
        {
            blocks.remove(&oldest);
        }
        false
    }
}

/// Blocks of 4 GiB, remembered in less than 1 MiB.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Name;
    use crate::shared_cache::block::BLOCK;

    #[test]
    fn remembers_the_last_ones() {
        let size = u64::MAX;
        let name = Name::new("s", "b", "k", "e", size);
        let block = |number: usize| Block::holding(name, size, number as u64 * BLOCK);
        let touched = Touched::default();
        for number in 0..MOST {
            assert!(!touched.again(block(number)));
        }
        assert!(touched.again(block(0)));
        assert!(!touched.again(block(MOST)));
        assert!(!touched.again(block(0)), "the oldest was forgotten");
        assert!(touched.again(block(2)));
    }
}
