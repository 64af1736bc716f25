"""A state that a newer agent wrote: kept whole for that one; this one says so in a line, and starts from zero."""

import errno
import json
import zlib

import pytest

from tests.accounts.test_books import book, live, published
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.accounts.whole_state import VERSION

NEWER = VERSION + 1


def written_by_a_newer_one(folder):
    """A state, the one before, and the changes after them, of a version that comes; the bytes by name."""
    file, accounts = StateFile(folder, "h", "boot"), book(live(5))
    file.save(accounts, Calibrator(), 1)
    for n in (5, 10):
        book(live(5, start=n), accounts)
        file.save(accounts, Calibrator(), n, final=n == 5)
    file.release()
    for name in ("state.json", "state.before"):
        body = (folder / name).read_bytes().partition(b"\n")[2]
        body = json.dumps({"unheard_of": 1, **json.loads(body)}).encode()
        head = f"wattshed-state {NEWER} {zlib.crc32(body):08x} {len(body)}\n".encode()
        (folder / name).write_bytes(head + body)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix != ".lock"}


def test_it_is_kept_and_nothing_of_it_is_taken(tmp_path):
    wrote = written_by_a_newer_one(tmp_path)
    assert {"state.json", "state.before", "state.journal"} <= set(wrote)
    file, accounts = StateFile(tmp_path, "h", "boot"), Accounts()
    found = file.restore(accounts, Calibrator())
    assert (found.found, accounts.gpus) == (False, {})
    kept = tmp_path / f"state-version-{NEWER}"
    (problem,) = found.problems
    assert problem == (
        f"{tmp_path / 'state.json'}: written by a newer wattshed (state version {NEWER}; this one reads 1 to "
        f"{VERSION}); kept in {kept}, totals start from zero"
    )
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == wrote

    # This one's own totals go on from here, and a later restart says nothing more.
    mine = book(live(5, start=20), accounts)
    file.save(mine, Calibrator(), 2)
    again = Accounts()
    found = StateFile(tmp_path, "h", "boot").restore(again, Calibrator())
    assert (found.found, found.problems, published(again)) == (True, (), published(mine))
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == wrote


def test_a_second_one_is_kept_beside_the_first(tmp_path):
    for n in (1, 2):
        wrote = written_by_a_newer_one(tmp_path)
        StateFile(tmp_path, "h", "boot").restore(Accounts(), Calibrator())
        kept = tmp_path / f"state-version-{NEWER}{'-2' * (n == 2)}"
        assert {path.name: path.read_bytes() for path in kept.iterdir()} == wrote


def test_where_nothing_can_be_moved_it_still_starts_and_never_saves_over_it(tmp_path, monkeypatch):
    wrote = written_by_a_newer_one(tmp_path)
    file = StateFile(tmp_path, "h", "boot")
    with monkeypatch.context() as readonly:
        refuse = OSError(errno.EROFS, "Read-only file system")
        readonly.setattr("pathlib.Path.mkdir", lambda *_, **__: (_ for _ in ()).throw(refuse))
        found = file.restore(Accounts(), Calibrator())
        assert not found.found
        (problem,) = found.problems
        assert "it cannot be moved away (Read-only file system)" in problem
        assert "kept in" not in problem
        with pytest.raises(OSError, match="Read-only"):
            file.save(book(live(5)), Calibrator(), 2)
        assert {name: (tmp_path / name).read_bytes() for name in wrote} == wrote
    file.save(book(live(5)), Calibrator(), 3)
    kept = tmp_path / f"state-version-{NEWER}"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == wrote
    assert StateFile(tmp_path, "h", "boot").restore(Accounts(), Calibrator()).found
