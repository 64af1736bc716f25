"""Run as a program: import all that has kernels, and name the compilers that came with it."""

import sys

from wattshed.kernels import energy, ensemble, jobs, load, quantiles, shipped, windows
from wattshed.kernels.threads import threads

shipped.entries()
assert all((energy, ensemble, jobs, quantiles, windows, load.KERNELS, threads()))
sys.stdout.write(repr(sorted({"numba", "llvmlite", "pyarrow"} & set(sys.modules))))
