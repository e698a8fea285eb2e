"""The dashboard: types by Grafana's own schema, queries by a PromQL parser, panels that do not overlap."""

import json
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import promql_parser

ROOT = Path(os.environ["ROOT"])
NODE = Path(os.environ["TOOLS"]) / "node"
DASHBOARD = ROOT / "deploy" / "grafana" / "fleet-server.json"

# Grafana's enums as the plain texts that JSON has; and the part that its schema leaves open, by its own type.
PRELUDE = """
import type { Dashboard, GraphFieldConfig } from '@grafana/schema';
type Plain<T> = unknown extends T ? T : T extends string ? `${T}` : T extends number | boolean | null | undefined ? T
  : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
"""
TARGET_KEYS = {"refId", "datasource", "expr", "legendFormat", "range", "instant", "format"}
PANEL_TYPES = {"stat", "timeseries", "table", "row"}


def type_errors(dashboard: dict) -> str:
    custom = [p["fieldConfig"]["defaults"]["custom"] for p in dashboard["panels"]
              if p["type"] == "timeseries" and "custom" in p["fieldConfig"]["defaults"]]
    text = (PRELUDE + f"export const dashboard = ({json.dumps(dashboard, indent=1)}) satisfies Plain<Dashboard>;\n"
            + f"export const custom = ({json.dumps(custom, indent=1)}) satisfies Plain<GraphFieldConfig>[];\n")
    with tempfile.NamedTemporaryFile("w", suffix=".ts", dir=NODE) as source:
        source.write(text)
        source.flush()
        done = subprocess.run(
            ["node", str(NODE / "node_modules/typescript/bin/tsc"), "--noEmit", "--skipLibCheck", "--strict",
             "--moduleResolution", "bundler", "--module", "esnext", "--target", "es2022", source.name],
            capture_output=True, text=True, timeout=120, check=False)
    return done.stdout if done.returncode else ""


def queries(dashboard: dict) -> list[str]:
    """Every panel's expressions, with Grafana's variables filled in."""
    found = [t["expr"] for p in dashboard["panels"] for t in p.get("targets", [])]
    return [q.replace("$__rate_interval", "5m").replace("$instance", ".*") for q in found]


class Dashboard(unittest.TestCase):
    def setUp(self):
        self.dashboard = json.loads(DASHBOARD.read_text())

    def test_types(self):
        self.assertEqual(type_errors(self.dashboard), "")

    def test_the_type_check_does_refuse(self):
        panel = next(i for i, p in enumerate(self.dashboard["panels"]) if p["type"] == "timeseries")
        for spoil in (
            lambda d: d.update(graphToltip=1),
            lambda d: d["panels"][panel]["gridPos"].update(w="12"),
            lambda d: d["panels"][panel]["fieldConfig"]["defaults"]["color"].update(mode="palette-clasic"),
            lambda d: d["panels"][panel]["fieldConfig"]["defaults"]["custom"].update(showPints="never"),
        ):
            spoilt = json.loads(DASHBOARD.read_text())
            spoil(spoilt)
            self.assertIn("error TS", type_errors(spoilt))

    def test_queries_parse(self):
        found = queries(self.dashboard)
        self.assertGreater(len(found), 20)
        for query in found:
            with self.subTest(query=query):
                self.assertNotIn("$", query)
                promql_parser.parse(query)
        with self.assertRaises(Exception):
            promql_parser.parse("sum by (a (b)")
        print(f"  {len(self.dashboard['panels'])} panels, {len(found)} queries")

    def test_targets_and_panels_have_known_keys(self):
        for panel in self.dashboard["panels"]:
            self.assertIn(panel["type"], PANEL_TYPES)
            for target in panel.get("targets", []):
                self.assertLessEqual(set(target), TARGET_KEYS)
                self.assertEqual(target["datasource"], {"type": "prometheus", "uid": "${datasource}"})

    def test_ids_are_unique_and_panels_do_not_overlap(self):
        panels = self.dashboard["panels"]
        self.assertEqual(len({p["id"] for p in panels}), len(panels))
        taken = set()
        for panel in panels:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24)
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & taken, panel["title"])
            taken |= cells

    def test_what_an_operator_looks_at_is_there(self):
        text = " ".join(queries(self.dashboard))
        for metric in ("agents{", "checkins_waiting", "checkins_total", "http_request_duration_seconds_bucket",
                       'code="429"', "policy_rollout_pending", "tls_reload_total", "certificate_not_after_timestamp_seconds",
                       "store_queue_length"):
            self.assertIn(metric, text)
        self.assertFalse(re.search(r"localhost|prometheus-uid", DASHBOARD.read_text()))


if __name__ == "__main__":
    unittest.main()
