"""The cache of a case: its pages, and what the workload's sequences hold of them."""

from functools import lru_cache

from ullage.domain.architecture import Architecture
from ullage.domain.case import Case
from ullage.engines.runtime.pages import Form, Group, form_of, groups_of
from ullage.engines.runtime.resolve import architecture_of, element_of
from ullage.engines.runtime.settings import NATIVE, cache_forms
from ullage.engines.runtime.sizing import MAX_SEQUENCES, PAGE_TOKENS
from ullage.errors import UnsupportedModelError


@lru_cache(maxsize=64)
def _groups(architecture: Architecture) -> tuple[Group, ...]:
    """None for layers that the runtime does not run, which is objected to."""
    try:
        return groups_of(architecture)
    except UnsupportedModelError:
        return ()


@lru_cache(maxsize=256)
def _form(architecture: Architecture, page_tokens: int, kv_dtype: str, element: int) -> Form:
    keys, values = cache_forms(kv_dtype)
    return form_of(_groups(architecture), page_tokens=page_tokens, keys=keys, values=values, element=element)


def form(case: Case, seen: Architecture | None = None) -> Form:
    """The pages of the case's model, or of what a device has ``seen`` of it."""
    settings = case.settings
    return _form(
        seen or architecture_of(case), settings.integer("page_tokens") or PAGE_TOKENS, settings.text("kv_dtype") or NATIVE, element_of(case)
    )


def cached_tokens(case: Case) -> int:
    """Tokens of a sequence in the cache when its last token is made; that token itself never is."""
    return max(1, (case.workload.context_tokens or 1) - 1)


def chunk_of(case: Case) -> int:
    """Rows of one step."""
    return case.settings.integer("chunk") or 1


def sequence_bytes(case: Case, seen: Architecture | None = None) -> tuple[int, int]:
    """The most that one sequence holds: in steps that begin at multiples of the chunk, and in steps that begin anywhere."""
    pages, tokens = form(case, seen), cached_tokens(case)
    return pages.aligned_peak_bytes(tokens, chunk_of(case)), pages.peak_bytes(tokens, chunk_of(case))


def sequences_at_once(case: Case) -> int:
    """As many as the runtime lets run."""
    return case.settings.integer("max_seqs") or MAX_SEQUENCES


def most_bytes(case: Case) -> int:
    """The most that the runtime ever takes where no cache is said: as many of its longest sequences as it lets run at once."""
    return sequences_at_once(case) * form(case).peak_bytes(case.settings.integer("max_len") or 1, chunk_of(case))


def page_token_bytes(case: Case) -> int:
    """What one token adds while no window is full."""
    pages = form(case)
    return pages.bundle_bytes // pages.page_tokens
