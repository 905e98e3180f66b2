//! The real `secmon` on whole hosts: what its users are promised on every distribution, seen from outside.
//!
//! Each scenario is a function of a [`site::Site`], and a test on each distribution. What differs between two
//! distributions stands in the scenario, so that it can be read what a user gets where.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test as the test itself does")]

mod accounts;
mod logins;
mod site;

/// Makes a test of each scenario on each distribution.
macro_rules! on_every_host {
    ($($scenario:path as $name:ident;)+) => {
        mod debian_12 {
            $(#[test] fn $name() { crate::site::with(secmon_testkit::host::Distribution::Debian12, $scenario); })+
        }
        mod debian_13 {
            $(#[test] fn $name() { crate::site::with(secmon_testkit::host::Distribution::Debian13, $scenario); })+
        }
    };
}

on_every_host! {
    crate::logins::each_way_in as each_way_in_over_ssh_is_reported_once_with_address_port_and_method;
    crate::logins::refused as each_refused_attempt_over_ssh_is_reported_once_with_address_and_port;
    crate::accounts::sudo as sudo_is_reported_once_whether_it_was_allowed_or_denied;
    crate::accounts::su as su_is_reported_once_whether_it_succeeded_or_failed;
}
