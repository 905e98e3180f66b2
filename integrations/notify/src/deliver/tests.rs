//! One destination's task, with a service that follows a script and a store on disk.

use std::{collections::VecDeque, sync::Mutex};

use futures::FutureExt as _;
use secmon_protocol::time::UnixNanos;

use super::*;
use crate::{
    Kind, Notice, Sending, Service, Severity,
    config::DestinationSection,
    core::Thread,
    failed,
    store::{Batch, Limits, Store, Tell},
};

/// Answers by a script, and with success behind its end.
#[derive(Debug, Default)]
struct Script {
    /// The next answers.
    errors: Mutex<VecDeque<SendError>>,
    /// What was asked: `send 1`, `edit r1 2`, with an error's place behind a `!`.
    asked: Mutex<Vec<String>>,
    edits: bool,
    /// It fails whenever it is sent this one.
    poison: Option<&'static str>,
}

impl Script {
    fn ask(&self, what: String) -> Result<(), SendError> {
        let poison = self.poison.filter(|id| what == format!("send {id}"));
        let error = match poison {
            Some(_) => Some(SendError::Failed { reason: "500".to_owned() }),
            None => self.errors.lock().unwrap().pop_front(),
        };
        self.asked.lock().unwrap().push(if error.is_some() { format!("{what} !") } else { what });
        error.map_or(Ok(()), Err)
    }
}

impl Service for Script {
    fn edits(&self) -> bool {
        self.edits
    }

    fn send<'a>(&'a self, notice: &'a Notice) -> Sending<'a, Receipt> {
        async move { self.ask(format!("send {}", notice.id)).map(|()| Receipt(format!("r{}", notice.id))) }
            .boxed()
    }

    fn edit<'a>(&'a self, receipt: &'a Receipt, notice: &'a Notice) -> Sending<'a, ()> {
        async move { self.ask(format!("edit {} {}", receipt.0, notice.id)) }.boxed()
    }
}

struct Stage {
    folder: tempfile::TempDir,
    script: Arc<Script>,
    store: StoreThread,
    wake: Arc<Notify>,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), NotifyError>>,
}

impl Stage {
    fn new(edits: bool, errors: impl IntoIterator<Item = SendError>) -> Self {
        Self::with(Script { errors: Mutex::new(errors.into_iter().collect()), edits, ..Script::default() })
    }

    fn with(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = Arc::new(script);
        let names = ["a".to_owned()];
        let (store, _) = Store::open(folder.path(), Limits::default(), &names, UnixNanos(0)).unwrap();
        let (store, _ending) = StoreThread::start(store).unwrap();
        let (wake, cancel) = (Arc::new(Notify::new()), CancellationToken::new());
        let delivery = Delivery {
            destination: Destination {
                name: "a".to_owned(),
                section: DestinationSection::default(),
                service: script.clone(),
            },
            store: store.clone(),
            wake: wake.clone(),
            aside: Arc::default(),
            clock: Clock::new(),
        };
        let task = tokio::spawn(delivery.run(cancel.clone()));
        Self { folder, script, store, wake, cancel, task }
    }

    async fn tell(&self, id: &str, thread: Option<bool>) {
        let notice = Notice {
            id: id.to_owned(),
            kind: Kind::Event,
            severity: Severity::Info,
            title: id.to_owned(),
            text: String::new(),
            fields: vec![],
            node: None,
            time: UnixNanos(0),
            json: serde_json::Value::Null,
        };
        let thread = thread.map(|last| Thread { id: "t".to_owned(), last });
        let tell = Tell { destination: "a".to_owned(), notice, thread, edits: self.script.edits };
        let batch = Batch { tells: vec![tell], ..Batch::default() };
        self.store.ask("write", move |store| store.commit(&batch, UnixNanos(0))).await.unwrap();
        self.wake.notify_one();
    }

    /// Waits until nothing waits.
    async fn done(&self) {
        for _ in 0..2_000 {
            let look = |store: &mut Store| store.head("a", UnixNanos(0));
            if self.store.ask("read", look).await.unwrap().entry.is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("something still waits: {:?}", self.asked());
    }

    fn asked(&self) -> Vec<String> {
        self.script.asked.lock().unwrap().clone()
    }

    async fn end(self) {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn refused() -> SendError {
    SendError::Refused { reason: "too long".to_owned() }
}

#[tokio::test]
async fn a_message_that_was_deleted_there_is_sent_anew_and_edited_from_then_on() {
    let stage = Stage::new(true, []);
    stage.tell("1", Some(false)).await;
    stage.done().await;
    stage.script.errors.lock().unwrap().push_back(SendError::Vanished);
    stage.tell("2", Some(false)).await;
    stage.done().await;
    stage.tell("3", Some(true)).await;
    stage.done().await;
    stage.tell("4", Some(false)).await;
    stage.done().await;
    assert_eq!(stage.asked(), ["send 1", "edit r1 2 !", "send 2", "edit r2 3", "send 4"]);
    stage.end().await;
}

#[tokio::test]
async fn where_nothing_can_be_edited_the_first_and_the_last_edition_are_sent() {
    let stage = Stage::new(false, []);
    for (id, last) in [("1", false), ("2", false), ("3", false), ("4", true)] {
        stage.tell(id, Some(last)).await;
        stage.done().await;
    }
    assert_eq!(stage.asked(), ["send 1", "send 4"]);
    stage.end().await;
}

#[tokio::test]
async fn what_is_refused_three_times_is_set_aside_and_the_next_goes() {
    let stage = Stage::new(true, [refused(), refused(), refused()]);
    stage.tell("1", None).await;
    stage.tell("2", None).await;
    stage.done().await;
    assert_eq!(stage.asked(), ["send 1 !", "send 1 !", "send 1 !", "send 2"]);
    let aside = failed::list(stage.folder.path()).unwrap();
    assert_eq!((aside.len(), aside[0].notice.id.as_str(), aside[0].tries), (1, "1", 3));
    stage.end().await;
}

/// It took an hour of tries, in which nothing behind it got through, critical or not.
#[tokio::test]
async fn a_message_over_which_the_service_fails_holds_up_the_others_for_seconds_only() {
    let stage = Stage::with(Script { poison: Some("1"), ..Script::default() });
    for id in ["1", "2", "3"] {
        stage.tell(id, None).await;
    }
    stage.done().await;
    assert_eq!(stage.asked(), ["send 1 !", "send 1 !", "send 1 !", "send 2", "send 1 !", "send 3"]);
    let failed = failed::list(stage.folder.path()).unwrap();
    assert_eq!(failed.iter().map(|one| one.notice.id.as_str()).collect::<Vec<_>>(), ["1"]);
    stage.end().await;
}

/// The service is out of order: nothing is set aside, and nothing is told before what stood before it.
#[tokio::test]
async fn while_the_service_fails_over_everything_nothing_is_set_aside_and_the_order_stays() {
    let failed = || SendError::Failed { reason: "502".to_owned() };
    // The head three times, then the next as well, then the head again.
    let stage = Stage::new(false, std::iter::repeat_with(failed).take(4));
    for id in ["1", "2"] {
        stage.tell(id, None).await;
    }
    stage.done().await;
    assert_eq!(stage.asked(), ["send 1 !", "send 1 !", "send 1 !", "send 2 !", "send 1", "send 2"]);
    assert!(failed::list(stage.folder.path()).unwrap().is_empty());
    stage.end().await;
}

#[tokio::test]
async fn a_forbidden_destination_is_tried_once_for_each_message() {
    let forbidden = || SendError::Forbidden { reason: "blocked".to_owned() };
    let stage = Stage::new(true, [forbidden(), forbidden()]);
    for id in ["1", "2", "3"] {
        stage.tell(id, None).await;
    }
    stage.done().await;
    assert_eq!(stage.asked(), ["send 1 !", "send 2 !", "send 3"]);
    assert_eq!(failed::list(stage.folder.path()).unwrap().len(), 2);
    stage.end().await;
}
