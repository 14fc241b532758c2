"""Multi-head latent attention with mixture-of-experts layers: DeepSeek V2 to V3.2 and the families built on them."""

from collections.abc import Callable

from ullage.architectures._decoder import Widths, decoder, widths
from ullage.architectures._drafts import next_token_layers
from ullage.architectures._experts import Attending, Built, Mixture, dense, pre_norm, routed
from ullage.architectures._rotary import rotary
from ullage.domain.architecture import Indexer, LatentAttention
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError
from ullage.formulas import tensors as block
from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """The widths of latent attention; ``query_latent`` is None where queries are projected in one step."""

    latent: int
    rope: int
    nope: int
    value: int
    query_latent: int | None
    bias: bool


def latent_widths(config: Hyperparameters) -> Latent:
    """Read them in DeepSeek's spelling."""
    config.ignore("head_dim", "qk_head_dim")  # the sum or the rotary part of what is read here
    return Latent(
        latent=config.integer("kv_lora_rank"),
        rope=config.integer("qk_rope_head_dim"),
        nope=config.integer("qk_nope_head_dim"),
        value=config.integer("v_head_dim"),
        query_latent=config.integer_or("q_lora_rank", 0) or None,
        bias=config.flag("attention_bias", default=False),
    )


def latent_attention(at: str, index: int, size: Widths, own: Latent, indexer: Indexer | None = None) -> Attending:
    """Down to a latent and up again, with the sparse indexer where the layer has one."""
    mixer = LatentAttention(
        query_heads=size.query_heads,
        latent_dim=own.latent,
        rope_dim=own.rope,
        nope_dim=own.nope,
        value_dim=own.value,
        query_latent_dim=own.query_latent,
        indexer=indexer,
    )
    kv_up = size.query_heads * (own.nope + own.value)
    return mixer, (
        *_query(at, index, size, own),
        *block.linear(f"{at}.kv_a_proj_with_mqa", Role.KV_A, index, own.latent + own.rope, size.hidden, size.fmt, bias=own.bias),
        *block.norm(f"{at}.kv_a_layernorm", index, own.latent, size.fmt),
        *block.linear(f"{at}.kv_b_proj", Role.KV_B, index, kv_up, own.latent, size.fmt),
        *block.linear(f"{at}.o_proj", Role.O, index, size.hidden, size.query_heads * own.value, size.fmt, bias=own.bias),
        *(_indexer(f"{at}.indexer", index, size, own, indexer) if indexer else ()),
    )


def _query(at: str, index: int, size: Widths, own: Latent) -> tuple[Tensor, ...]:
    width = size.query_heads * (own.nope + own.rope)
    if own.query_latent is None:
        return block.linear(f"{at}.q_proj", Role.Q, index, width, size.hidden, size.fmt)
    return (
        *block.linear(f"{at}.q_a_proj", Role.Q_A, index, own.query_latent, size.hidden, size.fmt, bias=own.bias),
        *block.norm(f"{at}.q_a_layernorm", index, own.query_latent, size.fmt),
        *block.linear(f"{at}.q_b_proj", Role.Q_B, index, width, own.query_latent, size.fmt),
    )


def _indexer(at: str, index: int, size: Widths, own: Latent, indexer: Indexer) -> tuple[Tensor, ...]:
    if own.query_latent is None:
        raise UnsupportedModelError("q_lora_rank is null, but the sparse indexer (index_n_heads) reads the query latent")
    return (
        *block.linear(f"{at}.wq_b", Role.INDEXER, index, indexer.heads * indexer.key_dim, own.query_latent, size.fmt),
        *block.linear(f"{at}.wk", Role.INDEXER, index, indexer.key_dim, size.hidden, size.fmt),
        *block.norm(f"{at}.k_norm", index, indexer.key_dim, size.fmt, bias=True),
        # Never quantised: published fp8 files keep it in the model's dtype.
        *block.linear(f"{at}.weights_proj", Role.OTHER, index, indexer.heads, size.hidden, size.fmt),
    )


def indexer_of(config: Hyperparameters) -> Indexer:
    """The indexer of the layers that have one."""
    return Indexer(
        heads=config.integer("index_n_heads"), key_dim=config.integer("index_head_dim"), selected_tokens=config.integer("index_topk")
    )


def routing(config: Hyperparameters) -> Mixture:
    """The routed experts in DeepSeek's spelling; several shared ones are stored as one wide one."""
    config.ignore("ep_size", "n_group", "num_experts")
    intermediate = config.integer("moe_intermediate_size")
    return Mixture(
        experts=config.integer("n_routed_experts"),
        per_token=config.integer("num_experts_per_tok"),
        intermediate=intermediate,
        shared=intermediate * config.integer_or("n_shared_experts", 0),
    )


def dense_layers(config: Hyperparameters, layers: int, first: int) -> frozenset[int]:
    """The layers that do not route: as ``mlp_layer_types`` lists them, or the ``first_k_dense_replace`` first ones."""
    leading = config.integer_or("first_k_dense_replace", first)
    every = config.integer_or("moe_layer_freq", 1, low=1)
    if config.has("mlp_layer_types"):
        kinds = config.words("mlp_layer_types", length=layers)
        return frozenset(index for index, kind in enumerate(kinds) if kind == "dense")
    return frozenset(index for index in range(layers) if index < leading or index % every)


def latent_mixture(
    config: Hyperparameters,
    *,
    first_dense: int = 0,
    indexer: Callable[[int], Indexer | None] = lambda _: None,
    own_tables: bool = True,
) -> Blueprint:
    """A model of such layers, ``num_nextn_predict_layers`` drafts after them; the arguments are the family's own rules."""
    size = widths(config, dtype="bfloat16")
    own = latent_widths(config)
    mixture = routing(config)
    plain = dense_layers(config, size.layers, first_dense)
    intermediate = config.integer("intermediate_size") if plain else config.integer_or("intermediate_size", 0)
    config.must_be("mlp_bias", False)

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        mlp = f"{at}.mlp"
        return pre_norm(
            at,
            index,
            size,
            latent_attention(f"{at}.self_attn", index, size, own, indexer(index)),
            dense(mlp, index, size, intermediate) if index in plain else routed(mlp, index, size, mixture),
        )

    drafts = next_token_layers(config.integer_or("num_nextn_predict_layers", 0), size, layer, own_table=own_tables, own_head=own_tables)
    return decoder(config, size, layer=layer, rotary_tables=rotary(config, own.rope), after=drafts)
