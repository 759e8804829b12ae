"""What this machine has for a study: cores, memory and GPUs, also inside a container; and how many runs go at once on it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hardprompt.lm.memory import memory_bytes
from hardprompt.study.loaded_study import StudyInfo

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")

PROCESS_BYTES = 512 << 20
"""Of a process without its model and its budget: 250 MB are the libraries (`runs/reliability.md`), the rest is for data."""


@dataclass(frozen=True)
class Machine:
    """Cores, bytes of free memory, and the GPUs by the names that `CUDA_VISIBLE_DEVICES` has for them."""

    cores: int
    memory: int
    gpus: tuple[str, ...] = ()

    @classmethod
    def here(cls) -> "Machine":
        """This one."""
        return cls(_cores(), _free_memory(), _gpus())


def processes(asked: int | None, machine: Machine, studies: Sequence[StudyInfo], runs: int, threads: int) -> tuple[int, str]:
    """How many processes work at once, and why not as many as were asked for (empty where they are).

    On CUDA there is one for each GPU. Elsewhere there are by default as many as there are cores for, and never more than fit
    into the free memory, each with its weights and its whole budget: how a pass is cut decides the last bits of a result, so it
    is the number of processes that gives way and not the budget.

    >>> from hardprompt.study import StudyRequest
    >>> opened = StudyInfo(StudyRequest(), (), "category", "microworld", {}, 1800)
    >>> processes(None, Machine(cores=8, memory=9 << 30), [opened], runs=20, threads=1)
    (3, '')
    >>> processes(8, Machine(cores=8, memory=9 << 30), [opened], runs=20, threads=1)
    (3, '3 processes instead of 8: each may take 2.5 GB, and 9.0 GB are free; a smaller memory makes room for more')
    """
    devices = {study.request.device or ("cuda" if machine.gpus else "cpu") for study in studies}
    if devices - {"cpu", "cuda"}:
        return 1, "one process: the recipe names a GPU by its number" if (asked or 1) > 1 else ""
    if "cuda" in devices:
        wanted = asked or len(machine.gpus)
        room, why = len(machine.gpus), f"there are {len(machine.gpus)} GPUs"
    else:
        wanted = asked or max(1, machine.cores // threads)
        each = max(study.weight_bytes + memory_bytes(study.request.memory) for study in studies) + PROCESS_BYTES
        room = max(1, machine.memory // each)
        why = f"each may take {_gb(each)}, and {_gb(machine.memory)} are free; a smaller memory makes room for more"
    count = max(1, min(wanted, room, runs))
    return count, f"{count} processes instead of {asked}: {why}" if asked and room < min(asked, runs) else ""


def _gb(size: int) -> str:
    return f"{size / (1 << 30):.1f} GB"


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, *period = _read(CGROUP / "cpu.max").split() or ["max"]
    return min(cores, max(1, int(quota) // int(period[0]))) if quota != "max" else cores


def _free_memory() -> int:
    """What is free of the machine, and of what its container may take."""
    free = [int(line.split()[1]) << 10 for line in _read(MEMINFO).splitlines() if line.startswith("MemAvailable:")]
    limit = _read(CGROUP / "memory.max").strip()
    if limit.isdecimal():
        stat = dict(line.split() for line in _read(CGROUP / "memory.stat").splitlines())
        taken = int(_read(CGROUP / "memory.current") or 0) - int(stat.get("inactive_file", 0))  # the latter makes way
        free.append(max(0, int(limit) - taken))
    return min(free) if free else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _gpus() -> tuple[str, ...]:
    import torch

    count = torch.cuda.device_count()
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(visible[:count] or map(str, range(count)))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
