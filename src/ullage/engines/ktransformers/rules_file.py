"""The YAML file of ``--optimize_config_path``: which class replaces which modules, and on which GPU. The first rule that matches wins."""

import re
from typing import Final, NamedTuple

from ullage.domain.case import Case, Settings, Value
from ullage.engines.ktransformers.classic_prefill import is_absorbed
from ullage.engines.ktransformers.placement import spans
from ullage.engines.ktransformers.resolve import BALANCE_SERVE, is_latent
from ullage.engines.ktransformers.versions import classic_rules
from ullage.formulas.placement import Span

RULES_FILE = "kt_rules.yaml"
_OPERATORS, _MODELS = "ktransformers.operators", "ktransformers.models"


class Family(NamedTuple):
    """The classes of one family: what stands in the model and what replaces it, and where experts hang."""

    rotary: str
    new_rotary: str
    mixture: str
    new_mixture: str
    attention: str | None
    model: str
    experts: str = "mlp"
    gate: tuple[str, str] | None = None  # the router's class and what replaces it, where it has a bias of its own


_QWEN_MODEL = f"{_OPERATORS}.models.KQwen2MoeModel"
_LATENT_MODEL = f"{_OPERATORS}.models.KDeepseekV2Model"
_LATENT_ATTENTION = f"{_OPERATORS}.attention.KDeepseekV2Attention"
_V3 = Family(
    rotary=f"{_MODELS}.modeling_deepseek_v3.DeepseekV3RotaryEmbedding",
    new_rotary=f"{_OPERATORS}.RoPE.YarnRotaryEmbeddingV3",
    mixture=f"{_MODELS}.modeling_deepseek_v3.DeepseekV3MoE",
    new_mixture=f"{_OPERATORS}.experts.KDeepseekV3MoE",
    attention=_LATENT_ATTENTION,
    model=_LATENT_MODEL,
    gate=(f"{_MODELS}.modeling_deepseek_v3.MoEGate", f"{_OPERATORS}.gate.KMoEGate"),
)
_FAMILIES: Final = {
    "deepseek_v2": Family(
        rotary=f"{_MODELS}.modeling_deepseek.DeepseekV2YarnRotaryEmbedding",
        new_rotary=f"{_OPERATORS}.RoPE.YarnRotaryEmbedding",
        mixture=f"{_MODELS}.modeling_deepseek.DeepseekV2MoE",
        new_mixture=f"{_OPERATORS}.experts.KDeepseekV2MoE",
        attention=_LATENT_ATTENTION,
        model=_LATENT_MODEL,
    ),
    "deepseek_v3": _V3,
    "kimi_k2": _V3,
    "qwen2_moe": Family(
        rotary=f"{_MODELS}.modeling_qwen2_moe.Qwen2MoeRotaryEmbedding",
        new_rotary=f"{_OPERATORS}.RoPE.RotaryEmbedding",
        mixture=f"{_MODELS}.modeling_qwen2_moe.Qwen2MoeSparseMoeBlock",
        new_mixture=f"{_OPERATORS}.experts.KQwen2MoeSparseMoeBlock",
        attention=None,
        model=_QWEN_MODEL,
    ),
    "mixtral": Family(
        rotary=f"{_MODELS}.modeling_mixtral.MixtralRotaryEmbedding",
        new_rotary=f"{_OPERATORS}.RoPE.RotaryEmbedding",
        mixture=f"{_MODELS}.modeling_mixtral.MixtralSparseMoeBlock",
        new_mixture=f"{_OPERATORS}.experts.KMisrtalSparseMoEBlock",
        attention=None,
        model=_QWEN_MODEL,
        experts="block_sparse_moe",
    ),
}


def wants_rules(case: Case) -> bool:
    """Whether the release's built-in rules do not already say the same."""
    rule, said = classic_rules(case.version.parts), case.settings
    rows = is_absorbed(case) and rule.score_rows_settable and said.integer("chunk_size") != rule.score_rows
    other = said.text("generate_op") != "KLinearMarlin" or bool(said.flag("absorb_for_prefill"))
    if said.text("backend_type") == BALANCE_SERVE:  # it has classes and rules of its own, and takes them unasked
        return False
    return case.model.architecture.model_type in _FAMILIES and (len(case.devices) > 1 or rows or other)


def rules_text(case: Case) -> str:
    """The whole file."""
    family = _FAMILIES[case.model.architecture.model_type]
    runs = tuple((f"cuda:{index}", span) for index, span in enumerate(spans(case)) if span[1] > span[0])
    blocks = [_rule("^model.embed_tokens", None, "default", _on("cpu"))]
    for device, span in runs:
        blocks += _run(case, family, device, _numbers(span))
    last = runs[-1][0]
    if classic_rules(case.version.parts).head_quantised:
        blocks.append(_rule("^lm_head", "torch.nn.Linear", f"{_OPERATORS}.linear.KTransformersLinear", _linear(last, "KLinearMarlin")))
    blocks.append(_rule("^model$", None, family.model, _moves(runs)))
    blocks += [_rule(rf"^model\\.layers\\.({_numbers(span)})\\.", None, "default", _on(device)) for device, span in runs]
    blocks.append(_rule("(^model.norm)|(^lm_head)", None, "default", _on(last)))
    return "\n".join(blocks)


def _numbers(span: Span) -> str:
    return "|".join(str(index) for index in range(*span))


def _run(case: Case, family: Family, device: str, numbers: str) -> list[str]:
    """The rules of one GPU's layers."""
    at, op = rf"^model\\.layers\\.({numbers})\\.", case.settings.text("generate_op") or "KLinearMarlin"
    but = r"(?!self_attn\\.kv_b_proj)" if is_latent(case) else r"(?!mlp\\.shared_expert_gate)"
    experts = [
        f'prefill_device: "{device}"',
        'prefill_op: "KExpertsTorch"',
        'generate_device: "cpu"',
        'generate_op: "KExpertsCPU"',
        f'out_device: "{device}"',
    ]
    found = [
        _rule(at, family.rotary, family.new_rotary, _on(device)),
        _rule(f"{at}{but}.*$", "torch.nn.Linear", f"{_OPERATORS}.linear.KTransformersLinear", _linear(device, op)),
        _rule(f"{at}{family.experts}$", family.mixture, family.new_mixture, _on(device)),
        _rule(rf"{at}{family.experts}\\.experts$", None, f"{_OPERATORS}.experts.KTransformersExperts", experts) + "  recursive: False\n",
    ]
    if family.gate is not None:
        found.append(_rule(at, *family.gate, _on(device)))
    if family.attention is not None:
        found.append(_rule(f"{at}self_attn$", None, family.attention, [*_on(device), *_attention(case)]))
    return found


def _attention(case: Case) -> list[str]:
    rule, chunk = classic_rules(case.version.parts), case.settings.integer("chunk_size")
    rows = [f"chunck_size: {chunk}"] if is_absorbed(case) and rule.score_rows_settable else []
    return [*rows, *(["absorb_for_prefill: True"] if case.settings.flag("absorb_for_prefill") else [])]


def _on(device: str) -> list[str]:
    return [f'generate_device: "{device}"', f'prefill_device: "{device}"']


def _linear(device: str, op: str) -> list[str]:
    return [*_on(device), f'generate_op: "{op}"', 'prefill_op: "KLinearTorch"']


def _moves(runs: tuple[tuple[str, Span], ...]) -> list[str]:
    lines = ["per_layer_prefill_intput_threshold: 0"]
    return [*lines, "transfer_map:", *(f'  {span[0]}: "{device}"' for device, span in runs[1:])] if len(runs) > 1 else lines


def _rule(name: str, kind: str | None, replacement: str, keywords: list[str]) -> str:
    match = [f'    name: "{name}"', *([f"    class: {kind}"] if kind else [])]
    lines = ["- match:", *match, "  replace:", f"    class: {replacement}", "    kwargs:", *(f"      {line}" for line in keywords)]
    return "\n".join(lines) + "\n"


_CHUNK = re.compile(r"^\s*chunck_size:\s*(\d{1,6})", re.MULTILINE)
_MOVE = re.compile(r"^\s*(\d{1,4}):\s*\"?cuda:(\d{1,2})", re.MULTILINE)
_OP = re.compile(r"torch\.nn\.Linear[\s\S]{0,400}?generate_op:\s*\"?(KLinear\w{1,12})")


def read_rules(text: str) -> tuple[Settings, int]:
    """What such a file says that matters, and how many GPUs it uses."""
    values: dict[str, Value] = {}
    chunk, op, moves = _CHUNK.search(text), _OP.search(text), _MOVE.findall(text)
    if chunk is not None:
        values["chunk_size"] = int(chunk[1])
    if op is not None:
        values["generate_op"] = op[1]
    if "absorb_for_prefill: True" in text:
        values["absorb_for_prefill"] = True
    if moves:
        values["transfer_map"] = ",".join(first for first, _ in moves)
    return Settings.of(values), 1 + len({device for _, device in moves} - {"0"})
