//! What a scenario has done to the server in the middle of a run: a policy changed, an action posted, a restart, by
//! the admin API or by a command of the operator's.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::{
    admin::{Admin, large_overrides},
    fault::Fault,
    figures::now,
};

/// Makes new revisions of the agents' policy.
pub(crate) enum PolicyChange {
    /// Through the admin API.
    Admin {
        admin: Box<Admin>,
        settings: Value,
        /// What the policy held before it was made large.
        small: Option<Value>,
    },
    /// By this command.
    Command(String),
}

/// A change, and when it was begun and accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changed {
    pub(crate) begun: u64,
    pub(crate) accepted: u64,
    /// The new revision, if it is known.
    pub(crate) revision: Option<i64>,
}

impl PolicyChange {
    /// Prepares changes of the policy of `agent`; makes it `bytes` large first (a revision of its own).
    pub(crate) async fn by_admin(mut admin: Admin, agent: &str, bytes: Option<u64>) -> Result<Self, Fault> {
        let policy = admin.policy_of(agent).await?;
        let settings = admin.policy(&policy).await?;
        let small = match bytes {
            None => None,
            Some(bytes) => {
                let large = large_overrides(usize::try_from(bytes).unwrap_or(usize::MAX));
                admin.update_policy(&settings, Some(&large)).await?;
                Some(settings.get("overrides").cloned().unwrap_or(Value::Null))
            }
        };
        Ok(Self::Admin {
            admin: Box::new(admin),
            settings,
            small,
        })
    }

    /// Makes one more revision.
    pub(crate) async fn make(&mut self) -> Result<Changed, Fault> {
        let begun = now();
        let revision = match self {
            Self::Admin { admin, settings, .. } => Some(admin.update_policy(settings, None).await?),
            Self::Command(command) => {
                run(command).await?;
                None
            }
        };
        Ok(Changed {
            begun,
            accepted: now(),
            revision,
        })
    }

    /// Gives the policy back its own content.
    pub(crate) async fn restore(self) -> Result<(), Fault> {
        if let Self::Admin {
            mut admin,
            settings,
            small: Some(small),
        } = self
        {
            admin.update_policy(&settings, Some(&small)).await?;
        }
        Ok(())
    }
}

/// Runs a command of the operator's with a shell and waits for its end.
pub(crate) async fn run(command: &str) -> Result<(), Fault> {
    let fault = |reason: String| Fault::Trigger {
        command: command.into(),
        reason,
    };
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .await
        .map_err(|error| fault(format!("could not be run: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(fault(format!("failed ({}): {}", output.status, words.trim())))
}
