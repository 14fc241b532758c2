"""Where layers and tensors go: layers to devices by proportions, then single tensors to the host or elsewhere by pattern."""

import re
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from ullage.catalog.tensor_formats import F32
from ullage.domain.case import Case
from ullage.domain.checkpoint import Part, Role, Tensor
from ullage.domain.machine import Device
from ullage.engines.llama_cpp.resolve import accelerators, layer_count
from ullage.engines.llama_cpp.tensor_names import DENSE, EXPERTS, gguf_name, read_overrides
from ullage.engines.llama_cpp.versions import CONTEXT

ON_HOST = "cpu-buffer"  # not a device's id: the host's memory, whatever that is called
_TOWERS = frozenset({Role.VISION, Role.PROJECTOR})
_INPUT = frozenset({Role.EMBEDDING, Role.POSITION})


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """For each layer its device's id; the output layer's; and the bytes of weights on each, ``ON_HOST`` among them."""

    layers: tuple[str, ...]
    output: str
    weights: tuple[tuple[str, int], ...]
    largest_moved: int  # bytes of the largest tensor of the host that a device's batches may bring over

    def weights_on(self, device: str) -> int:
        """Bytes of weights there."""
        return dict(self.weights).get(device, 0)

    def layers_on(self, device: str) -> tuple[int, ...]:
        """The layers whose cache lies there."""
        return tuple(index for index, where in enumerate(self.layers) if where == device)


def free_bytes(device: Device) -> int:
    """What the engine finds free on a device, its own driver context taken off."""
    return max(1, device.total_bytes - device.reserved_bytes - (CONTEXT.value if device.kind in {"cuda", "rocm"} else 0))


def proportions(case: Case) -> tuple[float, ...]:
    """Shares of the devices: as said, else their free memory."""
    devices = accelerators(case)
    words = (case.settings.text("tensor_split") or "").split(",")
    said = [float(word) for word in words if word.strip()][: len(devices)]
    said += [0.0] * (len(devices) - len(said))
    return tuple(said) if any(said) else tuple(float(free_bytes(device)) for device in devices)


def layer_devices(case: Case) -> tuple[str, ...]:
    """The device of every layer and, last, of the output layer."""
    devices, total = accelerators(case), layer_count(case) + 1
    offloaded = min(case.settings.integer("n_gpu_layers") or 0, total) if devices else 0
    shares = proportions(case)
    sums = [sum(shares[: index + 1]) for index in range(len(shares))]
    ends = [part / sums[-1] for part in sums] if sums else []
    first = total - offloaded
    found = [ON_HOST] * first
    for index in range(offloaded):
        if case.settings.text("split_mode") in {"row", "tensor", "graph"}:
            found.append(devices[min(case.settings.integer("main_gpu") or 0, len(devices) - 1)].id)
        else:
            found.append(devices[min(bisect_right(ends, index / offloaded), len(devices) - 1)].id)
    return tuple(found)


def tensor_bytes(tensor: Tensor) -> int:
    """Bytes in a GGUF file: what is no matrix is kept in 32 bits."""
    if len(tensor.shape) < 2 and tensor.part in {Part.WEIGHT, Part.BIAS} and tensor.format.block_elements == 1:  # noqa: PLR2004 - vectors
        return F32.nbytes(prod(tensor.shape)) * tensor.copies
    return tensor.nbytes


def _is_loaded(case: Case, tensor: Tensor) -> bool:
    """Towers are a file of their own, and draft layers are left out unless asked for."""
    if tensor.role in _TOWERS:
        return case.settings.text("mmproj") is not None
    return tensor.role is not Role.MTP or bool(case.settings.integer("spec_draft_n_max"))


@lru_cache(maxsize=128)
def place(case: Case) -> Placement:
    """Every tensor of a settled case."""
    devices = layer_devices(case)
    layers, output = devices[:-1], devices[-1]
    nbytes: dict[str, int] = defaultdict(int)
    largest = 0
    tensors = [tensor for tensor in case.model.checkpoint.tensors if _is_loaded(case, tensor)]
    has_head = any(tensor.role is Role.HEAD for tensor in tensors)
    ties = case.model.architecture.is_decoder and not has_head and output != ON_HOST
    for tensor in tensors:
        usual = _usual(tensor, layers, output)
        where = _moved(case, tensor, usual)
        size = tensor_bytes(tensor)
        for device, part in _rows(case, tensor, where, size):
            nbytes[device] += part
        if ties and tensor.role is Role.EMBEDDING and tensor.layer is None and _is_token_table(tensor):
            nbytes[output] += size  # tied: the output needs the same matrix on its device
        if where == ON_HOST and tensor.layer is not None and accelerators(case):
            largest = max(largest, size)
    return Placement(layers=layers, output=output, weights=tuple(nbytes.items()), largest_moved=largest)


def _is_token_table(tensor: Tensor) -> bool:
    return "per_layer" not in tensor.name


def _usual(tensor: Tensor, layers: tuple[str, ...], output: str) -> str:
    if tensor.role in _INPUT and tensor.layer is None:
        return ON_HOST  # the token table stays with the CPU
    if tensor.layer is not None and tensor.layer < len(layers):
        return layers[tensor.layer]
    if tensor.role in _TOWERS:
        return next((device for device in (*layers, output) if device != ON_HOST), ON_HOST)
    return output


_EXPERT, _DENSE = re.compile(EXPERTS), re.compile(DENSE)


def _moved(case: Case, tensor: Tensor, usual: str) -> str:
    """Where patterns send a tensor; the first that fits counts, and those said as numbers of layers come last."""
    said, name = case.settings, gguf_name(tensor)
    for pattern, buffer in read_overrides(said.text("override_tensor") or ""):
        if pattern.search(name):
            return _device_called(case, buffer, usual)
    layer = tensor.layer
    if layer is None:
        return usual
    if _EXPERT.search(name) and (said.flag("cpu_moe") or layer < (said.integer("n_cpu_moe") or 0)):
        return ON_HOST
    return ON_HOST if _DENSE.search(name) and layer < (said.integer("n_cpu_ffn") or 0) else usual


def _device_called(case: Case, buffer: str, usual: str) -> str:
    """``CPU`` and its kin, or a device such as ``CUDA1``."""
    if buffer.upper().startswith("CPU") or buffer.endswith("_Host"):
        return ON_HOST
    number = re.search(r"(\d+)$", buffer)
    devices = accelerators(case)
    return devices[int(number[1])].id if number and int(number[1]) < len(devices) else usual


def _rows(case: Case, tensor: Tensor, where: str, size: int) -> list[tuple[str, int]]:
    """A matrix is cut in rows over the devices in the row modes; all else is whole."""
    devices = accelerators(case)
    cuts = case.settings.text("split_mode") in {"row", "tensor", "graph"} and len(devices) > 1 and where != ON_HOST
    if not cuts or len(tensor.shape) < 2:  # noqa: PLR2004 - vectors
        return [(where, size)]
    shares = proportions(case)
    parts = [int(size * share / sum(shares)) for share in shares]
    parts[-1] += size - sum(parts)
    return [(device.id, part) for device, part in zip(devices, parts, strict=True)]
