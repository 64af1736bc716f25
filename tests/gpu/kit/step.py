"""Runs one step in this process: ``python -m kit.step N --work DIR --left S [--simulated] [--scale F]``."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from pathlib import Path

from .plan import STEPS
from .results import Kit


def main() -> int:
    """Measure; returns 1 if the step could not go to its end, and what it had measured stays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--left", type=float, required=True)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--simulated", action="store_true")
    options = parser.parse_args()
    if options.simulated:
        os.environ["KIT_SIMULATED"] = "1"
        if options.number == 7:  # before numba is imported
            os.environ["NUMBA_ENABLE_CUDASIM"], os.environ["WATTSHED_JIT"] = "1", "off"
    name, module, *_ = STEPS[options.number]
    how = {"work": options.work, "left_s": options.left, "scale": options.scale, "simulated": options.simulated}
    kit = None
    try:
        code = importlib.import_module(f".{module}", __package__)
        kit = Kit(options.number, name, code.PREDICTION, **how)
        code.measure(kit)
    except BaseException as error:
        kit = kit or Kit(options.number, name, "", **how)
        kit.error("step", error)
        kit.put(state="failed", trace=traceback.format_exc()[-2000:])
        return 1
    kit.put(state="done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
