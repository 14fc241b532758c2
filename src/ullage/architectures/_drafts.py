"""Draft layers (multi-token prediction): in the checkpoint, not in the parameter count, loaded only for speculation."""

from collections.abc import Callable, Iterable

from ullage.architectures._decoder import Widths
from ullage.domain.architecture import Layer
from ullage.domain.checkpoint import Role, Tensor
from ullage.formulas import tensors as block
from ullage.frozen import replace


def as_draft(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The same tensors as part of a draft: they belong to no layer of the decoder."""
    return tuple(replace(tensor, role=Role.MTP, layer=None) for tensor in tensors)


def next_token_layers(
    count: int,
    size: Widths,
    layer: Callable[[int], tuple[Layer, tuple[Tensor, ...]]],
    *,
    prefix: str = "model",
    own_table: bool = False,
    own_head: bool = False,
) -> tuple[Tensor, ...]:
    """DeepSeek-V3's draft layers, numbered after the decoder's: a decoder layer, two norms, and a projection of both inputs.

    ``own_table`` and ``own_head`` say that the file repeats the token table and the head in each of them.
    """
    drafts: list[Tensor] = []
    for index in range(size.layers, size.layers + count):
        at = f"{prefix}.layers.{index}"
        drafts += [
            *layer(index)[1],
            *block.norm(f"{at}.enorm", index, size.hidden, size.fmt),
            *block.norm(f"{at}.hnorm", index, size.hidden, size.fmt),
            *block.linear(f"{at}.eh_proj", Role.OTHER, index, size.hidden, 2 * size.hidden, size.fmt),
            *block.norm(f"{at}.shared_head.norm", index, size.hidden, size.fmt),
            *(block.embedding(f"{at}.embed_tokens", size.vocab, size.hidden, size.fmt) if own_table else ()),
            *block.head(f"{at}.shared_head.head", size.vocab, size.hidden, size.fmt, tied=not own_head),
        ]
    return as_draft(drafts)
