"""Experts: who is picked, what they add, where they lie, and what is not run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.stepping import Stepper
from tests.runtime.tiny import TINY_CONFIGS, random_tensors, tiny_model, write_safetensors
from torch import Tensor

from ullage.architectures import read
from ullage.domain.hyperparameters import Hyperparameters
from ullage.engines.runtime.transient import ROWS, mixture_rows
from ullage.errors import UnsupportedModelError
from ullage.runtime.linear.plain import Plain
from ullage.runtime.load import load
from ullage.runtime.model.experts import Mixture, Resident, Router
from ullage.runtime.model.families import traits
from ullage.runtime.model.feed_forward import DenseMlp
from ullage.runtime.model.staging import OnHost, Staging
from ullage.runtime.model.traits import Activation, Routing, Scoring

CPU = torch.device("cpu")
HIDDEN, WIDE = 16, 24
PROMPT = [(5 * index * index + index + 3) % 320 for index in range(60)]


def expert(draw: torch.Generator) -> DenseMlp:
    up, down = torch.randn(2 * WIDE, HIDDEN, generator=draw) / 4, torch.randn(HIDDEN, WIDE, generator=draw) / 4
    return DenseMlp(up=Plain(up), down=Plain(down), activation=Activation.SILU, gated=True, rows=ROWS)


def router(routing: Routing, experts: int, picked: int, seed: int = 0, *, correction: Tensor | None = None) -> Router:
    weight = torch.randn(experts, HIDDEN, generator=torch.Generator().manual_seed(seed))
    return Router(weight, None, correction, routing, picked)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.sampled_from([1, 2, 7, ROWS, ROWS + 1, 3 * ROWS]),
    picked=st.integers(1, 4),
    shared=st.booleans(),
    scoring=st.sampled_from(Scoring),
    seed=st.integers(0, 99),
)
def test_a_mixture_is_each_row_through_its_own_experts(rows: int, picked: int, *, shared: bool, scoring: Scoring, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    experts = [expert(draw) for _ in range(6)]
    always, gate = expert(draw), Plain(torch.randn(1, HIDDEN, generator=draw))
    routes = router(Routing(scoring=scoring, normalised=True, factor=1.5), 6, picked, seed)
    mixture = Mixture(routes, Resident(tuple(experts)), shared=always if shared else None, shared_gate=gate if shared else None, rows=ROWS)
    x = torch.randn(rows, HIDDEN, generator=draw)
    chosen, weights = routes(x)
    some = torch.randint(0, rows, (min(rows, 12),), generator=draw).tolist()
    found = mixture(x)
    for row in some:
        own = x[row : row + 1]
        expected = sum(weight * experts[index](own) for index, weight in zip(chosen[row].tolist(), weights[row], strict=True))
        if shared:
            expected = expected + always(own) * torch.sigmoid(gate(own))
        torch.testing.assert_close(found[row : row + 1], expected, atol=1e-5, rtol=1e-4)


class Counting:
    """Experts that tell which of them were asked for."""

    def __init__(self, experts: Sequence[DenseMlp]) -> None:
        self.experts, self.asked, self.nbytes = experts, list[int](), 0

    def __len__(self) -> int:
        return len(self.experts)

    def __getitem__(self, index: int, /) -> DenseMlp:
        self.asked.append(index)
        return self.experts[index]


@pytest.mark.parametrize("rows", [1, 3, 700])
def test_only_experts_that_were_picked_are_touched_and_each_once(rows: int) -> None:
    draw = torch.Generator().manual_seed(1)
    routes = router(Routing(scoring=Scoring.SOFTMAX, normalised=False), 16, 2)
    experts = Counting([expert(draw) for _ in range(16)])
    x = torch.randn(rows, HIDDEN, generator=draw)
    Mixture(routes, experts, shared=None, shared_gate=None, rows=ROWS)(x)
    assert experts.asked == sorted(set(routes(x)[0].flatten().tolist()))


@settings(max_examples=40, deadline=None)
@given(groups=st.sampled_from([2, 4, 8]), kept=st.integers(1, 4), score=st.integers(1, 2), seed=st.integers(0, 999))
def test_experts_come_from_the_best_groups_and_a_correction_only_chooses(groups: int, kept: int, score: int, seed: int) -> None:
    experts, kept = 16, min(kept, groups)
    picked = min(3, kept * (experts // groups))
    correction = torch.randn(experts, generator=torch.Generator().manual_seed(seed))
    routing = Routing(
        scoring=Scoring.SIGMOID, normalised=True, factor=2.5, groups=groups, picked_groups=kept, group_score=score, in_float=True
    )
    routes = router(routing, experts, picked, seed, correction=correction)
    x = torch.randn(5, HIDDEN, generator=torch.Generator().manual_seed(seed + 1))
    chosen, weights = routes(x)
    scores = torch.sigmoid(x.double() @ torch.randn(experts, HIDDEN, generator=torch.Generator().manual_seed(seed)).double().T)
    for row in range(5):
        choice = (scores[row] + correction).view(groups, -1)
        best = choice.sort(-1, descending=True).values[:, :score].sum(-1).argsort(descending=True)[:kept].tolist()
        allowed = [group * (experts // groups) + at for group in best for at in range(experts // groups)]
        wanted = sorted(allowed, key=lambda index: -float(scores[row, index] + correction[index]))[:picked]
        assert set(chosen[row].tolist()) == set(wanted)
        own = scores[row, chosen[row]]
        torch.testing.assert_close(weights[row].double(), own / own.sum() * 2.5, atol=1e-5, rtol=1e-5)


def test_the_clamped_gate_is_that_of_gpt_oss() -> None:
    up = torch.eye(4).repeat_interleave(2, 1)[:, :8].T.contiguous()
    made = DenseMlp(up=Plain(up * 5), down=Plain(torch.eye(4)), activation=Activation.CLAMPED_SWIGLU, gated=True, rows=ROWS)
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(3)) * 3
    gate, lifted = (x @ (up * 5).T).chunk(2, -1)
    gate, lifted = gate.clamp(max=7.0), lifted.clamp(-7.0, 7.0)
    torch.testing.assert_close(made(x), gate * torch.sigmoid(1.702 * gate) * (lifted + 1))


@pytest.mark.parametrize(("experts", "picked", "rows"), [(8, 2, 4 * ROWS), (128, 8, 8 * ROWS), (4, 4, ROWS), (4, 8, ROWS)])
def test_a_mixture_takes_rows_enough_for_its_experts_and_no_more(experts: int, picked: int, rows: int) -> None:
    assert mixture_rows(experts, picked) == rows


@pytest.mark.parametrize("name", ["qwen2_moe", "deepseek_v3", "gpt_oss"])
@pytest.mark.parametrize("weights", ["native", "int8", "int4"])
def test_experts_on_the_host_answer_as_those_on_the_device_and_no_more_stand_there_than_have_room(
    tmp_path: Path, name: str, weights: str
) -> None:
    path = str(tiny_model(tmp_path, TINY_CONFIGS[name]))
    resident = load(path, dtype=torch.float32, device=CPU, weights=weights)
    expected = Stepper(resident).logits(PROMPT, chunk=16, prompt=56)
    for room in (1, 3, 1000):
        staged = load(path, dtype=torch.float32, device=CPU, weights=weights, staged_experts=room)
        assert staged.staging is not None
        torch.testing.assert_close(Stepper(staged).logits(PROMPT, chunk=16, prompt=56), expected, atol=0, rtol=0)
        assert 0 < staged.staging.held_bytes <= staged.staging.nbytes
        assert staged.decoder.weight_bytes == resident.decoder.weight_bytes


def test_staging_keeps_what_was_used_last() -> None:
    draw = torch.Generator().manual_seed(0)
    staging = Staging(2, CPU)
    experts = OnHost(0, staging)
    for _ in range(4):
        experts.add(expert(draw))
    first = experts[0]
    experts[1]
    assert experts[0] is first
    experts[2]
    assert (experts[0] is first, staging.copies) == (True, 3)
    assert experts[1] is not first
    assert staging.held_bytes == staging.nbytes == 2 * first.nbytes


def test_room_for_no_expert_is_refused() -> None:
    with pytest.raises(ValueError, match="smallest is 1"):
        Staging(0, CPU)


def test_experts_packed_in_bfloat16_can_lie_on_the_host(tmp_path: Path) -> None:
    path = str(tiny_model(tmp_path, {**TINY_CONFIGS["qwen3_moe"], "torch_dtype": "bfloat16"}))
    one, other = (load(path, dtype=torch.bfloat16, device=CPU, staged_experts=room) for room in (None, 2))
    torch.testing.assert_close(Stepper(one).logits(PROMPT, chunk=60), Stepper(other).logits(PROMPT, chunk=60), atol=0, rtol=0)


def _blocks(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(experts, rows, columns) as MXFP4: bytes, exponents, and what they mean."""
    steps = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    table = torch.cat((steps, -steps))
    groups = values.view(*values.shape[:2], -1, 32)
    exponents = (groups.abs().amax(-1) / 6).clamp_min(1e-20).log2().ceil().clamp(-126, 127)
    codes = (groups[..., None] / 2.0 ** exponents[..., None, None] - table).abs().argmin(-1)
    packed = (codes[..., 0::2] | (codes[..., 1::2] << 4)).to(torch.uint8)
    return packed, (exponents + 127).to(torch.uint8), (table[codes] * 2.0 ** exponents[..., None]).view_as(values)


def test_mxfp4_experts_answer_as_the_numbers_they_stand_for(tmp_path: Path) -> None:
    config = TINY_CONFIGS["gpt_oss"]
    plain = random_tensors(config)
    packed = dict(plain)
    for name in [name for name in plain if name.endswith(("gate_up_proj", "down_proj"))]:
        bytes_, scales, meant = _blocks(plain[name].transpose(1, 2).contiguous())
        plain[name] = meant.transpose(1, 2).contiguous()
        del packed[name]
        packed[f"{name}_blocks"], packed[f"{name}_scales"] = bytes_, scales
    one, other = tmp_path / "plain", tmp_path / "packed"
    found = []
    for folder, tensors in ((one, plain), (other, packed)):
        model = tiny_model(folder, config)
        if tensors is packed:
            scheme = {"quantization_config": {"quant_method": "mxfp4"}}
            (model / "config.json").write_text(json.dumps(config | scheme))
        write_safetensors(model / "model.safetensors", tensors)
        found.append(Stepper(load(str(model), dtype=torch.float32, device=CPU)).logits(PROMPT, chunk=60))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("deepseek_v2", {"topk_method": "noaux_tc"}, "topk_method is 'noaux_tc'"),
        ("deepseek_v2", {"norm_topk_prob": True}, "norm_topk_prob false"),
        ("deepseek_v3", {"scoring_func": "softmax"}, "scoring_func 'softmax'"),
        ("gpt_oss", {"swiglu_limit": 5.0}, "swiglu_limit 7.0"),
        ("deepseek_v3", {"model_type": "deepseek_v32", "index_n_heads": 2, "index_head_dim": 16, "index_topk": 8}, "'deepseek_v32'"),
    ],
)
def test_routing_that_is_not_run_is_refused(name: str, changes: dict[str, Any], said: str) -> None:
    config = Hyperparameters({**TINY_CONFIGS[name], **changes})
    with pytest.raises(UnsupportedModelError, match=said):
        traits(config, read(config).architecture)
