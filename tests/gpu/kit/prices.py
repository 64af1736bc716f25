"""What the driver's calls cost, and what every field answers."""

from __future__ import annotations

import contextlib

import pynvml

from .card import AVERAGE, ENERGY, INSTANT, TOTAL_POWER, Card
from .clock import now_ns
from .figures import quantile

CALLS = 200
LAST_FIELD, SCOPES = 300, 4
BATCHES = ((INSTANT,), (ENERGY,), (ENERGY, AVERAGE, INSTANT), (AVERAGE, INSTANT), (83, 185, 186, 74, 269, 270, 271))


def getters(handle) -> dict:
    """Every call that the agent makes, by name."""
    n, h = pynvml, handle
    found = {
        "nvmlDeviceGetPowerUsage": lambda: n.nvmlDeviceGetPowerUsage(h),
        "nvmlDeviceGetTotalEnergyConsumption": lambda: n.nvmlDeviceGetTotalEnergyConsumption(h),
        "nvmlDeviceGetUtilizationRates": lambda: str(n.nvmlDeviceGetUtilizationRates(h)),
        "nvmlDeviceGetMemoryInfo": lambda: str(n.nvmlDeviceGetMemoryInfo(h)),
        "nvmlDeviceGetTemperature": lambda: n.nvmlDeviceGetTemperature(h, 0),
        "nvmlDeviceGetClockInfo(sm)": lambda: n.nvmlDeviceGetClockInfo(h, 1),
        "nvmlDeviceGetClockInfo(memory)": lambda: n.nvmlDeviceGetClockInfo(h, 2),
        "nvmlDeviceGetEnforcedPowerLimit": lambda: n.nvmlDeviceGetEnforcedPowerLimit(h),
        "nvmlDeviceGetPowerManagementLimitConstraints": lambda: n.nvmlDeviceGetPowerManagementLimitConstraints(h),
        "nvmlDeviceGetComputeRunningProcesses_v3": lambda: len(n.nvmlDeviceGetComputeRunningProcesses_v3(h)),
        "nvmlDeviceGetGraphicsRunningProcesses_v3": lambda: len(n.nvmlDeviceGetGraphicsRunningProcesses_v3(h)),
        "nvmlDeviceGetMPSComputeRunningProcesses_v3": lambda: len(n.nvmlDeviceGetMPSComputeRunningProcesses_v3(h)),
        "nvmlDeviceGetProcessUtilization(0)": lambda: len(n.nvmlDeviceGetProcessUtilization(h, 0)),
        "nvmlDeviceGetSamples(power, 0)": lambda: len(n.nvmlDeviceGetSamples(h, TOTAL_POWER, 0)[1]),
        "nvmlDeviceGetAccountingMode": lambda: n.nvmlDeviceGetAccountingMode(h),
        "nvmlDeviceGetAccountingPids": lambda: len(n.nvmlDeviceGetAccountingPids(h)),
        "nvmlDeviceGetMigMode": lambda: n.nvmlDeviceGetMigMode(h),
        "nvmlDeviceGetMaxMigDeviceCount": lambda: n.nvmlDeviceGetMaxMigDeviceCount(h),
        "nvmlDeviceGetPersistenceMode": lambda: n.nvmlDeviceGetPersistenceMode(h),
        "nvmlDeviceGetSupportedEventTypes": lambda: n.nvmlDeviceGetSupportedEventTypes(h),
        "nvmlDeviceGetName": lambda: n.nvmlDeviceGetName(h),
        "nvmlDeviceGetUUID": lambda: n.nvmlDeviceGetUUID(h),
        "nvmlDeviceGetPciInfo_v3": lambda: str(n.nvmlDeviceGetPciInfo(h).busId),
        "nvmlDeviceGetMinorNumber": lambda: n.nvmlDeviceGetMinorNumber(h),
        "nvmlDeviceGetArchitecture": lambda: n.nvmlDeviceGetArchitecture(h),
        "nvmlDeviceGetNumGpuCores": lambda: n.nvmlDeviceGetNumGpuCores(h),
        "nvmlDeviceGetCount_v2": n.nvmlDeviceGetCount,
        "nvmlSystemGetDriverVersion": n.nvmlSystemGetDriverVersion,
        "nvmlGpmQueryDeviceSupport": lambda: n.nvmlGpmQueryDeviceSupport(h).isSupportedDevice,
    }
    with contextlib.suppress(n.NVMLError):
        sample = n.nvmlGpmSampleAlloc()
        found["nvmlGpmSampleGet"] = lambda: n.nvmlGpmSampleGet(h, sample) and None
    return found


def prices(card: Card, seconds: float) -> dict:
    """Time of each call, us: the first, the median, the 99th percentile, the longest."""
    calls = getters(card.handle)
    for batch in BATCHES:
        wanted = [(field, 0) for field in batch]
        calls[f"fields {list(batch)}"] = lambda wanted=wanted: [code for code, *_ in card.fields(wanted)]
    share_ns = int(seconds / len(calls) * 1e9)
    return {name: priced(call, share_ns) for name, call in calls.items()}


def priced(call, within_ns: int) -> dict:
    """Make one call over and over, for a while."""
    times, first, code, end_ns = [], None, 0, now_ns() + within_ns
    while len(times) < CALLS and (now_ns() < end_ns or len(times) <= 10):
        begun = now_ns()
        try:
            answer = call()
        except pynvml.NVMLError as error:
            answer, code = str(error), error.value
        except Exception as error:
            answer, code = f"{type(error).__name__}: {error}", -1  # the binding lacks it
        times.append((now_ns() - begun) / 1e3)
        first = answer if first is None else first
    return {
        "code": code,
        "first": str(first)[:160],
        "n": len(times),
        "first_us": round(times[0], 1),
        "p50_us": round(quantile(times, 0.5), 1),
        "p99_us": round(quantile(times, 0.99), 1),
        "max_us": round(max(times), 1),
    }


def sweep(card: Card) -> dict:
    """Every field id in every scope, once: (type, value, latency) where it answers, else codes by id."""
    answered: dict = {}
    refused: dict = {}
    begun = now_ns()
    for number in range(1, LAST_FIELD + 1):
        for scope in range(SCOPES):
            code, kind, value, _, latency = card.fields([(number, scope)])[0]
            if code == 0:
                answered.setdefault(str(number), {})[str(scope)] = [kind, value, latency]
            else:
                refused.setdefault(str(code), {}).setdefault(str(scope), []).append(number)
    compact = {code: {scope: ranges(ids) for scope, ids in scopes.items()} for code, scopes in refused.items()}
    return {"answered": answered, "refused": compact, "seconds": (now_ns() - begun) / 1e9}


def ranges(ids: list[int]) -> str:
    """Rising numbers as a person writes them: 1-3,7."""
    runs: list[list[int]] = []
    for i in ids:
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
