"""Writes tables of docs/performance.md and accuracy.md from docs/measurements: ``python -m tests.bench.write_docs``."""

import json
import re
from pathlib import Path

from tests.markdown import with_blocks

DOCS = Path(__file__).parents[2] / "docs"
PAGES = (DOCS / "performance.md", DOCS / "accuracy.md")
NUMBERS = DOCS / "measurements"
RIVALS = ("numpy", "polars", "duckdb")
READERS = ("polars", "duckdb", "pyarrow decode")
PROMISED = {
    "a energy, 8 B native": 0.60,
    "a energy, 12 B": 0.68,
    "b energy per job": 0.61,
    "c windows of 500 readings": 0.58,
    "c windows of a minute": 0.40,
    "d exact p50, p95, p99": 0.33,
}
"""Shares of the bandwidth probe that these kernels are to reach on an idle machine."""
NOT_MEASURED = "Not measured in this run.\n"
WHOLE = "h "
"""Contests of whole processes begin with it: nothing of memory bandwidth is said of them."""


def row(*cells):
    return f"| {' | '.join(map(str, cells))} |\n"


def head(*names):
    return row(*names) + f"|{'---|' * len(names)}\n"


def number(value, form):
    return "" if value is None else format(value, form)


def told(machine):
    """On what it was measured."""
    parts = [machine["processor"], machine.get("level"), f"{machine['cores']} cores", f"{machine['memory_gib']:g} GiB"]
    return ", ".join(part for part in parts if part)


def kernels(document):
    machine, form = document["machine"], document.get("form")
    of_form = f", kernels in form `{form['name']}`{' for ' if form['cpu'] else ''}{form['cpu']}" if form else ""
    text = (
        f"{told(machine)}, {machine['threads']} threads{of_form}; {document['samples']:,} samples of "
        f"{document['gpus']} GPUs, medians of {document['rounds']} rounds:\n\n"
    )
    text += head("kernel", "ms", "rate", "share of the probe", *(f"x {rival}" for rival in RIVALS), "x other")
    for one in document["contests"]:
        if one["kernel"].startswith(WHOLE):
            continue
        rate = (
            f"{one['gigabytes_per_s']:.1f} GB/s" if "gigabytes_per_s" in one else f"{one['giga_adds_per_s']:.1f} Gadd/s"
        )
        quicker = {name: found["times_quicker"] for name, found in one["rivals"].items()}
        text += row(
            one["kernel"], f"{1e3 * one['seconds']:.1f}", rate, number(one.get("share_of_bandwidth"), ".0%"),
            *(number(quicker.pop(rival, None), ".1f") for rival in RIVALS),
            ", ".join(f"{times:.1f} ({name})" for name, times in quicker.items()),
        )  # fmt: skip
    return text


def promises(document):
    found = {one["kernel"]: one for one in document["contests"]}
    text = head("kernel", "promised share", "in this run")
    for name, promised in PROMISED.items():
        if name in found:
            share = found[name]["share_of_bandwidth"]
            kept = "kept" if round(share, 2) >= promised else "missed"
            text += row(name, f"{promised:.0%}", f"{kept} ({share:.0%})")
    return text


def whole(document):
    if not any(one["kernel"].startswith(WHOLE) for one in document["contests"]):
        return NOT_MEASURED
    text = head("from start to end", "s", *(f"x {rival}" for rival in RIVALS[1:]))
    for one in document["contests"]:
        if one["kernel"].startswith(WHOLE):
            quicker = {name: result["times_quicker"] for name, result in one["rivals"].items()}
            cells = (number(quicker.get(rival), ".2f") for rival in RIVALS[1:])
            text += row(one["kernel"].removeprefix(WHOLE), f"{one['seconds']:.2f}", *cells)
    return text


def files(document):
    about = f"{told(document['machine'])}, kernels in form `{document['form']}`; medians of {document['rounds']} rounds"
    text = f"{about}:\n\n"
    text += head(
        "kind", "MB", "million readings", "s", "reading, s", "MB/s", "million readings a second", "peak MiB",
        *(f"x {name}" for name in READERS),
    )  # fmt: skip
    for one in document["kinds"]:
        beside = (one["rivals"].get(name, {}).get("times_quicker") for name in READERS)
        text += row(
            one["kind"], f"{one['bytes'] / 1e6:.0f}", f"{one['rows'] / 1e6:.2f}", f"{one['seconds']:.2f}",
            f"{one['reading_s']:.2f}", f"{one['reading_mb_per_s']:,.0f}", f"{one['rows'] / one['reading_s'] / 1e6:.2g}",
            f"{one['peak_mib']:.0f}", *(number(times, ".2f") for times in beside),
        )  # fmt: skip
    return text


def forms(document):
    compared = document.get("forms", [])
    if not compared:
        return NOT_MEASURED
    names = list({name: None for one in compared for name in one["seconds"]})
    text = head("ms", *(f"`{name}`" for name in names))
    for one in compared:
        times = (f"{1e3 * one['seconds'][name]:.3g}" if name in one["seconds"] else "" for name in names)
        text += row(one["question"], *times)
    return text


def growth(document):
    text = (
        f"{told(document['machine'])}; no point, nor what it needs beforehand, longer than {document['limit_s']} s:\n\n"
    )
    text += head("what", "from", "to", "slope of time", "slope of memory")
    for one in document["series"]:
        if not one["points"]:
            text += row(one["what"], one["stopped"], "", "", "")
            continue
        first, last = (
            f"{point['size']:,} {one['axis']}: {point['seconds']:.2g} s, {point['peak_mib']:,.0f} MiB"
            for point in (one["points"][0], one["points"][-1])
        )
        slopes = (f"{one['slope'][name]:z.2f}" if one["slope"] else "" for name in ("seconds", "peak_mib"))
        text += row(one["what"], first, last, *slopes)
    ended = [f"* {one['name']}, {one['stopped']}\n" for one in document["series"] if one["points"] and one["stopped"]]
    return text + ("\nSeries that ended early, and why:\n\n" + "".join(ended) if ended else "")


def history(document):
    databases, own = document["databases"], document["agent"]
    text = f"{told(document['machine'])}; {databases[0]['jobs']:,} jobs of {document['hosts']} hosts:\n\n"
    text += head("", *(one["database"] for one in databases))
    text += row("a collector takes in, jobs a second", *(f"{one['jobs_per_s']:,.0f}" for one in databases))
    text += row("on the disk, bytes a job", *(f"{one['bytes_per_job']:,.0f}" for one in databases))
    for place, asked in enumerate(databases[0]["questions"]):
        times = (f"{1e3 * one['questions'][place]['seconds']:.1f} ms" for one in databases)
        text += row(f"{asked['question']} ({asked['rows']:,} rows)", *times)
    return text + f"\nAn agent writes {own['jobs'] / own['seconds']:,.0f} jobs a second into its own history.\n"


AGENT = {
    "core_percent": ("% of a core, never asked", ".2f"),
    "scraped_core_percent": ("% scraped", ".2f"),
    "scrape_cpu_ms": ("a scrape, ms of processor", ".1f"),
    "resident_mib": ("resident, MiB", ".0f"),
    "calls_per_s": ("driver calls a second", ".0f"),
    "readings_per_s": ("power readings a second", ".1f"),
    "late_p99_ms": ("late, 99 of 100, ms", ".1f"),
    "scrape_ms": ("a scrape, ms of waiting", ".1f"),
    "series": ("series", ",.0f"),
}


def agent(document):
    every_s = document["scrape_every_s"]
    text = f"{told(document['machine'])}; {document['seconds']} s each on a SIMULATED driver with eight GPUs, "
    text += f"never asked and then scraped every {every_s:g} s:\n\n"
    text += head("exporter", *(title for title, _ in AGENT.values()))
    for one in document["exporters"]:
        cells = (number(one.get(name), form) for name, (_, form) in AGENT.items())
        text += row(one["name"], *cells) if "failed" not in one else row(one["name"], one["failed"])
    return text


def split(document):
    text = f"{document['seeds']} recordings of each pattern, {document['seconds']} s each:\n\n"
    text += head(
        "jobs of", "split", "median", "mean", "95th percentile", "95 % intervals that hold", "in the worst pattern",
        "sigma (median)", "jobs",
    )  # fmt: skip
    for one in document["rows"]:
        errors = (f"{one[name]:.1%}" for name in ("median", "mean", "p95"))
        held = (f"{one[name]:.0%}" for name in ("held", "held_worst", "sigma"))
        text += row(one["of"], one["split"], *errors, *held, one["jobs"])
    kinds = [one for one in document["rows"] if one["split"] == "learned"]
    names = list({name: None for one in kinds for name in one["patterns"]})
    text += "\nBy learned watts, pattern by pattern: median error / intervals that hold / median sigma:\n\n"
    text += head("pattern", *(one["of"] for one in kinds))
    for name in names:
        found = (one["patterns"].get(name) for one in kinds)
        text += row(
            name,
            *(f"{this['median']:.1%} / {this['held']:.0%} / {this['sigma']:.0%}" if this else "" for this in found),
        )
    return re.sub(r"(?<=\d)%", " %", text)


SECTIONS = {
    "kernels": ("bench.json", kernels),
    "promises": ("bench.json", promises),
    "whole": ("bench.json", whole),
    "forms": ("bench.json", forms),
    "files": ("files.json", files),
    "growth": ("growth.json", growth),
    "history": ("history.json", history),
    "agent": ("agent.json", agent),
    "split": ("split.json", split),
}
"""Blocks of the pages: the file that each is made of, and how."""


def generated(page, numbers=NUMBERS):
    """A page with its generated blocks renewed; those of a file that is not there stay."""
    there = {name: (numbers / file, make) for name, (file, make) in SECTIONS.items() if (numbers / file).exists()}
    blocks = {name: make(json.loads(path.read_text(encoding="utf-8"))) for name, (path, make) in there.items()}
    return with_blocks(page, blocks)


if __name__ == "__main__":
    for one in PAGES:
        one.write_text(generated(one.read_text(encoding="utf-8")), encoding="utf-8")
