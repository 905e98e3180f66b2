use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use tempfile::TempDir;

use super::*;

const URL: &str = "https://discord.com/api/webhooks/123/t0ken";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn file(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
}

/// What a configuration comes to; `FOLDER` in it has a file of each kind.
fn read(text: &str) -> Result<Vec<String>, String> {
    let folder = TempDir::new().unwrap();
    for (name, text) in [
        ("discord", URL),
        ("plain", "http://example.com/hook/t0ken"),
        ("hook", "https://example.com/hook/t0ken"),
        ("secret", SECRET),
        ("weak", "t0ken"),
        ("topic", "https://ntfy.sh/t0ken"),
    ] {
        file(folder.path(), name, text);
    }
    let text = text.replace("FOLDER", folder.path().to_str().unwrap());
    let config: Config = toml::from_str(&text).map_err(|error| error.to_string())?;
    let client = secmon_notify::web::client().unwrap();
    let destinations = destinations(&config, &client).map_err(|error| error.to_string())?;
    Ok(destinations.iter().map(|it| format!("{} {:?} {}", it.name, it.service, it.service.edits())).collect())
}

#[test]
fn each_kind_of_destination_is_read_and_none_shows_its_secrets() {
    let all = read(
        r#"
        [[discord]]
        name = "ops"
        url_file = "FOLDER/discord"
        username = "secmon"
        avatar = "https://example.com/x.png"
        thread_id = "456"
        [[webhook]]
        name = "siem"
        url_file = "FOLDER/hook"
        secret_file = "FOLDER/secret"
        old_secret_file = "FOLDER/secret"
        headers = { "X-Env" = "prod" }
        form = "notice"
        [[webhook]]
        name = "home"
        url = "http://127.0.0.1:8123/api/webhook/x"
        unsigned = true
        [[ntfy]]
        name = "phone"
        url_file = "FOLDER/topic"
        updates = true
        [[ntfy]]
        name = "own"
        url = "https://ntfy.example.com/alerts"
        token_file = "FOLDER/weak"
        "#,
    )
    .unwrap();
    insta::assert_snapshot!(all.join("\n"), @r#"
        ops Webhook { id: "123", thread: Some("456"), .. } true
        siem Receiver { host: Some("example.com"), form: Notice, .. } false
        home Receiver { host: Some("127.0.0.1"), form: Event, .. } false
        phone Ntfy { topic: Topic { host: Some("ntfy.sh"), .. }, updates: true, .. } true
        own Ntfy { topic: Topic { host: Some("ntfy.example.com"), .. }, updates: false, .. } false
        "#);
}

#[test]
fn what_makes_no_sense_is_refused_with_key_and_remedy_and_without_secrets() {
    for (text, words) in [
        ("", "nobody to tell"),
        ("[[discord]]\nname = 'x'", "credential `discord-x`"),
        ("[[discord]]\nname = 'a b'\nurl_file = 'FOLDER/discord'", "`name` must be"),
        ("[[discord]]\nname = 'x'\nurl_file = 'FOLDER/hook'", "`url_file` is not that of a webhook"),
        ("[[discord]]\nname = 'x'\nurl_file = 'FOLDER/discord'\nthread_id = 'abc'", "`thread_id` is \"abc\""),
        (
            "[[discord]]\nname = 'x'\nurl_file = 'FOLDER/discord'\nusername = 'My Discord'",
            "`username` holds `discord`",
        ),
        (
            "[[discord]]\nname = 'x'\nurl_file = 'FOLDER/discord'\navatar = 'http://a.example/'",
            "`avatar` is http",
        ),
        (
            "[[discord]]\nname = 'x'\nurl_file = 'FOLDER/discord'\n[[ntfy]]\nname = 'x'\nurl_file = 'FOLDER/topic'",
            "[[ntfy]] \"x\": `name` is another",
        ),
        ("[[discord]]\nname = 'x'\nurl = 'https://discord.com/api/webhooks/1/t0ken'", "unknown field `url`"),
        ("[[webhook]]\nname = 'x'\nurl_file = 'FOLDER/plain'\nunsigned = true", "`url_file` is http"),
        ("[[webhook]]\nname = 'x'\nurl_file = 'FOLDER/hook'", "credential `webhook-x-secret`"),
        ("[[webhook]]\nname = 'x'\nurl_file = 'FOLDER/hook'\nsecret_file = 'FOLDER/weak'", "is 5 bytes long"),
        (
            "[[webhook]]\nname = 'x'\nurl_file = 'FOLDER/hook'\nurl = 'https://a.example'\nunsigned = true",
            "`url` stands beside `url_file`",
        ),
        (
            "[[webhook]]\nname = 'x'\nurl_file = 'FOLDER/hook'\nunsigned = true\nsecret_file = 'FOLDER/secret'",
            "`secret_file` stands beside",
        ),
        (
            "[[webhook]]\nname = 'x'\nurl_file = 'FOLDER/hook'\nunsigned = true\nheaders = { Authorization = 't0ken' }",
            "`headers.Authorization` would have a secret",
        ),
        (
            "[[webhook]]\nname = 'x'\nurl_file = 'FOLDER/hook'\nunsigned = true\nheaders = { webhook-id = '1' }",
            "secmon sets itself",
        ),
        ("[[webhook]]\nname = 'x'\nurl = 'https://a.example'\nform = 'xml'", "unknown variant `xml`"),
        ("[[ntfy]]\nname = 'x'\nurl = 'https://ntfy.sh'", "does not end in a topic"),
        (
            "[[ntfy]]\nname = 'x'\nurl = 'https://ntfy.sh/a'\ntoken_file = 'FOLDER/missing'",
            "cannot read the access token",
        ),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains(words), "{text}\n{error}");
        let own = error.lines().next().unwrap_or_default();
        assert!(!own.contains("t0ken"), "{error}");
    }
}
