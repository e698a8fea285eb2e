//! `files.*`: what agents' files take on this machine, and how long they stay.

use std::time::Duration;

use crate::engine::{
    quantity::{ByteSize, Days},
    section::section,
};

section! {
    /// Files that agents send, files for agents, artifacts. One file's size is inputs.0.server.limits.max_file_storage_size.
    pub struct Files {
        keys {
            /// Bytes that all stored files may take together, artifacts and what open uploads announced included; more is refused
            /// with 507. Each stored body (a chunk, a file, an artifact) counts 4096 more than its bytes. 0: any number.
            max_total_size: ByteSize = ByteSize(10 << 30);
            /// Bytes that the files that one agent sent may take together, counted alike; more is refused with 413. 0: any number.
            max_agent_size: ByteSize = ByteSize(1 << 30);
            /// Uploads that one agent may have open at once; one more is refused with 413. 0: any number.
            max_open_uploads: u32 = 16, unit "uploads";
            /// Bytes of the disk that files leave free, as well as 1024 inodes: below that they are refused with 507, and check-ins
            /// go on.
            min_free_space: ByteSize = ByteSize(1 << 30);
            /// How long an upload may take; then what came of it is removed.
            upload_timeout: Duration = Duration::from_secs(24 * 3600);
            /// How long a file is kept after its upload ended.
            retention: Days = Days::of(30);
        }
    }
}

impl Files {
    /// Each quota with its dotted key, as people read it.
    pub(crate) fn shown(&self) -> [(&'static str, String); 6] {
        let any = |number: u64| match number {
            0 => "any".to_owned(),
            number => number.to_string(),
        };
        [
            ("files.max_total_size", any(self.max_total_size.0)),
            ("files.max_agent_size", any(self.max_agent_size.0)),
            ("files.max_open_uploads", any(self.max_open_uploads.into())),
            ("files.min_free_space", self.min_free_space.0.to_string()),
            ("files.upload_timeout", format!("{:?}", self.upload_timeout)),
            ("files.retention", format!("{:?}", self.retention.0)),
        ]
    }
}
