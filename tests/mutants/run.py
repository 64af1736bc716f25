"""Draw random mutants of a room, let the room's own tests judge each, and show those that live.

    python tests/mutants/run.py accounts meters --count 25 --seed 1 --scratch /tmp/mutants

The tree is copied into the scratch folder and mutated there, never in place. Results are appended to the file
``results.jsonl`` there; the same call goes on where it was cut off. One process imports the libraries once and forks a
child for every mutant. Tests that speak of the mutated function come first, so most mutants die within seconds.

Judged are only mutants whose tests all ran: one whose time is over before is "undecided" and not counted. A test that
hangs fails by its own time limit, which is a kill.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import hashlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import hypothesis

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from mutations import differs, mutations  # noqa: E402

LIBRARIES = ("numpy", "numba", "pyarrow.parquet", "pytest", "h11", "prometheus_client", "psutil", "yaml")


BROKEN = {3, 4, 5, 70}  # internal error, wrong usage, no tests, our own


def copy_tree(scratch: Path) -> Path:
    """Copy what git knows or would add, times included: numba's cache goes by them."""
    tree = scratch / "tree"
    names = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    ).split("\0")
    for name in filter(None, names):
        source, target = ROOT / name, tree / name
        if not os.path.lexists(source):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.unlink(missing_ok=True)
            target.symlink_to(source.readlink())
        elif not target.exists() or target.read_bytes() != source.read_bytes():
            shutil.copy2(source, target)
    return tree


def draw(tree, sources, count, seed):
    """``count`` mutants of the files below ``sources``, at most one a line, as (file, mutation, id)."""
    files = sorted(path for folder in sources for path in (tree / folder).rglob("*.py"))
    every = [(path.relative_to(tree), m) for path in files for m in mutations(path.read_bytes())]
    random.Random(seed).shuffle(every)
    lines, drawn = set(), []
    for name, m in every:
        text = (tree / name).read_bytes()
        if len(drawn) < count and (name, m.line) not in lines and differs(m, text):
            lines.add((name, m.line))
            drawn.append((name, m, hashlib.sha256(m.apply(text) + str(name).encode()).hexdigest()[:12]))
    return drawn


def names_around(source: bytes, line: int) -> set[str]:
    """The functions and classes that hold a line."""
    return {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and node.lineno <= line <= node.end_lineno
    }


def tests_of(tree, room, name, source, line, args):
    """The room's test files, those first that speak of the mutated module or function."""
    files = []
    for folder in room["tests"]:
        path = tree / folder
        files += [path] if path.is_file() else sorted(path.rglob("test_*.py"))
    if not args.whole:
        files = [f for f in files if str(f.relative_to(tree)) not in room["slow"]]
    words = names_around(source, line) | {str(name.with_suffix("")).replace("/", ".")}

    def score(path):
        text = path.read_text()
        return -sum(len(re.findall(rf"\b{re.escape(word)}\b", text)) for word in words) / len(text)

    return [str(f.relative_to(tree)) for f in sorted(files, key=score)][: args.nearest]


def judge(tree, tests, seconds, each, log):
    """Run the tests in a forked child; returns (verdict, what failed first)."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        with log.open("wb") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        os.chdir(tree)
        os.environ["PYTHONPATH"] = f"{tree / 'deploy/python'}:{tree}"
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = True
        sys.path[:0] = [str(tree / "deploy/python"), str(tree)]
        code = 70
        try:
            import pytest

            options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-m", "not real", f"--timeout={each}"]
            options.append("--hypothesis-profile=mutants")
            code = int(pytest.main([*options, *tests]))
        finally:
            sys.stdout.flush()
            os._exit(code)
    end = time.monotonic() + seconds
    status = None
    while status is None and time.monotonic() < end:
        done, raw = os.waitpid(pid, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(raw)
        else:
            time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # and whatever the tests left running
    if status is None:
        os.waitpid(pid, 0)
        return "undecided", ""
    text = log.read_text(errors="replace")
    first = re.search(r"^(?:FAILED|ERROR) (tests/.*)$", text, re.MULTILINE)
    if status in BROKEN:
        sys.exit(f"pytest itself failed ({status}); see {log}")
    return ("survived" if status == 0 else "killed"), (first.group(1)[:160] if first else f"exit {status}")


def equivalents():
    return {
        (e["file"], e["line"], e["to"]) for e in tomllib.loads((HERE / "equivalent.toml").read_text()).get("mutant", [])
    }


def changed_lines(name, before: bytes, after: bytes):
    diff = difflib.unified_diff(
        before.decode().splitlines(), after.decode().splitlines(), str(name), str(name), "", "", 1, ""
    )
    lines = list(diff)
    old = " ".join(x[1:].strip() for x in lines[2:] if x.startswith("-"))
    new = " ".join(x[1:].strip() for x in lines[2:] if x.startswith("+"))
    return "\n".join(lines), old, new


def run_room(label, room, args, tree, done, out):
    log = args.scratch / f"{label}.log"
    if f"{label} baseline" not in done and not args.no_baseline:
        tests = tests_of(tree, room, Path("none"), b"", 0, args)
        verdict, why = judge(tree, tests, 10 * args.seconds, 10 * args.each, log)  # kernels are compiled meanwhile
        if verdict != "survived":
            sys.exit(f"{label}: the tests are not green without a mutant: {verdict} {why}; see {log}")
        out({"id": f"{label} baseline"})
    same = equivalents()
    for name, m, key in draw(tree, room["sources"], args.count, args.seed):
        source = (tree / name).read_bytes()
        mutant = m.apply(source)
        diff, old, new = changed_lines(name, source, mutant)
        if key not in done:
            target = tree / name
            stamp = target.stat()
            started = time.monotonic()
            if (str(name), old, new) in same:
                verdict, why = "equivalent", ""
            else:
                target.write_bytes(mutant)
                try:
                    verdict, why = judge(
                        tree, tests_of(tree, room, name, source, m.line, args), args.seconds, args.each, log
                    )
                finally:
                    target.write_bytes(source)
                    os.utime(target, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
            took = round(time.monotonic() - started)
            out(
                {
                    "id": key,
                    "room": label,
                    "seed": args.seed,
                    "kind": m.kind,
                    "verdict": verdict,
                    "why": why,
                    "s": took,
                    "diff": diff,
                }
            )
            print(f"{label}: {verdict:10} {took:4} s  {name}:{m.line}  {m.kind}: {old!r} -> {new!r}  {why}", flush=True)


def report(results, seeds):
    """A table of what was judged, and the diff of each survivor."""
    for label in sorted({r["room"] for r in results if "room" in r}):
        mine = [r for r in results if r.get("room") == label and r["seed"] in seeds]
        count = {v: sum(r["verdict"] == v for r in mine) for v in ("killed", "survived", "equivalent", "undecided")}
        judged = count["killed"] + count["survived"]
        for r in mine:
            if r["verdict"] == "survived":
                print(f"\n{r['room']}, {r['kind']}\n{r['diff']}")
        share = f"{100 * count['killed'] / judged:.0f} %" if judged else "none"
        print(f"\n{label}: drawn {len(mine)}, judged {judged}, killed {count['killed']} ({share}), {count}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    rooms = tomllib.loads((HERE / "rooms.toml").read_text())
    parser.add_argument("rooms", nargs="+", choices=sorted(rooms))
    parser.add_argument("--count", type=int, default=20, help="mutants a room")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scratch", type=Path, required=True, help="a folder for the copy and the results")
    parser.add_argument("--seconds", type=int, default=600, help="for all tests of one mutant")
    parser.add_argument("--each", type=int, default=120, help="for one test")
    parser.add_argument("--whole", action="store_true", help="slow tests too")
    parser.add_argument("--nearest", type=int, help="only so many test files, those that speak of the function most")
    parser.add_argument("--no-baseline", action="store_true", help="do not first run the tests without a mutant")
    args = parser.parse_args()
    args.scratch = args.scratch.resolve()
    args.scratch.mkdir(parents=True, exist_ok=True)
    kept = args.scratch / "results.jsonl"
    results = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []

    def out(row):
        results.append(row)
        with kept.open("a") as file:
            file.write(json.dumps(row) + "\n")

    os.environ.setdefault("NUMBA_CACHE_DIR", str(args.scratch / "numba"))
    for library in LIBRARIES:
        importlib.import_module(library)
    # The first example that fails is a kill: a smaller one is nobody's concern.
    hypothesis.settings.register_profile(
        "mutants", phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate), deadline=None
    )
    tree = copy_tree(args.scratch)
    if not {"kernels", "exporters"} & set(args.rooms):  # nor loaded anew, where they are used and not mutated
        sys.path[:0] = [str(tree / "deploy/python"), str(tree)]
        importlib.import_module("wattshed.kernels.warm").warm_up()
    for label in args.rooms:
        if label == "kernels":  # nothing is compiled anew for each mutant
            os.environ["WATTSHED_JIT"] = "off"
        run_room(label, rooms[label], args, tree, {r["id"] for r in results}, out)
    report(results, {args.seed})


if __name__ == "__main__":
    main()
