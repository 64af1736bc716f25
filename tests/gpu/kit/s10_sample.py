"""A recording of a training-like and an inference-like load, small enough to be the project's own sample."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from . import agents
from .checking import decide
from .loads import Load, Session, part_ways, square
from .scrubbing import scrub, secrets

if TYPE_CHECKING:
    from pathlib import Path

PREDICTION = (
    "A minute of one card at the default rates takes 100 to 300 kB as segments and 10 to 40 kB as Parquet; segments "
    "and Parquet replay to the same joules, job by job; the two jobs are told apart and named after their programs; "
    "neither the host's name nor anything that names the card stands in the recording."
)
LEAST_S, AROUND_S = 5.0, 20.0  # of a recording that is cut short; what starting, replaying and converting take


def loads(length: float) -> list[Load]:
    """Steps of 1.6 s with a pause for the optimiser, a checkpoint in the middle; and requests that come at random."""
    train, at = [], 0.05 * length
    while at < 0.62 * length:
        if 0.30 * length < at < 0.36 * length:
            at = 0.36 * length
        train.append(square(at, at + 1.1, "full", 0.05, 0.046))
        train.append(square(at + 1.1, at + 1.45, "mid", 0.05, 0.03))
        at += 1.6
    serve = [square(0.45 * length, 0.93 * length, "full", 0.25, 0.06, seed=11)]
    return [Load("kit-train", train, late=True), Load("kit-serve", serve, late=True)]


def record(kit, folder: Path) -> float:
    """Record both loads; returns the length, s."""
    length = min(kit.seconds(60, 6), max(LEAST_S, kit.left - AROUND_S))
    session = Session(kit, loads(length), "sample")
    parted = part_ways(session) if not kit.simulated else "simulated"
    script = session.script(1.0)  # the simulated schedule begins with the agent's own start
    session.go()
    arguments = ("record", "--meter", agents.meter(kit, script), "--for", f"{length:.1f}", str(folder))
    code, _, err, took = agents.call(kit, *arguments, limit_s=length + 15)
    session.finish(within_s=1)
    kit.keep("record.log", err)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    made = {"exit": code, "seconds": took, "bytes": size, "bytes_a_minute": round(size * 60 / length)}
    about = {load.name: load.about for load in session.loads}
    kit.put(record=made | {"said": scrub(err[-300:])}, cgroups=parted, loads=about)
    return length


def texts(table: Path) -> set[str]:
    """Every text in a Parquet file: names and values of columns, and what is said about it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: set[str] = set()

    def take(values) -> None:
        kind = values.type
        if pa.types.is_dictionary(kind):
            take(values.dictionary)
        elif pa.types.is_struct(kind):
            for part in values.flatten():
                take(part)
        elif pa.types.is_nested(kind):  # lists; a map is a list of pairs
            take(values.flatten())
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
            found.update(str(value) for value in values.unique().to_pylist() if value is not None)

    read = pq.read_table(table)
    found.update(read.column_names)
    for column in read.columns:
        for chunk in column.chunks:
            take(chunk)
    metadata = read.schema.metadata or {}
    return found | {part.decode(errors="replace") for pair in metadata.items() for part in pair}


def identifying(files: list[Path], said: set[str]) -> list[str]:
    """What of this host and this card stands in the files, byte for byte, or in their texts; by its kind of place."""
    names = [name.encode() for name in secrets()]
    found = [f"bytes of {file.name}" for file in files if any(name in file.read_bytes() for name in names)]
    return found + [f"text: {scrub(text)}" for text in sorted(said) if any(name.decode() in text for name in names)]


def measure(kit) -> None:
    """Record, replay, convert, replay again, and look for names."""
    folder, parquet = kit.raw / "trace", kit.raw / "sample.parquet"
    length = record(kit, folder)
    told = agents.replay(kit, str(folder))
    kit.put(replay=told)
    code, _, err, _ = agents.call(kit, "convert", str(folder), str(parquet), limit_s=20)
    again = agents.replay(kit, str(parquet)) if code == 0 else {"said": scrub(err[-300:])}
    small = parquet.stat().st_size if parquet.exists() else None
    kit.put(parquet={"exit": code, "bytes": small, "replay": again})
    files = [file for file in folder.rglob("*") if file.is_file()] + [parquet] * bool(small)
    said = texts(parquet) if small else set()
    named = identifying(files, said)
    kit.put(texts=sorted(text for text in said if len(text) < 200), identifying=named)
    if named:  # what names somebody does not leave the machine
        shutil.rmtree(folder)
        parquet.unlink(missing_ok=True)
    elif folder.exists():
        shutil.make_archive(str(kit.raw / "trace"), "gztar", folder)
    judge(kit, told, again, length)


def judge(kit, told: dict, again: dict, length: float) -> None:
    """Check the prediction's parts."""
    size, small = kit.result["record"]["bytes"], kit.result["parquet"]["bytes"]
    jobs = {str(name).rsplit("/", 1)[-1] for name in told.get("jobs", {})}
    checks = {
        "replay": told.get("exit") == 0 and again.get("exit") == 0,
        "same joules": all(told.get(name) == again.get(name) for name in ("total_j", "jobs")),
        "two jobs": {"kit-train", "kit-serve"} <= jobs,
        "no names": not kit.result["identifying"],
        "segments' size": 100e3 <= size * 60 / length <= 300e3,
        "Parquet's size": small is not None and 10e3 <= small * 60 / length <= 40e3,
    }
    decide(
        kit,
        checks,
        f"{length:.0f} s in {size} bytes as segments, {small} as Parquet; {told.get('total_j')} J, jobs {sorted(jobs)}",
    )
