"""How evenly the devices of a plan are filled."""

from ullage.formulas.placement import imbalance
from ullage.planning.fit import Outcome
from ullage.units import format_bytes

NOTEWORTHY = 0.10


def balance_notes(outcome: Outcome) -> tuple[str, ...]:
    """A sentence where the fullest accelerator holds noticeably more than the mean of all that are used."""
    ids = {device.id for device in outcome.case.devices}
    peaks = {seen.device: seen.peak.expected for seen in outcome.devices if seen.device in ids}
    over = imbalance(tuple(peaks.values())) if len(peaks) > 1 else 0.0
    if over <= NOTEWORTHY:
        return ()
    fullest = max(peaks, key=lambda device: peaks[device])
    mean = sum(peaks.values()) // len(peaks)
    most, even = format_bytes(peaks[fullest]), format_bytes(mean)
    return (f"the devices are not evenly filled: {fullest} peaks at {most}, {over:.0%} above the mean of {even}",)
