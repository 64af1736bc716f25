"""A demand whose fleets are drawn on a CUDA device, in numba-cuda's simulator: a program of its own."""

import argparse
import sys

from wattshed.agent.commands import fleet
from wattshed.agent.traces.opening import OpenedTrace

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    fleet.add_parser(parser.add_subparsers(), OpenedTrace)
    args = ["fleet", "demand", *sys.argv[1:], "--replicates", "5", "--json", "--device", "cuda"]
    given = parser.parse_args(args)
    sys.exit(given.run(given))
