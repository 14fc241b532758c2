"""Where layers and tensors go: layers to devices by proportions, then single tensors to the host or elsewhere by pattern."""

import re
from bisect import bisect_right
from collections import defaultdict
from functools import lru_cache
from math import prod

from ullage.catalog.tensor_formats import F32
from ullage.domain.case import Case, Model, Settings
from ullage.domain.checkpoint import Part, Role, Tensor
from ullage.domain.machine import Device
from ullage.domain.workload import Workload
from ullage.engines.llama_cpp.resolve import accelerators, layer_count
from ullage.engines.llama_cpp.tensor_names import DENSE, EXPERTS, gguf_name, read_overrides
from ullage.engines.llama_cpp.versions import CONTEXT
from ullage.frozen import dataclass, replace

ON_HOST = "cpu-buffer"  # not a device's id: the host's memory, whatever that is called
_TOWERS = frozenset({Role.VISION, Role.PROJECTOR})
_ROW_MODES = frozenset({"row", "tensor", "graph"})
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
        if case.settings.text("split_mode") in _ROW_MODES:
            found.append(devices[min(case.settings.integer("main_gpu") or 0, len(devices) - 1)].id)
        else:
            found.append(devices[min(bisect_right(ends, index / offloaded), len(devices) - 1)].id)
    return tuple(found)


def tensor_bytes(tensor: Tensor) -> int:
    """Bytes in a GGUF file: what is no matrix is kept in 32 bits."""
    if len(tensor.shape) < 2 and tensor.part in {Part.WEIGHT, Part.BIAS} and tensor.format.block_elements == 1:  # noqa: PLR2004 - vectors
        return F32.nbytes(prod(tensor.shape)) * tensor.copies
    return tensor.nbytes


@lru_cache(maxsize=64)
def _loaded(model: Model, *, towers: bool, drafts: bool) -> tuple[tuple[Tensor, str, int], ...]:
    """Tensors with their names and bytes. Towers are a file of their own, and draft layers are left out unless asked for."""
    left_out = (frozenset() if towers else _TOWERS) | (frozenset() if drafts else {Role.MTP})
    kept = (tensor for tensor in model.checkpoint.tensors if tensor.role not in left_out)
    return tuple((tensor, gguf_name(tensor), tensor_bytes(tensor)) for tensor in kept)


_MATTERS = (
    "n_gpu_layers", "split_mode", "tensor_split", "main_gpu", "device", "override_tensor", "cpu_moe", "n_cpu_moe", "n_cpu_ffn", "mmproj",
    "spec_draft_n_max",
)  # fmt: skip


def place(case: Case) -> Placement:
    """Every tensor of a settled case; remembered for all cases that differ in nothing that moves tensors."""
    settings = Settings(tuple(item for item in case.settings.items if item[0] in _MATTERS))
    return _place(replace(case, settings=settings, workload=Workload(), environment=(), stated=frozenset()))


@lru_cache(maxsize=128)
def _place(case: Case) -> Placement:
    devices = layer_devices(case)
    layers, output = devices[:-1], devices[-1]
    nbytes: dict[str, int] = defaultdict(int)
    largest = 0
    tensors = _loaded(case.model, towers=case.settings.text("mmproj") is not None, drafts=bool(case.settings.integer("spec_draft_n_max")))
    has_head = any(tensor.role is Role.HEAD for tensor, _, _ in tensors)
    ties = case.model.architecture.is_decoder and not has_head and output != ON_HOST
    for tensor, name, size in tensors:
        usual = _usual(tensor, layers, output)
        where = _moved(case, tensor.layer, name, usual)
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


def _moved(case: Case, layer: int | None, name: str, usual: str) -> str:
    """Where patterns send a tensor; the first that fits counts, and those said as numbers of layers come last."""
    said = case.settings
    for pattern, buffer in read_overrides(said.text("override_tensor") or ""):
        if pattern.search(name):
            return _device_called(case, buffer, usual)
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
    if where == ON_HOST or len(tensor.shape) < 2 or case.settings.text("split_mode") not in _ROW_MODES:  # noqa: PLR2004 - vectors
        return [(where, size)]
    devices = accelerators(case)
    shares = proportions(case)
    parts = [int(size * share / sum(shares)) for share in shares]
    parts[-1] += size - sum(parts)
    return [(device.id, part) for device, part in zip(devices, parts, strict=True)]
