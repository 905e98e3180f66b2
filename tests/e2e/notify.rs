//! Delivery at least once: a role that tells others is killed over and over, its services are slow and cut it off, and still all of it
//! arrives, in order, and what comes twice was on its way.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use secmon_testkit::{
    fake::{
        discord::{FakeDiscord, Limit},
        faults::{Fault, Faults},
        webhook::{self, FakeWebhook},
    },
    json::text,
    product::{Hub, Integration, Lab, Node, NodeSetup, Place, arg},
    wait::eventually,
};

/// Kills of the role; between two of them it gets somewhere.
const KILLS: usize = 12;
/// Logins behind each.
const BURST: usize = 15;

/// Requests are slow, and some get no whole answer, or none.
fn disturb(faults: &Faults, random: &mut StdRng) {
    for _ in 0..BURST {
        faults.next(
            "",
            // Each that never arrives costs a pause of a second or two.
            match random.random_range(0..32) {
                0 => Fault::Cut,
                1..=4 => Fault::CutAnswer,
                _ => Fault::Slow(Duration::from_millis(random.random_range(1..25))),
            },
        );
    }
}

fn number(user: &str) -> usize {
    user.strip_prefix("user")
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("who is {user}?"))
}

/// All of them, in order; each that comes again comes at once behind itself, for nothing else was on its way.
#[track_caller]
fn complete(what: &str, numbers: &[usize], expected: usize, repeats: usize) {
    assert_eq!(numbers.first(), Some(&0), "{what}: {numbers:?}");
    for pair in numbers.windows(2) {
        assert!(pair[1] == pair[0] || pair[1] == pair[0] + 1, "{what}: {pair:?} in {numbers:?}");
    }
    assert_eq!(numbers.last(), Some(&(expected - 1)), "{what}");
    let twice = numbers.len() - expected;
    assert!(
        twice <= repeats,
        "{what}: {twice} repeats, and only {repeats} could be on their way: {numbers:?}"
    );
}

#[test]
fn killed_in_the_middle_of_bursts_over_and_over_it_tells_every_login_in_order() {
    let mut random = StdRng::seed_from_u64(6);
    let lab = Lab::new();
    let log = lab.write("auth.log", "");
    let mut hub = Hub::start(&lab, Place::Here);
    let _node = Node::join(&lab, Place::Here, &hub, "web1", &NodeSetup::quiet(&lab).with_auth_file(&log));
    hub.wait_for_facet("web1", "auth_log", "ready");
    let (webhook, discord) = (FakeWebhook::new(), FakeDiscord::new());
    discord.limit(Limit { requests: 5, window: Duration::from_millis(200) });
    let (secret, url) = (lab.secret("secret", webhook::SECRET), lab.secret("url", &discord.url()));
    let config = format!(
        "[notify]\nlimit = 'none'\n\
         [[webhook]]\nname = 'siem'\nurl = '{}'\nsecret_file = {:?}\n\
         [[discord]]\nname = 'ops'\nurl_file = {:?}\n",
        webhook.url(),
        arg(&secret),
        arg(&url),
    );
    let mut role = Integration::new(&lab, &hub, "discord", &config);
    role.start();
    role.wait_until_following();

    let mut file: File = OpenOptions::new().append(true).open(&log).unwrap();
    let mut written = 0;
    for kill in 0..KILLS {
        disturb(&webhook.faults, &mut random);
        disturb(&discord.faults, &mut random);
        for _ in 0..BURST {
            writeln!(
                file,
                "Nov 21 03:00:00 web1 sshd[4711]: Accepted password for user{written} from 192.0.2.9 port 50000 ssh2"
            )
            .unwrap();
            written += 1;
        }
        // Somewhere in the middle: at the first request of a burst, or while the last is on its way.
        let enough = (written - random.random_range(0..=BURST)).min(written - 1);
        eventually("the role to get on", || (webhook.posted().len() >= enough).then_some(()));
        role.process().kill();
        if kill == KILLS / 2 {
            // What the hub had told was told by it for good.
            hub.process().kill();
            hub.start_again();
        }
        role.start();
    }
    let users = || -> Vec<usize> {
        webhook.posted().iter().map(|post| number(text(&post.body, "user.name"))).collect()
    };
    let told = || -> Vec<usize> {
        let messages = discord.messages();
        let user = |message: &secmon_testkit::fake::discord::Message| {
            let fields = message.body["embeds"][0]["fields"].as_array().cloned().unwrap_or_default();
            let field = fields.into_iter().find(|field| field["name"] == "user");
            number(field.unwrap_or_else(|| panic!("{message:#?}"))["value"].as_str().unwrap())
        };
        messages.iter().filter(|message| message.title().contains("user")).map(user).collect()
    };
    eventually("the last login at the webhook", || (users().last() == Some(&(written - 1))).then_some(()));
    eventually("the last login at Discord", || (told().last() == Some(&(written - 1))).then_some(()));
    complete("webhook", &users(), written, KILLS);
    complete("Discord", &told(), written, KILLS);
    // The same notice has the same id whenever it comes.
    for pair in webhook.posted().windows(2) {
        assert_eq!(
            pair[0].id == pair[1].id,
            text(&pair[0].body, "user.name") == text(&pair[1].body, "user.name")
        );
    }
    assert_eq!(webhook.refused(), [""; 0]);
    assert!(
        discord.statuses().iter().all(|status| *status == 200 || *status == 429),
        "{:?}",
        discord.statuses()
    );
    let listed = role.notify(&["failed"]);
    assert!(!listed.out().contains("user"), "nothing was set aside\n{listed}");
}
