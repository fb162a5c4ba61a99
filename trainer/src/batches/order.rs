//! The order of examples: a pure function of lengths, seed and epoch, the same on every machine and in every version.

/// A well-mixed number of two (the finaliser of SplitMix64, Steele et al. 2014).
pub fn mix(a: u64, b: u64) -> u64 {
    let mut z = a ^ b.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

// SplitMix64 rather than a generator of a crate: an order must not change with a crate's version.
pub(crate) struct Random(u64);

impl Random {
    /// A stream of its own for every pair of numbers.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(mix(seed, stream))
    }

    /// From 0 to below 1.
    pub(crate) fn share(&mut self) -> f64 {
        self.below(1 << 53) as f64 / (1u64 << 53) as f64
    }

    /// Below `bound`; its bias is far below what any run can show.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = mix(self.0, 0);
        ((u128::from(value) * bound as u128) >> 64) as usize
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// How much goes into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Examples.
    pub examples: usize,
    /// Positions, padding included: examples times the longest of them. An example that is longer is a batch alone.
    pub positions: Option<usize>,
    /// Batches' worth of examples in a chunk that is sorted by length.
    pub chunk: usize,
}

/// Batches of one epoch as indices: all examples shuffled, sorted by length within chunks, cut where `limits` say, and
/// the batches shuffled. The last batch may be smaller.
pub fn epoch_batches(
    lengths: &[usize],
    limits: BatchLimits,
    seed: u64,
    epoch: u64,
) -> Vec<Vec<usize>> {
    let mut random = Random::new(seed, epoch);
    let size = limits.examples.max(1);
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    random.shuffle(&mut order);
    for chunk in order.chunks_mut(size * limits.chunk.max(1)) {
        chunk.sort_by_key(|index| lengths[*index]);
    }
    let mut batches: Vec<Vec<usize>> = match limits.positions {
        None => order.chunks(size).map(<[usize]>::to_vec).collect(),
        Some(most) => cut(&order, lengths, size, most),
    };
    random.shuffle(&mut batches);
    batches
}

/// `order` in runs of at most `size` examples and `most` positions, padding included.
fn cut(order: &[usize], lengths: &[usize], size: usize, most: usize) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut longest = 0;
    for index in order {
        let with = longest.max(lengths[*index]);
        match batches.last_mut() {
            Some(batch) if batch.len() < size && (batch.len() + 1) * with <= most => {
                batch.push(*index);
                longest = with;
            }
            _ => {
                batches.push(vec![*index]);
                longest = lengths[*index];
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(examples: usize, chunk: usize) -> BatchLimits {
        BatchLimits {
            examples,
            positions: None,
            chunk,
        }
    }

    proptest! {
        #[test]
        fn every_example_once_and_reproducible(
            lengths in proptest::collection::vec(1..500usize, 1..300),
            size in 1..40usize, chunk in 1..10usize, most in proptest::option::of(1..3000usize),
            seed: u64, epoch in 0..100u64,
        ) {
            let limits = BatchLimits { examples: size, positions: most, chunk };
            let batches = epoch_batches(&lengths, limits, seed, epoch);
            prop_assert_eq!(&batches, &epoch_batches(&lengths, limits, seed, epoch));
            match most {
                None => prop_assert_eq!(batches.len(), lengths.len().div_ceil(size)),
                Some(most) => for batch in &batches {
                    let longest = batch.iter().map(|i| lengths[*i]).max().unwrap();
                    prop_assert!(batch.len() == 1 || batch.len() * longest <= most);
                },
            }
            prop_assert!(batches.iter().all(|batch| !batch.is_empty() && batch.len() <= size));
            let mut all: Vec<usize> = batches.into_iter().flatten().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn epochs_differ_and_batches_are_of_similar_length() {
        let lengths: Vec<usize> = (0..640).map(|i| 1 + (i * 37) % 64).collect();
        let limits = of(32, 50);
        let one = epoch_batches(&lengths, limits, 7, 0);
        assert_ne!(one, epoch_batches(&lengths, limits, 7, 1));
        assert_ne!(one, epoch_batches(&lengths, limits, 8, 0));
        let padded: usize = one
            .iter()
            .map(|b| b.len() * b.iter().map(|i| lengths[*i]).max().unwrap())
            .sum();
        let real: usize = lengths.iter().sum();
        assert!(padded as f64 / (real as f64) < 1.1, "{padded} {real}");
    }

    #[test]
    fn the_order_is_fixed_for_ever() {
        // Computed apart from this program; where it gives others, no run that was stopped goes on as it began.
        let lengths = [3, 1, 2, 5, 4, 9, 2];
        assert_eq!(
            epoch_batches(&lengths[..5], of(2, 1), 0, 0),
            [vec![4, 3], vec![1, 2], vec![0]]
        );
        assert_eq!(
            epoch_batches(&lengths[..5], of(2, 1), 0, 1),
            [vec![0], vec![4, 3], vec![1, 2]]
        );
        let cut = BatchLimits {
            positions: Some(10),
            ..of(3, 2)
        };
        assert_eq!(
            epoch_batches(&lengths, cut, 7, 4),
            [vec![5], vec![0], vec![1, 6, 2], vec![4, 3]]
        );
        assert_eq!(
            (mix(1, 2), mix(2, 1)),
            (0x382f_f84c_b272_81e9, 0xba56_9499_15dc_f9e9)
        );
    }
}
