"""Run by itself: reads a prompt with a model and writes as JSON what it took. Arguments: model, dtype, tokens, chunk, weights."""

import json
import sys
from random import Random

import torch

from ullage.engines.runtime.sizing import default_dtype
from ullage.runtime.engine import Engine, EngineSettings, Request
from ullage.runtime.load import load
from ullage.runtime.loading.release import release_all
from ullage.runtime.process import give_back_freed, peak_resident_bytes, reset_peak, resident_bytes
from ullage.runtime.serve import start  # noqa: F401 - a server has it, and this stands for one
from ullage.text.language import language_of


def main(path: str, dtype: str, tokens: int, chunk: int, weights: str) -> None:
    """One prompt of ``tokens`` tokens, one token of answer."""
    before = resident_bytes()
    loaded = load(path, dtype=getattr(torch, default_dtype(dtype, "cpu")), device=torch.device("cpu"), weights=weights)
    settings = EngineSettings(
        budget_bytes=8 << 30, max_len=tokens + 1, chunk_tokens=chunk, max_sequences=1, prefix_cache=False, page_tokens=256
    )
    engine = Engine(loaded, settings)
    loading = peak_resident_bytes()
    source = loaded.source
    language = language_of(source.documents, source.metadata) if source.metadata or "tokenizer.json" in source.documents else None
    release_all(source)
    give_back_freed()
    ready = resident_bytes()
    reset_peak()
    draw = Random(1)  # noqa: S311 - a test's numbers
    vocabulary = loaded.architecture.vocab_size
    engine.submit(Request(prompt=tuple(draw.randrange(vocabulary) for _ in range(tokens)), max_new_tokens=1))
    outputs = []
    while engine.has_work:
        outputs += engine.step()
    found = {
        "process": before,
        "loading": loading,
        "ready": ready,
        "peak": peak_resident_bytes(),
        "after": resident_bytes(),
        "weights": loaded.decoder.weight_bytes,
        "speaks": language is not None,
        "finished": [str(output.finished) for output in outputs],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
