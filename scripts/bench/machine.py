"""What the kernel says of this machine and its processes."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class CpuTime:
    """CPU seconds of a process, all its threads together."""

    user: float = 0.0
    sys: float = 0.0

    def __sub__(self, earlier: CpuTime) -> CpuTime:
        return CpuTime(self.user - earlier.user, self.sys - earlier.sys)

    def __add__(self, other: CpuTime) -> CpuTime:
        return CpuTime(self.user + other.user, self.sys + other.sys)

    @property
    def total(self) -> float:
        return self.user + self.sys


def cpu_time(pid: int) -> CpuTime:
    """From /proc/PID/stat; in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return CpuTime(int(fields[11]) / _TICKS, int(fields[12]) / _TICKS)


def busy_time() -> float:
    """CPU seconds that all processes of the machine have used."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / _TICKS


def children_time() -> CpuTime:
    """CPU time of the processes that this one has started and waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return CpuTime(usage.ru_utime, usage.ru_stime)


def peak_rss(pid: int) -> int:
    """The most memory the process has had resident, in bytes (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def is_mounted(directory: Path) -> bool:
    """Whether something is mounted at `directory`; asks the kernel's table, never the mount."""
    wanted = str(directory).replace(" ", "\\040")
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == wanted for line in lines)


def drop_caches(*, names: bool = True) -> bool:
    """Empties the page cache, and lets the kernel forget names too; needs root."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n" if names else "1\n")
    except OSError:
        return False
    return True


def warm_memory(part: float = 0.25) -> None:
    """Touches memory, so that a virtual machine has it from its host before anything is measured.
    In a process of its own, which gives it back."""
    script = f"x = [b'1' * (64 << 20) for _ in range({int(_meminfo('MemAvailable') * part) >> 26})]"
    subprocess.run([sys.executable, "-c", script], check=False)


def describe() -> dict[str, str]:
    """Of this machine, what its figures depend on."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    flags = Path("/proc/cpuinfo").read_text()
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "virtual": "yes" if " hypervisor" in flags else "no",
        "memory": f"{_meminfo('MemTotal') / 2**30:.0f} GiB",
        "kernel": platform.release(),
    }


def _meminfo(name: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0
