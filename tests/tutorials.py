"""Tutorials are run as they are read: every block of commands, in its order, and what it shows is compared.

``python -m tests.tutorials`` writes into the pages what the commands show now, where that is something else.

A block ``sh`` is run, and the block ``text`` right below it is what it shows; there, a line ``...`` stands for any
lines. Titles say more. Commands with the title `OWN_TERMINAL` go on beside the others; those whose title begins with
`ELSEWHERE` are for machines that are not here (tests.test_commands_in_documents reads them). An answer with the title
`DIFFERS` has numbers that differ from run to run: its words alone are compared.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs/tutorials").glob("*.md"))
OWN_TERMINAL, ELSEWHERE, DIFFERS = "In a terminal of its own", "On ", "Yours will differ"
PORT = "9961"
_BLOCK = re.compile(r'^```(\w+)(?: title="(.*?)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class Step(NamedTuple):
    """Commands of a page, and where in the page it is what they show."""

    title: str
    script: str
    shown: re.Match[str] | None


def steps(text: str) -> list[Step]:
    """The blocks of commands of a page, in their order."""
    found = list(_BLOCK.finditer(text))
    made = []
    for one, following in zip(found, [*found[1:], None], strict=True):
        if one[1] == "sh":
            below = following if following and following[1] == "text" else None
            answers = below and not text[one.end() : below.start()].strip()
            made.append(Step(one[2] or "", one[3], below if answers else None))
    return made


def differing(text: str) -> list[str]:
    """The lines of an answer without what changes from run to run: numbers, bars, widths of columns."""
    plain = re.sub(r"[▁▂▃▄▅▆▇█░━─┏┓┗┛┃│┡┩╇┳┻└┘┴┬┌┐├┤┼]+", " ", text)
    plain = re.sub(r"GPU-[0-9a-f-]+|\d[\d.,:/-]*", "0", plain)
    plain = re.sub(r"\b[kM]?(J|W|Wh)\b", "J", plain)
    lines = [" ".join(line.split()) for line in plain.strip().splitlines()]
    return [line for line in lines if not re.fullmatch(r"0 to 0 J, 0 each", line)]  # a job of half a minute has a plot


def matches(shown: list[str], printed: list[str]) -> bool:
    """Whether lines are those that are shown, of which ``...`` stands for any."""
    if not shown:
        return not printed
    if shown[0].strip() == "...":
        return any(matches(shown[1:], printed[n:]) for n in range(len(printed) + 1))
    return bool(printed) and shown[0] == printed[0] and matches(shown[1:], printed[1:])


def is_shown(step: Step, printed: str) -> bool:
    """Whether the page shows what the commands of a step printed; always where they were not run."""
    if step.shown is None or step.title.startswith(ELSEWHERE):
        return True
    words = differing if step.shown[2] == DIFFERS else str.splitlines
    return matches(words(step.shown[3].strip("\n")), words(printed.strip("\n")))


@contextmanager
def place():
    """A folder with what a clone has, where `wattshed` is this one, and a port of its own instead of 9961."""
    with tempfile.TemporaryDirectory(prefix="wattshed-tutorial-") as name:
        folder = Path(name)
        (folder / "bin").mkdir()
        (folder / "home").mkdir(mode=0o700)
        command = folder / "bin/wattshed"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m wattshed "$@"\n')
        command.chmod(0o755)
        (folder / "examples").symlink_to(ROOT / "examples")
        yield folder


def environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": f"{folder}/bin:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT / "deploy/python"),
        "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", str(Path.home() / ".cache/wattshed")),
        "HOME": str(folder / "home"),
        "XDG_RUNTIME_DIR": str(folder / "home"),
        "WATTSHED_HISTORY_SOCKET": str(folder / "home/api.sock"),
        "WATTSHED_SOCKET": str(folder / "home/agent.sock"),
        "WATTSHED_URL": f"unix:{folder}/home/api.sock",
        "WATTSHED_HOST": "laptop",
        "COLUMNS": "100",
        "TERM": "dumb",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
    }


def run(text: str) -> list[str]:
    """Run all steps of a page; returns what each shows, an empty text of one that is for another machine."""
    makes_run = re.search(r"^run:.*\n\t@?\$\(BIN\)/(.*?) \$\(ARGS\)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    with place() as folder, ExitStack() as stack, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        outputs = []
        for step in steps(text):
            script = step.script.replace("make run", makes_run[1]).replace(PORT, port)
            if step.title == OWN_TERMINAL:
                outputs.append(stack.enter_context(_beside(script, folder, port)))
            elif step.title.startswith(ELSEWHERE):
                outputs.append("")
            else:
                outputs.append(_on_a_terminal(script, folder))
        outputs = [out.replace(port, PORT).replace(f"{folder}/home", "/run/wattshed") for out in outputs]
        return [re.sub(r"[ \t]+$", "", out, flags=re.MULTILINE) for out in outputs]


def _on_a_terminal(script: str, folder: Path) -> str:
    """Return what commands print on a terminal of 100 columns, and after it what they say on standard error."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (50, 100))
    with os.fdopen(ours, errors="replace", newline="") as screen:
        process = subprocess.Popen(
            ["bash", "-e", "-c", script], cwd=folder, env=environment(folder),
            stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.close(theirs)
        printed = []
        with suppress(OSError):  # a terminal that nobody has open any more cannot be read
            printed.extend(iter(lambda: screen.read(1), ""))
        said = process.communicate(timeout=120)[1]
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", "".join(printed).replace("\r\n", "\n")) + said
    assert process.returncode == 0, f"{script}\n{shown}"
    return shown


@contextmanager
def _beside(script: str, folder: Path, port: str):
    """Start a daemon, and wait until it is ready; what it said until then is what it shows."""
    log = folder / "home/daemon.log"
    environ = environment(folder) | {"WATTSHED_LISTEN": f"127.0.0.1:{port}"}
    with log.open("w") as out:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {script.strip()}"], cwd=folder, env=environ, stdout=out, stderr=out
        )
    try:
        end = time.monotonic() + 60
        while not _ready(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        time.sleep(3)  # some windows, so that there is something to be seen
        yield log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def _ready(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def renewed(text: str) -> str:
    """A page with what its commands show now; what is shown with ``...`` in it is left to the writer."""
    parts, end = [], 0
    for step, printed in zip(steps(text), run(text), strict=True):
        if step.shown and not is_shown(step, printed) and "..." not in step.shown[3].splitlines():
            parts += [text[end : step.shown.start(3)], printed.strip("\n") + "\n"]
            end = step.shown.end(3)
    return "".join([*parts, text[end:]])


if __name__ == "__main__":
    for page in [Path(name).resolve() for name in sys.argv[1:]] or PAGES:
        page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
        print(page.relative_to(ROOT))
