"""Dashboard and rules use only metrics and labels that the running server shows; promtool likes what it shows."""

import contextlib
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import promql_parser as promql
import yaml

from agent import Agent, exchange
from certificates import Authority
from chart_server import ChartServer

ROOT = Path(os.environ["ROOT"])
sys.path.insert(0, str(ROOT / "deploy" / "check" / "grafana"))

from test_dashboard import queries  # noqa: E402

# What Prometheus and its operator add to every series.
TARGET_LABELS = {"instance", "job", "namespace", "pod", "service", "endpoint", "container", "node"}


def families(text: str) -> dict[str, set[str]]:
    """Sample name to the labels it is shown with."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, labels = re.match(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? ", line).groups()
            found.setdefault(name, set()).update(re.findall(r'([a-zA-Z_][a-zA-Z0-9_]*)="', labels or ""))
    return found


def wrong(expression, shown: dict[str, set[str]]) -> tuple[list[str], set[str]]:
    """What an expression uses and nobody shows; and the labels that its result may have."""
    kind = type(expression).__name__
    if kind == "MatrixSelector":
        return wrong(expression.vector_selector, shown)
    if kind == "VectorSelector":
        if expression.name not in shown:
            return [f"metric {expression.name}"], set(TARGET_LABELS)
        known = shown[expression.name] | TARGET_LABELS
        used = {m.name for m in expression.matchers.matchers}
        return [f"label {label} of {expression.name}" for label in sorted(used - known)], known
    if kind in ("NumberLiteral", "StringLiteral"):
        return [], set()
    if kind == "Call":
        parts = [wrong(argument, shown) for argument in expression.args]
    elif kind == "BinaryExpr":
        parts = [wrong(expression.lhs, shown), wrong(expression.rhs, shown)]
    elif kind in ("ParenExpr", "UnaryExpr", "SubqueryExpr", "AggregateExpr"):
        parts = [wrong(expression.expr, shown)]
    else:
        raise AssertionError(f"an expression of kind {kind} is not understood")
    problems = [problem for found, _ in parts for problem in found]
    labels = set().union(*(found for _, found in parts))
    if kind == "AggregateExpr" and expression.modifier is not None:
        named = set(expression.modifier.labels)
        problems += [f"label {label} in by/without" for label in sorted(named - labels)]
        labels = named if "By" in str(expression.modifier.type) else labels - named
    return problems, labels


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """One server with some traffic: enrolled agents, a waiting poll, an error, a refused body, a rotation."""
        with tempfile.TemporaryDirectory() as temporary:
            directory = Path(temporary)
            authority = Authority(directory / "authority")
            first, second = authority.issue(90), authority.issue(90)
            secret = lambda pair: {"tls.crt": pair.certificate, "tls.key": pair.key}
            server = ChartServer(directory, ["--set", "tls.reload.debounce=100ms"], {"fleet-tls": secret(first)})
            server.start()
            try:
                server.wait_ready()
                context = ssl.create_default_context(cafile=str(authority.file))
                token = server.token()
                agent = Agent(server, context, token, "agent")
                agent.take_policy()
                for key, kind in (("bm9ib2R5OmtleQ==", "PERMANENT"), (token, "x" * 600_000)):
                    with contextlib.closing(server.connect(context)) as connection:
                        exchange(connection, "POST", "/api/fleet/agents/enroll", key, {"type": kind})
                server.volumes["tls"].write(secret(second))
                server.wait(lambda: second.fingerprint in server.http("/metrics")[1], "no rotation")
                # The states are counted every now and then.
                server.wait(lambda: "fleet_server_policy_rollout_pending{" in server.http("/metrics")[1], "nothing is counted")
                cls.text = server.http("/metrics")[1]
                agent.connection.close()
                cls.exit = server.stop()
            finally:
                server.kill()
        cls.shown = families(cls.text)

    def assert_shown(self, where: str, query: str, labels: set[str] = frozenset()):
        problems, result = wrong(promql.parse(query), self.shown)
        problems += [f"label {label} in its text" for label in sorted(labels - result)]
        self.assertEqual(problems, [], f"{where}: {query}")

    def test_the_server_ended_well(self):
        self.assertEqual(self.exit, 0)

    def test_promtool_likes_the_metrics(self):
        done = subprocess.run(["promtool", "check", "metrics"], input=self.text, capture_output=True, text=True, timeout=60, check=False)
        # The original's names, under which its collectors read a server, are not ours to choose: 3 is a matter of style.
        said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("http_server_")]
        self.assertIn(done.returncode, (0, 3))
        self.assertEqual(said, [])
        print(f"  {len(self.shown)} sample names, {len(self.text.splitlines())} lines, promtool has nothing to say")

    def test_the_rules_use_what_is_shown(self):
        rules = yaml.safe_load((ROOT / "deploy/prometheus/fleet-server.rules.yml").read_text())
        for rule in rules["groups"][0]["rules"]:
            with self.subTest(alert=rule["alert"]):
                used = set(re.findall(r"\$labels\.([a-z_]+)", json.dumps(rule["annotations"])))
                self.assert_shown(rule["alert"], rule["expr"], used)

    def test_the_dashboard_uses_what_is_shown(self):
        dashboard = json.loads((ROOT / "deploy/grafana/fleet-server.json").read_text())
        count = 0
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                with self.subTest(panel=panel["title"]):
                    query = queries({"panels": [{"targets": [target]}]})[0]
                    used = set(re.findall(r"\{\{([a-z_]+)\}\}", target["legendFormat"]))
                    self.assert_shown(panel["title"], query, used)
                    count += 1
        self.assertGreater(count, 20)
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                metric = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
                self.assertIn(metric[1], self.shown)
                self.assertIn(metric[2], TARGET_LABELS)

    def test_this_check_does_refuse(self):
        for query in ("fleet_server_agentz", 'fleet_server_agents{state="online"}', "sum by (room) (fleet_server_agents)",
                      "sum without (room) (fleet_server_agents)"):
            self.assertNotEqual(wrong(promql.parse(query), self.shown)[0], [], query)


if __name__ == "__main__":
    unittest.main()
