"""Manual pages and completion as packages install them: made from the command line, read by real readers."""

import argparse
import gzip
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from wattshed.agent.__main__ import parser
from wattshed.agent.commands.config import settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def manuals():
    spec = importlib.util.spec_from_file_location("manuals", ROOT / "deploy/packages/manuals.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tree(manuals, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    manuals.write(folder)
    return folder


def pages(tree):
    """The page by its name, as it is installed."""
    return {path.name[:-3]: path for path in sorted(tree.glob("usr/share/man/man?/*.gz"))}


def commands(command):
    yield command
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from commands(inner)


def needs(*names):
    for name in names:
        if not shutil.which(name):
            (pytest.fail if os.environ.get("CI_REAL") else pytest.skip)(f"{name} is not installed")


def test_every_command_has_a_page_that_tells_every_flag(tree):
    found, wanted = pages(tree), list(commands(parser()))
    assert set(found) == {f"{c.prog.replace(' ', '-')}.1" for c in wanted} | {"wattshed-config.5"}
    assert len(found) > 25
    for command in wanted:
        text = gzip.decompress(found[f"{command.prog.replace(' ', '-')}.1"].read_bytes()).decode()
        flags = {flag for action in command._actions for flag in action.option_strings} - {"-h", "--help"}
        assert [flag for flag in flags if flag.replace("-", r"\-") not in text] == [], command.prog
        assert ".SH EXIT STATUS" in text


def test_documents_are_named_where_the_package_has_them(tree):
    texts = [gzip.decompress(path.read_bytes()).decode().replace("\\-", "-") for path in pages(tree).values()]
    named = {name for text in texts for name in re.findall(r"[\w./-]*/[\w-]+\.md", text)}
    assert "/usr/share/doc/wattshed/replay.md" in named
    assert [name for name in named if not (ROOT / name.replace("/usr/share/doc/wattshed", "docs")).is_file()] == []


def test_the_page_of_the_configuration_has_every_key_and_its_variable(tree):
    text = gzip.decompress(pages(tree)["wattshed-config.5"].read_bytes()).decode()
    keys = list(settings())
    assert len(keys) > 40
    assert [key for key in keys if rf"\fB{key.name}\fR = " not in text or key.variable not in text] == []
    assert {f"[{key.table[0]}]" for key in keys if key.table} <= set(re.findall(r"(?m)^\.SH (\[.*\])$", text))


def test_pages_begin_and_end_as_man_pages_do(tree):
    """What can be seen without a reader: the parts in their order, and no line that roff takes for a command."""
    known = {"TH", "SH", "TP", "PP", "B", "nf", "fi", "br"}
    for name, path in pages(tree).items():
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        assert re.match(r'\.TH \S+ "[15]" "\d{4}-\d\d-\d\d" "wattshed [^"]+" "wattshed"', lines[0]), name
        assert lines[1] == ".SH NAME"
        assert " \\- " in lines[2]
        assert {line[1:].split()[0] for line in lines if line.startswith(".")} <= known, name
        assert not any(line.startswith("'") or not line for line in lines), name


@pytest.mark.real
def test_no_reader_of_man_pages_complains(tree):
    needs("groff", "mandoc")
    for name, path in pages(tree).items():
        text = gzip.decompress(path.read_bytes())
        groff = subprocess.run(["groff", "-ww", "-man", "-Tutf8", "-z"], input=text, capture_output=True, check=True)
        lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning"], input=text, capture_output=True, check=False)
        assert (groff.stderr, lint.stdout, lint.returncode) == (b"", b"", 0), name


@pytest.mark.real
def test_man_finds_and_shows_them(tree):
    needs("man")
    environ = {"PATH": "/usr/bin:/bin", "MANPATH": f"{tree}/usr/share/man", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}

    def man(*words):
        return subprocess.run(["man", *words], env=environ, capture_output=True, text=True, check=True).stdout

    assert "what did last week's jobs use?" in man("wattshed")
    assert "wattshed job 1843009 --price 0.21 --currency EUR --carbon 350 --pue 1.3" in man("wattshed", "job")
    assert "burst_hz = 0.0" in man("5", "wattshed-config")


def test_the_same_moment_makes_the_same_bytes(manuals, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    manuals.write(tmp_path / "one")
    manuals.write(tmp_path / "two")
    one, two = ({p.relative_to(d): p.read_bytes() for p in d.rglob("*.*z")} for d in sorted(tmp_path.iterdir()))
    assert one == two
    assert b"2023-11-14" in gzip.decompress((tmp_path / "one/usr/share/man/man1/wattshed.1.gz").read_bytes())


@pytest.mark.real
def test_completion_lies_where_shells_look_for_it(tree):
    needs("bash", "zsh", "fish")
    for shell, where in {
        "bash": f"source {tree}/usr/share/bash-completion/completions/wattshed && complete -p wattshed",
        "zsh": f"fpath=({tree}/usr/share/zsh/vendor-completions $fpath); autoload -U compinit; compinit -u -D; "
        'print -- "$_comps[wattshed]"',
        "fish": f"source {tree}/usr/share/fish/vendor_completions.d/wattshed.fish; complete -C 'wattshed comp'",
    }.items():
        done = subprocess.run([shell, "-c", where], capture_output=True, text=True, check=True, cwd=tree)
        assert done.stderr == ""
        assert {"bash": "-F _shtab_wattshed wattshed", "zsh": "_wattshed", "fish": "completion\t"}[shell] in done.stdout
