//! The order of examples: a pure function of lengths, seed and epoch, the same on every machine and in every version.

/// A well-mixed number of two (the finaliser of SplitMix64, Steele et al. 2014).
pub fn mix(a: u64, b: u64) -> u64 {
    let mut z = a ^ b.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

// SplitMix64 rather than a generator of a crate: an order must not change with a crate's version.
struct Random(u64);

impl Random {
    /// Below `bound`; its bias is far below what any run can show.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = mix(self.0, 0);
        ((u128::from(value) * bound as u128) >> 64) as usize
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Batches of one epoch as indices: all examples shuffled, sorted by length within chunks of `chunk` batches, cut, and
/// the batches shuffled. The last batch may be smaller.
pub fn epoch_batches(
    lengths: &[usize],
    batch_size: usize,
    chunk: usize,
    seed: u64,
    epoch: u64,
) -> Vec<Vec<usize>> {
    let mut random = Random(mix(seed, epoch));
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    random.shuffle(&mut order);
    for chunk in order.chunks_mut((batch_size * chunk.max(1)).max(1)) {
        chunk.sort_by_key(|index| lengths[*index]);
    }
    let mut batches: Vec<Vec<usize>> = order
        .chunks(batch_size.max(1))
        .map(<[usize]>::to_vec)
        .collect();
    random.shuffle(&mut batches);
    batches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_example_once_and_reproducible(
            lengths in proptest::collection::vec(1..500usize, 1..300),
            size in 1..40usize, chunk in 1..10usize, seed: u64, epoch in 0..100u64,
        ) {
            let batches = epoch_batches(&lengths, size, chunk, seed, epoch);
            prop_assert_eq!(&batches, &epoch_batches(&lengths, size, chunk, seed, epoch));
            prop_assert_eq!(batches.len(), lengths.len().div_ceil(size));
            prop_assert!(batches.iter().all(|batch| !batch.is_empty() && batch.len() <= size));
            let mut all: Vec<usize> = batches.into_iter().flatten().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn epochs_differ_and_batches_are_of_similar_length() {
        let lengths: Vec<usize> = (0..640).map(|i| 1 + (i * 37) % 64).collect();
        let one = epoch_batches(&lengths, 32, 50, 7, 0);
        assert_ne!(one, epoch_batches(&lengths, 32, 50, 7, 1));
        assert_ne!(one, epoch_batches(&lengths, 32, 50, 8, 0));
        let padded: usize = one
            .iter()
            .map(|b| b.len() * b.iter().map(|i| lengths[*i]).max().unwrap())
            .sum();
        let real: usize = lengths.iter().sum();
        assert!(padded as f64 / (real as f64) < 1.1, "{padded} {real}");
    }

    #[test]
    fn the_order_is_fixed_for_ever() {
        assert_eq!(
            epoch_batches(&[3, 1, 2, 5, 4], 2, 1, 0, 0),
            epoch_batches(&[3, 1, 2, 5, 4], 2, 1, 0, 0)
        );
        assert_eq!(mix(1, 2), mix(1, 2));
        assert_ne!(mix(1, 2), mix(2, 1));
    }
}
