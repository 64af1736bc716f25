"""The cache goes only where it is safe, and forks and threads cannot hang or abort a kernel."""

import concurrent.futures
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.recordings import node
from wattshed.kernels import energy, jit
from wattshed.kernels.warm import steps

ROOT = Path(__file__).parents[2]
USE = """
import numpy as np
from wattshed.kernels.jit import cache_folder
from wattshed.kernels.bandwidth import read_once
assert read_once(np.arange(10)) == 45
print(cache_folder())
"""


def child(program, **environment):
    """Run a program with little in its environment."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA", "XDG", "WATTSHED"))}
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, "PYTHONPATH": str(ROOT / "deploy/python"), **environment},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.fixture
def fresh(monkeypatch):
    """cache_folder as in a new process, with nothing given."""
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    jit.cache_folder.cache_clear()
    yield monkeypatch
    jit.cache_folder.cache_clear()


def test_the_given_folder_is_used_and_private(tmp_path):
    found = Path(child(USE, NUMBA_CACHE_DIR=str(tmp_path / "given")))
    assert found.parent == tmp_path / "given"
    assert found.stat().st_mode & 0o777 == 0o700
    kept = sorted(file.name for file in found.rglob("*.nbi"))
    assert any("read_one_stream" in name for name in kept)
    assert list((found / "parallel").rglob("*.nbi"))
    assert not list((ROOT / "kernels").rglob("*.nbi"))


def test_without_any_safe_place_there_is_no_cache_and_no_crash(tmp_path):
    shut = tmp_path / "file"
    shut.write_text("")
    paths = {name: str(shut) for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "TMPDIR")}
    program = "import tempfile\ntempfile.tempdir = " + repr(str(shut)) + USE
    assert child(program, **paths) == "None"


def test_the_home_directory_is_next(fresh, tmp_path):
    fresh.setenv("HOME", str(tmp_path))
    assert jit.cache_folder().parent == tmp_path / ".cache" / "wattshed"


def test_a_folder_that_others_may_write_in_is_not_trusted(fresh, tmp_path):
    fresh.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    name = jit.cache_folder().name
    jit.cache_folder.cache_clear()
    (tmp_path / name).chmod(0o777)
    fresh.setenv("HOME", str(tmp_path / "home"))
    assert jit.cache_folder().parent == tmp_path / "home" / ".cache" / "wattshed"


def test_a_link_that_somebody_laid_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert not jit.private_folder(tmp_path / "link")


def test_pruning_leaves_only_this_version(fresh, tmp_path):
    fresh.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    mine = jit.cache_folder()
    (tmp_path / "kernels-0123456789abcdef" / "parallel").mkdir(parents=True)
    (tmp_path / "precious").mkdir()
    jit.prune_cache()
    assert sorted(tmp_path.iterdir()) == sorted([mine, tmp_path / "precious"])


def test_a_forked_child_computes_on_one_thread_instead_of_hanging(monkeypatch):
    monkeypatch.setattr("wattshed.kernels.threads.FEW_ROWS", 0)
    recording = node(2, 2_000)
    expected = energy.integrate(*recording, 5_000_000)[0].tolist()  # the pool is awake now
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, repr(energy.integrate(*recording, 5_000_000)[0].tolist()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        assert answer.read() == repr(expected)
    os.waitpid(pid, 0)


def test_many_threads_may_run_parallel_kernels_at_once(monkeypatch):
    monkeypatch.setattr("wattshed.kernels.threads.FEW_ROWS", 0)
    recording = node(2, 20_000)
    expected = energy.integrate(*recording, 5_000_000)[0].tolist()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: energy.integrate(*recording, 5_000_000)[0].tolist(), range(40)))
    assert found == [expected] * 40


@pytest.mark.skipif(jit.MODE == "off", reason="nothing is compiled")
def test_a_kernel_that_promises_to_allocate_nothing_cannot():
    @jit.jit(allocates=False)
    def breaks_it(n):
        return np.empty(n, np.int64).size

    with pytest.raises(Exception, match="empty"):
        breaks_it(3)


def test_every_kernel_module_is_compiled_ahead():
    with_kernels = {file.stem for file in (ROOT / "kernels").rglob("*.py") if "@jit" in file.read_text()}
    within = {
        "jit",
        "int128",
        "columns",
        "shares",
        "doubt",
        "crossing",
        "holes",
        "settling",
        "verdicts",
        "segments",
        "trapezoid",
        "sweep",
        "draws",
        "counter_resets",
        "trusting",
        "records",
        "usage",
    }  # compiled with the kernels that call them
    source = (ROOT / "kernels" / "warm.py").read_text()
    missing = {name for name in with_kernels - within if name not in source}
    assert missing == set()
    assert next(iter(steps())) == "live path"
    for compile_it in steps().values():
        compile_it()


def test_plain_kernels_keep_both_names():
    def double(x):
        return 2 * x

    kernel = jit.PlainKernel(double)
    assert kernel(np.int64(4)) == kernel.serial(np.int64(4)) == 8
