"""Runs and trials as they may be written down: no setting that is a secret, no text that holds one."""

import re

from ullage.catalog.secrets import holds_secret, is_secret_name, scrub
from ullage.domain.baseline import Run, Trial
from ullage.domain.case import Settings
from ullage.frozen import replace

_MOST_LINES = 200
_ASKED = re.compile(r"Received request|[\"']?\b(?:prompt|messages|content)[\"']?: ?[\"'\[]", re.IGNORECASE)
_LONGEST_TEXT = 500  # an engine's own line; more could hold what somebody asked it


def clean_settings(settings: Settings) -> Settings:
    """Without those whose name or value looks like a secret."""
    kept = (
        (name, value) for name, value in settings.items if not is_secret_name(name) and not (isinstance(value, str) and holds_secret(value))
    )
    return Settings(tuple(kept))


def _clean_text(text: str) -> str:
    return scrub(text)[:_LONGEST_TEXT]


def _clean_log(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The last lines, each cut, without what somebody asked the engine."""
    return tuple(_clean_text(line) for line in lines[-_MOST_LINES:] if not _ASKED.search(line))


def clean_run(run: Run) -> Run:
    """A run without secrets."""
    events = tuple(replace(event, text=_clean_text(event.text)) for event in run.out_of_memory)
    return replace(run, settings=clean_settings(run.settings), out_of_memory=events, note=_clean_text(run.note), log=_clean_log(run.log))


def clean_trial(trial: Trial) -> Trial:
    """A trial without secrets."""
    return replace(trial, settings=clean_settings(trial.settings), because=_clean_text(trial.because))
