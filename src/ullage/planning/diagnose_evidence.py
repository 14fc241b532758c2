"""A line of a log as a cause: what it is of, how far the run was, its figures in words, and how much was missing."""

from ullage.catalog.traceback_frames import term_of
from ullage.domain.cause import Cause, Evidence, Family, Kind, Sighting, Stage
from ullage.domain.ledger import Purpose
from ullage.domain.plan import Limit
from ullage.planning.diagnose_facts import detail
from ullage.planning.diagnose_meaning import ALLOCATIONS, FAMILIES, HOST_ALLOCATIONS, HOST_BY_STAGE, LIMITS, REFUSED, SUMMARIES, TERMS
from ullage.units import format_bytes

MAY_BE_FREE = 8  # of a failed allocation in host memory, whose message never says what was free, at most one part in so many was there


def cause_of(seen: Sighting, kind: Kind, stage: Stage, *, stated: bool = True, says: str = "") -> Cause:
    """The cause that one sighting supports."""
    refused = REFUSED.get(seen.fact.name)
    family = refused.family if refused is not None else FAMILIES.get(kind, Family.NOT_MEMORY)
    term = TERMS.get(kind)
    if kind in {Kind.WORKSPACE, Kind.ACTIVATIONS}:
        term = term_of(seen.frames, seen.source) or term
    if kind is Kind.HOST:
        term = TERMS.get(HOST_BY_STAGE.get(stage, Kind.HOST))
    if kind is Kind.HOST and ("pinned" in seen.text or "KV" in seen.text or "kv cache" in seen.text):
        term = Purpose.KV_CACHE
    return Cause(
        kind=kind,
        family=family,
        stage=stage,
        term=term,
        limit=Limit.WEIGHTS if kind in {Kind.WEIGHTS, Kind.PLACEMENT} else LIMITS.get(family),
        summary=refused.summary if refused is not None else SUMMARIES[kind],
        evidence=(Evidence(line=seen.line, text=seen.text, says=says or _said(seen)),),
        stated=stated,
        lacking_bytes=_lacking(seen),
    )


def _said(seen: Sighting) -> str:
    """An error's figures in words."""
    parts = [
        f"{word} {format_bytes(value)}"
        for word, name in (
            ("asked for", "requested_bytes"),
            ("free", "free_bytes"),
            ("allocated", "allocated_bytes"),
            ("of", "total_bytes"),
            ("needed", "needed_bytes"),
            ("available", "available_bytes"),
            ("share", "budget_bytes"),
            ("others hold", "others_bytes"),
            ("in graphs' pools", "graph_bytes"),
        )
        if (value := detail(seen.fact, name)) is not None
    ]
    where = f"in {seen.frames[-1]}" if seen.frames else ""
    return ", ".join([*parts, *([where] if where else [])]) or seen.fact.name.removeprefix("error.").replace("_", " ")


def _lacking(seen: Sighting) -> int | None:
    """How many bytes were short, where the line holds both sides."""
    for need, have in (("requested_bytes", "free_bytes"), ("needed_bytes", "available_bytes"), ("budget_bytes", "free_bytes")):
        first, second = detail(seen.fact, need), detail(seen.fact, have)
        if first is not None and second is not None and first > second:
            return first - second
    requested = detail(seen.fact, "requested_bytes")
    if seen.fact.name in HOST_ALLOCATIONS and requested is not None:
        return requested - requested // MAY_BE_FREE
    return requested if seen.fact.name in ALLOCATIONS else None
