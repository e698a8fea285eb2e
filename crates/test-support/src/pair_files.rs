//! A certificate and a key in two plain files, and the ways in which writers replace them.

use std::{
    ffi::OsString,
    fs,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::certificate_authority::Leaf;

/// `tls.crt` and `tls.key` in a directory.
#[derive(Clone, Debug)]
pub struct PairFiles {
    /// Path of the chain.
    pub certificate: PathBuf,
    /// Path of the key.
    pub key: PathBuf,
}

impl PairFiles {
    /// Writes both files into `directory`, which must exist.
    pub fn create(directory: &Path, leaf: &Leaf) -> Self {
        let files = Self {
            certificate: directory.join("tls.crt"),
            key: directory.join("tls.key"),
        };
        files.write_in_place(leaf);
        files
    }

    /// Truncates and writes each file: an editor, `cp`, `scp`. Readers may see empty and mixed content.
    pub fn write_in_place(&self, leaf: &Leaf) {
        overwrite(&self.certificate, &leaf.chain_pem);
        overwrite(&self.key, &leaf.key_pem);
    }

    /// A temporary file renamed over each of the two: whole files, but certificate and key may not match in
    /// between. `between` runs after the first.
    pub fn rename_each(&self, leaf: &Leaf, between: impl FnOnce()) {
        rename_over(&self.certificate, &leaf.chain_pem);
        between();
        rename_over(&self.key, &leaf.key_pem);
    }

    /// Puts a certificate beside a key that does not belong to it.
    pub fn break_pair(&self, stranger: &Leaf) {
        rename_over(&self.certificate, &stranger.chain_pem);
    }
}

pub(crate) fn overwrite(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Creates or truncates, writes and closes; then sets the mode past the umask.
pub(crate) fn create_file(path: &Path, text: &str, mode: u32) {
    overwrite(path, text);
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Writes another file beside `path` and renames it over it: readers see the old file or the new one.
pub fn rename_over(path: &Path, text: &str) {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap());
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
    file.sync_all().unwrap();
    drop(file);
    fs::rename(&temporary, path).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CertificateAuthority;

    #[test]
    fn both_writers_leave_the_new_pair() {
        let directory = tempfile::tempdir().unwrap();
        let authority = CertificateAuthority::new("ca");
        let [first, second, third] = [(); 3].map(|()| authority.issue(&["localhost"]));
        let files = PairFiles::create(directory.path(), &first);
        files.write_in_place(&second);
        assert_eq!(fs::read_to_string(&files.certificate).unwrap(), second.chain_pem);
        assert_eq!(fs::read_to_string(&files.key).unwrap(), second.key_pem);
        files.rename_each(&third, || {
            assert_eq!(fs::read_to_string(&files.certificate).unwrap(), third.chain_pem);
            assert_eq!(fs::read_to_string(&files.key).unwrap(), second.key_pem);
        });
        assert_eq!(fs::read_to_string(&files.key).unwrap(), third.key_pem);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
