"""How Accelerate divides a tree of modules over devices: greedily, in order, by bytes of weights alone.

Nothing here knows of caches or activations, and neither does Accelerate. Follows ``get_balanced_memory`` and
``infer_auto_device_map`` of accelerate 1.15 and of transformers 5.23 (``src/transformers/integrations/accelerate.py``).
"""

from collections.abc import Mapping, Sequence

from ullage.frozen import dataclass

CPU, DISK = "cpu", "disk"


@dataclass(frozen=True, slots=True)
class Module:
    """A module, its bytes, and what it consists of; a ``whole`` one is never divided. A parameter is a module without children.

    ``copies`` modules alike (the experts of a layer) stand as one.
    """

    name: str
    nbytes: int
    children: tuple["Module", ...] = ()
    whole: bool = False
    is_parameter: bool = False
    copies: int = 1

    @property
    def is_leaf(self) -> bool:
        """Whether it cannot be divided further."""
        return self.whole or not any(not child.is_parameter for child in self.children)


def leaves(module: Module) -> tuple[Module, ...]:
    """The innermost modules, inside indivisible ones too, in order."""
    inner = tuple(child for child in module.children if not child.is_parameter)
    return tuple(leaf for child in inner for leaf in leaves(child)) if inner else (module,)


def blocks(module: Module) -> tuple[Module, ...]:
    """The indivisible blocks, in order."""
    return (module,) if module.whole else tuple(block for child in module.children for block in blocks(child))


def balanced(tree: Module, limits: Mapping[str, int], *, low_zero: bool, largest_leaf: bool) -> dict[str, int]:
    """Limits under which the accelerators share the model evenly; the last one keeps its own.

    Each gets its share and a quarter more than the largest block or leaf (``largest_leaf``; before transformers 5 the first block or
    the mean leaf). ``low_zero`` leaves the first as empty as the others allow.
    """
    found = dict(limits)
    devices = [name for name in limits if name not in {CPU, DISK} and limits[name] > 0]
    if len(devices) < 2:  # noqa: PLR2004 - one device has nothing to share
        return found
    whole, own = blocks(tree), leaves(tree)
    if largest_leaf:
        buffer = max((part.nbytes // part.copies for part in (*whole, *own)), default=0)
    else:
        buffer = max(whole[0].nbytes if whole else 0, sum(leaf.nbytes for leaf in own) // max(1, sum(leaf.copies for leaf in own)))
    each = tree.nbytes // (len(devices) - 1 if low_zero else len(devices)) + buffer * 5 // 4
    for device in devices[:-1]:
        if not (low_zero and device == devices[0]):
            found[device] = min(each, limits[device])
    if low_zero:
        rest = tree.nbytes - sum(found[device] for device in devices[1:])
        found[devices[0]] = min(max(0, rest), limits[devices[0]])
    return found


def _largest(modules: Sequence[Module]) -> tuple[int, set[str]]:
    """The largest block or leaf that is still to be placed, and the names of all of that size."""
    size, names, stack = 0, set[str](), list(modules)
    while stack:
        module = stack.pop()
        if not module.is_leaf:
            stack.extend(module.children)
        elif module.nbytes > size:
            size, names = module.nbytes, {module.name}
        elif module.nbytes == size:
            names.add(module.name)
    return size, names


def _inside(name: str, parent: str) -> bool:
    return name == parent or name.startswith(f"{parent}.")


def place(top: Sequence[Module], limits: Mapping[str, int]) -> dict[str, str]:
    """The device of every module that was placed whole.

    A module goes to the current device if it fits beside what lies there; the first accelerator and the host also keep room for the
    largest block still to come. What does not fit is divided, and what cannot be divided moves on to the next device, from which
    nothing returns. The disk takes the rest.
    """
    devices = [*(name for name in limits if name != DISK), DISK]
    accelerators = [name for name in devices if name not in {CPU, DISK}]
    keeps_room = {*accelerators[:1], CPU}
    placed: dict[str, str] = {}
    waiting, at, used = list(top), 0, 0
    largest, names = _largest(waiting)
    while waiting:
        module = waiting.pop(0)
        names = {name for name in names if not _inside(name, module.name)}
        if not names:
            largest, names = _largest([part for part in waiting if not part.is_parameter])
        device = devices[at]
        room = largest if device in keeps_room else 0
        if device == DISK or used + module.nbytes <= limits[device] - room:
            placed[module.name] = device
            used += module.nbytes
        elif module.is_leaf or module.is_parameter:
            at, used = at + 1, 0
            waiting.insert(0, module)
        else:
            waiting = [*module.children, *waiting]
            largest, names = _largest([part for part in waiting if not part.is_parameter])
    return placed
