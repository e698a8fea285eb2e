//! A Secret volume as the kubelet writes it: files are links into `..data`, which is a link to a directory of
//! one generation; an update renames a new link over `..data`, and removes the old directory afterwards.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use crate::{certificate_authority::Leaf, pair_files::create_file};

/// A mounted Secret.
#[derive(Debug)]
pub struct KubeletVolume {
    root: PathBuf,
    generation: u64,
}

impl KubeletVolume {
    /// Lays out `root` (made if missing) with `files`, as at the start of a pod.
    pub fn create(root: &Path, files: &[(&str, &str)]) -> Self {
        fs::create_dir_all(root).unwrap();
        let mut volume = Self {
            root: root.to_owned(),
            generation: 0,
        };
        volume.update(files);
        volume
    }

    /// A volume with `tls.crt` (the chain) and `tls.key`, as a TLS Secret has them.
    pub fn create_pair(root: &Path, leaf: &Leaf) -> Self {
        Self::create(root, &pair(leaf))
    }

    /// Replaces the pair.
    pub fn update_pair(&mut self, leaf: &Leaf) {
        self.update(&pair(leaf));
    }

    /// Replaces the content: at no moment is a file of one generation beside one of another, for a reader that
    /// goes through one resolution of `..data`. The same content is not an update, as for the kubelet.
    pub fn update(&mut self, files: &[(&str, &str)]) {
        let old = fs::read_link(self.root.join(DATA)).ok();
        let gone = old
            .as_deref()
            .map(|old| self.gone(old, files))
            .unwrap_or_default();
        let is_same = |old: &Path| {
            let same = |(name, text): &(&str, &str)| {
                fs::read_to_string(self.root.join(old).join(name)).is_ok_and(|now| now == *text)
            };
            gone.is_empty() && files.iter().all(same)
        };
        if old.as_deref().is_some_and(is_same) {
            return;
        }
        self.generation += 1;
        let new = format!("..2026_01_01_00_00_00.{:010}", self.generation);
        let directory = self.root.join(&new);
        fs::DirBuilder::new().mode(0o700).create(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        for (name, text) in files {
            create_file(&directory.join(name), text, MODE);
        }
        symlink(&new, self.root.join(DATA_NEW)).unwrap();
        fs::rename(self.root.join(DATA_NEW), self.root.join(DATA)).unwrap();
        for (name, _) in files {
            let link = self.root.join(name);
            if fs::symlink_metadata(&link).is_err() {
                symlink(Path::new(DATA).join(name), link).unwrap();
            }
        }
        for name in gone {
            fs::remove_file(self.root.join(name)).unwrap();
        }
        if let Some(old) = old {
            fs::remove_dir_all(self.root.join(old)).unwrap();
        }
    }

    /// Keys that left the Secret.
    fn gone(&self, old: &Path, files: &[(&str, &str)]) -> Vec<OsString> {
        let present = fs::read_dir(self.root.join(old)).unwrap();
        let names = present.map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| files.iter().all(|(kept, _)| name != *kept))
            .collect()
    }

    /// Path of a file of the volume.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

fn pair(leaf: &Leaf) -> [(&'static str, &str); 2] {
    [("tls.crt", &leaf.chain_pem), ("tls.key", &leaf.key_pem)]
}

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";
/// `defaultMode` of a volume.
const MODE: u32 = 0o644;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_changes_all_files_and_leaves_one_generation() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("tls");
        let mut volume = KubeletVolume::create(&root, &[("tls.crt", "a"), ("tls.key", "1")]);
        for (certificate, key) in [("b", "2"), ("c", "3")] {
            volume.update(&[("tls.crt", certificate), ("tls.key", key)]);
            assert_eq!(fs::read_to_string(volume.path("tls.crt")).unwrap(), certificate);
            assert_eq!(fs::read_to_string(volume.path("tls.key")).unwrap(), key);
        }
        let mut names: Vec<_> = fs::read_dir(&root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["..2026_01_01_00_00_00.0000000003", "..data", "tls.crt", "tls.key"]
        );
        volume.update(&[("tls.crt", "c"), ("tls.key", "3")]);
        assert!(root.join(&names[0]).exists(), "the same content is not an update");
        volume.update(&[("tls.crt", "c")]);
        assert!(fs::symlink_metadata(volume.path("tls.key")).is_err(), "pruned");
    }
}
