use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn error(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

fn write(dir: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("commands.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn both_forms_say_the_same() {
    let toml = "# c\n[commands.greet]\nrun = ['echo', 'hello world', '']\n";
    let lines = "# c\n\n greet = echo 'hello world' \"\"\n";
    assert_eq!(parse(toml).unwrap(), parse(lines).unwrap());
    assert_eq!(parse(toml).unwrap()["greet"].argv, ["echo", "hello world", ""]);
    assert_eq!(parse("# nothing\n").unwrap(), Entries::new());
}

#[test]
fn a_command_may_run_as_long_as_its_entry_says() {
    let of = |timeout: &str| parse(&format!("[commands.x]\nrun = ['id']\ntimeout = '{timeout}'\n"));
    assert_eq!(of("90s").unwrap()["x"].timeout, Duration::from_secs(90));
    assert_eq!(of("24h").unwrap()["x"].timeout, MAX_TIMEOUT);
    for wrong in ["0s", "-1s", "25h", "soon", "30"] {
        assert!(of(wrong).unwrap_err().to_string().contains(wrong), "{wrong}");
    }
    assert_eq!(parse("x=id").unwrap()["x"].timeout, DEFAULT_TIMEOUT);
}

#[test]
fn what_only_a_shell_would_understand_is_refused_and_not_passed_on() {
    for line in [
        "a=ls | wc",
        "a=ls;id",
        "a=ls > /x",
        "a=echo $HOME",
        "a=echo \"$HOME\"",
        "a=x && y",
        "a=echo `id`",
        "a=ls *.log",
        "a=ls ~",
    ] {
        assert!(error(line).contains("without a shell"), "{line}");
    }
    assert_eq!(parse(r"a=echo 'a | b' \$x").unwrap()["a"].argv, ["echo", "a | b", "$x"]);
}

#[test]
fn a_file_with_anything_that_is_not_understood_is_refused_whole() {
    assert!(error("a=id\nb\n").contains("line 2"));
    assert!(error("a=id\na=id\n").contains("twice"));
    assert!(error("a=echo 'x\n").contains("quote"));
    assert!(error("a=\n").contains("no program"));
    assert!(error("a=bin/id\n").contains("absolute"));
    assert!(error("a=LANG=C id\n").contains("environment"));
    assert!(error("commands.a.run = [\"id\"]\n").contains("TOML"));
    assert!(error("commands.a = { run = \"id\" }\n").contains("TOML"));
    assert!(error("-a=id\n").contains("label"));
    assert!(error("[commands.a]\nrun = ['id']\nuser = 'nobody'\n").contains("user"));
    assert!(error("[commands.a]\nrun = []\n").contains("no program"));
    assert!(error("[commands.a]\nrun = ['tail', '-n', '{lines}']\n").contains("placeholder"));
    assert!(error("[commands.a]\nrun = ['tail', '/var/log/{file}']\n").contains("placeholder"));
    assert!(parse("[commands.a]\nrun = ['awk', '{ print }']\n").is_ok());
}

#[test]
fn a_file_or_folder_that_others_may_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "a=id\n");
    assert_eq!(load(&path).unwrap().len(), 1);
    for (what, mode) in [(path.as_path(), 0o620), (&path, 0o602), (dir.path(), 0o770), (dir.path(), 0o707)] {
        let before = fs::metadata(what).unwrap().permissions();
        fs::set_permissions(what, fs::Permissions::from_mode(mode)).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("chmod go-w") && error.contains(&what.display().to_string()), "{error}");
        fs::set_permissions(what, before).unwrap();
    }
}

#[test]
fn a_changed_file_counts_at_once_and_a_refused_one_allows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "a=id\n");
    let mut list = Allowlist::open(Some(&path));
    assert!(list.find("a").is_ok());
    assert!(!list.refresh());
    write(&dir, "b=id\nc=id\n");
    assert!(list.refresh());
    assert_eq!(list.find("a").unwrap_err().0, RunFailure::UnknownLabel);
    assert!(list.find("a").unwrap_err().1.contains("b, c"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(list.refresh(), "a change of the mode is a change");
    assert_eq!(list.find("b").unwrap_err().0, RunFailure::Refused);
    assert!(list.infos().is_empty());
}

#[test]
fn a_mended_folder_is_enough_to_be_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "a=id\n");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut list = Allowlist::open(Some(&path));
    assert_eq!(list.find("a").unwrap_err().0, RunFailure::Refused);
    assert!(!list.refresh());
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(list.refresh());
    assert!(list.find("a").is_ok());
}
