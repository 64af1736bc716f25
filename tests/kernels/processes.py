"""Runs a module of these tests in a process of its own: how kernels are compiled is settled when they are imported."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def output_of(module, *arguments, text="", package="tests.kernels", **environment):
    """What it prints; it must succeed."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", f"{package}.{module}", *map(str, arguments)],
        input=text,
        env={**os.environ, "PYTHONPATH": str(ROOT / "deploy/python"), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout
