"""A pretended Apple GPU on the CPU: its device is "mps", and it has no float64.

A tensor of the device is a DeviceTensor, and so is everything that is computed from it, until it is
moved to the CPU. Operations on float64 there fail, and so does ``.numpy()``, as on a real one.
"""

from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

MPS = torch.device("mps", 0)
CPU = torch.device("cpu")


class DeviceTensor(torch.Tensor):
    """A tensor of the device."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {}, True)


class PretendedDevice(TorchFunctionMode):
    """While it is active, tensors can be made on the device and moved to it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return _run(func, args, kwargs, any(isinstance(v, DeviceTensor) for v in _tensors(args)))


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], on_device: bool) -> Any:
    name = getattr(func, "__name__", "")
    getter = getattr(func, "__self__", None)
    if getter is torch.Tensor.device and on_device:
        return MPS
    target = next(filter(None, map(_device, (*args, *kwargs.values()))), None)
    if name == "to" and len(args) > 1 and isinstance(args[1], torch.Tensor):
        target = MPS if isinstance(args[1], DeviceTensor) else CPU
    if name == "cpu":
        target = CPU
    on_device = target.type == "mps" if target is not None else on_device
    if name == "numpy" and on_device:
        raise TypeError("a tensor of the device must be moved to the CPU first")
    args = tuple(CPU if _device(value) else value for value in args)
    kwargs = {key: CPU if _device(value) else value for key, value in kwargs.items()}
    with torch._C.DisableTorchFunctionSubclass():
        result = func(*args, **kwargs)
        if on_device and getter is None:
            wide = [v for v in (*_tensors(args), *_tensors((result,))) if v.dtype == torch.float64]
            if wide and target is not CPU:
                raise TypeError(f"{name}: the device has no float64")
        return _wrapped(result, DeviceTensor if on_device else torch.Tensor)


def _wrapped(value: Any, kind: type[torch.Tensor]) -> Any:
    if isinstance(value, nn.Parameter):
        return value if kind is DeviceTensor else value.detach().as_subclass(kind)
    if isinstance(value, torch.Tensor):
        if torch._C._functorch.is_functorch_wrapped_tensor(value):
            return value
        return value.as_subclass(kind)
    if type(value) in (list, tuple):
        return type(value)(_wrapped(part, kind) for part in value)
    return value


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in values if isinstance(value, torch.Tensor)]


def _device(value: Any) -> torch.device | None:
    if isinstance(value, torch.device):
        return value
    if isinstance(value, str) and value.partition(":")[0] in ("cpu", "mps"):
        return torch.device(value)
    return None


def move(model: nn.Module) -> None:
    """Move the parameters and buffers of a model to the device, in place."""
    for module in model.modules():
        for name, weight in list(module._parameters.items()):
            if weight is not None:
                moved = weight.detach().as_subclass(DeviceTensor)
                module._parameters[name] = nn.Parameter(moved, requires_grad=False)
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = buffer.as_subclass(DeviceTensor)
