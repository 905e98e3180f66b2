//! What one node of many prints, on its way to the screen: as lines with its name before them, as JSON, or in one piece
//! when the node is done.

use std::io::{self, Read as _, Seek as _, Write as _};

use secmon_protocol::{command::OutputStream, ecs, limits::MAX_CHUNK};
use serde_json::json;
use tempfile::SpooledTempFile;

use super::{
    screen::{Held, Screen},
    targets::Target,
};
use crate::{
    cli::Failure,
    render::{Look, Prefixed},
};

/// What all nodes together keep in memory with `--group`; what is more goes to temporary files.
const IN_MEMORY: usize = 16 << 20;
/// What one node keeps in all with `--group`. One that has more takes the screen for itself, and the others wait for it.
const KEPT: u64 = 256 << 20;

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Lines with the node's name before them.
    Prefixed,
    /// All of a node in one piece.
    Grouped,
    /// One JSON object per piece.
    Json,
}

/// How papers look.
#[derive(Debug, Clone)]
pub(super) struct Style {
    pub(super) form: Form,
    pub(super) stdout: Look,
    pub(super) stderr: Look,
    /// The longest name, in characters.
    pub(super) width: usize,
    /// How many nodes run at once.
    pub(super) at_once: usize,
}

/// The paper of one node.
pub(super) struct Paper {
    screen: Screen,
    kind: Kind,
}

enum Kind {
    Prefixed(Prefixed),
    Json { id: String, name: String },
    Grouped(Box<Group>),
}

struct Group {
    title: Vec<u8>,
    lines: Prefixed,
    spool: SpooledTempFile,
    len: u64,
    /// The screen, once there was too much to keep.
    held: Option<Held>,
}

impl Paper {
    pub(super) fn new(target: &Target, style: &Style, screen: Screen) -> Self {
        let kind = match style.form {
            Form::Prefixed => {
                Kind::Prefixed(Prefixed::new(&target.name, style.width, &style.stdout, &style.stderr))
            }
            Form::Json => Kind::Json { id: target.id.to_string(), name: target.name.clone() },
            Form::Grouped => Kind::Grouped(Box::new(Group {
                title: format!("==> {} <==\n", target.name).into_bytes(),
                lines: Prefixed::bare(&style.stdout, &style.stderr),
                spool: SpooledTempFile::new(IN_MEMORY / style.at_once.max(1)),
                len: 0,
                held: None,
            })),
        };
        Self { screen, kind }
    }

    /// Takes what the node printed; returns when it is written, or kept.
    pub(super) async fn output(&mut self, stream: OutputStream, data: &[u8]) -> Result<(), Failure> {
        let (to, bytes) = match &mut self.kind {
            Kind::Prefixed(lines) => (stream, lines.push(stream, data)),
            Kind::Json { id, name } => {
                let mut line = ecs::run_output(stream, data);
                line["host"] = json!({ "id": id, "name": name });
                (OutputStream::Stdout, format!("{}\n", ecs::line(&line)).into_bytes())
            }
            Kind::Grouped(group) => {
                let lines = group.lines.push(stream, data);
                return group.keep(&self.screen, stream, lines).await;
            }
        };
        write(&self.screen, to, bytes).await
    }

    /// The node is done: what was kept back is written.
    pub(super) async fn end(mut self) -> Result<(), Failure> {
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            match &mut self.kind {
                Kind::Prefixed(lines) => write(&self.screen, stream, lines.finish(stream)).await?,
                Kind::Json { .. } => {}
                Kind::Grouped(group) => {
                    let lines = group.lines.finish(stream);
                    group.keep(&self.screen, stream, lines).await?;
                }
            }
        }
        match self.kind {
            Kind::Grouped(mut group) if group.len > 0 && group.held.is_none() => {
                group.show(&self.screen).await
            }
            _ => Ok(()),
        }
    }
}

async fn write(screen: &Screen, stream: OutputStream, bytes: Vec<u8>) -> Result<(), Failure> {
    if bytes.is_empty() {
        return Ok(());
    }
    screen.hold().await.write(stream, bytes).await.1
}

impl Group {
    /// Keeps lines for later: a byte for the stream, the length, the lines.
    async fn keep(&mut self, screen: &Screen, stream: OutputStream, lines: Vec<u8>) -> Result<(), Failure> {
        if lines.is_empty() {
            return Ok(());
        }
        if let Some(held) = self.held.take() {
            let (held, result) = held.write(stream, lines).await;
            self.held = Some(held);
            return result;
        }
        let put = |spool: &mut SpooledTempFile| {
            spool.write_all(&[u8::from(stream == OutputStream::Stderr)])?;
            spool.write_all(&(lines.len() as u64).to_be_bytes())?;
            spool.write_all(&lines)
        };
        put(&mut self.spool).map_err(kept)?;
        self.len += 9 + lines.len() as u64;
        if self.len > KEPT { self.show(screen).await } else { Ok(()) }
    }

    /// Writes what was kept, and keeps the screen.
    async fn show(&mut self, screen: &Screen) -> Result<(), Failure> {
        let (mut held, mut result) =
            screen.hold().await.write(OutputStream::Stdout, self.title.clone()).await;
        self.spool.rewind().map_err(kept)?;
        while result.is_ok() {
            let Some((stream, mut left)) = self.head().map_err(kept)? else { break };
            while left > 0 && result.is_ok() {
                let mut piece = vec![0; left.min(MAX_CHUNK)];
                self.spool.read_exact(&mut piece).map_err(kept)?;
                left -= piece.len();
                (held, result) = held.write(stream, piece).await;
            }
        }
        // What was kept is on the screen now: a file is given back at once.
        self.spool = SpooledTempFile::new(0);
        self.held = Some(held);
        result
    }

    /// The next entry of what was kept.
    fn head(&mut self) -> io::Result<Option<(OutputStream, usize)>> {
        let mut head = [0; 9];
        match self.spool.read(&mut head[..1])? {
            0 => return Ok(None),
            _ => self.spool.read_exact(&mut head[1..])?,
        }
        let stream = if head[0] == 0 { OutputStream::Stdout } else { OutputStream::Stderr };
        let mut len = [0; 8];
        len.copy_from_slice(&head[1..]);
        Ok(Some((stream, usize::try_from(u64::from_be_bytes(len)).unwrap_or(usize::MAX))))
    }
}

fn kept(error: io::Error) -> Failure {
    let message = format!(
        "cannot keep what a node printed in a temporary file: {error}; without --group none is needed"
    );
    Failure::Other { message, code: super::FAILED }
}
