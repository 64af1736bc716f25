"""An agent with its defaults on a simulated driver, served by this process until it is ended."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_READY_S = 180.0
_KEPT = ("WATTSHED_JIT", "WATTSHED_CACHE_DIR", "CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME")
"""Of the environment: where compiled kernels are, and in which form they run."""


def serve_simulated(folder: Path, meter: str, port: int, ready: Callable[[], None], *, jobs_socket: str = "") -> None:
    """Run an agent with server, state and history, but without this host's configuration, which is not meant.

    Parameters
    ----------
    folder : Path
        For its state.
    meter : str
        ``simulated``, or ``simulated:FILE``.
    port : int
        Of the loopback address.
    ready : callable
        Called once, in a thread of its own, when the agent says that it is ready.
    jobs_socket : str
        Path at which it answers about jobs; empty: none.
    """
    from wattshed.agent.config.loading import load  # noqa: PLC0415 - the other exporters are not to carry the agent's memory
    from wattshed.agent.daemon.assembly import serve  # noqa: PLC0415

    notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notices.bind(str(folder / "notify"))
    os.environ["NOTIFY_SOCKET"] = str(folder / "notify")

    def waiting() -> None:
        notices.settimeout(_READY_S)
        while b"READY=1" not in notices.recv(4096).splitlines():
            pass
        ready()

    threading.Thread(target=waiting, daemon=True).start()
    nothing = folder / "config.toml"
    nothing.touch()
    flags = {
        "meter": meter,
        "listen": [f"127.0.0.1:{port}"],
        "state_dir": str(folder / "state"),
        "history.socket": jobs_socket,
        "socket": "",
        "log.level": "error",
    }
    serve(load(nothing, {name: os.environ[name] for name in _KEPT if name in os.environ}, flags).config, "")


def free_port() -> int:
    """Return a port of the loopback address that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
