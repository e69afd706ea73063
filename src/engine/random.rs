//! Random numbers that depend on nothing but a seed and an index.
//!
//! A generator with a state would have to be saved on preemption and restored on recomputation; a
//! counter-based one is asked for the number that belongs to a token. Philox2x64-10 of Salmon,
//! Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).

const MULTIPLIER: u64 = 0xD2B7_4407_B1CE_6E93;
const WEYL: u64 = 0x9E37_79B9_7F4A_7C15;
const NUM_ROUNDS: usize = 10;

/// Uniform in `[0, 1)`, the same for the same `seed` and `index` everywhere.
pub(super) fn uniform(seed: u64, index: u64) -> f64 {
    let [bits, _] = philox([index, 0], seed);
    // 53 bits are what an f64 holds exactly.
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

fn philox(mut counter: [u64; 2], mut key: u64) -> [u64; 2] {
    for _ in 0..NUM_ROUNDS {
        let product = u128::from(counter[0]) * u128::from(MULTIPLIER);
        counter = [(product >> 64) as u64 ^ key ^ counter[1], product as u64];
        key = key.wrapping_add(WEYL);
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with the generator (Random123, `kat_vectors`).
    #[test]
    fn philox_gives_the_published_answers() {
        let answers = [
            ([0, 0], 0, [0xca00_a045_9843_d731, 0x66c2_4222_c9a8_45b5]),
            ([u64::MAX; 2], u64::MAX, [0x65b0_21d6_0cd8_310f, 0x4d02_f322_2f86_df20]),
            (
                [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344],
                0xa409_3822_299f_31d0,
                [0x0a5e_742c_2997_341c, 0xb0f8_83d3_8000_de5d],
            ),
        ];
        for (counter, key, expected) in answers {
            assert_eq!(philox(counter, key), expected);
        }
    }

    #[test]
    fn numbers_of_neighbouring_seeds_and_indices_are_unrelated() {
        let mean = |numbers: &mut dyn Iterator<Item = f64>| numbers.sum::<f64>() / 4096.0;
        let by_index = mean(&mut (0..4096).map(|index| uniform(7, index)));
        let by_seed = mean(&mut (0..4096).map(|seed| uniform(seed, 0)));
        let paired = mean(&mut (0..4096).map(|seed| uniform(seed, 0) * uniform(seed, 1)));
        for (name, mean, expected) in
            [("index", by_index, 0.5), ("seed", by_seed, 0.5), ("pair", paired, 0.25)]
        {
            assert!((mean - expected).abs() < 0.02, "by {name}: {mean}");
        }
    }
}
