//! How far a run is: a bar on a terminal, a line every few seconds elsewhere, nothing if nobody wants to know.

use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::figures::Counts;

/// Tells people on stderr.
pub(crate) struct Progress {
    form: Form,
    what: String,
    wanted: u64,
    begun: Instant,
}

enum Form {
    Bar(ProgressBar),
    Lines { next: Instant },
    Silent,
}

impl Progress {
    pub(crate) fn new(is_quiet: bool) -> Self {
        let form = if is_quiet {
            Form::Silent
        } else if std::io::stderr().is_terminal() {
            Form::Bar(ProgressBar::new(0))
        } else {
            Form::Lines { next: Instant::now() }
        };
        Self {
            form,
            what: String::new(),
            wanted: 0,
            begun: Instant::now(),
        }
    }

    /// A new stretch begins.
    pub(crate) fn begin(&mut self, what: &str, wanted: u64) {
        what.clone_into(&mut self.what);
        self.wanted = wanted;
        match &mut self.form {
            Form::Bar(bar) => {
                *bar = ProgressBar::new(wanted);
                // The template is ours and right; without it the default one shows the same.
                if let Ok(style) =
                    ProgressStyle::with_template("{elapsed:>4} {bar:30} {pos}/{len} {prefix}  {msg}")
                {
                    bar.set_style(style);
                }
                bar.set_prefix(self.what.clone());
            }
            Form::Lines { next } => *next = Instant::now() + EVERY,
            Form::Silent => {}
        }
    }

    pub(crate) fn at(&mut self, done: u64, counts: &Counts) {
        match &mut self.form {
            Form::Bar(bar) => {
                bar.set_position(done);
                bar.set_message(words(counts));
            }
            Form::Lines { next } if Instant::now() >= *next => {
                *next = Instant::now() + EVERY;
                let line = format!(
                    "{:5.0} s  {done}/{} {}  {}",
                    self.begun.elapsed().as_secs_f64(),
                    self.wanted,
                    self.what,
                    words(counts)
                );
                say(&line);
            }
            Form::Lines { .. } | Form::Silent => {}
        }
    }

    pub(crate) fn end(&mut self) {
        match &self.form {
            Form::Bar(bar) => bar.finish_and_clear(),
            Form::Lines { .. } => say(&format!(
                "{:5.0} s  {} done",
                self.begun.elapsed().as_secs_f64(),
                self.what
            )),
            Form::Silent => {}
        }
    }
}

fn words(counts: &Counts) -> String {
    format!(
        "enrolled {} waiting {} answered {} failed {}",
        counts.enrolled, counts.waiting, counts.answered, counts.failed
    )
}

fn say(line: &str) {
    // A closed stderr ends no measurement.
    let _ = writeln!(std::io::stderr(), "{line}");
}

const EVERY: Duration = Duration::from_secs(5);
