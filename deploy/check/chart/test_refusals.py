"""Wrong values: refused at rendering, by name and with the remedy (refused.yaml).

`helm lint` shows what a template refuses as information only, whatever its flags; rendering and installing refuse.
"""

import re
import unittest

import yaml

from rendering import HERE, VALUES, Helm

CASES = yaml.safe_load((HERE / "refused.yaml").read_text())


def arguments(case: dict) -> list[str]:
    base = case.get("base", "existing-secret")
    args = [] if base is None else ["--values", str(VALUES / f"{base}.yaml")]
    for flag, key in (("--set", "set"), ("--set-string", "string"), ("--set-json", "json")):
        for value in case.get(key, []):
            args += [flag, value]
    return args


def patterns(case: dict) -> list[str]:
    """The schema's refusals: `- service.port: …` (Helm 3), `- at '/service/port': …` (Helm 4)."""
    found = []
    if "at" in case:
        dotted, slashed = re.escape(case["at"]), re.escape("/" + case["at"].replace(".", "/"))
        found.append(f"(?m)^- (?:{dotted}: |at '{slashed}': )")
    if "unknown" in case:
        found.append(f"dditional propert(?:y|ies) '?{re.escape(case['unknown'])}'? (?:is )?not allowed")
    return found


class Refusals(unittest.TestCase):
    def test_there_are_enough(self):
        self.assertGreaterEqual(len(CASES), 15)

    def test_each_is_refused_by_name(self):
        for helm in Helm.all():
            for case in CASES:
                with self.subTest(helm=helm.version(), about=case["about"]):
                    done = helm.template(*arguments(case))
                    self.assertEqual(done.returncode, 1, f"rendered: {case}")
                    for words in case.get("says", []):
                        self.assertIn(words, done.stderr)
                    for pattern in patterns(case):
                        self.assertRegex(done.stderr, pattern)
                    self.assertNotIn("nil pointer", done.stderr)


if __name__ == "__main__":
    unittest.main()
