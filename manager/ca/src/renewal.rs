//! When a node asks for its next certificate.

use skep_common::{clock::Timestamp, random};

/// A moment in 50–80 % of the certificate's life, another one at every call: nodes that joined together shall not renew
/// together, and there is time left for many tries.
pub fn renewal_moment(not_before: Timestamp, not_after: Timestamp) -> Timestamp {
    moment(not_before, not_after, random::fraction())
}

fn moment(not_before: Timestamp, not_after: Timestamp, jitter: f64) -> Timestamp {
    not_before + not_after.since(not_before).mul_f64(0.5 + 0.3 * jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_between_half_and_four_fifths_of_life() {
        let at = |jitter| moment(Timestamp::from_secs(1000), Timestamp::from_secs(2000), jitter);
        assert_eq!(at(0.0), Timestamp::from_secs(1500));
        assert_eq!(at(0.5), Timestamp::from_secs(1650));
        assert_eq!(at(1.0), Timestamp::from_secs(1800));
    }

    #[test]
    fn nodes_do_not_renew_together() {
        let life = (Timestamp::from_secs(0), Timestamp::from_secs(90 * 24 * 3600));
        let moments: std::collections::BTreeSet<_> = (0..20).map(|_| renewal_moment(life.0, life.1)).collect();
        assert!(moments.len() > 1);
    }
}
