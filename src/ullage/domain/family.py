"""What a model family is: a configuration goes in, the architecture and the full list of its tensors come out."""

from collections.abc import Callable

from ullage.domain.architecture import Architecture
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.hyperparameters import Hyperparameters
from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """A model as its configuration describes it: unquantised tensors in the model's dtype.

    ``uncounted`` are the roles that the model's published parameter count leaves out; draft layers always are.
    """

    architecture: Architecture
    tensors: tuple[Tensor, ...]
    uncounted: frozenset[Role] = frozenset({Role.MTP})

    @property
    def parameters(self) -> int:
        """Elements of all tensors that count."""
        return sum(tensor.elements for tensor in self.tensors if tensor.role not in self.uncounted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One file in ``architectures/``: the model types it reads and the function that reads them."""

    model_types: tuple[str, ...]
    read: Callable[[Hyperparameters], Blueprint]
    title: str  # "Llama 1-3 and what shares its shape"
