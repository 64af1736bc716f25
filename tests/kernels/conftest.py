"""The library of all kernels, built once for all tests, and the form that a test runs in."""

import pytest

from wattshed.kernels import load
from wattshed.kernels.warm import warm_up


@pytest.fixture(scope="session")
def manifest(tmp_path_factory):
    """The manifest of the library of this version (``wattshed warm``, which ``make test`` calls, builds it)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WATTSHED_JIT", raising=False)
        library = warm_up()
    (found,) = [path for path in library.parent.glob("*.json") if library.name in path.read_text()]
    return found


@pytest.fixture
def in_form(manifest):
    """Run the kernels of this process in another form for a while."""
    before = load.form()

    def take(name):
        form = load.use(name)
        assert form.name == name, form.reason
        return form

    yield take
    load.use(before.name)
