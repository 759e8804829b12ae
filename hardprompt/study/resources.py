"""The cores, memory and GPUs of this machine, also inside a container, and the number of processes that they allow."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hardprompt.lm.memory import memory_bytes
from hardprompt.records.request import StudyRequest
from hardprompt.study.loaded_study import StudyInfo

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")

PROCESS_BYTES = 512 << 20
"""Memory of a process without model and budget: about 280 MB for the libraries (`runs/reliability.md`), the rest for data."""


@dataclass(frozen=True)
class MachineResources:
    """The resources of a machine.

    Attributes:
        cores: the cores that this process may use.
        memory: free memory, in bytes.
        gpus: the names of the GPUs in `CUDA_VISIBLE_DEVICES`.
    """

    cores: int
    memory: int
    gpus: tuple[str, ...] = ()

    @classmethod
    def detect(cls) -> "MachineResources":
        """The resources of this machine."""
        return cls(_cores(), _free_memory(), _gpus())


def scoring_bytes(request: StudyRequest) -> int:
    """The memory for scoring: the request's `memory` for each of its models."""
    return memory_bytes(request.memory) * len(request.lms)


def process_count(
    requested: int | None, machine: MachineResources, studies: Sequence[StudyInfo], runs: int, threads: int
) -> tuple[int, str]:
    """The number of processes that carry out runs at the same time.

    On CUDA there is one process for each GPU; on a GPU that is named by its number, and on MPS, there is one. On the CPU there
    is by default one for every `threads` cores, but never more than fit into the free memory, each with its weights and its
    whole memory budget for every model. The budget itself is never reduced, because the way a pass is split decides the last
    bits of a result.

    Args:
        requested: the number that the user wants; None for the default.
        machine: the resources of the machine.
        studies: the studies to run.
        runs: the number of runs that are not recorded yet.
        threads: the number of threads of every run.

    Returns:
        The number, and why it is smaller than the requested one (empty if it is not).

    Example:
        >>> from hardprompt.records.request import StudyRequest
        >>> info = StudyInfo(StudyRequest(), (), "category", "microworld", {}, (), 1800)
        >>> process_count(None, MachineResources(cores=8, memory=9 << 30), [info], runs=20, threads=1)
        (3, '')
        >>> process_count(8, MachineResources(cores=8, memory=9 << 30), [info], runs=20, threads=1)
        (3, '3 processes instead of 8: each may take 2.5 GB, and 9.0 GB are free; a smaller memory allows more processes')
    """
    devices = {study.request.device or ("cuda" if machine.gpus else "cpu") for study in studies}
    if single := devices - {"cpu", "cuda"}:
        return 1, f"one process: the recipe names a single device ({min(single)})" if (requested or 1) > 1 else ""
    if "cuda" in devices:
        wanted = requested or len(machine.gpus)
        possible, reason = len(machine.gpus), f"there are {len(machine.gpus)} GPUs"
    else:
        wanted = requested or max(1, machine.cores // threads)
        each = max(study.weight_bytes + scoring_bytes(study.request) for study in studies) + PROCESS_BYTES
        possible = max(1, machine.memory // each)
        reason = f"each may take {_gb(each)}, and {_gb(machine.memory)} are free; a smaller memory allows more processes"
    count = max(1, min(wanted, possible, runs))
    return count, f"{count} processes instead of {requested}: {reason}" if requested and possible < min(requested, runs) else ""


def _gb(size: int) -> str:
    return f"{size / (1 << 30):.1f} GB"


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, *period = _read(CGROUP / "cpu.max").split() or ["max"]
    return min(cores, max(1, int(quota) // int(period[0]))) if quota != "max" else cores


def _free_memory() -> int:
    """Free memory of the machine in bytes, or of its container if that has less."""
    free = [int(line.split()[1]) << 10 for line in _read(MEMINFO).splitlines() if line.startswith("MemAvailable:")]
    limit = _read(CGROUP / "memory.max").strip()
    if limit.isdecimal():
        stat = dict(line.split() for line in _read(CGROUP / "memory.stat").splitlines())
        used = int(_read(CGROUP / "memory.current") or 0) - int(stat.get("inactive_file", 0))  # the kernel reclaims the latter
        free.append(max(0, int(limit) - used))
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
