//! A set of small numbers with "the next one from here" in constant time: bits, and bits that say which words of bits are not empty.

/// Numbers below a bound that is fixed at the beginning; never grows.
#[derive(Debug)]
pub(crate) struct BitSet {
    /// The bits themselves, then one bit per word of the level before.
    levels: Box<[Box<[u64]>]>,
}

const WORD: u32 = u64::BITS;

impl BitSet {
    /// An empty set of numbers below `bound`.
    #[cold]
    pub(crate) fn new(bound: u32) -> Self {
        let mut levels = Vec::new();
        let mut words = bound.div_ceil(WORD).max(1);
        loop {
            levels.push(vec![0; words as usize].into());
            if words == 1 {
                return Self { levels: levels.into() };
            }
            words = words.div_ceil(WORD);
        }
    }

    /// Puts a number in; false when it was there.
    #[inline]
    pub(crate) fn insert(&mut self, number: u32) -> bool {
        let mut at = number;
        for (height, level) in self.levels.iter_mut().enumerate() {
            let word = &mut level[(at / WORD) as usize];
            let before = *word;
            *word |= 1 << (at % WORD);
            if before != 0 {
                // What is above knows already that this word is not empty.
                return height > 0 || before & (1 << (at % WORD)) == 0;
            }
            at /= WORD;
        }
        true
    }

    /// Takes a number out.
    #[inline]
    pub(crate) fn remove(&mut self, number: u32) {
        let mut at = number;
        for level in &mut self.levels {
            let word = &mut level[(at / WORD) as usize];
            *word &= !(1 << (at % WORD));
            if *word != 0 {
                return;
            }
            at /= WORD;
        }
    }

    /// The smallest number in the set that is not below `from`.
    #[inline]
    pub(crate) fn next_from(&self, from: u32) -> Option<u32> {
        let mut at = from;
        for (height, level) in self.levels.iter().enumerate() {
            let word = level.get((at / WORD) as usize)?;
            let left = word & (u64::MAX << (at % WORD));
            if left != 0 {
                return Some(self.first_below(height, at / WORD * WORD + left.trailing_zeros()));
            }
            at = at / WORD + 1;
        }
        None
    }

    /// The first number under bit `at` of level `height`, which is set.
    #[inline]
    fn first_below(&self, height: usize, mut at: u32) -> u32 {
        for level in self.levels[..height].iter().rev() {
            at = at * WORD + level[at as usize].trailing_zeros();
        }
        at
    }

    /// Bytes of memory in use.
    pub(crate) fn bytes(&self) -> usize {
        self.levels.iter().map(|level| size_of_val::<[u64]>(level)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_does_what_a_tree_does(
            bound in prop_oneof![1_u32..200, 4_000_u32..5_000, 262_100_u32..262_200],
            steps in proptest::collection::vec((any::<u32>(), 0_u8..3), 1..300),
        ) {
            let mut bits = BitSet::new(bound);
            let mut tree = BTreeSet::new();
            for (number, what) in steps {
                let number = number % bound;
                match what {
                    0 => prop_assert_eq!(bits.insert(number), tree.insert(number)),
                    1 => {
                        bits.remove(number);
                        tree.remove(&number);
                    }
                    _ => {}
                }
                prop_assert_eq!(bits.next_from(number), tree.range(number..).next().copied());
                prop_assert_eq!(bits.next_from(0), tree.first().copied());
            }
            prop_assert_eq!(bits.next_from(u32::MAX), None);
        }
    }

    #[test]
    fn a_full_set_is_walked_in_order() {
        let mut bits = BitSet::new(10_000);
        (0..10_000).for_each(|number| assert!(bits.insert(number)));
        assert!((0..10_000).all(|number| bits.next_from(number) == Some(number)));
        assert_eq!(bits.next_from(10_000), None);
    }
}
