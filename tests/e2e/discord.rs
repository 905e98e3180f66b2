//! `secmon discord`: what happens on a node arrives at Discord, at a webhook and at ntfy, as their users are promised.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::PathBuf,
};

use secmon_testkit::{
    fake::{
        discord::{self, FakeDiscord},
        faults::Fault,
        ntfy::{self, FakeNtfy},
        webhook::{self, FakeWebhook},
    },
    json::text,
    process::Output,
    product::{Hub, Integration, Lab, Node, NodeSetup, Place, arg},
    wait::eventually,
};

/// How a syslog daemon writes a line by RFC 3164; the date is any, the product takes the nearest year.
const FRAME: &str = "Nov 21 03:00:00 web1 sshd[4711]: ";

/// A hub, a node whose auth log is a file, and the three services.
struct Scene {
    lab: Lab,
    hub: Hub<'static>,
    _node: Node<'static>,
    log: PathBuf,
    discord: FakeDiscord,
    webhook: FakeWebhook,
    ntfy: FakeNtfy,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new();
        let log = lab.write("auth.log", "");
        let hub = Hub::start(&lab, Place::Here);
        let node = Node::join(&lab, Place::Here, &hub, "web1", &NodeSetup::quiet(&lab).with_auth_file(&log));
        hub.wait_for_facet("web1", "auth_log", "ready");
        let (discord, webhook, ntfy) = (FakeDiscord::new(), FakeWebhook::new(), FakeNtfy::new());
        Self { lab, hub, _node: node, log, discord, webhook, ntfy }
    }

    fn integration(&self, notify: &str) -> Integration<'static> {
        let secret = |name: &str, text: &str| {
            let path = self.lab.secret(name, text);
            format!("{:?}", arg(&path))
        };
        let config = format!(
            "{notify}\n\
             [[discord]]\nname = 'ops'\nurl_file = {}\n\
             [[webhook]]\nname = 'siem'\nurl_file = {}\nsecret_file = {}\n\
             [[ntfy]]\nname = 'phone'\nurl_file = {}\ntoken_file = {}\n",
            secret("discord.url", &self.discord.url()),
            secret("webhook.url", &self.webhook.url()),
            secret("webhook.secret", webhook::SECRET),
            secret("ntfy.url", &self.ntfy.url()),
            secret("ntfy.token", ntfy::TOKEN),
        );
        Integration::new(&self.lab, &self.hub, "discord", &config)
    }

    fn follow(&self, notify: &str) -> Integration<'static> {
        let mut integration = self.integration(notify);
        integration.start();
        integration.wait_until_following();
        integration
    }

    /// sshd logs.
    fn logs(&self, message: &str) {
        let mut file = OpenOptions::new().append(true).open(&self.log).unwrap();
        writeln!(file, "{FRAME}{message}").unwrap();
    }

    fn login(&self, user: &str) {
        self.logs(&format!("Accepted password for {user} from 192.0.2.9 port 50000 ssh2"));
    }

    fn wait_for_posts(&self, count: usize) -> Vec<webhook::Posted> {
        eventually(&format!("{count} posts"), || Some(self.webhook.posted()).filter(|all| all.len() >= count))
    }

    fn wait_for_messages(&self, count: usize) -> Vec<discord::Message> {
        eventually(&format!("{count} messages"), || {
            Some(self.discord.messages()).filter(|all| all.len() >= count)
        })
    }
}

/// Nothing that keeps others out is in what the program printed.
#[track_caller]
fn without_secrets(output: &Output) {
    let printed = format!("{}{}", output.out(), output.err());
    for secret in [discord::TOKEN, ntfy::TOPIC, ntfy::TOKEN, webhook::SECRET, "MfKQ9r8GKYqrTwj", "/hook"] {
        assert!(!printed.contains(secret), "{secret} is in\n{printed}");
    }
}

#[test]
fn a_login_is_told_to_discord_a_webhook_and_ntfy_and_a_hostile_name_is_text_there() {
    let scene = Scene::new();
    let mut integration = scene.follow("").with_env("RUST_LOG", "trace");
    integration.process().terminate();
    // Once more, with all that it can log.
    integration.start();
    integration.wait_until_following();
    scene.login("@everyone");

    let message = scene.wait_for_messages(1).remove(0);
    let embed = &message.body["embeds"][0];
    assert!(message.title().contains(r"\@everyone") && message.title().contains("web1"), "{embed:#}");
    assert_eq!(message.body.get("content"), None);
    let fields = embed["fields"].as_array().unwrap();
    assert!(fields.iter().any(|field| field["value"] == r"\@everyone"), "{embed:#}");

    let post = scene.wait_for_posts(1).remove(0);
    assert_eq!(text(&post.body, "secmon.type"), "auth.accepted", "{:#}", post.body);
    assert_eq!(text(&post.body, "user.name"), "@everyone");
    assert_eq!(text(&post.body, "event.id"), text(&post.body, "secmon.notice.id"), "{:#}", post.body);
    let told = eventually("ntfy's message", || scene.ntfy.messages().pop());
    assert!(text(&told, "title").contains("@everyone"), "{told}");

    let output = integration.process().terminate();
    assert_eq!(output.code(), 0, "{output}");
    without_secrets(&output);
    assert_eq!(scene.webhook.refused(), [""; 0]);
}

#[test]
fn what_a_service_wants_later_comes_later_and_in_order() {
    let scene = Scene::new();
    let integration = scene.follow("");
    let body =
        r#"{"message": "You are being rate limited.", "retry_after": 0.2, "global": false}"#.to_owned();
    let busy =
        Fault::Answer { status: 429.try_into().unwrap(), headers: Default::default(), body: body.clone() };
    let gateway =
        Fault::Answer { status: 502.try_into().unwrap(), headers: Default::default(), body: String::new() };
    scene.discord.faults.times(2, "", &busy);
    scene.discord.faults.next("", Fault::Cut);
    scene.webhook.faults.next("", gateway);
    for n in 0..5 {
        scene.login(&format!("user{n}"));
    }
    let messages = scene.wait_for_messages(5);
    for (n, message) in messages.iter().enumerate() {
        assert!(message.title().contains(&format!("user{n}")), "{n}: {}", message.title());
    }
    let posts = scene.wait_for_posts(5);
    let users: Vec<&str> = posts.iter().map(|post| text(&post.body, "user.name")).collect();
    assert_eq!(users, ["user0", "user1", "user2", "user3", "user4"]);
    assert_eq!(scene.discord.faults.left() + scene.webhook.faults.left(), 0);
    without_secrets(&integration.process().terminate());
}

#[test]
fn a_deleted_webhook_costs_the_others_nothing_and_what_was_for_it_is_listed() {
    let scene = Scene::new();
    scene.discord.delete_webhook();
    let integration = scene.follow("");
    scene.login("alice");
    scene.wait_for_posts(1);
    let listed = eventually("what failed", || {
        let output = integration.notify(&["failed"]);
        output.out().contains("alice").then_some(output)
    });
    assert!(listed.out().contains("ops") && listed.out().contains("make the webhook anew"), "{listed}");
    without_secrets(&listed);
    let output = integration.process().terminate();
    assert!(output.err().contains("Unknown Webhook"), "{output}");
    without_secrets(&output);
    assert_eq!(scene.discord.statuses(), [404]);
}

#[test]
fn a_burst_is_one_message_that_grows_and_one_at_the_end_where_nothing_can_be_edited() {
    let scene = Scene::new();
    let integration =
        scene.follow("[notify.digest]\nafter = '1s'\nevery = '1s'\nwindow = '6s'\nlongest = '1m'\n");
    for n in 0..20 {
        scene.logs(&format!("Failed password for root from 192.0.2.{n} port 50000 ssh2"));
    }
    scene.wait_for_messages(1);
    for n in 20..40 {
        scene.logs(&format!("Failed password for admin from 192.0.2.{n} port 50000 ssh2"));
    }
    let message = eventually("the end of the digest", || {
        let message = scene.discord.messages().remove(0);
        let footer = message.body["embeds"][0]["footer"]["text"].as_str().unwrap_or_default().to_owned();
        footer.ends_with("40 in all").then_some(message)
    });
    assert!(!message.before.is_empty(), "it was never edited: {message:#?}");
    assert_eq!(scene.discord.messages().len(), 1);
    // The webhook was told that it begins, and what it came to.
    let titles = || -> Vec<String> {
        let posted = scene.webhook.posted();
        posted.iter().map(|post| text(&post.body, "secmon.notice.title").to_owned()).collect()
    };
    eventually("the summary", || titles().last()?.starts_with("40 failed logins").then_some(()));
    assert_eq!(titles().len(), 2, "{:?}", titles());
    without_secrets(&integration.process().terminate());
}

#[test]
fn a_sample_goes_to_all_or_to_one_and_says_what_is_wrong() {
    let scene = Scene::new();
    let integration = scene.integration("");
    let all = integration.command(&["test"]);
    assert_eq!(all.code(), 0, "{all}");
    assert_eq!(all.out(), "ops: sent\nsiem: sent\nphone: sent\n");
    let (told, posted) = (scene.discord.messages().len(), scene.webhook.posted().len());
    assert!(told > 0 && posted > 0 && !scene.ntfy.messages().is_empty());
    assert!(scene.discord.messages()[0].title().contains("test"), "{:#?}", scene.discord.messages()[0]);

    scene.discord.delete_webhook();
    let one = integration.command(&["test", "siem"]);
    assert_eq!((one.code(), one.out().as_str()), (0, "siem: sent\n"), "{one}");
    assert_eq!(scene.discord.messages().len(), told);
    let failed = integration.command(&["test"]);
    assert_eq!(failed.code(), 1, "{failed}");
    assert!(failed.err().contains("ops: ") && failed.err().contains("Unknown Webhook (10015)"), "{failed}");
    let nobody = integration.command(&["test", "nobody"]);
    assert_eq!(nobody.code(), 2, "{nobody}");
    assert!(nobody.err().contains("ops, siem, phone"), "{nobody}");
    for output in [&all, &one, &failed, &nobody] {
        without_secrets(output);
    }
}

#[test]
fn a_mistake_in_the_configuration_is_told_before_anything_is_connected_to() {
    let scene = Scene::new();
    let url = scene.lab.secret("open.url", &scene.discord.url());
    fs::set_permissions(&url, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let file = format!("[[discord]]\nname = 'ops'\nurl_file = {:?}", arg(&url));
    for (config, words) in [
        (file.as_str(), "chmod 600"),
        ("", "nobody to tell"),
        ("[[discord]]\nname = 'ops'\nurlfile = 'x'", "url_file"),
        ("[[ntfy]]\nname = 'x'\nurl = 'http://ntfy.example.com/t'", "use https"),
        ("[notify]\nzone = 'Mars/Olympus'\n[[ntfy]]\nname = 'x'\nurl = 'https://ntfy.sh/t'", "Mars/Olympus"),
    ] {
        let mut integration = Integration::new(&scene.lab, &scene.hub, "discord", config);
        let output = integration.start().wait();
        assert_ne!(output.code(), 0, "{config}\n{output}");
        assert!(output.err().contains(words), "{config}\n{output}");
        without_secrets(&output);
    }
    assert!(scene.discord.statuses().is_empty());
}

#[test]
fn secrets_may_be_credentials_of_systemd() {
    let scene = Scene::new();
    for (name, text) in [
        ("discord-ops", scene.discord.url()),
        ("webhook-siem", scene.webhook.url()),
        ("webhook-siem-secret", webhook::SECRET.to_owned()),
        ("ntfy-phone", scene.ntfy.url()),
        ("ntfy-phone-token", ntfy::TOKEN.to_owned()),
    ] {
        // In that folder systemd keeps them from others, whatever their mode.
        scene.lab.write(name, text);
    }
    let config = "[[discord]]\nname = 'ops'\n[[webhook]]\nname = 'siem'\n[[ntfy]]\nname = 'phone'\n";
    let integration = Integration::new(&scene.lab, &scene.hub, "discord", config);
    let without = integration.command(&["test"]);
    assert_eq!(without.code(), 2, "{without}");
    assert!(without.err().contains("`discord-ops`"), "{without}");
    let folder = scene.lab.path("");
    let output = integration.with_env("CREDENTIALS_DIRECTORY", arg(&folder)).command(&["test"]);
    assert_eq!(output.code(), 0, "{output}");
    without_secrets(&output);
}
