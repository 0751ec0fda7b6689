//! The system's random source, in the few shapes that are needed. Decisions never call this: what they choose
//! at random comes in as an argument.

/// `N` random bytes fit for keys and tokens.
#[expect(clippy::expect_used, reason = "a machine without entropy can make no identity; nothing sensible follows")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// A number spread evenly over `0.0..1.0`, for jitter.
pub fn fraction() -> f64 {
    // 53 bits are what the significand of an f64 holds, so every step is the same.
    (u64::from_be_bytes(bytes()) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_stay_in_range_and_spread() {
        let values: Vec<f64> = (0..1000).map(|_| fraction()).collect();
        assert!(values.iter().all(|v| (0.0..1.0).contains(v)));
        assert!(values.iter().any(|v| *v < 0.25) && values.iter().any(|v| *v > 0.75));
    }
}
