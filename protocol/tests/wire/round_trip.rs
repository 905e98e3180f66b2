//! Whatever is sent arrives as it was.

use std::{collections::BTreeSet, fmt::Debug};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};
use secmon_protocol::{
    auth::AuthLogSource,
    codec::{self, Assembler, Fragment, Message},
    limits::{MAX_CHUNK, MAX_FRAME},
    message::{client::HubToClient, node::NodeToHub},
    record::Lost,
    session::Session,
    wireguard::{WgPeer, WgPeerKey},
};

use crate::{
    basics::{bytes, number, text},
    client::{client_to_hub, hub_to_client},
    node::{hub_to_join, hub_to_node, join_to_hub, node_to_hub, node_to_runner, runner_to_node},
    records::{self, auth_event, hub_event, log_record, lost, node_record, op},
    variants::Variants,
};

/// Sends a message through frames and an assembler; a fragment must come back as the assembler's, so it
/// is only decoded.
fn arrives<M: Message + PartialEq + Debug>(message: M) -> Result<(), TestCaseError> {
    let encoded = codec::encode(&message);
    prop_assert_eq!(&codec::decode::<M>(&encoded).unwrap(), &message);
    let message = match message.into_fragment() {
        Ok(_) => return Ok(()),
        Err(message) => message,
    };
    let mut assembler = Assembler::<M>::default();
    let mut arrived = vec![];
    for frame in codec::encode_frames(&message).unwrap() {
        prop_assert!(frame.len() <= MAX_FRAME);
        arrived.extend(assembler.push(&frame).unwrap());
    }
    prop_assert_eq!(arrived, vec![message]);
    Ok(())
}

/// Cuts a message into fragments at any places, with other messages between them.
fn arrives_in_pieces<M>(message: M, cuts: &[usize], between: M) -> Result<(), TestCaseError>
where
    M: Message + PartialEq + Debug,
{
    let encoded = codec::encode(&message);
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (encoded.len() + 1)).collect();
    places.extend([0, encoded.len()]);
    places.sort_unstable();
    let mut assembler = Assembler::<M>::default();
    let mut push = |fragment| assembler.push(&codec::encode(&M::fragment(fragment))).unwrap();
    prop_assert_eq!(push(Fragment::Begin { len: encoded.len() as u64 }), None);
    for piece in places.windows(2) {
        prop_assert_eq!(push(Fragment::Part(encoded.slice(piece[0]..piece[1]))), None);
    }
    let between_bytes = codec::encode(&between);
    prop_assert_eq!(assembler.push(&between_bytes).unwrap(), Some(between));
    let end = codec::encode(&M::fragment(Fragment::End));
    prop_assert_eq!(assembler.push(&end).unwrap(), Some(message));
    Ok(())
}

proptest! {
    #[test]
    fn every_message_arrives_as_it_was_sent(
        to_hub in node_to_hub(), to_node in hub_to_node(), joining in join_to_hub(), joined in hub_to_join(),
        asked in client_to_hub(), answered in hub_to_client(), order in node_to_runner(), news in runner_to_node(),
    ) {
        arrives(order)?;
        arrives(news)?;
        arrives(to_hub)?;
        arrives(to_node)?;
        arrives(joining)?;
        arrives(joined)?;
        arrives(asked)?;
        arrives(answered)?;
    }

    #[test]
    fn a_message_may_be_cut_anywhere_and_others_may_pass_between(
        message in hub_to_client().prop_filter("a whole message", |m| m.variant() != "Fragment"),
        between in hub_to_client().prop_filter("a whole message", |m| m.variant() != "Fragment"),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        arrives_in_pieces(message, &cuts, between)?;
    }

    #[test]
    fn every_body_and_record_reads_as_it_was_written(
        auth in auth_event(), hub in hub_event(), lost in lost(), ops in vec(op(), 0..6),
        record in node_record(), logged in log_record(),
    ) {
        prop_assert_eq!(codec::decode::<Lost>(&codec::encode(&lost)).unwrap(), lost);
        prop_assert_eq!(codec::decode_list::<secmon_protocol::state::Op>(&codec::encode_list(&ops)).unwrap(), ops);
        let auth_bytes = codec::encode(&auth);
        prop_assert_eq!(codec::decode::<secmon_protocol::auth::AuthEvent>(&auth_bytes).unwrap(), auth);
        let hub_bytes = codec::encode(&hub);
        prop_assert_eq!(codec::decode::<secmon_protocol::hub_event::HubEvent>(&hub_bytes).unwrap(), hub);
        let record_bytes = codec::encode(&record);
        prop_assert_eq!(codec::decode::<secmon_protocol::record::NodeRecord>(&record_bytes).unwrap(), record);
        let logged_bytes = codec::encode(&logged);
        prop_assert_eq!(codec::decode::<secmon_protocol::record::LogRecord>(&logged_bytes).unwrap(), logged);
    }

    #[test]
    fn every_key_and_value_reads_as_it_was_written(
        key in text(), session in records::session(), peer_key in records::peer_key(), peer in records::peer(),
    ) {
        let log = AuthLogSource { source: key.clone() };
        prop_assert_eq!(codec::decode_value::<String>(&codec::encode_value(&key)).unwrap(), key);
        prop_assert_eq!(codec::decode_value::<Session>(&codec::encode_value(&session)).unwrap(), session);
        prop_assert_eq!(codec::decode_value::<WgPeerKey>(&codec::encode_value(&peer_key)).unwrap(), peer_key);
        prop_assert_eq!(codec::decode_value::<WgPeer>(&codec::encode_value(&peer)).unwrap(), peer);
        prop_assert_eq!(codec::decode_value::<AuthLogSource>(&codec::encode_value(&log)).unwrap(), log);
    }

    #[test]
    fn the_items_of_a_list_are_what_was_pushed(items in vec(bytes(), 0..8)) {
        let mut list = bytes::BytesMut::new();
        items.iter().for_each(|item| codec::push_item(&mut list, item));
        let read: Result<Vec<&[u8]>, _> = codec::Items(&list).collect();
        prop_assert_eq!(read.unwrap(), items);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Around the size of one frame, and well above it.
    #[test]
    fn a_message_larger_than_a_frame_arrives_as_it_was_sent(
        size in prop_oneof![MAX_FRAME - 16..MAX_FRAME + 16, MAX_FRAME..4 * MAX_FRAME],
        fill in any::<u8>(), request in number(),
    ) {
        let body = Bytes::from(vec![fill; size]);
        let records = NodeToHub::Records(body.clone());
        let frames = codec::encode_frames(&records).unwrap();
        let whole = codec::encode(&records).len();
        let expected = if whole <= MAX_FRAME { 1 } else { whole.div_ceil(MAX_CHUNK) + 2 };
        prop_assert_eq!(frames.len(), expected);
        arrives(records)?;
        arrives(HubToClient::Event { request: secmon_protocol::ids::RequestId(request), record: body })?;
    }
}

/// The strategies are only worth something when they leave nothing out.
#[test]
fn the_strategies_make_every_variant() {
    fn all<T: Variants + Debug>(strategy: impl Strategy<Value = T>) {
        let mut runner = TestRunner::deterministic();
        let made: BTreeSet<&str> =
            (0..800).map(|_| strategy.new_tree(&mut runner).expect("a value").current().variant()).collect();
        assert_eq!(made, T::ALL.iter().copied().collect(), "{}", T::NAME);
    }
    all(node_to_hub());
    all(hub_to_node());
    all(join_to_hub());
    all(hub_to_join());
    all(client_to_hub());
    all(hub_to_client());
    all(node_to_runner());
    all(runner_to_node());
    all(hub_event());
    all(op());
}
