use super::*;

#[test]
fn without_handshakes_looks_are_far_apart() {
    assert_eq!(until_next_look(&Peers::new(), UnixNanos(0), None), QUIET);
    assert_eq!(until_next_look(&Peers::new(), UnixNanos(0), Some(BUSY)), BUSY);
}
