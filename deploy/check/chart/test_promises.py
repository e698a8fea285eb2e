"""What the chart promises, beside being valid: rotation without a rolled pod, restricted pods, a graceful stop."""

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

from rendering import CHART, HERE, VALUES, Helm, one, parsed, server_config, value_files

HELM = Helm.all()[-1]


def pods(documents):
    """Every pod template and bare pod, with its name."""
    for document in documents:
        if document["kind"] == "Pod":
            yield document["metadata"]["name"], document["spec"]
        elif document["kind"] == "StatefulSet":
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


class Rotation(unittest.TestCase):
    def test_nothing_is_mounted_by_sub_path_and_no_volume_names_items(self):
        for name in value_files():
            with self.subTest(values=name):
                for _, pod in pods(HELM.documents(name)):
                    for container in pod["containers"]:
                        for mount in container.get("volumeMounts", []):
                            self.assertFalse({"subPath", "subPathExpr"} & set(mount), mount)
                    for volume in pod.get("volumes", []):
                        self.assertNotIn("items", volume.get("secret", {}), volume)

    def test_the_configuration_rolls_the_pod_and_the_certificate_does_not(self):
        def annotations(name, *args):
            return one(HELM.documents(name, *args), "StatefulSet")["spec"]["template"]["metadata"]["annotations"]

        for name in value_files():
            with self.subTest(values=name):
                self.assertEqual([key for key in annotations(name) if key.startswith("checksum/")], ["checksum/config"])
        before = annotations("existing-secret")
        self.assertNotEqual(before, annotations("existing-secret", "--set", "config.logging.level=debug"))
        self.assertNotEqual(before, annotations("existing-secret", "--set", "tls.reload.debounce=9s"))
        # A self-signed Secret is new at each rendering without a cluster: the pod's template is not.
        template = lambda: one(HELM.fresh("self-signed"), "StatefulSet")["spec"]["template"]
        secret = lambda: one(HELM.fresh("self-signed"), "Secret")["data"]["tls.crt"]
        self.assertNotEqual(secret(), secret())
        self.assertEqual(template(), template())

    def test_the_self_signed_secret_is_kept_across_upgrades(self):
        """No cluster here: what can be seen is that the template looks the Secret up, and that Helm keeps it."""
        secret = one(HELM.documents("self-signed"), "Secret")
        self.assertEqual(secret["metadata"]["annotations"]["helm.sh/resource-policy"], "keep")
        text = (CHART / "templates" / "selfsigned.yaml").read_text()
        self.assertIn('lookup "v1" "Secret" .Release.Namespace $name', text)

    def test_debounce_and_interval_reach_the_server(self):
        documents = HELM.documents("existing-secret", "--set", "tls.reload.debounce=60s", "--set", "tls.reload.reloadInterval=1m")
        reload = server_config(documents)["inputs"][0]["server"]["ssl"]["certificate_reload"]
        self.assertEqual(reload, {"enabled": True, "debounce": "60s", "reload_interval": "1m"})

    def test_every_file_of_the_configuration_lies_in_a_mounted_secret(self):
        for name in value_files():
            with self.subTest(values=name):
                documents = HELM.documents(name)
                server = one(documents, "StatefulSet")["spec"]["template"]["spec"]
                mounts = {m["mountPath"] for m in server["containers"][0]["volumeMounts"]}
                paths = set(re.findall(r"/etc/fleet-server/[^\s\"']+", yaml.safe_dump(server_config(documents))))
                self.assertTrue(paths)
                for path in paths:
                    self.assertIn(path.rsplit("/", 1)[0], mounts)
                volumes = {v["name"] for v in server["volumes"]} | {
                    c["metadata"]["name"] for c in one(documents, "StatefulSet")["spec"].get("volumeClaimTemplates", [])}
                self.assertEqual({m["name"] for m in server["containers"][0]["volumeMounts"]}, volumes)


class Configuration(unittest.TestCase):
    def test_user_values_win_and_the_chart_keeps_its_own(self):
        config = server_config(HELM.documents("tuned"))
        server = config["inputs"][0]["server"]
        self.assertEqual(len(config["inputs"]), 1)
        self.assertEqual(server["limits"], {"max_agents": 5000})
        self.assertEqual(server["timeouts"], {"drain": "1m30s"})
        self.assertEqual(server["ssl"]["certificate"], "/etc/fleet-server/tls/tls.crt")
        self.assertEqual(server["ssl"]["supported_protocols"], ["TLSv1.3"])
        self.assertEqual(server["ssl"]["certificate_reload"]["expiry_warning"], ["30d", "7d", "1d"])
        self.assertFalse(server["ssl"]["certificate_reload"]["enabled"])
        self.assertEqual(config["logging"], {"level": "debug", "to_stderr": True, "to_files": False})
        self.assertEqual(config["output"]["elasticsearch"]["service_token"], "${ES_TOKEN}")

    def test_the_url_that_agents_get(self):
        hosts = lambda name: server_config(HELM.documents(name))["bootstrap"]["fleet_hosts"]
        self.assertEqual(hosts("existing-secret"), ["https://fleet-fleet-server.agents.svc:8220"])
        self.assertEqual(hosts("load-balancer"), ["https://fleet.example:443"])
        self.assertEqual(hosts("ingress"), ["https://fleet.example:443"])
        self.assertEqual(hosts("tls-route"), ["https://fleet.example:443"])
        self.assertEqual(hosts("cert-manager-cluster-issuer"), ["https://fleet-fleet-server.agents.svc:8220"])

    def test_agents_are_told_a_name_that_the_certificate_carries(self):
        """cert-manager's certificate, by whatever way the names are chosen."""
        route = 'tlsRoute={"enabled":true,"parentRefs":[{"name":"edge"}],"hostnames":["*.route.example","a.route.example"]}'
        ingress = 'ingress={"enabled":true,"hosts":["in.example"]}'
        names = lambda text: ["--set-json", f"tls.certManager.dnsNames={text}"]
        for args, told in (
                ([], "https://fleet.example:8220"),
                (names('["*.example","a.example"]'), "https://a.example:8220"),
                (names("[]"), "https://fleet-fleet-server.agents.svc:8220"),
                (names("[]") + ["--set-json", ingress], "https://in.example:443"),
                (names("[]") + ["--set-json", route], "https://a.route.example:443"),
                (names('["*.route.example"]') + ["--set-json", route], "https://a.route.example:443"),
                (names('["b.example","in.example"]') + ["--set-json", ingress], "https://in.example:443"),
                (names("[]") + ["--set-json", 'bootstrap.fleetHosts=["https://told.example"]'], "https://told.example"),
                (names("[]") + ["--set-json", 'bootstrap.fleetHosts=["https://10.0.0.1:8220"]'], None)):
            with self.subTest(args=args):
                documents = HELM.documents("cert-manager", *args)
                carried = one(documents, "Certificate")["spec"]["dnsNames"]
                hosts = server_config(documents)["bootstrap"]["fleet_hosts"]
                self.assertNotIn("10.0.0.1", carried)
                if told:
                    self.assertEqual(hosts, [told])
                    host = re.fullmatch(r"https://([^:/]+)(:\d+)?", told)[1]
                    self.assertTrue({host, "*." + host.split(".", 1)[1]} & set(carried), carried)
                    if names("[]")[1] in args:
                        self.assertIn(host, carried)
                        self.assertIn("fleet-fleet-server.agents.svc", carried)

    def test_every_value_is_documented(self):
        """values.yaml, its schema and the README know the same keys."""
        known = yaml.safe_load((CHART / "values.yaml").read_text())
        schema = yaml.safe_load((CHART / "values.schema.json").read_text())

        def compare(values, node, path):
            properties = node.get("properties")
            if properties is None:
                return
            self.assertEqual(set(values), set(properties) - {"global"}, path)
            for key, child in properties.items():
                if key not in ("global", "privateKey") and isinstance(values[key], dict):
                    compare(values[key], child, f"{path}.{key}")

        compare(known, schema, "values")
        readme = (CHART / "README.md").read_text()
        for key in known:
            self.assertIn(f"`{key}", readme, f"README does not mention {key}")


class Stop(unittest.TestCase):
    def test_grace_is_longer_than_pause_and_drain(self):
        for name, pause, drain, grace in (("existing-secret", "5s", 10, 30), ("tuned", "5s", 90, 120)):
            with self.subTest(values=name):
                pod = one(HELM.documents(name), "StatefulSet")["spec"]["template"]["spec"]
                self.assertEqual(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"],
                                 ["fleet-server", "sleep", pause])
                self.assertEqual(pod["terminationGracePeriodSeconds"], grace)
                self.assertGreater(grace, 5 + drain)
        pod = one(HELM.documents("tuned", "--set", "terminationGracePeriodSeconds=null"), "StatefulSet")["spec"]["template"]["spec"]
        self.assertEqual(pod["terminationGracePeriodSeconds"], 5 + 90 + 15)
        pod = one(HELM.documents("ephemeral"), "StatefulSet")["spec"]["template"]["spec"]
        self.assertNotIn("lifecycle", pod["containers"][0])


class RollOut(unittest.TestCase):
    def test_a_bad_roll_out_can_be_corrected(self):
        """OrderedReady waits for ever for a pod that never becomes ready, whatever the template says by then."""
        for name in value_files():
            spec = one(HELM.documents(name), "StatefulSet")["spec"]
            self.assertEqual(spec["podManagementPolicy"], "Parallel", name)
            self.assertNotIn("updateStrategy", spec, name)


class Security(unittest.TestCase):
    def test_pods_are_restricted(self):
        """The pod security standard `restricted`, and a read-only root."""
        for name in value_files():
            for pod_name, pod in pods(HELM.documents(name)):
                with self.subTest(values=name, pod=pod_name):
                    self.assertIs(pod["securityContext"]["runAsNonRoot"], True)
                    self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                    self.assertIs(pod["automountServiceAccountToken"], False)
                    self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & set(pod))
                    for container in pod["containers"]:
                        context = container["securityContext"]
                        self.assertIs(context["readOnlyRootFilesystem"], True)
                        self.assertIs(context["allowPrivilegeEscalation"], False)
                        self.assertIs(context["runAsNonRoot"], True)
                        self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                        self.assertNotEqual(context.get("runAsUser"), 0)
                    for volume in pod.get("volumes", []):
                        self.assertTrue({"configMap", "secret", "emptyDir", "persistentVolumeClaim"} & set(volume), volume)
                        if "secret" in volume:
                            self.assertEqual(volume["secret"]["defaultMode"], 0o440)

    def test_no_secret_value_is_in_the_config_map_or_the_environment(self):
        for name in value_files():
            pod = one(HELM.documents(name), "StatefulSet")["spec"]["template"]["spec"]
            for entry in pod["containers"][0]["env"]:
                self.assertNotIn("value", entry, name)

    def test_the_network_policy_names_every_listener(self):
        documents = HELM.documents("existing-secret")
        policy = one(documents, "NetworkPolicy")["spec"]
        ports = {rule["ports"][0]["port"]: rule.get("from") for rule in policy["ingress"]}
        named = {p["name"] for p in one(documents, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]["ports"]}
        self.assertEqual(set(ports), named)
        self.assertIsNone(ports["agents"])
        self.assertEqual(ports["admin"], [{"podSelector": {}}])
        self.assertEqual(ports["http"], [{"podSelector": {}}])
        self.assertEqual(policy["egress"], [])
        closed = one(HELM.documents("restricted-network"), "NetworkPolicy")["spec"]["ingress"]
        self.assertEqual([rule["ports"][0]["port"] for rule in closed], ["agents", "http"])

    def test_the_admin_service_is_inside_the_cluster_and_apart(self):
        for name in value_files():
            documents = HELM.documents(name)
            services = {d["metadata"]["name"].rsplit("-", 1)[-1]: d["spec"] for d in documents if d["kind"] == "Service"}
            if "admin" in services:
                self.assertEqual(services["admin"]["type"], "ClusterIP")
            for suffix, spec in services.items():
                ports = {p["name"] for p in spec["ports"]}
                self.assertEqual("admin" in ports, suffix == "admin", name)

    def test_probes_need_no_certificate(self):
        documents = HELM.documents("client-auth")
        container = one(documents, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            self.assertEqual(container[probe]["httpGet"]["port"], "http")
            self.assertNotIn("scheme", container[probe]["httpGet"])
        self.assertEqual(server_config(documents)["http"], {"enabled": True, "host": "${POD_IP}", "port": 5066})


class Objects(unittest.TestCase):
    def test_one_replica_with_a_volume(self):
        stateful = one(HELM.documents("existing-secret"), "StatefulSet")["spec"]
        self.assertEqual(stateful["replicas"], 1)
        self.assertEqual(stateful["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"], "10Gi")
        kinds = {d["kind"] for d in HELM.documents("existing-secret")}
        self.assertFalse({"Deployment", "HorizontalPodAutoscaler", "Secret"} & kinds)

    def test_selectors_find_the_server_and_not_the_test_pod(self):
        documents = HELM.documents("existing-secret")
        labels = one(documents, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
        test = one(documents, "Pod")["metadata"]["labels"]
        matches = lambda selector, labels: selector.items() <= labels.items()
        for service in (d["spec"] for d in documents if d["kind"] == "Service"):
            self.assertTrue(matches(service["selector"], labels))
            self.assertFalse(matches(service["selector"], test))

    def test_the_monitor_finds_the_service_with_the_metrics(self):
        documents = HELM.documents("monitoring")
        monitor = one(documents, "ServiceMonitor")["spec"]
        found = [d for d in documents if d["kind"] == "Service"
                 and monitor["selector"]["matchLabels"].items() <= d["metadata"]["labels"].items()]
        self.assertEqual(len(found), 1)
        self.assertIn(monitor["endpoints"][0]["port"], {p["name"] for p in found[0]["spec"]["ports"]})

    def test_the_rules_are_those_of_the_prometheus_directory(self):
        rules = yaml.safe_load((HERE.parents[1] / "prometheus" / "fleet-server.rules.yml").read_text())
        self.assertEqual(one(HELM.documents("monitoring"), "PrometheusRule")["spec"], rules)

    def test_the_runbooks_are_links_where_their_page_is_published(self):
        spec = one(HELM.documents("load-balancer"), "PrometheusRule")["spec"]
        for rule in spec["groups"][0]["rules"]:
            url = rule["annotations"].pop("runbook_url")
            self.assertEqual(url, f"https://wiki.example/fleet/$1/operations#{rule['alert'].lower()}")
        self.assertEqual(spec, one(HELM.documents("monitoring"), "PrometheusRule")["spec"])

    def test_the_newest_tls_route_that_the_cluster_has(self):
        version = lambda *args: one(HELM.documents("tls-route", *args), "TLSRoute")["apiVersion"]
        self.assertEqual(version(), "gateway.networking.k8s.io/v1alpha2")
        self.assertEqual(version("--api-versions", "gateway.networking.k8s.io/v1alpha3/TLSRoute"),
                         "gateway.networking.k8s.io/v1alpha3")
        self.assertEqual(version("--api-versions", "gateway.networking.k8s.io/v1alpha3/TLSRoute",
                                 "--api-versions", "gateway.networking.k8s.io/v1/TLSRoute"), "gateway.networking.k8s.io/v1")

    def test_the_test_pod_asks_the_service(self):
        pod = one(HELM.documents("load-balancer"), "Pod")
        self.assertEqual(pod["metadata"]["annotations"]["helm.sh/hook"], "test")
        self.assertEqual(pod["spec"]["containers"][0]["args"],
                         ["status", "--insecure", "--url", "https://fleet-fleet-server.agents.svc:443"])


class Notes(unittest.TestCase):
    """NOTES.txt, rendered as a template beside the others."""

    def notes(self, name, *args):
        with tempfile.TemporaryDirectory() as directory:
            chart = Path(directory) / "fleet-server"
            shutil.copytree(CHART, chart)
            text = (chart / "templates" / "NOTES.txt").read_text()
            (chart / "templates" / "notes.yaml").write_text(
                'kind: Notes\nmetadata: {name: notes}\ntext: |\n{{- include "notes" . | nindent 2 }}\n')
            (chart / "templates" / "_notes.tpl").write_text('{{- define "notes" }}\n' + text + "\n{{- end }}\n")
            done = HELM._run("template", "fleet", str(chart), "--namespace", "agents", "--values",
                             str(VALUES / f"{name}.yaml"), *args)
            self.assertEqual(done.returncode, 0, done.stderr)
            return one(parsed(done.stdout), "Notes")["text"]

    def test_the_enrol_line_with_a_preset_token(self):
        text = self.notes("preset-secrets")
        self.assertIn("kubectl -n agents get secret fleet-token -o jsonpath='{.data.token\\.txt}' | base64 -d", text)
        self.assertIn("elastic-agent enroll --url https://fleet-fleet-server.agents.svc:8220 --enrollment-token \"$TOKEN\"", text)

    def test_the_enrol_line_with_a_token_that_the_server_made(self):
        text = self.notes("cert-manager")
        self.assertIn("kubectl -n agents exec fleet-fleet-server-0 -c fleet-server -- fleet-server enrollment-token", text)
        self.assertIn('--certificate-authorities "$PWD/fleet-ca.crt"', self.notes("self-signed"))

    def test_the_enrol_line_without_a_bootstrap(self):
        text = self.notes("ephemeral")
        self.assertNotIn("exec", text)
        self.assertIn("TOKEN=…   # bootstrap.enabled is false", text)

    def test_an_issuer_without_a_ca_gives_no_empty_option(self):
        """The two lines of the notes, run by a shell: once with cert-manager's ca.crt, once with an empty one."""
        lines = [line for line in self.notes("cert-manager").splitlines() if "fleet-ca.crt ]" in line or "elastic-agent" in line]
        self.assertEqual(len(lines), 2)
        script = 'elastic-agent() { printf "<%s>" "$@"; }\n' + "\n".join(lines)
        for ca, option in (("PEM", "<--certificate-authorities={}/fleet-ca.crt>"), ("", "")):
            with self.subTest(ca=ca), tempfile.TemporaryDirectory() as directory:
                (Path(directory) / "fleet-ca.crt").write_text(ca)
                done = subprocess.run(["bash", "-euc", script], cwd=directory, env={"TOKEN": "t"}, capture_output=True, text=True, check=False)
                self.assertEqual(done.stdout, "<enroll><--url><https://fleet.example:8220><--enrollment-token><t>" + option.format(directory), done.stderr)

    def test_warnings_where_they_are_due(self):
        self.assertNotIn("WARNING", self.notes("existing-secret"))
        self.assertIn("selfSigned", self.notes("self-signed"))
        self.assertEqual(self.notes("ephemeral").count("WARNING"), 3)
        self.assertIn("tls.reload.enabled is false", self.notes("tuned"))

    def test_a_warning_for_metrics_that_the_policy_closes(self):
        self.assertNotIn("WARNING", self.notes("monitoring"))
        monitored = ("--set", "monitoring.serviceMonitor.enabled=true")
        self.assertIn("only pods of namespace agents reach the", self.notes("existing-secret", *monitored))
        self.assertIn("nobody reach", self.notes("existing-secret", *monitored, "--set-json", "networkPolicy.http.from=[]"))

    def test_a_warning_for_a_service_whose_name_agents_are_not_told(self):
        balanced = ("--set", "service.type=LoadBalancer")
        self.assertIn("Set bootstrap.fleetHosts", self.notes("existing-secret", *balanced))
        self.assertIn("Set bootstrap.fleetHosts", self.notes("restricted-network"))
        self.assertIn("Set bootstrap.fleetHosts", self.notes("cert-manager", "--set", "service.type=NodePort"))
        for name in ("load-balancer", "cert-manager", "ingress"):
            self.assertNotIn("WARNING", self.notes(name, *balanced))


if __name__ == "__main__":
    unittest.main()
