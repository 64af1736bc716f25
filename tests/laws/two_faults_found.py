"""Random examples of `two_faults` that failed once, and what each of them found."""

# The numbers are as they were drawn.

from tests.laws.two_faults import Drawn
from wattshed.agent.simulation.faults import ScriptedFault
from wattshed.agent.simulation.scenario import Gpu, NodeScenario
from wattshed.agent.simulation.workload import Job, Step

FOUND = {
    "every call hangs, on a GPU with four owners": Drawn(
        NodeScenario(
            (Gpu(architecture="ada", gain=-0.04, rows="latest"),),
            (
                Job(
                    "work1.service",
                    "systemd",
                    (0,),
                    39_700_000,
                    49_400_000,
                    load=(Step(5_900_000, 145_000, 29), Step(5_100_000, 130_000, 26), Step(5_200_000, 300_000, 60)),
                    uid=1001,
                ),
                Job(
                    "work2.service",
                    "systemd",
                    (0,),
                    0,
                    55_100_000,
                    load=(Step(600_000, 12_000, 6), Step(3_700_000, 58_000, 29)),
                    uid=1002,
                ),
                Job("shell3", "user", (0,), 0, 264_000_000, load=(Step(700_000, 448_000, 56),), uid=1003, forever=True),
                Job("400", "slurm", (0,), 0, 264_000_000, load=(Step(2_400_000, 270_000, 54),), uid=1004, forever=True),
            ),
            cycle_us=264_000_000,
            faults=(
                ScriptedFault("latency", 30_600_000, 31_300_000, gpu=0, value=400000.0),
                ScriptedFault("wedged", 27_500_000, 102_200_000),
            ),
        ),
        132_000_000,
    ),
    "a GPU is lost, after its sensor stood still": Drawn(
        NodeScenario(
            (Gpu(architecture="ga100", gain=0.04, accounting=True),),
            (
                Job(
                    "shell1",
                    "user",
                    (0,),
                    21_100_000,
                    35_000_000,
                    load=(Step(3_400_000, 392_000, 49), Step(7_500_000, 128_000, 16)),
                    uid=1001,
                ),
                Job(
                    "shell2",
                    "user",
                    (0,),
                    0,
                    336_000_000,
                    load=(Step(2_100_000, 312_000, 39), Step(4_900_000, 128_000, 16), Step(7_400_000, 120_000, 15)),
                    uid=1002,
                    forever=True,
                ),
                Job(
                    "work3.service",
                    "systemd",
                    (0,),
                    59_000_000,
                    102_500_000,
                    load=(Step(2_300_000, 32_000, 16), Step(2_400_000, 66_000, 33), Step(7_900_000, 70_000, 35)),
                    uid=1003,
                ),
            ),
            cycle_us=336_000_000,
            faults=(
                ScriptedFault("gpu-lost", 13_800_000, 88_500_000, gpu=0),
                ScriptedFault("frozen-power", 0, 12_700_000, gpu=0),
            ),
        ),
        168_000_000,
    ),
    "garbage on a shared GPU of the oldest kind": Drawn(
        NodeScenario(
            (
                Gpu(architecture="pascal", gain=-0.04, counter=False, rows="latest"),
                Gpu(architecture="turing", gain=0.04, rows="latest"),
            ),
            (
                Job("shell1", "user", (1,), 19_700_000, 229_100_000, load=(Step(5_100_000, 184_000, 23),), uid=1001),
                Job(
                    "8a6f1c52-53a1-4a0c-9d0e-000000000002",
                    "kubernetes",
                    (0, 1),
                    0,
                    456_000_000,
                    load=(Step(7_900_000, 160_000, 32), Step(1_100_000, 230_000, 46), Step(3_800_000, 175_000, 35)),
                    uid=1002,
                    forever=True,
                ),
                Job("300", "slurm", (0,), 0, 456_000_000, uid=1003, forever=True),
                Job(
                    "shell4",
                    "user",
                    (0, 1),
                    0,
                    456_000_000,
                    load=(Step(2_600_000, 160_000, 20), Step(3_400_000, 336_000, 42), Step(8_300_000, 440_000, 55)),
                    uid=1004,
                    forever=True,
                ),
            ),
            cycle_us=456_000_000,
            faults=(
                ScriptedFault("counter-stuck", 90_500_000, 91_200_000, gpu=1),
                ScriptedFault("garbage", 2_000_000, 2_700_000, gpu=0),
            ),
        ),
        228_000_000,
    ),
    "the devices are cut off twice": Drawn(
        NodeScenario(
            (Gpu(architecture="pascal", gain=-0.08, counter=False, accounting=True),),
            (
                Job(
                    "100",
                    "slurm",
                    (0,),
                    19_700_000,
                    72_700_000,
                    load=(Step(3_700_000, 62_000, 31), Step(8_400_000, 46_000, 23), Step(8_700_000, 94_000, 47)),
                    uid=1001,
                ),
                Job(
                    "shell2",
                    "user",
                    (0,),
                    0,
                    432_000_000,
                    load=(Step(6_300_000, 130_000, 26), Step(8_700_000, 110_000, 22)),
                    uid=1002,
                    forever=True,
                ),
                Job(
                    "8a6f1c52-53a1-4a0c-9d0e-000000000003",
                    "kubernetes",
                    (0,),
                    2_300_000,
                    27_200_000,
                    load=(Step(600_000, 64_000, 16),),
                    uid=1003,
                ),
                Job(
                    "000000000004",
                    "docker",
                    (0,),
                    21_800_000,
                    44_100_000,
                    load=(Step(5_100_000, 88_000, 11),),
                    uid=1004,
                ),
            ),
            cycle_us=432_000_000,
            faults=(
                ScriptedFault("cut-off", 44_200_000, 118_900_000, gpu=0),
                ScriptedFault("cut-off", 11_300_000, 15_000_000),
            ),
        ),
        216_000_000,
    ),
    "a counter is stuck right after a hole": Drawn(
        NodeScenario(
            (
                Gpu(architecture="ampere", gain=-0.08, accounting=True),
                Gpu(architecture="pascal", gain=-0.08, rows="latest", late_us=37_000_000),
            ),
            (
                Job(
                    "000000000001",
                    "docker",
                    (0, 1),
                    0,
                    360_000_000,
                    load=(Step(3_200_000, 424_000, 53),),
                    uid=1001,
                    forever=True,
                ),
                Job(
                    "shell2",
                    "user",
                    (0,),
                    15_700_000,
                    47_100_000,
                    load=(Step(9_000_000, 208_000, 26), Step(5_000_000, 432_000, 54), Step(6_300_000, 432_000, 54)),
                    uid=1002,
                ),
                Job(
                    "000000000003",
                    "docker",
                    (0, 1),
                    0,
                    360_000_000,
                    load=(Step(7_500_000, 112_000, 14),),
                    uid=1003,
                    forever=True,
                ),
            ),
            cycle_us=360_000_000,
            faults=(
                ScriptedFault("gpu-lost", 36_100_000, 64_800_000, gpu=0),
                ScriptedFault("counter-stuck", 69_300_000, 144_000_000),
            ),
        ),
        180_000_000,
    ),
    "a GPU hangs that has just come": Drawn(
        NodeScenario(
            (
                Gpu(architecture="ada", rows="active"),
                Gpu(architecture="pascal", gain=0.04, rows="active", late_us=37_000_000),
                Gpu(architecture="pascal", gain=0.08, rows="active"),
            ),
            (
                Job(
                    "shell1",
                    "user",
                    (0, 1, 2),
                    0,
                    384_000_000,
                    load=(Step(900_000, 68_000, 34), Step(7_500_000, 26_000, 13)),
                    uid=1001,
                    forever=True,
                ),
            ),
            cycle_us=384_000_000,
            faults=(
                ScriptedFault("counter-jump", 37_300_000, 41_000_000, gpu=1, value=1000000.0),
                ScriptedFault("wedged", 41_600_000, 88_300_000, gpu=1),
            ),
        ),
        192_000_000,
    ),
    "a counter falls by 800 J and comes back": Drawn(
        NodeScenario(
            (
                Gpu(gain=0.04, counter=False, accounting=True, rows="latest"),
                Gpu(architecture="ampere", gain=-0.08, rows="latest"),
                Gpu(architecture="ampere", gain=-0.08, rows="latest"),
            ),
            (
                Job(
                    "8a6f1c52-53a1-4a0c-9d0e-000000000001",
                    "kubernetes",
                    (0, 1, 2),
                    131_100_000,
                    144_300_000,
                    load=(Step(2_600_000, 400_000, 50), Step(2_500_000, 168_000, 21)),
                    uid=1001,
                ),
                Job("shell2", "user", (0, 1, 2), 45_400_000, 72_600_000, load=(Step(500_000, 224_000, 28),), uid=1002),
                Job(
                    "000000000003",
                    "docker",
                    (2,),
                    29_600_000,
                    85_600_000,
                    load=(Step(500_000, 290_000, 58), Step(8_200_000, 85_000, 17), Step(1_700_000, 245_000, 49)),
                    uid=1003,
                ),
                Job(
                    "work4.service",
                    "systemd",
                    (2,),
                    0,
                    384_000_000,
                    load=(Step(2_100_000, 92_000, 46),),
                    uid=1004,
                    forever=True,
                ),
            ),
            cycle_us=384_000_000,
            faults=(
                ScriptedFault("counter-dip", 100_000_000, 112_700_000, gpu=1, value=400.0),
                ScriptedFault("counter-dip", 100_000_000, 112_700_000, gpu=1, value=400.0),
            ),
        ),
        192_000_000,
    ),
    "a counter falls by 400 J and comes back, and later it is reset": Drawn(
        NodeScenario(
            (
                Gpu(architecture="ga100", gain=-0.04, accounting=True, rows="latest"),
                Gpu(architecture="ga100", gain=-0.04, accounting=True, rows="latest"),
            ),
            (
                Job("100", "slurm", (0, 1), 0, 264_000_000, load=(Step(500_000, 10_000, 5),), uid=1001, forever=True),
                Job(
                    "8a6f1c52-53a1-4a0c-9d0e-000000000002",
                    "kubernetes",
                    (0,),
                    0,
                    264_000_000,
                    load=(Step(6_000_000, 165_000, 33),),
                    uid=1002,
                    forever=True,
                ),
                Job("300", "slurm", (0, 1), 0, 264_000_000, load=(Step(500_000, 10_000, 5),), uid=1003, forever=True),
            ),
            cycle_us=264_000_000,
            faults=(
                ScriptedFault("counter-reset", 104_600_000, 133_300_000, gpu=1),
                ScriptedFault("counter-dip", 6_500_000, 35_200_000, gpu=1, value=400.0),
            ),
        ),
        132_000_000,
    ),
}
