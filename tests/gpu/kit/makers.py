"""What makes load: bursts of a given kind and length on the card, by whatever works on this machine.

``driver`` needs the CUDA driver alone and kernels compiled beforehand; it starts in a fraction of a second, and its
kernels end by the card's own clock, so no calibration drifts. ``numba``, ``torch`` and ``cupy`` stand in where that
fails.
"""

from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path

from .clock import now_ns, sleep_until

KINDS = ("low", "mid", "full")
PTX = Path(__file__).resolve().parent / "kernels.ptx"
MULTIPROCESSORS = 16  # an attribute of cuDeviceGetAttribute
TEST_NS = 20_000_000
ALLOWED_MS = (15.0, 25.0)  # of a burst of 20 ms; PyTorch's come in whole matrix products
MORE_FOR_TORCH_MS = 10.0


class Sleep:
    """Pretends: a burst is a sleep, a loop a microsecond."""

    def __init__(self) -> None:
        self.loops = 0
        self._end_ns = 0

    def start(self, kind: str, ns: int) -> None:
        """Begin a burst."""
        self._end_ns = now_ns() + ns
        self.loops += ns // 1000

    def wait(self) -> None:
        """Wait for its end."""
        sleep_until(self._end_ns)


class Driver:
    """The CUDA driver's own interface: nothing to import, kernels that time themselves."""

    def __init__(self) -> None:
        self.cu = ctypes.CDLL(os.environ.get("KIT_LIBCUDA", "libcuda.so.1"))
        device, context, module = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        count = ctypes.c_int()
        self._ok("cuInit", ctypes.c_uint(0))
        self._ok("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self._ok("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._ok("cuCtxSetCurrent", context)
        self._ok("cuDeviceGetAttribute", ctypes.byref(count), ctypes.c_int(MULTIPROCESSORS), device)
        self._ok("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(PTX.read_bytes()))
        self.blocks = count.value * 4
        self.functions = {kind: ctypes.c_void_p() for kind in KINDS}
        for kind, function in self.functions.items():
            self._ok("cuModuleGetFunction", ctypes.byref(function), module, f"kit_{kind}".encode())
        self.stream, self.out = ctypes.c_void_p(), ctypes.c_uint64()
        self._ok("cuStreamCreate", ctypes.byref(self.stream), ctypes.c_uint(1))
        self._ok("cuMemAlloc_v2", ctypes.byref(self.out), ctypes.c_size_t(64))
        self._ok("cuMemcpyHtoD_v2", self.out, bytes(64), ctypes.c_size_t(64))
        self.told = (ctypes.c_uint64 * 8)()

    def _ok(self, name: str, *args) -> None:
        code = getattr(self.cu, name)(*args)
        if code:
            raise RuntimeError(f"{name} answered {code}")

    def start(self, kind: str, ns: int) -> None:
        """Begin a burst."""
        blocks, threads = (1, 32) if kind == "low" else (self.blocks, 256)
        length = ctypes.c_uint64(ns)
        values = (ctypes.c_void_p * 2)(
            ctypes.cast(ctypes.byref(length), ctypes.c_void_p), ctypes.cast(ctypes.byref(self.out), ctypes.c_void_p)
        )
        shape = map(ctypes.c_uint, (blocks, 1, 1, threads, 1, 1, 0))
        self._ok("cuLaunchKernel", self.functions[kind], *shape, self.stream, values, None)

    def wait(self) -> None:
        """Wait for its end."""
        self._ok("cuStreamSynchronize", self.stream)

    @property
    def loops(self) -> int:
        """Loops done so far."""
        self._ok("cuMemcpyDtoH_v2", self.told, self.out, ctypes.c_size_t(64))
        return self.told[2]


class Calibrated:
    """Kernels that do a given amount of work; how much a nanosecond takes is measured at the start."""

    def __init__(self) -> None:
        self.loops, self.rate = 0, {}
        for kind in KINDS:
            self.work(kind, 1)
            self.wait()
            amount, took = 1, 0
            while took < TEST_NS and amount < 1 << 40:
                amount *= 4
                begun = now_ns()
                self.work(kind, amount)
                self.wait()
                took = now_ns() - begun
            self.rate[kind] = amount / took

    def start(self, kind: str, ns: int) -> None:
        """Begin a burst."""
        amount = max(1, int(ns * self.rate[kind]))
        self.work(kind, amount)
        self.loops += amount


class Numba(Calibrated):
    """Kernels compiled by numba: plain arithmetic on all multiprocessors, or on one warp."""

    def __init__(self) -> None:
        import numpy as np
        from numba import cuda

        from .numba_burn import burn

        tiny = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
        count = 1 if tiny else cuda.get_current_device().MULTIPROCESSOR_COUNT
        threads = 2 if tiny else 256
        self.shape = {"low": (1, min(threads, 32)), "mid": (count * 2, threads), "full": (count * 8, threads)}
        self.cuda, self.burn, self.out = cuda, burn, cuda.to_device(np.zeros(8))
        super().__init__()

    def work(self, kind: str, amount: int) -> None:
        """Begin an amount of work."""
        self.burn[self.shape[kind]](amount, self.out)

    def wait(self) -> None:
        """Wait for its end."""
        self.cuda.synchronize()


class Torch(Calibrated):
    """Matrix products of PyTorch: small ones for little power, large ones for much."""

    def __init__(self) -> None:
        import torch

        self.torch = torch
        sizes = {"low": 64, "mid": 512, "full": 4096}
        self.operands = {kind: torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for kind, n in sizes.items()}
        super().__init__()

    def work(self, kind: str, amount: int) -> None:
        """Begin an amount of work."""
        operand = self.operands[kind]
        for _ in range(min(amount, 100_000)):
            self.torch.matmul(operand, operand)

    def wait(self) -> None:
        """Wait for its end."""
        self.torch.cuda.synchronize()


class Cupy:
    """The same kernels as ``driver``, launched by CuPy."""

    def __init__(self) -> None:
        import cupy

        self.cupy = cupy
        module = cupy.RawModule(path=str(PTX))
        self.functions = {kind: module.get_function(f"kit_{kind}") for kind in KINDS}
        self.out = cupy.zeros(8, cupy.uint64)
        self.blocks = cupy.cuda.Device(0).attributes["MultiProcessorCount"] * 4

    def start(self, kind: str, ns: int) -> None:
        """Begin a burst."""
        blocks, threads = (1, 32) if kind == "low" else (self.blocks, 256)
        self.functions[kind]((blocks,), (threads,), (self.cupy.uint64(ns), self.out))

    def wait(self) -> None:
        """Wait for its end."""
        self.cupy.cuda.Stream.null.synchronize()

    @property
    def loops(self) -> int:
        """Loops done so far."""
        return int(self.out[2])


MAKERS = {"driver": Driver, "numba": Numba, "torch": Torch, "cupy": Cupy, "sleep": Sleep}


def make(order: list[str], kinds: tuple[str, ...] = ("low", "low", "full", "full", "full")):
    """Return the first maker that imports and whose bursts have the length asked for, and what is to be said of it.

    The first burst of each kind is not judged: it loads code.
    """
    reasons = {}
    for name in order:
        begun = now_ns()
        try:
            maker = MAKERS[name]()
            tests = [tested(maker, kind) for kind in kinds]
            least, most = ALLOWED_MS[0], ALLOWED_MS[1] + MORE_FOR_TORCH_MS * (name == "torch")
            judged = [t for i, t in enumerate(tests) if kinds[i] in kinds[:i]]
        except Exception as error:
            reasons[name] = f"{type(error).__name__}: {error}"[:300]
            continue
        if name != "sleep" and not all(least < t < most for t in judged):
            reasons[name] = f"bursts of 20 ms took {tests}"
            continue
        took_s = (now_ns() - begun) / 1e9
        return maker, {"maker": name, "start_s": took_s, "bursts_of_20_ms": tests, "passed_over": reasons}
    raise SystemExit("no maker works: " + json.dumps(reasons))


def tested(maker, kind: str) -> float:
    """How long a burst of 20 ms takes, ms."""
    begun = now_ns()
    maker.start(kind, TEST_NS)
    maker.wait()
    return (now_ns() - begun) / 1e6
