"""From the host to a device."""

import torch


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy of a tensor of the host on a device. Nothing waits: a copy to a GPU is made from pinned memory.

    Where a GPU is torch's default device, what was to be of the host is there already.
    """
    is_copied = device.type == "cuda" and tensor.device.type == "cpu"
    return (tensor.pin_memory() if is_copied else tensor).to(device, non_blocking=True)
