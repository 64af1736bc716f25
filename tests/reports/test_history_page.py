"""docs/history.md documents every key and every column that the commands write."""

import re
from pathlib import Path

import pytest

from tests.reports.documents import gpu, job, job_document, jobs_document
from wattshed.agent.history.documents import FLAGS
from wattshed.agent.reports.listing import FIELDS

PAGE = (Path(__file__).parents[2] / "docs/history.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`(\w+)`", PAGE))


@pytest.mark.parametrize(
    "keys",
    [jobs_document(), job_document(), job_document()["job"], gpu(), FIELDS, FLAGS.values()],
    ids=["jobs", "one", "job", "gpu", "columns", "flags"],
)
def test_every_key_is_documented(keys):
    assert set(keys) - NAMED - {"jobs"} == set()


def test_keys_of_these_documents_are_those_of_an_answer(tmp_path):
    """What the tests of this room are made of is what a history says."""
    from tests.history.made_up import JOBS, MODELS, opened, part
    from wattshed.agent.reports.sources import StoreSource

    opened(tmp_path / "history.db").add([part(1)], JOBS, MODELS)
    source = StoreSource(str(tmp_path / "history.db"))
    jobs, one = source.ask("jobs", {}), source.ask("jobs/slurm:1", {})
    assert set(jobs) == set(jobs_document())
    assert set(one) == set(job_document())
    assert set(jobs["jobs"][0]) == set(job())
    assert set(one["job"]) == set(job_document()["job"])
    assert set(one["job"]["by_gpu"][0]) == set(gpu())
