//! Long poll: for those who can neither stream nor upgrade. Each answer says where the next question begins.

use std::time::Duration;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::{BufMut as _, BytesMut};
use secmon_protocol::ids::Cursor;
use tokio::time::{Instant, timeout_at};

use super::{super::answer::JSON, super::query::Params, over};
use crate::{
    hub::{Listener, Next, Picked, Said},
    problem::Problem,
};

/// How long a question may wait for an event.
const LONGEST: Duration = Duration::from_secs(60);
/// How long it waits where it does not say.
const USUAL: Duration = Duration::from_secs(30);
/// Most events of an answer, and how many where the question does not say.
const MOST: usize = 5_000;
const USUALLY: usize = 500;

/// How somebody polls.
pub(super) struct Poll {
    wait: Duration,
    limit: usize,
}

impl Poll {
    pub(super) fn read(params: &mut Params) -> Result<Self, Problem> {
        let wait = params.span("wait", LONGEST)?.unwrap_or(USUAL);
        let limit = params.number("limit", 1, MOST)?.unwrap_or(USUALLY);
        Ok(Self { wait, limit })
    }

    /// What there is, or what comes first.
    pub(super) async fn answer(self, mut listener: Listener) -> Result<Response, Problem> {
        let deadline = Instant::now() + self.wait;
        let mut page = Page::new(self.limit);
        while page.is_empty() {
            match timeout_at(deadline, listener.next()).await {
                Err(_) => break,
                Ok(Next::Quiet) => {}
                Ok(Next::Said(said)) => said.iter().for_each(|said| page.take(said)),
                Ok(Next::Over(why)) => return Err(over(&why)),
            }
        }
        listener.told(page.count);
        let after = if page.full { page.after } else { listener.at().or(page.after) };
        let after = after.ok_or_else(|| {
            let mut problem = Problem::new(StatusCode::BAD_GATEWAY, "hub_away", "the hub cannot be reached");
            problem.retry_after = Some(1);
            problem
        })?;
        Ok(page.finish(after))
    }
}

/// One answer, as it grows.
struct Page {
    limit: usize,
    count: usize,
    /// Something did not fit.
    full: bool,
    /// Up to where it has everything.
    after: Option<Cursor>,
    body: BytesMut,
}

impl Page {
    fn new(limit: usize) -> Self {
        let body = BytesMut::from(&b"{\"events\":["[..]);
        Self { limit, count: 0, full: false, after: None, body }
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn take(&mut self, said: &Said) {
        match said {
            Said::Record(picked) | Said::State(picked) => self.record(picked),
            Said::Progress(cursor) if !self.full => self.after = Some(*cursor),
            Said::Progress(_) => {}
        }
    }

    /// A record comes whole, or not yet.
    fn record(&mut self, picked: &Picked) {
        let events = picked.lines().count();
        self.full |= self.count > 0 && self.count + events > self.limit;
        if self.full {
            return;
        }
        for line in picked.lines() {
            if self.count > 0 {
                self.body.put_u8(b',');
            }
            self.body.put_slice(&line.json);
            self.count += 1;
        }
        self.after = Some(picked.cursor());
    }

    fn finish(mut self, after: Cursor) -> Response {
        self.body.put_slice(format!("],\"after\":\"{after}\"}}").as_bytes());
        ([(header::CONTENT_TYPE, JSON)], self.body.freeze()).into_response()
    }
}
