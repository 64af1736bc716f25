"""A simulated NVML below the real binding: symbols made of ctypes callbacks, so that real marshalling happens.

What the driver says comes from :class:`Card`; this file only speaks the ABI.
"""

from __future__ import annotations

import ctypes
import struct
from ctypes import c_char_p, c_int, c_uint, c_ulonglong, c_void_p
from typing import TYPE_CHECKING
from uuid import NAMESPACE_OID, uuid5

from wattshed.agent.meters.errors import NAMES
from wattshed.agent.simulation.abi import (
    EVENT_SET,
    FIELD_ASKED,
    FIELD_TOLD,
    HANDLE,
    INVALID,
    MIG_HANDLE,
    NOT_FOUND,
    OK,
    OTHER_VERSION,
    PROCESS,
    SAMPLE,
    TIMEOUT,
    TOO_SMALL,
    UNSUPPORTED,
    UTILISATION,
    Symbols,
    address_of,
    buffer,
    place_of,
    set_text,
    set_uint,
)
from wattshed.agent.simulation.card import LOST, MIG_CHANGED, RECOVERY_CHANGED, XID, Answer
from wattshed.agent.simulation.gpm import Gpm
from wattshed.agent.simulation.scenario import DRIVER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from wattshed.agent.simulation.card import Card, SimulatedHost
BLACKWELL = 10  # nvmlDeviceArchitecture_t
PROFILES_VERSION = 100 | 1 << 24  # of nvmlWorkloadPowerProfileCurrentProfiles_v1_t
MOVED_FROM, MOVED_UNTIL = (575, 0), (580, 82)
MOVED_FIELDS = {251: 269, 252: 270, 253: 271, 256: 251, 269: 264, 270: 265, 271: 266, 300: 0}
"""What the field numbers of these drivers were before and after them: nvml.h of CUDA 12.9 beside that of 13.3."""


class SimulatedLibrary:
    """An object with NVML's symbols as attributes, to be put in place of the loaded library.

    Parameters
    ----------
    host : SimulatedHost
    missing : collection of str
        Symbols that this library does not have.
    version : str
        Of the driver.
    """

    path = "simulated"

    def __init__(self, host: SimulatedHost, missing: Collection[str] = (), version: str = DRIVER) -> None:
        self._host, self._version = host, version
        self._fields_moved = MOVED_FROM <= tuple(map(int, version.split(".")[:2])) < MOVED_UNTIL
        self._alive: list[object] = []  # ctypes does not keep callbacks alive
        self._texts: dict[int, ctypes.Array[ctypes.c_char]] = {}
        for name, (types, function) in {**self._symbols(), **Gpm(host).symbols(), **host.binding.symbols()}.items():
            if name not in missing:
                callback = ctypes.CFUNCTYPE(c_int, *types)(self.answering(name, function))
                self._alive.append(callback)
                # Through the bare address, as a loaded library's symbol: without argument types.
                setattr(self, name, ctypes.CFUNCTYPE(c_int)(address_of(callback)))
        text = ctypes.CFUNCTYPE(c_void_p, c_int)(self._error_string)
        self._alive.append(text)
        self.nvmlErrorString = ctypes.CFUNCTYPE(c_char_p)(address_of(text))

    def answering(self, name: str, function: Callable[..., int]) -> Callable[..., int]:
        """Return a symbol's function as a call reaches it: after the driver's time, unless the driver refuses it."""
        enter = self._host.enter

        def call(*args: int) -> int:
            return enter(name, place_of(args[0]) if args else -1) or function(*args)

        return call

    def _error_string(self, code: int) -> int:
        text = self._texts.setdefault(code, ctypes.create_string_buffer(NAMES.get(code, "Unknown Error").encode()))
        return ctypes.addressof(text)

    def _card(self, handle: int | None) -> Card:
        return self._host.session[place_of(handle)]

    def _symbols(self) -> Symbols:
        p, u, q = c_void_p, c_uint, c_ulonglong
        return {
            "nvmlInitWithFlags": ((u,), self._host.init),
            "nvmlInit_v2": ((), self._host.init),
            "nvmlShutdown": ((), self._host.shutdown),
            "nvmlSystemGetDriverVersion": ((p, u), lambda at, size: set_text(at, size, self._version)),
            "nvmlDeviceGetCount_v2": ((p,), self._count),
            "nvmlDeviceGetHandleByIndex_v2": ((u, p), self._by_index),
            "nvmlDeviceGetHandleByUUID": ((c_char_p, p), self._by_uuid),
            "nvmlDeviceGetName": ((p, p, u), lambda h, at, n: set_text(at, n, self._card(h).architecture.model)),
            "nvmlDeviceGetUUID": ((p, p, u), lambda h, at, n: set_text(at, n, self._uuid(h))),
            "nvmlDeviceGetPciInfo_v3": ((p, p), self._pci),
            "nvmlDeviceGetMinorNumber": ((p, p), lambda h, at: set_uint(at, self._card(h).minor)),
            "nvmlDeviceGetArchitecture": ((p, p), lambda h, at: set_uint(at, self._card(h).architecture.number)),
            "nvmlDeviceGetNumGpuCores": ((p, p), lambda h, at: set_uint(at, self._card(h).cores)),
            "nvmlDeviceGetFieldValues": ((p, c_int, p), self._fields),
            "nvmlDeviceGetTotalEnergyConsumption": ((p, p), self._energy),
            "nvmlDeviceGetPowerUsage": ((p, p), lambda h, at: self._answer(at, self._card(h).usage())),
            "nvmlDeviceGetEnforcedPowerLimit": ((p, p), lambda h, at: self._answer(at, self._card(h).limit("max"))),
            "nvmlDeviceGetPowerManagementLimitConstraints": ((p, p, p), self._constraints),
            "nvmlDeviceGetUtilizationRates": ((p, p), self._utilisation),
            "nvmlDeviceGetMemoryInfo": ((p, p), self._memory),
            "nvmlDeviceGetTemperature": ((p, c_int, p), lambda h, _, at: set_uint(at, self._card(h).celsius())),
            "nvmlDeviceGetClockInfo": (
                (p, c_int, p),
                lambda h, which, at: set_uint(at, self._card(h).clock_mhz(which)),
            ),
            "nvmlDeviceGetSamples": ((p, c_int, q, p, p, p), self._samples),
            "nvmlDeviceGetComputeRunningProcesses_v3": ((p, p, p), self._processes),
            "nvmlDeviceGetGraphicsRunningProcesses_v3": ((p, p, p), lambda _, count, __: set_uint(count, 0)),
            "nvmlDeviceGetMPSComputeRunningProcesses_v3": ((p, p, p), lambda _, count, __: set_uint(count, 0)),
            "nvmlDeviceGetProcessUtilization": ((p, p, p, q), self._process_utilisation),
            "nvmlDeviceGetPersistenceMode": ((p, p), lambda h, at: set_uint(at, int(self._card(h).persistence))),
            "nvmlDeviceGetAccountingMode": ((p, p), lambda h, at: set_uint(at, int(self._card(h).accounting))),
            "nvmlDeviceGetAccountingBufferSize": ((p, p), lambda _, at: set_uint(at, 4000)),
            "nvmlDeviceGetAccountingPids": ((p, p, p), self._accounting_pids),
            "nvmlDeviceGetAccountingStats": ((p, u, p), self._accounting_stats),
            "nvmlDeviceGetMigMode": ((p, p, p), self._mig_mode),
            "nvmlDeviceGetMaxMigDeviceCount": ((p, p), lambda h, at: set_uint(at, 7 if self._card(h).can_mig else 0)),
            "nvmlDeviceGetMigDeviceHandleByIndex": ((p, u, p), self._mig_handle),
            "nvmlDeviceGetGpuInstanceId": ((p, p), lambda h, at: set_uint(at, self._instance(h)[0])),
            "nvmlDeviceGetComputeInstanceId": ((p, p), lambda h, at: set_uint(at, self._instance(h)[1])),
            "nvmlDeviceGetAttributes_v2": ((p, p), self._attributes),
            "nvmlDeviceGetSupportedEventTypes": ((p, p), self._event_types),
            "nvmlEventSetCreate": ((p,), self._event_set),
            "nvmlEventSetFree": ((p,), self._event_free),
            "nvmlDeviceRegisterEvents": ((p, q, p), self._register),
            "nvmlEventSetWait_v2": ((p, p, u), self._event_wait),
            "nvmlDeviceWorkloadPowerProfileGetCurrentProfiles": ((p, p), self._power_profiles),
        }

    @staticmethod
    def _answer(at: int, answer: Answer) -> int:
        code, value = answer
        if code == OK:
            set_uint(at, value)
        return code

    def _count(self, at: int) -> int:
        set_uint(at, len(self._host.session))
        return OK

    def _give_handle(self, gpu: int, at: int) -> int:
        code = self._host.enter("", gpu) or self._host.attach(gpu)
        if code == OK:
            c_void_p.from_address(at).value = HANDLE + gpu
        return code

    def _by_index(self, index: int, at: int) -> int:
        return self._give_handle(index, at) if index < len(self._host.session) else INVALID

    def _by_uuid(self, uuid: bytes, at: int) -> int:
        gpu = next((i for i, card in enumerate(self._host.session) if card.uuid == uuid.decode()), None)
        for other in range(gpu or 0):
            self._host.attach(other)  # nvml.h: "may initialize additional GPUs as it searches for the target GPU"
        return NOT_FOUND if gpu is None else self._give_handle(gpu, at)

    def _pci(self, handle: int, at: int) -> int:
        card = self._card(handle)
        bus = card.pci_bus_id.encode()
        struct.pack_into(
            "<16sIIIII32s", buffer(at, 68), 0, bus[4:], 0, 0x17 + card.slot, 0, 0x233010DE, 0x16C110DE, bus
        )
        return OK

    def _fields(self, handle: int, count: int, at: int) -> int:
        card, values = self._card(handle), buffer(at, 40 * count)
        now_us = self._host.now_us()
        for offset in range(0, 40 * count, 40):
            number, scope = FIELD_ASKED.unpack_from(values, offset)
            number = MOVED_FIELDS.get(number, number) if self._fields_moved else number
            code, kind, value = card.field(number, scope, now_us)
            FIELD_TOLD.pack_into(values, offset + 8, now_us, 0, kind, code, value)
        return OK

    def _energy(self, handle: int, at: int) -> int:
        code, value = self._card(handle).counter(self._host.now_us())
        if code == OK:
            c_ulonglong.from_address(at).value = value
        return code

    def _constraints(self, handle: int, low: int, high: int) -> int:
        return self._answer(low, self._card(handle).limit("min")) or self._answer(high, self._card(handle).limit("max"))

    def _utilisation(self, handle: int, at: int) -> int:
        answer = self._card(handle).utilisation()
        if answer is None:
            return UNSUPPORTED
        struct.pack_into("<II", buffer(at, 8), 0, *answer)
        return OK

    def _memory(self, handle: int, at: int) -> int:
        used, total = self._card(handle).memory()
        struct.pack_into("<QQQ", buffer(at, 24), 0, total, total - used, used)
        return OK

    def _samples(self, *args: int) -> int:
        handle, kind, since_us, value_type, count, at = args
        if kind != 0:
            return UNSUPPORTED
        samples = self._card(handle).power_samples(since_us)
        if not samples:
            return NOT_FOUND
        set_uint(value_type, 1)
        room = c_uint.from_address(count).value
        set_uint(count, len(samples))
        if at:
            if room < len(samples):
                return TOO_SMALL
            rows = buffer(at, 16 * len(samples))
            for i, (stamp_us, power_mw) in enumerate(samples):
                SAMPLE.pack_into(rows, 16 * i, stamp_us, power_mw)
        return OK

    def _processes(self, handle: int, count: int, at: int | None) -> int:
        instance = self._instance(handle) if handle >= MIG_HANDLE else None
        found = self._card(handle).processes(instance)
        room = c_uint.from_address(count).value
        set_uint(count, len(found))
        if not found:
            return OK
        if at is None or room < len(found):
            return TOO_SMALL
        rows = buffer(at, 24 * len(found))
        for i, one in enumerate(found):
            PROCESS.pack_into(rows, 24 * i, *one)
        return OK

    def _process_utilisation(self, handle: int, at: int | None, count: int, since_us: int) -> int:
        code, samples = self._card(handle).process_utilisation(since_us)
        if code != OK or not samples:
            return code
        room = c_uint.from_address(count).value
        set_uint(count, len(samples))
        if at is None or room < len(samples):
            return TOO_SMALL
        rows = buffer(at, 32 * len(samples))
        for i, (pid, stamp_us, sm, memory) in enumerate(samples):
            UTILISATION.pack_into(rows, 32 * i, pid, stamp_us, sm, memory, 0, 0)
        return OK

    def _accounting_pids(self, handle: int, count: int, at: int) -> int:
        pids = self._card(handle).accounted()
        room = c_uint.from_address(count).value
        set_uint(count, len(pids))
        if room < len(pids):
            return TOO_SMALL
        struct.pack_into(f"<{len(pids)}I", buffer(at, 4 * max(1, len(pids))), 0, *pids)
        return OK

    def _accounting_stats(self, handle: int, pid: int, at: int) -> int:
        stats = self._card(handle).accounted().get(pid)
        if stats is None:
            return NOT_FOUND
        struct.pack_into("<IIQQQI", buffer(at, 64), 0, *stats)
        return OK

    def _mig_mode(self, handle: int, current: int, pending: int) -> int:
        card = self._card(handle)
        if not card.can_mig:
            return UNSUPPORTED
        set_uint(current, int(bool(card.instances)))
        set_uint(pending, int(bool(card.instances)))
        return OK

    def _mig_handle(self, handle: int, index: int, at: int) -> int:
        card = self._card(handle)
        if index >= len(card.instances):
            return NOT_FOUND
        c_void_p.from_address(at).value = MIG_HANDLE + (place_of(handle) << 4) + index
        return OK

    def _uuid(self, handle: int) -> str:
        """Name a GPU, or a MIG device: the same instances have the same name again."""
        uuid = self._card(handle).uuid
        if handle < MIG_HANDLE:
            return uuid
        return f"MIG-{uuid5(NAMESPACE_OID, uuid + '/'.join(map(str, self._instance(handle))))}"

    def _instance(self, handle: int) -> tuple[int, int]:
        gi, ci, _ = self._card(handle).instances[(handle - MIG_HANDLE) & 0xF]
        return gi, ci

    def _attributes(self, handle: int, at: int) -> int:
        if handle < MIG_HANDLE:
            return UNSUPPORTED
        _, _, sms = self._card(handle).instances[(handle - MIG_HANDLE) & 0xF]
        struct.pack_into("<8IQ", buffer(at, 40), 0, sms, 1, 0, 0, 0, 0, 1, 1, 10_240)
        return OK

    def _power_profiles(self, handle: int, at: int) -> int:
        card = self._card(handle)
        if card.architecture.number < BLACKWELL:
            return UNSUPPORTED
        if c_uint.from_address(at).value != PROFILES_VERSION:
            return OTHER_VERSION
        mask = sum(1 << number for number in card.power_profiles).to_bytes(32, "little")
        # Those that exist, are requested, and are in force.
        struct.pack_into("<32s32s32s", buffer(at, 100), 4, b"\xff" * 31 + b"\x7f", mask, mask)
        return OK

    def _event_types(self, handle: int, at: int) -> int:
        card = self._card(handle)
        advises = RECOVERY_CHANGED if card.architecture.number >= 9 else 0
        c_ulonglong.from_address(at).value = XID | advises | (MIG_CHANGED if card.can_mig else 0)
        return OK

    def _event_set(self, at: int) -> int:
        c_void_p.from_address(at).value = EVENT_SET
        return OK

    def _event_free(self, _: int) -> int:
        self._host.heard.clear()
        return OK

    def _register(self, handle: int, kinds: int, _: int) -> int:
        card = self._card(handle)
        if kinds & MIG_CHANGED and not card.can_mig:
            return UNSUPPORTED
        self._host.heard[card.index] = self._host.heard.get(card.index, 0) | kinds
        return OK

    def _event_wait(self, _: int, at: int, timeout_ms: int) -> int:
        event = self._host.next_event(timeout_ms)
        if event is None:
            return LOST if self._host.deaf else TIMEOUT
        place = next((i for i, card in enumerate(self._host.session) if card.index == event.gpu), 0)
        handle, nowhere = HANDLE + place, 0xFFFFFFFF
        struct.pack_into("<QQQII", buffer(at, 32), 0, handle, event.kind, event.data, nowhere, nowhere)
        return OK
