"""The simulated driver's GPU performance monitoring: samples, and the metrics between two of them."""

from __future__ import annotations

import struct
from ctypes import c_double, c_uint, c_void_p
from typing import TYPE_CHECKING

from wattshed.agent.simulation.abi import GPM_SAMPLE, NO_DATA, OK, UNSUPPORTED, Symbols, buffer, place_of, set_uint

if TYPE_CHECKING:
    from wattshed.agent.simulation.card import SimulatedHost

SHORTEST_US = 100_000
"""NVML's API reference: two samples that are closer to each other give no metrics."""


class Gpm:
    """The samples that a library has allocated.

    Parameters
    ----------
    host : SimulatedHost
    """

    def __init__(self, host: SimulatedHost) -> None:
        self._host = host
        self._samples: dict[int, tuple[int, int, int]] = {}  # sample -> place of the GPU, instance, time

    def symbols(self) -> Symbols:
        """Return the symbols of nvml.h that this is behind."""
        p, u = c_void_p, c_uint
        return {
            "nvmlGpmQueryDeviceSupport": ((p, p), self._support),
            "nvmlGpmSampleAlloc": ((p,), self._alloc),
            "nvmlGpmSampleFree": ((p,), lambda _: OK),
            "nvmlGpmSampleGet": ((p, p), lambda h, sample: self._get(h, -1, sample)),
            "nvmlGpmMigSampleGet": ((p, u, p), self._get),
            "nvmlGpmMetricsGet": ((p,), self._metrics),
        }

    def _support(self, handle: int, at: int) -> int:
        return set_uint(at + 4, int(self._host.session[place_of(handle)].architecture.gpm))

    def _alloc(self, at: int) -> int:
        sample = GPM_SAMPLE + len(self._samples) * 16
        self._samples[sample] = (-1, -1, 0)
        c_void_p.from_address(at).value = sample
        return OK

    def _get(self, handle: int, instance: int, sample: int) -> int:
        if not self._host.session[place_of(handle)].architecture.gpm:
            return UNSUPPORTED
        self._samples[sample] = (place_of(handle), instance, self._host.now_us())
        return OK

    def _metrics(self, at: int) -> int:
        _, count = struct.unpack_from("<II", buffer(at, 8))
        first, second = struct.unpack_from("<QQ", buffer(at + 8, 16))
        gpu, instance, from_us = self._samples[first]
        _, _, to_us = self._samples[second]
        if to_us - from_us < SHORTEST_US:
            return NO_DATA
        for i in range(count):
            metric = at + 24 + 40 * i
            value = self._host.session[gpu].profile(c_uint.from_address(metric).value, instance, from_us, to_us)
            set_uint(metric + 4, UNSUPPORTED if value is None else OK)
            c_double.from_address(metric + 8).value = value or 0.0
        return OK
