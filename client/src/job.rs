//! What a job has printed, as it is kept and as it comes, under credit.

use bytes::Bytes;
use secmon_protocol::{
    command::OutputStream,
    limits::OUTPUT_WINDOW,
    message::client::{HubToClient, JobSummary},
};

use crate::{
    ClientError,
    client::{Answers, unexpected},
    run::Window,
};

/// A piece of a job's output, or its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEvent {
    /// What it printed.
    Output {
        /// Where.
        stream: OutputStream,
        /// The bytes, unmodified.
        data: Bytes,
    },
    /// Here something is not kept.
    Missing {
        /// How many bytes.
        bytes: u64,
    },
    /// Nothing more comes: this is how the job stands.
    End(Box<JobSummary>),
}

/// The output of a job. Dropping it ends the reading, and not the job.
#[derive(Debug)]
pub struct JobOutput {
    answers: Answers,
    output: Window,
    over: bool,
}

impl JobOutput {
    pub(crate) fn new(answers: Answers) -> Self {
        Self { answers, output: Window::new(OUTPUT_WINDOW), over: false }
    }

    /// The next piece; none after End. By asking, the caller says that it is done with the piece before. Safe to
    /// cancel.
    ///
    /// # Errors
    /// No such job, no permission, or the connection broke; nothing more will come.
    pub async fn next(&mut self) -> Result<Option<JobEvent>, ClientError> {
        if self.over {
            return Ok(None);
        }
        self.output.grant(&self.answers).await;
        let message = self.answers.next().await.inspect_err(|_| self.over = true)?;
        Ok(Some(match message {
            HubToClient::Output { stream, data, .. } => {
                self.output.handed_out(data.len());
                JobEvent::Output { stream, data }
            }
            HubToClient::OutputMissing { bytes, .. } => JobEvent::Missing { bytes },
            HubToClient::Job { job, .. } => {
                self.over = true;
                JobEvent::End(job)
            }
            _ => {
                self.over = true;
                return Err(unexpected("a job's output is something else"));
            }
        }))
    }
}
