"""``make bench-all``: every benchmark, each in a fresh process, into docs/measurements, docs/images and the pages.

On an idle machine of two cores it takes about twenty minutes, growth to its ends seven of them. A benchmark that
fails, or takes longer than its limit, leaves what was committed before, and the rest goes on; the exit code is 1 then.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench import write_docs
from wattshed.agent.bench.accuracy import table as accuracy

DOCS = write_docs.DOCS
WATTSHED = (sys.executable, "-m", "wattshed", "bench")


@dataclass(frozen=True)
class Benchmark:
    """What is run.

    Attributes
    ----------
    words, small : tuple of str
        Of ``wattshed bench``, and instead of them for small numbers.
    result : str
        File of docs/measurements that its JSON goes to.
    picture : str
        File of docs/images that it draws; empty for none.
    limit_s : float, s
    """

    name: str
    words: tuple
    small: tuple
    result: str
    picture: str = ""
    limit_s: float = 240.0


BENCHMARKS = (
    Benchmark(
        "kernels", ("kernels", "--forms", "so,numba,off"),
        ("kernels", "--samples", "40000", "--rounds", "1", "--only", "energy"), "bench.json", "performance.svg",
    ),
    Benchmark(
        "growth", ("growth", "--limit", "150"), ("growth", "--quick", "--only", "hosts"), "growth.json", "growth.svg",
        limit_s=1200.0,
    ),
    Benchmark(
        "files", ("files", "--mb", "100"), ("files", "--mb", "0.01", "--rounds", "1", "--only", "dmon"), "files.json",
        "files.svg", limit_s=600.0,
    ),
    Benchmark("agent", ("agent", "--seconds", "8"), ("agent", "--seconds", "2"), "agent.json"),
    Benchmark("history", ("history",), ("history", "--jobs", "300", "--hosts", "3", "--rounds", "1"), "history.json"),
    Benchmark(
        "accuracy", ("accuracy", "--real-time", "5"),
        ("accuracy", "--no-peers", "--only", "steady", "--real-time", "0"), "peers.json",
    ),
    Benchmark(
        "split", ("split", "--seeds", "20"), ("split", "--seeds", "1", "--seconds", "30", "--only", "bursty"),
        "split.json", limit_s=1800.0,
    ),
)  # fmt: skip


def environment():
    """Ours, with the peers, which lie beside the environment (Makefile)."""
    peers = Path(sys.executable).parents[1] / "peers"
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(peers), os.environ.get("PYTHONPATH", ""))))}


def run(one, out, *, small):
    """Run one, and keep what it says if it is whole; returns why not, or ""."""
    result, picture = out / "measurements" / one.result, out / "images" / one.picture
    for folder in (result.parent, picture.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as drawing:
        drawn = Path(drawing, one.picture)
        command = [*WATTSHED, *(one.small if small else one.words), "--json"]
        command += ["--plot", str(drawn)] if one.picture else []
        try:
            done = subprocess.run(
                command, check=False, stdout=subprocess.PIPE, text=True, timeout=one.limit_s, env=environment()
            )
        except subprocess.TimeoutExpired:
            return f"was not done after {one.limit_s:g} s"
        if done.returncode:
            return f"exit code {done.returncode}"
        document = json.loads(done.stdout)
        result.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if one.picture:
            shutil.copyfile(drawn, picture)
    return ""


def renew(out):
    """Write the tables of the pages anew."""
    peers = out / "measurements" / "peers.json"
    for page in write_docs.PAGES:
        text = write_docs.generated(page.read_text(encoding="utf-8"), out / "measurements")
        if page.name == "accuracy.md" and peers.exists():
            text = accuracy.generated(text, json.loads(peers.read_text(encoding="utf-8")))
        (out / page.name).write_text(text, encoding="utf-8")


def main(words=None):
    """Run them; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DOCS, help="write here instead of into docs/")
    parser.add_argument(
        "--small", action="store_true", help="small numbers, which mean nothing: whether all of it runs"
    )
    parser.add_argument("--only", default="", help="only these, as kernels,growth")
    arguments = parser.parse_args(words)
    if arguments.small and arguments.out == DOCS:
        parser.error("--small needs --out: its numbers are not for docs/")
    wanted = set(arguments.only.split(",")) if arguments.only else {one.name for one in BENCHMARKS}
    if unknown := wanted - {one.name for one in BENCHMARKS}:
        parser.error(f"--only {', '.join(sorted(unknown))}: there are {', '.join(one.name for one in BENCHMARKS)}")
    subprocess.run([sys.executable, "-m", "wattshed", "warm"], check=True, stdout=subprocess.DEVNULL)
    failed, begun_s = 0, time.monotonic()
    for one in BENCHMARKS:
        if one.name in wanted:
            before_s = time.monotonic()
            why = run(one, arguments.out, small=arguments.small)
            failed += bool(why)
            print(f"{one.name:10} {time.monotonic() - before_s:6.1f} s  {why or 'done'}", flush=True)
    renew(arguments.out)
    busy = " ".join(f"{load:.2f}" for load in os.getloadavg())
    print(f"{'all':10} {time.monotonic() - begun_s:6.1f} s  load {busy}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
