//! The data directory before its first use: created if it is missing, and refused with one sentence that
//! names the remedy if it cannot be written to.

use std::{io, path::Path};

use anyhow::{Result, bail};
use rustix::fs::{Access, access};

use crate::private_file;

/// Makes the directory (0700) if it is missing.
pub(crate) fn ensure(path: &Path) -> Result<()> {
    let made = private_file::ensure_directory(path)
        .and_then(|()| access(path, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from));
    if let Err(error) = made {
        let reason = match error.kind() {
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                "a file stands in its way".to_owned()
            }
            io::ErrorKind::PermissionDenied => "this user has no permission".to_owned(),
            io::ErrorKind::ReadOnlyFilesystem => "its file system is read-only".to_owned(),
            _ => error.to_string(),
        };
        bail!(
            "cannot keep data in {}: {reason}; make it a directory that this user may write to, or choose another \
             with --data-dir (path.data)",
            path.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_directory_that_cannot_be_names_the_remedy() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        ensure(&parent.path().join("a/b")).unwrap();
        ensure(&parent.path().join("a")).unwrap();
        for path in [file.clone(), file.join("below")] {
            let refused = ensure(&path).unwrap_err().to_string();
            assert!(
                refused.contains(&path.display().to_string())
                    && refused.contains("a file stands in its way")
                    && refused.contains("--data-dir"),
                "{refused}"
            );
        }
        let refused = ensure(Path::new("/proc/fleet-server")).unwrap_err().to_string();
        assert!(
            refused.contains("/proc/fleet-server") && refused.contains("--data-dir"),
            "{refused}"
        );
    }
}
