"""An agent as far as these checks need one: it enrols, takes its policy, and holds a long poll."""

from __future__ import annotations

import json
import ssl

HEADERS = {"User-Agent": "Elastic Agent v9.6.0", "Content-Type": "application/json"}


def exchange(connection, method: str, path: str, key: str, body: dict | None = None) -> tuple[int, dict]:
    connection.request(method, path, body=None if body is None else json.dumps(body),
                       headers={**HEADERS, "Authorization": f"ApiKey {key}"})
    answer = connection.getresponse()
    text = answer.read()
    return answer.status, json.loads(text) if text else {}


class Agent:
    """Enrolled; `connection` is its own."""

    def __init__(self, server, context: ssl.SSLContext, token: str, name: str):
        self.connection = server.connect(context, timeout=600)
        status, body = exchange(self.connection, "POST", "/api/fleet/agents/enroll", token, {
            "type": "PERMANENT", "metadata": {"local": {"host": {"hostname": name}}, "user_provided": {}}})
        if status != 200:
            raise AssertionError(f"enrolment answered {status}: {body}")
        self.id = body["item"]["id"]
        self.key = body["item"]["access_api_key"]
        self.state: dict = {}

    @property
    def path(self) -> str:
        return f"/api/fleet/agents/{self.id}/checkin"

    def take_policy(self) -> None:
        """The first check-in, which is answered with the policy."""
        status, body = self.check_in()
        change = next(a for a in body.get("actions", []) if a["type"] == "POLICY_CHANGE")
        assert status == 200, body
        policy = change["data"]["policy"]
        self.state = {"agent_policy_id": policy["id"], "policy_revision_idx": policy["revision"], "ack_token": body["ack_token"]}
        status, body = exchange(self.connection, "POST", f"/api/fleet/agents/{self.id}/acks", self.key, {"events": [{
            "type": "ACTION_RESULT", "subtype": "ACKNOWLEDGED", "agent_id": self.id, "action_id": change["id"],
            "message": "acknowledged", "timestamp": "2026-01-01T00:00:00Z"}]})
        assert status == 200, body

    def check_in(self) -> tuple[int, dict]:
        """Waits as long as the server lets it."""
        return exchange(self.connection, "POST", self.path, self.key, {"status": "online", "message": "check", **self.state})
