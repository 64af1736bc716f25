"""wattshed bench split: what it prints, and what its summary means."""

import argparse
import json

import pytest

from wattshed.agent.bench.split import command
from wattshed.agent.bench.split.running import SplitBill
from wattshed.agent.errors import InputError


def arguments(*words):
    top = argparse.ArgumentParser()
    command.add_parser(top.add_subparsers())
    return top.parse_args(["split", *words])


def test_both_splits_of_each_kind_are_summed_up(capsys):
    given = arguments("--seconds", "20", "--seeds", "1", "--only", "3g+4g", "--json")
    assert given.run(given) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["seconds"], document["seeds"]) == ("wattshed.bench_split/1", 20, 1)
    assert [(row["of"], row["split"], row["jobs"]) for row in document["rows"]] == [
        ("MIG", "common", 2), ("MIG", "learned", 2),
    ]  # fmt: skip
    for row in document["rows"]:
        assert row["patterns"] == {"3g+4g": {name: row[name] for name in row["patterns"]["3g+4g"]}}


def test_a_summary_is_of_all_bills_and_its_worst_of_patterns():
    def bill(pattern, far, sigma):
        return SplitBill(pattern, "slurm:1", 100.0 * (1 + far), 100.0 * sigma, 100.0)

    good = [bill("good", far, 0.1) for far in (0.1, -0.1, 0.0)]
    bad = [bill("bad", 0.3, 0.1)]
    found = command.summary({"good": good, "bad": bad})
    assert found["median"] == pytest.approx(0.1)
    assert found["mean"] == pytest.approx(0.125)
    assert found["held"] == 0.75
    assert found["held_worst"] == found["patterns"]["bad"]["held"] == 0.0
    assert found["patterns"]["good"]["held"] == 1.0
    assert found["sigma"] == pytest.approx(0.1)
    assert found["jobs"] == 4


def test_a_word_that_no_pattern_has_is_refused():
    given = arguments("--only", "zzz")
    with pytest.raises(InputError, match="no pattern's name contains 'zzz'"):
        given.run(given)
