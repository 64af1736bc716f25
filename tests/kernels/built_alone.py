"""Run as a program, for building leaves numba of no other use in a process: two kernels, one of which needs Python."""

import numpy as np

from wattshed.kernels import build, cpu, flat
from wattshed.kernels.entry import i64, kernel


@kernel(i64[:])
def prints(out):
    print(out[0])


@kernel(i64[:], i64, returns=i64)
def adds(out, more):
    out[0] += more
    return np.int64(out[0] // max(more, 1))


def told(name, number, of):
    print(f"told: {name.replace('__main__', 'built_alone')}, {number} of {of}")


if __name__ == "__main__":
    try:
        build.emit(flat.linked({"prints": prints}, told), cpu.native())
    except build.BuildError as error:
        print("not built:", str(error).partition(": ")[2])
    module = flat.linked({"adds": adds}, told)
    level = "x86-64-v3" if cpu.level().startswith("x86") else cpu.level()
    codes = [code for name in (cpu.native(), level) for code in build.emit(module, name).values()]
    print("NRT in it:", *(b"NRT_" in code for code in codes))
    print("objects:", *(code.startswith(b"\x7fELF") for code in codes))
