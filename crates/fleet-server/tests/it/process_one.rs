//! A server that is process 1, as in a container: nothing can take its place, and it says so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use rustix::process::{Pid, kill_process};
use serde_json::Value;
use test_support::{QuickstartFacts, Request, Signal, eventually};

const BINARY: &str = env!("CARGO_BIN_EXE_fleet-server");

/// `unshare` with the server as the first process of a namespace.
struct Container {
    unshare: Child,
    data: PathBuf,
}

impl Container {
    fn start(directory: &Path) -> Self {
        let data = directory.join("data");
        let mut command = unshare();
        command.arg(BINARY).arg("quickstart").arg("--data-dir").arg(&data);
        for key in [
            "inputs.0.server.port",
            "inputs.0.server.internal_port",
            "admin.port",
            "http.port",
        ] {
            command.arg("-E").arg(format!("{key}=0"));
        }
        let unshare = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { unshare, data }
    }

    /// The server as this test sees it; there it is 1.
    fn server(&self) -> Pid {
        let id = self.unshare.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        Pid::from_raw(children.trim().parse().unwrap()).unwrap()
    }

    /// A command beside the server.
    fn inside(&self, words: &[&str]) -> Output {
        Command::new("nsenter")
            .args(["--preserve-credentials", "--user", "--pid", "--mount", "--target"])
            .arg(self.server().as_raw_pid().to_string())
            .arg(BINARY)
            .args(words)
            .arg("--data-dir")
            .arg(&self.data)
            .output()
            .unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // A failed test: the server ends with its parent.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
    ]);
    command
}

#[actix_rt::test]
async fn process_1_is_not_replaced_and_says_what_to_do_instead() {
    let directory = tempfile::tempdir().unwrap();
    let mut container = Container::start(directory.path());
    let facts = container.data.join("quickstart.json");
    eventually("the server listens", async || facts.exists()).await;
    let facts = QuickstartFacts::read(&facts);

    let told = container.inside(&["restart"]);
    let error = String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(1), "{error}");
    assert!(
        error.contains("process 1, which cannot be replaced") && error.contains("kubectl rollout restart"),
        "{error}"
    );

    // The signal itself, as a service manager or a script would send it.
    kill_process(container.server(), Signal::USR2).unwrap();
    let outcome = container.data.join("restart.json");
    eventually("the outcome is told", async || outcome.exists()).await;
    let outcome: Value = serde_json::from_str(&fs::read_to_string(&outcome).unwrap()).unwrap();
    assert_eq!(outcome["from"], 1, "{outcome}");
    let error = outcome["error"].as_str().unwrap();
    assert!(
        error.contains("process 1 cannot be replaced") && error.contains("roll the pod"),
        "{error}"
    );

    let answer = facts
        .client("url")
        .request(&Request::get("/api/status"))
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
    kill_process(container.server(), Signal::TERM).unwrap();
    let ended = container.unshare.wait().unwrap();
    assert_eq!(ended.code(), Some(0), "{ended}");
}
