//! The users that entries name, as this system knows them.

use std::ffi::CString;

use nix::unistd::{Uid, User, getgrouplist};

use super::invocation::RunAs;

/// Who a user is, for one who starts commands as `euid`; none: that very user.
///
/// # Errors
/// There is no such user, or only root could become that one; in words.
pub(super) fn run_as(name: &str, euid: Uid) -> Result<Option<RunAs>, String> {
    let found = look_up(name)?;
    if found.uid == euid {
        return Ok(None);
    }
    if !euid.is_root() {
        return Err(format!(
            "the command runs as {name}, and what starts it here runs as uid {euid}, which cannot become another user; \
             start commands by `secmon runner` as root, or take user out of the entry"
        ));
    }
    let broken =
        |error: &dyn std::fmt::Display| format!("cannot find out the groups of the user {name}: {error}");
    let c_name = CString::new(name).map_err(|e| broken(&e))?;
    let groups = getgrouplist(&c_name, found.gid).map_err(|e| broken(&e))?;
    let groups = groups.into_iter().map(nix::unistd::Gid::as_raw).collect();
    Ok(Some(RunAs { name: name.to_owned(), uid: found.uid.as_raw(), gid: found.gid.as_raw(), groups }))
}

/// A user by name.
fn look_up(name: &str) -> Result<User, String> {
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(format!("the command runs as {name}, and this system has no such user")),
        Err(error) => Err(format!("cannot look up the user {name}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_with_its_groups_and_only_root_becomes_another() {
        let nobody = run_as("nobody", Uid::from_raw(0)).unwrap().unwrap();
        assert!(nobody.uid != 0 && nobody.groups.contains(&nobody.gid));
        assert_eq!(run_as("root", Uid::from_raw(0)), Ok(None));
        assert_eq!(run_as("nobody", Uid::from_raw(nobody.uid)), Ok(None));
        assert!(run_as("root", Uid::from_raw(nobody.uid)).unwrap_err().contains("secmon runner"));
        for wrong in ["no-such-user-here", "", "a\0b", "../x"] {
            assert!(run_as(wrong, Uid::from_raw(0)).is_err(), "{wrong:?}");
        }
    }
}
