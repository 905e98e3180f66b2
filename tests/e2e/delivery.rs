//! Delivery as its users are promised it, with the real processes: over kills nothing is lost, it comes in order, and what comes twice
//! was on its way.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use secmon_testkit::{
    fake::{
        discord::FakeDiscord,
        faults::Fault,
        webhook::{self, FakeWebhook},
    },
    json::{lines, text},
    product::{Hub, Integration, Lab, Node, NodeSetup, Place, arg},
    wait::eventually,
};

/// How a syslog daemon writes a line by RFC 3164; the date is any, the product takes the nearest year.
const FRAME: &str = "Nov 21 03:00:00 web1 sshd[4711]: ";
/// Logins are messages of their own and failures a digest that grows, however many.
const RULES: &str = "[notify]\nlimit = 'none'\nfirst_seen.enabled = false\n\
                     [notify.digest]\nafter = '1s'\nevery = '1s'\nwindow = '5s'\nlongest = '1h'\n";

/// A hub, a node whose auth log is a file, and two services.
struct Scene {
    hub: Hub<'static>,
    _node: Node<'static>,
    log: PathBuf,
    discord: FakeDiscord,
    webhook: FakeWebhook,
    lab: Lab,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new();
        let log = lab.write("auth.log", "");
        let hub = Hub::start(&lab, Place::Here);
        let node = Node::join(&lab, Place::Here, &hub, "web1", &NodeSetup::quiet(&lab).with_auth_file(&log));
        hub.wait_for_facet("web1", "auth_log", "ready");
        Self { hub, _node: node, log, discord: FakeDiscord::new(), webhook: FakeWebhook::new(), lab }
    }

    fn follow(&self) -> Integration<'static> {
        let secret = |name: &str, text: &str| format!("{:?}", arg(&self.lab.secret(name, text)));
        let config = format!(
            "{RULES}\n[[discord]]\nname = 'ops'\nurl_file = {}\n[[webhook]]\nname = 'siem'\nurl_file = {}\nsecret_file = {}\n",
            secret("discord.url", &self.discord.url()),
            secret("webhook.url", &self.webhook.url()),
            secret("webhook.secret", webhook::SECRET),
        );
        let mut integration = Integration::new(&self.lab, &self.hub, "discord", &config);
        integration.start();
        integration.wait_until_following();
        integration
    }

    fn logs(&self, messages: impl IntoIterator<Item = String>) {
        let mut file = OpenOptions::new().append(true).open(&self.log).unwrap();
        let all: String = messages.into_iter().map(|message| format!("{FRAME}{message}\n")).collect();
        file.write_all(all.as_bytes()).unwrap();
    }

    fn logins(&self, users: impl IntoIterator<Item = u32>) {
        self.logs(
            users
                .into_iter()
                .map(|n| format!("Accepted password for user{n} from 192.0.2.9 port 50000 ssh2")),
        );
    }

    /// Whose logins the webhook was told, as numbers, and by which ids.
    fn posted(&self) -> Vec<(u32, String)> {
        let posted = self.webhook.posted();
        let user = |post: &webhook::Posted| text(&post.body, "user.name").strip_prefix("user")?.parse().ok();
        posted.iter().filter_map(|post| Some((user(post)?, post.id.clone()))).collect()
    }
}

#[test]
fn killed_in_mid_burst_each_login_arrives_in_order_and_twice_only_what_was_on_its_way() {
    let scene = Scene::new();
    let mut integration = scene.follow();
    let (rounds, each) = (8, 15);
    for round in 0..rounds {
        let first = round * each;
        scene.logins(first..first + each);
        // Somewhere in it: when some of this round were told, or none.
        let some = first + round % 4 * 3;
        eventually("some of the burst", || (scene.posted().len() >= some as usize).then_some(()));
        integration.process().kill();
        if round % 3 == 1 {
            scene.webhook.faults.next("", Fault::CutAnswer);
        }
        integration.start();
    }
    let all = rounds * each;
    let posted = eventually("all logins", || {
        let posted = scene.posted();
        posted.iter().any(|(user, _)| *user == all - 1).then_some(posted)
    });
    let users: Vec<u32> = posted.iter().map(|(user, _)| *user).collect();
    assert!(users.is_sorted(), "{users:?}");
    assert_eq!(users.iter().copied().collect::<BTreeSet<_>>(), (0..all).collect());
    // Who keeps ids sees a login once.
    let ids: BTreeSet<&String> = posted.iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), all as usize);
    // One for each kill, and one for each answer that was cut off.
    let repeats = users.len() - ids.len();
    assert!(repeats <= 8 + 3, "{repeats} came twice: {users:?}");
    integration.wait_until_following();
    let output = integration.process().terminate();
    assert_eq!(output.code(), 0, "{output}");
}

#[test]
fn a_digest_goes_on_over_kills_as_one_message_that_counts_everything_once() {
    let scene = Scene::new();
    let mut integration = scene.follow();
    let failures = |from: u32, to: u32| {
        scene.logs(
            (from..to).map(|n| format!("Failed password for root from 198.51.100.{n} port 50000 ssh2")),
        );
    };
    failures(0, 20);
    eventually("the digest", || (!scene.discord.messages().is_empty()).then_some(()));
    failures(20, 40);
    // It is on the disk which message it is, or it could not be edited.
    eventually("it to grow", || (!scene.discord.messages()[0].before.is_empty()).then_some(()));
    for round in 2..6 {
        failures(round * 20, round * 20 + 20);
        integration.process().kill();
        integration.start();
        integration.wait_until_following();
    }
    let count = "120 in all";
    eventually("the end of the digest", || {
        let messages = scene.discord.messages();
        let footer = |body: &serde_json::Value| {
            body["embeds"][0]["footer"]["text"].as_str().unwrap_or_default().to_owned()
        };
        messages.iter().any(|message| footer(&message.body).contains(count)).then_some(())
    });
    let messages = scene.discord.messages();
    assert_eq!(messages.len(), 1, "{messages:#?}");
}

#[test]
fn what_waits_is_kept_from_others_and_what_was_set_aside_goes_when_it_is_asked_for() {
    let scene = Scene::new();
    scene.webhook.answer(Some(410.try_into().unwrap()));
    let integration = scene.follow();
    scene.logins([1]);
    let listed = eventually("what was set aside", || {
        let output = integration.notify(&["failed", "--json"]);
        assert_eq!(output.code(), 0, "{output}");
        lines(&output.stdout).pop()
    });
    assert_eq!(listed["destination"], "siem", "{listed:#}");
    assert!(text(&listed, "notice.title").contains("user1"), "{listed:#}");
    for file in fs::read_dir(integration.state()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    assert_eq!(fs::metadata(integration.state()).unwrap().permissions().mode() & 0o777, 0o700);

    let unknown = integration.notify(&["retry", "99"]);
    assert!(unknown.code() == 1 && unknown.err().contains("99"), "{unknown}");
    scene.webhook.answer(None);
    let retried = integration.notify(&["retry", &listed["id"].to_string()]);
    assert_eq!(retried.code(), 0, "{retried}");
    eventually("the login", || scene.posted().iter().any(|(user, _)| *user == 1).then_some(()));
    let empty = integration.notify(&["failed"]);
    assert!(empty.out().contains("nothing was set aside"), "{empty}");

    // One process at a time has it.
    let second = integration.command(&[]);
    assert!(second.code() == 1 && second.err().contains("another process"), "{second}");
    integration.process().terminate();
}
