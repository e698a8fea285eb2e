"""Renders the chart with a given Helm, as parsed YAML documents."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
import subprocess
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
CHART = HERE.parents[1] / "helm" / "fleet-server"
VALUES = HERE / "values"
RELEASE = "fleet"
NAMESPACE = "agents"
# The parser in C where PyYAML has it: the one in Python takes most of the time.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclasses.dataclass(frozen=True)
class Helm:
    """One of the Helm versions that the chart has to work with."""

    binary: str

    @staticmethod
    def all() -> list["Helm"]:
        """HELM_BINARIES, separated by colons."""
        return [Helm(path) for path in os.environ["HELM_BINARIES"].split(":")]

    def version(self) -> str:
        return self._run("version", "--template", "{{.Version}}").stdout.strip()

    def lint(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self._run("lint", "--strict", str(CHART), *args)

    def template(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self._run("template", RELEASE, str(CHART), "--namespace", NAMESPACE, *args)

    def rendered(self, name: str, *args: str) -> str:
        """The text for one of the value files; an error is the test's."""
        done = self.template("--values", str(VALUES / f"{name}.yaml"), *args)
        if done.returncode:
            raise AssertionError(f"{self.version()} does not render {name}: {done.stderr}")
        return done.stdout

    def documents(self, name: str, *args: str) -> list[dict]:
        return copy.deepcopy(self._documents(name, *args))

    def fresh(self, name: str, *args: str) -> list[dict]:
        """Rendered anew, for what differs each time."""
        return parsed(self.rendered(name, *args))

    @functools.lru_cache(maxsize=None)
    def _documents(self, name: str, *args: str) -> list[dict]:
        return parsed(self.rendered(name, *args))

    def _run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.binary, *args], capture_output=True, text=True, timeout=60, check=False)


def value_files() -> list[str]:
    return sorted(path.stem for path in VALUES.glob("*.yaml"))


def parsed(text: str) -> list[dict]:
    return [document for document in yaml.load_all(text, Loader=LOADER) if document is not None]


def one(documents: list[dict], kind: str, name: str | None = None) -> dict:
    """The only document of that kind (and name)."""
    found = [d for d in documents if d["kind"] == kind and name in (None, d["metadata"]["name"])]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} documents of kind {kind} ({name})")
    return found[0]


def server_config(documents: list[dict]) -> dict:
    """The server's own YAML out of the ConfigMap."""
    return yaml.safe_load(one(documents, "ConfigMap")["data"]["fleet-server.yml"])
