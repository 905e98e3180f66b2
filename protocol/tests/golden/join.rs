//! Joining, and the token that leads there.

use bytes::Bytes;
use secmon_protocol::{
    codec::{self, Fragment},
    message::{
        ErrorCode, Refusal,
        join::{HubToJoin, Join, JoinToHub, Joined},
    },
    token::{JoinToken, SECRET_LEN},
};

use crate::{
    case::Cases,
    samples::{NODE, TIME, name},
};

pub(crate) fn add(cases: &mut Cases) {
    let secret = Bytes::from_static(&[9; SECRET_LEN]);
    let csr = Bytes::from_static(b"a request");
    cases.variants([
        ("", JoinToHub::Join(Join { secret: secret.clone(), csr, agent: "0.1.0".into() })),
        ("", JoinToHub::Fragment(Fragment::Begin { len: 3 })),
    ]);
    let joined = Joined {
        node: NODE,
        name: name(),
        certificate: Bytes::from_static(b"a certificate"),
        ca_set: vec![Bytes::from_static(b"one CA"), Bytes::from_static(b"another")],
    };
    cases.variants([
        ("", HubToJoin::Joined(joined)),
        ("", HubToJoin::Reject(Refusal::new(ErrorCode::TokenUsed, "the token was used"))),
        ("", HubToJoin::Fragment(Fragment::Part(Bytes::from_static(b"part")))),
    ]);
    let token = JoinToken {
        addresses: vec!["hub.example.org:7373".into(), "[2001:db8::1]:7373".into()],
        ca_fingerprint: [7; 32],
        secret,
        expires: TIME,
    };
    cases.add("JoinToken.bytes", token.clone());
    cases.put("JoinToken.text", token.to_text().into_bytes(), token, |bytes| {
        let text = std::str::from_utf8(bytes).map_err(|_| codec::CodecError::Truncated)?;
        text.parse().map_err(|_| codec::CodecError::Truncated)
    });
}
