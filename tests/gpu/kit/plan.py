"""The steps in their order: name, module, seconds that it takes on a card, seconds after which it is ended."""

STEPS = {
    1: ("check", "s01_check", 36, 60),
    2: ("rows", "s02_rows", 43, 60),
    3: ("periods", "s03_periods", 14, 26),
    4: ("waves", "s04_waves", 41, 56),
    5: ("sharing", "s05_sharing", 47, 75),
    6: ("observer", "s06_observer", 52, 70),
    7: ("kernels", "s07_kernels", 75, 115),
    8: ("answers", "s08_answers", 19, 34),
    9: ("decay", "s09_decay", 43, 60),
    10: ("sample", "s10_sample", 72, 95),
    11: ("unlike", "s11_unlike", 52, 75),
}
BUDGET_S = 510.0
SCALE_SIMULATED = 0.4
