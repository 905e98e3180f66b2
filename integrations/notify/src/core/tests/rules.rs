//! What the rules say, and who is new.

use secmon_protocol::{
    facet::{FacetId, FacetStatus, Unavailable},
    session::{Session, SessionKind},
};

use super::{super::samples, *};

fn accepted(n: u8, seconds: i64, user: &str, from: &str) -> Event {
    auth(n, at(seconds), AuthAction::Accepted, user, from)
}

#[test]
fn the_first_rule_that_matches_decides_the_destinations_own_before_those_of_all() {
    let own = "rules = [
        { user = 'backup', source = '10.0.0.0/8', action = 'drop' },
        { node = 'web-2', type = 'auth.accepted', severity = 'critical' },
    ]";
    let mut world = World::with(
        "rules = [{ type = 'auth.*', not_source = ['10.0.0.0/8', '2001:db8::/32'], severity = 'warning' }]\n\
         first_seen.enabled = false",
        &[("chat", true, own), ("mail", false, "min_severity = 'warning'")],
    );
    let mut severities = |event: Event| -> Vec<(String, Severity)> {
        world.event(&event);
        world.told().into_iter().map(|told| (told.to, told.notice.severity)).collect()
    };
    assert_eq!(severities(accepted(1, 1, "backup", "10.1.2.3")), []);
    assert_eq!(severities(accepted(1, 2, "alice", "10.1.2.3")), [("chat".to_owned(), Severity::Info)]);
    assert_eq!(
        severities(accepted(1, 3, "backup", "192.0.2.1")),
        [("chat".to_owned(), Severity::Warning), ("mail".to_owned(), Severity::Warning)]
    );
    assert_eq!(severities(accepted(2, 4, "alice", "10.1.2.3")), [("chat".to_owned(), Severity::Critical)]);
}

#[test]
fn each_condition_of_a_rule_counts() {
    let conditions = [
        ("user = ['al*', 'bob']", true),
        ("not_user = 'alice'", false),
        ("user = 'bob'", false),
        ("target_user = 'root'", false),
        ("node = '01010101-0101-0101-0101-010101010101'", true),
        ("not_node = 'web-*'", false),
        ("source = '192.0.2.7'", true),
        ("source = '192.0.2.8'", false),
        ("service = 'sshd'", true),
        ("kind = 'interactive'", false),
        ("first_seen = true", true),
        ("first_seen = false", false),
        ("min_severity = 'warning'", false),
        ("forged = true", false),
        ("without_auth_log = false", true),
        ("time = { days = 'fri', from = '11:00', to = '13:00' }", true),
        ("time = { days = 'mon-thu', from = '11:00', to = '13:00' }", false),
        ("time = { from = '13:00', to = '13:30', zone = 'XXX-1' }", true),
    ];
    for (condition, matches) in conditions {
        let mut world = World::new(&format!("defaults = false\nrules = [{{ {condition} }}]"));
        world.event(&accepted(1, 1, "alice", "192.0.2.7"));
        assert_eq!(!world.told().is_empty(), matches, "{condition}");
    }
}

#[test]
fn who_was_never_seen_is_said_to_be_new_once_and_not_after_a_restart() {
    let mut world = World::new("");
    world.give(at(1), Input::Past(&accepted(1, 0, "alice", "192.0.2.9")));
    assert_eq!(world.told(), []);
    world.event(&accepted(1, 2, "alice", "192.0.2.200"));
    assert_eq!(world.told()[0].notice.severity, Severity::Info, "the same network");
    world.event(&accepted(1, 3, "alice", "198.51.100.1"));
    let told = world.told();
    assert_eq!(told[0].notice.severity, Severity::Warning);
    assert_eq!(told[0].notice.text, "first time: alice from 198.51.100.0/24 on web-1");
    world.restart();
    world.event(&accepted(1, 4, "alice", "198.51.100.1"));
    world.event(&accepted(2, 5, "alice", "198.51.100.1"));
    let told: Vec<Severity> = world.told().iter().map(|told| told.notice.severity).collect();
    assert_eq!(told, [Severity::Info, Severity::Warning], "on another node she is new");
}

/// Whoever can write to the log as sshd does could make himself known before he comes.
#[test]
fn a_forged_line_teaches_nothing() {
    let mut world = World::new("");
    let mut forged = accepted(1, 1, "mallory", "192.0.2.66");
    if let Detail::Auth(e) = &mut forged.detail {
        e.trusted = Some(false);
    }
    world.event(&forged);
    assert!(world.told()[0].notice.title.contains("FORGED"));
    world.event(&accepted(1, 2, "mallory", "192.0.2.66"));
    assert!(world.told()[0].notice.text.starts_with("first time: mallory"));
}

#[test]
fn those_not_seen_for_longest_are_forgotten_first_and_a_login_of_each_day_is_written_once() {
    let mut world = World::new("first_seen.remember = 1000\nlimit = 'none'");
    for i in 0..1_000 {
        world.event(&accepted(1, i, &format!("user{i}"), "192.0.2.1"));
    }
    assert_eq!(world.seen.len(), 1_000);
    // The first of them comes again, two days later; then a further one pushes ten out.
    world.event(&accepted(1, 200_000, "user0", "192.0.2.1"));
    world.event(&accepted(1, 200_001, "new", "192.0.2.1"));
    assert_eq!(world.seen.len(), 990);
    world.told();
    world.event(&accepted(1, 200_002, "user0", "192.0.2.1"));
    world.event(&accepted(1, 200_003, "user1", "192.0.2.1"));
    let new: Vec<bool> = world.told().iter().map(|told| told.notice.text.contains("first time")).collect();
    assert_eq!(new, [false, true]);
}

#[test]
fn sessions_are_told_only_where_no_auth_log_says_who_logs_in() {
    let mut world = World::new("");
    let status = |status| Detail::Facet(FacetId::AUTH_LOG, status);
    let why = Unavailable { reason: "no log".into(), remedy: String::new() };
    let opened = |seconds, kind| {
        let session = Session { kind, remote: None, ..samples::session(at(seconds)) };
        event(1, at(seconds), Detail::Session(EventType::SessionOpened, "c1".into(), session))
    };
    use secmon_protocol::event::EventType;
    world.event(&opened(1, SessionKind::Interactive));
    assert_eq!(world.told(), []);
    world.event(&event(1, at(2), status(FacetStatus::Unavailable(why))));
    world.restart();
    world.event(&opened(3, SessionKind::Interactive));
    world.event(&opened(4, SessionKind::Background));
    assert_eq!(world.titles(), ["3 web-1: alice logged in on pts/0 (logind)"]);
    world.event(&event(1, at(5), status(FacetStatus::Ready)));
    world.told();
    world.event(&opened(6, SessionKind::Interactive));
    assert_eq!(world.told(), []);
}

#[test]
fn templates_say_it_in_other_words() {
    let mut world = World::new(
        r#"
        template = "{{ notice.severity|upper }} {{ notice.title }}\n{{ user.name }} via {{ secmon.ssh.method }} from {{ source.ip }}"
        [[rules]]
        type = "auth.accepted"
        user = "bob"
        template = "Bob{% if notice.first_seen %}, for the first time{% endif %} at {{ host.name }}"
        "#,
    );
    world.event(&accepted(1, 1, "bob", "192.0.2.1"));
    world.event(&accepted(1, 2, "al\u{1b}[31mice", "192.0.2.1"));
    let told = world.told();
    assert_eq!(
        (told[0].notice.title.as_str(), told[0].notice.text.as_str()),
        ("Bob, for the first time at web-1", "")
    );
    assert_eq!(
        told[1].notice.title,
        "WARNING web-1: accepted password for al\\x1b[31mice from 192.0.2.1 port 50022"
    );
    assert_eq!(told[1].notice.json["secmon"]["notice"]["title"], told[1].notice.title);
    assert_eq!(told[1].notice.text, "al\\x1b[31mice via password from 192.0.2.1");
}

/// A field that an event has not is empty, a template that fails all the same falls back.
#[test]
fn a_template_that_fails_leaves_our_words_and_says_so() {
    let mut world = World::new(
        "template = '''{% if user.name == 'loop' %}{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}{% endif %}about {{ user.name }}'''",
    );
    let mut somebody = accepted(1, 1, "x", "192.0.2.1");
    if let Detail::Auth(e) = &mut somebody.detail {
        (e.user, e.source) = (None, None);
    }
    world.event(&somebody);
    world.event(&accepted(1, 2, "loop", "192.0.2.1"));
    let told = world.told();
    assert_eq!(told[0].notice.title, "about");
    assert_eq!(told[1].notice.title, "web-1: accepted password for loop from 192.0.2.1 port 50022");
    assert!(told[1].notice.text.contains("(the template failed: "), "{}", told[1].notice.text);
}

#[test]
fn what_makes_no_sense_is_refused_with_the_place_and_the_reason() {
    let cases = [
        ("rules = [{ type = 'auth.acepted' }]", "rule 1 of [notify]: no event has the type \"auth.acepted\""),
        ("rules = [{ action = 'digest', severity = 'critical' }]", "told at once and in full"),
        ("rules = [{ group_by = 'node' }]", "group_by is for rules with action = \"digest\""),
        ("rules = [{ name = ' ' }]", "a name has 1 to 60 characters"),
        ("zone = 'Middle/Earth'", "zone \"Middle/Earth\" is not known here"),
        ("rules = [{ time = { zone = 'Nowhere' } }]", "rule 1 of [notify]: zone \"Nowhere\""),
        ("first_seen.ipv4 = 33", "[notify.first_seen] ipv4"),
        ("first_seen.remember = 1", "remember is from 1000"),
        ("digest = { after = '1h', window = '1m' }", "chat: digest: "),
        ("template = '{{ user.nmae }}'", "chat: the template makes no sense"),
        ("template = '{{ user.name'", "the template makes no sense"),
        ("rules = [{ template = '{{ user.nmae }}' }]", "rule 1 of [notify]: the template makes no sense"),
        ("template = '{% if user.name == \"x\" %}x{% endif %}'", "the template says nothing of"),
        ("template = '{{ range(9999999)|join }}'", "the template makes no sense"),
        ("limit = '5'", "is no limit, such as \"30/10m\""),
        ("rules = [{ sevrity = 'info' }]", "unknown field `sevrity`"),
        ("rules = [{ source = '10.0.0/8' }]", "is no network, such as \"10.0.0.0/8\""),
        ("quiet = { from = '8' }", "is no time of the day"),
    ];
    for (toml, reason) in cases {
        let said = refused(toml);
        assert!(said.contains(reason), "{toml}: {said}");
    }
}

#[test]
fn the_examples_of_the_documentation_are_understood() {
    #[derive(serde::Deserialize)]
    struct File {
        notify: NotifySection,
    }
    let page = include_str!("../../../../../docs/notify.md");
    let mut examples = vec![String::new()];
    for line in page.lines() {
        match line.strip_prefix("    ") {
            Some(code) => examples.last_mut().unwrap().push_str(&format!("{code}\n")),
            None if line.is_empty() => examples.last_mut().unwrap().push('\n'),
            None => examples.push(String::new()),
        }
    }
    examples.retain(|example| example.trim_start().starts_with("[notify]"));
    assert_eq!(examples.len(), 3);
    for example in examples {
        let mut file: File = toml::from_str(&example).unwrap();
        file.notify.zone = None;
        let target = Target { name: "chat".to_owned(), section: Default::default(), edits: true };
        Core::new(&file.notify, &[target], Memory::default(), [], at(0)).unwrap();
    }
}

/// It said `undefined value`, and not which.
#[test]
fn a_name_in_a_template_that_nothing_has_is_named() {
    let reason = refused("template = '{{ usr.name }} {{ user.name }}'");
    assert!(reason.contains("nothing has usr.name") && !reason.contains(" user.name"), "{reason}");
}
