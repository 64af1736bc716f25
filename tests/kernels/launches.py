"""Which CUDA kernels the public functions launch, on arguments of which types, and whether numba compiles them.

``python -m tests.kernels.launches record`` runs the battery in the simulator and prints one line of JSON per launch;
``... compile`` reads such lines and compiles each for compute capability 9.0, without a card: down to LLVM's text, and
to PTX where NVVM is found.
"""

import contextlib
import importlib
import json
import os
import sys
from types import SimpleNamespace

import numpy as np

CC = (9, 0)


def record():
    """Print name and argument types of every kernel that is launched."""
    from numba.cuda.simulator import kernel

    from tests.kernels import battery, power_on_the_card
    from wattshed.kernels import energy
    from wattshed.kernels.cuda_target import cuda

    real, seen = kernel.FakeCUDAKernel.__call__, set()

    def told(self, *args):
        if not self._device and kernel._kernel_context is None:
            seen.add((self.fn.__module__, self.fn.__name__, tuple(map(described, args))))
        return real(self, *args)

    kernel.FakeCUDAKernel.__call__ = told
    battery.shrink(setattr)
    battery.battery(device="cuda", rows=40)
    battery.resident_battery(rows=40)
    power_on_the_card.taken()
    with contextlib.suppress(ValueError):  # an error looks for its row on the device
        energy.integrate(
            cuda.to_device(np.array([2, 1])), cuda.to_device(np.ones(2, np.int32)), np.array([0, 2]), 1, device="cuda"
        )
    for line in sorted(seen):
        print(json.dumps(line))


def described(argument):
    """The type of an argument: "int64", or "int64[1]C" for an array with its dimensions and layout."""
    if hasattr(argument, "ndim") and hasattr(argument, "flags") and argument.ndim:
        layout = "C" if argument.flags["C_CONTIGUOUS"] else "A"
        return f"{argument.dtype.name}[{argument.ndim}]{layout}"
    return np.asarray(argument).dtype.name


def numba_type(text):
    """The type as numba knows it."""
    from numba import types

    name, bracket, rest = text.partition("[")
    scalar = types.boolean if name == "bool" else getattr(types, name)
    return types.Array(scalar, int(rest[0]), rest[-1]) if bracket else scalar


def nvvm_is_here():
    """Whether numba finds what turns LLVM's text into PTX."""
    from numba.cuda.cudadrv import nvvm
    from numba.cuda.cudadrv.nvrtc import get_supported_ccs

    try:
        return bool(nvvm.is_available() and get_supported_ccs())
    except Exception:
        return False


def compile_all(lines):
    """Compile every launch; prints, by kernel, the target of its LLVM text and, where NVVM is found, of its PTX."""
    from numba import types

    from wattshed.kernels.cuda_target import cuda

    compiler = importlib.import_module("numba.cuda.compiler")
    # Functions that a kernel calls are compiled for the device that is there.
    importlib.import_module("numba.cuda.dispatcher").get_current_device = lambda: SimpleNamespace(compute_capability=CC)
    nvvm, targets = nvvm_is_here(), {}
    for module, name, arguments in map(json.loads, lines):
        function = getattr(importlib.import_module(module), name).py_func
        signature = tuple(map(numba_type, arguments))
        text = compiler.compile_cuda(function, types.void, signature, cc=CC).library.get_llvm_str()
        ptx = cuda.compile_ptx(function, signature, cc=CC)[0] if nvvm else ""
        targets[name] = [word_after("target triple = ", text), word_after(".target ", ptx)]
    print(json.dumps({"row_stack": hasattr(np, "row_stack"), "nvvm": nvvm, "kernels": targets}))


def word_after(mark, text):
    """The word that follows a mark."""
    rest = text.partition(mark)[2].split()
    return rest[0].strip('",') if rest else ""


if __name__ == "__main__":
    if os.environ.get("WITHOUT_ROW_STACK"):  # as numpy 2.5 is
        for here in (vars(np), np.__all__):
            if "row_stack" in here:
                here.pop("row_stack") if isinstance(here, dict) else here.remove("row_stack")
    record() if sys.argv[1] == "record" else compile_all(sys.stdin)
