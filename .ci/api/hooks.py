"""What schemathesis must know about this server: keys, and values that depend on each other.

Generated requests come as they are, and most of them are refused for their key, id or hash. So most are led to what
exists: an own agent with its key, an open upload with the hash of the body. Which ones depends on the request alone,
so that a seed always makes the same requests.
"""

import atexit
import hashlib
import json
import os
import ssl
import urllib.request
from pathlib import Path

import schemathesis

FACTS = json.loads((Path(os.environ["API_CHECK_DATA"]) / "quickstart.json").read_text())
TRUST = ssl.create_default_context(cafile=FACTS["ca_file"])
AGENT_HEADERS = {"User-Agent": "elastic agent 9.6.0"}
OF_ONE_AGENT = {"checkin", "acks", "auditUnenroll"}
LARGEST = 1000  # bytes of a file that is sent

FACE = os.environ["API_CHECK_FACE"]

answers: dict[str, dict[int, int]] = {}  # operation to status to number
agents: dict[str, str] = {}  # id to key
actions: list[str] = []
secrets: list[str] = []
operator_keys: list[str] = []
policies: list[str] = []
artifacts: list[tuple[str, str]] = []
uploads: dict[str, int] = {}  # open ones, to their size
chunks: dict[str, bytes] = {}  # what was stored of those


def ask(url: str, key: str, body=None, headers=(), method=None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"ApiKey {key}", "Content-Type": "application/json", **dict(headers)}
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, context=TRUST, timeout=30) as answer:
        return json.load(answer)


def enroll() -> tuple[str, str]:
    token = FACTS["enrollment_token"]
    body = {"type": "PERMANENT", "metadata": {"local": {}, "tags": []}}
    item = ask(f"{FACTS['url']}/api/fleet/agents/enroll", token, body, AGENT_HEADERS)["item"]
    agents[item["id"]] = item["access_api_key"]
    return item["id"], item["access_api_key"]


OWN_AGENT, OWN_KEY = enroll()


def name_of(case) -> str:
    return case.operation.definition.raw.get("operationId", "")


def is_led(case, share: int = 4) -> bool:
    """Whether this request is one of the most that are led; one of `share` stays as it was generated."""
    text = repr((name_of(case), case.path_parameters, case.query, case.body))
    return hashlib.sha256(text.encode(errors="replace")).digest()[0] % share != 0


def plain(body) -> bytes:
    """The bytes of a generated body."""
    data = getattr(body, "data", body)
    return data if isinstance(data, bytes) else b""


@schemathesis.auth(refresh_interval=None)
class Keys:
    """Each operation with the key that it wants."""

    def get(self, case, context):
        name = name_of(case)
        if FACE == "operators":
            return FACTS["admin_api_key"]
        if name in ("enroll", "opamp", "opampConnection"):
            return FACTS["enrollment_token"]
        return agents.get(case.path_parameters.get("id"), OWN_KEY)

    def set(self, case, key, context):
        case.headers["Authorization"] = f"ApiKey {key}"


@schemathesis.serializer("application/x-protobuf")
def protobuf(context, value):
    return plain(value)


@schemathesis.hook
def map_case(context, case):
    lead = LEADS.get(name_of(case))
    if lead is not None and is_led(case):
        lead(case)
    if name_of(case) == "agentUnenroll" and case.path_parameters.get("id") == OWN_AGENT and case.body != {}:
        # A link may lead here, with `force`: the others need this agent.
        case.path_parameters["id"] = enroll()[0]
    return case


def to_policy(case) -> None:
    case.path_parameters["id"] = FACTS["policy_id"]


def to_reassigned(case) -> None:
    to_own_agent(case)
    to_policy_in_body(case)


def to_upgrade(case) -> None:
    to_own_agent(case)
    case.body = {"version": "9.6.0"}


def to_migration(case) -> None:
    case.path_parameters["id"] = enroll()[0]
    case.body = {"uri": "https://other.example:8220", "enrollment_token": "x"}


def to_privilege(case) -> None:
    to_own_agent(case)
    case.body = {}


def to_upgrades(case) -> None:
    case.body = {"version": "9.6.0", "agents": [OWN_AGENT]}


def to_migrations(case) -> None:
    case.body = {"uri": "https://other.example:8220", "enrollment_token": "x", "agents": [enroll()[0]]}


def to_privileges(case) -> None:
    case.body = {"agents": [OWN_AGENT]}


def to_new_agents(case) -> None:
    """Not the agent that the others need."""
    case.body = {"agents": [enroll()[0]]}


def to_policy_copy(case) -> None:
    to_policy(case)
    case.body = {"name": "x"}


def to_policy_revision(case) -> None:
    to_policy(case)
    case.path_parameters["revision"] = "1"


def to_policy_diff(case) -> None:
    to_policy(case)
    case.query["from"] = case.query["to"] = "1"


def to_policy_rollback(case) -> None:
    to_policy(case)
    case.body = {"revision": 1}


def to_policies(case) -> None:
    case.body = {"ids": [FACTS["policy_id"]]}


def to_policy_in_body(case) -> None:
    """One that has none of the operation's other members, as generated names and times are refused."""
    case.body = {"policy_id": FACTS["policy_id"]}


def to_known_agents(case) -> None:
    case.body = {"policy_id": FACTS["policy_id"], "agents": [OWN_AGENT]}


def to_new_secret(case) -> None:
    case.body = {"value": "x"}


def to_new_operator_key(case) -> None:
    case.body = {"name": "x", "role": "viewer"}


def to_own_operator_key(case) -> None:
    """The key in use is this server's own, which is never revoked."""
    if operator_keys and case.path_parameters.get("id") not in operator_keys:
        case.path_parameters["id"] = operator_keys[-1]


def to_unused_policy(case) -> None:
    if policies:
        case.body = {"agentPolicyId": policies[-1]}


def to_own_artifact(case) -> None:
    if artifacts:
        case.path_parameters["id"], case.path_parameters["sha2"] = artifacts[-1]


def to_own_secret(case) -> None:
    if secrets and case.path_parameters.get("id") not in secrets:
        case.path_parameters["id"] = secrets[-1]


def to_own_action(case) -> None:
    if actions and case.path_parameters.get("id") not in actions:
        case.path_parameters["id"] = actions[-1]


def to_diagnostics(case) -> None:
    to_own_agent(case)
    case.body = {"additional_metrics": ["CPU"]}


def to_gentle_unenroll(case) -> None:
    """Not at once: the agent is needed."""
    to_own_agent(case)
    case.body = {}


def to_possible_action(case) -> None:
    to_own_agent(case)
    action = case.body.get("action") if isinstance(case.body, dict) else None
    if isinstance(action, dict):
        case.body["action"] = {"type": "SETTINGS", "data": {"log_level": "debug"}} | {
            name: value for name, value in action.items() if name in ("timeout", "user_id")
        }


def to_file_for_agent(case) -> None:
    case.query.pop("source", None)
    case.query["agents"] = OWN_AGENT


def to_own_policy(case) -> None:
    """A name and a namespace that indices may have; inputs of a generated shape are no use to an agent."""
    if isinstance(case.body, dict):
        name = hashlib.sha256(repr(case.body).encode(errors="replace")).hexdigest()[:12]
        case.body.update(name=name, namespace="default", description="x")
        for member in ("id", "full_policy", "overrides", "inactivity_timeout", "monitoring_enabled"):
            case.body.pop(member, None)
        case.media_type = "application/json"
        case.query.pop("sys_monitoring", None)


def to_updated_policy(case) -> None:
    to_policy(case)
    to_own_policy(case)


def to_plain_enrolment(case) -> None:
    if isinstance(case.body, dict):
        case.body.pop("id", None)
        case.body.pop("enrollment_id", None)
        case.body["metadata"] = {"local": {}, "tags": ["a"]}


def to_own_agent(case) -> None:
    if case.path_parameters.get("id") not in agents:
        case.path_parameters["id"] = OWN_AGENT


def to_quick_poll(case) -> None:
    """A poll that asks for its length waits a minute at least, whatever is configured: one in four does."""
    to_own_agent(case)
    if isinstance(case.body, dict):
        case.body.pop("poll_timeout", None)


def to_upload_of_own_agent(case) -> None:
    if isinstance(case.body, dict):
        case.body["agent_id"] = OWN_AGENT
        file = case.body.get("file")
        if isinstance(file, dict) and isinstance(file.get("size"), int):
            file["size"] = 1 + abs(file["size"]) % LARGEST


def to_first_chunk(case) -> None:
    if case.path_parameters.get("id") not in uploads and uploads:
        case.path_parameters["id"] = list(uploads)[-1]
    size = uploads.get(case.path_parameters.get("id"))
    if size is not None:
        case.path_parameters["chunk"] = 0
        case.body = b"x" * size
        case.headers["X-Chunk-SHA2"] = hashlib.sha256(case.body).hexdigest()


def to_complete_upload(case) -> None:
    if case.path_parameters.get("id") not in chunks and chunks:
        case.path_parameters["id"] = list(chunks)[-1]
    body = chunks.get(case.path_parameters.get("id"))
    if body is not None:
        case.body = {"transithash": {"sha256": hashlib.sha256(hashlib.sha256(body).digest()).hexdigest()}}


def to_message(case) -> None:
    """AgentToServer with an id of its own: instance_uid, sequence_num, capabilities."""
    uid = hashlib.sha256(plain(case.body)).digest()[:16]
    case.body = b"\x0a\x10" + uid + b"\x10\x01" + b"\x20\x01"


LEADS = {
    "enroll": to_plain_enrolment,
    "policy": to_policy,
    "policyFull": to_policy,
    "policyCheck": to_own_policy,
    "policyCreate": to_own_policy,
    "policyUpdate": to_updated_policy,
    "tokenCreate": to_policy_in_body,
    "agent": to_own_agent,
    "agentUnenroll": to_gentle_unenroll,
    "agentReassign": to_reassigned,
    "agentUpgrade": to_upgrade,
    "agentMigrate": to_migration,
    "agentChangePrivilege": to_privilege,
    "agentsUpgrade": to_upgrades,
    "agentsMigrate": to_migrations,
    "agentsChangePrivilege": to_privileges,
    "agentsUnenroll": to_new_agents,
    "policyCopy": to_policy_copy,
    "policyDownload": to_policy,
    "policyRevisions": to_policy,
    "policyRevision": to_policy_revision,
    "policyDiff": to_policy_diff,
    "policyRollback": to_policy_rollback,
    "policiesGet": to_policies,
    "agentsReassign": to_known_agents,
    "actionCreate": to_possible_action,
    "uploads": to_own_agent,
    "diagnosticsRequest": to_diagnostics,
    "policyDelete": to_unused_policy,
    "artifactDelete": to_own_artifact,
    "secretCreate": to_new_secret,
    "keyCreate": to_new_operator_key,
    "key": to_own_operator_key,
    "keyRevoke": to_own_operator_key,
    "secret": to_own_secret,
    "action": to_own_action,
    "fileCreate": to_file_for_agent,
    "checkin": to_quick_poll,
    "acks": to_own_agent,
    "auditUnenroll": to_own_agent,
    "uploadBegin": to_upload_of_own_agent,
    "uploadChunk": to_first_chunk,
    "uploadComplete": to_complete_upload,
    "opamp": to_message,
}


@schemathesis.hook
def after_call(context, case, response):
    """Counts, and remembers what was made."""
    of = answers.setdefault(name_of(case), {})
    of[response.status_code] = of.get(response.status_code, 0) + 1
    if response.status_code != 200:
        return
    name = name_of(case)
    if name == "enroll":
        item = response.json()["item"]
        agents[item["id"]] = item["access_api_key"]
    elif name == "actionCreate":
        actions.append(response.json()["item"]["id"])
    elif name == "diagnosticsRequest":
        actions.append(response.json()["actionId"])
    elif name == "policyCreate":
        policies.append(response.json()["item"]["id"])
    elif name == "policyDelete":
        policies.remove(response.json()["id"])
    elif name == "artifactPut":
        item = response.json()["item"]
        artifacts.append((item["identifier"], item["entry"]["decoded_sha256"]))
    elif name == "artifactDelete":
        artifacts.pop()
    elif name == "secretCreate":
        secrets.append(response.json()["item"]["id"])
    elif name == "keyCreate":
        operator_keys.append(response.json()["item"]["id"])
    elif name == "uploadBegin":
        if case.body["file"]["size"] <= LARGEST:
            uploads[response.json()["upload_id"]] = case.body["file"]["size"]
    elif name == "uploadChunk":
        chunks[case.path_parameters["id"]] = plain(case.body)
    elif name == "uploadComplete":
        chunks.pop(case.path_parameters["id"], None)
        uploads.pop(case.path_parameters["id"], None)


WORDS_BESIDE_IDS = (
    "policyDelete", "policyCheck", "policiesGet", "agentsReassign", "diagnosticsRequestOfMany",
    "agentsUpgrade", "agentsMigrate", "agentsChangePrivilege", "agentsUnenroll",
)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """What is right here although schemathesis thinks otherwise, each with its reason."""
    if type(failure).__name__ == "IgnoredAuth" and "got `400 " in failure.message:
        return False  # agents.md 2.1: a malformed Authorization is 400; it is refused all the same
    if "got `429 " in failure.message or "Got 429 " in failure.message:
        return False  # agents.md 1.10: an address that asks too often without a good key; it is refused all the same
    if type(failure).__name__ == "AllowHeaderMismatch" and name_of(case) in WORDS_BESIDE_IDS:
        return False  # a word in the place of an id: the path has the methods of the one with the id as well
    return True


@atexit.register
def tell_answers() -> None:
    Path(os.environ["API_CHECK_ANSWERS"]).write_text(json.dumps(answers))
