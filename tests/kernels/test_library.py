"""A library runs as code: it is loaded only if nobody else could have written it, and it is what was built."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.depth import deep
from tests.kernels.processes import output_of
from wattshed.kernels import build, cpu, library, load, warm

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copied(manifest, tmp_path, monkeypatch):
    """A folder with the library in it, the only one that is looked at; returns its manifest."""
    folder = tmp_path / "lib"
    folder.mkdir(mode=0o755)
    about = json.loads(manifest.read_text())
    for name in [manifest.name, *(one["file"] for one in about["files"].values())]:
        shutil.copy(manifest.parent / name, folder / name)
        (folder / name).chmod(0o644)
    monkeypatch.setattr(library, "PACKAGED", folder)
    monkeypatch.setattr(library, "cache_folder", lambda: None)
    monkeypatch.setattr(library, "_told", set())
    return folder / manifest.name


def changed(manifest, **new):
    """Write something else into a manifest."""
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **new}))


def file_of(manifest, form="so"):
    return manifest.parent / json.loads(manifest.read_text())["files"][form]["file"]


@pytest.mark.parametrize("form", ["so", "objects"])
def test_what_was_built_is_loaded(copied, form):
    found = library.find(form)
    assert (found.path, found.cpu) == (file_of(copied, form), json.loads(copied.read_text())["cpu"])
    assert found.function("wattshed_reconcile_merge") is not None
    assert found.function("wattshed_nothing") is None


def damage(manifest):
    path = file_of(manifest)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def named(manifest, name):
    """Let the manifest tell of a file of another name."""
    files = json.loads(manifest.read_text())["files"]
    changed(manifest, files={**files, "so": {**files["so"], "file": name}})


REFUSED = {
    "damaged": (damage, "not what its manifest says"),
    "torn": (lambda m: os.truncate(file_of(m), 1000), "not what its manifest says"),
    "gone": (lambda m: file_of(m).unlink(), "No such file"),
    "stale": (lambda m: changed(m, sources="0" * 16), "another version"),
    "of another form of manifest": (lambda m: changed(m, schema=2), "another version"),
    "without a manifest": (lambda m: m.write_text("{"), "manifest cannot be read"),
    "with an empty manifest": (lambda m: m.write_text("[]"), "manifest cannot be read"),
    "with a manifest of many brackets": (lambda m: m.write_text("[" * 500_000), "manifest cannot be read"),
    "with a pipe for a manifest": (lambda m: (m.unlink(), os.mkfifo(m, 0o644)), "others can write"),
    "of a name that is none": (lambda m: named(m, "a\0b"), "null byte"),
    "of a file elsewhere": (lambda m: named(m, "../../../etc/passwd"), "No such file"),
    "of no files": (lambda m: changed(m, files=[]), "AttributeError"),
    "writable by the group": (lambda m: file_of(m).chmod(0o664), "others can write"),
    "with a manifest of all": (lambda m: m.chmod(0o666), "others can write"),
    "in a folder of the group": (lambda m: m.parent.chmod(0o775), "others can write"),
    "elsewhere, by a link": (
        lambda m: file_of(m).symlink_to(file_of(m).rename(m.parent / "moved")), "another user's",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", REFUSED)
def test_whatever_else_is_not_loaded_and_told_once(copied, caplog, how):
    spoil, why = REFUSED[how]
    spoil(copied)
    caplog.set_level(logging.WARNING)
    assert library.find("so") is None
    assert library.find("so") is None
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"compiled kernels in {copied.parent}")
    assert why in told


def test_another_users_library_is_not_loaded(copied, monkeypatch, caplog):
    monkeypatch.setattr(library.os, "geteuid", lambda: 12345)
    if copied.stat().st_uid:
        assert library.find("so") is None
        assert "another user's" in caplog.text
    else:  # root's is everybody's
        assert library.find("so") is not None


def test_a_library_for_another_processor_is_left_alone(copied, caplog):
    changed(copied, cpu="native-ffffffff")
    assert library.find("so") is None
    assert not caplog.records


def test_arrays_that_lie_in_another_way_are_not_given_to_it(copied, monkeypatch, caplog):
    monkeypatch.setattr(library, "_DIMENSIONS_AT", 40)  # what are the strides in truth
    assert library.find("so") is None
    assert "lays its arrays out in another way" in caplog.text


def test_without_a_library_kernels_are_compiled_in_time_or_plain(copied, monkeypatch, in_form):
    copied.unlink()
    assert load.use("auto").name == "numba"
    assert "run wattshed warm" in load.use("auto", just_in_time=False).reason
    assert load.form().name == "off"
    assert load.use("so").name == "numba"
    monkeypatch.setattr(load, "has_compiler", lambda: False)
    assert load.use("auto") == load.Form("off", "", load.form().reason)
    for how in ("numba", "auto"):
        assert load.NO_COMPILER in load.use(how, just_in_time=how == "numba").reason
    with pytest.raises(warm.WarmError, match=re.escape(load.NO_COMPILER)):
        warm.warm_up()


def test_a_library_that_was_built_meanwhile_is_taken(copied, in_form):
    away = copied.with_suffix(".away")
    copied.rename(away)
    assert load.use("auto", just_in_time=False).name == "off"
    assert load.look_again().name == "off"
    away.rename(copied)
    assert load.look_again().name == "so"
    assert load.look_again() == load.form()


WHERE_NOTHING_WRITTEN_RUNS = """
import ctypes, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
    sys.exit("no PR_SET_MDWE")
import numpy as np
from wattshed.kernels import columns, load
form = load.form()
order, offsets = columns.dealt(np.array([1, 0, 1], np.int32), 2)
print(form.name, order.tolist(), offsets.tolist(), load.use("numba").name, load.use("objects").name)
"""


def test_it_runs_where_memory_may_not_be_written_and_run(manifest):
    run = subprocess.run(
        [sys.executable, "-c", WHERE_NOTHING_WRITTEN_RUNS],
        env={**os.environ, "PYTHONPATH": str(ROOT / "deploy/python"), "WATTSHED_JIT": "auto"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "no PR_SET_MDWE" in run.stderr:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert run.stdout.split("\n")[0] == "so [1, 0, 2] [0, 1, 3] off off", run.stderr


@deep
def test_a_kernel_that_needs_python_is_not_built():
    assert output_of("built_alone").splitlines() == [
        "told: built_alone.prints, 1 of 1", "not built: they would need Python or numba when they run",
        "told: built_alone.adds, 1 of 1", "NRT in it: False False False False", "objects: True True True True",
    ]  # fmt: skip


def test_without_a_c_compiler_the_object_file_does(monkeypatch, capsys):
    monkeypatch.setattr(library.shutil, "which", lambda _: None)
    assert build.link(b"") is None
    assert "no C compiler" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setenv("CC", "false")
    assert build.link(b"") is None
    assert "cannot link" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_whole_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(build.os, "fsync", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build._put(tmp_path / "library", b"half")
    assert not list(tmp_path.iterdir())


def test_levels_of_x86_are_what_linux_says(monkeypatch):
    v2 = frozenset(["cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3", "fpu"])
    v3 = v2 | frozenset(["abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"])
    v4 = v3 | frozenset(["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"])
    monkeypatch.setattr(cpu.platform, "machine", lambda: "x86_64")
    assert [cpu.level(flags) for flags in (frozenset(), v2, v3, v4, v4 - v3 | v2)] == [
        "x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v2",
    ]  # fmt: skip
    monkeypatch.setattr(cpu, "_flags", lambda: v3)
    assert cpu.names()[1:] == ["x86-64-v3", "x86-64-v2", "x86-64"]
    other = cpu.native()
    monkeypatch.setattr(cpu, "_flags", lambda: v4)
    assert cpu.native() != other
    monkeypatch.setattr(cpu.platform, "machine", lambda: "aarch64")
    assert cpu.names()[1:] == ["aarch64"]


def test_where_only_objects_are_a_library_is_made_once_something_can_link_it(copied, monkeypatch):
    assert warm.enough().path == file_of(copied)
    about = json.loads(copied.read_text())
    changed(copied, files={"objects": about["files"]["objects"]})
    monkeypatch.setattr(library, "linker", lambda: "/usr/bin/cc")
    assert warm.enough() is None
    monkeypatch.setattr(library, "linker", lambda: None)
    assert warm.enough().path.suffix == ".o"


def test_a_library_that_the_system_does_not_let_be_loaded_is_not_made_again(copied, monkeypatch):
    monkeypatch.setattr(library, "linker", lambda: "/usr/bin/cc")

    def refused(path):
        raise OSError(f"{path}: failed to map segment from shared object: Operation not permitted")

    monkeypatch.setattr(library, "_shared", refused)
    assert warm.enough().path.suffix == ".o"
