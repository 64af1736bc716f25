"""What can go wrong between the agent and a driver, by what has to be done about it.

The numbers are nvmlReturn_t of nvml.h, which the driver's ABI keeps for good.
"""

from __future__ import annotations

from enum import Enum

SUCCESS = 0
NOT_SUPPORTED = 3
INSUFFICIENT_SIZE = 7
TIMEOUT = 10
FUNCTION_NOT_FOUND = 13
NOT_READY = 27
UNKNOWN = 999

NAMES = {
    0: "success",
    1: "uninitialized",
    2: "invalid argument",
    3: "not supported",
    4: "no permission",
    5: "already initialized",
    6: "not found",
    7: "insufficient size",
    8: "insufficient external power",
    9: "driver not loaded",
    10: "timeout",
    11: "interrupt issue",
    12: "library not found",
    13: "function not found",
    14: "corrupted inforom",
    15: "GPU is lost",
    16: "reset required",
    17: "blocked by the operating system",
    18: "library and driver versions differ",
    19: "in use",
    20: "out of memory",
    21: "no data",
    23: "insufficient resources",
    25: "argument version mismatch",
    26: "deprecated",
    27: "not ready",
    28: "GPU not found",
    29: "invalid state",
    999: "unknown error",
}


class Fault(Enum):
    """What a failed call means for the poller."""

    NOTHING = "nothing new"  # an answer without data: nothing happened since the last call
    OFF = "off"  # this capability does not exist here
    TRANSIENT = "transient"  # try this GPU again later
    LOST = "lost"  # this GPU is down until a full re-init
    DRIVER = "driver"  # the driver went away: shut down, try again
    RESTART = "restart"  # only a new process can help


_FAULTS = {
    0: Fault.NOTHING,  # nvidia-ml-py raises "success" when an empty answer was not expected
    1: Fault.DRIVER,
    2: Fault.OFF,
    3: Fault.OFF,
    4: Fault.OFF,
    6: Fault.NOTHING,
    9: Fault.DRIVER,
    12: Fault.DRIVER,
    13: Fault.OFF,
    15: Fault.LOST,
    16: Fault.LOST,
    18: Fault.RESTART,
    25: Fault.OFF,
    26: Fault.OFF,
    28: Fault.LOST,
}


def fault_of(code: int) -> Fault:
    """Return what the code means; unknown codes are transient, since drivers add new ones."""
    return _FAULTS.get(code, Fault.TRANSIENT)


def name_of(code: int) -> str:
    """Return the code in words."""
    return NAMES.get(code, f"error {code}")


class MeterError(Exception):
    """A driver call failed.

    Parameters
    ----------
    call : str
        Name of the call, without a device.
    code : int
        nvmlReturn_t.
    """

    def __init__(self, call: str, code: int) -> None:
        self.call, self.code, self.fault, self.reason = call, code, fault_of(code), f"{name_of(code)} ({code})"
        super().__init__(f"{call}: {self.reason}")


class TooSlow(Exception):  # noqa: N818 - no refusal: it may have answered rightly, but the others cannot wait for it
    """A GPU takes longer to answer than the others can wait."""


class NoMeter(Exception):  # noqa: N818 - the absence of a meter is a finding, not a bug
    """There is nothing to measure with; the message says why and what to do."""


class RestartNeeded(Exception):  # noqa: N818 - a request to the supervisor
    """Only a new process can continue: exit with ``exit_code`` and let the supervisor start it (EX_TEMPFAIL)."""

    exit_code = 75
