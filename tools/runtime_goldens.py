"""What Transformers answers with the tiny models of the tests, written to tests/data/runtime_goldens.json, which tests replay without it.

python tools/runtime_goldens.py [NAME ...]     # needs transformers; names of tests/runtime/tiny.py, or all of them
"""

import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
GOLDENS = ROOT / "tests" / "data" / "runtime_goldens.json"
PROMPT = [(7 * index * index + 3 * index + 11) % 320 for index in range(150)]
NEW_TOKENS = 20
LOGITS = 8  # of the last token of the prompt, the first ones of the vocabulary
CLEAR = 0.005  # a token is only worth keeping when it is ahead by so much: other processors round otherwise
SEEDS = 20


def asked(config: dict[str, Any]) -> bool:
    """Whether Transformers computes this model: it reads over dual chunk attention."""
    return "dual_chunk_attention_config" not in config


def answer(folder: Path, prompt: Sequence[int]) -> dict[str, Any]:
    """Greedy tokens in float32, by how much the closest of them was ahead, and some logits of the prompt's last token."""
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - whoever only reads the goldens has none

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.generation_config.eos_token_id = None
    ids = torch.tensor([list(prompt)])
    with torch.inference_mode():
        made = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            repetition_penalty=1.0,
            output_logits=True,
            return_dict_in_generate=True,
        )
    best = torch.cat(made.logits).float().topk(2).values
    return {
        "tokens": made.sequences[0, len(prompt) :].tolist(),
        "ahead": round((best[:, 0] - best[:, 1]).min().item(), 4),
        "logits": [round(value, 5) for value in made.logits[0][0, :LOGITS].tolist()],
    }


def golden(config: dict[str, Any]) -> dict[str, Any]:
    """The answer of the first seed whose tokens are all clear."""
    from tests.runtime.tiny import tiny_model  # noqa: PLC0415 - after the path is set

    for seed in range(SEEDS):
        with TemporaryDirectory() as folder:
            found = answer(tiny_model(Path(folder), config, seed=seed), PROMPT)
        if found["ahead"] >= CLEAR:
            return {"seed": seed, **found}
    raise SystemExit(f"no seed below {SEEDS} has clear tokens for {config['model_type']}")


def main() -> None:
    """Ask for the models that were named, keep the others."""
    from tests.runtime.tiny import TINY_CONFIGS  # noqa: PLC0415 - after the path is set

    kept = json.loads(GOLDENS.read_text())["models"] if GOLDENS.exists() else {}
    wanted = sys.argv[1:] or [name for name, config in TINY_CONFIGS.items() if asked(config)]
    models = {**kept, **{name: golden(TINY_CONFIGS[name]) for name in wanted}}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(models[name])}" for name in sorted(models))
    GOLDENS.write_text(f'{{"transformers": "{version("transformers")}", "prompt": {json.dumps(PROMPT)}, "models": {{\n{lines}\n}}}}\n')


if __name__ == "__main__":
    main()
