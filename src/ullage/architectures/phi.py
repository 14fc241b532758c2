"""Phi-1 to Phi-2: attention and MLP side by side under one norm, biases everywhere; read in its two spellings."""

from ullage.architectures._decoder import GPT, Spelling, widths
from ullage.architectures._dense import attention, mlp, norms, stack
from ullage.architectures._gpt import Biases, Names, gpt
from ullage.architectures._rotary import rotary, rotary_dim
from ullage.domain.architecture import DenseFeedForward
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block

_MSFT = Spelling(hidden=GPT.hidden, layers=GPT.layers, heads=GPT.heads, kv_heads=("n_head_kv",), positions=GPT.positions)
_MSFT_NAMES = Names(
    qkv="mixer.Wqkv",
    out="mixer.out_proj",
    up="mlp.fc1",
    down="mlp.fc2",
    norms=("ln",),
    table="embd.wte",
    final_norm=None,
    head="lm_head.linear",
)


def _msft(config: Hyperparameters) -> Blueprint:
    """As first published: fused projections, and the last norm inside the head."""
    size = widths(config, positions=2048, spelling=_MSFT)
    width = config.integer_or("n_inner", 4 * size.hidden, low=1)
    last = block.norm("lm_head.ln", None, size.hidden, size.fmt, bias=True)
    tables = rotary(config, config.integer_or("rotary_dim", 32), size.positions)
    return gpt(config, size, _MSFT_NAMES, Biases(head=True), intermediate=width, rotary_tables=tables, before=last)


def read(config: Hyperparameters) -> Blueprint:
    """Half of each head is rotated unless said otherwise."""
    if config.text("model_type") == "phi-msft":
        return _msft(config)
    size = widths(config, positions=2048)
    width = config.integer("intermediate_size")
    head_norms = ("q_layernorm", "k_layernorm") if config.flag("qk_layernorm", default=False) else ()

    def parts(at: str, index: int) -> tuple[Tensor, ...]:
        inside = f"{at}.self_attn"
        return (
            *attention(inside, index, size, qkv_bias=True, out_bias=True, out_name="dense"),
            *(tensor for name in head_norms for tensor in block.norm(f"{inside}.{name}", index, size.head_dim, size.fmt, bias=True)),
            *mlp(f"{at}.mlp", index, size, width, bias=True, ungated=("fc1", "fc2")),
            *norms(at, ("input_layernorm",), index, size, bias=True),
        )

    return stack(
        config,
        size,
        "model.layers",
        parts,
        DenseFeedForward(intermediate=width, gated=False),
        rotary_tables=rotary(config, rotary_dim(config, size.head_dim, 0.5), size.positions),
        final_norm="final_layernorm",
        norm_bias=True,
        head_bias=True,
    )


FAMILY = Family(model_types=("phi", "phi-msft"), read=read, title="Phi-1, Phi-1.5, Phi-2")
