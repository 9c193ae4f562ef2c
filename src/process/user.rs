//! Another user for the whole process, for good.

use crate::{config::Process, net};
use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, initgroups, setgid, setgroups, setuid};
use std::ffi::CString;

/// The user that the process becomes.
pub struct UserIdentity {
    user: User,
    group: Gid,
    /// `process.group` was said: that group alone.
    alone: bool,
}

/// The user of the configuration; `None` where it names none.
///
/// # Errors
/// There is no such user or group, or the process can't become it.
pub fn wanted(process: &Process) -> Result<Option<UserIdentity>, String> {
    if process.user.is_empty() {
        return match process.group.is_empty() {
            true => Ok(None),
            false => Err("process.group: write `user` too, a group alone gives nothing up".into()),
        };
    }
    let missing = |key: &str, name: &str, why: String| format!("process.{key} = \"{name}\": {why}");
    let user = match User::from_name(&process.user) {
        Ok(Some(user)) => user,
        Ok(None) => {
            return Err(missing(
                "user",
                &process.user,
                "there is no such user".into(),
            ));
        }
        Err(why) => return Err(missing("user", &process.user, why.to_string())),
    };
    let group = match &*process.group {
        "" => user.gid,
        name => match Group::from_name(name) {
            Ok(Some(group)) => group.gid,
            Ok(None) => return Err(missing("group", name, "there is no such group".into())),
            Err(why) => return Err(missing("group", name, why.to_string())),
        },
    };
    if user.uid.is_root() {
        return Err(missing("user", &process.user, "that is root itself".into()));
    }
    if !geteuid().is_root() && geteuid() != user.uid {
        let why = format!("only root can become it, and this is uid {}", geteuid());
        return Err(missing("user", &process.user, why));
    }
    Ok(Some(UserIdentity {
        user,
        group,
        alone: !process.group.is_empty(),
    }))
}

/// The number of a user of this machine.
#[must_use]
pub fn number(name: &str) -> Option<u32> {
    let user = User::from_name(name).ok()??;
    Some(user.uid.as_raw())
}

/// The name of a user of this machine, or its number.
#[must_use]
pub fn name(number: u32) -> String {
    match User::from_uid(Uid::from_raw(number)) {
        Ok(Some(user)) => user.name,
        _ => number.to_string(),
    }
}

/// Whether this is root.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

impl UserIdentity {
    /// The numbers of the user and its group.
    #[must_use]
    pub fn numbers(&self) -> (u32, u32) {
        (self.user.uid.as_raw(), self.group.as_raw())
    }

    /// Becomes it. Every thread of the process does (the C library sees to that), and there is no way back.
    ///
    /// # Errors
    /// The kernel refuses, or there would be a way back: the process must end then.
    pub fn assume(&self) -> Result<(), String> {
        let failed = |what: &str, why: nix::Error| format!("process.user: {what}: {why}");
        if geteuid().is_root() {
            let name = CString::new(self.user.name.as_str()).map_err(|why| why.to_string())?;
            match self.alone {
                true => setgroups(&[self.group]),
                false => initgroups(&name, self.group),
            }
            .map_err(|why| failed("setgroups", why))?;
            setgid(self.group).map_err(|why| failed("setgid", why))?;
            setuid(self.user.uid).map_err(|why| failed("setuid", why))?;
        }
        if setuid(Uid::from_raw(0)).is_ok() || geteuid().is_root() || getegid().as_raw() == 0 {
            return Err("process.user: root's rights could not be given up".into());
        }
        Ok(())
    }
}

/// Gives up capabilities that a user other than root was started with (`AmbientCapabilities`), once they have done
/// their work. For the calling thread, and those that it starts.
///
/// # Errors
/// In words.
pub fn drop_capabilities() -> Result<(), String> {
    match is_root() {
        true => Ok(()),
        false => net::drop_capabilities().map_err(|why| format!("capabilities: {why}")),
    }
}

/// `user 65534, no capabilities`, for the line at the start.
#[must_use]
pub fn describe() -> String {
    let name = name(geteuid().as_raw());
    match is_root() {
        true => "root, with all its rights".into(),
        false => format!("user {name}, no capabilities"),
    }
}
