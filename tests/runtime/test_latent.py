"""Latent attention, absorbed and expanded, against a dense reference that makes every head's keys and values."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.stepping import Stepper
from tests.runtime.tiny import TINY_CONFIGS, tiny_model
from torch import Tensor

from ullage.engines.runtime import latents
from ullage.engines.runtime.latents import EXPANDED_BYTES, expand_from, expanded_heads
from ullage.engines.runtime.pages import Group, Rows
from ullage.runtime.attend.step import Piece, Step
from ullage.runtime.cache.pool import Pool
from ullage.runtime.cache.table import Table
from ullage.runtime.linear.plain import Plain
from ullage.runtime.load import load
from ullage.runtime.model import rotary
from ullage.runtime.model.attention import Turned
from ullage.runtime.model.latent import LatentAttention, side_by_side
from ullage.runtime.model.norms import RmsNorm
from ullage.runtime.model.traits import Rotary

CPU = torch.device("cpu")
HIDDEN, HEADS, LATENT, ROPE, NOPE, VALUE = 24, 5, 16, 8, 8, 12
SCALE = 0.3
TURN = Rotary(dim=ROPE, frequencies=rotary.plain(ROPE, 100.0))


class Model:
    """One layer with random weights, and the same in float64 without a cache."""

    def __init__(self, seed: int, *, expand: int | None) -> None:
        draw = torch.Generator().manual_seed(seed)

        def random(*shape: int) -> Tensor:
            return torch.randn(shape, generator=draw) / shape[-1] ** 0.5

        self.query, self.down, self.out = (
            random(HEADS * (NOPE + ROPE), HIDDEN),
            random(LATENT + ROPE, HIDDEN),
            random(HIDDEN, HEADS * VALUE),
        )
        self.key_up, self.value_up = random(HEADS, NOPE, LATENT), random(HEADS, LATENT, VALUE)
        self.norm = torch.rand(LATENT, generator=draw) + 0.5
        self.layer = LatentAttention(
            query=Plain(self.query),
            down=Plain(self.down),
            norm=RmsNorm(self.norm, 1e-6),
            key_up=self.key_up,
            value_up=self.value_up,
            out=Plain(self.out),
            rope_dim=ROPE,
            scale=SCALE,
            rotary=TURN,
            group=0,
            place=0,
            expand_from=expand,
        )
        group = Group(window=None, layers=(0,), rows=(Rows(heads=1, key_dim=LATENT + ROPE, value_dim=0),))
        self.pool = Pool([group], budget_bytes=1 << 30, page_tokens=8, lanes=2, lane_tokens=512, dtype=torch.float32, device=CPU)

    def run(self, pieces: Sequence[tuple[tuple[Table, ...], Tensor, int]]) -> list[Tensor]:
        """Hidden rows of several sequences from some position on, in one step; what comes out, piece by piece."""
        made = []
        for tables, hidden, start in pieces:
            assert self.pool.grow(tables, start + len(hidden))
            made.append(Piece(tables=tables, tokens=tuple(range(len(hidden))), start=start, length=1, wants_logits=True))
        step = Step(made, self.pool, dual=None, sharp_from=None, device=CPU)
        order = [made.index(piece) for piece in step.pieces]
        packed = torch.cat([pieces[at][1] for at in order])
        found = self.layer(packed, _Same(), step, Turned(step, packed)).split([len(pieces[at][1]) for at in order])
        return [found[order.index(at)] for at in range(len(pieces))]

    def dense(self, hidden: Tensor) -> Tensor:
        """Every head's own keys and values, in float64."""
        x, rows = hidden.double(), len(hidden)
        query = (x @ self.query.double().T).view(rows, HEADS, NOPE + ROPE)
        kept = x @ self.down.double().T
        latent = kept[:, :LATENT] * (kept[:, :LATENT].square().mean(-1, keepdim=True) + 1e-6).rsqrt() * self.norm.double()
        keys = torch.einsum("hnl,tl->thn", self.key_up.double(), latent)
        values = torch.einsum("hlv,tl->thv", self.value_up.double(), latent)
        turned_key = _turned(kept[:, LATENT:])[:, None].expand(-1, HEADS, -1)
        key, query = torch.cat((keys, turned_key), -1), torch.cat((query[..., :NOPE], _turned(query[..., NOPE:])), -1)
        scores = torch.einsum("qhd,khd->hqk", query, key) * SCALE
        weights = scores.masked_fill(torch.ones(rows, rows).triu(1).bool(), float("-inf")).softmax(-1)
        return torch.einsum("hqk,khv->qhv", weights, values).reshape(rows, -1) @ self.out.double().T


class _Same(RmsNorm):
    """No norm before the layer."""

    def __init__(self) -> None:
        super().__init__(torch.ones(1), 0.0)

    def __call__(self, x: Tensor) -> Tensor:
        return x


def _turned(x: Tensor) -> Tensor:
    """Rotated by the position of the first dimension, pair by pair, as complex numbers."""
    half = ROPE // 2
    angles = torch.outer(torch.arange(len(x)), torch.tensor(TURN.frequencies, dtype=torch.float64))
    angles = angles.view(len(x), *[1] * (x.dim() - 2), half)
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat((turned.real, turned.imag), -1)


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 150),
    chunk=st.integers(1, 160),
    expand=st.sampled_from([None, 2, 20]),
    few=st.booleans(),
    seed=st.integers(0, 999),
)
def test_absorbed_and_expanded_latents_are_dense_attention(length: int, chunk: int, expand: int | None, *, few: bool, seed: int) -> None:
    model = Model(seed, expand=expand)
    hidden = torch.randn(length, HIDDEN, generator=torch.Generator().manual_seed(seed))
    tables = model.pool.new_tables()
    with pytest.MonkeyPatch.context() as patch:
        if few:  # two heads at a time
            patch.setattr(latents, "EXPANDED_BYTES", 2 * 2 * 4 * (NOPE + ROPE) * 4096)
        found = torch.cat(
            [model.run([(tables, hidden[start : start + chunk], start)])[0] for start in range(0, length, chunk)]
        )  # fmt: skip
    torch.testing.assert_close(found, model.dense(hidden).float(), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("expand", [None, 8])
def test_prompts_short_pieces_and_single_tokens_in_one_step_are_each_as_if_alone(expand: int | None) -> None:
    model = Model(3, expand=expand)
    draw = torch.Generator().manual_seed(4)
    lengths, before = (40, 5, 30, 31, 70), (0, 3, 29, 30, 20)
    rows = [torch.randn(length, HIDDEN, generator=draw) for length in lengths]
    tables = [model.pool.new_tables() for _ in lengths]
    for own, hidden, start in zip(tables, rows, before, strict=True):
        if start:
            model.run([(own, hidden[:start], 0)])
    found = model.run([(own, hidden[start:], start) for own, hidden, start in zip(tables, rows, before, strict=True)])
    for part, hidden, start in zip(found, rows, before, strict=True):
        torch.testing.assert_close(part, model.dense(hidden)[start:].float(), atol=2e-5, rtol=2e-5)


@given(heads=st.integers(1, 4), before=st.integers(0, 5), pairs=st.integers(1, 4))
def test_rows_moved_apart_keep_every_dot_product_of_what_is_turned(heads: int, before: int, pairs: int) -> None:
    width = before + 2 * pairs
    order = side_by_side(heads, before, 2 * pairs)
    assert sorted(order.tolist()) == list(range(heads * width))
    for head in range(heads):
        own = order[head * width : (head + 1) * width] - head * width
        assert own[:before].tolist() == list(range(before))
        first, second = own[before : before + pairs], own[before + pairs :]
        assert (second - first).tolist() == [1] * pairs


def test_only_latents_and_rotary_keys_are_kept(tmp_path: Path) -> None:
    config = TINY_CONFIGS["deepseek_v3"]
    loaded = load(str(tiny_model(tmp_path, config)), dtype=torch.float32, device=CPU)
    stepper = Stepper(loaded, page=16)
    stepper.logits(range(3, 35), chunk=32)
    kept = config["num_hidden_layers"] * (config["kv_lora_rank"] + config["qk_rope_head_dim"])
    assert stepper.pool.taken_bytes == 32 * kept * 4


def test_the_matrix_that_expands_is_kept_once(tmp_path: Path) -> None:
    config = TINY_CONFIGS["deepseek_v2_grouped"]
    path = tiny_model(tmp_path, config)
    stored = (path / "model.safetensors").stat().st_size
    assert load(str(path), dtype=torch.float32, device=CPU).decoder.weight_bytes <= stored


@given(latent=st.integers(1, 600), rope=st.integers(1, 80), nope=st.integers(1, 200), value=st.integers(1, 200))
def test_latents_are_expanded_where_that_multiplies_less(latent: int, rope: int, nope: int, value: int) -> None:
    first = expand_from(latent=latent, rope=rope, nope=nope, value=value)

    def cheaper(rows: int) -> bool:
        return rows * 2 * (nope + rope) + latent * (nope + value) <= rows * 2 * (latent + rope)

    if value > nope + rope or latent <= nope:
        assert first is None
    else:
        assert first is not None
        assert cheaper(first)
        assert not cheaper(first - 1)


@given(heads=st.integers(1, 128), keys=st.integers(1, 40_000), width=st.integers(1, 256), element=st.sampled_from([2, 4]))
def test_what_is_expanded_at_a_time_fits_its_bound(heads: int, keys: int, width: int, element: int) -> None:
    some = expanded_heads(heads, keys, width, element)
    assert 1 <= some <= heads
    assert some == 1 or some * keys * width * element * 2 <= EXPANDED_BYTES


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_projections_with_moved_rows_may_be_packed(tmp_path: Path, weights: str) -> None:
    path = str(tiny_model(tmp_path, TINY_CONFIGS["deepseek_v3"]))
    prompt = [(5 * index * index + 3) % 320 for index in range(50)]
    exact, rough = (
        Stepper(load(path, dtype=torch.float32, device=CPU, weights=form)).logits(prompt, chunk=50) for form in ("native", weights)
    )
    assert (exact - rough).norm() / exact.norm() < (0.1 if weights == "int8" else 0.6)
