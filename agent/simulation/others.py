"""What other programs do to the GPUs of a simulated node: reset, unbind, bind and repartition them.

`OtherProgram` may be a process of its own. It says what it wants in a file, as another program would say it to the
kernel; `Orders`, in the process of the node, carries it out.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from wattshed.agent.simulation.device_nodes import CONTROL, is_free, lock, node_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from wattshed.agent.simulation.card import Card, SimulatedHost

NODES, ORDERS = "dev", "orders"
"""Folders of a node: its device nodes, and what is asked of it."""
_AGAIN_S = 0.02


class InUseError(OSError):
    """What ``nvidia-smi`` says then: "In use by another client"."""

    def __init__(self, gpu: int) -> None:
        super().__init__(f"GPU {gpu}: In use by another client")


class OtherProgram:
    """A program beside the agent.

    Parameters
    ----------
    root : Path
        Folder of the simulated node.
    patience_s : float, s
        How long it waits for the node to do what it says; 0 where time is virtual: it is done before the next session.
    """

    def __init__(self, root: Path, *, patience_s: float = 0.0) -> None:
        self._nodes, self._orders, self._patience_s = root / NODES, root / ORDERS, patience_s

    def reset(self, gpu: int) -> None:
        """Do what ``nvidia-smi --gpu-reset`` does: the energy counter begins at zero.

        Raises
        ------
        InUseError
            Somebody has the GPU open.
        """
        self._alone(gpu, "reset")

    def repartition(self, gpu: int, instances: Sequence[tuple[int, int, int]]) -> None:
        """Switch MIG on with these (GPU instance, compute instance, SMs), or off without any; raises as `reset`."""
        self._alone(gpu, "repartition", instances=instances)

    def unbind(self, gpu: int) -> None:
        """Take a GPU from the driver: it goes as soon as nobody has it open.

        Raises
        ------
        InUseError
            Somebody still has, and patience is at its end.
        """
        self._order(gpu, "unbind")
        node = self._nodes / node_of(gpu)
        if not self._waited(lambda: not node.exists()) and not is_free(node):
            raise InUseError(gpu)

    def bind(self, gpu: int) -> None:
        """Give it to the driver again."""
        self._order(gpu, "bind")
        self._waited((self._nodes / node_of(gpu)).exists)

    def unload(self) -> None:
        """Do what ``modprobe -r nvidia`` asks first: whether anybody has the driver open; raises as `reset`."""
        for node in sorted(self._nodes.iterdir()):
            if not is_free(node):
                raise InUseError(-1 if node.name == CONTROL else int(node.name.removeprefix("nvidia")))

    def _alone(self, gpu: int, what: str, **more: Any) -> None:
        try:
            node = lock(self._nodes / node_of(gpu), alone=True)
        except BlockingIOError:
            raise InUseError(gpu) from None
        try:
            order = self._order(gpu, what, **more)
            self._waited(lambda: not order.exists())
        finally:
            os.close(node)

    def _order(self, gpu: int, what: str, **more: Any) -> Path:
        path = self._orders / f"{time.monotonic_ns():020d}.json"
        (draft := path.with_suffix(".new")).write_text(json.dumps({"gpu": gpu, "what": what, **more}))
        draft.rename(path)
        return path

    def _waited(self, done: Callable[[], bool]) -> bool:
        until_s = time.monotonic() + self._patience_s
        while not done():
            if time.monotonic() >= until_s:
                return False
            time.sleep(_AGAIN_S)
        return True


class Orders:
    """Carries out on a host what other programs ask for.

    Parameters
    ----------
    host : SimulatedHost
    folder : Path
        Made if it is missing.
    """

    def __init__(self, host: SimulatedHost, folder: Path) -> None:
        self._host, self._folder = host, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[int, Card] = {}
        self._lock = threading.Lock()

    def obey(self) -> None:
        """Do what was asked for since the last call."""
        with self._lock:
            for path in sorted(self._folder.glob("*.json")):
                order = json.loads(path.read_text())
                self._do(self._card(int(order["gpu"])), **order)
                path.unlink()

    def _do(self, card: Card, what: str, instances: Sequence[tuple[int, int, int]] = (), **_: Any) -> None:
        if what == "reset":
            card.restart_counter()
        elif what == "repartition":
            self._host.partition(card, [(gi, ci, sms) for gi, ci, sms in instances])
        elif what == "unbind":
            self._host.binding.unbind(card)
        else:
            self._host.binding.bind(card)

    def _card(self, minor: int) -> Card:
        self._known |= {card.minor: card for card in self._host.cards}
        return self._known[minor]
