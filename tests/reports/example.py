"""The history and the prices that docs/report.md shows reports of."""

from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO

from tests.history.made_up import DAY_US, HOUR_US, MARCH_US, MODELS, job, opened, part
from wattshed.agent.wire.parts import Doubt

NOW_S = MARCH_US / 1e6 + 10 * 86_400
USERS = {"ada": "physics", "bob": "physics", "cy": "chemistry", "dora": "biology", "eli": "biology"}
REST_W = 70
PRICES = "prices.csv"


def write(folder):
    """Write ``history.db``, ten days of three GPUs, and a price for each hour of all days but the last."""
    names = list(USERS)
    jobs, parts = {}, []
    for hour in range(240):
        for number, gpu in enumerate(MODELS):
            begin_us = MARCH_US + hour * HOUR_US
            user = names[(hour // (5 + number) + number) % len(names)]
            key, watts = f"slurm:{4000 + hour // 24 * 10 + names.index(user)}", 180 + (hour * 37 + number * 91) % 460
            if (hour + 3 * number) % 9 == 0:
                key, watts = ("_idle", REST_W) if hour % 18 else ("_unattributed", 90)
            else:
                start_us = MARCH_US + hour // 24 * DAY_US
                jobs[key, MARCH_US] = replace(
                    job(key, end_us=start_us + DAY_US, user=user, account=USERS[user], partition="gpu"),
                    start_us=start_us,
                )
            one = part(len(parts) + 1, key, begin_us=begin_us, joules=watts * 3600, gpu=gpu)
            one = replace(one, doubt=Doubt(watts * 3600 * 0.02))
            parts.append(
                one if key.startswith("_") else replace(one, held_us=HOUR_US // 10, active_us=HOUR_US * 9 // 10)
            )
    opened(folder / "history.db").add(parts, jobs, MODELS)
    rows = ["start,end,price"]
    for hour in range(216):
        day, of_day = divmod(hour, 24)
        price = (12 + 9 * (7 <= of_day < 22) - 16 * (11 <= of_day < 15) + day) / 100
        rows.append(f"{MARCH_US // 1_000_000 + hour * 3600},{MARCH_US // 1_000_000 + (hour + 1) * 3600},{price:.2f}")
    (folder / PRICES).write_text("\n".join(rows) + "\n")


def page_of(folder):
    """Write all of it into a new folder, and the page of the document's report by user; returns the page's path."""
    from wattshed.agent.__main__ import main

    folder.mkdir()
    write(folder)
    page = folder / "report.html"
    words = f"report --by user --store {folder}/history.db --price {folder}/{PRICES} --currency EUR --pue 1.3"
    with redirect_stdout(StringIO()):
        main([*words.split(), "--carbon", "350", "--until", "2026-03-11T00:00Z", "--html", str(page)])
    return page
