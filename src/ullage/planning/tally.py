"""Readings of a run as they come, in bounded memory: kept evenly over the whole run, with the exact number and maximum."""

from ullage.domain.baseline import Growth, Seen
from ullage.domain.ledger import Phase, Purpose
from ullage.frozen import dataclass, field, replace
from ullage.planning.record import fit_growth, summarise

KEPT = 512  # readings of a term; percentiles of a longer run are those of an even sample

Key = tuple[str, Purpose | None, Phase]


@dataclass(frozen=True, slots=True)
class Sample:
    """Every ``stride``-th of ``count`` values, the first among them."""

    values: tuple[tuple[int, int], ...] = ()  # (tokens held or 0, bytes)
    count: int = 0
    stride: int = 1

    def plus(self, value: tuple[int, int]) -> "Sample":
        """With one value more; where there is no room, every second one goes."""
        values, stride = self.values, self.stride
        if self.count % stride == 0:
            if len(values) == KEPT:
                values, stride = values[::2], stride * 2
            if self.count % stride == 0:
                values = (*values, value)
        return Sample(values, self.count + 1, stride)


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """The readings of one term."""

    sample: Sample = field(default_factory=Sample)
    most_bytes: int = 0
    missing_bytes: int = 0  # of what was promised, when most was seen
    reached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """All terms of a run so far, and each device's bytes at a number of tokens held."""

    terms: tuple[tuple[Key, Track], ...] = ()
    growth: tuple[tuple[str, Sample], ...] = ()

    def plus(
        self,
        device: str,
        purpose: Purpose | None,
        phase: Phase,
        nbytes: int,
        *,
        tokens: int | None = None,
        reached: bool = False,
        missing: int = 0,
    ) -> "Tally":
        """With one reading more. ``tokens`` held at that moment, for everything on a device, say how it grows with them."""
        key = (device, purpose, phase)
        terms = dict(self.terms)
        before = terms.get(key, Track())
        most, without = max((before.most_bytes, before.missing_bytes), (nbytes, missing))
        terms[key] = Track(
            sample=before.sample.plus((0, nbytes)), most_bytes=most, missing_bytes=without, reached=before.reached or reached
        )
        made = replace(self, terms=tuple(terms.items()))
        return made if tokens is None or purpose is not None else made.holding(device, tokens, nbytes)

    def holding(self, device: str, tokens: int, nbytes: int) -> "Tally":
        """With one reading more of how a device grows with the tokens held."""
        growth = dict(self.growth)
        growth[device] = growth.get(device, Sample()).plus((tokens, nbytes))
        return replace(self, growth=tuple(growth.items()))


def seen_of(tally: Tally) -> tuple[Seen, ...]:
    """Every term as it is stored with a run."""
    found = ((track, summarise(*key, [nbytes for _, nbytes in track.sample.values], reached=track.reached)) for key, track in tally.terms)
    return tuple(
        replace(seen, samples=track.sample.count, max_bytes=track.most_bytes, missing_bytes=track.missing_bytes)
        for track, seen in found
        if seen is not None
    )


def growth_of(tally: Tally) -> tuple[Growth, ...]:
    """How each device grew with the tokens it held, where enough was read."""
    fitted = (fit_growth(device, sample.values) for device, sample in tally.growth)
    return tuple(one for one in fitted if one is not None)
