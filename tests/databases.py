"""A PostgreSQL server of a test session's own, on a Unix socket, gone afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import pytest

BINARIES = Path(os.environ.get("WATTSHED_POSTGRES", "/usr/lib/postgresql/15/bin"))
OPTIONS = "-c listen_addresses= -c fsync=off -c max_connections=1000 -c shared_buffers=32MB"


class PostgresServer:
    """A running server.

    Attributes
    ----------
    url : str
        Of its one database.
    """

    def __init__(self, folder):
        self._as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self._folder, self._places = folder, 0
        self.url = f"postgresql://wattshed@/postgres?host={folder}"

    def set_up(self):
        initdb = [BINARIES / "initdb", "-D", self._folder / "data", "-U", "wattshed", "-A", "trust", "--no-sync"]
        self._run(*initdb)
        self.start()

    def start(self):
        self._control("-w", "-l", self._folder / "log", "-o", f"-k {self._folder} {OPTIONS}", "start")

    def stop(self):
        self._control("-m", "immediate", "stop")

    def new_place(self):
        """Make an empty place for a history; gives its URL."""
        import psycopg

        self._places += 1
        name = f"test{self._places}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{self.url}&options={quote(f'-c search_path={name}')}"

    def _control(self, *argv):
        self._run(BINARIES / "pg_ctl", "-D", self._folder / "data", *argv)

    def _run(self, *argv):
        # The server keeps what it is given as standard output: a pipe would be waited for until it ends.
        with (self._folder / "said").open("w") as said:
            subprocess.run([*self._as_user, *argv], check=True, cwd="/", stdout=said, stderr=said)


@contextmanager
def server():
    """Start one; where there is none the test is skipped, or fails if it must be there (``CI_REAL=1``)."""
    lacking = ""
    if find_spec("psycopg") is None:
        lacking = "PostgreSQL needs psycopg: pip install wattshed[collect]"
    elif not (BINARIES / "initdb").exists():
        lacking = "no PostgreSQL server here: apt-get install postgresql"
    if lacking and os.environ.get("CI_REAL") == "1":
        pytest.fail(f"CI_REAL=1, but {lacking}")
    if lacking:
        pytest.skip(lacking)
    folder = Path(tempfile.mkdtemp(prefix="wattshed-pg-", dir="/tmp"))  # short: the path of a socket is
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("no user postgres here, and the server does not run as root")
        shutil.chown(folder, "postgres")
    one = PostgresServer(folder)
    one.set_up()
    try:
        yield one
    finally:
        one.stop()
        shutil.rmtree(folder)
