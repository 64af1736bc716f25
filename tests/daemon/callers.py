"""The agent's socket, with a desk for which every process is a job of its own."""

import socket
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from wattshed.agent.daemon.callers.desk import CallersDesk
from wattshed.agent.daemon.callers.energies import JobEnergies
from wattshed.agent.daemon.callers.own_parts import OwnParts
from wattshed.agent.daemon.callers.senders import Senders
from wattshed.agent.daemon.callers.server import CallersServer
from wattshed.agent.jobs.ancestry import Ancestry
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.window import JobKey, Owner


def now_us():
    return time.monotonic_ns() // 1000


class Noted:
    """Takes work down as it comes."""

    def __init__(self, refuses=()):
        self.work, self.reasons, self._refuses = [], [], refuses

    def add(self, owner, unit, count, time_us):
        self.work.append((owner.key, unit, count))
        return "no more units" if unit in self._refuses else ""

    def refuse(self, reason):
        self.reasons.append(reason)


class ByPid:
    """Every process is a job of its own."""

    def owner_of(self, process):
        return Owner(JobKey(f"job:{process.pid}"))


@contextmanager
def listening(folder, limits=None, refuses=()):
    """Listen in a folder that everybody may enter."""
    folder.chmod(0o755)
    work = Noted(refuses)
    desk = CallersDesk({"wattshed": "1", "simulated": False}, JobEnergies(), OwnParts(Ancestry(Path("/proc"))), 0, work)
    senders = Senders(Processes(Path("/proc"), now_us, await_exits=False), now_us)
    server = CallersServer(str(folder / "agent.sock"), desk, senders, now_us, limits)
    settle = lambda: desk.settle(ByPid(), SimpleNamespace(end_us=now_us() + 1))
    yield SimpleNamespace(path=server.path, work=work, desk=desk, settle=settle)
    server.close()


def connected(path):
    """Connect as a caller does."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(5)
    sock.connect(path)
    return sock
