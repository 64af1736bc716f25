"""Completion, asked for in real shells on a terminal: what a user sees after the tab key."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.history.made_up import JOBS, MODELS, opened, part
from wattshed.agent.commands.completion import SHELLS

# A shell reads keys one by one from its prompt on; before, the terminal itself would act on some of them.
PROMPT = {"bash": "PS1='go''> '", "zsh": "PS1='go''> '", "tcsh": "set prompt='go''> '"}
ROOT = Path(__file__).parents[2]
LOADED = {  # as the help of the command says; then the tab key lists everything at once
    "bash": "bind 'set show-all-if-ambiguous on'; eval \"$(wattshed completion bash)\"",
    "zsh": 'setopt no_beep; autoload -U compinit; compinit -u -D; eval "$(wattshed completion zsh)"',
    "tcsh": "set edit; set autolist; wattshed completion tcsh > wattshed.tcsh; source wattshed.tcsh",
}
START = {"bash": ("--norc", "--noprofile", "-i"), "zsh": ("-f", "-i"), "tcsh": ("-f", "-i")}
CASES = [
    ("wattshed rep", {"replay", "report"}),
    ("wattshed fleet sc", {"scenario"}),
    ("wattshed jobs --us", {"--user"}),
    ("wattshed report --by na", {"namespace"}),
    ("wattshed replay --format j", {"json"}),
    ("wattshed run --meter si", {"simulated"}),
    ("wattshed fleet scenario xai", {"xai-memphis"}),
    ("wattshed fleet estimate --resample h", {"host"}),
    ("wattshed replay power-2", {"power-2026.csv"}),
    ("wattshed fleet estimate --sample power-2", {"power-2026.csv"}),
    ("wattshed record fold", {"folder/"}),
    ("wattshed completion z", {"zsh"}),
    ("wattshed job 184300", {"1843001", "1843002"}),
]
# One completion for all commands is all that tcsh has: it knows neither jobs nor the flags of one command.
CASES_OF_TCSH = [case for case in CASES if "184300" not in case[0] and "--us" not in case[0]]
KILL_LINE = "\x15"


@pytest.fixture
def place(tmp_path):
    """A folder with files to complete, and a `wattshed` that finds three jobs."""
    store = tmp_path / "history.db"
    opened(store).add([part(1, "slurm:1843001"), part(2, "slurm:1843002"), part(3, "k8s:a/b")], JOBS, MODELS)
    (tmp_path / "power-2026.csv").touch()
    (tmp_path / "folder").mkdir()
    command = tmp_path / "bin/wattshed"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\ntest "$1" = jobs && set -- "$@" --store {store}\nexec {sys.executable} -m wattshed "$@"\n'
    )
    command.chmod(0o755)
    return tmp_path


def environment(place):
    return {
        "PATH": f"{place}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(place),
        "TERM": "dumb",
        "PYTHONPATH": str(ROOT / "deploy/python"),
        "LANG": "C.UTF-8",
    }


class Terminal:
    """A shell that reads what is typed."""

    def __init__(self, shell, place):
        self.child, self.end = pty.fork()
        if self.child == 0:
            os.chdir(place)
            os.execvpe(shell, (shell, *START[shell]), environment(place))
        self.typed(f"stty cols 200; {PROMPT[shell]}")
        self.typed(LOADED[shell])

    def typed(self, keys):
        """Type this; returns all that is shown before the answer to the command that is typed after it."""
        os.write(self.end, f"{keys}{KILL_LINE if keys.endswith(chr(9)) else chr(10)}echo se'en'\n".encode())
        shown, end = "", time.monotonic() + 60
        while not re.search(r"(?m)^(?:.*go> )?seen\n(.*\n)*.*go> ", shown.replace("\r", "\n")):
            assert select.select([self.end], [], [], max(0.0, end - time.monotonic()))[0], shown
            shown += os.read(self.end, 65536).decode(errors="replace")
        return set(re.split(r"\s+", re.sub(r"\x1b\[[\d;?]*[a-zA-Z]|[\x07\b]", "", shown)))

    def close(self):
        os.kill(self.child, 9)
        os.waitpid(self.child, 0)
        os.close(self.end)


def needs(shell):
    if not shutil.which(shell):
        (pytest.fail if os.environ.get("CI_REAL") else pytest.skip)(f"{shell} is not installed")


@pytest.mark.real
@pytest.mark.parametrize(("shell", "cases"), [("bash", CASES), ("zsh", CASES), ("tcsh", CASES_OF_TCSH)])
def test_the_tab_key_completes(shell, cases, place):
    needs(shell)
    terminal = Terminal(shell, place)
    try:
        shown = {line: terminal.typed(f"{line}\t\t") for line, _ in cases}
    finally:
        terminal.close()
    assert {line: shown[line] for line, offered in cases if not offered <= shown[line]} == {}


@pytest.mark.real
def test_fish_completes(place):
    needs("fish")
    asked = "; ".join(f"echo '== {line}'; complete -C '{line}'" for line, _ in CASES)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"wattshed completion fish | source; {asked}"],
        cwd=place, env=environment(place), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    shown = {
        head: {row.split("\t")[0] for row in rows}
        for head, *rows in (text.splitlines() for text in done.stdout.split("== ")[1:])
    }
    assert {line: shown.get(line) for line, offered in CASES if not offered <= shown[line]} == {}


@pytest.mark.parametrize("shell", SHELLS)
def test_no_description_is_cut_off_in_a_sentence(shell, capsys):
    from wattshed.agent.__main__ import main

    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert script.endswith("\n")
    if shell in {"zsh", "fish"}:
        assert "one job: its energy, per GPU and over time" in script.replace("\\", "")
        assert "its newest run, and what" not in script
