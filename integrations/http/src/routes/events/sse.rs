//! Server-sent events: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
//!
//! `id:` stands on the last event of a record alone, and is its cursor: an EventSource that comes back names the last one it
//! had, and goes on behind that record. So nothing is left out and no record is cut in two.

use std::convert::Infallible;

use axum::{body::Body, response::Response};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream;

use super::super::answer;
use crate::{
    hub::{Listener, Next, Picked, Said},
    problem::Problem,
};

/// How long an EventSource waits before it comes back, in milliseconds: a bridge that is restarted is back in a moment.
const RETRY: &[u8] = b"retry: 1000\n\n";

/// The stream of a listener.
pub(super) fn answer(listener: Listener) -> Result<Response, Problem> {
    let parts = stream::unfold((Some(listener), true), async |(listener, first)| {
        if first {
            return Some((Ok::<_, Infallible>(Bytes::from_static(RETRY)), (listener, false)));
        }
        let mut listener = listener?;
        let (part, listener) = match listener.next().await {
            Next::Said(said) => {
                let mut out = BytesMut::new();
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
            // Without data it would not be dispatched.
            out.put_slice(b"event: progress\ndata: {}\n");
            id(*cursor, out);
            0
        }
    }
}

fn lines(picked: &Picked, out: &mut BytesMut) -> usize {
    let mut count = 0;
    for line in picked.lines() {
        out.reserve(line.json.len() + 64);
        out.put_slice(b"data: ");
        out.put_slice(&line.json);
        out.put_slice(b"\n\n");
        count += 1;
    }
    count
}

fn id(cursor: secmon_protocol::ids::Cursor, out: &mut BytesMut) {
    out.put_slice(format!("id: {cursor}\n\n").as_bytes());
}
