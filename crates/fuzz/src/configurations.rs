//! The operator's configuration: a file, and `-E` flags, one a line.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use configuration::{Overlay, Sources, Surroundings, load};
use notation::yaml;

use crate::{certificates::file as temporary, faces::no_control};

/// Any bytes as the file of `-c`.
pub(crate) fn file(bytes: &[u8]) {
    check(vec![temporary(bytes)], Vec::new());
}

/// Any lines, each a flag.
pub(crate) fn flags(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    check(Vec::new(), text.lines().map(str::to_owned).collect());
}

fn check(files: Vec<PathBuf>, flags: Vec<String>) {
    let variables = HashMap::from([
        ("NAME", "localhost"),
        ("LIST", "a,b"),
        ("EMPTY", ""),
        ("LOOP", "${LOOP}"),
    ]);
    let surroundings = Surroundings {
        environment: Arc::new(move |name| variables.get(name).map(|value| (*value).to_owned())),
        memory_mib: Some(1024),
    };
    let sources = Sources {
        files,
        flags,
        data_dir: None,
        overlay: Overlay::default(),
        surroundings,
    };
    match load(&sources) {
        Ok((config, notices)) => {
            yaml::read(config.to_yaml().as_bytes()).expect("a configuration that is shown can be read");
            for notice in notices {
                no_control(&notice.to_string());
            }
        }
        Err(errors) => {
            let told = errors.to_string();
            assert!(!told.is_empty());
            told.lines().for_each(no_control);
        }
    }
}
