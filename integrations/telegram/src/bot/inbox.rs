//! What a restart needs, in one small file: which updates were taken over from Telegram and not answered yet, and which messages show a command that
//! runs. So a kill at any moment repeats no command and forgets none.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::api::{MessageId, Spot, Update};

/// Its name in the state folder.
const NAME: &str = "telegram.json";

/// A message that shows a command which runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(crate) run: u32,
    pub(crate) spot: Spot,
    pub(crate) message: MessageId,
    /// What runs, for people: `tail lines=5 on web-1`.
    pub(crate) what: String,
}

/// What is in the file.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    /// The number behind the last update that was taken over.
    offset: i64,
    open: Vec<Update>,
    runs: Vec<Shown>,
}

/// The file, and what is in it.
#[derive(Debug)]
pub(crate) struct Inbox {
    path: PathBuf,
    kept: Kept,
}

/// Why it cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {reason}", path.display())]
pub struct InboxError {
    what: &'static str,
    path: PathBuf,
    reason: String,
}

impl Inbox {
    /// Opens it, and makes the folder if it is not there. A file that cannot be read is set aside: what it had is unanswered then.
    pub(crate) fn open(folder: &Path) -> Result<Self, InboxError> {
        let path = folder.join(NAME);
        let failed =
            |what, error: std::io::Error| InboxError { what, path: path.clone(), reason: error.to_string() };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| failed("make the folder of", error))?;
        let kept = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(file = %path.display(), %error, "cannot be understood, and is set aside; commands of before are forgotten");
                // It is overwritten by what comes next if it cannot be moved.
                let _ = fs::rename(&path, path.with_extension("json.damaged"));
                Kept::default()
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(failed("read", error)),
        };
        Ok(Self { path, kept })
    }

    /// Where to go on asking Telegram.
    pub(crate) fn offset(&self) -> i64 {
        self.kept.offset
    }

    /// Updates that nobody has answered yet.
    pub(crate) fn open_updates(&self) -> Vec<Update> {
        self.kept.open.clone()
    }

    /// Messages that show commands as running.
    pub(crate) fn runs(&self) -> Vec<Shown> {
        self.kept.runs.clone()
    }

    /// Takes updates over; those that are new are returned. Telegram may forget them from now on.
    pub(crate) fn take(&mut self, updates: Vec<Update>) -> Result<Vec<Update>, InboxError> {
        let new: Vec<Update> =
            updates.into_iter().filter(|update| update.update_id >= self.kept.offset).collect();
        let Some(last) = new.iter().map(|update| update.update_id).max() else { return Ok(new) };
        self.kept.offset = last + 1;
        self.kept.open.extend(new.iter().cloned());
        self.save()?;
        Ok(new)
    }

    /// An update was answered.
    pub(crate) fn answered(&mut self, update: i64) -> Result<(), InboxError> {
        self.kept.open.retain(|open| open.update_id != update);
        self.save()
    }

    /// A command is about to be started by an update, which must not start another one.
    pub(crate) fn starts(&mut self, update: Option<i64>, shown: Shown) -> Result<(), InboxError> {
        self.kept.open.retain(|open| Some(open.update_id) != update);
        self.kept.runs.push(shown);
        self.save()
    }

    /// A command's message shows its end.
    pub(crate) fn ended(&mut self, run: u32) -> Result<(), InboxError> {
        self.kept.runs.retain(|shown| shown.run != run);
        self.save()
    }

    fn save(&self) -> Result<(), InboxError> {
        let new = self.path.with_extension("json.new");
        let write = || {
            let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&serde_json::to_vec(&self.kept)?)?;
            file.sync_data()?;
            fs::rename(&new, &self.path)
        };
        write().map_err(|error| InboxError {
            what: "write",
            path: self.path.clone(),
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ChatId;

    fn update(update_id: i64) -> Update {
        Update { update_id, message: None, callback_query: None }
    }

    #[test]
    fn a_restart_goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let shown = Shown {
            run: 7,
            spot: Spot { chat: ChatId(1), thread: None },
            message: MessageId(5),
            what: "x on y".into(),
        };
        {
            let mut inbox = Inbox::open(folder.path()).unwrap();
            assert_eq!(inbox.take(vec![update(10), update(11), update(12)]).unwrap().len(), 3);
            inbox.answered(10).unwrap();
            inbox.starts(Some(11), shown.clone()).unwrap();
        }
        let mut inbox = Inbox::open(folder.path()).unwrap();
        assert_eq!((inbox.offset(), inbox.open_updates(), inbox.runs()), (13, vec![update(12)], vec![shown]));
        assert_eq!(inbox.take(vec![update(12), update(13)]).unwrap(), [update(13)], "one that came before");
        inbox.ended(7).unwrap();
        assert!(Inbox::open(folder.path()).unwrap().runs().is_empty());
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), b"{").unwrap();
        assert_eq!(Inbox::open(folder.path()).unwrap().offset(), 0);
        assert!(folder.path().join("telegram.json.damaged").exists());
    }
}
