//! A service that takes messages, or fails as a test wants it to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::FutureExt as _;
use secmon_notify::{Notice, Receipt, SendError, Sending, Service};

#[derive(Debug, Default)]
struct Inner {
    /// What it has: by message, its editions.
    messages: Vec<Vec<Notice>>,
    /// What it answers next, before it takes anything.
    errors: VecDeque<SendError>,
    /// What it answers when those are used up.
    always: Option<SendError>,
    /// Calls that have begun.
    calls: usize,
    /// Calls that took something, and that nobody waited for any more.
    unheard: usize,
    /// How long it thinks before it takes something, and after.
    slow: Duration,
    /// It never answers.
    silent: bool,
}

/// The service. A clone is the same one.
#[derive(Debug, Clone)]
pub(crate) struct Double {
    name: String,
    inner: Arc<Mutex<Inner>>,
}

/// Counts a call that was dropped after it took something.
struct Heard<'a>(&'a Double, bool);

impl Drop for Heard<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.inner().unheard += 1;
        }
    }
}

impl Double {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), inner: Arc::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(crate) fn slow(self, by: Duration) -> Self {
        self.inner().slow = by;
        self
    }

    /// It answers nobody from now on; or does again.
    pub(crate) fn silent(&self, silent: bool) {
        self.inner().silent = silent;
    }

    /// The next answers.
    pub(crate) fn fail(&self, errors: impl IntoIterator<Item = SendError>) {
        self.inner().errors.extend(errors);
    }

    /// All answers, or none any more.
    pub(crate) fn fail_always(&self, error: Option<SendError>) {
        self.inner().always = error;
    }

    pub(crate) fn calls(&self) -> usize {
        self.inner().calls
    }

    pub(crate) fn unheard(&self) -> usize {
        self.inner().unheard
    }

    /// The users in the titles of its messages, as numbers; 0 for those that name none.
    pub(crate) fn users(&self) -> Vec<u64> {
        let user = |notice: &Notice| {
            let after = notice.title.split("user-").nth(1)?;
            after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        self.inner().messages.iter().flatten().map(|notice| user(notice).unwrap_or(0)).collect()
    }

    pub(crate) fn titles(&self) -> Vec<String> {
        self.inner().messages.iter().flatten().map(|notice| notice.title.clone()).collect()
    }

    async fn take(&self, notice: &Notice) -> Result<Receipt, SendError> {
        let (slow, silent) = {
            let mut inner = self.inner();
            inner.calls += 1;
            (inner.slow, inner.silent)
        };
        if silent {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(slow).await;
        let receipt = {
            let mut inner = self.inner();
            if let Some(error) = inner.errors.pop_front().or_else(|| inner.always.clone()) {
                return Err(error);
            }
            inner.messages.push(vec![notice.clone()]);
            Receipt((inner.messages.len() - 1).to_string())
        };
        let mut heard = Heard(self, false);
        // It has the message; the answer is on its way.
        tokio::time::sleep(slow).await;
        heard.1 = true;
        Ok(receipt)
    }
}

impl Service for Double {
    fn edits(&self) -> bool {
        true
    }

    fn send<'a>(&'a self, notice: &'a Notice) -> Sending<'a, Receipt> {
        self.take(notice).boxed()
    }

    fn edit<'a>(&'a self, receipt: &'a Receipt, notice: &'a Notice) -> Sending<'a, ()> {
        async move {
            let message: usize = receipt.0.parse().unwrap();
            self.inner().messages[message].push(notice.clone());
            Ok(())
        }
        .boxed()
    }
}
