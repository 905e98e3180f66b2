//! Server-sent events: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
//!
//! `id:` stands on the last event of a record alone, and is its cursor: an EventSource that comes back names the last one it
//! had, and goes on behind that record. So nothing is left out and no record is cut in two.

use std::{convert::Infallible, fmt::Write as _};

use axum::{body::Body, response::Response};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream;
use secmon_protocol::ids::Cursor;

use super::super::answer;
use crate::{
    hub::{Listener, Next, Picked, Said},
    problem::Problem,
};

/// How long an EventSource waits before it comes back, in milliseconds: a bridge that is restarted is back in a moment.
const RETRY: &[u8] = b"retry: 1000\n\n";

/// Behind it stands its id. Without data it would not be dispatched.
const PROGRESS: &[u8] = b"event: progress\ndata: {}\n";
/// What stands around an event's line: `data: ` and two ends of lines.
const FRAME: usize = 8;
/// The longest line with an id, and the empty one behind it: a log's 16 digits, a number's 20.
const ID: usize = 4 + 16 + 1 + 20 + 2;

/// The stream of a listener.
pub(super) fn answer(listener: Listener) -> Result<Response, Problem> {
    let parts = stream::unfold((Some(listener), true), async |(listener, first)| {
        if first {
            return Some((Ok::<_, Infallible>(Bytes::from_static(RETRY)), (listener, false)));
        }
        let mut listener = listener?;
        let (part, listener) = match listener.next().await {
            Next::Said(said) => {
                // All that is ready is one write.
                let mut out = BytesMut::with_capacity(said.iter().map(size).sum());
                let told: usize = said.iter().map(|said| write(said, &mut out)).sum();
                listener.told(told);
                (out.freeze(), Some(listener))
            }
            Next::Quiet => (Bytes::from_static(b":\n\n"), Some(listener)),
            // The client comes back and is told why it may not.
            Next::Over(over) => {
                (format!(": {}\n\n", over.to_string().replace(['\r', '\n'], " ")).into(), None)
            }
        };
        Some((Ok(part), (listener, false)))
    });
    Ok(answer::stream("text/event-stream", Body::from_stream(parts)))
}

/// Writes it and says how many events it is.
fn write(said: &Said, out: &mut BytesMut) -> usize {
    match said {
        Said::Record(picked) => {
            let last = lines(picked, out);
            if last > 0 {
                // The empty line that ended the event is written again, behind its id.
                out.truncate(out.len() - 1);
                id(picked.cursor(), out);
            }
            last
        }
        Said::State(picked) => lines(picked, out),
        Said::Progress(cursor) => {
            out.put_slice(PROGRESS);
            id(*cursor, out);
            0
        }
    }
}

/// Room that it needs, at most.
fn size(said: &Said) -> usize {
    match said {
        Said::Record(picked) | Said::State(picked) => {
            ID + picked.lines().map(|line| line.json.len() + FRAME).sum::<usize>()
        }
        Said::Progress(_) => PROGRESS.len() + ID,
    }
}

fn lines(picked: &Picked, out: &mut BytesMut) -> usize {
    let mut count = 0;
    for line in picked.lines() {
        out.put_slice(b"data: ");
        out.put_slice(&line.json);
        out.put_slice(b"\n\n");
        count += 1;
    }
    count
}

fn id(cursor: Cursor, out: &mut BytesMut) {
    // Memory grows where it has to; nothing else can fail.
    let _ = write!(out, "id: {cursor}\n\n");
}

#[cfg(test)]
mod tests {
    use secmon_protocol::ids::LogId;

    use super::*;

    #[test]
    fn there_is_room_for_the_longest_id() {
        let (cursor, mut out) = (Cursor { log: LogId(u64::MAX), n: u64::MAX }, BytesMut::new());
        id(cursor, &mut out);
        assert!(out.len() <= ID, "{out:?}");
    }
}
