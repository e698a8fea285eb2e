//! `policy apply` and `policy diff`: files against the server. Everything is read and judged before anything changes.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use similar::{ChangeTag, TextDiff};

use super::{
    PATH,
    file::{PolicyFile, comparable, write},
};
use crate::{
    fault::Fault,
    output::{Format, Output, column, text},
    resolve::Policies,
    server::{Api, segment},
};

/// What becomes of a file.
struct Step<'a> {
    file: &'a PolicyFile,
    /// The policy on the server.
    current: Option<&'a Value>,
    is_equal: bool,
}

fn plan<'a>(files: &'a [PolicyFile], policies: &'a Policies) -> Result<Vec<Step<'a>>, Fault> {
    let (mut steps, mut wrong) = (Vec::new(), Vec::new());
    for file in files {
        let current = match &file.id {
            Some(id) => policies.items.iter().find(|item| item["id"] == id.as_str()),
            None => match policies.find(&file.name) {
                Ok(found) => Some(found),
                Err(Fault::NotFound { .. }) => None,
                Err(fault) => {
                    wrong.push(format!("{}: {fault} in policy.id", file.place()));
                    continue;
                }
            },
        };
        let twin = policies
            .items
            .iter()
            .find(|item| item["name"] == file.name.as_str() && current.is_none());
        if let Some(twin) = twin {
            wrong.push(format!(
                "{}: a policy named {} is there with the id {}: give that policy.id, or another name",
                file.place(),
                file.name,
                text(&twin["id"])
            ));
            continue;
        }
        let is_equal = current.is_some_and(|item| of_item(item) == file.settings);
        steps.push(Step {
            file,
            current,
            is_equal,
        });
    }
    match wrong.is_empty() {
        true => Ok(steps),
        false => Err(Fault::Files(wrong)),
    }
}

/// The settings of a policy as the API shows it.
pub(super) fn of_item(item: &Value) -> Map<String, Value> {
    comparable(item.as_object().unwrap_or(&Map::new()))
}

impl Step<'_> {
    fn body(&self) -> Map<String, Value> {
        let mut body = self.file.settings.clone();
        if self.current.is_none() {
            if let Some(id) = &self.file.id {
                body.insert("id".into(), id.as_str().into());
            }
            body.insert("managed_from".into(), self.file.file_name().into());
        }
        body
    }

    /// Asks the server whether it would take the file.
    fn check(&self, api: &Api<'_>) -> Result<Option<String>, Fault> {
        let mut body = self.body();
        match self.current {
            Some(item) => body.insert("id".into(), item["id"].clone()),
            None => body.remove("id"),
        };
        match api.post(&format!("{PATH}/check"), &body.into()) {
            Ok(_) => Ok(None),
            Err(Fault::Refused { message, status: 400 }) => {
                let reason = message
                    .split_once(" answered 400: ")
                    .map_or(message.as_str(), |(_, said)| said);
                Ok(Some(self.file.told(reason)))
            }
            Err(fault) => Err(fault),
        }
    }

    /// Makes it so; the policy's id.
    fn take(&self, api: &Api<'_>) -> Result<String, Fault> {
        let body = self.body().into();
        let answer = match self.current {
            Some(item) => api.put(&format!("{PATH}/{}", segment(&text(&item["id"]))), &body)?,
            None => api.post(PATH, &body)?,
        };
        Ok(text(&answer["item"]["id"]))
    }
}

/// What `policy apply` may do beside creating and updating.
pub(super) struct Options {
    pub(super) prune: bool,
    pub(super) dry_run: bool,
    pub(super) format: Format,
}

pub(super) fn apply(
    files: &[PolicyFile],
    options: &Options,
    api: &Api<'_>,
    out: &mut Output<'_>,
) -> Result<(), Fault> {
    let policies = Policies::counted(api)?;
    let steps = plan(files, &policies)?;
    let mut wrong = Vec::new();
    for step in steps.iter().filter(|step| !step.is_equal) {
        wrong.extend(step.check(api)?);
    }
    if !wrong.is_empty() {
        return Err(Fault::Files(wrong));
    }
    let mut done = Vec::new();
    let outcome = carry_out(&steps, &policies, options, api, &mut done);
    // What was done before a fault is told too.
    let columns = [
        column("RESULT", |item| text(&item["result"])),
        column("POLICY", |item| text(&item["policy"])),
        column("ID", |item| text(&item["id"])),
        column("FILE", |item| text(&item["file"])),
    ];
    out.list(options.format, &done, &columns)?;
    outcome
}

fn carry_out(
    steps: &[Step<'_>],
    policies: &Policies,
    options: &Options,
    api: &Api<'_>,
    done: &mut Vec<Value>,
) -> Result<(), Fault> {
    let mut kept = HashSet::new();
    for step in steps {
        let known = step.current.map(|item| text(&item["id"]));
        kept.extend(known.clone());
        let result = match (step.current, step.is_equal) {
            (_, true) => "unchanged",
            (Some(_), false) => "updated",
            (None, false) => "created",
        };
        let id = match step.is_equal || options.dry_run {
            true => known.or_else(|| step.file.id.clone()),
            false => Some(step.take(api)?),
        };
        let file = step.file.path.display().to_string();
        done.push(json!({"result": result, "policy": step.file.name, "id": id, "file": file}));
    }
    if !options.prune {
        return Ok(());
    }
    for item in &policies.items {
        // What people made by hand is theirs.
        let Value::String(made_from) = &item["managed_from"] else {
            continue;
        };
        let id = text(&item["id"]);
        if kept.contains(&id) {
            continue;
        }
        let agents = item["agents"].as_u64().unwrap_or(0);
        let result = if agents > 0 {
            format!("kept: it has {agents} agents")
        } else {
            if !options.dry_run {
                api.post(&format!("{PATH}/delete"), &json!({"agentPolicyId": id}))?;
            }
            "deleted".to_owned()
        };
        done.push(json!({"result": result, "policy": item["name"], "id": id, "file": made_from}));
    }
    Ok(())
}

/// Shows what [`apply`] would change; whether it would.
pub(super) fn diff(files: &[PolicyFile], api: &Api<'_>, out: &mut Output<'_>) -> Result<bool, Fault> {
    let policies = Policies::read(api)?;
    let steps = plan(files, &policies)?;
    let mut differs = false;
    for step in steps.iter().filter(|step| !step.is_equal) {
        differs = true;
        let current = step.current.map(|item| {
            let id = step.file.id.as_ref().map(|_| text(&item["id"]));
            write(id.as_deref(), &of_item(item))
        });
        let (old, new) = (current.unwrap_or_default(), step.file.normal());
        let title = match step.current {
            Some(item) => format!("{} revision {}", step.file.name, text(&item["revision"])),
            None => "(no policy)".to_owned(),
        };
        show(&title, &step.file.path.display().to_string(), &old, &new, out)?;
    }
    Ok(differs)
}

/// A unified difference, in colours where they are welcome.
pub(super) fn show(from: &str, to: &str, old: &str, new: &str, out: &mut Output<'_>) -> Result<(), Fault> {
    let is_coloured = out.terminal.colour;
    let paint = |colour: &str, line: &str| match is_coloured {
        true => format!("\u{1b}[{colour}m{line}\u{1b}[0m\n"),
        false => format!("{line}\n"),
    };
    let mut shown = String::new();
    shown.push_str(&paint(
        "1",
        &format!("--- {}", notation::terminal::harmless(from)),
    ));
    shown.push_str(&paint("1", &format!("+++ {}", notation::terminal::harmless(to))));
    let differences = TextDiff::from_lines(old, new);
    for hunk in differences.unified_diff().context_radius(3).iter_hunks() {
        shown.push_str(&paint("36", hunk.header().to_string().trim_end()));
        for change in hunk.iter_changes() {
            // YAML as it is written here holds no control character.
            let line = change.value().trim_end_matches('\n');
            shown.push_str(&match change.tag() {
                ChangeTag::Delete => paint("31", &format!("-{line}")),
                ChangeTag::Insert => paint("32", &format!("+{line}")),
                ChangeTag::Equal => format!(" {line}\n"),
            });
        }
    }
    Ok(out.raw(&shown)?)
}
