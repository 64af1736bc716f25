"""The rules of the house that a machine can check."""

import ast
import functools
import graphlib
import json
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
        if path.suffix in {".png", ".gz", ".parquet", ".arrow", ".arrows", ".ico", ".woff2"} or path == Path(__file__):
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


# The whole agent; other meters; real queries; any bytes; what judges the tests; a real GPU; what is seen.
ACROSS = {"laws", "peers", "boards", "promql", "fuzz", "mutants", "gpu", "pictures"}


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
        if re.fullmatch(r"_[A-Za-z]\w*", name) and name not in {
            "_replace",
            "_fields_",
        }:  # public of NamedTuple and ctypes
            yield name


def test_no_test_calls_a_private_method_of_another_room():
    """What a test needs of a room that it does not test is public there."""
    rooms = {}  # private name -> rooms that define it
    used = {}  # (test file, private name) -> folder
    for path in tracked():
        first, *rest = path.relative_to(ROOT).parts
        if path.suffix != ".py" or path.is_symlink() or first not in {"agent", "kernels", "exporters", "tests"}:
            continue
        tree = parsed(path)
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


@functools.cache
def parsed(path):
    """The tree of a Python file, for all rules that look at it."""
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", autouse=True)
def _trees_are_let_go():
    yield
    parsed.cache_clear()


def sources(*folders):
    """Path below the root, and tree, of each Python file in these folders."""
    for path in tracked():
        name = path.relative_to(ROOT)
        if path.suffix == ".py" and not path.is_symlink() and name.parts[0] in folders:
            yield name, parsed(path)


SHIPPED = ("agent", "kernels", "exporters", "deploy", "examples")
LONGEST_FUNCTION, LONGEST_FILE, LOOSE_FILES = 60, 400, 7
COMPLEX, COMPLEX_KERNEL = 20, 25


def lines_of(function):
    """Lines from ``def`` to the end, but for the docstring."""
    first = function.body[0]
    told = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    docstring = first.end_lineno - first.lineno + 1 if told else 0
    return function.end_lineno - function.lineno + 1 - docstring


def test_functions_read_like_a_plan():
    """A function that needs more lines does more than its name says; kernels are long where numba makes them fast."""
    functions = [
        (str(name), node)
        for name, tree in sources(*(folder for folder in SHIPPED if folder != "kernels"), "tests")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert len(functions) > 2_000
    assert [(name, f.name, n) for name, f in functions if (n := lines_of(f)) > LONGEST_FUNCTION] == []


@pytest.mark.parametrize(
    ("folders", "most"), [((*SHIPPED[:1], *SHIPPED[2:], "tests"), COMPLEX), (("kernels",), COMPLEX_KERNEL)]
)
def test_functions_branch_seldom(folders, most):
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "C901", "--output-format", "json"]
    limit = f"lint.mccabe.max-complexity={most}"
    done = subprocess.run(
        [*command, "--config", limit, *folders], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = json.loads(done.stdout)
    where = {(str(Path(one["filename"]).relative_to(ROOT)), one["message"].split("`")[1]) for one in found}
    assert where == set()


def test_files_are_rooms_and_few_lie_loose():
    long = {
        str(name): n
        for name, _ in sources(*SHIPPED)
        if (n := len((ROOT / name).read_text().splitlines())) > LONGEST_FILE
    }
    assert long == {}
    assert len([name for name, _ in sources("agent") if len(name.parts) == 2]) <= LOOSE_FILES


def imported(tree, package):
    """What a module of a package imports when it runs: all names, but for those that only the type checker sees."""
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level < 2, "imports from other rooms are written out"
            module = f"{package}.{node.module}" if node.level else node.module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            todo += ast.iter_child_nodes(node)


def test_no_import_goes_in_a_circle():
    """Nor one that is put off into a function, as heavy ones are."""
    modules = {}
    for name, tree in sources("agent", "kernels", "exporters"):
        dotted = ".".join(("wattshed", *name.with_suffix("").parts)).removesuffix(".__init__")
        modules[dotted] = set(imported(tree, ".".join(("wattshed", *name.parts[:-1]))))
    graph = {
        module: {known for name in names for known in (name, name.rpartition(".")[0]) if known in modules} - {module}
        for module, names in modules.items()
    }
    assert sum(map(len, graph.values())) > 500
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


WINDOWS_ARE_MADE = {
    "agent/meters/poller.py",  # of what a driver says
    "agent/traces/foreign/assembler.py",  # of other tools' logs
    "agent/traces/native/batch.py",  # of a recording
    "agent/window/__init__.py",  # of windows that lie together in a file
    "agent/bench/made_windows.py",  # of samples made up for a contest
    "agent/bench/split/running.py",  # of jobs made up that share a GPU
}
OTHER_EDGES = {"agent/cutting.py", "agent/daemon/loop.py"}  # cut to pieces; the open end that a shutdown closes


def test_one_file_cuts_windows():
    """Windows are made where they are read; two that cut them once disagreed about where a job's last second went."""
    made, edges = set(), set()
    for name, tree in sources("agent"):
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            given = {keyword.arg for keyword in call.keywords}
            if ast.unparse(call.func) == "Window":
                made.add(str(name))
            elif ast.unparse(call.func) == "replace" and {"start_us", "readings"} <= given:
                edges.add(str(name))
    assert (made, edges) == (WINDOWS_ARE_MADE, OTHER_EDGES)


HANDED_ON = {
    "agent/bench/accuracy/measuring.py": "what a tool of others raises is its answer, and stands in the table",
    "agent/errors.py": "this is Faults.noting, for which everybody else calls",
    "agent/history/writer.py": "noted with what became of it: put aside, or tried again",
    "agent/meters/sampler.py": "raised again by next(), in the thread that can act on it",
    "agent/inputs/prefetch.py": "raised again in the reader's thread",
}


def test_a_fault_of_a_part_is_noted_in_one_way():
    """Whoever catches everything raises it again, or calls `Faults.noting`: a metric and one line in the log."""
    found = set()
    for name, tree in sources("agent"):
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                kind = ast.unparse(node.type) if node.type else "BaseException"
                broad = {"Exception", "BaseException", "kind"} & set(re.findall(r"\w+", kind))
                if broad and not isinstance(node.body[-1], ast.Raise):
                    found.add(str(name))
    assert found == HANDED_ON.keys()


PATH_EDITS = {
    "agent/daemon/compiling.py": "hands it on to the process that compiles, and edits nothing",
    "tests/gpu/kit/results.py": "hands it on to interpreters that were started under another name, and edits nothing",
    "tests/mutants/run.py": "judges a copy of the tree in a fork, which starts no interpreter that could be told where",
    "tests/test_examples.py": "says that examples need none",
    "tests/test_house.py": "this list",
}


def test_no_file_edits_the_import_path():
    """What an interpreter shall import is told to it by PYTHONPATH, or by where it is started."""
    assert {
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.suffix == ".py"
        and path.relative_to(ROOT).parts[0] in (*SHIPPED, "tests")
        and "sys.path" in path.read_text(encoding="utf-8")
    } == PATH_EDITS.keys()


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


def test_no_two_public_classes_share_a_name():
    """One word, one meaning: whoever reads `Row` in two rooms must not have to ask which (docs/decisions/0988)."""
    defined = {}
    for name, tree in sources("agent", "kernels", "exporters", "deploy"):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                defined.setdefault(node.name, []).append(f"{name}:{node.lineno}")
    assert len(defined) > 150
    assert {name: places for name, places in defined.items() if len(places) > 1} == {}
