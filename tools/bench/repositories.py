"""Bundled models written as repositories of the Hub: the configuration, an index, and sparse weight files that have true headers."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ullage import wire
from ullage.architectures import read
from ullage.catalog import models
from ullage.domain.checkpoint import Tensor
from ullage.domain.hyperparameters import Hyperparameters
from ullage.frozen import replace

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.header_files import as_safetensors  # no installed package

SHARD_BYTES = 5_000_000_000  # how checkpoints are cut


def alone(tensors: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """Every expert's matrix by its own name."""
    for tensor in tensors:
        if "{expert}" not in tensor.name:
            yield tensor
            continue
        for number in range(tensor.copies):
            yield replace(tensor, name=tensor.name.replace("{expert}", str(number)), copies=1)


def shards(tensors: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    """The tensors in order, cut where a file would grow over its limit."""
    shard: list[Tensor] = []
    nbytes = 0
    for tensor in alone(tensors):
        if shard and nbytes + tensor.nbytes > SHARD_BYTES:
            yield tuple(shard)
            shard, nbytes = [], 0
        shard.append(tensor)
        nbytes += tensor.nbytes
    yield tuple(shard)


def write(folder: Path, model_id: str) -> None:
    """The repository of a bundled model in ``folder/organisation/name``."""
    found = models.lookup(model_id)
    if found is None:
        sys.exit(f"{model_id} is not bundled")
    text = models.configuration(found)
    tensors = read(Hyperparameters(wire.loads(text))).tensors  # type: ignore[arg-type]
    files = list(shards(tensors))
    repository = folder / model_id
    repository.mkdir(parents=True)
    (repository / "config.json").write_bytes(text)
    places: dict[str, str] = {}
    for number, shard in enumerate(files, 1):
        name = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        header, nbytes = as_safetensors(shard)
        (repository / name).write_bytes(header)
        os.truncate(repository / name, nbytes)
        places |= dict.fromkeys((tensor.name for tensor in shard), name)
    index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in tensors)}, "weight_map": places}
    (repository / "model.safetensors.index.json").write_text(json.dumps(index))
