"""Laws of reading: what a recording is written as, and how its file is packed, cut and joined, changes no joule."""

import gzip
import json
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.depth import examples, few
from tests.traces.writers import WAYS

FEW = settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
MANY = settings(FEW, max_examples=examples(15))
NAMES = sorted(WAYS)
SOME = few(sorted(NAMES, key=lambda name: NAMES.index(name) % 4), plain=len(NAMES) // 4)
"""All of them, of which a plain run takes every fourth."""


@pytest.fixture
def replayed(wattshed, tmp_path):
    """Replay contents, each in a file of its own, in their order; None and the error where it is refused."""

    def run(*contents, flags=()):
        paths = []
        for number, content in enumerate(contents):
            paths.append(tmp_path / f"log.{number}")
            paths[-1].write_bytes(content if isinstance(content, bytes) else content.encode())
        code, out, err = wattshed("replay", *paths, "--format", "json", *flags)
        assert code in {0, 2}, err
        if code == 2:
            assert err.count("\n") == 1, err
            assert out == ""
            return None, err
        return json.loads(out), err

    return run


def joules(answer):
    return {gpu["gpu"]: gpu["energy_j"] for gpu in answer["gpus"]}


def trapezoids(recording):
    """Joules by GPU, and seconds."""
    gpus = range(len(recording[0][1]))
    pairs = list(pairwise(recording))
    return {g: sum((b[0] - a[0]) * (a[1][g] + b[1][g]) / 200 for a, b in pairs) for g in gpus}


@st.composite
def recordings(draw, least=4):
    """Steps of one to three seconds; power changes, so that no sensor looks frozen and no counter like power."""
    gpus, moments = draw(st.integers(1, 3)), draw(st.integers(least, 12))
    steps = draw(st.lists(st.integers(1, 3), min_size=moments, max_size=moments))
    power = st.lists(st.integers(2_000, 39_000), min_size=gpus, max_size=gpus)
    return [(sum(steps[: k + 1]), draw(power)) for k in range(moments)]


@pytest.mark.parametrize("name", NAMES)
@given(recordings())
@MANY
def test_every_format_gives_the_joules_of_its_readings(replayed, name, recording):
    way = WAYS[name]
    recording = way.carried(recording)
    answer, err = replayed(str(way.write(recording)), flags=way.flags)
    assert answer is not None, err
    seconds = recording[-1][0] - recording[0][0]
    assert joules(answer) == pytest.approx(trapezoids(recording), abs=way.step_w / 2 * seconds + 1e-5)


DRESSES = {
    "gzip": lambda text: gzip.compress(text.encode()),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "a mark of UTF-8": lambda text: text.encode("utf-8-sig"),
    "no newline at its end": lambda text: text.rstrip("\n").encode(),
    "blank lines at its end": lambda text: f"{text}\n\n".encode(),
}


@pytest.mark.parametrize("name", SOME)
@given(recordings())
@FEW
def test_how_a_file_is_packed_changes_nothing(replayed, name, recording):
    way = WAYS[name]
    text = str(way.write(way.carried(recording)))
    plain, err = replayed(text, flags=way.flags)
    assert plain is not None, err
    for dress, dressed in DRESSES.items():
        answer, err = replayed(dressed(text), flags=way.flags)
        assert answer is not None, f"{dress}: {err}"
        assert answer["gpus"] == plain["gpus"], dress


@pytest.mark.parametrize("name", SOME)
@given(recordings(least=6), st.integers(2, 4))
@FEW
def test_two_files_are_one(replayed, name, recording, at):
    """Whatever the format: a log that is rotated, or a query that is asked for one hour after the other."""
    way = WAYS[name]
    recording = way.carried(recording)
    whole, err = replayed(str(way.write(recording)), flags=way.flags)
    assert whole is not None, err
    answer, err = replayed(*(str(way.write(part)) for part in (recording[:at], recording[at:])), flags=way.flags)
    assert answer is not None, err
    assert joules(answer) == joules(whole)


@pytest.mark.parametrize("name", few([name for name in NAMES if "whole" not in WAYS[name].traits], plain=6))
@given(recordings())
@FEW
def test_a_log_behind_itself_is_the_log(replayed, name, recording):
    way = WAYS[name]
    written = way.write(way.carried(recording))
    whole, err = replayed(str(written), flags=way.flags)
    assert whole is not None, err
    twice = written.head + "".join(written.rounds)
    answer, err = replayed(twice + twice + written.tail, flags=way.flags)
    if answer is not None:
        assert joules(answer) == joules(whole)


@pytest.mark.parametrize("name", SOME)
@given(recordings(), st.floats(0, 1))
@FEW
def test_any_part_of_a_file_is_answered_or_refused_in_a_line(replayed, name, recording, where):
    way = WAYS[name]
    text = str(way.write(way.carried(recording)))
    assume(text[: int(where * len(text))].strip())
    answer, _ = replayed(text[: int(where * len(text))], flags=way.flags)
    if answer is not None:
        whole = trapezoids(recording)
        seconds = recording[-1][0] - recording[0][0]
        for gpu, energy in joules(answer).items():
            # A number that is cut off looks like a smaller one, or a later time: no reader can know.
            assert energy <= whole[gpu] + 390 * 3 + way.step_w / 2 * seconds


@pytest.mark.parametrize("name", ["csv", "nvidia-smi", "csv with semicolons", "JSON lines"])
@given(recordings(), st.text("abcxyz 0.:%", max_size=6))
@FEW
def test_another_column_changes_nothing(replayed, name, recording, cell):
    written = WAYS[name].write(recording)
    plain, _ = replayed(str(written))
    if name == "JSON lines":
        text = "".join(json.dumps(json.loads(line) | {"note": cell}) + "\n" for line in str(written).splitlines())
    else:
        between = {"csv": ",", "nvidia-smi": ", ", "csv with semicolons": ";"}[name]
        lines = str(written).splitlines()
        text = "".join(f"{line}{between}{'note' if k == 0 else cell}\n" for k, line in enumerate(lines))
    answer, err = replayed(text)
    assert answer is not None, err
    assert joules(answer) == joules(plain)


@pytest.mark.parametrize("name", ["csv", "nvidia-smi", "JSON lines", "openmetrics"])
@given(recordings(), st.randoms(use_true_random=False))
@FEW
def test_the_order_of_rows_changes_nothing(replayed, name, recording, random):
    written = WAYS[name].write(recording)
    plain, _ = replayed(str(written))
    lines = "".join(written.rounds).splitlines(keepends=True)
    random.shuffle(lines)
    answer, err = replayed(written.head + "".join(lines) + written.tail)
    assert answer is not None, err
    assert joules(answer) == joules(plain)
