//! Requests and what answers mean, as files that people can read.
//!
//! `tests/golden/<provider>.yaml` holds what is asked and answered, `<provider>.txt` the conversation that
//! comes of it. `UPDATE_GOLDEN=1` writes the latter anew.

use std::fs;
use std::path::{Path, PathBuf};

use crate::talk::Case;

pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// All written conversations.
pub fn cases() -> Vec<(String, Vec<Case>)> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let cases = serde_yaml::from_str(&fs::read_to_string(&path).unwrap());
        (name.clone(), cases.unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    files.into_iter().map(read).collect()
}

#[test]
fn conversations() {
    let mut differing = Vec::new();
    for (name, cases) in cases() {
        let texts: Vec<String> = cases.iter().map(Case::transcript).collect();
        let got = texts.join("\n");
        let path = directory().join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &got).unwrap();
        }
        let wanted = fs::read_to_string(&path).unwrap_or_default();
        for (got, wanted) in got.split("\n## ").zip(wanted.split("\n## ")) {
            if got != wanted {
                differing.push(format!("{name}: got\n{got}\nwanted\n{wanted}"));
            }
        }
        if got.matches("\n## ").count() != wanted.matches("\n## ").count() {
            differing.push(format!("{name}: cases were added or removed"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
