//! The real `secmon` on whole hosts: what its users are promised on every distribution, seen from outside.
//!
//! Each scenario is a function of a [`site::Site`], and a test on each distribution. What differs between two
//! distributions stands in the scenario, so that it can be read what a user gets where.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test as the test itself does")]

mod accounts;
mod faults;
mod integrations;
mod logins;
mod restarts;
mod runner;
mod sessions;
mod site;
mod units;
mod unprivileged;

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
    crate::accounts::changed as a_user_made_given_a_password_and_removed_is_reported_once_each;
    crate::sessions::with_and_without_a_terminal as a_session_with_and_one_without_a_terminal_open_and_close_once;
    crate::sessions::again as each_of_several_logins_names_all_who_saw_it;
    crate::sessions::short as a_session_that_is_over_at_once_is_still_opened_and_closed;
    crate::sessions::many as twenty_logins_at_once_are_twenty_opened_and_twenty_closed;
    crate::sessions::console as a_root_login_at_the_console_is_one_session_and_one_event;
    crate::sessions::inside as su_and_sudo_inside_of_a_session_are_no_sessions;
    crate::faults::journald as journald_may_restart_rotate_and_vacuum_and_nothing_is_lost_or_doubled;
    crate::faults::sshd as sshd_may_restart_while_a_session_lives_on;
    crate::faults::logind as logind_may_restart_while_a_session_lives_on;
    crate::faults::no_logind as a_logind_that_is_gone_for_good_is_said_where_nothing_else_knows_who_is_there;
    crate::faults::stalled as a_logind_that_stalls_when_it_is_asked_is_heard_when_it_goes_on;
    crate::faults::forged as signals_that_logind_did_not_send_open_and_close_nothing;
    crate::restarts::killed as a_node_that_was_killed_tells_after_its_start_what_went_on_meanwhile_once;
    crate::unprivileged::sees as a_node_that_is_not_root_sees_what_roots_saw;
    crate::unprivileged::joins as a_node_that_never_was_root_joins_as_documented_and_reads_the_log_of_adm;
    crate::unprivileged::lacks as what_a_node_that_is_not_root_cannot_see_is_named_by_its_check;
    crate::unprivileged::journald as without_root_journald_may_restart_rotate_and_vacuum_and_nothing_is_lost_or_doubled;
    crate::unprivileged::logind as without_root_logind_may_restart_while_a_session_lives_on;
    crate::unprivileged::killed as without_root_a_node_that_was_killed_tells_what_went_on_meanwhile_once;
    crate::unprivileged::console as without_root_a_login_at_the_console_is_one_session_and_one_event;
    crate::unprivileged::hidden as a_proc_that_hides_what_others_run_is_named_and_its_group_helps;
    crate::runner::as_whom as commands_run_as_the_file_says_and_nobody_else_may_ask_for_them;
    crate::runner::daemons as what_leaves_its_session_is_gone_after_every_end_of_its_run;
    crate::runner::reloads as a_changed_allowlist_is_read_again_with_and_without_a_reload;
    crate::runner::jobs as a_job_under_which_node_or_runner_end_is_lost_and_not_started_again;
    crate::runner::beside_a_hub as hub_and_runner_on_one_server_leave_each_others_sockets_alone;
    crate::runner::stuck as a_client_that_does_not_read_and_a_runner_that_does_nothing_hold_up_nobody_else;
    crate::integrations::units as the_units_of_the_integrations_run_as_users_of_their_own_and_tell_no_secret;
    crate::runner::verified as systemd_finds_no_fault_in_the_units;
    crate::faults::dbus as dbus_may_restart_while_a_session_lives_on;
}
