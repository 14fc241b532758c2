"""The widest moment of a forward pass against the live bytes that PyTorch really has, counted on a CPU."""

import pytest

from ullage.architectures import read
from ullage.domain.case import Case, Model, Settings
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.machine import Device, Machine
from ullage.domain.workload import Workload
from ullage.engines.transformers.activation import prefill
from ullage.engines.transformers.cache import kept
from ullage.engines.transformers.placement import shares
from ullage.engines.transformers.settings import resolve
from ullage.engines.transformers.versions import NEWEST
from ullage.formats import checkpoint
from ullage.units import GiB

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5.20")
LiveBytes = pytest.importorskip("tools.live_bytes").LiveBytes

pytestmark = pytest.mark.oracle

COMMON: dict[str, Json] = {
    "hidden_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
}
LLAMA: dict[str, Json] = {**COMMON, "model_type": "llama", "architectures": ["LlamaForCausalLM"]}
MIXTURE: dict[str, Json] = {
    **COMMON,
    "model_type": "qwen3_moe",
    "architectures": ["Qwen3MoeForCausalLM"],
    "intermediate_size": 512,
    "head_dim": 32,
    "num_experts": 16,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 384,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
}
CASES = {
    "wide MLP": ({**LLAMA, "intermediate_size": 1024}, "sdpa", 1500),
    "narrow MLP": ({**LLAMA, "intermediate_size": 64}, "sdpa", 1500),
    "experts": (MIXTURE, "sdpa", 1500),
}


def measured(config: dict[str, Json], attention: str, tokens: int) -> int:
    cls = getattr(transformers, config["architectures"][0])
    made = cls.config_class(**{key: value for key, value in config.items() if key not in {"architectures", "torch_dtype"}})
    made._attn_implementation = attention
    model = cls(made).to(torch.bfloat16).eval()
    live = LiveBytes((*model.parameters(), *model.buffers()))
    with torch.no_grad(), live:
        model(torch.zeros((1, tokens), dtype=torch.long), use_cache=True, logits_to_keep=1)
    return live.peak


def promised(config: dict[str, Json], attention: str, tokens: int) -> int:
    blueprint = read(Hyperparameters(config))
    stored = checkpoint(blueprint, None)
    case = resolve(
        Case(
            model=Model(name="m", source="", architecture=blueprint.architecture, checkpoint=stored, parameters=0),
            engine="transformers",
            version=NEWEST,
            machine=Machine(devices=(Device(id="gpu0", kind="cuda", name="", total_bytes=80 * GiB),)),
            workload=Workload(context_tokens=tokens + 1, prompt_tokens=tokens),
            settings=Settings.of({"attn_implementation": attention, "dtype": "bfloat16"}),
        )
    )
    share = shares(case)[0]
    return prefill(case, share).amount.expected + kept(case, share, tokens=tokens, prompt=True).nbytes


@pytest.mark.parametrize("name", CASES)
def test_the_widest_moment_is_predicted_within_five_per_cent(name: str) -> None:
    config, attention, tokens = CASES[name]
    assert promised(config, attention, tokens) == pytest.approx(measured(config, attention, tokens), rel=0.05)


def test_eager_scores_are_predicted_with_the_copy_a_softmax_in_float32_makes_of_bfloat16() -> None:
    config, tokens = {**LLAMA, "intermediate_size": 64}, 600
    assert promised(config, "eager", tokens) == pytest.approx(measured(config, "eager", tokens), rel=0.01)
