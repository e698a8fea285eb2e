"""Every value file, with every Helm: lint, rendering, and each object against Kubernetes' own schemas."""

import json
import subprocess
import sys
import tempfile
import unittest

import jsonschema
import kubernetes_validate
from kubernetes_validate.utils import SchemaNotFoundError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from rendering import HERE, Helm, parsed, value_files

# Kinds that no Kubernetes release carries; each has a strict schema of ours in crds/.
CUSTOM = {path.stem: json.loads(path.read_text()) for path in (HERE / "crds").glob("*.json") if path.stem != "metadata"}
METADATA = Resource.from_contents(json.loads((HERE / "crds" / "metadata.json").read_text()), DRAFT202012)
REGISTRY = Registry().with_resource("metadata", METADATA)


def kubernetes_versions() -> tuple[str, str]:
    """The oldest and the newest that kubernetes-validate carries."""
    text = subprocess.run(
        [sys.executable, "-c", "import kubernetes_validate,os;"
         "print(*os.listdir(os.path.join(os.path.dirname(kubernetes_validate.__file__),'kubernetes-json-schema')))"],
        capture_output=True, text=True, check=True).stdout
    minors = {tuple(int(n) for n in name.removeprefix("v").split("-")[0].split(".")[:2]) for name in text.split()}
    return tuple(f"{major}.{minor}" for major, minor in (min(minors), max(minors)))


def validate(document: dict, version: str) -> str:
    """Who judged the object: `kubernetes` or `own`; raises if it is wrong or nobody can judge it."""
    try:
        kubernetes_validate.validate(document, version, strict=True)
        return "kubernetes"
    except SchemaNotFoundError:
        schema = CUSTOM.get(document["kind"])
        if schema is None:
            raise AssertionError(f"no schema for {document['apiVersion']} {document['kind']}") from None
        jsonschema.Draft202012Validator(schema, registry=REGISTRY).validate(document)
        return "own"


class Matrix(unittest.TestCase):
    """Wide on purpose: what a template does for one value file says little about another."""

    def test_there_are_enough_value_files(self):
        self.assertGreaterEqual(len(value_files()), 12)

    def test_two_majors_of_helm(self):
        majors = {helm.version().split(".")[0] for helm in Helm.all()}
        self.assertEqual(majors, {"v3", "v4"})

    def test_lint(self):
        for helm in Helm.all():
            for name in value_files():
                with self.subTest(helm=helm.version(), values=name):
                    done = helm.lint("--values", str(HERE / "values" / f"{name}.yaml"))
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_object_is_valid_for_the_oldest_and_the_newest_kubernetes(self):
        counted = {"kubernetes": 0, "own": 0}
        kinds = set()
        judged: dict[tuple[str, str], str] = {}
        for version in kubernetes_versions():
            for helm in Helm.all():
                for name in value_files():
                    documents = helm.documents(name, "--kube-version", version)
                    self.assertGreater(len(documents), 4, name)
                    for document in documents:
                        with self.subTest(kubernetes=version, values=name, kind=document["kind"]):
                            # Most objects come out the same for several value files, and for both Helms.
                            key = (version, json.dumps(document, sort_keys=True))
                            if key not in judged:
                                judged[key] = validate(document, version)
                            counted[judged[key]] += 1
                            kinds.add(document["kind"])
        print(f"  {counted['kubernetes']} objects by kubernetes {' and '.join(kubernetes_versions())}, "
              f"{counted['own']} by own schemas; kinds: {', '.join(sorted(kinds))}")
        self.assertEqual(set(CUSTOM) - kinds, set(), "a schema of ours that no value file uses")
        self.assertGreater(counted["kubernetes"], 300)

    def test_both_helms_render_the_same(self):
        old, new = Helm.all()
        for name in value_files():
            if "selfSigned" in (HERE / "values" / f"{name}.yaml").read_text():
                continue
            with self.subTest(values=name):
                order = lambda d: (d["kind"], d["metadata"]["name"])
                self.assertEqual(sorted(old.documents(name), key=order), sorted(new.documents(name), key=order))

    def test_the_validators_do_refuse(self):
        """A check that cannot fail is useless: one misspelt field each."""
        version = kubernetes_versions()[1]
        good = {d["kind"]: d for name in ("cert-manager", "tls-route", "monitoring") for d in Helm.all()[0].documents(name)}
        for kind, spoil in {
            "StatefulSet": lambda d: d["spec"]["template"]["spec"]["containers"][0].update(livenessprobe={}),
            "ServiceMonitor": lambda d: d["spec"]["endpoints"][0].update(prot="http"),
            "Certificate": lambda d: d["spec"].update(dnsName=["a"]),
            "TLSRoute": lambda d: d["spec"].update(hostNames=["a"]),
            "PrometheusRule": lambda d: d["spec"]["groups"][0]["rules"][0].update({"fro": "1m"}),
            "NetworkPolicy": lambda d: d["spec"].update(podSelektor={}),
        }.items():
            with self.subTest(kind=kind):
                document = json.loads(json.dumps(good[kind]))
                validate(document, version)
                spoil(document)
                with self.assertRaises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
                    validate(document, version)

    def test_an_unlisted_kind_fails(self):
        with self.assertRaisesRegex(AssertionError, "no schema for"):
            validate({"apiVersion": "example.com/v1", "kind": "Surprise", "metadata": {"name": "a"}}, kubernetes_versions()[1])

    def test_the_packaged_chart_renders_the_same(self):
        for helm in Helm.all():
            with tempfile.TemporaryDirectory() as directory:
                done = helm._run("package", str(HERE.parents[1] / "helm" / "fleet-server"), "--destination", directory)
                self.assertEqual(done.returncode, 0, done.stderr)
                archive = done.stdout.strip().split(": ")[-1]
                text = helm._run("template", "fleet", archive, "--namespace", "agents", "--values",
                                 str(HERE / "values" / "monitoring.yaml")).stdout
                self.assertEqual(parsed(text), helm.documents("monitoring"))


if __name__ == "__main__":
    unittest.main()
