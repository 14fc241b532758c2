"""What differs between releases of IPEX-LLM, as data. Builds are dated, and the date decides.

BigDL-LLM went up to 2.5.0b (March 2024); its successor ipex-llm started again at 2.1.0b in the same month. A nightly build carries its
day in its name (``2.1.0b20240914``); a release has the day of the table below. The day also tells which fork of vLLM the build serves
with (analytics-zoo/vllm), for a fork's changes came with the next image or nightly.
"""

import re
from typing import Final

from ullage.domain.case import Case, Version
from ullage.domain.provenance import Cited, Constant, Measured
from ullage.frozen import dataclass
from ullage.units import GiB, MiB

OLDEST, NEWEST, DEFAULT = Version((0, 3, 3), "0.3.3"), Version((2, 5, 0, 99999999), "2.5.0"), Version((2, 2, 0), "2.2.0")

# Release, the day of its build. 2.4.0 and 2.5.0 are BigDL-LLM's, older than ipex-llm's 2.1.0; below 1.0 stand the forks of vLLM, by whose
# numbers images are called.
RELEASES: Final = (
    ((0, 3, 3), "2024-04-29"),
    ((0, 5, 4), "2024-09-05"),
    ((0, 6, 2), "2024-11-12"),
    ((0, 6, 6), "2025-01-31"),
    ((0, 8, 3), "2025-04-30"),
    ((2, 1, 0), "2024-08-22"),
    ((2, 2, 0), "2025-04-07"),
    ((2, 3, 0), "2025-06-30"),
    ((2, 4, 0), "2023-11-13"),
    ((2, 5, 0), "2024-03-22"),
)
# The first day of each fork of vLLM: the images and pull requests 10807, 11746, 12338, 12710 and 13118 of intel/ipex-llm.
FORKS: Final = (
    ("2023-01-01", "0.3.3"),
    ("2024-08-12", "0.5.4"),
    ("2024-11-12", "0.6.2"),
    ("2025-01-31", "0.6.6"),
    ("2025-04-30", "0.8.3"),
)
RENAMED = "2024-03-25"  # bigdl-llm became ipex-llm
DIVIDED = "2024-05-24"  # one server became one for Intel's cards and one for processors, by the files of the builds around that day
PEAK_COUNTED = "2024-09-20"  # analytics-zoo/vllm 35 and 36: from here the profile's peak is read, not what is left after it
WIDE_HEADS_CUT = "2024-08-22"  # heads of more than 100,000 rows compute the last position only
ALL_HEADS_CUT = "2025-04-07"  # and from here every head
WIDE_HEAD = 100_000

_NIGHTLY = re.compile(r"b(\d{4})(\d{2})(\d{2})(?!\d)")
_DAY_DIGITS = 10**7


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one day's build does."""

    fork: str
    bigdl: bool  # the module is bigdl.llm
    divided: bool  # a server for cards and another for processors
    names_executor: bool  # the vLLM fork is told to use Ray; before, it does so for several devices
    peak_counted: bool  # the vLLM fork subtracts the activation peak before it sizes the cache
    math_attention: bool  # prompts run through plain matrix products that hold all scores
    pads_prompts: bool  # prompts of a batch are copied into one padded tensor, keys and values repeated for every query head
    fp8_cache: bool  # the vLLM fork can keep keys and values in 8 bits
    chunked_prefill: bool  # the vLLM fork can cut prompts


def release_day(at: Version) -> str:
    """The day of a version: the nightly's own, else that of the release, or of the nearest one below."""
    match = _NIGHTLY.search(str(at))
    if match:
        return "-".join(match.groups())
    if len(at.parts) > 3 and at.parts[3] >= _DAY_DIGITS:  # noqa: PLR2004 - 2.1.0.20240914
        text = str(at.parts[3])
        return f"{text[:4]}-{text[4:6]}-{text[6:8]}"
    return max((item for item in RELEASES if item[0] <= at.parts), default=RELEASES[0])[1]


def build_day(case: Case) -> str:
    """The day whose rules hold: as stated, else by version."""
    return case.settings.text("build_date") or release_day(case.version)


def rules(case: Case) -> Rules:
    """The rules of the case's build."""
    return rules_of(build_day(case))


def rules_of(day: str) -> Rules:
    """The rules of a day, ``2024-09-14``."""
    fork = next(name for since, name in reversed(FORKS) if since <= day) if day >= FORKS[0][0] else FORKS[0][1]
    return Rules(
        fork=fork,
        bigdl=day < RENAMED,
        divided=day >= DIVIDED,
        names_executor=fork != "0.3.3",
        peak_counted=day >= PEAK_COUNTED,
        math_attention=fork == "0.3.3",
        pads_prompts=fork in {"0.3.3", "0.5.4", "0.6.2"},
        fp8_cache=fork in {"0.6.6", "0.8.3"},
        chunked_prefill=fork in {"0.6.2", "0.6.6", "0.8.3"},
    )


LARGEST_BLOCK = Constant(
    name="arc_largest_allocation",
    value=4 * GiB,
    unit="bytes",
    source=Cited(at="intel/ipex-llm issues 10513, 11798, 12136: one allocation of more than 4 GB fails on Arc"),
)
CONTEXT = Constant(
    name="xpu_context",
    value=768 * MiB,
    low=512 * MiB,
    high=GiB,
    unit="bytes",
    source=Cited(at="Level Zero context of 0.5 to 1 GB that memory_reserved does not see (intel/ipex-llm 2.2.0, vLLM fork on XPU)"),
)
UNSEEN = Constant(
    name="arc_outside_pytorch",
    value=257,
    unit="thousandths of the device",
    source=Cited(at="intel/ipex-llm issue 12080: 130 MiB failed with 11.23 of 15.11 GiB reserved, so 3.88 GiB were not PyTorch's to have"),
)
SLACK = Constant(
    name="xpu_allocator_slack",
    value=143 * MiB,
    low=0,
    high=300 * MiB,
    unit="bytes",
    source=Cited(at="intel/ipex-llm issue 12080: 11.23 GiB reserved, 11.09 GiB allocated"),
)
API_CONTEXT = Constant(
    name="xpu_context_of_generate",
    value=GiB + GiB // 10,
    low=GiB // 2,
    high=GiB + 7 * GiB // 10,
    unit="bytes",
    source=Measured(record="intel/ipex-llm issue 9809: 3.1 GiB at 32 tokens, less 1.9 GiB of weights and 0.1 GiB of cache"),
)
LOGIT_BYTES = Constant(
    name="ipex_logit_bytes",
    value=12,
    low=6,
    high=14,
    unit="bytes per position and word",
    source=Measured(record="intel/ipex-llm issue 9809: 3.1, 7.4 and 11.6 GiB at 32, 2,048 and 4,096 prompt tokens"),
)
SAMPLER_TENTHS = Constant(
    name="ipex_sampler_bytes",
    value=140,
    low=60,
    high=380,
    unit="tenths of a byte per row and word",
    source=Cited(at="vLLM 0.5.4: 16-bit logits, their float32 copy, probabilities and their logarithms; sorted as well with top-p"),
)
GROWTH_TOKENS = Constant(
    name="ipex_kv_alloc_block",
    value=256,
    unit="tokens",
    source=Cited(at="ipex-llm 2.2.0, transformers/models/utils.py, KV_CACHE_ALLOC_BLOCK_LENGTH"),
)
FP8_GROWTH_TOKENS = Constant(
    name="ipex_fp8_kv_alloc_block",
    value=512,
    unit="tokens",
    source=Cited(at="ipex-llm 2.2.0, transformers/models/utils.py, FP8_KV_ALLOC_LENGTH"),
)
CONSTANTS = (LARGEST_BLOCK, CONTEXT, UNSEEN, SLACK, API_CONTEXT, LOGIT_BYTES, SAMPLER_TENTHS, GROWTH_TOKENS, FP8_GROWTH_TOKENS)
