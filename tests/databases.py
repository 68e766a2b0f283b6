"""A real PostgreSQL server, which the tests start for themselves."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["postgres_server"]

SETTINGS = {
    "listen_addresses": "",  # only the socket: no port is taken, and no network is needed
    "autovacuum": "off",
    "max_connections": "100",
    "shared_buffers": "16MB",
}


@contextmanager
def postgres_server() -> Iterator[str]:
    """A server of its own in a folder of its own; gives the start of its URLs, up to the database's name.

    It does not run as root, so root starts it as the user `postgres`, whom the Debian package makes.
    """
    programs = _programs()
    # a socket's path may have some hundred characters only: not under pytest's own folders
    folder = Path(tempfile.mkdtemp(prefix="omni-postgres-"))
    user: list[str] = []
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        ids = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}"]
        user = ["setpriv", *ids, "--clear-groups"]
    data = folder / "data"
    settings = " ".join(f"-c {name}='{value}'" for name, value in SETTINGS.items())

    def call(program: str, *arguments: str) -> None:
        command = [*user, str(programs / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        call("initdb", "--pgdata", str(data), "--auth=trust", "--username=postgres", "--encoding=UTF8")
        log = str(folder / "log")
        options = f"{settings} -k {folder}"
        # the server must not inherit the pipes that its starter's output is read from
        command = [*user, str(programs / "pg_ctl"), "start", "-w", "-D", str(data), "-l", log, "-o", options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
        try:
            yield f"postgresql://postgres@/{{database}}?host={folder}"
        finally:
            call("pg_ctl", "stop", "-m", "immediate", "-D", str(data))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """Where the server's programs are: Debian keeps them off the PATH, by version."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: [int(each) for each in re.findall(r"\d+", str(path))],
    )
    assert versions, "PostgreSQL is not installed: `make setup` installs the package postgresql"
    return versions[-1].parent
