"""Several processes at one training, as ``torchrun`` starts them: each takes its share of every batch.

Gradients are averaged over the processes by PyTorch's own DistributedDataParallel, over gloo on processors and
NCCL on GPUs. One machine only, since the processes read and go on from one file.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import torch

# Before any group is made: its functions keep the group of the moment as their default, and with it its threads. They
# then run while the interpreter ends, and once in hundreds of runs abort a process that had finished (torch 2.13).
import torch.distributed.nn.functional
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

TIMEOUT: Final = timedelta(minutes=5)
"""For the others at one step, which takes less than a second: longer, and one of them is gone."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process among those that train together."""

    index: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """The one that writes and reports."""
        return self.index == 0

    def share(self, rows: Any) -> Any:
        """Take this process' rows of a batch."""
        return rows[self.index :: self.count]

    def together(self, network: nn.Module) -> nn.Module:
        """Wrap a network so that all processes step alike; alone it is the network itself."""
        if self.count == 1:
            return network
        placed = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=placed)


ALONE: Final = Ranks(0, 1, torch.device("cpu"))


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started; without it, work alone. A GPU is used where there is one."""
    count, index = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = _device(int(os.environ.get("LOCAL_RANK", "0")))
    if count == 1:
        yield Ranks(0, 1, device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield Ranks(index, count, device)
    finally:
        distributed.destroy_process_group()


def _device(local: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    # Without it cuBLAS may sum in another order each time, which deterministic algorithms refuse.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return torch.device("cuda", local)
