//! What systemd-logind says: systemd `src/login/logind-session.c`. Nothing of it is an event: sessions are
//! read where logind keeps them. Shown to who asks for the meaning of each line.

use secmon_protocol::auth::AuthAction::{SessionClosed, SessionOpened};

use super::{
    Role::Aside,
    frame::Body,
    shape::{Fields, Found, Shape, nothing, shape},
};

/// In the order in which they are tried.
#[rustfmt::skip]
pub(super) const SHAPES: &[Shape] = &[
    shape("New session ", "New session 3 of user alice.", Some((SessionOpened, Aside)), &[], new_session),
    shape("Session ", "Session 3 logged out. Waiting for processes to exit.", Some((SessionClosed, Aside)), &[],
        |rest, _| rest.contains(" logged out.").then(|| Found::Event(Fields {
            reason: Some("logged out"),
            ..Fields::of(SessionClosed, Aside)
        }))),
    shape("Removed session ", "Removed session 3.", Some((SessionClosed, Aside)), &[],
        |_, _| Fields::of(SessionClosed, Aside).into()),
    shape("New seat ", "New seat seat0.", None, &[], nothing),
    shape("Removed seat ", "Removed seat seat0.", None, &[], nothing),
    shape("Watching system buttons on ", "Watching system buttons on /dev/input/event0 (Power Button)", None, &[], nothing),
    shape("Power key pressed", "Power key pressed short.", None, &[], nothing),
    shape("System is ", "System is powering down.", None, &[], nothing),
    shape("The system will ", "The system will reboot now!", None, &[], nothing),
    shape("Suspending", "Suspending...", None, &[], nothing),
    shape("Lid ", "Lid closed.", None, &[], nothing),
];

/// `N of user U.`, since 256 `'N' of user 'U' with class 'C' and type 'T'.`
fn new_session<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let (_, user) = rest.split_once(" of user ")?;
    let (user, class) = match user.strip_prefix('\'').and_then(|u| u.split_once('\'')) {
        Some((user, class)) => (user, class),
        None => user.split_once(" with ").unwrap_or((user.strip_suffix('.').unwrap_or(user), "")),
    };
    let reason =
        class.trim_start_matches(' ').strip_suffix('.').map(|c| c.strip_prefix("with ").unwrap_or(c));
    Fields { target: Some(user), reason, ..Fields::of(SessionOpened, Aside) }.into()
}
