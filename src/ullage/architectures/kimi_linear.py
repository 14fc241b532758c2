"""Kimi Linear and the decoder of Kimi K3: Kimi delta attention, one latent attention layer in four, experts after a dense first layer."""

from collections.abc import Iterator

from ullage.architectures._decoder import Spelling, Widths, decoder, widths
from ullage.architectures._experts import Attending, Built, Feeding, Mixture, dense, pre_norm, routed
from ullage.architectures._kimi_delta import delta_attention, linear_part
from ullage.architectures._mla import dense_layers, latent_attention, latent_widths
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block

_UNSIZED = (
    "activation_situ_beta",
    "activation_situ_linear_beta",
    "head_dim",
    "mla_use_nope",
    "moe_layer_freq",
    "moe_renormalize",
    "moe_router_activation_func",
    "n_group",
    "num_expert_group",
    "num_key_value_heads",
    "use_grouped_topk",
)


_SPELLING = Spelling(positions=("max_position_embeddings", "model_max_length"))


def read(config: Hyperparameters) -> Blueprint:
    """No layer has rotary positions, though the latent keys keep the rotary part's width. K3's additions are off in Kimi Linear."""
    config.ignore(*_UNSIZED)
    config.must_be("num_nextn_predict_layers", 0)
    size = widths(config, dtype="bfloat16", spelling=_SPELLING)
    latent = latent_widths(config)
    gated = config.flag("mla_use_output_gate", default=False)
    delta, each = linear_part(config, size.layers)
    plain = dense_layers(config, size.layers, 1)
    experts = _mixture(config)
    latent_norm = config.flag("latent_moe_use_norm", default=False)
    intermediate = config.integer_or("intermediate_size", 9216, low=1)
    mixes_residuals = config.has("attn_res_block_size")

    def attending(at: str, index: int) -> Attending:
        if each[index] != "full":
            return delta_attention(at, index, size, delta)
        mixer, tensors = latent_attention(at, index, size, latent)
        gate = block.linear(f"{at}.g_proj", Role.ATTENTION_OTHER, index, size.query_heads * latent.value, size.hidden, size.fmt)
        return mixer, (*tensors, *(gate if gated else ()))

    def feeding(at: str, index: int) -> Feeding:
        if index in plain:
            return dense(f"{at}.mlp", index, size, intermediate)
        own = f"{at}.block_sparse_moe"
        outline, tensors = routed(own, index, size, experts)
        return outline, (*tensors, *_around(own, index, size, experts.latent, norm=latent_norm))

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        outline, tensors = pre_norm(at, index, size, attending(f"{at}.self_attn", index), feeding(at, index))
        return outline, (*tensors, *(_residuals((f"{at}.self_attention_res", f"{at}.mlp_res"), index, size) if mixes_residuals else ()))

    after = tuple(_residuals(("model.output_attn_res",), None, size)) if mixes_residuals else ()
    return decoder(config, size, layer=layer, after=after)


def _mixture(config: Hyperparameters) -> Mixture:
    width = config.integer_or("moe_intermediate_size", 1024, low=1)
    count = next((config.integer(key) for key in ("num_local_experts", "num_experts") if config.has(key)), 256)
    used = next((config.integer(key) for key in ("num_experts_per_tok", "num_experts_per_token") if config.has(key)), 8)
    shared = next((config.integer(key) for key in ("n_shared_experts", "num_shared_experts") if config.has(key)), 1)
    latent = config.integer_or("routed_expert_hidden_size", 0) or None
    return Mixture(experts=count, per_token=used, intermediate=width, shared=width * shared, latent=latent, names=block.NUMBERED)


def _around(at: str, index: int, size: Widths, latent: int | None, *, norm: bool) -> Iterator[Tensor]:
    """Down to the width of the routed experts and up again; K3's files leave both in the model's dtype."""
    if latent is None:
        return
    yield from block.linear(f"{at}.routed_expert_down_proj", Role.OTHER, index, latent, size.hidden, size.fmt)
    yield from block.linear(f"{at}.routed_expert_up_proj", Role.OTHER, index, size.hidden, latent, size.fmt)
    if norm:
        yield from block.norm(f"{at}.routed_expert_norm", index, latent, size.fmt)


def _residuals(names: tuple[str, ...], index: int | None, size: Widths) -> Iterator[Tensor]:
    """What weighs the outputs of earlier blocks of layers against the running residual: a norm and one score for each."""
    for name in names:
        yield from block.norm(f"{name}_norm", index, size.hidden, size.fmt)
        yield from block.linear(f"{name}_proj", Role.OTHER, index, 1, size.hidden, size.fmt)


FAMILY = Family(model_types=("kimi_linear",), read=read, title="Kimi Linear")
