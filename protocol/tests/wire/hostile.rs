//! Whatever arrives ends in a value or an error: no panic, and no memory beyond what was sent.

use std::fmt::Debug;

use bytes::{BufMut as _, Bytes, BytesMut};
use proptest::{collection::vec, prelude::*, sample::Index};
use secmon_protocol::{
    auth::AuthEvent,
    codec::{self, Assembler, CodecError, Fragment, Message},
    hub_event::HubEvent,
    limits::{MAX_CHUNK, MAX_FRAME, MAX_MESSAGE, MAX_TYPES},
    message::{
        client::{ClientToHub, HubToClient},
        join::{HubToJoin, JoinToHub},
        node::{HubToNode, NodeToHub},
    },
    record::{Envelope, LogRecord, Lost, NodeRecord, RecordKind},
    session::Session,
    state::Op,
    time::UnixNanos,
    token::JoinToken,
    wireguard::{WgPeer, WgPeerKey},
};

use crate::{client::hub_to_client, node::node_to_hub};

/// A byte string of the wire that claims to have `len` bytes and has none, behind `head`.
fn claims(head: &[u8], len: u64) -> Vec<u8> {
    [head, &[0xfd], &len.to_le_bytes()].concat()
}

/// Frames as they were and as somebody changed them: bytes put in, taken out, cut off and flipped.
fn tampered(frames: &[Bytes], changes: &[(Index, Index, u8, u8)]) -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = frames.iter().map(|frame| frame.to_vec()).collect();
    for (frame, place, kind, byte) in changes {
        let frame = frame.get_mut(&mut frames);
        if frame.is_empty() {
            continue;
        }
        let place = place.index(frame.len());
        match kind % 4 {
            0 => frame[place] ^= byte,
            1 => frame.insert(place, *byte),
            2 => drop(frame.remove(place)),
            _ => frame.truncate(place),
        }
    }
    frames
}

/// The message's frames as they are sent when it is larger than a frame.
fn fragments<M: Message>(message: &M) -> Vec<Bytes> {
    let whole = codec::encode(message);
    let parts = whole.chunks(16).map(|part| Fragment::Part(Bytes::copy_from_slice(part)));
    [Fragment::Begin { len: whole.len() as u64 }]
        .into_iter()
        .chain(parts)
        .chain([Fragment::End])
        .map(|fragment| codec::encode(&M::fragment(fragment)))
        .collect()
}

fn takes<M: Message>(frames: &[Vec<u8>]) {
    let mut assembler = Assembler::<M>::default();
    for frame in frames {
        let _ = assembler.push(frame);
    }
}

fn refused<M: Message + Debug>(frames: &[&[u8]]) -> String {
    let mut assembler = Assembler::<M>::default();
    let (last, before) = frames.split_last().expect("a frame");
    for frame in before {
        assert!(assembler.push(frame).unwrap().is_none());
    }
    assembler.push(last).unwrap_err().to_string()
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_a_value_or_an_error(bytes in vec(any::<u8>(), 0..300), first in 0..16_u8) {
        // Most first bytes name no variant; with a small one the rest gets looked at.
        for bytes in [bytes.clone(), [&[first], &bytes[..]].concat()] {
            let _ = codec::decode::<NodeToHub>(&bytes);
            let _ = codec::decode::<HubToNode>(&bytes);
            let _ = codec::decode::<JoinToHub>(&bytes);
            let _ = codec::decode::<HubToJoin>(&bytes);
            let _ = codec::decode::<ClientToHub>(&bytes);
            let _ = codec::decode::<HubToClient>(&bytes);
            let _ = codec::decode::<NodeRecord>(&bytes);
            let _ = codec::decode::<LogRecord>(&bytes);
            let _ = codec::decode::<AuthEvent>(&bytes);
            let _ = codec::decode::<HubEvent>(&bytes);
            let _ = codec::decode::<Lost>(&bytes);
            let _ = codec::decode::<JoinToken>(&bytes);
            let _ = codec::decode_value::<String>(&bytes);
            let _ = codec::decode_value::<Session>(&bytes);
            let _ = codec::decode_value::<WgPeerKey>(&bytes);
            let _ = codec::decode_value::<WgPeer>(&bytes);
            let _ = codec::decode_list::<Op>(&bytes);
            let _ = codec::decode_list::<NodeRecord>(&bytes);
        }
    }

    #[test]
    fn an_envelope_with_any_body_is_a_body_or_an_error(
        kind in 0..7_u16, version in 0..3_u16, body in vec(any::<u8>(), 0..300),
    ) {
        let body = Bytes::from(body);
        let _ = Envelope { kind: RecordKind(kind), version, time: UnixNanos(0), types: vec![], body }.decode();
    }

    #[test]
    fn arbitrary_frames_are_taken_or_refused(frames in vec(vec(0..20_u8, 0..40), 0..12)) {
        takes::<NodeToHub>(&frames);
        takes::<HubToClient>(&frames);
    }

    #[test]
    fn changed_frames_are_taken_or_refused(
        to_hub in node_to_hub(), to_client in hub_to_client(),
        changes in vec(any::<(Index, Index, u8, u8)>(), 1..5),
    ) {
        takes::<NodeToHub>(&tampered(&fragments(&to_hub), &changes));
        takes::<HubToClient>(&tampered(&fragments(&to_client), &changes));
        takes::<NodeToHub>(&tampered(&[codec::encode(&to_hub)], &changes));
        takes::<HubToClient>(&tampered(&[codec::encode(&to_client)], &changes));
    }

    #[test]
    fn a_list_is_read_to_its_end_or_refused(bytes in vec(any::<u8>(), 0..100), lengths in vec(0..9_u32, 0..5)) {
        let mut list = BytesMut::new();
        for len in lengths {
            list.put_u32(len);
            list.put_bytes(7, len as usize);
        }
        list.put_slice(&bytes);
        let read: usize = codec::Items(&list).take_while(Result::is_ok).flatten().map(|item| item.len() + 4).sum();
        prop_assert_eq!(read == list.len(), codec::Items(&list).all(|item| item.is_ok()));
    }
}

#[test]
fn a_length_that_claims_more_than_there_is_is_refused_before_it_is_believed() {
    const MANY: u64 = 1 << 40;
    for len in [MAX_MESSAGE as u64 * 8 + 1, MANY, u64::MAX] {
        // Records(Bytes), Commands(Vec), Welcome's agent (String) behind its version.
        for head in [&[1_u8][..], &[3], &[2, 0]] {
            let bytes = claims(head, len);
            assert!(codec::decode::<NodeToHub>(&bytes).is_err());
            assert!(codec::decode::<HubToClient>(&bytes).is_err());
        }
    }
    // A short frame may not claim what only a long message could hold, wherever it stands.
    let claim = claims(&[1], 9 * MAX_FRAME as u64);
    let error = codec::decode::<NodeToHub>(&claim).unwrap_err().to_string();
    assert!(error.contains("LimitExceeded"), "{error}");
    let mut list = BytesMut::new();
    codec::push_item(&mut list, &claim);
    let error = codec::decode_list::<NodeToHub>(&list).unwrap_err().to_string();
    assert!(error.contains("LimitExceeded"), "{error}");
}

#[test]
fn a_list_whose_item_claims_more_than_the_list_holds_is_truncated() {
    let lists = [&[0][..], &[0, 0, 0], &[0, 0, 0, 1], &[0xff, 0xff, 0xff, 0xff, 1, 2], &[0x80, 0, 0, 0, 0]];
    for list in lists {
        assert!(matches!(codec::decode_list::<Op>(list), Err(CodecError::Truncated)), "{list:?}");
        assert_eq!(codec::Items(list).count(), 1, "nothing is read behind the damage");
    }
}

/// Empty texts take one byte on the wire and two dozen in memory.
#[test]
fn a_list_far_over_its_limit_is_not_read_to_its_end() {
    let envelope = |types: usize| {
        let types = vec![String::new(); types];
        codec::encode(&Envelope {
            kind: RecordKind(9),
            version: 1,
            time: UnixNanos(0),
            types,
            body: Bytes::new(),
        })
    };
    assert!(codec::decode::<Envelope>(&envelope(MAX_TYPES)).is_ok());
    let a_few_too_many = codec::decode::<Envelope>(&envelope(MAX_TYPES + 1)).unwrap();
    assert_eq!(a_few_too_many.types.len(), MAX_TYPES + 1, "its reader refuses it in words of its own");
    let error = codec::decode::<Envelope>(&envelope(100 * MAX_TYPES)).unwrap_err().to_string();
    assert!(error.contains("at most 32 items"), "{error}");
}

#[test]
fn fragments_in_a_wrong_order_or_number_are_refused() {
    let frame = |fragment| codec::encode(&NodeToHub::Fragment(fragment));
    let begin = |len| frame(Fragment::Begin { len });
    let part = |len| frame(Fragment::Part(Bytes::from(vec![0; len])));
    let end = frame(Fragment::End);
    let refused = refused::<NodeToHub>;
    assert!(refused(&[&end]).contains("no Begin"));
    assert!(refused(&[&part(1)]).contains("no Begin"));
    assert!(refused(&[&begin(9), &begin(9)]).contains("second Begin"));
    assert!(refused(&[&begin(2), &part(1), &part(2)]).contains("more bytes"));
    assert!(refused(&[&begin(2), &part(1), &end]).contains("fewer bytes"));
    assert!(refused(&[&begin(MAX_MESSAGE as u64 + 1)]).contains("over the limit"));
    assert!(refused(&[&begin(u64::MAX)]).contains("over the limit"));
    assert!(refused(&[&begin(MAX_MESSAGE as u64), &part(MAX_CHUNK + 1)]).contains("part of"));
    assert!(refused(&[&vec![0; MAX_FRAME + 1]]).contains("frame of"));
    let within = codec::encode(&NodeToHub::Fragment(Fragment::End));
    let whole = frame(Fragment::Part(within.clone()));
    assert!(refused(&[&begin(within.len() as u64), &whole, &end]).contains("fragment within"));
}

#[test]
fn no_message_over_the_limit_is_sent_or_read() {
    let large = NodeToHub::Records(Bytes::from(vec![0; MAX_MESSAGE]));
    assert!(matches!(codec::encode_frames(&large), Err(CodecError::TooLarge { .. })));
    assert!(matches!(codec::decode::<NodeToHub>(&codec::encode(&large)), Err(CodecError::TooLarge { .. })));
}

#[test]
fn a_value_of_a_later_version_says_so() {
    let mut later = codec::encode_value(&"s-1".to_owned()).to_vec();
    later[1] = 2;
    let error = codec::decode_value::<String>(&later).unwrap_err();
    assert_eq!(error.to_string(), "String 2 is newer than this secmon knows");
    assert!(matches!(codec::decode_value::<String>(&[0]), Err(CodecError::Truncated)));
    assert!(matches!(
        codec::decode_value::<String>(&[0, 1, 0, 0]),
        Err(CodecError::Trailing { extra: 1, .. })
    ));
}
