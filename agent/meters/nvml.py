"""The driver, behind NVIDIA's own Python binding: the one place that imports pynvml.

Nothing is assumed about which symbols a library has: a missing one is a capability that is off. Every call is timed,
every failure becomes a :class:`MeterError` that says what to do about it.
"""

from __future__ import annotations

import copy
import ctypes
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pynvml

from wattshed.agent.meters.costs import CallCosts
from wattshed.agent.meters.errors import (
    FUNCTION_NOT_FOUND,
    INSUFFICIENT_SIZE,
    TIMEOUT,
    UNKNOWN,
    Fault,
    MeterError,
    NoMeter,
)
from wattshed.agent.meters.filling import Rooms
from wattshed.agent.missing import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import ModuleType

    from wattshed.agent.clock import Clock

LIBRARY = "libnvidia-ml.so.1"
NO_ATTACH = 2  # NVML_INIT_FLAG_NO_ATTACH

# The binding asks for the newest version of a symbol only. These older ones have the same layout, or fill a part of it.
_OLDER = {
    "nvmlInitWithFlags": ("nvmlInit_v2", "nvmlInit"),
    "nvmlDeviceGetCount_v2": ("nvmlDeviceGetCount",),
    "nvmlDeviceGetHandleByIndex_v2": ("nvmlDeviceGetHandleByIndex",),
    "nvmlDeviceGetPciInfo_v3": ("nvmlDeviceGetPciInfo_v2",),
    "nvmlDeviceGetComputeRunningProcesses_v3": ("nvmlDeviceGetComputeRunningProcesses_v2",),
    "nvmlDeviceGetGraphicsRunningProcesses_v3": ("nvmlDeviceGetGraphicsRunningProcesses_v2",),
    "nvmlDeviceGetMPSComputeRunningProcesses_v3": ("nvmlDeviceGetMPSComputeRunningProcesses_v2",),
    "nvmlEventSetWait_v2": ("nvmlEventSetWait",),
    "nvmlDeviceGetAttributes_v2": ("nvmlDeviceGetAttributes",),
}

_FIELD = struct.Struct("<IIqqIIQ")  # nvmlFieldValue_t: field, scope, timestamp, latency, value type, return, value
_MASKS = {1: 0xFFFFFFFF, 2: 0xFFFFFFFFFFFFFFFF, 3: 0xFFFFFFFFFFFFFFFF, 6: 0xFFFF}  # unsigned members by nvmlValueType_t
_FIRST_PROCESS = struct.Struct("<I4xQ")  # nvmlProcessInfo_v1_t: pid, bytes
_PROCESS = struct.Struct("<I4xQII")  # nvmlProcessInfo_v2_t: pid, bytes, GPU instance, compute instance
_UTILISATION = struct.Struct("<I4xQIIII")  # nvmlProcessUtilizationSample_t: pid, stamp, SM, memory, encoder, decoder
_SAMPLE = struct.Struct("<QQ")  # nvmlSample_t: stamp, value
_PID = struct.Struct("<I")
_LAST_KIND = 6  # nvmlValueType_t ends with the unsigned short
NO_INSTANCE = 0xFFFFFFFF
_SYSTEM_WAIT, _SYSTEM_EVENTS, _ANY = 0x1000020, 8, 0x3  # version of the request, room for events, all types of them
_NOT_AVAILABLE = 0xFFFFFFFFFFFFFFFF


class DriverEvent(NamedTuple):
    """What nvmlEventSetWait returns: the handle's address, the event type's bit, and its datum (an XID number).

    ``instance`` is the (GPU instance, compute instance) that it is about under MIG, each `NO_INSTANCE` without.
    """

    device: int
    event_type: int
    data: int
    instance: tuple[int, int]


class _Batch(NamedTuple):
    """Fields that are read together: how many, the block of memory for their answers, and what is in it before."""

    many: ctypes.c_int
    values: ctypes.Array[ctypes.c_char]
    blank: bytes


class Nvml:
    """A loaded driver library.

    Parameters
    ----------
    clock : Clock
    library : str or object
        A file name for the dynamic loader, or an object with NVML's symbols as attributes (the simulated driver).
    binding : module
        The imported binding; an argument so that the refusal of a wrong one can be tested.

    Attributes
    ----------
    costs : CallCosts
        Seconds by call, and the call that is under way.
    attaches : bool
        Whether the session opens all GPUs, whichever is asked for.
    row_readings : dict of (driver version, architecture) -> str
        What rows of process utilisation mean, as far as it was found out; see `agent.meters.shares`.

    Raises
    ------
    NoMeter
        The library cannot be loaded, or the binding is not NVIDIA's.
    """

    def __init__(self, clock: Clock, library: object = LIBRARY, binding: ModuleType = pynvml) -> None:
        _refuse_unofficial(binding)
        self.costs, self._clock = CallCosts(clock), clock
        self._binding = binding
        self.row_readings: dict[tuple[str, str], str] = {}
        self._rooms, self.attaches = Rooms(), True
        self._batches: dict[tuple[tuple[int, int], ...], _Batch] = {}
        if isinstance(library, str):
            try:
                self._library: object = ctypes.CDLL(library)
            except OSError as error:
                raise NoMeter(
                    f"no NVML library ({error}); install the NVIDIA driver, or try WATTSHED_METER=simulated"
                ) from None
        else:
            self._library = library
        self.path = getattr(library, "path", "") or loaded_path(str(library))
        self._install()

    def beside(self) -> Nvml:
        """Return the same library for one other thread: with buffers and costs of its own."""
        twin = copy.copy(self)
        twin.costs, twin._rooms, twin._batches = CallCosts(self._clock), Rooms(), {}  # noqa: SLF001 - of the same class
        return twin

    def _install(self) -> None:
        """Make the binding call our library, and accept older names of what it asks for."""
        with self._binding.libLoadLock:
            pointers = self._binding._nvmlGetFunctionPointer_cache  # noqa: SLF001 - the binding offers no other way to another library
            pointers.clear()
            setattr(self._binding, "nvmlLib", self._library)  # noqa: B010 - the binding declares it as None
            for name, older in _OLDER.items():
                found = next((s for s in (name, *older) if hasattr(self._library, s)), None)
                if found is not None:
                    pointers[name] = getattr(self._library, found)

    def ask(self, name: str, *args: object) -> Any:
        """Call the binding's function ``name``.

        Raises
        ------
        MeterError
            The driver, or the lack of a symbol, says no. An answer that is not text where text is due counts as
            unknown error.
        """
        function = getattr(self._binding, name, None)
        if function is None:
            raise MeterError(name, FUNCTION_NOT_FOUND)
        begun_ns = self.costs.begin(name)
        try:
            return function(*args)
        except self._binding.NVMLError as error:
            raise MeterError(name, error.value) from None
        except self._binding.NVMLLibraryMismatchError:
            raise MeterError(name, FUNCTION_NOT_FOUND) from None
        except (UnicodeDecodeError, ValueError) as error:
            raise MeterError(name, UNKNOWN) from error
        finally:
            self.costs.end(name, begun_ns)

    def ask_or(self, default: Any, name: str, *args: object) -> Any:
        """Like :meth:`ask`, but any refusal short of a lost driver gives ``default``."""
        try:
            return self.ask(name, *args)
        except MeterError:
            return default

    def open(self, flags: int = 0) -> None:
        """Initialise the driver session, without requiring any GPU; `NO_ATTACH` opens none but by its handle."""
        self.attaches = not flags & NO_ATTACH
        self.ask("nvmlInitWithFlags", flags)

    def close(self) -> bool:
        """End the session, or count one client less; False if there is none, or the driver is gone already."""
        return self.ask_or(self, "nvmlShutdown") is not self

    def fields(self, handle: object, wanted: Sequence[tuple[int, int]]) -> list[tuple[int, float]]:
        """Read several (field, scope) in one call.

        Returns
        -------
        list of (code, value)
            The call succeeds though each field failed, so each has its own code; ``value`` is an int, or a float where
            the driver answers with a double.
        """
        key = tuple(wanted)
        batch = self._batches.get(key)
        if batch is None:
            blank = b"".join(_FIELD.pack(number, scope, 0, 0, 0, UNKNOWN, 0) for number, scope in key)
            values = ctypes.create_string_buffer(blank, len(blank))
            batch = self._batches[key] = _Batch(ctypes.c_int(len(key)), values, blank)
        # The same block again and again, blank each time: a driver that skips an entry has not answered it.
        batch.values.raw = batch.blank
        self._call("nvmlDeviceGetFieldValues", handle, batch.many, batch.values)
        return [
            (status, MISSING) if status else (0, _member(kind, raw)) if kind <= _LAST_KIND else (UNKNOWN, MISSING)
            for _, _, _, _, kind, status, raw in _FIELD.iter_unpack(batch.values)
        ]

    def _call(self, name: str, *args: object) -> None:
        """Call a symbol of the library through the binding's pointer to it; for what is asked too often to be slow."""
        begun_ns = self.costs.begin(name)
        try:
            code = self._binding._nvmlGetFunctionPointer(name)(*args)  # noqa: SLF001 - its own marshalling costs 40 us a batch
        except self._binding.NVMLError as error:
            raise MeterError(name, error.value) from None
        finally:
            self.costs.end(name, begun_ns)
        if code:
            raise MeterError(name, code)

    def processes(self, handle: object, kind: str) -> list[tuple[int, int, int, int]]:
        """List the processes of ``kind`` ("Compute", "Graphics", "MPSCompute") on a device.

        Returns
        -------
        list of (pid, bytes, GPU instance, compute instance)
            Bytes are -1 where the driver does not say; the instances are 0xFFFFFFFF without MIG.
        """
        name = f"nvmlDeviceGet{kind}RunningProcesses"
        try:
            found = self._filled(f"{name}_v3", _PROCESS, handle)
        except MeterError as error:
            if error.code != FUNCTION_NOT_FOUND:
                raise
            # The first version of the call, whose entries end after the memory.
            found = [(*entry, NO_INSTANCE, NO_INSTANCE) for entry in self._filled(name, _FIRST_PROCESS, handle)]
        return [(pid, MISSING if used >= _NOT_AVAILABLE >> 1 else used, gi, ci) for pid, used, gi, ci in found]

    def process_utilisation(self, handle: object, since_us: int) -> list[tuple[int, int, int, int]]:
        """Read the utilisation of processes after a time stamp of the driver's; 0 for all that it keeps.

        Returns
        -------
        list of (pid, time stamp us, SM percent, memory percent)
            As the driver says it, which may be nonsense; empty if it has nothing new.
        """
        since = ctypes.c_ulonglong(since_us)
        name = "nvmlDeviceGetProcessUtilization"
        try:
            found = self._rooms.fill(
                name, _UTILISATION, lambda count, at: self._call(name, handle, at, ctypes.byref(count), since)
            )
        except MeterError as error:
            if error.fault is not Fault.NOTHING:
                raise
            return []
        return [(pid, stamp_us, sm, memory) for pid, stamp_us, sm, memory, _, _ in found]

    def power_samples(self, handle: object, since_us: int) -> list[tuple[int, int]]:
        """Read the driver's own ring of power samples after a time stamp of its own: (time stamp us, mW)."""
        since, kind = ctypes.c_ulonglong(since_us), ctypes.c_uint()
        name = "nvmlDeviceGetSamples"
        return self._rooms.fill(
            name,
            _SAMPLE,
            lambda count, at: self._call(
                name, handle, ctypes.c_uint(0), since, ctypes.byref(kind), ctypes.byref(count), at
            ),
        )

    def accounting_pids(self, handle: object) -> list[int]:
        """List the processes that accounting knows, ended ones too."""
        return [pid for (pid,) in self._filled("nvmlDeviceGetAccountingPids", _PID, handle)]

    def _filled(self, name: str, entry: struct.Struct, handle: object) -> list[tuple[Any, ...]]:
        """Ask for a list by (device, count, entries)."""
        return self._rooms.fill(name, entry, lambda count, at: self._call(name, handle, ctypes.byref(count), at))

    def wait_event(self, events: object, timeout_ms: int) -> DriverEvent | None:
        """Wait for an event; None if none came. Not timed: waiting is its work, and another thread's.

        Raises
        ------
        MeterError
            There is nothing to wait for: at once, and every time while a GPU of the set is lost.
        """
        try:
            data = self._binding.nvmlEventSetWait_v2(events, timeout_ms)
        except self._binding.NVMLError as error:
            if error.value == TIMEOUT:
                return None
            raise MeterError("nvmlEventSetWait_v2", error.value) from None
        instance = (data.gpuInstanceId, data.computeInstanceId)
        return DriverEvent(self.address(data.device), data.eventType, data.eventData, instance)

    def wait_system_event(self, events: object, timeout_ms: int) -> list[tuple[int, int]]:
        """Wait for the driver's own events; returns (type, GPU's id) of those that came. Not timed, as above."""
        data = (self._binding.c_nvmlSystemEventData_v1_t * _SYSTEM_EVENTS)()
        try:
            found = self._binding.nvmlSystemEventSetWait(_SYSTEM_WAIT, events, timeout_ms, data, _SYSTEM_EVENTS)
        except self._binding.NVMLError as error:
            # More than there is room for: what they are does not matter, that there are any does.
            return [(_ANY, MISSING)] if error.value == INSUFFICIENT_SIZE else []
        return [(one["eventType"], one["gpuId"]) for one in found]

    @staticmethod
    def address(handle: Any) -> int:
        """Return the number behind a handle, to compare handles by."""
        return ctypes.cast(handle, ctypes.c_void_p).value or 0

    def power_profiles(self, handle: object) -> list[int]:
        """List the numbers of the workload power profiles in force: those requested that no other one rules out.

        Raises
        ------
        MeterError
            The driver, or the lack of a symbol in it or in the binding, says no.
        """
        name = "nvmlDeviceWorkloadPowerProfileGetCurrentProfiles"
        kind = getattr(self._binding, "c_nvmlWorkloadPowerProfileCurrentProfiles_v1_t", None)
        if kind is None:
            raise MeterError(name, FUNCTION_NOT_FOUND)
        told = kind()
        self.ask(name, handle, ctypes.byref(told))
        words = told.enforcedProfilesMask.mask
        return [32 * i + bit for i, word in enumerate(words) for bit in range(32) if word >> bit & 1]

    def gpm_sample(self, handle: object, instance: int = MISSING) -> Any:
        """Allocate a GPM sample of the GPU, or of one of its instances, and fill it."""
        sample = self.ask("nvmlGpmSampleAlloc")
        self.gpm_refill(handle, sample, instance)
        return sample

    def gpm_refill(self, handle: object, sample: object, instance: int = MISSING) -> None:
        """Fill an allocated sample again."""
        if instance == MISSING:
            self.ask("nvmlGpmSampleGet", handle, sample)
        else:
            self.ask("nvmlGpmMigSampleGet", handle, instance, sample)

    def gpm_metrics(self, older: object, newer: object, metrics: Iterable[int]) -> dict[int, float]:
        """Metrics between two samples (at least 100 ms apart); those that the driver refuses are left out."""
        request = self._binding.c_nvmlGpmMetricsGet_t()
        request.version = self._binding.NVML_GPM_METRICS_GET_VERSION
        wanted = list(metrics)
        request.numMetrics = len(wanted)
        request.sample1, request.sample2 = older, newer
        for i, metric in enumerate(wanted):
            request.metrics[i].metricId = metric
        self.ask("nvmlGpmMetricsGet", request)
        answers = ((m, request.metrics[i]) for i, m in enumerate(wanted))
        return {m: a.value for m, a in answers if a.nvmlReturn == 0 and math.isfinite(a.value)}


def _member(kind: int, raw: int) -> float:
    """Return the member of nvmlValue_t that ``kind`` (nvmlValueType_t) names."""
    if kind in _MASKS:
        return raw & _MASKS[kind]
    packed = raw.to_bytes(8, "little")
    code = {0: "<d", 4: "<q", 5: "<i4x"}[kind]
    value: float = struct.unpack(code, packed)[0]
    return value


def _refuse_unofficial(binding: ModuleType) -> None:
    """Refuse the abandoned package of the same import name; it is a folder, NVIDIA's binding one file."""
    if hasattr(binding, "__path__") or not hasattr(binding, "NVML_FI_DEV_POWER_INSTANT"):
        raise NoMeter(
            f"{getattr(binding, '__file__', 'pynvml')} is not NVIDIA's binding (an old package `pynvml` hides it); "
            "run: pip uninstall -y pynvml && pip install --force-reinstall nvidia-ml-py"
        )


def loaded_path(name: str, maps: Path = Path("/proc/self/maps")) -> str:
    """Path of the loaded library whose file name begins with ``name``'s stem, from the process's own memory map.

    Returns ``name`` if the map cannot be read or does not hold it.
    """
    stem = Path(name).name.split(".so", maxsplit=1)[0]
    try:
        lines = maps.read_text().splitlines()
    except OSError:
        return name
    paths = (line.split(maxsplit=5)[5] for line in lines if line.count(" ") >= 5 and "/" in line)
    return next((p for p in paths if Path(p).name.startswith(f"{stem}.so")), name)
