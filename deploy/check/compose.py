"""Reads compose.yaml for container.sh, which has no compose: one argument of `buildah run` or of the server a line.

    compose.py options DIRECTORY DATA INSPECT.JSON    mounts and user, after what can be compared is compared
    compose.py command DIRECTORY
"""

import json
import sys
from pathlib import Path

import yaml


def main(what: str, directory: str, *rest: str) -> None:
    service = yaml.safe_load((Path(directory) / "compose.yaml").read_text())["services"]["fleet-server"]
    if what == "command":
        print(*service["command"], sep="\n")
        return
    data, inspect = rest
    image = json.loads(Path(inspect).read_text())["Docker"]["config"]
    config = yaml.safe_load((Path(directory) / "config" / "fleet-server.yml").read_text())
    check(service, image, config)
    print("--user", service["user"], sep="\n")
    for volume in service["volumes"]:
        source, target, *mode = volume.split(":")
        source = str((Path(directory) / source).resolve(strict=True)) if source.startswith(".") else data
        print("-v", ":".join([source, target, *mode]), sep="\n")


def check(service: dict, image: dict, config: dict) -> None:
    """What does not show while it runs: ports are others here, and chroot isolation has no read-only root."""
    published = {int(port.rsplit(":", 1)[1]) for port in service["ports"]}
    listening = {config["inputs"][0]["server"]["port"], config["admin"]["port"], config["http"]["port"]}
    assert published == listening == {int(port.split("/")[0]) for port in image["ExposedPorts"]}, (published, listening)
    for port in service["ports"]:
        assert port.startswith("127.0.0.1:") or port.endswith(":8220"), f"{port} is open to everybody"
    for host in (config["inputs"][0]["server"]["host"], config["admin"]["host"], config["http"]["host"]):
        assert host == "0.0.0.0", host
    assert service["user"] == image["User"], service["user"]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and service["tmpfs"] == ["/tmp"]
    targets = {volume.split(":")[1]: volume.split(":")[2:] for volume in service["volumes"]}
    assert config["path.data"] in targets, targets
    for path in (config["inputs"][0]["server"]["ssl"][key] for key in ("certificate", "key")):
        assert targets[str(Path(path).parent)] == ["ro"], path
    assert service["command"] == ["-c", "/etc/fleet-server/config/fleet-server.yml"]
    assert targets["/etc/fleet-server/config"] == ["ro"]


if __name__ == "__main__":
    main(*sys.argv[1:])
