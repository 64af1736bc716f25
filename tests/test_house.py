"""The rules of the house that a machine can check."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def tracked():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\n") if name and (ROOT / name).is_file()]


def test_who_may_know_whom():
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert command, "import-linter is in the dev group"
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_nothing_of_the_place_where_it_was_written():
    """No path of one machine, no host of a package index: a clone works anywhere."""
    local = re.compile(
        rb"/wor[k]/|/root/\.|/home/(?!somebody|[$a-z]*/\.cache)[a-z]+/|--index-url|--find-links|--extra-index"
    )
    found = []
    for path in tracked():
        if path.suffix in {".png", ".gz", ".parquet", ".arrow", ".ico", ".woff2"} or path == Path(__file__):
            continue
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
            if local.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line[:80]!r}")
    assert found == []


def test_the_top_level_is_the_house():
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if len(path.relative_to(ROOT).parts) > 1}
    assert folders <= {
        "agent",
        "kernels",
        "exporters",
        "tests",
        "deploy",
        "docs",
        "examples",
        "requirements",
        ".ci",
        ".github",
    }


# The whole agent; other meters; real queries; any bytes; what judges the tests.
ACROSS = {"laws", "peers", "promql", "fuzz", "mutants"}


def test_tests_follow_the_rooms():
    """What tests a room lies in a folder of its name; what crosses rooms lies in one of a few others."""
    rooms = {"kernels", "exporters", "deploy"} | {p.name for p in (ROOT / "agent").iterdir() if p.is_dir()}
    found = {path.relative_to(ROOT / "tests").parts[0] for path in tracked() if (ROOT / "tests") in path.parents}
    folders = {name for name in found if (ROOT / "tests" / name).is_dir()}
    assert folders <= rooms | ACROSS
    assert folders >= ACROSS


def private_names(tree, *, defined):
    """Names with one leading underscore that a module defines, or uses of another object than ``self``."""
    for node in ast.walk(tree):
        name = ""
        if isinstance(node, ast.Attribute):
            own = isinstance(node.ctx, ast.Store) or (isinstance(node.value, ast.Name) and node.value.id == "self")
            name = node.attr if own == defined else ""
        elif defined and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif defined and isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif not defined and isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setattr":
            text = next((a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)), "")
            name = text.rpartition(".")[2]  # a patch names what it replaces
        if re.fullmatch(r"_[A-Za-z]\w*", name) and name != "_replace":  # which every NamedTuple has in public
            yield name


def test_no_test_calls_a_private_method_of_another_room():
    """What a test needs of a room that it does not test is public there."""
    rooms = {}  # private name -> rooms that define it
    used = {}  # (test file, private name) -> folder
    for path in tracked():
        first, *rest = path.relative_to(ROOT).parts
        if path.suffix != ".py" or path.is_symlink() or first not in {"agent", "kernels", "exporters", "tests"}:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if first == "tests":
            own = set(private_names(tree, defined=True))
            used |= {(path, name): rest[0] for name in set(private_names(tree, defined=False)) - own}
            continue
        for name in private_names(tree, defined=True):
            rooms.setdefault(name, set()).add(rest[0] if first == "agent" else first)
    assert len(rooms) > 500
    strange = [
        f"{path.relative_to(ROOT)}: {name} of {sorted(rooms[name])}"
        for (path, name), folder in used.items()
        if name in rooms and folder not in rooms[name]
    ]
    assert strange == []


def test_no_two_public_classes_share_a_name():
    """One word, one meaning: whoever reads `Row` in two rooms must not have to ask which (docs/decisions/0988)."""
    defined = {}
    for path in tracked():
        first = path.relative_to(ROOT).parts[0]
        if path.suffix != ".py" or path.is_symlink() or first not in {"agent", "kernels", "exporters", "deploy"}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                defined.setdefault(node.name, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(defined) > 150
    assert {name: places for name, places in defined.items() if len(places) > 1} == {}


def test_every_requirement_is_locked_with_a_hash():
    for lock in sorted((ROOT / "requirements").glob("*.lock")):
        entries = re.split(r"\n(?=\S)", lock.read_text().strip())
        pinned = [entry for entry in entries if re.match(r"[\w.-]+(\[[\w,]+\])?==", entry)]
        assert pinned
        assert all("--hash=sha256:" in entry for entry in pinned), lock
        assert all(entry.lstrip().startswith("#") for entry in entries if entry not in pinned), lock


def test_no_promise_instead_of_code():
    """No stub and no note to self is shipped."""
    stub = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    for path in tracked():
        if path.suffix == ".py" and path != Path(__file__):
            found = stub.search(path.read_text())
            assert not found, f"{path.relative_to(ROOT)}: {found[0]}"


def test_supported_pythons_are_said_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["requires-python"] == ">=3.11"
    assert project["tool"]["mypy"]["python_version"] == "3.11"
    assert project["tool"]["ruff"]["target-version"] == "py311"
