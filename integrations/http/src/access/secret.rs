//! What a token looks like: `secmon_`, 43 characters that are 256 random bits, and 6 that are their checksum.
//!
//! The prefix is what scanners for leaked secrets look for, and the checksum tells them, and us, a token from a text that
//! merely looks like one; there is no character in it at which a double click would stop. At rest there is its SHA-256
//! alone. That hash is fast, and may be: slow ones are for passwords, of which an attacker can try the likely ones; nobody
//! tries 2^256.

use std::fmt;

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
    rand,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What every token begins with.
pub const PREFIX: &str = "secmon_";
/// Digits of 256 bits in base 62.
const BODY: usize = 43;
/// Digits of 32 bits in base 62.
const CHECK: usize = 6;
/// The digits, in the order of their values.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The SHA-256 of a secret: what is kept of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

impl Hash {
    /// Of a secret.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
        Self(hash)
    }

    /// Whether it is the same, in a time that does not tell how much of it is.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(…)")
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Hash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || "a hash is 64 hexadecimal digits".to_owned();
        let digits: Vec<u32> =
            text.chars().map(|c| c.to_digit(16)).collect::<Option<_>>().ok_or_else(wrong)?;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .filter_map(|pair| u8::try_from(pair.first()? * 16 + pair.get(1)?).ok())
            .collect();
        if digits.len() != 64 {
            return Err(wrong());
        }
        bytes.try_into().map(Self).map_err(|_| wrong())
    }
}

/// A new token.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_token() -> Result<Zeroizing<String>, String> {
    let body = base62(&*random()?, BODY);
    Ok(Zeroizing::new(format!("{PREFIX}{}{}", *body, checksum(&body))))
}

/// 256 random bits as text, for what is no token.
///
/// # Errors
/// The system gives no random bytes.
pub(crate) fn random_text() -> Result<Zeroizing<String>, String> {
    Ok(base62(&*random()?, BODY))
}

fn random() -> Result<Zeroizing<[u8; 32]>, String> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(&mut *bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
    Ok(bytes)
}

/// Whether a text can be a token at all.
#[must_use]
pub fn is_token(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(PREFIX) else { return false };
    rest.len() == BODY + CHECK
        && rest.bytes().all(|byte| DIGITS.contains(&byte))
        && rest.split_at(BODY).1 == checksum(rest.split_at(BODY).0)
}

fn checksum(body: &str) -> String {
    let hash = Hash::of(&format!("{PREFIX}{body}"));
    base62(hash.0.first_chunk::<4>().unwrap_or(&[0; 4]), CHECK).to_string()
}

/// A number, given by its bytes with the greatest first, in as many digits.
fn base62(number: &[u8], len: usize) -> Zeroizing<String> {
    let mut number = Zeroizing::new(number.to_vec());
    let mut digits = Zeroizing::new(Vec::with_capacity(len));
    for _ in 0..len {
        let mut rest = 0_u32;
        for byte in number.iter_mut() {
            let value = (rest << 8) | u32::from(*byte);
            // The rest of a division by 62 is less than 62, so that what is divided here is less than 62 × 256.
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            rest = value % 62;
        }
        digits.push(DIGITS[rest as usize]);
    }
    Zeroizing::new(digits.iter().rev().map(|&digit| char::from(digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_shape_and_a_slip_of_the_pen_is_seen() {
        let token = new_token().unwrap();
        assert_eq!(token.len(), PREFIX.len() + BODY + CHECK);
        assert!(is_token(&token), "{}", *token);
        assert_ne!(*token, *new_token().unwrap());
        for at in PREFIX.len()..token.len() {
            let mut wrong = token.as_bytes().to_vec();
            wrong[at] = if wrong[at] == b'a' { b'b' } else { b'a' };
            assert!(!is_token(&String::from_utf8(wrong).unwrap()), "{at}");
        }
        for bad in ["", "secmon_", &token[1..], &format!("{}x", *token), "secmon1.abc"] {
            assert!(!is_token(bad), "{bad}");
        }
    }

    #[test]
    fn every_number_has_digits_of_its_own() {
        assert_eq!(*base62(&[0, 0, 0, 61], 6), "00000z");
        assert_eq!(*base62(&[0, 0, 0, 62], 6), "000010");
        // Python: 2**32 - 1 and 2**256 - 1 in base 62.
        assert_eq!(*base62(&[255; 4], 6), "4gfFC3");
        assert_eq!(base62(&[255; 32], 43).len(), 43);
        assert_ne!(&base62(&[255; 32], 43)[..1], "0");
    }

    #[test]
    fn a_hash_reads_back_and_shows_itself_nowhere() {
        let hash = Hash::of("x");
        let text = String::from(hash);
        assert_eq!(text, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881");
        assert!(Hash::try_from(text.clone()).unwrap().is(&hash));
        assert!(!hash.is(&Hash::of("y")));
        for bad in ["", "2d", &text[1..], &format!("{text}00"), &text.replace('2', "g")] {
            assert!(Hash::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert!(!format!("{hash:?}").contains("2d71"));
    }
}
