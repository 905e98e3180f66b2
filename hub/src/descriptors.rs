//! How many files the hub may have open, for each connection is one: raised as far as the system lets it.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use tracing::warn;

/// More than a hub can serve. Containers may allow a billion, and programs that a process with such a limit
/// starts may take minutes to close what they do not have.
const ENOUGH: rlim_t = 1 << 20;
/// With fewer the hub warns.
const FEW: rlim_t = 4096;
/// Kept for what is no connection: the database's files, the runtime's, the listeners, the standard streams.
const OWN: rlim_t = 64;

/// Raises the soft limit on open files to the hard one (getrlimit(2), `RLIMIT_NOFILE`), and warns when that
/// is little.
pub(crate) fn raise() {
    let limit = match raised() {
        Ok(limit) => limit,
        Err(error) => return warn!(%error, "cannot raise the limit on open files"),
    };
    if let Some(connections) = few(limit) {
        warn!(
            limit,
            connections,
            "few files may be open, so that only so many nodes and clients fit; raise LimitNOFILE= of the service, or the hard limit of `ulimit -n`"
        );
    }
}

/// How many files may be open now, where the system says it.
pub(crate) fn limit() -> Option<usize> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    usize::try_from(soft).ok()
}

fn raised() -> nix::Result<rlim_t> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(ENOUGH).max(soft);
    if wanted > soft {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    }
    Ok(wanted)
}

/// How many connections fit, where that is worth a warning.
fn few(limit: rlim_t) -> Option<rlim_t> {
    (limit < FEW).then(|| limit.saturating_sub(OWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_on_open_files_is_as_high_as_the_system_lets_it() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        // Of this process, which shares it with other tests; down first, so that there is something to do.
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(1000), hard).unwrap();
        assert_eq!(raised().unwrap(), hard.min(ENOUGH));
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard.min(ENOUGH), hard));
    }

    #[test]
    fn a_low_limit_is_worth_a_warning_that_says_how_many_fit() {
        assert_eq!(few(1024), Some(960));
        assert_eq!(few(10), Some(0));
        assert_eq!(few(4096), None);
    }
}
