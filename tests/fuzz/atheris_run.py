"""Coverage-guided fuzzing of one target for a bounded time: ``python -m tests.fuzz.atheris_run TARGET --seconds 60``.

Needs atheris (`pip install atheris`; kept out of the locked requirements, since not every Python has a wheel).
New inputs go to a scratch folder; a crash is written there, and belongs into tests/fuzz/corpus/TARGET with its repair.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import atheris


def main():
    """Run libFuzzer on one target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--scratch", type=Path, default=None)
    arguments = parser.parse_args()
    os.environ.setdefault("WATTSHED_JIT", "off")  # the parsers are what is looked at, and compiling takes the time
    with atheris.instrument_imports(include=["wattshed"]):
        from tests.fuzz.targets import CORPUS, TARGETS
    scratch = arguments.scratch or Path(tempfile.mkdtemp(prefix="wattshed-atheris-"))
    scratch.mkdir(parents=True, exist_ok=True)
    flags = [f"-max_total_time={arguments.seconds}", "-max_len=4096", "-print_final_stats=1", "-rss_limit_mb=4096"]
    where = [str(scratch), str(CORPUS / arguments.target), f"-artifact_prefix={scratch}/"]
    atheris.Setup([sys.argv[0], *flags, *where], TARGETS[arguments.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
