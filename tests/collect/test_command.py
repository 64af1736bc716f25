"""The command: it collects until it is told to end, serves what it knows of itself, and lets an administrator in."""

import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.collect.site import Site, parts_at
from wattshed.agent.history.opening import open_database
from wattshed.agent.wire.parts import CLOCK_SKEW

COMMAND = [sys.executable, "-m", "wattshed", "collect"]


@pytest.fixture
def site(tmp_path):
    one = Site(tmp_path)
    yield one
    one.close()


def settings(site, tmp_path, place):
    path = tmp_path / "collect.toml"
    urls = ", ".join(f'"{site.url(host)}"' for host in site.agents)
    path.write_text(
        f'database = "{place}"\npoll_s = 1\nlisten = ["127.0.0.1:0"]\nsocket = ""\n[[targets]]\nurls = [{urls}]\n'
    )
    return path


def until(what):
    end = time.monotonic() + 40
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def address(log):
    lines = [line for line in log.read_text().splitlines() if "listening on http" in line]
    return lines[0].rpartition(" ")[2] if lines else ""


def test_it_collects_and_is_killed_and_goes_on(site, tmp_path, new_place):
    place = new_place()
    config, log = settings(site, tmp_path, place), tmp_path / "log"

    def started():
        return subprocess.Popen([*COMMAND, "--config", config], stderr=log.open("w"), stdout=subprocess.DEVNULL)

    site.hour()
    process = started()
    try:
        url = until(lambda: address(log))
        until(lambda: ready(url))
        until(lambda: 'wattshed_collect_targets{state="up"} 3' in page(url))
        text = page(url)
        assert "\nwattshed_collect_parts_total 3\n" in text
        assert "\nwattshed_collect_gaps_total 0\n" in text
        assert "\nwattshed_collect_lag_seconds " in text
        assert "\nwattshed_collect_write_seconds 0." in text
        second = subprocess.run([*COMMAND, "--config", config], capture_output=True, text=True, check=False)
        assert (second.returncode, "another collector has it" in second.stderr) == (1, True)
        process.kill()
        process.wait()
        site.hour()
        process = started()
        until(lambda: all(parts_at(place, host, CLOCK_SKEW) == agent.made for host, agent in site.agents.items()))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    done = subprocess.run([*COMMAND, "forget", "n1", "--config", config], capture_output=True, text=True, check=True)
    assert done.stdout == "n1: is not waited for; jobs that ran there when it was heard of last: 0\n"
    done = subprocess.run([*COMMAND, "reset", "n2", "--config", config], capture_output=True, text=True, check=True)
    assert done.stdout == "n2: what it has that is not here yet is taken when it is asked next\n"
    rows = open_database(place).rows("SELECT host, epoch, forgotten FROM store ORDER BY host, epoch")
    assert rows == [("n0", 0, 0), ("n1", 0, 1), ("n2", 0, 0), ("n2", 1, 0)]


def ready(url):
    try:
        return urllib.request.urlopen(f"{url}/-/ready").status == 200
    except OSError:
        return False


def page(url):
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        return answer.read().decode()


@pytest.mark.parametrize(
    ("argv", "code", "why"),
    [
        (["--config", "nothing.toml"], 2, "nothing.toml: cannot be read"),
        (["reset"], 2, "`wattshed collect reset node017`"),
        (["erase", "ada"], 2, "`wattshed collect erase --user ada`"),
        (["erase"], 2, "erase and --user go together"),
        (["forget", "n7"], 2, "there is no store 'n7'"),
        (["--config", "bad.toml"], 2, "bad.toml:1:1: database"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, argv, code, why):
    (tmp_path / "bad.toml").write_text('database = "mysql://x:secret@y/z"\n[[targets]]\nurls = ["http://n1"]\n')
    (tmp_path / "right.toml").write_text('database = "x.db"\n[[targets]]\nurls = ["http://n1"]\n')
    argv = argv if "--config" in argv else [*argv, "--config", "right.toml"]
    done = subprocess.run([*COMMAND, *argv], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == code
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr
