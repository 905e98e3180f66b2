//! What a configuration may say, and what is said about one that makes no sense.

use super::*;

fn check(text: &str) -> Result<Settings, String> {
    let config: Config = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    config.check().map_err(|error| error.to_string())
}

#[track_caller]
fn refused(text: &str, said: &[&str]) {
    let error = check(text).expect_err(text);
    said.iter().for_each(|said| assert!(error.contains(said), "{text:?}: {error}"));
}

#[test]
fn an_empty_file_is_one_that_works() {
    let settings = check("").unwrap();
    assert_eq!(settings.listen, [Listen::Tcp(DEFAULT_LISTEN)]);
    assert_eq!((settings.limits.body, settings.unix_mode), (2 << 20, 0o660));
    assert!(settings.cors.is_empty() && settings.users.is_empty() && settings.tls.is_none());
}

#[test]
fn one_of_a_list_may_be_written_without_brackets() {
    let one = check(
        "listen = \"127.0.0.1:1\"\nhosts = \"monitor\"\ncors = \"https://a\"\n[proxy]\ntrusted = \"10.0.0.1\"",
    );
    let many = check(
        "listen = [\"127.0.0.1:1\"]\nhosts = [\"monitor\"]\ncors = [\"https://a\"]\n[proxy]\ntrusted = [\"10.0.0.1\"]",
    );
    assert_eq!(format!("{:?}", one.unwrap()), format!("{:?}", many.unwrap()));
    refused("listen = \"7380\"", &["\"7380\" is neither ADDR:PORT"]);
    refused("listen = 7380", &["a text in quotes"]);
}

#[test]
fn tokens_never_cross_a_network_in_the_clear() {
    for address in ["0.0.0.0:7380", "192.0.2.1:80", "[::]:7380", "[::ffff:192.0.2.1]:80"] {
        let listen = format!("listen = [\"127.0.0.1:1\", \"{address}\"]\n");
        refused(&listen, &["listen: ", address, "[tls] cert and key", "[proxy] trusted"]);
        check(&format!("{listen}[tls]\ncert = \"c\"\nkey = \"k\"")).unwrap();
        check(&format!("{listen}[proxy]\ntrusted = [\"10.0.0.1\", \"fd00::/8\"]")).unwrap();
    }
    check("listen = [\"127.0.0.1:0\", \"127.0.0.1:0\", \"[::1]:7380\", \"127.9.9.9:1\"]").unwrap();
    refused("[proxy]\ntrusted = [\"0.0.0.0/0\"]", &["proxy.trusted", "believe everybody"]);
    refused("[proxy]\ntrusted = [\"proxy\"]", &["\"proxy\" is neither an address"]);
    refused("[proxy]\nheader = \"via\"", &["x-forwarded-for", "forwarded"]);
}

#[test]
fn each_wrong_key_says_what_is_wrong_and_what_would_be_right() {
    refused("listen = [\"7380\"]", &["neither ADDR:PORT"]);
    refused("listen = [\"unix:\"]", &["needs a path"]);
    refused("listen = [\"unix:/no/such/folder/x.sock\"]", &["/no/such/folder", "RuntimeDirectory="]);
    refused(&format!("listen = [\"unix:/{}\"]", "x".repeat(107)), &["at most 107"]);
    refused("listen = [\"127.0.0.1:1\", \"127.0.0.1:1\"]", &["twice"]);
    refused("hosts = [\"https://monitor\"]", &["hosts: ", "without scheme and port"]);
    refused("hosts = [\"monitor:443\"]", &["without scheme and port"]);
    refused("hosts = [\"\"]", &["no name of a host"]);
    refused("cors = [\"*\"]", &["cors: ", "no origin"]);
    refused("cors = [\"https://a/\"]", &["no origin"]);
    refused("cors = [\"https://a@b\"]", &["no origin"]);
    refused("[limits]\nconnections = 0", &["limits.connections: 0 is not from 1"]);
    refused("[limits]\nbody = \"1GiB\"", &["limits.body"]);
    refused("[limits]\nbody = 5", &["string"]);
    refused("[limits]\nburst = 0", &["limits.burst"]);
    refused("[session]\nidle = \"1s\"", &["session.idle", "a minute to 400 days"]);
    refused("[unix]\nmode = \"0999\"", &["no mode"]);
    refused("[unix]\ngroup = \"no-such-group\"", &["unix.group", "no group called"]);
    refused("[tls]\ncert = \"c\"", &["missing field `key`"]);
    refused("tsl = 1", &["unknown field `tsl`"]);
    let settings =
        check("hosts = [\"Monitor.Example.org.\", \"[fd00::1]\"]\ncors = [\"https://a:8443\"]").unwrap();
    assert_eq!(settings.hosts.named, ["monitor.example.org", "fd00::1"]);
    assert_eq!(settings.cors, ["https://a:8443"]);
}

#[test]
fn a_rule_is_about_one_user_or_group_and_empties_nothing() {
    let settings = check(
        "[[users]]\nuser = \"root\"\nrole = \"viewer\"\n\
         [[users]]\nuid = 4100001\nrole = \"operator\"\nnodes = [\"web*\"]\ncommands = [\"restart-*\"]\n\
         [[users]]\ngroup = 7\nrole = \"admin\"\n",
    );
    let users = settings.unwrap().users;
    assert_eq!(
        users.iter().map(|rule| rule.whom).collect::<Vec<_>>(),
        [Whom::User(0), Whom::User(4_100_001), Whom::Group(7)]
    );
    for (rule, said) in [
        ("role = \"viewer\"", "one user or one group"),
        ("user = \"root\"\nuid = 1\nrole = \"viewer\"", "one user or one group"),
        ("user = \"no-such-user\"\nrole = \"viewer\"", "no user called \"no-such-user\""),
        ("uid = 65534\nrole = \"viewer\"", "everybody whom it cannot name"),
        ("uid = 1\nrole = \"root\"", "no role \"root\""),
        ("uid = 1\nrole = \"viewer\"\nnodes = []", "nodes is an empty list"),
        ("uid = 1\nrole = \"viewer\"\ncommands = [\"x\"]", "a viewer runs no commands"),
        ("uid = 1\nrole = \"operator\"\ncommands = [\"\"]", "1 to 256 bytes"),
    ] {
        refused(&format!("[[users]]\n{rule}"), &[said]);
    }
}
