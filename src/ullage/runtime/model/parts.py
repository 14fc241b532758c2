"""The tensors of one layer, found by what they are for."""

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ullage.domain.checkpoint import Part, Role
from ullage.domain.checkpoint import Tensor as Described
from ullage.errors import UnsupportedModelError
from ullage.runtime.linear.form import Linear
from ullage.runtime.linear.weights import Weights
from ullage.runtime.loading.release import release
from ullage.runtime.loading.source import Source

MakeLinear = Callable[[Weights | Tensor, Tensor | None], Linear]


class Parts:
    """The tensors of one layer (or of none), found by role, part and the last word of their module."""

    def __init__(self, described: Iterable[Described], source: Source, dtype: torch.dtype, device: torch.device) -> None:
        self._source, self._dtype, self._device = source, dtype, device
        self._found: dict[tuple[Role, Part], list[str]] = defaultdict(list)
        for tensor in described:
            self._found[tensor.role, tensor.part].append(tensor.name)

    def has(self, role: Role, part: Part = Part.WEIGHT) -> bool:
        """Whether there is such a tensor."""
        return (role, part) in self._found

    def name(self, role: Role, part: Part = Part.WEIGHT) -> str:
        """The only tensor's name of that role."""
        names = self._found[role, part]
        if len(names) != 1:
            raise UnsupportedModelError(f"{len(names)} tensors are {role} {part}; the runtime reads one")
        return names[0]

    def one(self, role: Role, part: Part = Part.WEIGHT) -> Tensor:
        """The only tensor of that role."""
        return self.named(self.name(role, part))

    def rows(self, *roles: Role, part: Part = Part.WEIGHT) -> Tensor | None:
        """The tensors of several roles above one another; None where none of them exists."""
        if not self._all(roles, part):
            return None
        return torch.cat([self.one(role, part) for role in roles]) if len(roles) > 1 else self.one(roles[0], part)

    def weights(self, *roles: Role) -> Weights | None:
        """The weights of several roles above one another, still in their files; None where none of them exists."""
        if not self._all(roles, Part.WEIGHT):
            return None
        return self.matrices(*map(self.name, roles))

    def matrix(self, role: Role) -> Weights:
        """The only weight of that role, still in its file."""
        return self.matrices(self.name(role))

    def matrices(self, *names: str) -> Weights:
        """Weights above one another by their names, still in their files."""
        return Weights(pieces=tuple(map(self._source.stored, names)), dtype=self._dtype, device=self._device)

    def _all(self, roles: tuple[Role, ...], part: Part) -> bool:
        """Whether all these roles have that part; False where none has. Raises UnsupportedModelError where some have."""
        there = [role for role in roles if self.has(role, part)]
        if there and len(there) != len(roles):
            raise UnsupportedModelError(f"of {', '.join(roles)} only {', '.join(there)} have a {part}")
        return bool(there)

    def norm(self, word: str) -> dict[Part, Tensor]:
        """The norm whose module ends in ``word``: its weight, and its bias where it has one."""
        found = {}
        for part in (Part.WEIGHT, Part.BIAS):
            for name in self._found.get((Role.NORM, part), ()):
                if name.rsplit(".", 2)[-2].endswith(word):
                    found[part] = self.named(name)
        return found

    def exists(self, name: str) -> bool:
        """Whether the files hold a tensor of that name, which no blueprint may list."""
        return self._source.has(name)

    def named(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """The tensor of that name, in the model's working dtype unless another is asked for."""
        stored = self._source.stored(name)
        values = stored.dense(dtype or self._dtype)
        release(stored)
        return values.to(self._device)
