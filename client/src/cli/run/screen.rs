//! stdout and stderr, shared by what many nodes print, with a line of progress below it.
//!
//! Whoever writes has the screen alone until its bytes are written; who cannot write waits, asks its node for no more
//! meanwhile, and so slows it down. Nothing is queued here.

use std::{
    io::{self, Write},
    sync::Arc,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use secmon_protocol::command::OutputStream;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::cli::Failure;

type Sink = Box<dyn Write + Send>;

/// The screen. Cheap to clone.
#[derive(Clone)]
pub(super) struct Screen(Arc<Mutex<Inner>>);

struct Inner {
    out: Sink,
    err: Sink,
    bar: Option<ProgressBar>,
}

/// The screen, in one hand.
pub(super) struct Held(OwnedMutexGuard<Inner>);

impl Screen {
    pub(super) fn new(out: Sink, err: Sink) -> Self {
        Self(Arc::new(Mutex::new(Inner { out, err, bar: None })))
    }

    /// With a line of progress over `count` nodes, on stderr, which is a terminal.
    pub(super) fn with_progress(self, count: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
        // The template is ours and good; without a style of its own the bar has its default one.
        if let Ok(style) = ProgressStyle::with_template("[{bar:20}] {pos}/{len} nodes done{msg}, {elapsed}") {
            bar.set_style(style.progress_chars("=> "));
        }
        if let Ok(mut inner) = self.0.try_lock() {
            inner.bar = Some(bar);
        }
        self
    }

    /// Waits for the screen.
    pub(super) async fn hold(&self) -> Held {
        Held(Arc::clone(&self.0).lock_owned().await)
    }

    /// Says how far it is. Left out while somebody writes: whoever comes next says it.
    pub(super) fn progress(&self, done: usize, running: usize, failed: usize) {
        if let Ok(inner) = self.0.try_lock()
            && let Some(bar) = &inner.bar
        {
            let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
            bar.set_message(format!(", {running} running{failed}"));
            bar.set_position(done as u64);
            bar.tick();
        }
    }

    /// Takes the line of progress away for good, unless somebody is stuck with the screen.
    pub(super) fn clear(&self) {
        if let Ok(mut inner) = self.0.try_lock()
            && let Some(bar) = inner.bar.take()
        {
            bar.finish_and_clear();
        }
    }
}

impl Held {
    /// Writes, and flushes. The screen comes back even where that failed; when the future is dropped, after the write.
    pub(super) async fn write(self, stream: OutputStream, bytes: Vec<u8>) -> (Self, Result<(), Failure>) {
        let Self(mut guard) = self;
        let written = tokio::task::spawn_blocking(move || {
            let result = guard.write(stream, &bytes);
            (guard, result)
        });
        match written.await {
            Ok((guard, result)) => (Self(guard), result.map_err(Failure::from)),
            // A panic of the write's own, of which there is none.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl Inner {
    fn write(&mut self, stream: OutputStream, bytes: &[u8]) -> io::Result<()> {
        let sink = match stream {
            OutputStream::Stdout => &mut self.out,
            OutputStream::Stderr => &mut self.err,
        };
        let mut write = || {
            sink.write_all(bytes)?;
            sink.flush()
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}
