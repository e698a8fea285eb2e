"""A volume updated as the kubelet does: files in a timestamped directory, one link that is turned at once.

Layout: DIR/..TIME.RANDOM/FILE, DIR/..data -> ..TIME.RANDOM, DIR/FILE -> ..data/FILE.
"""

import os
import secrets
import shutil
import time
from pathlib import Path


class KubeletVolume:
    """One mounted ConfigMap or Secret."""

    def __init__(self, directory: Path, mode: int = 0o644, group: int | None = None):
        self.directory = directory
        self.mode = mode
        self.group = group
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)

    def write(self, files: dict[str, bytes]) -> None:
        """Replaces the content in one atomic step; writes nothing if it is the same."""
        link = self.directory / "..data"
        old = self.directory / os.readlink(link) if link.is_symlink() else None
        if old and {p.name: p.read_bytes() for p in old.iterdir()} == files:
            return
        stamp = time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime()) + str(secrets.randbelow(10**10))
        new = self.directory / stamp
        new.mkdir(mode=0o700)
        new.chmod(0o755)
        for name, data in files.items():
            path = new / name
            path.write_bytes(data)
            path.chmod(self.mode)
            if self.group is not None:
                os.chown(path, 0, self.group)
        temporary = self.directory / "..data_tmp"
        temporary.symlink_to(stamp)
        temporary.rename(link)
        for name in files:
            visible = self.directory / name
            if not visible.is_symlink():
                visible.symlink_to(f"..data/{name}")
        for path in self.directory.iterdir():
            if not path.name.startswith("..") and path.name not in files:
                path.unlink()
        if old:
            shutil.rmtree(old)
