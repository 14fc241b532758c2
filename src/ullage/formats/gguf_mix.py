"""The mixtures llama.cpp's quantiser makes: which block type each tensor gets under a name such as ``q4_k_m``.

The choices are those of ``llama_tensor_get_type`` in llama.cpp (2026).
Types below three and a half bits are made with an importance matrix, as published files are.
"""

from collections.abc import Callable

from ullage.catalog.tensor_formats import F16, F32, GGML_BY_NAME, GGML_TYPES
from ullage.domain.checkpoint import EXPERT_ROLES, LINEAR_ROLES, Part, Role, Tensor, TensorFormat
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Recipe
from ullage.errors import UnsupportedModelError
from ullage.formats._gguf_rules import FALLBACK, MIXTURES, OUTPUT, TOKEN_TABLE, Asked
from ullage.frozen import dataclass, replace

_PLAIN = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
_DOWN = frozenset({Role.DOWN, Role.EXPERT_DOWN})
_FEED_UP = frozenset({Role.GATE, Role.UP, Role.EXPERT_GATE, Role.EXPERT_UP})
_UNTOUCHED = frozenset({Role.ROUTER, Role.SHARED_ROUTER, Role.RECURRENT_CONV, Role.RECURRENT_STATE, Role.POSITION})
_TOWERS = frozenset({Role.VISION, Role.PROJECTOR})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """What of the whole model the choices depend on."""

    layers: int
    experts: int
    grouped: int  # query heads for each key head
    tied: bool


def reads(config: Hyperparameters) -> bool:
    """Whether the scheme is a GGUF file type."""
    return config.raw("quant_method") == "gguf"


def apply(tensors: tuple[Tensor, ...], config: Hyperparameters) -> tuple[tuple[Tensor, ...], str]:
    """Matrices by the mixture's rules; vectors, routers and convolutions in 32 bits, towers in 16."""
    word = config.text("file_type")
    if word not in MIXTURES and word not in _PLAIN:
        raise UnsupportedModelError(f"file_type is {word[:40]!r}; known are {', '.join((*_PLAIN, *MIXTURES))}")
    model = _model(tensors)
    return tuple(replace(tensor, format=_format(tensor, word, model)) for tensor in tensors), f"gguf {word}"


def _model(tensors: tuple[Tensor, ...]) -> _Model:
    rows = {role: next((t.shape[0] for t in tensors if t.role is role and t.part is Part.WEIGHT), 0) for role in (Role.Q, Role.K)}
    return _Model(
        layers=1 + max((tensor.layer for tensor in tensors if tensor.layer is not None), default=0),
        experts=max((tensor.copies for tensor in tensors if tensor.role in EXPERT_ROLES), default=0),
        grouped=rows[Role.Q] // rows[Role.K] if rows[Role.K] else 1,
        tied=all(tensor.role is not Role.HEAD for tensor in tensors),
    )


def _format(tensor: Tensor, word: str, model: _Model) -> TensorFormat:
    if tensor.role in _TOWERS:
        return F16
    if len(tensor.shape) < 2 or tensor.part is not Part.WEIGHT or tensor.role is Role.NORM or tensor.role in _UNTOUCHED:  # noqa: PLR2004 - vectors
        return F32
    if word in _PLAIN:
        return next(fmt for fmt in GGML_TYPES.values() if fmt.name == _PLAIN[word])
    return _fitting(_wanted(tensor, word, model), tensor.shape[-1])


def _fitting(name: str, row: int) -> TensorFormat:
    """The type, or the one the quantiser falls back to where its blocks do not divide a row."""
    fmt = GGML_BY_NAME[name]
    while row % fmt.block_elements and name in FALLBACK:
        name = FALLBACK[name]
        fmt = GGML_BY_NAME[name]
    return F16 if row % fmt.block_elements else fmt


def _wanted(tensor: Tensor, word: str, model: _Model) -> str:
    usual, special = MIXTURES[word]
    asked = Asked(word=word, index=tensor.layer or 0, layers=model.layers, experts=model.experts, grouped=model.grouped)
    match tensor.role:
        case Role.HEAD:
            return OUTPUT.get(word, "q6_k")
        case Role.EMBEDDING:
            return OUTPUT.get(word, "q6_k") if model.tied else TOKEN_TABLE.get(word, usual)
        case Role.MTP:
            return usual
        case role if role in LINEAR_ROLES:
            rule: Callable[[Asked], str | None] | None = special.get(_kind(role))
            return (rule(asked) if rule else None) or usual
        case _:
            return usual


def _kind(role: Role) -> str:
    if role in _DOWN:
        return "down"
    return "up" if role in _FEED_UP else role.value


def meaning(word: str) -> dict[str, Json] | None:
    """``q4_k_m``, ``q8_0``, ``f16``: a GGUF file type."""
    return {"quant_method": "gguf", "file_type": word} if word in MIXTURES or word in _PLAIN else None


RECIPE = Recipe(name="gguf", reads=reads, apply=apply, words=tuple(MIXTURES), named=meaning)
