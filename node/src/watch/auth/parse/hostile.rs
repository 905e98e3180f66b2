//! Properties: whatever an attacker puts into a field, address, outcome and number of events stay what the
//! program wrote, and no bytes make the parser panic.

use proptest::prelude::*;
use secmon_protocol::auth::{AuthAction, AuthEvent, Source, SourceHost};

use super::{Parsed, parse_line, tests::context};

/// Names that try to look like what programs write around them.
fn name() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(" from 10.0.0.1 port 22 ssh2".to_owned()),
        Just(" from 10.0.0.1 port 22".to_owned()),
        Just(" 10.0.0.1 port 22".to_owned()),
        Just(" 10.0.0.1 port 22: ".to_owned()),
        Just(": ED25519 SHA256:abc".to_owned()),
        Just(" ssh2: ED25519-CERT SHA256:abc ID ".to_owned()),
        Just(" (serial 0) CA ED25519 SHA256:abc".to_owned()),
        Just(" rhost=10.0.0.1  user=root".to_owned()),
        Just(" ; USER=forged ; COMMAND=/bin/forged".to_owned()),
        Just(" ; TTY=forged".to_owned()),
        Just(" by forged".to_owned()),
        Just(") forged on pts/9".to_owned()),
        Just("'".to_owned()),
        Just("\\".to_owned()),
        Just("invalid user ".to_owned()),
        Just("Accepted password for root".to_owned()),
        Just(" [preauth]".to_owned()),
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
    match parse_line(format!("Nov 21 03:34:11 vm {program}[7]: {message}").as_bytes(), &context()) {
        Parsed::Event(event) => Some(*event),
        _ => None,
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(line in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_line(&line, &context());
    }

    #[test]
    fn no_message_makes_the_parser_panic(
        program in "sshd|sudo|su|cron|su\\(pam_unix\\)", start in "Failed |Accepted password for |Invalid user |Disconnecting |pam_unix\\(a:b\\): |", rest in name(),
    ) {
        let _ = event(&program, &format!("{start}{rest}"));
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
        for message in [format!("FAILED su for {target} by alice"), format!("FAILED SU (to {target}) alice on pts/0")] {
            let event = event("su", &message).unwrap();
            prop_assert_eq!(event.action, AuthAction::SuFailed);
            prop_assert_eq!(event.user.as_deref(), Some("alice"));
        }
    }
}
