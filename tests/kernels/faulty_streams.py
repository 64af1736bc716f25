"""Streams of readings with every fault that a meter is known for, as hypothesis draws them."""

from hypothesis import strategies as st

S = 1_000_000
CEILING, GAP = 1_050_000, 5 * S
STEPS = [0, 50_000, 100_000, 500_000, 690_000, S, 1_900_000, 3_400_000, 2 * S + 1, 4_900_000, GAP]
HOLES = [
    GAP + 1, 8 * S, 29 * S, 59 * S, 61 * S, 299 * S, 899 * S, 905 * S, 3_590 * S, 3_620 * S,
]  # fmt: skip
WATTS = [1, 60, 60, 150, 300, 300, 420, 699, 701, 1049]

KINDS = [
    *["both"] * 3, *["full and quick"] * 2, "power", "counter", "neither", "bad power", "stuck", "stuck and counts",
    "stuck and loses", "dip", "dip that counts", "zero", "reset", "jump", "jump that counts", "small jump", "hole",
    "hole", "hole and power", "hole and power", "hole in which it stood", "hole and old value", "hole and reset",
    "back in time", "noise",
]  # fmt: skip
"""What happens in one stretch of a stream: see `Meter.rows`."""


class Meter:
    """A GPU that uses energy, and what a faulty meter shows of it."""

    def __init__(self, base_mj):
        self.t, self.used, self.offset, self.shown = 0, 0, base_mj, base_mj

    def go_on(self, apart, watts):
        self.t += apart
        self.used += watts * apart

    @property
    def counter(self):
        return self.offset + self.used // 1000

    def rows(self, kind, count, apart, watts, away, size):
        """``count`` rows (time, average, instant, counter), ``apart`` from each other, of one kind."""
        held, begin = self.shown, self.counter
        if kind.startswith("hole"):
            self.go_on(away, watts)
        if kind in {"reset", "hole and reset"}:
            self.offset -= self.counter - size * watts
        if kind == "jump that counts":
            self.offset += size * 10**7
        if kind == "small jump":  # about what a board may use
            self.offset += size * watts * 250
        for i in range(count):
            self.go_on(apart, watts)
            if kind == "stuck and loses":
                self.offset -= watts * apart // 1000
            shown = self._shown(kind, i, count, held, begin, size)
            power = {"counter": -1, "neither": -1, "bad power": [0, -5, CEILING + size][i % 3]}.get(kind, watts * 1000)
            time = self.t - size * 100_000 if kind == "back in time" and i % 2 else self.t
            instant = power + size * 1000 if kind in {"full and quick", "stuck", "hole"} and power > 0 else -1
            if shown >= 0:
                self.shown = shown
            yield time, power, instant, shown

    def _shown(self, kind, i, count, held, begin, size):
        if kind in {"power", "neither", "hole and power"} or (kind == "full and quick" and i % 3):
            return -1
        old = kind == "hole and old value" and i < size
        if old or kind.startswith("stuck") or (kind == "hole in which it stood" and 2 * i < count):
            return held + (self.counter - held) // 2 if kind == "hole in which it stood" and size % 2 else held
        return {
            "dip": max(begin - 10**6, 0) // size,
            "dip that counts": max(self.counter - size * 100_000, 0),
            "zero": 0,
            "jump": begin + size * 10**9,
            "noise": max(self.counter + (-1) ** i * size * 5_000, 0),
        }.get(kind, self.counter)


@st.composite
def streams(draw, longest=14):
    """Rows of one GPU."""
    stretch = st.tuples(
        st.sampled_from(KINDS), st.integers(1, 9), st.sampled_from(STEPS), st.sampled_from(WATTS),
        st.sampled_from(HOLES), st.integers(1, 6),
    )  # fmt: skip
    meter, counter_alone = Meter(draw(st.sampled_from([0, 5_000, 10**7]))), draw(st.integers(0, 7)) == 7
    rows = [row for drawn in draw(st.lists(stretch, min_size=1, max_size=longest)) for row in meter.rows(*drawn)]
    return [(t, -1, -1, c) for t, _, _, c in rows] if counter_alone else rows
