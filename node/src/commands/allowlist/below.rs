//! Paths that must lie below a folder. What fills in is where the path leads, all links followed, so that the program
//! is given no link to follow.
//!
//! A path is looked at before the program opens it. Who may change what is below the folder can put something else
//! there in between; such a folder is no fit one for a program that runs as somebody mightier.

use std::{
    fs, io,
    path::{Component, Path},
};

use secmon_protocol::command::MAX_ARG;

/// The folder below which a path must lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Below(String);

impl Below {
    pub(super) fn new(folder: &str) -> Result<Self, String> {
        let plain = !Path::new(folder).components().any(|part| part == Component::ParentDir);
        match folder.starts_with('/') && plain && !folder.chars().any(char::is_control) {
            true if folder.len() <= MAX_ARG => Ok(Self(folder.to_owned())),
            _ => Err(format!("it must be an absolute path of at most {MAX_ARG} bytes without \"..\"")),
        }
    }

    /// The folder, as the file has it.
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.0
    }

    /// Whether a value has the form of a path below it.
    pub(super) fn form(&self, given: &str) -> Result<(), String> {
        let path = Path::new(given);
        if given.is_empty() || given.chars().any(char::is_control) {
            return Err("it is empty or has control characters".to_owned());
        }
        if path.components().any(|part| part == Component::ParentDir) {
            return Err("it has \"..\" in it".to_owned());
        }
        // By its words alone: whether what lies elsewhere exists is none of anybody's business.
        if path.is_absolute() && !path.starts_with(&self.0) {
            return Err("it lies elsewhere".to_owned());
        }
        Ok(())
    }

    /// Where a path leads.
    pub(super) fn resolve(&self, given: &str) -> Result<String, String> {
        self.form(given)?;
        let asked = Path::new(&self.0).join(given);
        let found = fs::canonicalize(&self.0).and_then(|folder| Ok((folder, fs::canonicalize(asked)?)));
        match found {
            Ok((folder, path)) if path != folder && path.starts_with(&folder) => {
                let path = path.into_os_string().into_string().ok();
                path.filter(|path| !path.chars().any(char::is_control))
                    .ok_or_else(|| "it leads to a name with strange characters".to_owned())
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err("secmon may not look at it".to_owned())
            }
            // The same words for what is not there and for a link that leads out: see above.
            _ => Err("there is no such thing there".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_leads_below_its_folder_or_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let (inside, outside) = (root.join("in"), root.join("in-side"));
        fs::create_dir_all(inside.join("sub")).unwrap();
        fs::create_dir(&outside).unwrap();
        for file in ["in/a", "in/sub/b", "in/new\nline", "in-side/secret"] {
            fs::write(root.join(file), "").unwrap();
        }
        for (to, link) in [
            ("a", "in/good"),
            ("../in-side/secret", "in/out"),
            ("/", "in/root"),
            ("gone", "in/hole"),
            (".", "in/self"),
        ] {
            symlink(to, root.join(link)).unwrap();
        }
        symlink("in", root.join("link")).unwrap();

        for folder in ["in", "link", "in/", "in/sub/../../in"] {
            let folder = format!("{}/{folder}", root.display());
            let Ok(below) = Below::new(&folder) else { continue };
            let of = |given: &str| below.resolve(given);
            let a = inside.join("a").display().to_string();
            for good in ["a", "./a", "good", "sub/b", &format!("{folder}/a")] {
                assert!(of(good).unwrap().starts_with(inside.to_str().unwrap()), "{good}");
            }
            assert_eq!(of("good").unwrap(), a);
            for bad in [
                "",
                ".",
                "..",
                "/",
                "../in-side/secret",
                "sub/../a",
                "out",
                "root",
                "root/etc/passwd",
                "hole",
                "self",
                "gone",
                "a/",
                "a/x",
                "a\0",
                "new\nline",
                "/etc/passwd",
                &outside.join("secret").display().to_string(),
                &format!("{folder}/../in-side/secret"),
                &"x/".repeat(2000),
            ] {
                assert!(of(bad).is_err(), "{bad:?}: {:?}", of(bad));
            }
        }
    }

    #[test]
    fn what_lies_elsewhere_and_what_is_not_there_sound_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let below = Below::new(dir.path().to_str().unwrap()).unwrap();
        symlink("/etc/passwd", dir.path().join("there")).unwrap();
        symlink("/etc/no-such-file", dir.path().join("gone")).unwrap();
        assert_eq!(below.resolve("there"), below.resolve("gone"));
        assert_eq!(below.resolve("/etc/passwd"), below.resolve("/etc/no-such-file"));
    }
}
