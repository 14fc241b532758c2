"""State space mixers of the hybrid families: Mamba 1 and 2, with what each keeps per sequence and the tensors it is made of."""

from ullage.architectures._decoder import Widths, decoder
from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.architecture import Layer, Recurrent
from ullage.domain.checkpoint import Role, Tensor, TensorFormat
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError
from ullage.formulas import tensors as block
from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba2:
    """The sizes of one Mamba 2 mixer; the convolution runs over the inner width and the B and C of every group."""

    hidden: int
    heads: int
    head_dim: int
    groups: int
    state: int
    kernel: int
    in_bias: bool = False
    out_bias: bool = False
    conv_bias: bool = True
    gated_norm: bool = True
    state_dtype: str | None = None

    @property
    def inner(self) -> int:
        """Width of all heads."""
        return self.heads * self.head_dim

    @property
    def conv(self) -> int:
        """Channels of the convolution."""
        return self.inner + 2 * self.groups * self.state

    @property
    def mixer(self) -> Recurrent:
        """What one sequence keeps: the last ``kernel - 1`` inputs of the convolution and one matrix per head."""
        return Recurrent(
            kind="mamba2",
            heads=self.heads,
            conv_elements=(self.kernel - 1) * self.conv,
            state_elements=self.inner * self.state,
            inner_dim=self.inner,
            state_dtype=self.state_dtype,
        )

    def tensors(self, prefix: str, layer: int, fmt: TensorFormat) -> tuple[Tensor, ...]:
        """One projection makes gate, x, B, C and the step of every head."""
        return (
            *(block.weight(f"{prefix}.{name}", Role.RECURRENT_STATE, layer, (self.heads,), fmt) for name in ("A_log", "D", "dt_bias")),
            *convolution(f"{prefix}.conv1d", layer, fmt, channels=self.conv, kernel=self.kernel, bias=self.conv_bias),
            *block.linear(
                f"{prefix}.in_proj", Role.RECURRENT_IN, layer, self.inner + self.conv + self.heads, self.hidden, fmt, bias=self.in_bias
            ),
            *(block.norm(f"{prefix}.norm", layer, self.inner, fmt) if self.gated_norm else ()),
            *block.linear(f"{prefix}.out_proj", Role.RECURRENT_OUT, layer, self.hidden, self.inner, fmt, bias=self.out_bias),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba1:
    """The sizes of one Mamba mixer: every channel is a head of its own. ``normed`` ones have weights in the norms of step, B and C."""

    hidden: int
    inner: int
    state: int
    kernel: int
    step_rank: int
    bias: bool = False
    conv_bias: bool = True
    normed: bool = False

    @property
    def mixer(self) -> Recurrent:
        """What one sequence keeps: the last inputs of the convolution and ``state`` numbers per channel."""
        return Recurrent(
            kind="mamba",
            heads=self.inner,
            conv_elements=(self.kernel - 1) * self.inner,
            state_elements=self.inner * self.state,
            inner_dim=self.inner,
        )

    def tensors(self, prefix: str, layer: int, fmt: TensorFormat) -> tuple[Tensor, ...]:
        """``x_proj`` is cut along its input and ``dt_proj`` along its output, hence their roles."""
        norms = (("dt_layernorm", self.step_rank), ("b_layernorm", self.state), ("c_layernorm", self.state)) if self.normed else ()
        return (
            block.weight(f"{prefix}.A_log", Role.RECURRENT_STATE, layer, (self.inner, self.state), fmt),
            block.weight(f"{prefix}.D", Role.RECURRENT_STATE, layer, (self.inner,), fmt),
            *convolution(f"{prefix}.conv1d", layer, fmt, channels=self.inner, kernel=self.kernel, bias=self.conv_bias),
            *block.linear(f"{prefix}.in_proj", Role.RECURRENT_IN, layer, 2 * self.inner, self.hidden, fmt, bias=self.bias),
            *block.linear(f"{prefix}.x_proj", Role.RECURRENT_OUT, layer, self.step_rank + 2 * self.state, self.inner, fmt),
            *block.linear(f"{prefix}.dt_proj", Role.RECURRENT_IN, layer, self.inner, self.step_rank, fmt, bias=True),
            *block.linear(f"{prefix}.out_proj", Role.RECURRENT_OUT, layer, self.hidden, self.inner, fmt, bias=self.bias),
            *(tensor for name, size in norms for tensor in block.norm(f"{prefix}.{name}", layer, size, fmt)),
        )


def convolution(name: str, layer: int, fmt: TensorFormat, *, channels: int, kernel: int, bias: bool) -> tuple[Tensor, ...]:
    """A depthwise convolution over time."""
    matrix = block.weight(f"{name}.weight", Role.RECURRENT_CONV, layer, (channels, 1, kernel), fmt)
    return (matrix, block.weight(f"{name}.bias", Role.RECURRENT_CONV, layer, (channels,), fmt)) if bias else (matrix,)


# Runtime choices and initial values: none of them changes a tensor or a state.
_INERT_KEYS = (
    "chunk_size",
    "mamba_chunk_size",
    "num_logits_to_keep",
    "rescale_prenorm_residual",
    "residual_in_fp32",
    "time_step_floor",
    "time_step_init_scheme",
    "time_step_limit",
    "time_step_max",
    "time_step_min",
    "time_step_scale",
    "use_associative_scan",
    "use_mamba_kernels",
    "use_mambapy",
)


def ignore_inert(config: Hyperparameters) -> None:
    """The keys that only steer the scan."""
    config.ignore(*_INERT_KEYS)


def state_dtype_of(config: Hyperparameters, key: str, default: str | None = None) -> str | None:
    """The dtype the file asks the state to be kept in. Raises UnsupportedModelError for one without a known size."""
    word = config.text_or(key, "auto")
    if word == "auto":
        return default
    return model_dtype(word).name


def mamba2_of(config: Hyperparameters, hidden: int, *, inner: int | None = None) -> Mamba2:
    """The ``mamba_*`` keys of Bamba, Granite 4 and Falcon-H1. ``inner`` is the width of all heads where the head's own is "auto"."""
    ignore_inert(config)
    heads = config.integer_or("mamba_n_heads", 128, low=1)
    expanded = config.integer_or("mamba_expand", 2, low=1) * hidden
    automatic = config.raw("mamba_d_head") in (None, "auto")
    head_dim = (expanded if inner is None else inner) // heads if automatic else config.integer("mamba_d_head")
    bias = config.flag("mamba_proj_bias", default=False)
    return Mamba2(
        hidden=hidden,
        heads=heads,
        head_dim=head_dim,
        groups=config.integer_or("mamba_n_groups", 1, low=1),
        state=config.integer_or("mamba_d_state", 256, low=1),
        kernel=config.integer_or("mamba_d_conv", 4, low=1),
        in_bias=bias,
        out_bias=bias,
        conv_bias=config.flag("mamba_conv_bias", default=True),
    )


def step_rank(config: Hyperparameters, key: str, hidden: int) -> int:
    """The rank of Mamba's step; "auto" is a sixteenth of the width, rounded up."""
    return -(-hidden // 16) if config.raw(key) in (None, "auto") else config.integer(key)


def attention_free(config: Hyperparameters, *, hidden: int, layers: int, vocab: int, tied: bool, dtype: str) -> Widths:
    """Sizes of a model without attention, which sets no length; the arguments are the class's defaults."""
    word = config.text_or("torch_dtype", config.text_or("dtype", dtype))
    return Widths(
        hidden=config.integer_or("hidden_size", hidden, low=1),
        layers=config.integer_or("num_hidden_layers", layers, low=1),
        vocab=config.integer_or("vocab_size", vocab, low=1),
        query_heads=0,
        kv_heads=0,
        head_dim=0,
        max_context_tokens=None,
        tied=config.flag("tie_word_embeddings", default=tied),
        dtype=word.removeprefix("torch."),
        fmt=model_dtype(word),
    )


def mixers_only(config: Hyperparameters, size: Widths, spec: Mamba1 | Mamba2) -> Blueprint:
    """A model whose layers are a norm and a mixer."""
    outline = Layer(mixers=(spec.mixer,), feed_forward=None)

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        at = f"backbone.layers.{index}"
        return outline, (*block.norm(f"{at}.norm", index, size.hidden, size.fmt), *spec.tensors(f"{at}.mixer", index, size.fmt))

    return decoder(config, size, layer=layer, prefix="backbone", table="embeddings", final_norm="norm_f")


_KINDS = {"mamba": "linear", "linear_attention": "linear", "attention": "full", "full_attention": "full"}


def layer_kinds(config: Hyperparameters, key: str, layers: int | None, **others: str) -> tuple[str, ...]:
    """``key`` as "full" and "linear", whatever the file's generation calls them; ``others`` are the family's own further words.

    ``layers`` None takes as many as there are.
    """
    known = {**_KINDS, **others}
    words = config.words(key, length=layers)
    for word in words:
        if word not in known:
            raise UnsupportedModelError(f"{key} has {word!r}; only {', '.join(sorted(known))} are known for this family")
    return tuple(known[word] for word in words)
