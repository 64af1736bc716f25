"""Measures the power of NVIDIA GPUs, attributes every joule to the job that used it, and extrapolates to the fleet.

The one import name of the project, in a checkout, an editable install, a wheel and on a worker of a cluster. Importing
it loads nothing heavy: what is asked for is loaded then.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wattshed import fleet as fleet
    from wattshed import kernels as kernels
    from wattshed.agent.errors import InputError
    from wattshed.agent.library.picture import Picture
    from wattshed.agent.library.recording import Recording, read
    from wattshed.agent.library.replaying import replay
    from wattshed.agent.library.report import Report
    from wattshed.agent.measuring.measured import MeasuredEnergy, NotMeasuredError
    from wattshed.agent.measuring.measurement import Measurement
    from wattshed.agent.measuring.process import add_work, measure, total
    from wattshed.exporters.formats.collector import Collector

__all__ = [
    "Collector",
    "InputError",
    "MeasuredEnergy",
    "Measurement",
    "NotMeasuredError",
    "Picture",
    "Recording",
    "Report",
    "add_work",
    "fleet",
    "kernels",
    "main",
    "measure",
    "read",
    "replay",
    "total",
]

_HOMES = {
    "Collector": "wattshed.exporters.formats.collector",
    "InputError": "wattshed.agent.errors",
    "MeasuredEnergy": "wattshed.agent.measuring.measured",
    "Measurement": "wattshed.agent.measuring.measurement",
    "NotMeasuredError": "wattshed.agent.measuring.measured",
    "Picture": "wattshed.agent.library.picture",
    "Recording": "wattshed.agent.library.recording",
    "Report": "wattshed.agent.library.report",
    "add_work": "wattshed.agent.measuring.process",
    "measure": "wattshed.agent.measuring.process",
    "read": "wattshed.agent.library.recording",
    "replay": "wattshed.agent.library.replaying",
    "total": "wattshed.agent.measuring.process",
}
_MODULES = {"fleet", "kernels"}


def __getattr__(name: str) -> Any:
    """Load what the package offers when it is first asked for (PEP 562)."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    """Name what the package offers, loaded or not."""
    return sorted({*globals(), *__all__})


def main() -> int:
    """Run the command line; returns its exit code."""
    import gc  # noqa: PLC0415

    from wattshed.agent.__main__ import main as command  # noqa: PLC0415  (`import wattshed` stays light)

    code = command()
    gc.freeze()  # the interpreter would look for garbage in all that was loaded, a tenth of a short command
    return code
