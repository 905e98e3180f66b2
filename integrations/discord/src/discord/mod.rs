//! A webhook of Discord, <https://discord.com/developers/docs/resources/webhook>: its requests and what must be kept between them.

mod answer;
mod embed;
mod escape;
mod limits;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{Client, Method};
use secmon_notify::{Notice, Receipt, SendError, Sending, Service, web};
use serde_json::Value;
use tokio::time::sleep;

pub(crate) use self::embed::Look;
use self::{
    answer::{Hold, refused, said},
    limits::{Limits, Route},
};
use crate::address::DiscordUrl;

/// How long a call waits itself for a limit to pass: those of webhooks are of seconds. What takes longer is told to the caller.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a request may take in all, so that a call ends within a minute.
const WITHIN: Duration = Duration::from_secs(45);
/// How much of an answer is read: a message with its embeds comes back whole.
const MAX_ANSWER: usize = 256 << 10;

/// The limits that all webhooks of the process share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Limits>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Limits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One webhook, or one thread of its channel.
pub(crate) struct Webhook {
    client: Client,
    url: DiscordUrl,
    thread: Option<String>,
    look: Look,
    shared: Shared,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook")
            .field("id", &self.url.id())
            .field("thread", &self.thread)
            .finish_non_exhaustive()
    }
}

impl Webhook {
    /// Nothing is connected to yet.
    pub(crate) fn new(
        client: Client,
        url: DiscordUrl,
        thread: Option<String>,
        look: Look,
        shared: Shared,
    ) -> Self {
        Self { client, url, thread, look, shared }
    }

    /// One request, when the limits allow it; what Discord answered, where it is JSON.
    async fn ask(&self, route: Route, message: Option<&str>, body: &Value) -> Result<Value, SendError> {
        let wait = self.shared.lock().wait(Instant::now(), self.url.id(), route);
        if let Some(wait) = wait {
            if wait > PATIENCE {
                return Err(SendError::Busy { after: Some(wait) });
            }
            sleep(wait).await;
        }
        let method = match route {
            Route::Send => Method::POST,
            Route::Edit => Method::PATCH,
        };
        let url = self.url.request(message, self.thread.as_deref());
        let request = self.client.request(method, url).json(body).timeout(WITHIN);
        let response = request.send().await.map_err(web::unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        self.shared.lock().learn(Instant::now(), self.url.id(), route, &said(&headers));
        let body = web::body(response, MAX_ANSWER).await;
        if status.is_success() {
            // It has arrived, even where the rest of the answer has not: without its id it cannot be edited, that is all.
            return Ok(body.ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default());
        }
        let refused = refused(route, status, &headers, &body.unwrap_or_default());
        let now = Instant::now();
        match refused.hold {
            Some(Hold::Route(after)) => self.shared.lock().hold(now, self.url.id(), route, after),
            Some(Hold::All(after)) => self.shared.lock().hold_all(now, after),
            None => {}
        }
        Err(self.without_token(refused.error))
    }

    /// Should Discord's words ever hold the token, ours do not.
    fn without_token(&self, error: SendError) -> SendError {
        let hide = |reason: String| reason.replace(self.url.token(), "…");
        match error {
            SendError::Forbidden { reason } => SendError::Forbidden { reason: hide(reason) },
            SendError::Refused { reason } => SendError::Refused { reason: hide(reason) },
            SendError::Failed { reason } => SendError::Failed { reason: hide(reason) },
            other => other,
        }
    }
}

/// An id of Discord's, as far as we put it into an address: digits.
pub(crate) fn is_snowflake(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Service for Webhook {
    fn edits(&self) -> bool {
        true
    }

    fn send<'a>(&'a self, notice: &'a Notice) -> Sending<'a, Receipt> {
        Box::pin(async move {
            let message = self.ask(Route::Send, None, &embed::sent(notice, &self.look)).await?;
            let id = message["id"].as_str().filter(|id| is_snowflake(id)).unwrap_or_default();
            Ok(Receipt(id.to_owned()))
        })
    }

    fn edit<'a>(&'a self, receipt: &'a Receipt, notice: &'a Notice) -> Sending<'a, ()> {
        Box::pin(async move {
            if !is_snowflake(&receipt.0) {
                return Err(SendError::Vanished);
            }
            self.ask(Route::Edit, Some(&receipt.0), &embed::edited(notice)).await.map(|_| ())
        })
    }
}
