"""pyarrow's functions on columns, loaded when the first of them is called: a plain table needs none.

Importing `pyarrow.compute` makes a Python function, with its documentation, of each of hundreds: a tenth of the time
that a replay takes to start.
"""

from __future__ import annotations

from typing import Any


class _Compute:
    """Stands for `pyarrow.compute`."""

    def __getattr__(self, name: str) -> Any:
        from pyarrow import compute  # noqa: PLC0415 - see above

        return getattr(compute, name)


pc: Any = _Compute()
