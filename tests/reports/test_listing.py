"""Jobs in a list: within the terminal's width, whole in a pipe, harmless whatever users call their jobs."""

import csv
import io
import json
from datetime import UTC

import pytest
from rich.cells import cell_len

from tests.reports.documents import HOSTILE, MARCH_S, Terminal, done, job, jobs_document
from wattshed.agent.printing.figures import BOUNDARY
from wattshed.agent.reports import listing

LONG = "computational-astrophysics-and-cosmology-of-the-early-universe"
MANY = jobs_document(
    job(9, state="running", end_s=None, elapsed_s=93_784.2, hosts=["n1", "n2"], energy_j="987654321", sigma_j=9e6),
    job(8, state="waiting", hosts_expected=4, flags=["lower_bound"], user=LONG, account=LONG, name=LONG),
    job(7, gpus=None, mean_w=None, peak_w=None, held_idle=None, account=""),
    job(6, job="k8s:research/llama-finetune-7b-head-0", user="", account="", namespace="research", name="語" * 40),
    job(5, start_s=1_742_323_200.0, end_s=1_742_323_500.0),
)


@pytest.fixture
def shown(monkeypatch):
    """Print to a terminal of so many columns, or without any to a pipe; returns the lines."""

    def run(document, columns=0, **more):
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns))
        out = Terminal() if columns else io.StringIO()
        listing.print_jobs(document, out, zone=UTC, now_s=MARCH_S, **more)
        return out.lines() if columns else out.getvalue().splitlines()

    return run


@pytest.mark.parametrize("columns", [64, 80, 100, 120, 160, 240])
def test_a_table_is_no_wider_than_the_terminal(shown, columns):
    lines = shown(MANY, columns)
    assert max(map(cell_len, lines)) <= columns
    heading = lines[0].split()
    assert {"job", "user", "GPUs", "energy", "mean", "idle"} <= set(heading)
    assert len(lines[1:6]) == 5


def test_80_columns_have_what_is_asked_for_most(shown):
    lines = shown(jobs_document(job(), job(2, state="running", end_s=None)), 80)
    assert lines[0].split() == ["job", "user", "account", "state", "elapsed", "GPUs", "energy", "mean", "W", "idle"]
    assert lines[1].split() == [
        "slurm:1843001", "ada", "physics", "complete", "02:00:00", "2", "2.778", "±", "0.056", "Wh", "1.4", "12%",
    ]  # fmt: skip
    assert lines[2].split()[3:5] == ["running", "02:00:00"]
    assert "Not shown in 80 columns: end, " in " ".join(lines)


@pytest.mark.parametrize("columns", range(40, 360))
def test_text_goes_before_numbers(shown, columns):
    """Of what is there besides the job, its user and the highest reading."""
    heading = shown(MANY, columns)[0].replace("mean W", "mean_W").split()
    if not {"elapsed", "GPUs", "mean_W", "idle"} <= set(heading):
        assert {"name", "account", "state", "end", "hosts", "partition", "start"}.isdisjoint(heading)


def test_a_flag_stays_longer_than_how_was_split(shown):
    """A flag says what is wrong with a number, so it goes last of the two."""
    headings = [shown(MANY, columns)[0].split() for columns in range(60, 360)]
    both = [("flags" in heading, "split" in heading) for heading in headings]
    assert set(both) == {(False, False), (True, False), (True, True)}
    assert both == sorted(both)


def test_names_are_shown_as_they_are_written_and_mean_nothing(shown):
    for name in ("[bold]a[/bold]", "[red]", ":fire:", "[link=http://a]b"):
        for columns in (0, 200):
            assert name in shown(jobs_document(job(name=name)), columns)[1].split()


def test_what_is_cut_says_so_and_keeps_the_end_of_a_pods_name(shown):
    lines = shown(MANY, 80)
    assert lines[2].split()[1:3] == ["comput…", "waiting"]
    assert lines[4].startswith("k8s:re")
    assert "…" in lines[4].split()[0]
    assert lines[4].split()[0].endswith("head-0")


def test_a_pipe_gets_everything(shown):
    lines = shown(MANY)
    assert "…" not in "".join(lines)
    assert lines[0].split()[:4] == ["job", "name", "user", "namespace"]
    assert lines[2].count(LONG) == 3
    assert "2025-03-18 18:45" in lines[5]
    assert not any("Not shown" in line for line in lines)


def test_each_figure_says_what_it_is_of(shown):
    text = " ".join(shown(MANY, 100))
    assert BOUNDARY in text
    assert "two sigma" in text
    assert "≥2.778 ± 0.056 Wh" in text
    assert "waiting 1/4" in text
    assert "at least that" in text
    assert "at least that" not in " ".join(shown(jobs_document(job()), 100))


def test_whose_jobs_these_are_is_said(shown):
    assert "Only your own jobs are shown." in shown(jobs_document(job(), scope="own"), 80)
    assert not any("your own" in line for line in shown(jobs_document(job(), scope="all"), 80))
    assert shown(jobs_document(scope="own"), 80) == ["No job of yours matches."]
    assert shown(jobs_document(), 80) == ["No job matches."]


def test_what_a_simulated_meter_made_up_is_said(shown):
    said = "SIMULATED DATA, all of it or a part: no GPU drew it."
    assert said in shown(jobs_document(job(), simulated=True), 80)
    assert said not in shown(jobs_document(job()), 80)


def test_clusters_are_named_where_there_are_several(shown):
    assert "cluster" not in shown(jobs_document(job(cluster="a"), job(2, cluster="a")))[0]
    assert "cluster" in shown(jobs_document(job(cluster="a"), job(2, cluster="b")))[0]


def hostile():
    texts = ("job", "name", "user", "account", "partition", "namespace", "qos", "cluster")
    made = [job(**dict.fromkeys(texts, text), hosts=[text]) for text in HOSTILE]
    return jobs_document(*made)


@pytest.mark.parametrize("columns", [0, 80, 200])
def test_hostile_names_do_not_steer_a_terminal(shown, columns):
    assert all(line.isprintable() for line in shown(hostile(), columns))


def test_hostile_names_are_no_formulas_of_a_spreadsheet():
    out = io.StringIO()
    listing.write_csv(hostile()["jobs"], out)
    head, *rows = csv.reader(io.StringIO(out.getvalue()))
    assert tuple(head) == listing.FIELDS
    assert len(rows) == len(HOSTILE)
    for text, row in zip(HOSTILE, rows, strict=True):
        fields = dict(zip(head, row, strict=True))
        assert all(field.isprintable() for field in row)
        assert not any(field.startswith(("=", "+", "-", "@")) for field in row)
        assert fields["user"] == ("'" if text[:1] in set("=+-@\t") else "") + fields["user"].removeprefix("'")
        assert fields["energy_j"] == "10000.0000000005"
    assert rows[-1][head.index("user")] == ""


def test_numbers_are_never_guarded_and_unknown_is_empty():
    out = io.StringIO()
    listing.write_csv([job(energy_j="-3.5", mean_w=None, gpus=None, end_s=None, held_idle=None)], out)
    (fields,) = csv.DictReader(io.StringIO(out.getvalue()))
    assert fields["energy_j"] == "-3.5"
    assert fields["start"] == "2026-03-01T00:01:40Z"
    assert [fields[name] for name in ("mean_w", "gpus", "end", "held_idle", "hosts_expected")] == [""] * 5


def test_parsable_lines_have_as_many_fields_as_the_head():
    out = io.StringIO()
    listing.write_parsable(hostile()["jobs"], out)
    lines = out.getvalue().split("\n")[:-1]
    assert len(lines) == 1 + len(HOSTILE)
    assert {line.count("|") for line in lines} == {len(listing.FIELDS) - 1}
    assert all(line.isprintable() for line in lines)
    assert lines[1].startswith(r"=cmd\x7c' /C calc'!A0|")


def test_work_is_shown_where_a_job_did_any(shown):
    work = [done("prompt_tokens", 9_000_000, 0.09), done()]
    lines = shown(jobs_document(job(work=work, waiting_j="2500"), job(2)))
    assert " work " in lines[0]
    assert "J per unit waiting" in lines[0]
    assert "2,000,000" in lines[1]
    assert "0.400 ± 0.032 output_tokens" in lines[1]
    assert "25%" in lines[1]
    assert "J per unit" not in shown(jobs_document(job()))[0]


def test_a_table_for_machines_has_the_main_unit_and_all_of_them():
    work = [done("prompt_tokens", 9_000_000, 0.09), done()]
    older = {name: value for name, value in job(2).items() if name not in {"work", "waiting_j"}}
    out = io.StringIO()
    listing.write_csv([job(work=work, waiting_j="2500"), job(3), older], out)
    told, nothing, unknown = csv.DictReader(io.StringIO(out.getvalue()))
    names = ("work_unit", "work_count", "joules_per_unit", "unit_sigma_j", "waiting_j")
    assert [told[name] for name in names] == ["output_tokens", "2000000", "0.4", "0.016", "2500"]
    assert json.loads(told["work"]) == work
    assert {nothing[name] for name in (*names, "work")} == {unknown[name] for name in (*names, "work")} == {""}
