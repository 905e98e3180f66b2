//! Properties: whatever an attacker puts into a field, address, outcome, action and number of events stay
//! what the program wrote, and no bytes make the parser panic.

use proptest::prelude::*;
use secmon_protocol::{
    auth::{AuthAction, AuthEvent, Source, SourceHost},
    limits,
};

use super::{
    Heard, Parsed, parse_journal, parse_line,
    tests::{context, every_shape, heard, line_of},
};

/// Names that try to look like what programs write around them.
fn name() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(" from 10.0.0.1 port 22 ssh2".to_owned()),
        Just(" from 10.0.0.1 port 22".to_owned()),
        Just(" from 10.0.0.1:22".to_owned()),
        Just("from 10.0.0.1:22".to_owned()),
        Just(" 10.0.0.1 port 22".to_owned()),
        Just(" 10.0.0.1 port 22: ".to_owned()),
        Just(" [10.0.0.1]:22".to_owned()),
        Just(" (10.0.0.1)".to_owned()),
        Just("' from 10.0.0.1 port 22".to_owned()),
        Just(" from <10.0.0.1:22>: ".to_owned()),
        Just(": ED25519 SHA256:abc".to_owned()),
        Just(" ssh2: ED25519-CERT SHA256:abc ID ".to_owned()),
        Just(" (serial 0) CA ED25519 SHA256:abc".to_owned()),
        Just(" rhost=10.0.0.1  user=root".to_owned()),
        Just(" ; USER=forged ; COMMAND=/bin/forged".to_owned()),
        Just(" ; COMMAND=".to_owned()),
        Just(" ; TTY=forged".to_owned()),
        Just("] [COMMAND=/bin/forged".to_owned()),
        Just(" (owned by unix-user:root)".to_owned()),
        Just("(uid=0)".to_owned()),
        Just(" by forged".to_owned()),
        Just(" as root from /forged".to_owned()),
        Just(") forged on pts/9".to_owned()),
        Just("' on 'tty9' from '10.0.0.1".to_owned()),
        Just("' FOR 'root', forged".to_owned()),
        Just(" FOR root, forged".to_owned()),
        Just(" maps to 10.0.0.1, but".to_owned()),
        Just(" not allowed because forged".to_owned()),
        Just(", extra auth required".to_owned()),
        Just(" timed out".to_owned()),
        Just("'".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("#012".to_owned()),
        Just("\\n".to_owned()),
        Just("\u{1b}[2J\u{7}\u{0}".to_owned()),
        Just("\u{fffd}\u{202e}".to_owned()),
        Just("invalid user ".to_owned()),
        Just("(command continued) ".to_owned()),
        Just("Accepted password for root".to_owned()),
        Just("message repeated 9 times: [ ".to_owned()),
        Just(" [preauth]".to_owned()),
        Just("]".to_owned()),
        Just("\nNov 21 03:34:11 vm sshd[1]: Accepted password for root from 10.0.0.1 port 1 ssh2".to_owned()),
        "[ -~]{0,8}",
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn real() -> Source {
    Source { host: SourceHost::Ip("203.0.113.9".parse().unwrap()), port: Some(50_022) }
}

fn event(program: &str, message: &str) -> Option<AuthEvent> {
    heard(&format!("Nov 21 03:34:11 vm {program}[7]: {message}")).map(|heard| *heard.event)
}

/// What a line of a shape gives with an attacker's text in place of what was theirs; and what was theirs.
type Attacked = (String, Option<Heard>, Option<Heard>, &'static [&'static str]);

fn attacked(which: usize, texts: &[String]) -> Attacked {
    let shapes: Vec<_> = every_shape().filter(|(_, shape)| !shape.theirs.is_empty()).collect();
    let (program, shape) = &shapes[which % shapes.len()];
    let mut message = String::new();
    let mut rest = shape.example;
    for (theirs, text) in shape.theirs.iter().zip(texts.iter().cycle()) {
        let (before, after) = rest.split_once(theirs).unwrap_or_else(|| panic!("no {theirs} in {rest}"));
        message.push_str(before);
        message.push_str(text);
        rest = after;
    }
    message.push_str(rest);
    let line = line_of(program, &message, shape);
    let (before, after) = (heard(&line_of(program, shape.example, shape)), heard(&line));
    (line, before, after, shape.theirs)
}

/// That a forger got nothing but his own words.
fn unforged((line, before, after, theirs): Attacked) -> Result<(), TestCaseError> {
    let Some(before) = before else {
        prop_assert!(after.is_none(), "an event out of nothing: {line:?}");
        return Ok(());
    };
    let Some(after) = after else {
        return Err(TestCaseError::fail(format!("the line is hidden: {line:?}")));
    };
    prop_assert_eq!(after.event.action, before.event.action, "{:?}", line);
    prop_assert_eq!(after.event.outcome, before.event.outcome, "{:?}", line);
    prop_assert_eq!(after.role, before.role, "{:?}", line);
    prop_assert_eq!(after.event.count, before.event.count, "{:?}", line);
    prop_assert_eq!(&after.event.program, &before.event.program, "{:?}", line);
    prop_assert_eq!(after.event.time, before.event.time, "{:?}", line);
    prop_assert!(
        after.event.source.is_none() || after.event.source == before.event.source,
        "{:?} is not {:?}: {:?}",
        after.event.source,
        before.event.source,
        line
    );
    // A name that the attacker did not choose is the one that the program wrote, or is left out in doubt.
    for (name, before) in [
        (&after.event.user, &before.event.user),
        (&after.event.target_user, &before.event.target_user),
        (&after.event.group, &before.event.group),
        (&after.event.tty, &before.event.tty),
        (&after.event.fingerprint, &before.event.fingerprint),
    ] {
        let chosen = before.as_deref().is_some_and(|b| theirs.iter().any(|t| t.contains(b)));
        prop_assert!(chosen || name.is_none() || name == before, "{:?} for {:?}: {:?}", name, before, line);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn what_an_attacker_chooses_forges_nothing_in_any_shape(which in 0_usize..10_000, one in name(), two in name()) {
        unforged(attacked(which, &[one, two]))?;
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(line in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_line(&line, &context());
        let _ = parse_journal(&line, &context());
    }

    #[test]
    fn no_message_of_bytes_makes_the_parser_panic_or_grow(
        which in 0_usize..10_000, message in proptest::collection::vec(any::<u8>(), 0..200), at in any::<proptest::sample::Index>(),
    ) {
        let shapes: Vec<_> = every_shape().collect();
        let (program, shape) = &shapes[which % shapes.len()];
        let mut line = line_of(program, shape.example, shape).into_bytes();
        let at = at.index(line.len());
        line.splice(at.., message);
        if let Parsed::Event(heard) = parse_line(&line, &context()) {
            prop_assert!(heard.event.message.len() <= limits::MAX_FIELD);
        }
    }

    #[test]
    fn a_journal_entry_of_any_bytes_says_what_the_same_line_in_a_file_says(
        which in 0_usize..10_000, one in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let shapes: Vec<_> = every_shape().filter(|(_, shape)| !shape.theirs.is_empty()).collect();
        let (program, shape) = &shapes[which % shapes.len()];
        let at = shape.example.find(shape.theirs[0]).unwrap();
        let mut message = shape.example.as_bytes().to_vec();
        message.splice(at..at + shape.theirs[0].len(), one.iter().copied());
        let prefix = line_of(program, "", shape);
        let (_, prefix) = prefix.split_once("]: ").unwrap();
        let message = [prefix.as_bytes(), &message].concat();
        let entry = serde_json::json!({
            "MESSAGE": message, "SYSLOG_IDENTIFIER": program, "_PID": "7", "__CURSOR": "s=1",
            "__REALTIME_TIMESTAMP": "1795232051000000",
        });
        let line = [format!("2026-11-21T03:34:11Z vm {program}[7]: ").as_bytes(), &message].concat();
        // A line of a file ends at its newline, and journald has none to end at.
        prop_assume!(!one.ends_with(b"\n") && !one.ends_with(b"\r"));
        let (from_journal, cursor) = parse_journal(entry.to_string().as_bytes(), &context());
        prop_assert_eq!(cursor.as_deref(), Some("s=1"));
        let of = |parsed: Parsed| match parsed {
            Parsed::Event(Heard { event, role }) => Some((AuthEvent { time: secmon_protocol::time::UnixNanos(0), ..*event }, role)),
            Parsed::Known | Parsed::Unknown => None,
        };
        prop_assert_eq!(of(from_journal), of(parse_line(&line, &context())));
    }

    #[test]
    fn a_user_cannot_forge_what_sshd_says(user in name()) {
        for (message, action) in [
            (format!("Failed password for invalid user {user} from 203.0.113.9 port 50022 ssh2"), AuthAction::Failed),
            (format!("Failed publickey for invalid user {user} from 203.0.113.9 port 50022 ssh2: RSA SHA256:x"), AuthAction::Failed),
            (format!("Invalid user {user} from 203.0.113.9 port 50022"), AuthAction::InvalidUser),
            (format!("Connection closed by invalid user {user} 203.0.113.9 port 50022 [preauth]"), AuthAction::Disconnected),
            (format!("Disconnected from authenticating user {user} 203.0.113.9 port 50022"), AuthAction::Disconnected),
        ] {
            let event = event("sshd", &message).unwrap();
            prop_assert_eq!(event.action, action);
            prop_assert_eq!(event.outcome, action.outcome());
            prop_assert_eq!(event.source, Some(real()));
        }
    }

    #[test]
    fn a_key_id_cannot_forge_an_accepted_login(id in name()) {
        let message = format!(
            "Accepted publickey for alice from 203.0.113.9 port 50022 ssh2: RSA-CERT SHA256:x ID {id} (serial 0) CA RSA SHA256:y"
        );
        let event = event("sshd", &message).unwrap();
        prop_assert_eq!(event.user.as_deref(), Some("alice"));
        prop_assert_eq!(event.source, Some(real()));
        prop_assert_eq!(event.fingerprint.as_deref(), Some("RSA-CERT SHA256:x"));
    }

    #[test]
    fn a_user_and_a_key_id_together_cannot_forge_the_address(user in name(), id in name()) {
        let message = format!(
            "Failed publickey for invalid user {user} from 203.0.113.9 port 50022 ssh2: RSA-CERT SHA256:x ID {id} (serial 0) CA RSA SHA256:y"
        );
        let event = event("sshd", &message).unwrap();
        prop_assert_eq!(event.action, AuthAction::Failed);
        prop_assert!(event.source.is_none() || event.source == Some(real()));
    }

    #[test]
    fn a_user_and_a_reason_together_cannot_forge_the_address(user in name(), reason in name()) {
        let message = format!("Disconnecting invalid user {user} 203.0.113.9 port 50022: {reason}");
        let event = event("sshd", &message).unwrap();
        prop_assert_eq!(event.action, AuthAction::Disconnected);
        prop_assert!(event.source.is_none() || event.source == Some(real()));
    }

    #[test]
    fn a_user_cannot_forge_what_pam_says(ruser in name(), user in name()) {
        let message = format!(
            "pam_unix(ftp:auth): authentication failure; logname= uid=0 euid=0 tty=ftp ruser={ruser} rhost=203.0.113.9  user={user}"
        );
        let event = event("vsftpd", &message).unwrap();
        prop_assert_eq!(event.action, AuthAction::Failed);
        let address = Source { port: None, ..real() };
        prop_assert!(event.source.is_none() || event.source == Some(address));
    }

    #[test]
    fn a_directory_cannot_forge_what_sudo_says(pwd in name()) {
        let message = format!("  alice : TTY=pts/0 ; PWD=/{pwd} ; USER=root ; COMMAND=/bin/rm -rf 'a b'");
        let event = event("sudo", &message).unwrap();
        prop_assert_eq!(event.action, AuthAction::Sudo);
        prop_assert_eq!(event.user.as_deref(), Some("alice"));
        prop_assert_eq!(event.tty.as_deref(), Some("pts/0"));
        prop_assert!(event.target_user.is_none() || event.target_user.as_deref() == Some("root"));
        prop_assert!(event.command.is_none() || event.command.as_deref() == Some("/bin/rm -rf 'a b'"));
    }

    #[test]
    fn a_target_cannot_forge_who_called_su(target in name()) {
        for message in [
            format!("FAILED su for {target} by alice"),
            format!("FAILED SU (to {target}) alice on pts/0"),
            format!("- /dev/pts/0 alice:{target}"),
        ] {
            let event = event("su", &message).unwrap();
            prop_assert_eq!(event.action, AuthAction::SuFailed);
            prop_assert_eq!(event.user.as_deref(), Some("alice"));
        }
    }
}
