//! Every log line of the server is written, to nowhere: what is wrong with an argument shows then.

use std::io::Write as _;

use log::kv::{self, VisitSource};

struct Nowhere;

struct Members;

impl<'kvs> VisitSource<'kvs> for Members {
    fn visit_pair(&mut self, _: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        write!(std::io::sink(), "{value}").map_err(kv::Error::boxed)
    }
}

impl log::Log for Nowhere {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Debug
    }

    fn log(&self, record: &log::Record<'_>) {
        write!(std::io::sink(), "{}", record.args()).expect("a message that can be written");
        record
            .key_values()
            .visit(&mut Members)
            .expect("members that can be written");
    }

    fn flush(&self) {}
}

pub(crate) fn install() {
    // A second logger is refused; there is one anyway.
    let _ = log::set_logger(&Nowhere);
    log::set_max_level(log::LevelFilter::Debug);
}
