"""docs/performance.md says what docs/measurements say, and one command measures all of it."""

import json

import pytest

from tests.bench import run_all, write_docs


def test_the_pages_are_generated():
    pages = [page.read_text(encoding="utf-8") for page in write_docs.PAGES]
    for page in pages:
        assert page == write_docs.generated(page), "run: make docs"
    for name in write_docs.SECTIONS:
        marks = (f"<!-- {name}: ", f"<!-- end of {name} -->")
        assert [sum(page.count(mark) for page in pages) for mark in marks] == [1, 1], name


def test_a_number_that_changes_changes_the_page(tmp_path):
    document = json.loads((write_docs.NUMBERS / "bench.json").read_text(encoding="utf-8"))
    document["contests"][0]["rivals"]["polars"]["times_quicker"] = 4321.0
    (tmp_path / "bench.json").write_text(json.dumps(document), encoding="utf-8")
    page = write_docs.PAGES[0].read_text(encoding="utf-8")
    assert "4321.0" not in page
    assert "| 4321.0 |" in write_docs.generated(page, tmp_path)


def test_a_promise_is_kept_or_missed():
    name, promised = next(iter(write_docs.PROMISED.items()))
    for share, word in ((promised, "kept"), (promised - 0.02, "missed")):
        table = write_docs.promises({"contests": [{"kernel": name, "share_of_bandwidth": share}]})
        assert f"| {word} ({share:.0%}) |" in table


def test_a_run_without_something_says_so():
    assert write_docs.whole({"contests": []}) == write_docs.forms({}) == "Not measured in this run.\n"


def test_a_series_that_ended_early_says_why():
    series = {
        "name": "n", "axis": "jobs", "what": "w", "slope": None, "stopped": "10 jobs: too long",
        "points": [{"size": 1, "seconds": 2.0, "peak_mib": 3.0}],
    }  # fmt: skip
    machine = {"processor": "p", "level": "x86-64-v3", "cores": 2, "memory_gib": 4.0}
    table = write_docs.growth({"machine": machine, "limit_s": 9, "series": [series, {**series, "points": []}]})
    assert "p, x86-64-v3, 2 cores, 4 GiB; " in table
    assert "| w | 1 jobs: 2 s, 3 MiB | 1 jobs: 2 s, 3 MiB |  |  |" in table
    assert "* n, 10 jobs: too long" in table
    assert "| w | 10 jobs: too long |" in table


def test_everything_is_measured_by_one_command(tmp_path, capsys):
    assert run_all.main(["--small", "--only", "history", "--out", str(tmp_path)]) == 0
    assert "history" in capsys.readouterr().out
    document = json.loads((tmp_path / "measurements/history.json").read_text(encoding="utf-8"))
    assert document["databases"][0]["jobs"] == 300
    assert "300 jobs of 3 hosts:" in (tmp_path / "performance.md").read_text(encoding="utf-8")


def test_what_fails_leaves_what_was_there(tmp_path, monkeypatch, capsys):
    (tmp_path / "measurements").mkdir()
    (tmp_path / "measurements/history.json").write_text("{}", encoding="utf-8")
    wrong = run_all.Benchmark("history", ("history", "--jobs", "0"), ("history", "--jobs", "0"), "history.json")
    assert run_all.run(wrong, tmp_path, small=True) == "exit code 2"
    slow = run_all.Benchmark("history", ("history",), ("history",), "history.json", limit_s=0.01)
    assert run_all.run(slow, tmp_path, small=True) == "was not done after 0.01 s"
    assert (tmp_path / "measurements/history.json").read_text(encoding="utf-8") == "{}"


def test_small_numbers_never_go_into_the_docs(capsys):
    for words in (["--small"], ["--only", "nothing"]):
        with pytest.raises(SystemExit) as stop:
            run_all.main(words)
        assert stop.value.code == 2
    assert "small needs --out" in capsys.readouterr().err.replace("--small", "small")
