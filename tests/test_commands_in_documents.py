"""Every command that a page tells somebody to type can be typed: it is ours, or it is looked at here.

Tutorials, examples and README's answers are run by tests of their own; here each command of every page is held against
the command line, the Makefile, the chart and the packages. A command that nobody looks at fails.
"""

import argparse
import contextlib
import fnmatch
import io
import itertools
import re
import shlex
import tomllib

import pytest
import yaml
from helm_python import Chart

from tests.markdown import PAGES, ROOT, commands
from wattshed.agent.__main__ import parser

PAST = {"CHANGELOG.md", "decisions"}
COMMANDS = [one for page in PAGES if not PAST & {page.name, page.parent.name} for one in commands(page)]
PLAIN = frozenset(
    "cat cd echo export git grep head install journalctl kill ls man mv nvidia-smi promtool rm sacct sbatch "  # noqa: SIM905
    "scontrol sed squeue sudo umask".split()
)
"""Tools of others, of which pages use what every version has."""


def ours(words):
    """Our own command line: the command is there, its flags are, and where nothing is left open, it can be parsed."""
    command, rest = parser(), [re.sub(r"^\[+|\]+$", "", word) for word in words]
    while rest and (inner := next((a for a in command._actions if isinstance(a, argparse._SubParsersAction)), None)):
        if rest[0].startswith("-") or rest[0] in {"...", "COMMAND"}:
            break
        assert rest[0] in inner.choices, f"{command.prog} has no command {rest[0]}"
        command, rest = inner.choices[rest[0]], rest[1:]
    known = {flag for action in command._actions for flag in action.option_strings}
    flags = {word.partition("=")[0] for word in rest if re.match(r"--?[a-zA-Z]", word)}
    assert flags <= known, f"{command.prog} has no {flags - known}"
    if not any(re.search(r"^\[|\||\.\.\.|\]$", word) for word in words):
        told = complaint(words)
        unfinished = "required" in told or "expected" in told  # a page says `wattshed fleet estimate` of the whole
        assert not told or unfinished, told


def complaint(words):
    """What the command line says of these words; nothing if it takes them."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            parser().parse_args(words)
    except SystemExit:
        return said.getvalue()
    return ""


def make(words):
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {word for word in words if "=" not in word} <= targets


def install_package(words):
    verb, *files = words
    assert verb == "install"
    known = ["./dist/wattshed_0.1.0_amd64.deb", "./dist/wattshed-0.1.0-1.x86_64.rpm"]  # build.py: pack
    for file in files:
        assert not file.startswith("./") or fnmatch.filter(known, file), file


def systemctl(words):
    units = [word.removesuffix(".service") for word in words if not word.startswith("-")][1:]
    assert units
    for unit in units:
        assert (ROOT / f"deploy/systemd/{unit}.service").is_file() or unit == "edit", unit


def helm(words):
    """A release of our chart: its path is right, its values are the chart's, and it renders."""
    assert words[0] in {"install", "upgrade", "template"}
    folder = next(word for word in words if word.startswith("deploy/"))
    values = yaml.safe_load((ROOT / folder / "values.yaml").read_text(encoding="utf-8"))
    given = {}
    for flag, pair in itertools.pairwise(words):
        if flag in {"--set", "--set-json"}:
            path, _, value = pair.partition("=")
            *tables, key = path.split(".")
            known, tree = values, given
            for table in tables:
                known, tree = known[table], tree.setdefault(table, {})
            assert key in known, path
            tree[key] = yaml.safe_load(value) if value else ""
    with Chart.load(ROOT / folder) as chart:
        assert chart.render(values=given, name="wattshed")


def kubectl(words):
    """What it names is in the chart, under the release that the pages install; a command in a pod is our own."""
    with Chart.load(ROOT / "deploy/kubernetes/wattshed") as chart:
        files = chart.render(values={"collector": {"enabled": True}}, name="wattshed")
    objects = [one for name, text in files.items() if name.endswith(".yaml") for one in yaml.safe_load_all(text) if one]
    named = {f"{one['kind'].lower()}/{one['metadata']['name']}" for one in objects}
    assert {word for word in words if re.match(r"[a-z]+/[a-z]", word)} <= named | {"deploy/kubernetes"}
    if "--" in words:
        check(words[words.index("--") + 1 :])


def podman(words):
    if words[0] == "build":
        assert (ROOT / words[words.index("-f") + 1]).is_file()
    assert words[0] in {"build", "push", "run"}


def curl(words):
    """Addresses of ours are answered; those of others are in capitals, or a name of their own."""
    served = r"/metrics|/metrics/dcgm|/-/ready|/-/healthy|/api/v1/(snapshot|jobs|report|parts)|/"
    for word in words:
        if match := re.match(r"http://(?:127\.0\.0\.1:9961|localhost)([^?]*)", word):
            assert re.fullmatch(served, match[1]), word


def pip(words):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for word in words[1:]:
        if match := re.fullmatch(r"(?:wattshed|\.)(?:\[([\w,]+)\])?", word):
            assert set((match[1] or "").split(",")) - {""} <= set(extras)


def python(words):
    if words and words[0] == "-m":
        assert (
            words[1] in {"venv", "pip", "pytest", "http.server", "wattshed"}
            or (ROOT / (words[1].replace(".", "/") + ".py")).is_file()
        ), words
    elif words and words[0] != "-c":
        assert (ROOT / words[0]).is_file(), words


CHECKS = {
    "wattshed": ours, "make": make, "apt": install_package, "dnf": install_package, "systemctl": systemctl,
    "helm": helm, "kubectl": kubectl, "podman": podman, "docker": podman, "curl": curl, "pip": pip, "python": python,
    "python3": python,
}  # fmt: skip


def check(words):
    while words and (words[0] in {"sudo", "exec"} or re.match(r"[A-Z_]+=", words[0])):
        words = words[1:]
    name = words[0].removeprefix(".venv/bin/")
    if name in CHECKS:
        CHECKS[name](words[1:])
    elif re.match(r"[\w.-]+/", name):
        assert (ROOT / name).exists(), name
    else:
        assert name in PLAIN, f"nobody looks at {name}"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.where)
def test_a_command_can_be_typed(command):
    text = re.sub(r"\s+#.*|\s{2,}[a-z].*", "", command.text)  # what a synopsis says beside it
    check(shlex.split(re.split(r"\s(?:\||&&|>>?|2>|<<)\s?(?!\|)", text)[0]))


def test_there_are_many():
    pages = {one.page.name for one in COMMANDS}
    assert len(COMMANDS) > 150
    assert {"README.md", "replay.md", "one-node.md", "kubernetes.md", "fleet.md", "CONTRIBUTING.md"} <= pages
