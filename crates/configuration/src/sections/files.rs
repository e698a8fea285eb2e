//! `files.*`: what agents' files take on this machine, and how long they stay.

use std::time::Duration;

use crate::engine::{
    quantity::{ByteSize, Days},
    section::section,
};

section! {
    /// Files that agents send. One file's size is inputs.0.server.limits.max_file_storage_size.
    pub struct Files {
        keys {
            /// Bytes that all stored files may take together; more is refused with 507. 0: any number.
            max_total_size: ByteSize = ByteSize(10 << 30);
            /// Bytes that the files of one agent may take together; more is refused with 413. 0: any number.
            max_agent_size: ByteSize = ByteSize(1 << 30);
            /// Bytes of the disk that files leave free: below that they are refused with 507, and check-ins go on.
            min_free_space: ByteSize = ByteSize(1 << 30);
            /// How long an upload may take; then what came of it is removed.
            upload_timeout: Duration = Duration::from_secs(24 * 3600);
            /// How long a file is kept after its upload ended.
            retention: Days = Days::of(30);
        }
    }
}
