//! The units of the integrations, as they are, beside the hub's documented unit: set up by the lines of docs/operating.md,
//! "Integrations".

use std::fs;

use secmon_testkit::{process::Output, wait::eventually};

use crate::site::{self, Site};

const HUB_UNIT: &str = "secmon-hub.service";
const HTTP_UNIT: &str = "secmon-http.service";
const DISCORD_UNIT: &str = "secmon-discord.service";
const TELEGRAM_UNIT: &str = "secmon-telegram.service";

/// The authorities that this machine trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// All of them, with their text.
const UNITS: [(&str, &str); 3] = [
    (TELEGRAM_UNIT, include_str!("../../packaging/secmon-telegram.service")),
    (DISCORD_UNIT, include_str!("../../packaging/secmon-discord.service")),
    (HTTP_UNIT, include_str!("../../packaging/secmon-http.service")),
];

/// The bridge answers as its user may, the other two run and keep what no service takes; what is a secret is in no log.
pub(crate) fn units(site: &mut Site<'_>) {
    let host = site.host;
    let hub = site::block_of("    Description=secmon hub\n");
    let user = hub.iter().find_map(|line| line.strip_prefix("User=")).unwrap();
    host.check("useradd", &["--system", user]);
    host.write(&format!("/etc/systemd/system/{HUB_UNIT}"), 0o644, &hub.join("\n"));
    let lines = site::block_of("    groupadd --system secmon-clients");
    for line in &lines {
        host.check("sh", &["-c", line]);
    }
    for role in ["telegram", "discord"] {
        host.check("sh", &["-c", &lines[2].replace("secmon-http", &format!("secmon-{role}"))]);
    }
    let rules = site::block_of("    [[access]]\n    users = \"secmon-http\"").join("\n");
    let others = "\n[[access]]\nusers = [\"secmon-telegram\", \"secmon-discord\"]\nrole = \"viewer\"\n";
    host.write("/etc/secmon/secmon.toml", 0o644, &(rules + others));
    host.write("/etc/secmon/telegram-token", 0o600, "123456789:AAF-a-secret-of-the-bot-in-a-test_0\n");
    host.check("chown", &["secmon-telegram", "/etc/secmon/telegram-token"]);
    // Nobody listens there: what is to be told waits.
    let telegram = "api = \"http://127.0.0.1:9\"\ntoken_file = \"/etc/secmon/telegram-token\"\n[[chats]]\nid = 5\nname = \"ops\"\n";
    host.write("/etc/secmon/telegram.toml", 0o644, telegram);
    let discord = "[[webhook]]\nname = \"siem\"\nurl_file = \"/etc/secmon/siem.url\"\nunsigned = true\n";
    host.write("/etc/secmon/discord.toml", 0o644, discord);
    host.write("/etc/secmon/siem.url", 0o600, "http://127.0.0.1:9/a-secret-of-the-webhook\n");
    host.check("chown", &["secmon-discord", "/etc/secmon/siem.url"]);
    // Without authorities to trust there is no HTTPS, which is said; the smallest of Debians has none.
    let refused = host.run("secmon", &["telegram", "test"]);
    assert_eq!(refused.code(), 2, "{refused}");
    assert!(refused.err().contains("ca-certificates"), "{refused}");
    host.write("/etc/ssl/certs/ca-certificates.crt", 0o644, &fs::read_to_string(AUTHORITIES).unwrap());
    for (name, unit) in UNITS {
        host.write(&format!("/etc/systemd/system/{name}"), 0o644, unit);
    }
    host.check("systemctl", &["daemon-reload"]);
    host.check("systemctl", &["start", HUB_UNIT]);
    eventually("the hub to answer", || (host.run("secmon", &["list", "--json"]).code() == 0).then_some(()));
    host.check("systemctl", &["enable", "--quiet", "--now", HTTP_UNIT, DISCORD_UNIT, TELEGRAM_UNIT]);

    // Made by root, read by the bridge.
    let state = "/var/lib/secmon-http";
    let token = host.check("secmon", &["http", "token", "add", "test", "--state-dir", state]);
    let answer = eventually("the bridge to answer", || {
        let answer = get(site, "/v1/nodes", token.trim());
        answer.out().starts_with("HTTP/1.1 200").then_some(answer)
    });
    assert!(answer.out().contains("\"nodes\""), "{answer}");
    assert!(get(site, "/v1/nodes", "nonsense").out().starts_with("HTTP/1.1 401"));

    for (unit, _) in UNITS {
        let log = host.check("journalctl", &["--quiet", "--output=cat", "--unit", unit]);
        assert_eq!(site.property(unit, "ActiveState"), "active", "{unit}: {log}");
        assert_eq!(site.property(unit, "NRestarts"), "0", "{unit}: {log}");
        assert!(!log.contains("a-secret") && !log.contains(token.trim()), "{log}");
    }
    for role in ["telegram", "discord"] {
        let folder = format!("/var/lib/secmon-{role}");
        let owned = host.check("stat", &["--format=%a %U", &folder, &format!("{folder}/notify.db")]);
        assert_eq!(owned, format!("700 secmon-{role}\n600 secmon-{role}"));
    }
    let files = UNITS.map(|(unit, _)| format!("/etc/systemd/system/{unit}"));
    let verified = host.run("systemd-analyze", &["verify", "--man=no", &files[0], &files[1], &files[2]]);
    assert_eq!(verified.code(), 0, "{verified}");
    let about_ours = verified.err().lines().filter(|line| line.contains("secmon")).count();
    assert_eq!(about_ours, 0, "{verified}");
    for (unit, _) in UNITS {
        let rated = host.run("systemd-analyze", &["security", "--no-pager", "--threshold=20", unit]);
        assert_eq!(rated.code(), 0, "{rated}");
    }
}

/// What the bridge of the host answers, head and body, as bash(1) gets it from its `/dev/tcp`.
#[track_caller]
fn get(site: &Site<'_>, path: &str, token: &str) -> Output {
    let script = "exec 3<>/dev/tcp/127.0.0.1/7380 && \
                  printf 'GET %s HTTP/1.1\\r\\nHost: 127.0.0.1:7380\\r\\nAuthorization: Bearer %s\\r\\nConnection: close\\r\\n\\r\\n' \
                  \"$0\" \"$1\" >&3 && cat <&3";
    site.host.run("bash", &["-c", script, path, token])
}
