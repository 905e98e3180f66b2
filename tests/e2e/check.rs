//! `secmon check`: what it says of an allowlist, and how it ends.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use secmon_testkit::{
    process::Process,
    product::{Lab, Place},
};

/// Exit code, stdout and stderr.
fn check(args: &[&Path]) -> (i32, String, String) {
    let ended = Process::run("check", Place::Here.secmon().arg("check").args(args));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (ended.code(), text(&ended.stdout), text(&ended.stderr))
}

#[test]
fn a_good_file_is_explained_and_a_bad_one_is_refused_with_its_place() {
    let lab = Lab::new();
    let good = "[commands.tail]\n\
                run = ['tail', '-n', '{lines}', '/var/log/{file}']\n\
                args.lines = { type = 'integer', min = 1, max = 1000, default = 100 }\n\
                args.file = { type = 'choice', values = ['syslog'] }\n";
    let path = lab.write("commands.toml", good);
    let (code, stdout, stderr) = check(&[&path]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("runs         tail -n <lines> /var/log/<file>\n"), "{stdout}");
    assert!(stdout.contains("<lines>      an integer from 1 to 1000; default \"100\"\n"), "{stdout}");
    assert!(stderr.ends_with("commands.toml: 1 command, 0 warnings\n"), "{stderr}");

    let path = lab.write("bad.toml", format!("{good}usr = 'nobody'\n"));
    let (code, stdout, stderr) = check(&[&path]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(
        stderr.contains("line 5, column 1: command \"tail\": unknown key \"usr\"; did you mean \"user\"?"),
        "{stderr}"
    );

    let path = lab.write("open.toml", good);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
    let (code, _, stderr) = check(&[&path]);
    assert!(code == 1 && stderr.contains("chmod go-w"), "{stderr}");

    let (code, _, stderr) = check(&[Path::new("/no/such/file")]);
    assert!(code == 1 && stderr.contains("there is no allowlist /no/such/file"), "{stderr}");
    let (code, ..) = check(&[Path::new("--no-such-flag")]);
    assert_eq!(code, 2);
}
