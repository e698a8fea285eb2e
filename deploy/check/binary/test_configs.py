"""What the server says to the chart's files: each rendered configuration is good, and a Secret without the named
keys is named in the log; and what systemd is told."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from certificates import Authority
from chart_server import ChartServer

from rendering import VALUES, Helm, one, value_files

ROOT = Path(os.environ["ROOT"])
FLEET_SERVER = os.environ["FLEET_SERVER"]


def messages(log: str) -> list[str]:
    """What a log says to a person: a JSON line's messages without JSON's escapes, any other line as it is."""
    said = []
    for line in log.splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            record = None
        if isinstance(record, dict):
            said += [record[key] for key in ("message", "error.message") if isinstance(record.get(key), str)]
        else:
            said.append(line)
    return said


class Configurations(unittest.TestCase):
    def check(self, path: Path) -> None:
        done = subprocess.run([FLEET_SERVER, "config", "check", "-c", str(path)], capture_output=True, text=True, timeout=30,
                              env={"POD_IP": "127.0.0.1", "ES_TOKEN": "token", "CREDENTIALS_DIRECTORY": "/run/credentials"}, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_rendered_configuration_is_accepted(self):
        with tempfile.TemporaryDirectory() as directory:
            for name in value_files():
                with self.subTest(values=name):
                    path = Path(directory) / f"{name}.yml"
                    path.write_text(one(Helm.all()[-1].documents(name), "ConfigMap")["data"]["fleet-server.yml"])
                    self.check(path)

    def test_the_shipped_configurations_are_accepted(self):
        for path in ("systemd/fleet-server.yml", "container/config/fleet-server.yml"):
            with self.subTest(path=path):
                self.check(ROOT / "deploy" / path)


class MissingKey(unittest.TestCase):
    def test_the_log_names_file_and_key_of_the_secret(self):
        with tempfile.TemporaryDirectory() as temporary:
            directory = Path(temporary)
            pair = Authority(directory / "authority").issue(90)
            server = ChartServer(directory, [], {"fleet-tls": {"server.pem": pair.certificate, "tls.key": pair.key}})
            server.start()
            try:
                self.assertEqual(server.process.wait(timeout=30), 1)
            finally:
                server.kill()
            said = "\n".join(messages(server.log.read_text()))
            self.assertIn(str(server.mounts["/etc/fleet-server/tls"] / "tls.crt"), said)
            for words in ('no key "tls.crt"', "server.pem"):
                self.assertIn(words, said)


class Token(unittest.TestCase):
    def test_the_command_of_the_notes_shows_the_token(self):
        with tempfile.TemporaryDirectory() as temporary:
            directory = Path(temporary)
            pair = Authority(directory / "authority").issue(90)
            server = ChartServer(directory, [], {"fleet-tls": {"tls.crt": pair.certificate, "tls.key": pair.key}})
            server.start()
            try:
                server.wait_ready()
                done = server.command("enrollment-token", "--data-dir", str(server.data))
                self.assertEqual((done.returncode, done.stdout), (0, server.token() + "\n"), done.stderr)
                # What the test pod and the image's health check ask.
                done = server.command("status", "--insecure", "--url", f"https://localhost:{server.ports['agents']}")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(done.stdout.splitlines()[0], "HEALTHY")
                self.assertIn(f"sha256={pair.fingerprint}", done.stdout)
                self.assertEqual(server.stop(), 0)
            finally:
                server.kill()


class Systemd(unittest.TestCase):
    """Type=notify, by a socket of ours: ready, reloading and ready again, alive, stopping."""

    def test_the_service_manager_is_told(self):
        with tempfile.TemporaryDirectory() as temporary, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            directory = Path(temporary)
            directory.chmod(0o755)
            manager.bind(str(directory / "notify"))
            (directory / "notify").chmod(0o777)
            manager.settimeout(30)
            authority = Authority(directory / "authority")
            pair = authority.issue(90)
            server = ChartServer(directory, [], {"fleet-tls": {"tls.crt": pair.certificate, "tls.key": pair.key}})
            server.start(NOTIFY_SOCKET=str(directory / "notify"), WATCHDOG_USEC="1000000")
            try:
                self.until(manager, "READY=1")
                self.assertEqual(server.probe("/readyz"), 200)
                server.process.send_signal(signal.SIGHUP)
                self.until(manager, "RELOADING=1", "MONOTONIC_USEC=")
                self.until(manager, "READY=1")
                # Alive at half of the limit: three beats in two seconds, if not four.
                began = time.monotonic()
                for _ in range(3):
                    self.until(manager, "WATCHDOG=1")
                self.assertLess(time.monotonic() - began, 3)
                server.process.send_signal(signal.SIGTERM)
                self.until(manager, "STOPPING=1")
                self.assertEqual(server.process.wait(timeout=server.grace), 0)
            finally:
                server.kill()

    def until(self, manager, *words):
        for _ in range(200):
            message = manager.recv(4096).decode()
            if all(word in message for word in words):
                return
        self.fail(f"no {words}")


class Pause(unittest.TestCase):
    def test_the_pre_stop_hook_pauses(self):
        began = time.monotonic()
        done = subprocess.run([FLEET_SERVER, "sleep", "1s"], capture_output=True, timeout=30, env={}, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreaterEqual(time.monotonic() - began, 1)


if __name__ == "__main__":
    unittest.main()
