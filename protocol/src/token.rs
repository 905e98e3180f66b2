//! Join tokens: what an administrator pastes on a new server.
//!
//! A token is `secmon1.` and unpadded base64url of its bincode. It carries the hub's addresses, the
//! fingerprint of its CA, so that the first contact is authenticated, and a secret that works once.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{codec, time::UnixNanos};

/// What every token of this version begins with.
pub const PREFIX: &str = "secmon1.";
/// Bytes of a token's secret.
pub const SECRET_LEN: usize = 24;
/// Most addresses in a token; a node tries them in order.
pub const MAX_ADDRESSES: usize = 4;
/// Longest token, in characters.
const MAX_TOKEN: usize = 2048;

/// A join token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Where the hub is: `HOST:PORT`, best first; at most [`MAX_ADDRESSES`].
    pub addresses: Vec<String>,
    /// SHA-256 of the CA's certificate in DER.
    pub ca_fingerprint: [u8; 32],
    /// What the hub knows the token by; [`SECRET_LEN`] bytes.
    pub secret: Bytes,
    /// When it stops working, by the hub's clock; for the message only, the hub decides.
    pub expires: UnixNanos,
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl JoinToken {
    /// The token as it is pasted. Not `Display`: a secret should not be easy to print.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(codec::encode(self)))
    }
}

/// Why a text is not a token. It never repeats the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin as tokens do.
    #[error(
        "this is not a join token: it does not begin with `{PREFIX}`; copy the whole line that `secmon enroll` printed"
    )]
    NotAToken,
    /// It begins well and is then broken.
    #[error(
        "this join token is damaged, perhaps cut short; copy the whole line that `secmon enroll` printed"
    )]
    Damaged,
}

impl FromStr for JoinToken {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(TokenError::NotAToken)?;
        if body.len() > MAX_TOKEN {
            return Err(TokenError::Damaged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| TokenError::Damaged)?;
        let token: Self = codec::decode(&bytes).map_err(|_| TokenError::Damaged)?;
        if token.secret.len() != SECRET_LEN
            || token.addresses.is_empty()
            || token.addresses.len() > MAX_ADDRESSES
        {
            return Err(TokenError::Damaged);
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            addresses: vec!["10.0.0.1:7373".into()],
            ca_fingerprint: [7; 32],
            secret: Bytes::from_static(&[9; SECRET_LEN]),
            expires: UnixNanos(1),
        }
    }

    #[test]
    fn a_token_reads_back_and_a_damaged_one_says_so() {
        let text = token().to_text();
        assert_eq!(text.parse(), Ok(token()));
        assert_eq!(format!(" {text}\n").parse(), Ok(token()));
        assert_eq!("hello".parse::<JoinToken>(), Err(TokenError::NotAToken));
        for cut in PREFIX.len()..text.len() {
            assert_eq!(text[..cut].parse::<JoinToken>(), Err(TokenError::Damaged), "cut at {cut}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        assert!(!format!("{:?}", token()).contains('9'));
    }
}
