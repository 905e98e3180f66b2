//! The one message that is put together by hand: the frame of an event.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use secmon_protocol::{
    codec,
    ids::RequestId,
    message::client::{EventHeader, HubToClient},
};

use crate::{basics::number, records::log_record};

fn frame(request: RequestId, record: &Bytes) -> Vec<u8> {
    let mut out = BytesMut::new();
    EventHeader::of(request).put(&mut out, record.len());
    [&out[..], record].concat()
}

proptest! {
    /// Its header and the record that all subscribers share are the message's own bytes.
    #[test]
    fn an_event_frame_is_the_message(request in number(), record in log_record()) {
        let (request, record) = (RequestId(request), codec::encode(&record));
        let by_hand = frame(request, &record);
        let message = HubToClient::Event { request, record };
        prop_assert_eq!(&by_hand[..], &codec::encode(&message)[..]);
        prop_assert_eq!(codec::decode::<HubToClient>(&by_hand).unwrap(), message);
    }
}

#[test]
fn an_event_frame_is_the_message_at_every_length_of_a_length() {
    for len in [0, 1, 250, 251, 252, 65_535, 65_536, 65_537, 1 << 20] {
        let (request, record) = (RequestId(7), Bytes::from(vec![0xa5; len]));
        let by_hand = frame(request, &record);
        let message = HubToClient::Event { request, record };
        assert!(codec::encode(&message) == by_hand, "a record of {len} bytes");
    }
}
