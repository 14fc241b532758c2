"""Runs and trials as they may be written down: no setting that is a secret, no text that holds one."""

from ullage.catalog.secrets import holds_secret, is_secret_name, scrub
from ullage.domain.baseline import Run, Trial
from ullage.domain.case import Settings
from ullage.frozen import replace

_LONGEST_TEXT = 500  # an engine's own line; more could hold what somebody asked it


def clean_settings(settings: Settings) -> Settings:
    """Without those whose name or value looks like a secret."""
    kept = (
        (name, value) for name, value in settings.items if not is_secret_name(name) and not (isinstance(value, str) and holds_secret(value))
    )
    return Settings(tuple(kept))


def _clean_text(text: str) -> str:
    return scrub(text)[:_LONGEST_TEXT]


def clean_run(run: Run) -> Run:
    """A run without secrets."""
    events = tuple(replace(event, text=_clean_text(event.text)) for event in run.out_of_memory)
    return replace(run, settings=clean_settings(run.settings), out_of_memory=events, note=_clean_text(run.note))


def clean_trial(trial: Trial) -> Trial:
    """A trial without secrets."""
    return replace(trial, settings=clean_settings(trial.settings), because=_clean_text(trial.because))
