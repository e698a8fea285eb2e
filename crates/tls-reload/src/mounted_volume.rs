//! What is missing in a mounted Kubernetes Secret, said with what is there. For hints only.

use std::path::Path;

/// If the file's directory is a mounted Secret or `ConfigMap` and has no such file: a sentence that says so, with the
/// keys that it has. Nobody can create a file there, so "create the file" is no remedy.
///
/// The kubelet keeps a link `..data` beside the keys; what cannot be listed is no volume.
#[must_use]
pub fn missing_secret_key(file: &Path) -> Option<String> {
    keys(file.parent()?).map(|keys| sentence(file, &keys))
}

pub(crate) fn keys(directory: &Path) -> Option<Vec<String>> {
    std::fs::read_link(directory.join("..data")).ok()?;
    let mut keys: Vec<String> = std::fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        // A link that leads nowhere is what is left of a key that was taken out.
        .filter(|name| !name.starts_with("..") && directory.join(name).exists())
        .collect();
    keys.sort();
    Some(keys)
}

pub(crate) fn sentence(file: &Path, keys: &[String]) -> String {
    let directory = file.parent().unwrap_or(file).display();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let present = if keys.is_empty() {
        "none".to_owned()
    } else {
        keys.join(", ")
    };
    format!(
        "{directory} is a mounted Kubernetes volume: its Secret has no key \"{name}\" (it has: {present})"
    )
}
