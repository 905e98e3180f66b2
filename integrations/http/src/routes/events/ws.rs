//! WebSocket, RFC 6455: one text frame per event, `{"progress":CURSOR}` where nothing was wanted for long, and pings.

use std::{borrow::Cow, time::Duration};

use axum::{
    extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code},
    response::Response,
};
use futures::SinkExt as _;
use tokio::time::{Instant, timeout};

use crate::hub::{Line, Listener, Next, Over, Said};

/// A peer that takes nothing for so long is gone, or wants to be a burden.
const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// Largest message of a client, in bytes: it has nothing to say.
const MAX_MESSAGE: usize = 4 << 10;
/// Most messages of a client in a [`WINDOW`], pings among them. It has nothing to say; a ping a second is usual. Each ping
/// is answered, and what it does not read of the answers is held for it.
const MAX_HEARD: u32 = 256;
/// See [`MAX_HEARD`].
const WINDOW: Duration = Duration::from_secs(15);
/// Pings without any sign of life from the client, after which it is gone: one is sent in each quiet interval.
const MAX_UNANSWERED: u32 = 3;

/// Agrees to speak it, and does.
pub(super) fn answer(upgrade: WebSocketUpgrade, listener: Listener) -> Response {
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    upgrade.on_upgrade(move |socket| async move {
        // What went wrong with a client's connection is nobody's trouble but its own.
        if let Err(error) = serve(socket, listener).await {
            tracing::debug!(%error, "a WebSocket ended");
        }
    })
}

async fn serve(mut socket: WebSocket, mut listener: Listener) -> Result<(), axum::Error> {
    let mut unanswered = 0;
    let (mut heard_since, mut heard_count) = (Instant::now(), 0);
    loop {
        let next = tokio::select! {
            next = listener.next() => next,
            heard = socket.recv() => match heard {
                None | Some(Ok(Message::Close(_))) => return Ok(()),
                Some(Err(error)) => return Err(error),
                // Pings are answered by the library; whatever else it says, it is there.
                Some(Ok(_)) => {
                    unanswered = 0;
                    if heard_since.elapsed() >= WINDOW {
                        (heard_since, heard_count) = (Instant::now(), 0);
                    }
                    heard_count += 1;
                    if heard_count <= MAX_HEARD {
                        continue;
                    }
                    let reason = "a client has nothing to say here, and says too much".into();
                    let close = Message::Close(Some(CloseFrame { code: close_code::POLICY, reason }));
                    let _ = timeout(WRITE_WITHIN, socket.send(close)).await;
                    return Ok(());
                }
            },
        };
        let mut count = 0;
        let sending = async {
            match &next {
                Next::Said(said) => {
                    for said in said {
                        count += feed(&mut socket, said).await?;
                    }
                    socket.flush().await
                }
                Next::Quiet => socket.send(Message::Ping(bytes::Bytes::new())).await,
                Next::Over(over) => socket.send(Message::Close(Some(close(over)))).await,
            }
        };
        match timeout(WRITE_WITHIN, sending).await {
            Ok(sent) => sent?,
            Err(_) => return Ok(()),
        }
        listener.told(count);
        match next {
            Next::Over(_) => return Ok(()),
            Next::Quiet if unanswered >= MAX_UNANSWERED => return Ok(()),
            Next::Quiet => unanswered += 1,
            Next::Said(_) => {}
        }
    }
}

async fn feed(socket: &mut WebSocket, said: &Said) -> Result<usize, axum::Error> {
    let (Said::Record(picked) | Said::State(picked)) = said else {
        if let Said::Progress(cursor) = said {
            socket.feed(Message::Text(format!("{{\"progress\":\"{cursor}\"}}").into())).await?;
        }
        return Ok(0);
    };
    let mut count = 0;
    for line in picked.lines() {
        socket.feed(Message::Text(text(line))).await?;
        count += 1;
    }
    Ok(count)
}

fn text(line: &Line) -> Utf8Bytes {
    // It was made as a String.
    Utf8Bytes::try_from(line.json.clone()).unwrap_or_default()
}

fn close(over: &Over) -> CloseFrame {
    let code = match over {
        Over::Stopped | Over::Slow => close_code::AWAY,
        Over::Ended => close_code::POLICY,
        Over::Refused(_) => close_code::ERROR,
    };
    // A reason has 123 bytes at most.
    let reason: Cow<'_, str> = over.to_string().into();
    let reason = &reason[..reason.floor_char_boundary(123)];
    CloseFrame { code, reason: reason.into() }
}
