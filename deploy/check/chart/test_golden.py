"""Three renderings on record, compared as parsed YAML. `python3 test_golden.py --write` writes them anew."""

import sys
import unittest

import yaml

from rendering import HERE, Helm, parsed

NAMES = ["existing-secret", "cert-manager", "client-auth"]


class Golden(unittest.TestCase):
    maxDiff = None

    def test_renders_as_on_record(self):
        for helm in Helm.all():
            for name in NAMES:
                with self.subTest(helm=helm.version(), values=name):
                    recorded = parsed((HERE / "golden" / f"{name}.yaml").read_text())
                    by_name = lambda documents: {(d["kind"], d["metadata"]["name"]): d for d in documents}
                    self.assertEqual(by_name(helm.documents(name)), by_name(recorded),
                                     "\nif this change is meant: deploy/check/run.sh golden")


def write() -> None:
    for name in NAMES:
        text = yaml.safe_dump_all(Helm.all()[0].documents(name), sort_keys=False, explicit_start=True, width=110)
        (HERE / "golden" / f"{name}.yaml").write_text(text)


if __name__ == "__main__":
    if "--write" in sys.argv:
        write()
    else:
        unittest.main()
