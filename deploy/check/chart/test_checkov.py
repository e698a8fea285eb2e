"""Checkov over every rendering, with a counted number of passed checks and a reason for each finding we mean."""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

from rendering import HERE, Helm, value_files

ACCEPTED = yaml.safe_load((HERE / "checkov_accepted.yaml").read_text())


def scan(directory: str) -> dict:
    done = subprocess.run(
        [os.environ["CHECKOV"], "--directory", directory, "--framework", "kubernetes", "--output", "json",
         "--compact", "--quiet", "--skip-download"],
        capture_output=True, text=True, timeout=300, check=False)
    report = json.loads(done.stdout)
    # No runner at all gives another shape, and exit code 0.
    assert "summary" in report and report["check_type"] == "kubernetes", done.stdout[:500]
    return report


class Checkov(unittest.TestCase):
    def test_findings_are_those_we_mean(self):
        with tempfile.TemporaryDirectory() as directory:
            for name in value_files():
                (Path(directory) / f"{name}.yaml").write_text(Helm.all()[0].rendered(name))
            report = scan(directory)
        summary = report["summary"]
        self.assertEqual(summary["parsing_errors"], 0)
        self.assertEqual(summary["skipped"], 0)
        self.assertGreater(summary["passed"], 1500)
        used = set()
        for finding in report["results"]["failed_checks"]:
            kind = finding["resource"].split(".")[0]
            values = Path(finding["file_path"]).stem
            known = [i for i, a in enumerate(ACCEPTED) if a["check"] == finding["check_id"] and a["kind"] == kind
                     and values in a.get("values", [values])]
            with self.subTest(check=finding["check_id"], kind=kind, values=values):
                self.assertTrue(known, finding["check_name"])
            used.update(known)
        self.assertEqual(set(range(len(ACCEPTED))) - used, set(), "entries of checkov_accepted.yaml that nothing matches")
        print(f"  passed checks: {summary['passed']}, accepted findings: {summary['failed']}")

    def test_it_does_find(self):
        with tempfile.TemporaryDirectory() as directory:
            text = Helm.all()[0].rendered("existing-secret").replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false")
            (Path(directory) / "spoilt.yaml").write_text(text)
            found = {f["check_id"] for f in scan(directory)["results"]["failed_checks"]}
            self.assertIn("CKV_K8S_22", found)


if __name__ == "__main__":
    unittest.main()
