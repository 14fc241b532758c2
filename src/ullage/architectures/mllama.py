"""Llama 3.2 Vision: the Llama 3 decoder with gated layers between that attend to the image instead of the text."""

from typing import Final

from ullage.architectures._decoder import Widths, decoder, widths
from ullage.architectures._dense import attention, full, mlp, qk_norms
from ullage.architectures._rotary import rotary
from ullage.architectures._tower import UNSIZED, Tensors, channels, encoder, linear, norm, patch_grid, weight
from ullage.architectures._wrapped import part, text_format, text_part, wrapped
from ullage.domain.architecture import CrossAttention, DenseFeedForward, Layer
from ullage.domain.checkpoint import Role, Tensor, TensorFormat
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.formulas import tensors as block
from ullage.frozen import dataclass, replace

# transformers, configuration_mllama.py.
_CLASS: Final[dict[str, Json]] = {
    "cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38],
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "max_position_embeddings": 131_072,
    "num_attention_heads": 32,
    "num_hidden_layers": 40,
    "num_key_value_heads": 8,
    "vocab_size": 128_256,
}
_EXTRA_ROWS: Final = 8  # the token table has rows for the image tokens that the head has not
_TILINGS: Final = 8  # aspect ratios of up to four tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """How the tower cuts an image."""

    width: int
    side: int
    positions: int  # patches of a tile and its class token
    tiles: int
    tilings: int
    out: int

    @property
    def tokens(self) -> int:
        """What cross attention keeps keys and values of."""
        return self.tiles * self.positions


def _image(config: Hyperparameters) -> _Image:
    side, patches = patch_grid(config, image=448, patch=14)
    listed = config.raw("supported_aspect_ratios")
    return _Image(
        width=config.integer_or("hidden_size", 1280, low=1),
        side=side,
        positions=patches**2 + 1,
        tiles=config.integer_or("max_num_tiles", 4, low=1),
        tilings=len(listed) if isinstance(listed, list) else _TILINGS,
        out=config.integer_or("vision_output_dim", 7680, low=1),
    )


def _tower(config: Hyperparameters, image: _Image, fmt: TensorFormat) -> Tensors:
    """Two encoders, the second gated; embeddings for tile and tiling before and after them."""
    width = image.width
    intermediate = config.integer_or("intermediate_size", 5120, low=1)
    config.ignore(*UNSIZED, "intermediate_layers_indices")
    norms = ("input_layernorm", "post_attention_layernorm")
    local, whole = config.integer_or("num_hidden_layers", 32, low=1), config.integer_or("num_global_layers", 8)
    at = "vision_model"
    tile = image.tiles * width
    return (
        *weight(f"{at}.class_embedding", fmt, width),
        *weight(f"{at}.patch_embedding.weight", fmt, width, channels(config), image.side, image.side),
        *weight(f"{at}.gated_positional_embedding.gate", fmt, 1),
        *weight(f"{at}.gated_positional_embedding.embedding", fmt, image.positions, width),
        *weight(f"{at}.gated_positional_embedding.tile_embedding.weight", fmt, image.tilings + 1, tile * image.positions),
        *weight(f"{at}.pre_tile_positional_embedding.gate", fmt, 1),
        *weight(f"{at}.pre_tile_positional_embedding.embedding.weight", fmt, image.tilings + 1, tile),
        *weight(f"{at}.post_tile_positional_embedding.gate", fmt, 1),
        *weight(f"{at}.post_tile_positional_embedding.embedding.weight", fmt, image.tilings + 1, tile),
        *norm(f"{at}.layernorm_pre", width, fmt),
        *norm(f"{at}.layernorm_post", width, fmt),
        *encoder(
            f"{at}.transformer.layers", local, fmt, width=width, intermediate=intermediate, norms=norms, out_name="o_proj", bias=False
        ),
        *encoder(
            f"{at}.global_transformer.layers",
            whole,
            fmt,
            width=width,
            intermediate=intermediate,
            norms=norms,
            out_name="o_proj",
            bias=False,
            gated=True,
        ),
    )


def _crossing(at: str, index: int, size: Widths) -> tuple[Tensor, ...]:
    """Attention to the image: its own name, norms of query and key, and one learned number before each sum."""
    names = ("cross_attn_attn_gate", "cross_attn_mlp_gate")
    gates = tuple(block.weight(f"{at}.{name}", Role.ATTENTION_OTHER, index, (1,), size.fmt) for name in names)
    return (*attention(f"{at}.cross_attn", index, size), *qk_norms(f"{at}.cross_attn", index, size, "head"), *gates)


def _text(config: Hyperparameters, image: _Image) -> Blueprint:
    size = widths(config, kv_heads=8)
    intermediate = config.integer("intermediate_size")
    crossing = frozenset(config.integers("cross_attention_layers"))
    across = CrossAttention(
        query_heads=size.query_heads,
        kv_heads=size.kv_heads,
        key_dim=size.head_dim,
        value_dim=size.head_dim,
        source_tokens=image.tokens,
    )

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        at = f"model.layers.{index}"
        crosses = index in crossing
        return Layer(mixers=(across if crosses else full(size),), feed_forward=DenseFeedForward(intermediate=intermediate)), (
            *(_crossing(at, index, size) if crosses else attention(f"{at}.self_attn", index, size)),
            *mlp(f"{at}.mlp", index, size, intermediate),
            *block.norm(f"{at}.input_layernorm", index, size.hidden, size.fmt),
            *block.norm(f"{at}.post_attention_layernorm", index, size.hidden, size.fmt),
        )

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, size.head_dim, size.positions))


def _with_image_rows(tensor: Tensor) -> Tensor:
    if tensor.role is not Role.EMBEDDING:
        return tensor
    rows, columns = tensor.shape
    return replace(tensor, shape=(rows + _EXTRA_ROWS, columns))


def read(config: Hyperparameters) -> Blueprint:
    """The image's keys and values are kept for as many tiles as the tower takes."""
    vision = part(config, "vision_config")
    image = _image(vision)
    text = _text(text_part(config, defaults=_CLASS), image)
    text = replace(text, tensors=tuple(_with_image_rows(tensor) for tensor in text.tensors))
    fmt, hidden = text_format(text), text.architecture.hidden_size
    return wrapped(
        config,
        text,
        rename=(("model.", "language_model.model."), ("lm_head", "language_model.lm_head")),
        tower=(*_tower(vision, image, fmt), *linear("multi_modal_projector", hidden, image.out, fmt, role=Role.PROJECTOR)),
        encoder_tokens=image.tokens,
    )


FAMILY = Family(model_types=("mllama",), read=read, title="Llama 3.2 Vision")
