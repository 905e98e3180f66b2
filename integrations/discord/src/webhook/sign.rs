//! Signatures of Standard Webhooks 1.0, <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>: HMAC-SHA256
//! over `ID.TIMESTAMP.BODY`. Pure.

use aws_lc_rs::{digest, hmac};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use secmon_notify::Secret;
use zeroize::Zeroizing;

/// Shortest and longest key, in bytes, as the specification has them.
const SHORTEST: usize = 24;
const LONGEST: usize = 64;
/// What a secret in base64 begins with.
const PREFIX: &str = "whsec_";
/// Longest id that is sent as it is.
const MAX_ID: usize = 128;

/// A key to sign with.
#[derive(Clone)]
pub(crate) struct Key(hmac::Key);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// `whsec_` and base64, or else the text's own bytes.
    ///
    /// # Errors
    /// It is too short or too long, or not base64.
    pub(crate) fn new(secret: &Secret) -> Result<Self, String> {
        let text = secret.expose();
        let key = match text.strip_prefix(PREFIX) {
            Some(encoded) => Zeroizing::new(
                BASE64_STANDARD
                    .decode(encoded)
                    .map_err(|_| format!("begins with `{PREFIX}`, but is not base64 behind it"))?,
            ),
            None => Zeroizing::new(text.as_bytes().to_vec()),
        };
        if !(SHORTEST..=LONGEST).contains(&key.len()) {
            return Err(format!(
                "is {} bytes long, and must be {SHORTEST} to {LONGEST}; this makes one: \
                 echo \"{PREFIX}$(head -c 32 /dev/urandom | base64)\"",
                key.len()
            ));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    /// `v1,BASE64`.
    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
    }
}

/// The header `webhook-signature`: a signature by each key, so that a secret can be exchanged without a pause.
pub(crate) fn signatures(keys: &[Key], id: &str, timestamp: i64, body: &[u8]) -> String {
    let all: Vec<String> = keys.iter().map(|key| key.sign(id, timestamp, body)).collect();
    all.join(" ")
}

/// The header `webhook-id`: the same for every try of a notice. It must have no full stop, or it could pass for a timestamp; one that has
/// anything but letters, digits, `-` and `_` is sent as its SHA-256.
pub(crate) fn id(notice: &str) -> String {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=MAX_ID).contains(&notice.len()) && notice.bytes().all(sound) {
        return notice.to_owned();
    }
    let hash = digest::digest(&digest::SHA256, notice.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the reference libraries sign in their tests (libraries/python/tests/test_webhooks.py: `test_sign_function`).
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SIGNED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn key(text: &str) -> Result<Key, String> {
        Key::new(&Secret::new(text.into()))
    }

    #[test]
    fn what_we_sign_is_what_the_reference_libraries_sign() {
        let signed =
            |key: Key| key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed(key(SECRET).unwrap()), SIGNED);
        let two = signatures(
            &[key("another-secret-of-enough-bytes").unwrap(), key(SECRET).unwrap()],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert!(two.starts_with("v1,") && two.ends_with(&format!(" {SIGNED}")), "{two}");
    }

    #[test]
    fn a_weak_secret_is_refused_without_being_shown() {
        for wrong in ["hunter2", "whsec_!!!SECRET!!!", "whsec_c2hvcnQ="] {
            let error = key(wrong).unwrap_err();
            assert!(!error.contains("hunter2") && !error.contains("SECRET!"), "{error}");
        }
        assert_eq!(format!("{:?}", key(SECRET).unwrap()), "Key(…)");
    }

    #[test]
    fn an_id_has_no_full_stop_and_two_notices_never_share_one() {
        assert_eq!(id("0190-1-17-0"), "0190-1-17-0");
        let dotted = id("web.1-17");
        assert!(dotted.len() == 64 && dotted != id("web.1-18") && !dotted.contains('.'));
        assert_eq!(id("").len(), 64);
        assert_eq!(id(&"x".repeat(200)).len(), 64);
    }
}
