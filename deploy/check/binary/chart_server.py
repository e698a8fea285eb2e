"""Runs the release binary with what the chart renders: its arguments, environment, files and mount layout.

A mount path becomes a directory below a temporary one, in the rendered YAML and arguments as in the file system;
ports become free ones by `-E`, since the fixed ones of a pod are taken on a shared machine. As root the process runs
as the pod's user and group.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "chart"))

from kubelet_volume import KubeletVolume
from rendering import Helm, one

PORTS = {"agents": "inputs.0.server.port", "internal": "inputs.0.server.internal_port", "admin": "admin.port", "http": "http.port"}


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one_socket in sockets:
        one_socket.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for one_socket in sockets:
        one_socket.close()
    return ports


class ChartServer:
    """One pod of the chart, without the cluster."""

    def __init__(self, directory: Path, values: list[str], secrets: dict[str, dict[str, bytes]]):
        documents = Helm.all()[-1].documents("existing-secret", "--set", "listenAddress=127.0.0.1", *values)
        pod = one(documents, "StatefulSet")["spec"]["template"]["spec"]
        container = pod["containers"][0]
        self.directory = directory
        self.identity = {}
        if os.geteuid() == 0:
            security = pod["securityContext"]
            self.identity = {"user": security["runAsUser"], "group": security["fsGroup"], "extra_groups": []}
        directory.chmod(0o755)
        self.binary = directory / "fleet-server"
        shutil.copy(os.environ["FLEET_SERVER"], self.binary)
        self.binary.chmod(0o755)
        self.mounts = {m["mountPath"]: directory / "mounts" / m["name"] for m in container["volumeMounts"]}
        self.volumes: dict[str, KubeletVolume] = {}
        config_map = one(documents, "ConfigMap")["data"]
        for volume in pod["volumes"]:
            path = directory / "mounts" / volume["name"]
            if "configMap" in volume:
                kubelet = KubeletVolume(path)
                kubelet.write({name: self.mapped(text).encode() for name, text in config_map.items()})
            elif "secret" in volume:
                kubelet = KubeletVolume(path, volume["secret"]["defaultMode"], self.identity.get("group"))
                kubelet.write(secrets[volume["secret"]["secretName"]])
            else:
                self.writable(path)
                continue
            self.volumes[volume["name"]] = kubelet
        for claim in one(documents, "StatefulSet")["spec"].get("volumeClaimTemplates", []):
            self.writable(directory / "mounts" / claim["metadata"]["name"])
        self.ports = dict(zip(PORTS, free_ports(len(PORTS))))
        overrides = [arg for name, key in PORTS.items() for arg in ("-E", f"{key}={self.ports[name]}")]
        self.args = [self.mapped(arg) for arg in container["args"]] + overrides
        self.environment = {e["name"]: {"status.podIP": "127.0.0.1"}[e["valueFrom"]["fieldRef"]["fieldPath"]] for e in container["env"]}
        self.grace = pod["terminationGracePeriodSeconds"]
        self.data = self.mounts["/var/lib/fleet-server"]
        self.log = directory / "stderr"
        self.process: subprocess.Popen | None = None

    def writable(self, path: Path) -> None:
        path.mkdir(parents=True)
        if self.identity:
            os.chown(path, self.identity["user"], self.identity["group"])

    def mapped(self, text: str) -> str:
        """Mount paths as the directories that stand for them."""
        for mount in sorted(self.mounts, key=len, reverse=True):
            if mount != "/tmp":
                text = text.replace(mount, str(self.mounts[mount]))
        return text

    def start(self, **environment: str) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.binary), *self.args], cwd=self.data, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**self.environment, "TMPDIR": str(self.mounts["/tmp"]), **environment}, **self.identity)

    def command(self, *args: str) -> subprocess.CompletedProcess[str]:
        """A sub-command in the same place, as `kubectl exec` would run it."""
        return subprocess.run([str(self.binary), *args], cwd=self.data, env=self.environment, capture_output=True,
                              text=True, timeout=60, check=False, **self.identity)

    def wait_ready(self, seconds: float = 60) -> None:
        self.wait(lambda: self.probe("/readyz") == 200, "the server is not ready", seconds)

    def wait(self, condition, what: str, seconds: float = 60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.tail()}")
            value = condition()
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"{what} within {seconds} s:\n{self.tail()}")

    def tail(self) -> str:
        return "\n".join(self.log.read_text().splitlines()[-15:])

    def probe(self, path: str) -> int | None:
        """The status of a path of the http.* listener, or None if nobody answers."""
        try:
            return self.http(path)[0]
        except OSError:
            return None

    def http(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["http"], timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def connect(self, context: ssl.SSLContext, timeout: float = 30) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("localhost", self.ports["agents"], timeout=timeout, context=context)

    def token(self) -> str:
        """The enrollment token that the server made at its first start."""
        return (self.data / "enrollment_token").read_text().strip()

    def stop(self) -> int:
        """SIGTERM, as the kubelet sends it, and the exit code within the grace period."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=self.grace)

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
