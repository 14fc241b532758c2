"""How far a run was when something failed, and so what an allocation that failed was for."""

import re
from typing import Final

from ullage.catalog.traceback_frames import allocates_cache, called, stage_of, term_of
from ullage.domain.cause import Kind, Log, Sighting, Stage
from ullage.domain.ledger import Purpose
from ullage.planning.diagnose_facts import Figures, detail
from ullage.planning.diagnose_meaning import BY_STAGE, KINDS

NEAR = 120  # lines within which two errors tell of one death
_ANSWERED = 8  # requests after which a server is under load
_LARGEST_DEVICE, _LARGEST_WEIGHT = 320 << 30, 4 << 30  # of all devices there are; of the tensors most checkpoints hold
LEVEL_ZERO: Final = re.compile(r"\bXPU\b|SYCL|UR_RESULT_ERROR|[Ll]evel[_ -]?[Zz]ero")
_FREE: Final = re.compile(r"\bwith (\d{1,4})(?:\.\d{1,3})? ?Gi?B (?:still )?free\b")
_LEVEL_ZERO_BLOCK = 4 << 30
_PROMPT = 1 << 30  # more than a captured batch of single tokens makes at once: a prompt
_OF_STEPS: Final = frozenset({Purpose.LOGITS, Purpose.WORKSPACE})
_LITTLE = 0.1  # of a device: less than the weights of any model that it was bought for
_LARGE = 0.85  # of a device: what is in use when loading fills it
_STATED_STAGES: Final = (
    (Stage.SAMPLER, ("sampler warm", "warming up sampler", "sampler warmup")),
    (Stage.CAPTURE, ("graph capture", "cuda graph", "cuda-graph", "capturing", "capture cuda")),
    (
        Stage.PROFILE,
        ("gallocr", "profiling", "profile run", "profile_run", "compute buffer", "compute pp buffer", "warmup", "warm-up", "warming up"),
    ),
    (
        Stage.CACHE,
        (
            "reserving the cache",
            "initializing kv cache",
            "initialising kv cache",
            "kv cache initialization",
            "kv allocation",
            "kv cache allocation",
            "allocating kv",
            "initialize_from_config",
            "initialize_kv_cache",
            "quantized cache",
            "cache size",
        ),
    ),
    (
        Stage.LOAD,
        (
            "while loading",
            "during loading",
            "at load",
            "loading weights",
            "load_model",
            "loading model",
            "loading checkpoint",
            "checkpoint shards",
            "loading the model",
            "cannot load",
            "can't load",
        ),
    ),
    (
        Stage.UNDER_LOAD,
        ("concurren", "under load", "decode", "multi requests", "multiple requests", "many requests", "engine loop is not running"),
    ),
    (
        Stage.FIRST_PROMPT,
        (
            "long prompt",
            "first prompt",
            "prefill",
            "generation",
            "generate",
            "first token",
            "first_token",
            "inference",
            "running the model",
            "execution step",
            "logprob",
            "long context",
            "first request",
            "commandbuffer",
            "command buffer",
        ),
    ),
)


# Words about lengths: something that grows with them was being made.
_OF_LENGTHS: Final = re.compile(
    r"\b(?:input|prompt|context)s?\b.{0,20}(?:>|over|above|beyond|\w+er than|more than|exceed\w*|pass\w*|reach\w*) ?\d|after \d+k? tokens"
    r"|\b(?:bigger|larger?|longe?r?|huge) (?:input|prompt|context|sequence|request|image)s?\b"
    r"|\b\d+ ?in[ /,]?\d+ ?out\b|input/output tokens?|\bat \d+k? (?:tokens|context)|\b\d{3,} fails\b"
)
# Words about time: what failed had worked for a while.
_OF_TIME: Final = re.compile(
    r"\bover time\b|\bevery (?:\d[\d.]* )?(?:days?|hours?|minutes)\b|\b(?:second|next|subsequent) requests?\b|\bmemory leak"
    r"|\bafter (?:a|an|some|several|few|many|\d+)\b.{0,16}\b(?:hours?|minutes?|days?|while)\b"
    r"|\bafter (?:a|an|some|several|few|many|\d+)\b.{0,16}\b(?:(?:request|question|prompt|message|turn|chat|answer|generation|image)s?)\b"
    r"|\bmulti[- ]?batch|\b(?:large|big)(?:ger|r)? batch(?:es)?\b|\bbatch(?:ed)? (?:inference|generation|requests?|prompts?)\b"
    r"|\brandom(?:ly)?\b"
)
# From the first to the last that a run goes through.
_WAY: Final = (
    Stage.START,
    Stage.LOAD,
    Stage.PROFILE,
    Stage.CACHE,
    Stage.CAPTURE,
    Stage.SAMPLER,
    Stage.FIRST_PROMPT,
    Stage.UNDER_LOAD,
)
_STARTING: Final = _WAY[_WAY.index(Stage.PROFILE) : _WAY.index(Stage.FIRST_PROMPT)]
_ALLOCATOR_WORDS: Final = "(e.g., cuda graphs)"  # in every message of an allocator that has private pools
_AMBIGUOUS: Final = "at load"  # while loading, or under load


def stage_at(log: Log, seen: Sighting) -> Stage:
    """How far the run was at an error: its traceback, its own words, then the last mark before it."""
    stage = stage_of((*seen.frames, *called(seen.source[-1:]))) or stage_of(called(seen.source))
    if stage in {None, Stage.LOAD, Stage.FIRST_PROMPT} and allocates_cache(seen.source):
        stage = Stage.CACHE
    words = seen.text.lower().replace(_ALLOCATOR_WORDS, "")
    if stage is None and detail(seen.fact, "length_tokens"):
        return Stage.FIRST_PROMPT
    before = [known for known, line in log.stages if line < seen.line]
    if stage is None:
        stage = _stated(log, words)
        if stage is Stage.LOAD and not before and _furthest(log) in _STARTING:
            stage = None  # a headline: people call the whole start loading
    if stage is None:
        stage = before[-1] if before else _furthest(log)
        if stage in {Stage.CACHE, Stage.CAPTURE, Stage.PROFILE} and detail(seen.fact, "graph_bytes"):
            stage = Stage.CAPTURE
    if stage is Stage.FIRST_PROMPT and _is_loaded(log, seen.line):
        return Stage.UNDER_LOAD
    return stage


def passed_before(log: Log, seen: Sighting) -> Stage:
    """The last mark that a run passed before an error; the start where it passed none."""
    return next((known for known, line in reversed(log.stages) if line < seen.line), Stage.START)


def _stated(log: Log, words: str) -> Stage | None:
    """The stage that an error's own words tell."""
    stage = next((known for known, texts in _STATED_STAGES if any(text in words for text in texts)), None)
    if stage is Stage.LOAD and _AMBIGUOUS in words and _furthest(log) in _WAY[_WAY.index(Stage.CAPTURE) :]:
        return Stage.UNDER_LOAD
    if stage is None and _OF_LENGTHS.search(words):
        return Stage.FIRST_PROMPT
    if stage is None and _OF_TIME.search(words):
        return Stage.UNDER_LOAD
    return stage


def _furthest(log: Log) -> Stage:
    """How far the run came at all: for an error told before the rest, and for logs that show the newest line first."""
    return max((known for known, _ in log.stages if known in _WAY), key=_WAY.index, default=Stage.UNKNOWN)


def _is_loaded(log: Log, line: int) -> bool:
    """Whether several sequences were being served at that line."""
    if log.requests >= _ANSWERED:
        return True
    for seen in log.sightings:
        if seen.line > line + (NEAR if seen.fact.name == "requests_running" else 0):
            continue  # what an engine says of its state when it dies stands below the error
        if seen.fact.name in {"retracted", "preemptions"} or (
            seen.fact.name in {"kv_cache_usage", "requests_running", "batch"} and (detail(seen.fact, "requests_running") or 0) > 1
        ):
            return True
    return False


def allocation_of(log: Log, figures: Figures, seen: Sighting, stage: Stage) -> tuple[Kind, bool]:
    """What an allocation that failed was for, and whether the log says so."""
    follows = names_after(log, seen)
    if follows is not None:
        return KINDS[follows.fact.name], True
    by_size = _by_size(figures, seen, stage)
    if by_size is not None:
        return by_size
    if _is_limited(seen):
        return Kind.ONE_BLOCK, False
    if stage is Stage.UNKNOWN and term_of(seen.frames, seen.source) in _OF_STEPS:
        return Kind.WORKSPACE, True
    if stage is not Stage.UNKNOWN and stage is not Stage.START:
        return BY_STAGE[stage], True
    return _unplaced(figures, seen)


def _unplaced(figures: Figures, seen: Sighting) -> tuple[Kind, bool]:
    """What is likeliest where nothing tells how far the run was."""
    if detail(seen.fact, "graph_bytes"):
        return (Kind.GRAPHS if (detail(seen.fact, "requested_bytes") or 0) < _PROMPT else Kind.WORKSPACE), False
    requested, total = detail(seen.fact, "requested_bytes"), figures.total_bytes or detail(seen.fact, "total_bytes")
    held = _held(seen)
    if "cudaMalloc" in seen.text or "ggml_" in seen.text:  # the weights of a device lie there in one buffer, and are allocated first
        return Kind.WEIGHTS, False
    if detail(seen.fact, "allocated_bytes") == 0:
        return Kind.WEIGHTS, True
    if held and total and requested and max(held, requested) < _LITTLE * total:
        return Kind.WEIGHTS, False
    if requested and (requested > _LARGEST_DEVICE or (not total and requested > _LARGEST_WEIGHT)):
        return Kind.ACTIVATIONS, False
    fills = held and total and requested and held / total > _LARGE and requested < total / 16
    return (Kind.ACTIVATIONS if requested and total and not fills else Kind.WEIGHTS), False


def _is_limited(seen: Sighting) -> bool:
    """Whether one block of 4 GiB or more failed on an Intel card that had room for it: level zero allows none by default."""
    if LEVEL_ZERO.search(seen.text) is None:
        return False
    free = _FREE.search(seen.text)
    if free is not None and int(free[1]) << 30 > _LEVEL_ZERO_BLOCK:
        return True
    requested, total, held = (detail(seen.fact, name) for name in ("requested_bytes", "total_bytes", "allocated_bytes"))
    if requested is None or total is None:
        return False
    return requested >= _LEVEL_ZERO_BLOCK and requested + (held or 0) < _LARGE * total


def names_after(log: Log, seen: Sighting) -> Sighting | None:
    """What the engine says right after a failed allocation of what it was for."""
    return next((other for other in log.sightings if 0 <= other.line - seen.line <= NEAR and other.fact.name in NAMES_ALLOCATION), None)


def _held(seen: Sighting) -> int | None:
    """What was in use on the device when an allocation failed."""
    total, free = detail(seen.fact, "total_bytes"), detail(seen.fact, "free_bytes")
    rest = total - free if total is not None and free is not None else None
    return detail(seen.fact, "allocated_bytes") or detail(seen.fact, "in_use_bytes") or rest


def _by_size(figures: Figures, seen: Sighting, stage: Stage) -> tuple[Kind, bool] | None:
    """What the figures of an allocation alone tell: a tensor larger than the device, or less held than the weights take."""
    requested, total = detail(seen.fact, "requested_bytes"), figures.total_bytes or detail(seen.fact, "total_bytes")
    if requested and total and requested >= total and stage is not Stage.CACHE:
        return Kind.ACTIVATIONS, True  # what grows with a length
    held = _held(seen)
    if stage in {Stage.UNKNOWN, Stage.LOAD, Stage.START} and held and figures.predicted_weight_bytes:
        if held < 0.97 * figures.predicted_weight_bytes:
            return Kind.WEIGHTS, stage is Stage.LOAD
        if stage is not Stage.LOAD:
            return Kind.ACTIVATIONS, False
    return None


NAMES_ALLOCATION: Final = frozenset(
    {
        "error.sampler_warmup",
        "error.graph_capture",
        "error.graph_oom",
        "error.kv_allocation",
        "error.compute_allocation",
        "error.state_allocation",
    }
)
