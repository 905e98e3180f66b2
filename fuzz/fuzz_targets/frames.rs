//! Frames and fragments of all conversations, in both directions, and all that a client decodes of them. The first
//! byte says which.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use secmon_protocol::{
    codec::{self, Assembler, Message},
    ecs, event,
    message::{
        client::{ClientToHub, HubToClient},
        join::{HubToJoin, JoinToHub},
        node::{HubToNode, NodeToHub},
    },
    record::LogRecord,
};
use tokio_util::codec::Decoder as _;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 6 {
        0 => all::<NodeToHub>(bytes, |_| {}),
        1 => all::<HubToNode>(bytes, |_| {}),
        2 => all::<ClientToHub>(bytes, |_| {}),
        3 => all::<HubToClient>(bytes, shown),
        4 => all::<JoinToHub>(bytes, |_| {}),
        _ => all::<HubToJoin>(bytes, |_| {}),
    }
});

/// Every message of a connection; one that was read is written and read back as the same.
fn all<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8], use_it: impl Fn(&M)) {
    let mut codec = codec::frames();
    let mut waiting = BytesMut::from(bytes);
    let mut assembler = Assembler::<M>::default();
    while let Ok(Some(frame)) = codec.decode(&mut waiting) {
        match assembler.push(&frame) {
            Ok(Some(message)) => {
                let mut again = Assembler::<M>::default();
                let mut read = None;
                for frame in codec::encode_frames(&message).expect("what was read can be written") {
                    read = again.push(&frame).expect("what was written can be read");
                }
                assert_eq!(read.as_ref(), Some(&message));
                use_it(&message);
            }
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

/// What a client makes of an event.
fn shown(message: &HubToClient) {
    if let HubToClient::Event { record, .. } = message
        && let Ok(record) = codec::decode::<LogRecord>(record)
    {
        for event in event::events(&record) {
            let line = ecs::line(&ecs::event(&event));
            assert!(!line.contains(['\n', '\u{1b}']), "{line}");
        }
    }
}
