"""Reports that nobody made, as an agent or a collector answers."""

from wattshed.agent.wire.parts import hnj_of, joules

MARCH_S = 1_772_323_200  # 2026-03-01T00:00:00Z
HOUR_S = 3600
KWH_J = 3_600_000


def row(name, energy_j, *, jobs=1, sigma_j=0.0, gpu_s=3600.0, **labels):
    """One row; energies are whole joules or decimal text."""
    hnj = hnj_of(str(energy_j))
    return {
        "name": name,
        "jobs": None if name.startswith("_") else jobs,
        "energy_j": joules(hnj),
        "static_j": joules(hnj // 4),
        "dynamic_j": joules(hnj - hnj // 4),
        "sigma_j": sigma_j,
        "active_s": gpu_s * 0.75,
        "held_s": gpu_s * 0.25,
        **labels,
    }


def report(rows, steps=None, step_s=None, by="user", **more):
    """Rows with the total that they have, and ``steps`` of (row, from_s, joules)."""
    sums = {name: joules(sum(hnj_of(one[name]) for one in rows)) for name in ("energy_j", "static_j", "dynamic_j")}
    sums |= {name: sum(one[name] for one in rows) for name in ("sigma_j", "active_s", "held_s")}
    sums["jobs"] = sum(one["jobs"] or 0 for one in rows)
    made = [] if steps is None else [[place, at, str(energy), 0.02 * float(energy)] for place, at, energy in steps]
    return {
        "schema": "wattshed.report/1", "host": "n1", "now_s": MARCH_S + 90_000.0, "by": by, "since_s": None,
        "until_s": None, "boundary": "board", "rows": rows, "total": sums, "step_s": step_s, "steps": made, **more,
    }  # fmt: skip


def day_of_prices(*prices, unit="EUR/kWh", quantity="price", marginal=False, estimated=()):
    """A tariff with a value an hour from the first of March on; None: no value."""
    from decimal import Decimal

    from wattshed.agent.inputs.tariffs.steps import TariffStep, tariff_of

    steps = [
        TariffStep(
            (MARCH_S + i * HOUR_S) * 1_000_000, (MARCH_S + (i + 1) * HOUR_S) * 1_000_000,
            None if value is None else Decimal(str(value)), estimated=i in estimated,
        )
        for i, value in enumerate(prices)
    ]  # fmt: skip
    return tariff_of(steps, "prices.csv", quantity, unit, "made up", marginal=marginal)
