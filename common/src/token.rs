//! Join tokens: `SWMTKN-1-<digest>-<secret>`.
//!
//! The digest is SHA-256 of the whole root bundle in PEM, 50 characters of base36: with it the joiner knows the right
//! swarm before it gives the secret away. The secret is 128 random bits, 25 characters; which of the swarm's two
//! tokens it belongs to decides the role. Compared in constant time, shown only by [`JoinToken::reveal`].

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{base36, secret::Secret};

const PREFIX: &str = "SWMTKN";
const VERSION: &str = "1";
const DIGEST_LENGTH: usize = 50;
const SECRET_LENGTH: usize = 25;

/// A text that is no join token. The same error for every reason, for it may be shown to an attacker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid join token")]
pub struct TokenError;

/// A well-formed join token.
#[derive(Clone)]
pub struct JoinToken {
    digest: [u8; 32],
    secret: Secret<[u8; 16]>,
}

impl JoinToken {
    /// The token for the swarm whose root bundle is `root_pem`, with a fresh random `secret`.
    pub fn generate(root_pem: &[u8], secret: Secret<[u8; 16]>) -> Self {
        Self { digest: Sha256::digest(root_pem).into(), secret }
    }

    /// Reads a token. Strict: exactly four parts of exactly their length, lower case.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.split('-').collect();
        match parts[..] {
            [PREFIX, VERSION, digest, secret] if digest.len() == DIGEST_LENGTH && secret.len() == SECRET_LENGTH => {
                Ok(Self {
                    digest: base36::decode(digest).ok_or(TokenError)?,
                    secret: Secret::new(base36::decode(secret).ok_or(TokenError)?),
                })
            }
            _ => Err(TokenError),
        }
    }

    /// Whether `root_pem`, as a whole and to the byte, is the bundle the token was made for.
    pub fn matches_root(&self, root_pem: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(root_pem).into();
        self.digest.ct_eq(&digest).into()
    }

    /// Whether `other` is the same token: digest and secret. Takes the same time whatever differs.
    pub fn same_as(&self, other: &Self) -> bool {
        (self.digest.ct_eq(&other.digest) & self.secret.expose().ct_eq(other.secret.expose())).into()
    }

    /// The token in its text form, the secret included.
    pub fn reveal(&self) -> String {
        let digest = base36::encode(&self.digest, DIGEST_LENGTH);
        let secret = base36::encode(self.secret.expose(), SECRET_LENGTH);
        format!("{PREFIX}-{VERSION}-{digest}-{secret}")
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        Self::parse(text)
    }
}

/// Shows which swarm it is for, never the secret.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({PREFIX}-{VERSION}-{}-…)", base36::encode(&self.digest, DIGEST_LENGTH))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOT: &[u8] = b"-----BEGIN CERTIFICATE-----\n";

    fn token(secret: [u8; 16]) -> JoinToken {
        JoinToken::generate(ROOT, Secret::new(secret))
    }

    #[test]
    fn has_the_documented_form() {
        let text = token([0; 16]).reveal();
        let parts: Vec<_> = text.split('-').collect();
        assert_eq!((parts[0], parts[1], parts[2].len(), parts[3]), ("SWMTKN", "1", 50, &*"0".repeat(25)));
    }

    #[test]
    fn knows_its_root_to_the_byte() {
        let token = token([1; 16]);
        assert!(token.matches_root(ROOT));
        assert!(!token.matches_root(&[ROOT, b"another root"].concat()));
        assert!(!token.matches_root(&ROOT[1..]));
    }

    #[test]
    fn everything_malformed_is_the_same_error() {
        let good = token([7; 16]).reveal();
        let (start, secret) = good.rsplit_once('-').unwrap();
        let cases = [
            String::new(),
            good.to_uppercase(),
            good.replace("SWMTKN", "SWMKEY"),
            good.replacen("-1-", "-2-", 1),
            format!("{good}-"),
            format!("{good}0"),
            format!("0{good}"),
            format!(" {good}"),
            good[..good.len() - 1].to_owned(),
            start.to_owned(),
            format!("{start}-{}", "z".repeat(25)),
            format!("{start}-{}é", &secret[..23]),
            format!("SWMTKN-1-{}-{secret}", "z".repeat(50)),
        ];
        for case in cases {
            assert_eq!(JoinToken::parse(&case).unwrap_err(), TokenError, "{case}");
        }
    }

    #[test]
    fn debug_keeps_the_secret() {
        let token = token([7; 16]);
        let secret = token.reveal().rsplit_once('-').unwrap().1.to_owned();
        assert!(!format!("{token:?}").contains(&secret));
    }

    proptest! {
        #[test]
        fn parsing_undoes_revealing(secret: [u8; 16], other: [u8; 16]) {
            let token = token(secret);
            let parsed = JoinToken::parse(&token.reveal()).unwrap();
            prop_assert!(parsed.same_as(&token) && parsed.matches_root(ROOT));
            prop_assert_eq!(parsed.same_as(&JoinToken::generate(ROOT, Secret::new(other))), secret == other);
            prop_assert!(!parsed.same_as(&JoinToken::generate(b"another root", Secret::new(secret))));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,120}") {
            let _ = JoinToken::parse(&text);
        }
    }
}
