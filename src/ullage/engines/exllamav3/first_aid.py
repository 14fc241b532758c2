"""What the logs of ExLlamaV3 and TabbyAPI are recognised by, and what helps when it died."""

from ullage.catalog.exllama_hints import hints
from ullage.domain.cause import FirstAid, Hint, Kind
from ullage.engines.exllamav3.log import READS

FIRST_AID = FirstAid(
    reads=READS,
    signs=(
        r"(?:exllamav3|Exllama[Vv]3)(?:\s*(?:==|version:?)\s*(?P<version>\d[\w.]*))?",
        r"ExLlamaV3|ExllamaV3|exl3|\b_load_autosplit\b",
        r"Insufficient VRAM in split for model and cache",
    ),
    hints=(
        Hint(
            kinds=frozenset({Kind.PLACEMENT, Kind.WEIGHTS}),
            setting="cpu_moe_offload_layers",
            cost="experts run on the processor; only a mixture of experts has them",
            up=True,
        ),
        *hints("cache_size"),
    ),
    stands_before=("exllamav2", "transformers"),
)
