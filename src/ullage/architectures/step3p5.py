"""Step 3.5: windows with their own head count, a gate on each head, stacked experts."""

from ullage.architectures._step import step_text, step_widths
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """The decoder alone."""
    return step_text(config, step_widths(config))


FAMILY = Family(model_types=("step3p5",), read=read, title="Step 3.5")
