"""Which jobs of a table a recording knows by itself, and what is said of the others."""

import numpy as np
import pytest

from wattshed.agent.traces.jobs import demands
from wattshed.agent.traces.jobs.demands import name_gpus
from wattshed.agent.traces.jobs.jobs_file import JobRow
from wattshed.agent.traces.jobs.placement import COUNTED, EXCHANGEABLE, GUESSED, INFERRED
from wattshed.agent.traces.jobs.survey import Survey, SurveyedHost


def surveyed(known=(), other_names=None):
    """A node whose recording knows these jobs, and saw no GPU of others."""
    survey = Survey(lambda _: np.empty(0, np.int64))
    survey.hosts["n1"] = SurveyedHost(np.empty(0, np.int64))
    survey.hosts["n1"].known.update(known)
    survey.hosts["n1"].other_names.update(other_names or {})
    return survey


@pytest.mark.parametrize(
    ("job", "labels", "known", "other_names", "wanted"),
    [
        ("slurm:7", {}, ["slurm:7"], {}, "slurm:7"),
        ("slurm:7", {}, ["slurm:70"], {}, None),
        ("slurm:7@c1", {}, ["slurm:7"], {}, "slurm:7"),
        ("slurm:7@c1", {}, ["slurm:7", "slurm:7@c1"], {}, "slurm:7@c1"),
        ("slurm:9_2", {"array": "9_2"}, ["slurm:12"], {"9_2": "slurm:12"}, "slurm:12"),
        ("slurm:12", {"array": "9_2"}, [], {"9_2": "slurm:13"}, None),  # it says its number, which counts
        ("slurm:7", {"sluid": "sE"}, ["slurm:sE"], {"sE": "slurm:sE"}, "slurm:sE"),
        ("slurm:7", {}, ["slurm:8"], {"": "slurm:8"}, None),
    ],
)
def test_a_job_that_the_recording_knows_goes_by_the_recordings_key(job, labels, known, other_names, wanted):
    rows = [JobRow(job, "n1", ("*",), 0, 10, count=2, labels=labels)]
    named, said = name_gpus(rows, surveyed(known, other_names))
    if wanted is None:
        assert (named, said) == ([], [])
    else:
        assert [(row.job, row.gpus, row.counted) for row in named] == [(wanted, (), False)]
        assert said == [f"known to the recording, which takes precedence over the jobs file: {wanted}"]


def test_of_two_clusters_jobs_of_one_number_neither_is_the_one_without_a_cluster():
    rows = [JobRow(f"slurm:7@c{i}", "n1", ("*",), 0, 10, count=1) for i in (1, 2)]
    assert name_gpus(rows, surveyed(["slurm:7"])) == ([], [])


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([10, 9, 2], "slurm:2, slurm:9, slurm:10"),
        (range(1, 6), "slurm:1, slurm:2, slurm:3, slurm:4, slurm:5"),
        (range(1, 7), "slurm:1, slurm:2, slurm:3, slurm:4, slurm:5 and 1 more"),
        (range(1, 31), "slurm:1, slurm:2, slurm:3, slurm:4, slurm:5 and 25 more"),
    ],
)
def test_the_first_five_are_named_and_the_others_counted(numbers, text):
    assert demands._some(f"slurm:{number}" for number in numbers) == text


def test_each_kind_of_knowledge_is_said_of_its_own_jobs():
    how = {"a": INFERRED, "b": EXCHANGEABLE, "c": COUNTED, "d": GUESSED, "e": INFERRED}
    said = demands._notes(how, {"f"})
    assert said[0].endswith("takes precedence over the jobs file: f")
    words = ["is inferred from power", "fit equally well", "billed k/n of it at most", "a guess"]
    for line, jobs, word in zip(said[1:], ("a, e", "b", "c", "d"), words, strict=True):
        assert line.startswith(f"the jobs file only counts the GPUs of {jobs}: ")
        assert word in line
