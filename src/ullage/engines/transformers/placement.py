"""Which tensors lie on which device, from ``device_map`` and ``max_memory``."""

import re
from collections.abc import Callable
from functools import lru_cache

from ullage.domain.case import Case
from ullage.domain.checkpoint import LINEAR_ROLES, Part, Role, Tensor
from ullage.domain.machine import HOST
from ullage.engines.transformers.device_map import CPU, DISK, Module, balanced, blocks, place
from ullage.engines.transformers.versions import CONTEXT, rules
from ullage.engines.transformers.weights import counted_bytes, loaded_tensors, weight_case
from ullage.errors import InputError
from ullage.frozen import dataclass
from ullage.units import parse_bytes

AUTOMATIC = ("auto", "balanced", "balanced_low_0", "sequential")
_LIMIT = re.compile(r"\s*(\d+|cpu|disk)\s*[=:]\s*(\d[\d.]*\s*[A-Za-z]*)\s*", re.IGNORECASE)
_SINGLE = re.compile(r"(?:cuda|xpu|mps|npu|hpu)(?::(\d+))?|(\d+)")
# Quantisers that keep a tenth of every limit for what they need while quantising (their ``adjust_max_memory``).
_KEEPS_A_TENTH = ("bitsandbytes", "bnb", "quanto", "torchao", "bitnet")


@dataclass(frozen=True, eq=False, kw_only=True)
class Share:
    """What one device, the host or the disk holds; ``nbytes`` are of its tensors, ``counted`` of the blocks they take.

    Compared by identity, since a share is worked out once for a case.
    """

    device: str
    tensors: tuple[Tensor, ...]
    layers: tuple[int, ...]
    has_embedding: bool
    has_head: bool
    nbytes: int
    counted: int
    largest_block: int = 0  # of what would have to be brought to a device to run; only for the host's and the disk's share
    largest_tensor: int = 0
    packed_weights: int = 0  # of the largest packed matrix


def module_tree(tensors: tuple[Tensor, ...]) -> Module:
    """The modules that tensor names describe; a numbered module (a layer) is never divided."""
    return _node("", [(tensor.name.split("."), tensor.nbytes, tensor.copies) for tensor in tensors], whole=False)


def _node(name: str, items: list[tuple[list[str], int, int]], *, whole: bool) -> Module:
    parameters: list[Module] = []
    inner: dict[str, list[tuple[list[str], int, int]]] = {}
    for parts, nbytes, copies in items:
        if len(parts) == 1:
            parameters.append(Module(f"{name}.{parts[0]}", nbytes, is_parameter=True))
        else:
            inner.setdefault(parts[0], []).append((parts[1:], nbytes, copies))
    children = tuple(_node(f"{name}.{key}".lstrip("."), own, whole=key.isdigit()) for key, own in inner.items())
    alike = 1 if children else max((copies for _, _, copies in items), default=1)
    return Module(name, sum(nbytes for _, nbytes, _ in items), (*parameters, *children), whole=whole, copies=alike)


def read_max_memory(text: str) -> dict[str, int]:
    """``0=20GiB,1=22GiB,cpu=64GiB`` as bytes by device. Raises InputError."""
    found = {}
    for item in text.strip("{} ").replace('"', "").replace("'", "").split(","):
        match = _LIMIT.fullmatch(item)
        if match is None:
            raise InputError(f"max_memory {item.strip()!r} is not understood: write 0=20GiB,1=20GiB,cpu=64GiB")
        found[match[1].lower()] = parse_bytes(match[2])
    return found


def limits(case: Case) -> dict[str, int]:
    """Bytes that weights may take on each device: ``max_memory`` where it is said, else what is free."""
    own = rules(case).largest_leaf  # since 5.0 Transformers has its own rules beside Accelerate's
    text, host = case.settings.text("max_memory"), case.machine.host
    free = {
        str(index): max(0, device.total_bytes - device.reserved_bytes - (0 if device.kind == CPU else CONTEXT.value))
        for index, device in enumerate(case.devices)
    }
    if text is not None:
        said = sorted(read_max_memory(text).items(), key=lambda item: (item[0] in {CPU, DISK}, item[0].zfill(4)))
        return {name: min(limit, free.get(name, limit)) if own else limit for name, limit in said}
    found = dict(free)
    if len(found) == 1 and case.settings.get("device_map") != "sequential":
        found = {name: limit * 9 // 10 for name, limit in found.items()}
    if host is not None:
        available = host.total_bytes - host.reserved_bytes
        found[CPU] = available * 9 // 10 if own else available
    if case.model.checkpoint.scheme.startswith(_KEEPS_A_TENTH):
        found = {name: limit * 9 // 10 for name, limit in found.items()}
    return found


def on_processor(case: Case) -> bool:
    """Whether nothing but the processor computes: the weights' memory is the host's."""
    return all(device.kind == CPU for device in case.devices)


def single_device(case: Case) -> str | None:
    """The limit name of the one device that ``device_map`` names, or None where it is worked out."""
    said = case.settings.get("device_map")
    if said in AUTOMATIC:
        return None
    if said == CPU:
        return CPU
    match = _SINGLE.fullmatch(str(said))
    if match is None:
        raise InputError(f"device_map {said!r} is not known: {', '.join(AUTOMATIC)}, cpu, cuda, cuda:0")
    index = int(match[1] or match[2] or 0)
    if index >= len(case.devices):
        raise InputError(f"device_map {said!r} names a device this case has not: it has {len(case.devices)}")
    return str(index)


def device_map(case: Case, tree: Module) -> dict[str, str]:
    """The device's limit name of every module placed whole."""
    said = single_device(case)
    if said is not None:
        return {"": said}
    allowed = limits(case)
    if case.settings.get("device_map") != "sequential":
        low_zero = case.settings.get("device_map") == "balanced_low_0"
        allowed = balanced(tree, allowed, low_zero=low_zero, largest_leaf=rules(case).largest_leaf)
    return place(tree.children, allowed)


def shares(case: Case) -> tuple[Share, ...]:
    """What every device holds, in the devices' order, then the host's and the disk's share where there is one."""
    return _shares(weight_case(case))


@lru_cache(maxsize=64)
def _shares(case: Case) -> tuple[Share, ...]:
    tensors = loaded_tensors(case)
    tree = module_tree(tensors)
    where = _finder(device_map(case, tree))
    names = {str(index): device.id for index, device in enumerate(case.devices)}
    host = case.devices[0].id if case.devices and case.devices[0].kind == CPU else HOST
    held: dict[str, list[Tensor]] = {device: [] for device in (*names.values(), host, DISK)}
    for tensor in tensors:
        at = where(tensor.name)
        held[names.get(at, host if at == CPU else DISK)].append(tensor)
    return tuple(_share(case, device, tuple(own)) for device, own in held.items() if own)


def _finder(placed: dict[str, str]) -> Callable[[str], str]:
    def where(name: str) -> str:
        parts = name.split(".")
        for length in range(len(parts), -1, -1):
            found = placed.get(".".join(parts[:length]))
            if found is not None:
                return found
        return DISK

    return where


def _share(case: Case, device: str, tensors: tuple[Tensor, ...]) -> Share:
    roles = {tensor.role for tensor in tensors}
    tied = case.model.architecture.tied_embeddings and Role.HEAD not in {tensor.role for tensor in loaded_tensors(case)}
    return Share(
        device=device,
        tensors=tensors,
        layers=tuple(sorted({tensor.layer for tensor in tensors if tensor.layer is not None})),
        has_embedding=Role.EMBEDDING in roles,
        has_head=(Role.EMBEDDING if tied else Role.HEAD) in roles,
        nbytes=sum(tensor.nbytes for tensor in tensors),
        counted=sum(tensor.nbytes for tensor in tensors) if device in {HOST, DISK} else counted_bytes(case, tensors),
        largest_block=max((block.nbytes for block in blocks(module_tree(tensors))), default=0) if device in {HOST, DISK} else 0,
        largest_tensor=max((tensor.nbytes // tensor.copies for tensor in tensors), default=0),
        packed_weights=_packed_weights(tensors),
    )


def _packed_weights(tensors: tuple[Tensor, ...]) -> int:
    """Weights of the largest packed matrix: its scales tell the outputs, its indices the inputs."""
    scales = {_module(t): t.shape[-1] for t in tensors if t.part is Part.SCALE and t.role in LINEAR_ROLES and t.shape}
    indices = {_module(t): t.shape[-1] for t in tensors if t.part is Part.INDEX}
    return max((scales[name] * indices[name] for name in scales.keys() & indices.keys()), default=0)


def _module(tensor: Tensor) -> str:
    return tensor.name.rpartition(".")[0]
