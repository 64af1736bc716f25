"""Numeric kernels: arrays in, arrays out. They know no paths, clocks or configuration.

Public are `energy`, `jobs`, `quantiles` and `windows` (docs/arrays.md); each is loaded when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wattshed.kernels import energy as energy
    from wattshed.kernels import jobs as jobs
    from wattshed.kernels import quantiles as quantiles
    from wattshed.kernels import windows as windows

__all__ = ["energy", "jobs", "quantiles", "windows"]

if __name__ != "wattshed.kernels":  # a second name would be a second copy of every class in it
    raise ImportError(
        f"import this as wattshed.kernels, not as {__name__}; in a checkout, put deploy/python on PYTHONPATH"
    )


def __getattr__(name: str) -> Any:
    """Load a public kernel when it is first asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
