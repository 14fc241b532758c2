"""What people and wrappers say of memory in their own words: a last resort, where no engine and no framework said it."""

import re
from typing import Final

from ullage.catalog.torch_messages import LONGEST, without_names
from ullage.domain.facts import Fact

# In order: the first that fits is meant.
_SAID: Final = tuple(
    (name, re.compile(text, re.IGNORECASE))
    for name, text in (
        # A cache that does not hold what it should.
        ("error.no_kv_blocks", r"no (?:KV[ -]?)?cache room|no room for .{0,30}(?:KV|cache|pool)|no (?:GPU )?blocks? (?:left|available)"),
        (
            "error.kv_too_small",
            (
                r"(?:KV|cache) .{0,20}too small|\b\d{1,9} tokens? < \d{3,9}\b|not fit .{0,30}\bKV\b|raise_if_cache_size_invalid"
                r"|check_enough_kv_cache_memory"
            ),
        ),
        # Words before it that tell what it was done to; the Chinese one makes the passive.
        (
            "error.host_killed",
            (
                r"\b(?:messages?|says?|saying|prints?|output|just|gets?|got|being|was|is|process|automatically)\b[:,]? ?"
                r"[`'\"*]{0,2}killed\b"
                r"|\u88ab ?kill(?:ed)?(?![a-z])"
            ),
        ),
        # The memory of the machine: \u5185\u5b58 where a device's is \u663e\u5b58.
        (
            "error.host_oom",
            (
                r"\b(?:constrained|limited|insufficient|not enough|too little|low on) (?:system|host|CPU)\b.{0,8}\b(?:RAM|memory)\b"
                r"|\b(?:system|host|CPU) ?(?:RAM|memory)\b.{0,8}\b(?:is|was|gets?|runs?|ran) (?:full|exhausted|out|used up|too small)\b"
                r"|(?<![a-z])OOM(?![a-z]).{0,80}\u5185\u5b58|\u5185\u5b58.{0,80}(?<![a-z])OOM(?![a-z])"
            ),
        ),
        # A length that fails where a shorter one works; buffers that somebody finds too large.
        ("error.memory", r"\b(?P<length>\d{3,7}) (?:fails|crashes|does not (?:work|fit))\b.{0,80}\b\d{3,7} works"),
        ("error.compute_allocation", r"\bcompute buffers? .{0,30}\d(?:\.\d{1,3})? ?G(?:i?)B"),
        # What does not start on these cards; the same in Chinese.
        (
            "error.memory",
            (
                r"(?<![a-z])OOM(?:s|ing|ed)?(?![a-z])|out[ -]?of[ -]?mem\w?\w?ory|command buffer \d{1,3} failed"
                r"|(?:not enough|insufficient) (?:GPU |device )?memory"
                r"|runs out of .{0,20}memory|memory error"
                r"|\b(?:cannot|can ?not|can't|could not|unable to) (?:load|start|run)\b.{0,80}\b(?:context|tokens|GPUs?|\d+ ?GB|\dx \w+)\b"
                r"|\u663e\u5b58(?:\u4e0d\u8db3|\u6ea2\u51fa|\u8017\u5c3d|\u4e0d\u591f)|\u7206\u663e\u5b58"
            ),
        ),
        ("error.request_too_long", r"\b(?:input|prompt|context)\b.{0,20}\bexceeds? \d{3,7}\b"),
        # An exception that says nothing of memory, and does not stand for another; an assertion of ggml.
        (
            "error.bug",
            (
                r"^\s*(?:\w{1,40}\.){0,6}\w{0,40}(?:Error|Exception): (?=\S)"
                r"(?!.*(?:initiali[sz]ation failed|failed to start|root cause|stack trace|died|memory|alloc|engine))|^GGML_ASSERT"
            ),
        ),
    )
)
# What an engine says of memory while all is well.
_ADVICE = re.compile(
    r"\b[Ii]f .{0,80}(?:out[ -]of[ -]memory|\bOOMs?\b)|\b(?:avoid|prevent|against|reduce the risk of) .{0,30}"
    r"(?:out[ -]of[ -]memory|\bOOMs?\b)"
    r"|(?:out[ -]of[ -]memory|\bOOMs?\b).{0,40}\b(?:may|might|could) (?:occur|happen)"
    r"|\b(?:may|might|could) .{0,20}(?:out[ -]of[ -]memory|\bOOMs?\b)"
)

FOUND: Final = tuple(pattern for _, pattern in _SAID)  # one in every line that is read


def read_least(line: str) -> Fact | None:
    """Words about memory that ran out, which say no more than that; a last resort."""
    text = without_names(line[:LONGEST])
    if _ADVICE.search(text):
        return None
    for name, pattern in _SAID:
        match = pattern.search(text)
        if match is not None:
            length = match.groupdict().get("length")
            return Fact(name=name, value=text.strip()[:200], details=(("length_tokens", int(length)),) if length else ())
    return None
