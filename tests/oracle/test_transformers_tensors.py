"""Names and shapes of every bundled model against the model classes of transformers, built on the meta device.

Run one family with ``pytest tests/oracle -k MODEL_TYPE``. Models are cut to a few layers so that a run stays quick.
"""

import json
from pathlib import Path

import pytest

from ullage.architectures import families, read
from ullage.domain.checkpoint import Role
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.errors import UnsupportedModelError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5.0")

pytestmark = pytest.mark.oracle

LAYERS_KEPT = 8  # a period of every hybrid in the catalogue except the longest, and every leading dense layer
CONFIGS = Path(__file__).parents[2] / "src" / "ullage" / "catalog" / "configs"
LAYER_COUNTS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "layers", "encoder_layers", "decoder_layers", "depth")

# The class of this transformers does not build what the publisher's own code builds; the reason, not the model, is the key.
NOT_COMPARED = {
    "falcon_h1": "the class refuses the published head count",
    "grok-1": "the file lacks sizes",
    "olmo_hybrid": "transformers joins three convolutions of unlike widths and splits them back into equal thirds",
}
# Their checkpoints use names that transformers maps to its own and cannot map back whole; the shapes must agree all the same.
NAMED_OTHERWISE = frozenset({"deepseek_v4", "kimi_k25", "kimi_linear"})

# transformers multiplies the experts from the other side; the blocks of the published mxfp4 files are (out, in).
TRANSPOSED = frozenset({"gpt_oss", "llama4", "llama4_text"})

# The class reads a nested text_config alone; a flat file is compared with its own sizes, which are whole ones.
UNCUT = frozenset({"step3p7"})


def _in_their_words(config: dict[str, Json]) -> dict[str, Json]:
    """With the layer types that transformers takes from its own rule where the publisher's key lists them."""
    pattern = config.get("hybrid_layer_pattern")
    if not isinstance(pattern, list):
        return config
    return {**config, "layer_types": ["sliding_attention" if windowed else "full_attention" for windowed in pattern]}


def _shortened(config: Json, around: int | None = None) -> Json:
    """The configuration with every stack cut to LAYERS_KEPT, and with it what is listed per layer."""
    if not isinstance(config, dict):
        return config
    whole = next((config[key] for key in LAYER_COUNTS if isinstance(config.get(key), int)), around)
    cut: dict[str, Json] = {}
    for key, value in config.items():
        if key in LAYER_COUNTS and isinstance(value, int):
            cut[key] = min(value, LAYERS_KEPT)
        elif isinstance(value, list | str) and whole is not None and whole > LAYERS_KEPT and len(value) == whole:
            cut[key] = value[: LAYERS_KEPT - 1] + value[-1:]  # some families insist on the kind of their last layer
        else:
            short = _shortened(value, whole)
            indexed = isinstance(short, dict) and short and all(str(name).isdigit() for name in short)
            cut[key] = {name: item for name, item in short.items() if int(name) < LAYERS_KEPT} if indexed else short
    return cut


def _class_of(config: dict[str, Json]) -> type | None:
    for name in config.get("architectures") or ():
        found = getattr(transformers, str(name), None)
        if found is not None:
            return found
    kinds = transformers.models.auto.modeling_auto
    for mapping in (kinds.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, kinds.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES):
        if config.get("model_type") in mapping:
            return getattr(transformers, mapping[config["model_type"]])
    return None


def _theirs(config: dict[str, Json]) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Parameters, and parameters with persistent buffers, under the names checkpoints use."""
    from transformers.core_model_loading import revert_weight_conversion  # noqa: PLC0415 - only where transformers is

    kind = _class_of(config)
    if kind is None or config.get("model_type") not in transformers.CONFIG_MAPPING:
        pytest.skip("transformers has no class for this model")
    plain = {
        key: value for key, value in _in_their_words(config).items() if key not in {"quantization_config", "compression_config", "auto_map"}
    }
    if "n_layer" in plain:  # a class that does not know its checkpoints' own spelling takes its default otherwise
        plain.setdefault("num_hidden_layers", plain["n_layer"])
    parsed = transformers.AutoConfig.for_model(**plain)
    with torch.device("meta"):
        try:
            model = kind(parsed) if not hasattr(kind, "_from_config") else kind._from_config(parsed)
        except (IndexError, TypeError) as error:  # indexer_types shorter than the stack; a default that does not build
            pytest.skip(f"the class does not build from this file: {error}")
    shared = dict(model.named_parameters())
    tied = set(model.state_dict()) - set(shared) - {name for name, _ in model.named_buffers()}
    everything = {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
    return tuple(  # type: ignore[return-value]
        {_plain(name): tuple(tensor.shape) for name, tensor in revert_weight_conversion(model, dict(part)).items()}
        for part in (shared, everything)
    )


def _ours(blueprint: Blueprint, *, fused: bool = False) -> dict[str, tuple[int, ...]]:
    """Our tensors expert by expert, or with the experts of a layer stacked, gate upon up, as transformers holds them."""
    found: dict[str, tuple[int, ...]] = {}
    for tensor in blueprint.tensors:
        if tensor.role is Role.MTP or (fused and tensor.role is Role.EXPERT_UP):
            continue
        names, shape = [_plain(tensor.name)], tensor.shape
        if fused and "{expert}" in tensor.name:
            gate = tensor.role is Role.EXPERT_GATE
            names = [names[0].split(".{expert}")[0] + (".gate_up_proj" if gate else ".down_proj")]
            shape = (tensor.copies, (1 + gate) * shape[0], *shape[1:])
        elif "{expert}" in tensor.name:
            names = [names[0].format(expert=index) for index in range(tensor.copies)]
        elif tensor.copies > 1:
            shape = (tensor.copies, *shape)
        for name in names:
            assert name not in found, f"two tensors are called {name}"
            found[name] = shape
    return found


def _plain(name: str) -> str:
    """Without the module that transformers 5 has dropped from the towers and checkpoints keep."""
    return name.replace(".vision_model.", ".")


def _defaults(model_type: str) -> dict[str, Json]:
    """What the class assumes, with the widths that it leaves null and every published file states."""
    parsed = transformers.CONFIG_MAPPING[model_type]()
    known = parsed.to_dict()
    for key, rule in (
        ("num_key_value_heads", lambda: known["num_attention_heads"]),
        ("head_dim", lambda: known["hidden_size"] // known["num_attention_heads"]),
    ):
        if key in known and known[key] is None:
            known[key] = rule()
    return known


def _cases() -> list[object]:
    cases, bundled = [], set()
    for path in sorted(CONFIGS.glob("*.json")):
        config = json.loads(path.read_text())
        model_type = str(config.get("model_type"))
        if model_type in families():
            cases.append(pytest.param(config, True, id=f"{model_type}-{path.stem}"))
            bundled.add(model_type)
    others = sorted((set(families()) - bundled) & set(transformers.CONFIG_MAPPING))  # the class's own defaults stand for these
    cases.extend(pytest.param(_defaults(name), False, id=f"{name}-defaults") for name in others)
    return cases


@pytest.mark.parametrize(("whole", "cut"), _cases())
def test_names_and_shapes_are_those_of_transformers(whole: dict[str, Json], *, cut: bool) -> None:
    if whole["model_type"] in NOT_COMPARED:
        pytest.skip(NOT_COMPARED[str(whole["model_type"])])
    try:
        read(Hyperparameters(whole))
    except UnsupportedModelError as error:
        pytest.skip(f"refused: {error}")
    config = _shortened(whole) if cut and whole["model_type"] not in UNCUT else whole
    assert isinstance(config, dict)
    parameters, with_buffers = _theirs(config)
    blueprint = read(Hyperparameters(config))
    ours = _ours(blueprint)
    if not set(ours) >= set(parameters):
        ours = _ours(blueprint, fused=True) if set(_ours(blueprint, fused=True)) >= set(parameters) else ours
    if whole["model_type"] in NAMED_OTHERWISE:
        assert sorted(ours.values()) == sorted(parameters.values())
        return
    missing = {name: shape for name, shape in parameters.items() if name not in ours}
    unknown = {name: shape for name, shape in ours.items() if name not in with_buffers}
    assert not missing, f"transformers has more: {dict(list(missing.items())[:12])}; ours alone: {dict(list(unknown.items())[:12])}"
    assert not unknown, f"transformers lacks: {dict(list(unknown.items())[:12])}"
    wrong = {name: (shape, with_buffers[name]) for name, shape in ours.items() if shape != with_buffers[name]}
    if whole["model_type"] in TRANSPOSED:
        wrong = {name: (own, theirs) for name, (own, theirs) in wrong.items() if (*own[:-2], own[-1], own[-2]) != theirs}
    assert not wrong, f"shapes differ (ours, theirs): {dict(list(wrong.items())[:12])}"
