"""The chart's promise: certificates rotate under load without a restart.

The real binary runs with the chart's rendered files on volumes that are updated as the kubelet does: 20 rotations
under continuous handshakes, long polls held open, probes asked all the time, the alert's metric compared.
"""

import collections
import hashlib
import os
import re
import socket
import ssl
import tempfile
import threading
import time
import unittest
from pathlib import Path

from agent import Agent
from certificates import Authority
from chart_server import ChartServer

ROTATIONS = 20
POLLS = 20
CLIENTS = 4
DEBOUNCE = 0.5


class Handshakes:
    """Clients that shake hands without pause and check the chain, the name and that the answer comes."""

    def __init__(self, server: ChartServer, context: ssl.SSLContext):
        self.server, self.context = server, context
        self.seen: collections.Counter[str] = collections.Counter()
        self.failed: list[str] = []
        self.slowest = 0.0
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def _run(self) -> None:
        while not self.stopping.is_set():
            began = time.monotonic()
            try:
                with socket.create_connection(("127.0.0.1", self.server.ports["agents"]), timeout=10) as plain:
                    with self.context.wrap_socket(plain, server_hostname="localhost") as secure:
                        fingerprint = hashlib.sha256(secure.getpeercert(binary_form=True)).hexdigest()
                        secure.sendall(b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                        if not secure.recv(64).startswith(b"HTTP/1.1 "):
                            raise OSError("no HTTP answer")
                self.seen[fingerprint] += 1
            except OSError as error:
                self.failed.append(repr(error))
            self.slowest = max(self.slowest, time.monotonic() - began)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


class Probes:
    """Liveness and readiness, asked ten times a second instead of every five."""

    def __init__(self, server: ChartServer):
        self.server = server
        self.answers: collections.Counter[tuple[str, int | None]] = collections.Counter()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self.stopping.wait(0.1):
            for path in ("/livez", "/readyz"):
                self.answers[path, self.server.probe(path)] += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()


class Poll(threading.Thread):
    """One agent's long poll, and what it was answered."""

    def __init__(self, agent: Agent):
        super().__init__()
        self.agent, self.answer = agent, None

    def run(self) -> None:
        try:
            self.answer = self.agent.check_in()[0]
        except OSError as error:
            self.answer = repr(error)
        finally:
            self.agent.connection.close()


def served(server: ChartServer) -> dict[str, float]:
    """The leaves of /metrics: fingerprint and end."""
    text = server.http("/metrics")[1]
    found = re.findall(r'^fleet_server_tls_certificate_not_after_timestamp_seconds\{([^}]*kind="leaf"[^}]*)\} (\S+)$', text, re.M)
    return {re.search(r'fingerprint="([0-9a-f]+)"', labels)[1]: float(value) for labels, value in found}


def value(server: ChartServer, series: str) -> float:
    """The sum of a metric's series that begin so."""
    text = server.http("/metrics")[1]
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(series))


class Rotation(unittest.TestCase):
    def test_twenty_rotations_under_load(self):
        with tempfile.TemporaryDirectory() as temporary:
            directory = Path(temporary)
            authority = Authority(directory / "authority")
            secret = lambda pair: {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority.file.read_bytes()}
            # The three states of the two alerts: fine, within 14 days, within 3 days.
            pairs = [authority.issue(days) for days in [(90, 10, 2)[i % 3] for i in range(ROTATIONS + 1)]]
            server = ChartServer(directory, ["--set", "tls.reload.debounce=500ms"], {"fleet-tls": secret(pairs[0])})
            server.start()
            try:
                server.wait_ready()
                self.rotate(server, authority, secret, pairs)
            finally:
                server.kill()

    def rotate(self, server, authority, secret, pairs):
        context = ssl.create_default_context(cafile=str(authority.file))
        token = server.token()
        polls = []
        for number in range(POLLS):
            agent = Agent(server, context, token, f"agent-{number}")
            agent.take_policy()
            polls.append(Poll(agent))
            polls[-1].start()
        server.wait(lambda: value(server, "fleet_server_checkins_waiting") == POLLS, "the polls do not wait")
        times = []
        successes = value(server, 'fleet_server_tls_reload_total{result="success"')
        with Handshakes(server, context) as clients, Probes(server) as probes:
            for number, pair in enumerate(pairs[1:], 1):
                began = time.monotonic()
                server.volumes["tls"].write(secret(pair))
                server.wait(lambda: pair.fingerprint in clients.seen, f"rotation {number} is not served", 20)
                times.append(time.monotonic() - began)
                # The alert's metric is what a handshake sees, and nothing of the old certificate is left.
                self.assertEqual(served(server), {pair.fingerprint: pair.not_after})
                left = (pair.not_after - time.time()) / 86400
                self.assertEqual((left < 14, left < 3), {90: (False, False), 10: (True, False), 2: (True, True)}[(90, 10, 2)[number % 3]])
                if number == ROTATIONS // 2:
                    self.broken(server, secret, pair, pairs[0])
                if number % 5 == 0:
                    # No event for the same content: the kubelet writes nothing, and neither is anything reloaded.
                    server.volumes["tls"].write(secret(pair))
        self.assertEqual(clients.failed, [])
        self.assertEqual(set(clients.seen) - {p.fingerprint for p in pairs}, set())
        self.assertEqual(set(status for _, status in probes.answers), {200}, probes.answers)
        self.assertEqual([p.answer for p in polls], [None] * POLLS)
        self.assertEqual(value(server, "fleet_server_checkins_waiting"), POLLS)
        self.assertEqual(value(server, 'fleet_server_tls_reload_total{result="success"') - successes, ROTATIONS)
        self.assertLess(max(times), DEBOUNCE + 3)
        # The same process to the end, which lets the polls go with an answer.
        self.assertEqual(server.stop(), 0)
        for poll in polls:
            poll.join(timeout=30)
        self.assertEqual([p.answer for p in polls], [200] * POLLS)
        print(f"  {ROTATIONS} rotations, {sum(clients.seen.values())} handshakes, 0 failed, {POLLS} polls kept, "
              f"{sum(probes.answers.values())} probes green; change to served {min(times):.2f} to {max(times):.2f} s, "
              f"slowest handshake and answer {clients.slowest:.2f} s; uid {server.identity.get('user', os.getuid())}")

    def broken(self, server, secret, good, other):
        """A key that does not fit: the old pair stays, the alert's condition holds, and a good pair ends it."""
        failed = lambda: (value(server, "fleet_server_tls_reload_last_failure_timestamp_seconds")
                          > value(server, "fleet_server_tls_reload_last_success_timestamp_seconds"))
        self.assertFalse(failed())
        server.volumes["tls"].write({**secret(good), "tls.key": other.key})
        server.wait(failed, "the failed reload is not in the metrics", 20)
        self.assertEqual(value(server, "fleet_server_tls_reload_healthy"), 0)
        self.assertEqual(set(served(server)), {good.fingerprint})
        # The alert's text sends people to this line.
        self.assertRegex(server.log.read_text(), r'tls\.crt does not match key .*"event\.action":"tls-reload","event\.outcome":"failure"')
        server.volumes["tls"].write(secret(good))
        server.wait(lambda: not failed(), "the recovered reload is not in the metrics", 20)


if __name__ == "__main__":
    unittest.main()
