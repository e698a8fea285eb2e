//! Loading as the command line does it, with the test's own environment and memory.

mod errors;
mod layering;
mod limits_shown;
mod presets;
mod substitution;

use std::{collections::HashMap, fs, path::PathBuf, sync::Arc};

use super::*;

/// A file in a directory of its own, flags, an environment.
pub(super) struct Given {
    directory: tempfile::TempDir,
    pub(super) sources: Sources,
}

/// Nothing but a file.
pub(super) fn given(yaml: &str) -> Given {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fleet.yml");
    fs::write(&file, yaml).unwrap();
    let surroundings = Surroundings {
        environment: Arc::new(|_| None),
        memory_mib: Some(128),
    };
    Given {
        directory,
        sources: Sources {
            files: vec![file],
            surroundings,
            ..Sources::default()
        },
    }
}

impl Given {
    pub(super) fn flag(mut self, flag: &str) -> Self {
        self.sources.flags.push(flag.to_owned());
        self
    }

    pub(super) fn overlay(mut self, overlay: Overlay) -> Self {
        self.sources.overlay = overlay;
        self
    }

    pub(super) fn data_dir(mut self, directory: &str) -> Self {
        self.sources.data_dir = Some(PathBuf::from(directory));
        self
    }

    pub(super) fn environment(mut self, variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables: HashMap<String, String> = variables.iter().map(owned).collect();
        self.sources.surroundings.environment = Arc::new(move |name| variables.get(name).cloned());
        self
    }

    pub(super) fn memory(mut self, mib: u64) -> Self {
        self.sources.surroundings.memory_mib = Some(mib);
        self
    }

    pub(super) fn load(self) -> Result<(Config, Vec<Notice>), String> {
        let file = self.directory.path().join("fleet.yml").display().to_string();
        load(&self.sources).map_err(|errors| errors.to_string().replace(&file, "fleet.yml"))
    }

    pub(super) fn config(self) -> Config {
        self.load().unwrap_or_else(|errors| panic!("{errors}")).0
    }

    pub(super) fn errors(self) -> String {
        self.load().map(|(config, _)| panic!("{config:?}")).unwrap_err()
    }

    pub(super) fn notices(self) -> Vec<String> {
        let (_, notices) = self.load().unwrap_or_else(|errors| panic!("{errors}"));
        notices
            .iter()
            .map(ToString::to_string)
            .filter(|notice| !notice.contains("plain HTTP"))
            .collect()
    }
}

fn committed(file: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(file)).unwrap()
}

#[test]
fn the_reference_files_are_what_the_declarations_say() {
    for (file, text) in [
        ("fleet-server.reference.yml", reference_yaml()),
        ("docs/CONFIGURATION.md", reference_markdown()),
    ] {
        assert!(committed(file) == text, "{file}: run `make reference`");
    }
}

#[test]
fn the_reference_file_loads_as_the_built_in_defaults() {
    let mut expected = Config::default();
    let limits = &mut expected.inputs.0.server.limits;
    limits.settle(Some(128), &mut Vec::new());
    let yaml = committed("fleet-server.reference.yml");
    assert_eq!(given(&yaml).config(), expected);
    assert_eq!(given("").config(), expected);
}

#[test]
fn every_key_of_the_reference_is_known_also_behind_its_comment_sign() {
    let uncommented: String = reference_yaml()
        .lines()
        .map(|line| {
            let text = line.trim_start();
            let indent = line.len() - text.len();
            match text
                .strip_prefix('#')
                .filter(|rest| !rest.is_empty() && !rest.starts_with(' '))
            {
                Some(key) => format!("{}{key}\n", &line[..indent]),
                None => format!("{line}\n"),
            }
        })
        .collect();
    let errors = given(&uncommented).errors();
    let unexpected: Vec<&str> = errors
        .lines()
        .filter(|line| !line.contains(" is missing: "))
        .collect();
    assert_eq!(unexpected, Vec::<&str>::new());
    let lines = |name: &str| {
        uncommented
            .lines()
            .filter(|line| line.trim_start_matches([' ', '-']).starts_with(name))
            .count()
    };
    let schema = Schema::of::<Config>(crate::inert::keys());
    for path in schema.keys() {
        let name = path.rsplit('.').next().unwrap();
        let declared = schema
            .keys()
            .filter(|other| other.ends_with(&format!(".{name}")))
            .count();
        assert!(lines(&format!("{name}:")) >= declared, "{path}");
    }
}

#[test]
fn every_inert_key_is_in_the_reference() {
    let reference = reference_yaml();
    let (_, list) = reference.split_once("# Without effect").unwrap();
    for (path, _) in inert::keys() {
        let (section, name) = path.rsplit_once('.').unwrap();
        let is_named = |line: &str| {
            line.strip_prefix(&format!("#   {section}: "))
                .is_some_and(|names| names.split(", ").any(|found| found == name))
        };
        assert!(list.lines().any(is_named), "{path}");
    }
}

#[test]
fn what_is_shown_loads_to_the_same() {
    let yaml = "http.enabled: true\nlogging.files.permissions: 0640\nstore.type: embedded\n\
                inputs.0.server.ssl: {certificate: /a b/c.pem, ca_sha256: []}\npath.data: /x$$y\n";
    let config = given(yaml).config();
    let shown = config.to_yaml();
    assert_eq!(given(&shown).config(), config, "{shown}");
}

#[test]
fn t80_secrets_are_redacted() {
    let yaml = "output.elasticsearch:\n  service_token: hush-1\n  headers: {X-Auth: hush-2, Plain: seen}\n\
                \x20 proxy_url: http://me:hush-8@proxy:3128\n  hosts: [\"https://hush-9@es:9200\"]\n\
                inputs:\n- type: fleet-server\n  server:\n    instrumentation: {api_key: hush-3, secret_token: hush-4}\n\
                \x20   static_policy_tokens.policy_tokens: [{token_key: hush-5, policy_id: p}]\n\
                \x20   ssl:\n      key_passphrase: hush-6\n      certificate: /c\n\
                \x20     key: |\n        -----BEGIN PRIVATE KEY-----\n        hush-7\n        -----END PRIVATE KEY-----\n";
    let (config, notices) = given(yaml).load().unwrap();
    let shown = config.to_yaml();
    assert!(
        !shown.contains("hush-") && shown.contains("[redacted]@es:9200"),
        "{shown}"
    );
    // `Debug` does not redact URLs; only `config show` prints the whole configuration.
    let debug = format!("{config:?} {notices:?}");
    for secret in (1..=8).map(|number| format!("hush-{number}")) {
        assert!(!debug.contains(&secret), "{debug}");
    }
    assert!(
        shown.contains("key: \"[redacted]\"") && debug.contains("[redacted]"),
        "{shown}"
    );
    // A key with text before it, or the rest of one, is not taken for a path.
    for key in [
        "Bag Attributes\n        -----BEGIN PRIVATE KEY-----\n        hush-8",
        "hush-8\n        hush-9",
    ] {
        let yaml = format!(
            "inputs:\n- type: fleet-server\n  server:\n    ssl:\n      certificate: /c\n      key: |\n        {key}\n"
        );
        let config = given(&yaml).config();
        let shown = format!("{} {config:?}", config.to_yaml());
        assert!(!shown.contains("hush-"), "{shown}");
    }
}
