//! Writes to a client: output and answers first, events after, many in one go.

use bytes::{BufMut as _, BytesMut};
use secmon_protocol::{
    codec::{CodecError, put_frame, put_message},
    ids::{Cursor, RequestId},
    limits::{MAX_FRAME, MAX_MESSAGE},
    message::{
        ErrorCode, Refusal,
        client::{EventHeader, Gap, HubToClient},
    },
};
use tokio::{io::AsyncWriteExt as _, net::unix::OwnedWriteHalf, sync::mpsc};

use super::{
    super::wire::{WRITE_TARGET, WireError},
    Ending,
    subscription::Outgoing,
};
use crate::{actor::Waiting, segment::Run};

/// Most bytes that a message puts before a record.
const EVENT_HEADER: usize = 32;

/// Writes until the connection ends.
pub(super) async fn run(
    stream: &mut OwnedWriteHalf,
    mut queue: Waiting<HubToClient>,
    mut answers: mpsc::Receiver<HubToClient>,
    mut events: mpsc::Receiver<Outgoing>,
) -> Ending {
    let mut out = BytesMut::new();
    loop {
        let mut next = tokio::select! {
            biased;
            Some(message) = queue.recv() => Some(Outgoing::Message(message)),
            Some(answer) = answers.recv() => Some(Outgoing::Message(answer)),
            Some(event) = events.recv() => Some(event),
            // All of them have ended, and all that they had is written.
            else => return Ending::stopping(),
        };
        while let Some(message) = next.take() {
            if let Err(error) = put(&mut out, message) {
                return Ending::Bad(format!("cannot be told: {error}"));
            }
            if out.len() < WRITE_TARGET {
                let answer = queue.try_recv().or_else(|| answers.try_recv().ok());
                next = answer.map(Outgoing::Message).or_else(|| events.try_recv().ok());
            }
        }
        if let Err(error) = stream.write_all(&out).await {
            return WireError::Io(error).into();
        }
        out.clear();
    }
}

fn put(out: &mut BytesMut, message: Outgoing) -> Result<(), CodecError> {
    match message {
        Outgoing::Events(request, runs) => runs.iter().try_for_each(|run| put_run(out, request, run)),
        Outgoing::Message(message) => match put_message(out, &message) {
            Err(CodecError::TooLarge { size, limit, .. }) => {
                let Some(request) = answered(&message) else { return Ok(()) };
                let text = format!(
                    "the answer has {size} bytes, over the limit of {limit}; ask for less, with a filter"
                );
                let refusal = Refusal::new(ErrorCode::TooMany, text);
                put_message(out, &HubToClient::Error { request, refusal })
            }
            put => put,
        },
    }
}

fn put_run(out: &mut BytesMut, request: RequestId, run: &Run) -> Result<(), CodecError> {
    out.reserve(run.bytes() + run.range.len() * EVENT_HEADER);
    let header = EventHeader::of(request);
    for (index, record) in run.range.clone().zip(run.segment.records(run.range.clone())) {
        let size = record.len();
        if size + EVENT_HEADER > MAX_MESSAGE {
            put_message(out, &too_large(request, run.segment.cursor(index), size))?;
        } else if size + EVENT_HEADER > MAX_FRAME {
            put_message(out, &HubToClient::Event { request, record: run.segment.list.slice_ref(record) })?;
        } else {
            put_frame(out, |out| {
                header.put(out, size);
                out.put_slice(record);
            });
        }
    }
    Ok(())
}

/// What stands in the place of a record that no message can carry.
fn too_large(request: RequestId, cursor: Cursor, size: usize) -> HubToClient {
    let after = Cursor { n: cursor.n - 1, ..cursor };
    let reason = format!("the record has {size} bytes, over the limit of {MAX_MESSAGE}");
    HubToClient::Gap { request, gap: Gap { after, to: cursor, reason } }
}

/// The request of an answer that may be too large.
fn answered(message: &HubToClient) -> Option<RequestId> {
    match message {
        HubToClient::Nodes { request, .. } | HubToClient::Node { request, .. } => Some(*request),
        _ => None,
    }
}
