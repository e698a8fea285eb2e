//! How certificates come to a disk: one writer for each way that real programs have (T21 to T38), step by
//! step, so that a watcher sees the events that it sees of them.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::{
    certificate_authority::Leaf,
    kubelet_volume::KubeletVolume,
    pair_files::{create_file, overwrite, rename_over},
};

/// A way to replace a certificate and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterStyle {
    /// A mounted Secret: `..data` is swapped.
    Kubelet,
    /// `cat new > file`: truncated, then written.
    InPlace,
    /// A temporary file renamed over each.
    Rename,
    /// New files in `archive`, then each link in `live` removed and made again.
    Certbot,
    /// Truncated, then written piece by piece: `scp`, slow shares.
    Partial,
    /// Both emptied first, then written.
    Empty,
    /// Both removed first, then created.
    Remove,
    /// A new directory in the place of the old one; for a moment there is none.
    DirectorySwap,
    /// The same in one step.
    DirectoryExchange,
}

impl WriterStyle {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Kubelet,
        Self::InPlace,
        Self::Rename,
        Self::Certbot,
        Self::Partial,
        Self::Empty,
        Self::Remove,
        Self::DirectorySwap,
        Self::DirectoryExchange,
    ];
}

/// A writer at work on a directory of its own.
#[derive(Debug)]
pub struct Writer {
    style: WriterStyle,
    root: PathBuf,
    volume: Option<KubeletVolume>,
    turn: u64,
}

impl Writer {
    /// Lays out `root` (made if missing) with a first pair.
    pub fn create(style: WriterStyle, root: &Path, leaf: &Leaf) -> Self {
        fs::create_dir_all(root).unwrap();
        let mut writer = Self {
            style,
            root: root.to_owned(),
            volume: None,
            turn: 0,
        };
        match style {
            WriterStyle::Kubelet => writer.volume = Some(KubeletVolume::create_pair(root, leaf)),
            WriterStyle::Certbot => {
                for part in ["live/fleet", "archive/fleet"] {
                    fs::create_dir_all(root.join(part)).unwrap();
                }
                writer.certbot(leaf);
            }
            _ => {
                for (name, text) in pair(leaf) {
                    create_file(&root.join(name), text, MODE);
                }
            }
        }
        writer
    }

    /// Where a server finds the chain.
    pub fn certificate(&self) -> PathBuf {
        self.root.join(match self.style {
            WriterStyle::Certbot => "live/fleet/fullchain.pem",
            _ => "tls.crt",
        })
    }

    /// Where a server finds the key.
    pub fn key(&self) -> PathBuf {
        self.root.join(match self.style {
            WriterStyle::Certbot => "live/fleet/privkey.pem",
            _ => "tls.key",
        })
    }

    /// Replaces the pair.
    pub fn update(&mut self, leaf: &Leaf) {
        let files = pair(leaf).map(|(name, text)| (self.root.join(name), text));
        match self.style {
            WriterStyle::Kubelet => {
                if let Some(volume) = &mut self.volume {
                    volume.update_pair(leaf);
                }
            }
            WriterStyle::InPlace => files.iter().for_each(|(path, text)| overwrite(path, text)),
            WriterStyle::Rename => files.iter().for_each(|(path, text)| rename_over(path, text)),
            WriterStyle::Certbot => self.certbot(leaf),
            WriterStyle::Partial => files.iter().for_each(|(path, text)| in_pieces(path, text)),
            WriterStyle::Empty => {
                files.iter().for_each(|(path, _)| overwrite(path, ""));
                files.iter().for_each(|(path, text)| overwrite(path, text));
            }
            WriterStyle::Remove => {
                files.iter().for_each(|(path, _)| fs::remove_file(path).unwrap());
                files
                    .iter()
                    .for_each(|(path, text)| create_file(path, text, MODE));
            }
            WriterStyle::DirectorySwap | WriterStyle::DirectoryExchange => self.replace_directory(leaf),
        }
    }

    fn certbot(&mut self, leaf: &Leaf) {
        self.turn += 1;
        let files = [("privkey", &leaf.key_pem), ("fullchain", &leaf.chain_pem)];
        for (kind, text) in files {
            let file = format!("archive/fleet/{kind}{}.pem", self.turn);
            create_file(&self.root.join(file), text, MODE);
        }
        for (kind, _) in files {
            let link = self.root.join(format!("live/fleet/{kind}.pem"));
            if self.turn > 1 {
                fs::remove_file(&link).unwrap();
            }
            symlink(format!("../../archive/fleet/{kind}{}.pem", self.turn), link).unwrap();
        }
    }

    fn replace_directory(&mut self, leaf: &Leaf) {
        let beside = |kind: &str| {
            let name = self.root.file_name().unwrap().to_string_lossy();
            self.root.with_file_name(format!("{name}.{kind}"))
        };
        let (new, old) = (beside("new"), beside("old"));
        fs::create_dir(&new).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        for (name, text) in pair(leaf) {
            create_file(&new.join(name), text, MODE);
        }
        if self.style == WriterStyle::DirectoryExchange {
            renameat_with(CWD, &new, CWD, &self.root, RenameFlags::EXCHANGE).unwrap();
            fs::remove_dir_all(new).unwrap();
        } else {
            fs::rename(&self.root, &old).unwrap();
            fs::rename(&new, &self.root).unwrap();
            fs::remove_dir_all(old).unwrap();
        }
    }
}

fn pair(leaf: &Leaf) -> [(&'static str, &str); 2] {
    [("tls.crt", &leaf.chain_pem), ("tls.key", &leaf.key_pem)]
}

fn in_pieces(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .mode(MODE)
        .open(path)
        .unwrap();
    for piece in text.as_bytes().chunks(64) {
        file.write_all(piece).unwrap();
    }
}

const MODE: u32 = 0o600;
