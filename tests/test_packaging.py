"""What is shipped is what is in the tree, in one folder, and gets in nobody's way."""

import doctest
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.library.notebook import executed

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("agent", "kernels", "exporters")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def build(source, out, *kinds):
    """Build without a network: the build backend is the environment's own."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), *kinds, str(source)]
    environ = os.environ | {"PIP_NO_INDEX": "1", "SOURCE_DATE_EPOCH": "1700000000"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A copy of the tree as a clone would have it, so that the build leaves nothing in this one."""
    target = tmp_path_factory.mktemp("tree")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout: an unpacked sdist has nothing to compare with")
    for name in listed.stdout.split("\n"):
        source = ROOT / name
        copy = target / name
        if source.is_symlink():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(source.readlink())
        elif name and source.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
            copy.chmod(source.stat().st_mode & 0o777)
    return target


@pytest.fixture(scope="module")
def shipped(tracked, tmp_path_factory):
    """The sdist and the wheel, made the way `python -m build` makes them: the wheel from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    build(tracked, out)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_every_link_of_the_package_leads_to_a_file_and_none_is_forgotten():
    """setuptools leaves a dangling link out without a word."""
    face = ROOT / "deploy/python/wattshed"
    for room in ROOMS:
        assert (face / room).resolve() == ROOT / room
    for folder in ("grafana", "prometheus"):
        ours = {path.name for path in (ROOT / "deploy" / folder).iterdir() if path.suffix in {".json", ".yml"}}
        ours |= {"importing.md"} if folder == "grafana" else set()
        links = {path.name: path.resolve() for path in (face / "deploy" / folder).iterdir() if path.is_symlink()}
        assert links == {name: ROOT / "deploy" / folder / name for name in ours}


def test_every_folder_with_python_is_a_package():
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), path


@pytest.mark.timeout(300)
def test_the_wheel_holds_one_folder_and_every_file_of_the_rooms(shipped, tracked):
    names = set(contents(shipped[1]))
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"wattshed"}
    ours = {
        f"wattshed/{path.relative_to(tracked)}"
        for room in ROOMS
        for path in (tracked / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours <= names, "package data: " + ", ".join(sorted(ours - names)[:10])


def test_the_sdist_builds_the_same_wheel_as_the_tree(shipped, tracked, tmp_path):
    build(tracked, tmp_path, "--wheel")
    (wheel,) = tmp_path.glob("*.whl")
    assert contents(wheel) == contents(shipped[1])
    with tarfile.open(shipped[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in ("deploy/systemd/wattshed.service", "tests/test_packaging.py", "Makefile", "requirements/run.lock"):
        assert needed in names, f"{needed} is missing from the sdist"


@pytest.fixture(scope="module")
def venv(shipped, tmp_path_factory):
    """A clean environment with the wheel alone, beside Hugging Face's `kernels`; dependencies come after its own."""
    venv = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    theirs = Path(sysconfig.get_path("purelib"), "kernels")
    if not theirs.is_dir():
        pytest.skip("Hugging Face's kernels is not installed; requirements/test.lock has it")
    shutil.copytree(theirs, site / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    before = {str(path.relative_to(site)) for path in site.rglob("*")}
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(venv / "bin/python")]
    install = [*pip, "install", "-q", "--no-deps", "--no-index", "--no-compile", "--ignore-installed"]
    subprocess.run([*install, str(shipped[1])], check=True)
    yield venv, site
    subprocess.run([*pip, "uninstall", "-q", "-y", "wattshed"], check=True)
    after = {str(path.relative_to(site)) for path in site.rglob("*") if "__pycache__" not in path.parts}
    assert after == before, "what is left of it, or missing of others"


def test_beside_the_other_project_that_is_called_kernels(venv, tmp_path):
    """Hugging Face's `kernels` owns that name in site-packages: both work, and ours leaves nothing when it goes."""
    code = "import kernels, wattshed; print(kernels.get_kernel.__module__); print(kernels.__file__, wattshed.__file__)"
    command = [str(venv[0] / "bin/python"), "-c", code]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("kernels.")
    assert run.stdout.count(str(venv[1])) == 2
    version = subprocess.run(
        [str(venv[0] / "bin/wattshed"), "--version"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (version.returncode, version.stdout) == (0, f"wattshed {PROJECT['project']['version']}\n"), version.stderr


def test_the_readmes_example_runs_in_jupyter_with_the_wheel_alone(venv, tmp_path):
    """Cell by cell, in a kernel that has imported Hugging Face's `kernels` before."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (power, jobs), (session,) = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("csv", "pycon"))
    (tmp_path / "power.csv").write_text(power)
    (tmp_path / "jobs.csv").write_text(jobs)
    examples = doctest.DocTestParser().get_examples(session)
    first = new_code_cell("import kernels\nassert kernels.get_kernel")
    notebook = new_notebook(cells=[first, *(new_code_cell(example.source) for example in examples)])
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    executed(notebook, venv[0] / "bin/python", tmp_path, environ)
    html = ""
    for cell, example in zip(notebook.cells[1:], examples, strict=True):
        shown = [output["data"]["text/plain"] for output in cell.outputs]
        assert shown == ([example.want.strip()] if example.want.strip() else [])
        html += "".join(output["data"].get("text/html", "") for output in cell.outputs)
    assert "wattshed-report" in html
