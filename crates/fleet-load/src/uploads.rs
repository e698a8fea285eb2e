//! Agents that send files: begin, chunk by chunk, end (agents.md 10.1 to 10.3), on a connection of its own beside the
//! agent's polls.

use std::{rc::Rc, time::Duration};

use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use crate::{
    answer::{self, Credentials},
    connection::{CallError, Connection},
    figures::Step,
    shard::Shard,
    wire::{self, Request},
};

/// Waits for the order, then uploads one file after the other until the part ends.
pub(crate) async fn upload_on_order(shard: Rc<Shard>, number: usize, credentials: Credentials) {
    shard.may_upload().await;
    let mut kept = None;
    for file in 0_u64.. {
        match upload(&shard, number, &credentials, file, kept.take()).await {
            Ok(connection) => {
                shard.count(|counts| counts.uploads += 1);
                kept = Some(connection);
            }
            Err(error) => {
                shard.failed(number, "upload", &error);
                // Agents wait longer and longer; here the next file comes after their first wait.
                sleep(Duration::from_secs_f64(1.0 + fastrand::f64())).await;
            }
        }
    }
}

async fn upload(
    shard: &Shard,
    number: usize,
    credentials: &Credentials,
    file: u64,
    kept: Option<Connection>,
) -> Result<Connection, CallError> {
    let begun = Instant::now();
    let mut connection = match kept.and_then(Connection::if_open) {
        Some(kept) => kept,
        None => Box::pin(shard.way.connect(number)).await?,
    };
    let (size, key) = (shard.plan.file_bytes, &credentials.access_api_key);
    let authority = &shard.way.authority;
    // Its own action each time: the same one would go on with the same upload.
    let action = format!("{}-{file}", wire::ulid());
    let body = wire::upload_body(&credentials.id, &action, size);
    let request = Request::new("POST", "/api/fleet/uploads?", authority, key, &[], &body);
    let answer = answer::upload(connection.call(request.bytes()).await?)?;
    let target = format!("/api/fleet/uploads/{}", answer.upload_id);
    let (mut transit, mut left, mut chunk) = (Sha256::new(), size, 0);
    while left > 0 {
        let length = left.min(answer.chunk_size);
        // A diagnostics archive does not compress either.
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        fastrand::fill(&mut bytes);
        let digest = Sha256::digest(&bytes);
        transit.update(digest);
        let extra = [("X-Chunk-Sha2", &*hex(&digest))];
        let request = Request::new(
            "PUT",
            &format!("{target}/{chunk}?"),
            authority,
            key,
            &extra,
            &bytes,
        );
        drop(bytes);
        let sent = Instant::now();
        answer::expect_ok(connection.call(request.bytes()).await?)?;
        shard.time(Step::Chunk, sent.elapsed());
        shard.count(|counts| counts.uploaded_bytes += length);
        left -= length;
        chunk += 1;
    }
    let body = format!(r#"{{"transithash":{{"sha256":"{}"}}}}"#, hex(&transit.finalize()));
    let request = Request::new(
        "POST",
        &format!("{target}?"),
        authority,
        key,
        &[],
        body.as_bytes(),
    );
    answer::expect_ok(connection.call(request.bytes()).await?)?;
    shard.time(Step::Upload, begun.elapsed());
    Ok(connection)
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
