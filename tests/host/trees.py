"""Small trees that stand for ``/sys``, as kernels show them on hosts of several kinds; all numbers are invented."""

import errno

WIDE, NARROW = 262_143_328_850, 65_532_610_987


class Tree:
    """Files by path, which a test may change, take away, or make fail."""

    def __init__(self, files):
        self.files = {path: text if isinstance(text, bytes) else f"{text}\n".encode() for path, text in files.items()}
        self.fails = {}
        self.reads = []
        self.closed = False

    def names(self, folder):
        below = f"{folder}/"
        return sorted({path.removeprefix(below).split("/")[0] for path in self.files if path.startswith(below)})

    def read(self, path):
        self.reads.append(path)
        if path in self.fails:
            raise OSError(self.fails[path], "refused")
        if path not in self.files:
            raise OSError(errno.ENOENT, "not there")
        return self.files[path]

    def close(self):
        self.closed = True

    def write(self, path, text):
        self.files[path] = f"{text}\n".encode()


def zone(number, name, energy_uj, wrap_uj=WIDE, prefix="intel-rapl"):
    """One zone of powercap."""
    at = f"class/powercap/{prefix}:{number}"
    return {f"{at}/name": name, f"{at}/energy_uj": energy_uj, f"{at}/max_energy_range_uj": wrap_uj}


def socket(number, oem, power_uw, interval_ms=50):
    """One meter of ACPI: the attributes are those of the device."""
    at = f"class/hwmon/hwmon{number}"
    return {
        f"{at}/name": "power_meter",
        f"{at}/device/power1_average": power_uw,
        f"{at}/device/power1_average_interval": interval_ms,
        f"{at}/device/power1_oem_info": oem,
        f"{at}/device/power1_is_battery": 0,
    }


SERVER = {
    **zone("0", "package-0", 5_000_111),
    **zone("0:0", "dram", 900_000, NARROW),
    **zone("1", "package-1", 7_000_222),
    **zone("1:0", "dram", 800_000, NARROW),
    "class/powercap/intel-rapl/enabled": 1,
    "devices/system/node/node0/meminfo": "Node 0 MemTotal:       67108864 kB\nNode 0 MemFree: 1 kB",
    "devices/system/node/node1/meminfo": "Node 1 MemTotal:       67108864 kB",
}
LAPTOP = {
    **zone("0", "package-0", 41),
    **zone("0:0", "core", 11),
    **zone("0:1", "uncore", 12),
    **zone("0:2", "dram", 13),
    **zone("1", "psys", 99),
    **zone("0", "package-0", 42, prefix="intel-rapl-mmio"),
}
EPYC = {
    **zone("0", "package-0", 64_000_000_000, NARROW),
    **zone("0:0", "core", 30_000_000_000, NARROW),
    **zone("1", "package-1", 1_000, NARROW),
    **zone("1:0", "core", 500, NARROW),
}
TWO_DIES = {
    **zone("0", "package-0-die-0", 1),
    **zone("0:0", "dram", 2),
    **zone("1", "package-0-die-1", 3),
    **zone("1:0", "dram", 4),
}
SUPERCHIP = {
    **socket(3, "Module Power Socket 0", 500_000_000),
    **socket(4, "Grace Power Socket 0", 120_000_400),
    **socket(5, "CPU Power Socket 0", 60_000_500),
    **socket(6, "SysIO Power Socket 0", 20_000_000, 1000),
}
TRAY = {
    path: text
    for place in (0, 1)
    for number, (kind, watts) in enumerate((("Grace", 140), ("CPU", 110), ("SysIO", 8)))
    for path, text in socket(3 * place + number, f"{kind} Power Socket {place}", watts * 1_000_000).items()
}
UNLABELLED = socket(2, "", 700_000_000, 1000)
CHIPS = {
    "class/hwmon/hwmon0/name": "coretemp",
    "class/hwmon/hwmon0/power1_input": 1,
    "class/hwmon/hwmon1/name": "ina3221",
    "class/hwmon/hwmon1/power1_input": 5_000_000,
    "class/hwmon/hwmon1/power1_average": 4_000_000,
    "class/hwmon/hwmon1/power1_label": "VDD IN",
    "class/hwmon/hwmon2/name": "ina3221",
    "class/hwmon/hwmon2/power1_input": 6_000_000,
    "class/hwmon/hwmon2/power1_label": "VDD IN",
    "class/hwmon/hwmon3/name": "amd_energy",
    "class/hwmon/hwmon3/energy1_input": 10,
    "class/hwmon/hwmon3/energy1_label": "Ecore000",
    "class/hwmon/hwmon3/energy65_input": 1_000,
    "class/hwmon/hwmon3/energy65_label": "Esocket0",
    "class/hwmon/hwmon4/name": "adm1278",
    "class/hwmon/hwmon4/power1_input": 7_000_000,
    "class/hwmon/hwmon5/name": "BAT0",
    "class/hwmon/hwmon5/power1_input": 8_000_000,
}
CRAY = {
    "cray/pm_counters/energy": "1000 J 1700000000000000 us",
    "cray/pm_counters/power": "900 W 1700000000000000 us",
    "cray/pm_counters/cpu_energy": "200 J 1700000000000000 us",
    "cray/pm_counters/memory_energy": "50 J 1700000000000000 us",
    "cray/pm_counters/accel0_energy": "300 J 1700000000000000 us",
    "cray/pm_counters/accel3_energy": "310 J 1700000000000000 us",
    "cray/pm_counters/freshness": 7,
}
