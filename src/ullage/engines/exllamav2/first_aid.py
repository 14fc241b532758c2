"""What ExLlamaV2's logs are recognised by, and what helps when it died."""

from ullage.catalog.exllama_hints import hints
from ullage.domain.cause import FirstAid
from ullage.engines.exllamav2.log import READS

FIRST_AID = FirstAid(
    reads=READS,
    signs=(
        r"(?:exllamav2|Exllama[Vv]2)(?:\s*(?:==|version:?)\s*(?P<version>\d[\w.]*))?",
        r"ExLlamaV2|\bexui\b",
        r"load_autosplit|Insufficient space in device allocation|Insufficient VRAM for model and cache",
    ),
    hints=hints("max_seq_len"),
    stands_before=("transformers",),
)
