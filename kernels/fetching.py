"""Asking memory for what will be read soon.

A processor sees by itself that rows are read one after the other, but only up to the end of a page, and a GPU's part of
a window is a page or two, or a few rows: each began with a wait for memory.
"""

# Kernels are typed by numba when they are first called.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

from wattshed.kernels.jit import written_apart


def _compile() -> None:
    from wattshed.kernels import instructions  # numba is imported where something is compiled

    instructions.compile_fetch(fetch)


@written_apart(_compile)
def fetch(array, place) -> None:
    """Let the caches have an item of an array, and what lies about it; one that is not there is harmless."""
