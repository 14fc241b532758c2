"""``--max-model-len auto`` (or -1): the longest length that the cache holds, as releases from 0.14 on choose it at start."""

from ullage.domain.case import Case
from ullage.engines.vllm import resolve as defaults
from ullage.engines.vllm.capacity import checked_blocks, longest, scarcest

SINCE = (0, 14)


def is_automatic(case: Case) -> bool:
    """Whether the length is left to the start-up."""
    return case.settings.get("max_model_len") in {-1, "auto"}


def resolve(case: Case) -> Case:
    """Every default filled in, and an automatic length fitted to the pool; before 0.14 the model's own length stands."""
    resolved = defaults.resolve(case)
    if not is_automatic(case) or case.version.parts < SINCE:
        return resolved
    rank = scarcest(resolved)
    own = resolved.settings.integer("max_model_len") or 0
    fitted = min(own, longest(resolved, rank.pool, checked_blocks(resolved, rank.blocks.expected)))
    return resolved.with_settings(max_model_len=fitted) if fitted > 0 else resolved
