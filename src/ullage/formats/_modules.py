"""Which modules a quantisation scheme touches: names in lists, globs, index ranges and regular expressions."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ullage.domain.checkpoint import EXPERT_ROLES, Part, Role, Tensor
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import MalformedFileError

# Wrappers put these before the same module; lists of modules are written with or without them.
_ROOT = re.compile(r"^(?:(?:model|language_model|text_model|transformer|backbone|llm|thinker)\.)+")
_ROOTS = ("", "model.", "language_model.model.", "model.language_model.", "backbone.")
_RANGE = re.compile(r"\{([0-9,\- ]+)\}")
_LONGEST_PATTERN = 2000
_LARGEST_INDEX = 4096
_NEVER = (".weights_proj.weight",)  # the sparse indexer's one number a head, which every scheme leaves alone

Chosen = Callable[[Tensor], bool]


def bare_name(name: str) -> str:
    """A name without the wrappers before it: ``model.language_model.layers.0`` is ``layers.0``."""
    return _ROOT.sub("", name)


def module_of(tensor: Tensor) -> str:
    """The module a tensor belongs to: its name without the last word where that names a parameter."""
    name = tensor.name.replace("{expert}", "0")
    return name.removesuffix(".weight").removesuffix(".bias")


@dataclass(frozen=True, slots=True)
class Patterns:
    """A list of modules as configurations write it. A module matches with all that is below it."""

    bare: re.Pattern[str] | None
    expressions: tuple[re.Pattern[str], ...]

    def match(self, module: str) -> bool:
        """Whether the module, or one that it is part of, is in the list."""
        name = bare_name(module)
        if self.bare is not None and self.bare.match(name):
            return True
        return any(expression.match(root + name) for expression in self.expressions for root in _ROOTS)


def patterns(words: Iterable[str]) -> Patterns:
    """Read a list: ``re:`` words are regular expressions, ``*`` stands for anything, ``{0-3,7}`` for any of these numbers."""
    written = tuple(words)
    for word in written:
        if len(word) > _LONGEST_PATTERN:
            raise MalformedFileError(f"the module pattern {word[:60]!r}... has {len(word)} characters; at most {_LONGEST_PATTERN} are read")
    bare = [_translate(bare_name(word)) for word in written if not word.startswith("re:")]
    return Patterns(
        bare=_compiled(f"(?:.*\\.)?(?:{'|'.join(bare)})(?:\\..*)?$") if bare else None,
        expressions=tuple(_compiled(word[3:]) for word in written if word.startswith("re:")),
    )


def _compiled(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise MalformedFileError(f"the module pattern {expression[:80]!r} is no regular expression: {error}") from error


def _translate(word: str) -> str:
    pieces = []
    position = 0
    for found in _RANGE.finditer(word):
        pieces.append(_glob(word[position : found.start()]) + _numbers(found[1]))
        position = found.end()
    return "".join(pieces) + _glob(word[position:])


def _glob(text: str) -> str:
    return re.escape(text).replace(r"\*", ".*").replace(r"\?", ".").replace("\\{expert\\}", "[0-9]+")


def _numbers(text: str) -> str:
    numbers: list[int] = []
    for piece in text.replace(" ", "").split(","):
        first, _, last = piece.partition("-")
        if not first.isdigit() or (last and not last.isdigit()) or len(piece) > 2 * len(str(_LARGEST_INDEX)) + 1:
            raise MalformedFileError(f"{{{text[:60]}}} in a module pattern is no range of layers")
        numbers += range(int(first), min(int(last or first), _LARGEST_INDEX) + 1)
    return f"(?:{'|'.join(map(str, sorted(set(numbers))))})"


def named(config: Hyperparameters, *keys: str) -> Patterns:
    """The modules listed under any of these keys; a key that is missing or null lists none."""
    return patterns(word for key in keys if config.has(key) for word in config.words(key))


def linear_leaves(tensors: tuple[Tensor, ...]) -> frozenset[str]:
    """The last words of the names of all linear layers ("q_proj"), by which draft layers' linears are known."""
    return frozenset(module_of(tensor).rpartition(".")[2] for tensor in tensors if tensor.is_linear)


def linears(tensors: tuple[Tensor, ...], *, skip: Patterns, head: bool = False) -> Chosen:
    """The rule of most schemes: linear layers, also those of draft layers, without what ``skip`` lists.

    Embeddings, norms, routers and towers stay as they are; the head too, unless ``head``.
    """
    leaves = linear_leaves(tensors)

    def chosen(tensor: Tensor) -> bool:
        if tensor.part is not Part.WEIGHT or len(tensor.shape) < 2:  # noqa: PLR2004 - a matrix
            return False
        if tensor.role is Role.MTP:
            known = module_of(tensor).rpartition(".")[2] in leaves
        else:
            known = tensor.is_linear or (head and tensor.role is Role.HEAD)
        return known and not tensor.name.endswith(_NEVER) and not skip.match(module_of(tensor))

    return chosen


def is_expert(tensor: Tensor) -> bool:
    """Whether this is a matrix of routed experts, those of draft layers by their name."""
    return tensor.role in EXPERT_ROLES or (tensor.role is Role.MTP and ".experts" in tensor.name)


def convert(tensors: tuple[Tensor, ...], chosen: Chosen, layout: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Put ``layout(weight)`` in place of every chosen weight."""
    return tuple(stored for tensor in tensors for stored in (layout(tensor) if chosen(tensor) else (tensor,)))


def beside(tensor: Tensor, suffix: str) -> Tensor:
    """The tensor under another last word: ``q_proj.weight`` to ``q_proj.qweight``; stacked experts without one get ``_suffix``."""
    stem = tensor.name.removesuffix(".weight")
    if stem == tensor.name:
        if suffix == "weight":
            return tensor
        return replace(tensor, name=f"{stem}_{suffix.removeprefix('weight_')}")
    return replace(tensor, name=f"{stem}.{suffix}")
