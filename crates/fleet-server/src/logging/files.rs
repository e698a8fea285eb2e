//! Log files with rotation: `PATH/NAME-YYYYMMDD.ndjson`, then `-YYYYMMDD-1.ndjson`, … (agents.md 9.5).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use fleet::Timestamp;

use configuration::Files;

/// The current log file and the rules for the next one.
#[derive(Debug)]
pub(super) struct RotatingFiles {
    directory: PathBuf,
    name: String,
    most_bytes: u64,
    kept: usize,
    mode: u32,
    interval: Duration,
    current: File,
    written: u64,
    opened_at: Timestamp,
    /// Lines that could not be written since the last one that could.
    dropped: u64,
}

impl RotatingFiles {
    pub(super) fn open(config: &Files) -> io::Result<Self> {
        let directory = config.path.clone().unwrap_or_else(|| PathBuf::from("."));
        fs::create_dir_all(&directory)?;
        let now = Timestamp::now();
        let day = day(now);
        let newest = numbered(&directory, &config.name, &day)?.into_iter().max();
        let (path, is_new) = match newest {
            Some(number)
                if !config.rotateonstartup && holds_log(&path(&directory, &config.name, &day, number)) =>
            {
                (path(&directory, &config.name, &day, number), false)
            }
            Some(number) => (path(&directory, &config.name, &day, number + 1), true),
            None => (path(&directory, &config.name, &day, 0), true),
        };
        let current = open(&path, config.permissions.0, is_new)?;
        let written = current.metadata()?.len();
        let files = Self {
            directory,
            name: config.name.clone(),
            most_bytes: config.rotateeverybytes.0,
            kept: usize::try_from(config.keepfiles).unwrap_or(usize::MAX),
            mode: config.permissions.0,
            interval: config.interval,
            current,
            written,
            opened_at: now,
            dropped: 0,
        };
        files.remove_old();
        Ok(files)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes one whole line. What cannot be written is dropped and counted.
    pub(super) fn write_line(&mut self, line: &[u8]) {
        let now = Timestamp::now();
        if self.is_due(line.len() as u64, now)
            && let Err(error) = self.rotate(now)
        {
            self.lost(&error);
        }
        match self.current.write_all(line) {
            Ok(()) => {
                self.written += line.len() as u64;
                self.dropped = 0;
            }
            Err(error) => self.lost(&error),
        }
    }

    /// Syncs the file to the disk.
    pub(super) fn sync(&mut self) {
        if let Err(error) = self.current.sync_all() {
            self.lost(&error);
        }
    }

    fn is_due(&self, more: u64, now: Timestamp) -> bool {
        let is_full = self.written > 0 && self.written + more > self.most_bytes;
        let interval = i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX);
        let is_another_period =
            interval > 0 && now.millis().div_euclid(interval) != self.opened_at.millis().div_euclid(interval);
        is_full || is_another_period
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        let day = day(now);
        let next = numbered(&self.directory, &self.name, &day)?
            .into_iter()
            .max()
            .map_or(0, |number| number + 1);
        self.current = open(&path(&self.directory, &self.name, &day, next), self.mode, true)?;
        self.written = 0;
        self.opened_at = now;
        self.remove_old();
        Ok(())
    }

    /// Keeps the newest files besides the current one.
    fn remove_old(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return;
        };
        let mut files: Vec<(SystemTime, String)> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                (is_ours(&name, &self.name) && holds_log(&entry.path())).then_some(())?;
                Some((entry.metadata().ok()?.modified().ok()?, name))
            })
            .collect();
        files.sort_unstable();
        let surplus = files.len().saturating_sub(self.kept + 1);
        for (_, name) in files.iter().take(surplus) {
            if let Err(error) = fs::remove_file(self.directory.join(name)) {
                say(&format!("cannot remove the old log file {name}: {error}"));
            }
        }
    }

    fn lost(&mut self, error: &io::Error) {
        self.dropped += 1;
        if self.dropped == 1 {
            say(&format!(
                "cannot write the log in {}: {error}",
                self.directory.display()
            ));
        }
    }
}

/// Prints what cannot go into the log itself: where it is, and its own errors.
pub(super) fn say(text: &str) {
    // If standard error is closed, nothing is left to write to.
    let _ = writeln!(io::stderr(), "{text}");
}

fn open(path: &Path, mode: u32, is_new: bool) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .create_new(is_new)
        .mode(mode)
        .open(path)
}

fn path(directory: &Path, name: &str, day: &str, number: u32) -> PathBuf {
    directory.join(match number {
        0 => format!("{name}-{day}.ndjson"),
        number => format!("{name}-{day}-{number}.ndjson"),
    })
}

/// The numbers of the files of one day.
fn numbered(directory: &Path, name: &str, day: &str) -> io::Result<Vec<u32>> {
    let prefix = format!("{name}-{day}");
    let numbers = fs::read_dir(directory)?.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        match name.strip_prefix(&prefix)?.strip_suffix(".ndjson")? {
            "" => Some(0),
            rest => rest.strip_prefix('-')?.parse().ok(),
        }
    });
    Ok(numbers.collect())
}

/// Whether the file holds lines of a log, or nothing yet: one that does not was not made here, whatever its name.
fn holds_log(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LINE_BEGINS.len() as u64).read_to_end(&mut head));
    read.is_ok() && (head.is_empty() || head == LINE_BEGINS)
}

/// As `ecs` begins each line.
const LINE_BEGINS: &[u8] = b"{\"@timestamp\":";

fn is_ours(file: &str, name: &str) -> bool {
    let middle = file
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('-')?.strip_suffix(".ndjson"));
    middle.is_some_and(|middle| {
        let (day, number) = middle.split_once('-').unwrap_or((middle, "0"));
        day.len() == 8
            && day
                .bytes()
                .chain(number.bytes())
                .all(|byte| byte.is_ascii_digit())
    })
}

/// `YYYYMMDD`.
fn day(now: Timestamp) -> String {
    now.to_seconds_text()
        .chars()
        .take(10)
        .filter(|c| *c != '-')
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use configuration::ByteSize;

    fn config(directory: &Path) -> Files {
        Files {
            path: Some(directory.to_owned()),
            rotateeverybytes: ByteSize(20),
            keepfiles: 2,
            ..Files::default()
        }
    }

    const LINE: &[u8] = b"{\"@timestamp\":12}\n";

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_followed_by_a_numbered_one_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = RotatingFiles::open(&config(dir.path())).unwrap();
        let today = day(Timestamp::now());
        for _ in 0..3 {
            files.write_line(LINE);
        }
        assert_eq!(
            names(dir.path()),
            [
                format!("fleet-server.log-{today}-1.ndjson"),
                format!("fleet-server.log-{today}-2.ndjson"),
                format!("fleet-server.log-{today}.ndjson"),
            ]
        );
        fs::write(dir.path().join("fleet-server.log-notes.ndjson"), "mine").unwrap();
        for _ in 0..5 {
            files.write_line(LINE);
        }
        let left = names(dir.path());
        assert!(
            left.contains(&"fleet-server.log-notes.ndjson".to_owned()),
            "files of others stay"
        );
        assert_eq!(
            left.len(),
            4,
            "two old ones, the current one, and the other's: {left:?}"
        );
    }

    #[test]
    fn what_holds_no_log_is_neither_continued_nor_removed() {
        let dir = tempfile::tempdir().unwrap();
        let today = day(Timestamp::now());
        for name in [
            format!("fleet-server.log-{today}.ndjson"),
            "fleet-server.log-20200101.ndjson".to_owned(),
        ] {
            fs::write(dir.path().join(name), "mine\n").unwrap();
        }
        let mut files = RotatingFiles::open(&Files {
            rotateonstartup: false,
            keepfiles: 0,
            ..config(dir.path())
        })
        .unwrap();
        for _ in 0..3 {
            files.write_line(LINE);
        }
        let mine = names(dir.path())
            .into_iter()
            .filter(|name| fs::read(dir.path().join(name)).unwrap() == b"mine\n");
        assert_eq!(mine.count(), 2);
        assert_eq!(names(dir.path()).len(), 3);
    }

    #[test]
    fn a_start_begins_a_new_file_unless_told_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        drop(RotatingFiles::open(&config(dir.path())).unwrap());
        drop(RotatingFiles::open(&config(dir.path())).unwrap());
        assert_eq!(names(dir.path()).len(), 2);
        let same = Files {
            rotateonstartup: false,
            ..config(dir.path())
        };
        RotatingFiles::open(&same).unwrap().write_line(LINE);
        assert_eq!(names(dir.path()).len(), 2);
        let mode = fs::metadata(dir.path().join(names(dir.path()).remove(0)))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
