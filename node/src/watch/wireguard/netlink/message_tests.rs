use nix::libc::{NLM_F_DUMP, NLM_F_REQUEST};
use proptest::prelude::*;

use super::*;

const KIND: u16 = 32;

/// A datagram of one message.
fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Request::new(kind, flags, sequence, body).finish();
    bytes.resize(aligned(bytes.len()), 0);
    bytes
}

fn control(kind: i32, sequence: u32, code: i32) -> Vec<u8> {
    message(u16::try_from(kind).unwrap(), 0, sequence, &code.to_ne_bytes())
}

/// What a question with number 7 got from these datagrams: bodies, whether all came, whether it was consistent.
fn answers(datagrams: &[&[u8]]) -> Result<(Vec<Vec<u8>>, bool, bool), Wrong> {
    let (mut answers, mut bodies) = (Answers::new(7, KIND), Vec::new());
    for datagram in datagrams {
        answers.feed(datagram, |body| {
            bodies.push(body.to_vec());
            Ok(())
        })?;
    }
    Ok((bodies, answers.are_complete(), !answers.are_inconsistent()))
}

#[test]
fn an_answer_is_put_together_of_the_messages_of_several_datagrams() {
    let first = [message(KIND, 2, 7, b"one"), message(KIND, 2, 7, b"two ")].concat();
    let second = [message(KIND, 2, 7, b"three"), control(NLMSG_DONE, 7, 0)].concat();
    assert_eq!(answers(&[&first]), Ok((vec![b"one".to_vec(), b"two ".to_vec()], false, true)));
    let (bodies, complete, consistent) = answers(&[&first, &second]).unwrap();
    assert_eq!((bodies.len(), complete, consistent), (3, true, true));
}

#[test]
fn what_changed_while_it_was_listed_is_known_by_its_flag_wherever_that_stands() {
    let intr = u16::try_from(NLM_F_DUMP_INTR).unwrap();
    let done = |flags| message(u16::try_from(NLMSG_DONE).unwrap(), flags, 7, &[0; 4]);
    assert!(!answers(&[&message(KIND, intr, 7, b"one"), &message(KIND, 0, 7, b"two"), &done(0)]).unwrap().2);
    assert!(!answers(&[&message(KIND, 0, 7, b"one"), &done(intr)]).unwrap().2);
    // That of somebody else's answer is not ours.
    assert!(answers(&[&message(KIND, intr, 6, b"one"), &done(0)]).unwrap().2);
}

#[test]
fn a_refusal_keeps_its_number_wherever_it_comes() {
    assert_eq!(answers(&[&control(NLMSG_ERROR, 7, -19)]), Err(Wrong::Errno(19)));
    assert_eq!(answers(&[&message(KIND, 0, 7, b"one"), &control(NLMSG_DONE, 7, -90)]), Err(Wrong::Errno(90)));
    assert_eq!(answers(&[&control(NLMSG_ERROR, 7, i32::MIN)]), Err(Wrong::Errno(i32::MAX)));
    // An acknowledgement is an error of number 0.
    assert_eq!(answers(&[&control(NLMSG_ERROR, 7, 0)]), Ok((vec![], true, true)));
    assert_eq!(answers(&[&control(NLMSG_OVERRUN, 7, 0)]), Err(Wrong::Overrun));
}

#[test]
fn what_an_earlier_question_left_over_is_passed_by() {
    let late = [control(NLMSG_ERROR, 6, -1), message(KIND, 0, 6, b"old"), control(NLMSG_DONE, 6, 0)].concat();
    assert_eq!(answers(&[&late]), Ok((vec![], false, true)));
}

#[test]
fn a_message_that_was_cut_off_or_was_not_asked_for_is_an_error() {
    let whole = message(KIND, 0, 7, b"twelve bytes");
    for length in 1..whole.len() {
        assert_eq!(answers(&[&whole[..length]]), Err(Wrong::Malformed("a message")), "{length}");
    }
    let other = Wrong::Malformed("a message of a type that was not asked for");
    assert_eq!(answers(&[&message(KIND + 1, 0, 7, b"")]), Err(other));
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let datagram = message(KIND, 0, 7, &[0; 30_000]);
    let mut answers = Answers::new(7, KIND);
    let fed = (0..2 * super::super::MAX_REPLY / datagram.len())
        .find_map(|_| answers.feed(&datagram, |_| Ok(())).err());
    assert_eq!(fed, Some(Wrong::TooLong));
}

#[test]
fn a_request_is_what_the_kernels_headers_say() {
    let flags = u16::try_from(NLM_F_REQUEST | NLM_F_DUMP).unwrap();
    let bytes = Request::generic(32, flags, 7, 0).with(2, b"wg0\0x").finish();
    let mut expected = Vec::new();
    expected.extend(32_u32.to_ne_bytes());
    expected.extend(32_u16.to_ne_bytes());
    expected.extend(0x301_u16.to_ne_bytes());
    expected.extend(7_u32.to_ne_bytes());
    expected.extend([0; 4]);
    expected.extend([0, 1, 0, 0]);
    expected.extend(9_u16.to_ne_bytes());
    expected.extend(2_u16.to_ne_bytes());
    expected.extend(b"wg0\0x\0\0\0");
    assert_eq!(bytes, expected);
}

#[test]
fn attributes_are_walked_with_their_flags_masked_and_end_at_the_first_that_is_wrong() {
    let mut bytes = Request::new(0, 0, 0, &[]).with(0x8005, b"abc").with(6, b"").finish().split_off(HEADER);
    let read = |bytes: &[u8]| attributes(bytes).map(|a| a.map(|(k, v)| (k, v.to_vec()))).collect::<Vec<_>>();
    assert_eq!(read(&bytes), [Ok((5, b"abc".to_vec())), Ok((6, vec![]))]);
    // A length that is too small, and one that leads out.
    for length in [0_u16, 3, 200] {
        bytes.splice(8..10, length.to_ne_bytes());
        assert_eq!(
            read(&bytes),
            [Ok((5, b"abc".to_vec())), Err(Wrong::Malformed("an attribute"))],
            "{length}"
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_read_more_than_there_is(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut seen = 0;
        let _ = Answers::new(0, KIND).feed(&bytes, |body| { seen += body.len(); Ok(()) });
        prop_assert!(seen <= bytes.len());
        let read: usize = attributes(&bytes).filter_map(Result::ok).map(|(_, value)| value.len()).sum();
        prop_assert!(read <= bytes.len());
    }
}
