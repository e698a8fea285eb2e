//! A part of the fleet in a process of its own: where one process may not open enough files.
//!
//! The child is this program again, with a hidden sub-command. Plan and orders go to it by stdin, news come by
//! stdout, one JSON value a line; so the token is on no command line. A child whose stdin ends, ends.

use std::{io::BufRead as _, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
    sync::mpsc,
    task::LocalSet,
};

use crate::{
    fault::Fault,
    plan::{News, Order, Plan},
    room, shard,
};

/// The sub-command of a child.
pub(crate) const SUB_COMMAND: &str = "part";

/// Starts a child and passes orders and news on.
pub(crate) fn start(
    plan: Plan,
    mut orders: mpsc::Receiver<Order>,
    news: mpsc::Sender<News>,
) -> Result<(), Fault> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(SUB_COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Fault::Part("its pipes are missing".into()));
    };
    tokio::spawn(async move {
        let mut sent = write(&mut stdin, &plan).await;
        while sent.is_ok() {
            let Some(order) = orders.recv().await else { break };
            sent = write(&mut stdin, &order).await;
        }
        // Without stdin the child ends.
        drop(stdin);
        let _ = child.wait().await;
    });
    tokio::spawn(async move {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let told = serde_json::from_str(&line).unwrap_or_else(|error| News::Failed(error.to_string()));
            if news.send(told).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

async fn write(to: &mut tokio::process::ChildStdin, value: &impl serde::Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    to.write_all(&line).await?;
    to.flush().await
}

/// What the child does: runs its part until stdin ends.
pub(crate) fn run(out: &mut impl std::io::Write) -> Result<(), Fault> {
    room::raise_file_limit();
    let mut lines = std::io::stdin().lock().lines();
    let plan = lines.next().transpose()?.unwrap_or_default();
    let plan: Plan = serde_json::from_str(&plan).map_err(|error| Fault::Part(error.to_string()))?;
    drop(lines);
    let (orders, orders_out) = mpsc::channel(8);
    let (news_in, mut news) = mpsc::channel(16);
    std::thread::Builder::new().name("orders".into()).spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Some(order) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else {
                return;
            };
            if orders.blocking_send(order).is_err() {
                return;
            }
        }
    })?;
    let agents = std::thread::Builder::new().name("agents".into()).spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => LocalSet::new().block_on(&runtime, shard::run(plan, orders_out, news_in)),
            Err(error) => {
                // Without a conductor nobody is left to tell.
                let _ = news_in.blocking_send(News::Failed(error.to_string()));
            }
        }
    })?;
    while let Some(told) = news.blocking_recv() {
        serde_json::to_writer(&mut *out, &told).map_err(std::io::Error::from)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    agents.join().map_err(|_| Fault::Part("it panicked".into()))
}
