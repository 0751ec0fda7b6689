//! Join tokens: decides whether a token is accepted or refused, and which role it gives; rate limiting of wrong tokens.
//!
//! Each address may present a few wrong tokens at once and then one per second; past that every token is refused, the right
//! one included, until it has paused. All refusals look the same. The memory is bounded: when too many addresses present
//! wrong tokens, the one with the fewest is forgotten.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use skep_common::{net::source::source_of, token::JoinToken};
use skep_proto::v1::{JoinTokens, NodeRole};

/// What one wrong token costs, in the leaky bucket of its address.
const COST: Duration = Duration::from_secs(1);

/// Size of the bucket: ten wrong tokens at once.
const CREDIT: Duration = Duration::from_secs(10);

/// Addresses remembered at a time.
const MAX_ADDRESSES: usize = 4096;

/// The refusal of a join token, whatever is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("join token is invalid")]
pub struct InvalidToken;

/// Accepts or refuses join tokens, and counts the wrong ones.
#[derive(Debug, Default)]
pub struct TokenGate {
    /// When each address will have paid for its wrong tokens (a leaky bucket, kept as the time it runs empty).
    paid_at: Mutex<HashMap<IpAddr, Duration>>,
}

impl TokenGate {
    /// A gate without any wrong token yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The role that `token`, presented from `addr` at the monotonic time `now`, gives in the swarm with these `tokens`; refused
    /// when it is none of them, or too many wrong ones came from `addr`.
    pub fn admit(
        &self,
        token: &str,
        tokens: &JoinTokens,
        addr: IpAddr,
        now: Duration,
    ) -> Result<NodeRole, InvalidToken> {
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let source = source_of(addr);
        let owed_until = paid_at.get(&source).copied().unwrap_or(now).max(now);
        if owed_until + COST > now + CREDIT {
            return Err(InvalidToken);
        }
        if let Some(role) = role_of(token, tokens) {
            return Ok(role);
        }
        if paid_at.len() >= MAX_ADDRESSES && !paid_at.contains_key(&source) {
            make_room(&mut paid_at, now);
        }
        paid_at.insert(source, owed_until + COST);
        Err(InvalidToken)
    }
}

/// Compares with both tokens, always, so that the time taken tells nothing of which one was closer.
fn role_of(token: &str, tokens: &JoinTokens) -> Option<NodeRole> {
    let token = JoinToken::parse(token).ok()?;
    let is = |text: &str| JoinToken::parse(text).is_ok_and(|valid| valid.same_as(&token));
    let (worker, manager) = (is(&tokens.worker), is(&tokens.manager));
    match (worker, manager) {
        (_, true) => Some(NodeRole::Manager),
        (true, false) => Some(NodeRole::Worker),
        (false, false) => None,
    }
}

/// Forgets addresses whose bucket is empty; if there are none, the one with the emptiest.
fn make_room(paid_at: &mut HashMap<IpAddr, Duration>, now: Duration) {
    paid_at.retain(|_, paid| *paid > now);
    if paid_at.len() >= MAX_ADDRESSES
        && let Some(least) = paid_at.iter().min_by_key(|(_, paid)| **paid).map(|(addr, _)| *addr)
    {
        paid_at.remove(&least);
    }
}

#[cfg(test)]
mod tests {
    use skep_common::secret::Secret;

    use super::*;

    const ROOT: &[u8] = b"root";

    fn token(root: &[u8], secret: u8) -> String {
        JoinToken::generate(root, Secret::new([secret; 16])).reveal()
    }

    fn tokens() -> JoinTokens {
        JoinTokens { worker: token(ROOT, 1), manager: token(ROOT, 2) }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn the_token_decides_the_role_and_every_other_is_refused_alike() {
        let wrong = [
            token(ROOT, 3),
            token(b"another root", 2),
            token(ROOT, 2).to_uppercase(),
            format!("{}0", token(ROOT, 2)),
            String::new(),
            "SWMTKN-1--".into(),
        ];
        for text in wrong {
            let refusal = TokenGate::new().admit(&text, &tokens(), ip("192.0.2.1"), secs(0)).unwrap_err();
            assert_eq!(refusal.to_string(), "join token is invalid", "{text}");
        }
        let admit = |text: &str| TokenGate::new().admit(text, &tokens(), ip("192.0.2.1"), secs(0));
        assert_eq!(admit(&token(ROOT, 1)), Ok(NodeRole::Worker));
        assert_eq!(admit(&token(ROOT, 2)), Ok(NodeRole::Manager));
    }

    #[test]
    fn a_swarm_without_tokens_admits_nobody() {
        assert!(TokenGate::new().admit("", &JoinTokens::default(), ip("192.0.2.1"), secs(0)).is_err());
    }

    #[test]
    fn who_guesses_is_refused_unheard_until_it_has_been_quiet() {
        let gate = TokenGate::new();
        let right = |addr, now| gate.admit(&token(ROOT, 1), &tokens(), ip(addr), secs(now));
        for _ in 0..1000 {
            assert!(gate.admit(&token(ROOT, 9), &tokens(), ip("192.0.2.1"), secs(100)).is_err());
        }
        assert!(right("192.0.2.1", 100).is_err(), "its credit is used up");
        assert!(right("::ffff:192.0.2.1", 100).is_err(), "the same address, written otherwise");
        assert!(right("192.0.2.2", 100).is_ok(), "others are not held responsible");
        assert!(right("192.0.2.1", 102).is_ok(), "what was refused unheard cost nothing more");
    }

    #[test]
    fn right_tokens_cost_nothing() {
        let gate = TokenGate::new();
        for _ in 0..1000 {
            assert!(gate.admit(&token(ROOT, 1), &tokens(), ip("192.0.2.1"), secs(0)).is_ok());
        }
    }

    #[test]
    fn a_host_cannot_walk_through_its_ipv6_network() {
        let gate = TokenGate::new();
        for host in 0..20 {
            let _ = gate.admit("", &tokens(), ip(&format!("2001:db8::{host:x}")), secs(0));
        }
        assert!(gate.admit(&token(ROOT, 1), &tokens(), ip("2001:db8::ffff"), secs(0)).is_err());
        assert!(gate.admit(&token(ROOT, 1), &tokens(), ip("2001:db8:0:1::1"), secs(0)).is_ok());
    }

    #[test]
    fn memory_is_bounded_and_the_worst_are_remembered() {
        let gate = TokenGate::new();
        for _ in 0..10 {
            let _ = gate.admit("", &tokens(), ip("192.0.2.1"), secs(0));
        }
        for host in 0..2 * MAX_ADDRESSES as u32 {
            let _ = gate.admit("", &tokens(), IpAddr::from(host.to_be_bytes()), secs(0));
        }
        assert_eq!(gate.paid_at.lock().unwrap().len(), MAX_ADDRESSES);
        assert!(gate.admit(&token(ROOT, 1), &tokens(), ip("192.0.2.1"), secs(0)).is_err());
    }
}
