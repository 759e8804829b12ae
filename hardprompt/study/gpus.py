"""The published speed of GPUs, from which `hardprompt plan --gpu` estimates the time of a study.

The numbers are the peaks in the data sheets of NVIDIA, for dense matrices: float32 without tensor cores, and bfloat16 with
tensor cores and sums in float32. No study reaches the peak: `UTILIZATION` of it is assumed. The estimates were not compared
with runs on these GPUs.
"""

from dataclasses import dataclass

from hardprompt.errors import UnknownName

UTILIZATION = 0.1
"""Assumed share of the peak. Training of large models reaches 0.3 to 0.5; short texts in small batches reach much less."""


@dataclass(frozen=True)
class GPU:
    """A model of GPU.

    Attributes:
        name: its name, as for `--gpu`.
        float32, bfloat16: peak speed in 10^12 operations per second.
        memory: memory in 10^9 bytes.
    """

    name: str
    float32: float
    bfloat16: float
    memory: int

    @classmethod
    def named(cls, name: str) -> "GPU":
        """The GPU of a name.

        Raises:
            UnknownName: there is none.
        """
        if name.lower() not in GPUS:
            raise UnknownName("GPU", name, GPUS)
        return GPUS[name.lower()]

    def flops_per_second(self, dtype: str) -> float:
        """The assumed speed with weights of a type, in operations per second."""
        return UTILIZATION * 1e12 * (self.bfloat16 if dtype == "bfloat16" else self.float32)


GPUS = {
    gpu.name: gpu
    for gpu in (
        GPU("a10", 31.2, 125, 24),
        GPU("a100", 19.5, 312, 80),
        GPU("h100", 67, 989, 80),
        GPU("h200", 67, 989, 141),
        GPU("l4", 30.3, 121, 24),
        GPU("l40s", 91.6, 362, 48),
        GPU("rtx4090", 82.6, 165, 24),
    )
}
"""The known GPUs by name: A10, A100 SXM 80 GB, H100 SXM, H200 SXM, L4, L40S and GeForce RTX 4090."""


def flops(forward: float, backward: float, parameters: int) -> float:
    """Operations of passes over tokens: 2 for each parameter and token forward, 4 backward (Kaplan et al. 2020, section 2.1).

    >>> flops(forward=1000, backward=500, parameters=100)
    400000
    """
    return (2 * forward + 4 * backward) * parameters
