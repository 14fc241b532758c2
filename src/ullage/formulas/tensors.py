"""The tensors of standard blocks, with the names checkpoints use. A linear weight is (out_features, in_features)."""

from ullage.domain.checkpoint import Part, Role, Tensor, TensorFormat


def weight(name: str, role: Role, layer: int | None, shape: tuple[int, ...], fmt: TensorFormat, *, copies: int = 1) -> Tensor:
    """One tensor called ``name``."""
    return Tensor(name=name, role=role, layer=layer, shape=shape, format=fmt, copies=copies)


def linear(
    name: str,
    role: Role,
    layer: int | None,
    out_features: int,
    in_features: int,
    fmt: TensorFormat,
    *,
    bias: bool = False,
    copies: int = 1,
) -> tuple[Tensor, ...]:
    """``name.weight`` and, when there is one, ``name.bias``."""
    matrix = Tensor(name=f"{name}.weight", role=role, layer=layer, shape=(out_features, in_features), format=fmt, copies=copies)
    if not bias:
        return (matrix,)
    vector = Tensor(
        name=f"{name}.bias",
        role=role,
        layer=layer,
        shape=(out_features,),
        format=fmt,
        copies=copies,
        part=Part.BIAS,
    )
    return (matrix, vector)


def norm(name: str, layer: int | None, size: int, fmt: TensorFormat, *, bias: bool = False, role: Role = Role.NORM) -> tuple[Tensor, ...]:
    """``name.weight`` of an RMS norm, and ``name.bias`` of a layer norm."""
    matrix = Tensor(name=f"{name}.weight", role=role, layer=layer, shape=(size,), format=fmt)
    if not bias:
        return (matrix,)
    return (matrix, Tensor(name=f"{name}.bias", role=role, layer=layer, shape=(size,), format=fmt, part=Part.BIAS))


def attention(  # noqa: PLR0913 - an attention block has this many facts
    prefix: str,
    layer: int,
    fmt: TensorFormat,
    *,
    hidden: int,
    query_heads: int,
    kv_heads: int,
    key_dim: int,
    value_dim: int | None = None,
    qkv_bias: bool = False,
    out_bias: bool = False,
    out_name: str = "o_proj",
) -> tuple[Tensor, ...]:
    """Separate q, k, v and output projections."""
    width = key_dim if value_dim is None else value_dim
    return (
        *linear(f"{prefix}.q_proj", Role.Q, layer, query_heads * key_dim, hidden, fmt, bias=qkv_bias),
        *linear(f"{prefix}.k_proj", Role.K, layer, kv_heads * key_dim, hidden, fmt, bias=qkv_bias),
        *linear(f"{prefix}.v_proj", Role.V, layer, kv_heads * width, hidden, fmt, bias=qkv_bias),
        *linear(f"{prefix}.{out_name}", Role.O, layer, hidden, query_heads * width, fmt, bias=out_bias),
    )


def gated_mlp(prefix: str, layer: int, fmt: TensorFormat, *, hidden: int, intermediate: int, bias: bool = False) -> tuple[Tensor, ...]:
    """Gate, up and down of a dense MLP."""
    return (
        *linear(f"{prefix}.gate_proj", Role.GATE, layer, intermediate, hidden, fmt, bias=bias),
        *linear(f"{prefix}.up_proj", Role.UP, layer, intermediate, hidden, fmt, bias=bias),
        *linear(f"{prefix}.down_proj", Role.DOWN, layer, hidden, intermediate, fmt, bias=bias),
    )


GATED = ("gate_proj", "up_proj", "down_proj")  # what most families call gate, up and down
NUMBERED = ("w1", "w3", "w2")  # what Mixtral and its kin call them


def mlp(up: str, down: str, layer: int, fmt: TensorFormat, *, hidden: int, intermediate: int, bias: bool = False) -> tuple[Tensor, ...]:
    """An MLP without a gate, its two matrices named in full."""
    return (
        *linear(up, Role.UP, layer, intermediate, hidden, fmt, bias=bias),
        *linear(down, Role.DOWN, layer, hidden, intermediate, fmt, bias=bias),
    )


def gated_experts(
    prefix: str, layer: int, fmt: TensorFormat, *, hidden: int, intermediate: int, experts: int, names: tuple[str, str, str] = GATED
) -> tuple[Tensor, ...]:
    """Gate, up and down of every routed expert, one matrix standing for all ``experts`` copies."""
    gate, up, down = (f"{prefix}.experts.{{expert}}.{name}" for name in names)
    return (
        *linear(gate, Role.EXPERT_GATE, layer, intermediate, hidden, fmt, copies=experts),
        *linear(up, Role.EXPERT_UP, layer, intermediate, hidden, fmt, copies=experts),
        *linear(down, Role.EXPERT_DOWN, layer, hidden, intermediate, fmt, copies=experts),
    )


def shared_expert(
    prefix: str, layer: int, fmt: TensorFormat, *, hidden: int, intermediate: int, names: tuple[str, str, str] = GATED
) -> tuple[Tensor, ...]:
    """Gate, up and down of the always active expert called ``prefix``."""
    gate, up, down = (f"{prefix}.{name}" for name in names)
    return (
        *linear(gate, Role.SHARED_GATE, layer, intermediate, hidden, fmt),
        *linear(up, Role.SHARED_UP, layer, intermediate, hidden, fmt),
        *linear(down, Role.SHARED_DOWN, layer, hidden, intermediate, fmt),
    )


def embedding(name: str, vocab: int, hidden: int, fmt: TensorFormat) -> tuple[Tensor, ...]:
    """The token table ``name.weight``."""
    return linear(name, Role.EMBEDDING, None, vocab, hidden, fmt)


def head(name: str, vocab: int, hidden: int, fmt: TensorFormat, *, tied: bool, bias: bool = False) -> tuple[Tensor, ...]:
    """The output projection, absent when it is the token table."""
    return () if tied else linear(name, Role.HEAD, None, vocab, hidden, fmt, bias=bias)
