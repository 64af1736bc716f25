"""An agent that began without compiled kernels has them built beside it, and never waits for that."""

import json
import logging
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from wattshed.agent.daemon import compiling
from wattshed.agent.daemon.compiling import MANY, CannotBuild, Compiling, plan_of
from wattshed.kernels import load
from wattshed.kernels.load import Form

S = 1_000_000
ROOT = Path(__file__).parents[2]
BUILT = Form("so", "x86-64-v3", "built here")


@pytest.fixture
def told(caplog):
    """What the agent logged."""
    caplog.set_level(logging.INFO, logger="wattshed")
    logging.getLogger("wattshed").propagate = True
    return caplog


def beside(*words, form=BUILT, **more):
    """A compiling that has seen enough to begin, and began."""
    one = Compiling(lambda: ["tests.daemon.builder", *map(str, words)], lambda: form, **more)
    busy(one)
    return one


def busy(one, seconds=11):
    for _ in range(seconds):
        one.after(MANY + 1, S)


def until(condition, one=None):
    for _ in range(600):
        if one is not None:
            one.after(0, S)
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never was so")


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_what_was_built_is_exchanged_once(tmp_path, told, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/nobody")
    exchanged = []
    one = Compiling(
        lambda: ["tests.daemon.builder", "well", str(tmp_path / "about")], lambda: exchanged.append(1) or BUILT
    )
    busy(one)
    until(lambda: exchanged, one)
    busy(one, 30)
    assert exchanged == [1], "once, and nothing is built again"
    about = json.loads((tmp_path / "about").read_text())
    assert (about["nice"], about["oom"], about["group"]) == (19, "1000", about["pid"])
    assert about["processor_s"] == 120
    assert "NOTIFY_SOCKET" not in about["environ"]
    assert [record.levelname for record in told.records] == ["INFO", "INFO"]
    assert "so, x86-64-v3" in told.text


def test_few_readings_are_no_reason_to_build():
    one = Compiling(lambda: pytest.fail("nobody asked for it"), lambda: BUILT)
    one.after(100_000, S)  # the first window has those that learn
    for _ in range(60):
        one.after(MANY, S)


@pytest.mark.parametrize(
    ("words", "form", "why"),
    [
        (["full"], BUILT, "compiling failed: no space left on the device: kernels.so"),
        (["killed"], BUILT, "compiling failed: it was killed (SIGKILL)"),
        (["spent"], BUILT, "compiling failed: it took more than 120 s of a processor"),
        (["unheard-of"], None, "what was compiled cannot be loaded"),
    ],
)
def test_a_build_that_fails_is_told_once_and_plain_python_goes_on(told, words, form, why):
    one = beside(*words, form=form)
    until(lambda: "kernels stay plain Python" in told.text, one)
    busy(one, 30)
    (warning,) = [record for record in told.records if record.levelname == "WARNING"]
    assert warning.message.endswith(why)


def test_what_cannot_be_built_is_told_once(told):
    def plan():
        raise CannotBuild("there is no compiler")

    one = Compiling(plan, lambda: BUILT)
    busy(one, 40)
    (warning,) = told.records
    assert warning.message.endswith("there is no compiler")


def test_a_build_has_half_an_hour_and_ends_with_all_that_it_began(tmp_path, told):
    now_s = [0.0]
    one = beside("long", tmp_path / "pids", now_s=lambda: now_s[0])
    until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text())
    now_s[0] = 1799.0
    one.after(0, S)
    assert "WARNING" not in [record.levelname for record in told.records]
    now_s[0] = 1800.0
    one.after(0, S)
    assert told.records[-1].message.endswith("compiling took longer than 30 minutes")
    until(lambda: all(gone(pid) for pid in (tmp_path / "pids").read_text().split()))


def test_a_build_dies_with_its_agent(tmp_path):
    pids = tmp_path / "pids"
    code = f"""
import os, signal, time
from wattshed.agent.daemon.compiling import Compiling
one = Compiling(lambda: ["tests.daemon.builder", "long", {str(pids)!r}], lambda: None)
for _ in range(11):
    one.after(1000, {S})
while not (os.path.exists({str(pids)!r}) and os.path.getsize({str(pids)!r})):
    time.sleep(0.02)
os.kill(os.getpid(), signal.SIGKILL)
"""
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'deploy/python'}"}
    subprocess.run([sys.executable, "-c", code], env=environ, check=False)
    until(lambda: pids.read_text() and gone(pids.read_text().split()[0]))
    subprocess.run(["kill", "-9", pids.read_text().split()[1]], check=True)


def test_a_form_that_is_asked_for_and_cannot_be_had_is_said(monkeypatch, caplog):
    """On an installed package: no numba, and perhaps no library for this processor."""
    before = load.form().name
    monkeypatch.setattr(load, "has_compiler", lambda: False)
    monkeypatch.setenv("WATTSHED_JIT", "numba")
    try:
        with ExitStack() as opened:
            compiling.settle_form(opened)
        assert load.form().name == "off"
    finally:
        load.use(before)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == f"plain Python computes the energies, not jit = numba: {load.NO_COMPILER}"


def test_where_nothing_may_be_compiled_it_is_not_tried(tmp_path, monkeypatch):
    assert plan_of(tmp_path) == ["wattshed.kernels.build", "--out", str(tmp_path)]
    with pytest.raises(CannotBuild, match="cache_dir"):
        plan_of(None)
    with monkeypatch.context() as patch:
        patch.setattr(load, "has_compiler", lambda: False)
        with pytest.raises(CannotBuild, match="numba, the compiler, is not installed"):
            plan_of(tmp_path)
    code = "import ctypes; print(ctypes.CDLL(None).prctl(65, 1, 0, 0, 0))\n"
    code += "from wattshed.agent.daemon.compiling import *\ntry: plan_of(None)\nexcept CannotBuild as why: print(why)"
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'deploy/python'}"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    code, why = done.stdout.splitlines()
    if code != "0":
        pytest.skip("this kernel does not know PR_SET_MDWE")
    assert "written and executed" in why
