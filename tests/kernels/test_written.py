"""An entry says into which of its arrays it writes; one that is read-only is refused in every form.

Compiled code writes wherever it is told to: into a file that is mapped to be read it would end the process, and into a
column that somebody else keeps it would change what that one knows.
"""

import numpy as np
import pytest

from tests.depth import deep
from tests.kernels.battery import battery, shrink
from tests.kernels.billed import billed
from wattshed.kernels import load, shipped
from wattshed.kernels.records import objects, of_objects, write_back


def closed(array):
    """The same array, read-only."""
    view = array.view()
    view.flags.writeable = False
    return view


class Watched:
    """An entry in plain Python, which may only write where it says so, and of which is noted where it does."""

    def __init__(self, kernel):
        self.kernel, self.wrote, self.first = kernel, set(), None

    def __call__(self, *args):
        if self.first is None:
            self.first = [np.copy(value) if kind.dimensions else value for kind, value in self.pairs(args)]
        for place, (kind, value) in enumerate(self.pairs(args)):
            if kind.is_written and kind.record is None and value.size and place not in self.wrote:
                self._try(place, args)
        given = [
            kind.plain(closed(value) if kind.dimensions and not kind.is_written else value)
            for kind, value in self.pairs(args)
        ]
        with np.errstate(over="ignore"):
            result = self.kernel.function(*given)
        for place, (kind, value) in enumerate(self.pairs(args)):
            if kind.record is not None:
                if (of_objects(given[place], kind.record) != value).any():
                    self.wrote.add(place)
                write_back(value, given[place])
        return None if self.kernel.returns is None else self.kernel.returns.dtype.type(result).item()

    def pairs(self, args):
        """The kind of each argument, and the argument."""
        return list(zip(self.kernel.kinds, args, strict=True))

    def _try(self, place, args):
        """Run on copies, one of them read-only, and note it if plain Python stops there."""
        copies = [
            objects(value, kind.record) if kind.record else np.copy(value) if kind.dimensions else kind.plain(value)
            for kind, value in self.pairs(args)
        ]
        copies[place] = closed(copies[place])
        try:
            with np.errstate(over="ignore"):
                self.kernel.function(*copies)
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            self.wrote.add(place)


@pytest.fixture(scope="module")
def watched():
    """Every entry, after all the recordings of the tests of forms went through it in plain Python."""
    before = load.form().name
    load.use("off")
    entries = {name: Watched(kernel) for name, kernel in shipped.entries().items()}
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch.setattr)
        for one in entries.values():
            patch.setattr(one.kernel, "now", one)
        battery(rows=60)
        billed()
    load.use(before)
    return entries


def marked(kernel):
    """Which places of an entry are declared to be written."""
    return {place for place, kind in enumerate(kernel.kinds) if kind.is_written}


@deep
def test_exactly_what_plain_python_writes_is_marked(watched):
    assert all(one.first is not None for one in watched.values())
    assert {name: one.wrote for name, one in watched.items()} == {
        name: marked(one.kernel) for name, one in watched.items()
    }


@pytest.mark.parametrize("form", ["so", "objects", "numba", "off"])
def test_what_is_read_only_and_would_be_written_is_refused(watched, in_form, form):
    in_form(form)
    for one in watched.values():
        for place in marked(one.kernel):
            given = [np.copy(value) if isinstance(value, np.ndarray) else value for value in one.first]
            given[place].flags.writeable = False
            name = f"{one.kernel.parameters[place]} of {one.kernel.name}"
            with pytest.raises(ValueError, match=f"^{name} is written into, and is read-only$"):
                one.kernel(*given)
            for before, after in zip(one.first, given, strict=True):
                np.testing.assert_array_equal(before, after)
