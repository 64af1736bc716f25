"""GPUs of a simulated node that come to their driver and go from it, and the driver's events that say so."""

from __future__ import annotations

from ctypes import c_void_p
from typing import TYPE_CHECKING

from wattshed.agent.simulation.abi import (
    OK,
    SYSTEM_EVENT,
    SYSTEM_REGISTER,
    SYSTEM_SET,
    SYSTEM_SET_AT,
    SYSTEM_WAIT,
    TIMEOUT,
    buffer,
)
from wattshed.agent.simulation.device_nodes import is_free, node_of

if TYPE_CHECKING:
    from wattshed.agent.simulation.abi import Symbols
    from wattshed.agent.simulation.card import Card, SimulatedHost

UNBIND, BIND = 1, 2  # nvmlSystemEventType of nvml.h


class Binding:
    """What is bound to the driver of one host.

    Parameters
    ----------
    host : SimulatedHost
    """

    def __init__(self, host: SimulatedHost) -> None:
        self._host = host
        self._leaving: list[Card] = []
        self._events: list[tuple[int, int]] = []
        self._heard = 0

    def unbind(self, card: Card) -> None:
        """Take a board from the driver as soon as nobody has it open; those who registered for it are notified."""
        if card in self._host.cards and card not in self._leaving:
            self._leaving.append(card)
            self._tell(UNBIND, card)
            self.let_leave()

    def bind(self, card: Card) -> None:
        """Give the driver a board that was unbound, with its counter at zero, or leave it there."""
        if card in self._leaving:
            self._leaving.remove(card)
        elif card not in self._host.cards:
            card.restart_counter()
            self._host.add(card)
            self._tell(BIND, card)
            self._host.show()

    def _tell(self, kind: int, card: Card) -> None:
        if self._heard & kind:
            self._events.append((kind, card.bus << 8))

    def let_leave(self) -> None:
        """Let those go that somebody unbinds, and nobody has open any more."""
        for card in [card for card in self._leaving if is_free(self._host.nodes.folder / node_of(card.minor))]:
            self._leaving.remove(card)
            self._host.cards.remove(card)
        self._host.show()

    def symbols(self) -> Symbols:
        """Return the library's functions that tell of it, which need no session."""
        at = ((c_void_p,),)
        return {
            "nvmlSystemEventSetCreate": (*at, self._create),
            "nvmlSystemEventSetFree": (*at, self._free),
            "nvmlSystemRegisterEvents": (*at, self._register),
            "nvmlSystemEventSetWait": (*at, self._wait),
        }

    def _create(self, at: int) -> int:
        self._host.obey()  # what happened before nobody is told of
        c_void_p.from_address(at + SYSTEM_SET_AT).value = SYSTEM_SET
        return OK

    def _free(self, _: int) -> int:
        self._heard = 0
        self._events.clear()
        return OK

    def _register(self, at: int) -> int:
        _, kinds, _ = SYSTEM_REGISTER.unpack_from(buffer(at, SYSTEM_REGISTER.size))
        self._heard |= kinds
        return OK

    def _wait(self, at: int) -> int:
        request = buffer(at, SYSTEM_WAIT.size)
        version, timeout_ms, events, data, size, _ = SYSTEM_WAIT.unpack_from(request)
        self._host.obey()
        if not self._events:
            self._host.nothing(timeout_ms)
            return TIMEOUT
        SYSTEM_EVENT.pack_into(buffer(data, SYSTEM_EVENT.size), 0, *self._events.pop(0))
        SYSTEM_WAIT.pack_into(request, 0, version, timeout_ms, events, data, size, 1)
        return OK
