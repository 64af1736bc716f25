"""The collector's file of settings, collect.toml."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.history.opening import where_of
from wattshed.agent.inputs.toml import Document
from wattshed.agent.wire.credentials import Credentials, password_in
from wattshed.agent.wire.http import Address

if TYPE_CHECKING:
    from pathlib import Path

    from wattshed.agent.inputs.toml import Table

EXAMPLE = "http://node001:9961"
SOCKET = "/run/wattshed-collect/collect.sock"
# What the file and each of its [[targets]] may hold.
SETTINGS = (
    "database", "database_file", "poll_s", "timeout_s", "concurrency", "max_age_days", "listen", "web_config_file",
    "socket", "admin_group", "tcp_users", "relays", "privacy", "slurm", "kubernetes", "targets",
)  # fmt: skip
TARGETS = (
    "urls", "file_sd", "http_sd", "dns", "scheme", "cluster", "login", "password_file", "ca_file", "cert_file",
    "key_file",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """Agents that are asked in one way.

    Attributes
    ----------
    urls : tuple of str
    file_sd, http_sd : tuple of str
        Patterns of files, and addresses, that list further ones, as Prometheus reads them.
    dns : tuple of str
        ``NAME:PORT``; all addresses of the name are agents.
    scheme : str
        ``http`` or ``https``, for targets that such a list names without.
    cluster : str
        The cluster of their jobs; empty: what the jobs' own label says.
    credentials : Credentials
    """

    urls: tuple[str, ...] = ()
    file_sd: tuple[str, ...] = ()
    http_sd: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    scheme: str = "http"
    cluster: str = ""
    credentials: Credentials = field(default_factory=Credentials)


@dataclass(frozen=True, slots=True)
class CollectSettings:
    """All of it.

    Attributes
    ----------
    database : str
        A path, or ``postgresql://...``; may hold a password, and is never shown.
    poll_s, timeout_s : float, s
    concurrency : int
        Agents that are asked at a time.
    max_age_days : float, d
        Parts, and jobs that ended, are dropped after this; sums of days stay.
    listen, relays, tcp_users : tuple of str
    web_config_file, socket, admin_group : str
    users, key_file : str
        See `agent.history.privacy`.
    user_days : float, d
        Users are forgotten so long after the end of their jobs.
    write_back : bool
        Whether complete jobs are written into Slurm's accounting.
    sacct, sacctmgr : tuple of str
    pods_file, pods_prometheus : str
        Where pods are joined with their workloads; see `agent.collect.workloads`.
    targets : tuple of TargetGroup
    """

    database: str = field(repr=False)
    targets: tuple[TargetGroup, ...]
    poll_s: float = 60.0
    timeout_s: float = 10.0
    concurrency: int = 32
    max_age_days: float = 400.0
    listen: tuple[str, ...] = ("127.0.0.1:9962",)
    web_config_file: str = ""
    socket: str = SOCKET
    admin_group: str = ""
    tcp_users: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()
    users: str = "names"
    key_file: str = ""
    user_days: float = 90.0
    write_back: bool = False
    sacct: tuple[str, ...] = ("sacct",)
    sacctmgr: tuple[str, ...] = ("sacctmgr",)
    pods_file: str = ""
    pods_prometheus: str = ""


def read_settings(path: str | Path) -> CollectSettings:
    """Read and check collect.toml; paths in it are meant from its folder.

    Raises
    ------
    InputError
        With file, line and column, and what to do.
    """
    document = Document(path, "make one as docs/collect.md shows")
    root = document.root.only(SETTINGS)
    folder = document.folder
    privacy = root.table("privacy", required=False).only(("users", "key_file", "user_days"))
    slurm = root.table("slurm", required=False).only(("write_back", "sacct", "sacctmgr"))
    pods = root.table("kubernetes", required=False).only(("pods_file", "prometheus"))
    if "pods_file" in pods and "prometheus" in pods:
        pods.fail("takes pods_file or prometheus, not both")
    users = privacy.text("users", "names", choices=("names", "pseudonyms", "none"))
    if users != "names" and "key_file" not in privacy:
        privacy.fail("needs key_file: names are hashed with a key of the site's")
    return CollectSettings(
        database=_database(root, folder),
        targets=tuple(_group(table, folder) for table in root.tables("targets", required=True)),
        poll_s=root.number("poll_s", 60.0, low=1, high=3600),
        timeout_s=root.number("timeout_s", 10.0, low=1, high=300),
        concurrency=root.count("concurrency", 32, low=1, high=256),
        max_age_days=root.number("max_age_days", 400.0, low=1),
        listen=tuple(root.each("listen", str, ["127.0.0.1:9962"])),
        web_config_file=_path(root, "web_config_file", folder),
        socket=_path(root, "socket", folder, SOCKET),
        admin_group=root.text("admin_group", "", empty=True),
        tcp_users=tuple(root.each("tcp_users", str, [])),
        relays=tuple(root.each("relays", str, [])),
        users=users,
        key_file=_path(privacy, "key_file", folder),
        user_days=privacy.number("user_days", 90.0, low=1),
        write_back=slurm.flag("write_back", False),
        sacct=tuple(slurm.each("sacct", str, ["sacct"])),
        sacctmgr=tuple(slurm.each("sacctmgr", str, ["sacctmgr"])),
        pods_file=_path(pods, "pods_file", folder),
        pods_prometheus=pods.text("prometheus", "", empty=True),
    )


def _database(root: Table, folder: Path) -> str:
    key = "database_file" if "database_file" in root else "database"
    if key == "database_file" and "database" in root:
        root.fail("takes database or database_file, not both")
    text = password_in(_path(root, key, folder)) if key == "database_file" else root.text("database")
    try:
        where = where_of(text)
    except InputError as error:
        root.fail(error.message, key)
    return text if where is None else str(folder / where)


def _group(table: Table, folder: Path) -> TargetGroup:
    table.only(TARGETS)
    urls = tuple(table.each("urls", str, []))
    lists = tuple(str(folder / one) for one in table.each("file_sd", str, []))
    servers = tuple(table.each("http_sd", str, []))
    names = tuple(table.each("dns", str, []))
    if not (urls or lists or servers or names):
        table.fail("needs urls, file_sd, http_sd or dns")
    for i, name in enumerate(names):
        if not re.fullmatch(r"[A-Za-z0-9._-]+:\d{1,5}", name):
            table.fail("write NAME:PORT", "dns", i)
    for key, some in (("urls", urls), ("http_sd", servers)):
        for i, url in enumerate(some):
            try:
                Address.parse(url, key, EXAMPLE)
            except InputError as error:
                table.fail(error.message, key, i)
    return TargetGroup(
        urls, lists, servers, names, table.text("scheme", "http", choices=("http", "https")),
        table.text("cluster", "", empty=True), _credentials(table, folder),
    )  # fmt: skip


def _credentials(table: Table, folder: Path) -> Credentials:
    login = table.text("login", "", empty=True)
    if bool(login) != ("password_file" in table):
        table.fail("login and password_file go together: give both")
    if ":" in login:
        table.fail("the name of a user has no colon", "login")
    if "key_file" in table and "cert_file" not in table:
        table.fail("key_file goes with cert_file: give both", "key_file")
    file = _path(table, "password_file", folder)
    ca_file, cert_file, key_file = (_path(table, key, folder) for key in ("ca_file", "cert_file", "key_file"))
    made = Credentials(login, password_in(file) if file else "", ca_file, cert_file, key_file)
    if ca_file or cert_file:
        made.context()  # what is wrong with the files is said now
    return made


def _path(table: Table, key: str, folder: Path, otherwise: str = "") -> str:
    text = table.text(key, otherwise, empty=True)
    return str(folder / text) if text else ""
