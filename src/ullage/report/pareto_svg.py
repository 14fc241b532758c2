"""Throughput against memory as a picture in SVG, written without a library: it is text."""

from collections.abc import Iterator

from ullage.report.tune_result import Mark, Tuned, dials_text, marks
from ullage.units import format_bytes

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 420, 80, 30, 40, 60
_TICKS = 5
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def svg(tuned: Tuned) -> str:
    """The whole picture. Each trial says its settings when it is pointed at."""
    found = marks(tuned)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="24" font-size="15">{_escaped(f"{tuned.name}: throughput against peak memory")}</text>',
        *(_axes(found) if found else ('<text x="80" y="80">nothing was measured</text>',)),
        *_front(found),
        *(_dot(tuned, mark, found) for mark in found),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(sign, sign) for sign in text)


def _span(values: list[float]) -> tuple[float, float]:
    """From a little below the least to a little above the most."""
    least, most = min(values), max(values)
    margin = (most - least or most or 1.0) * 0.08
    return least - margin, most + margin


def _at(mark: Mark, found: tuple[Mark, ...]) -> tuple[float, float]:
    left, right = _span([float(one.nbytes) for one in found])
    low, high = _span([one.tokens_per_s for one in found])
    across, up = (mark.nbytes - left) / (right - left), (mark.tokens_per_s - low) / (high - low)
    return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)


def _axes(found: tuple[Mark, ...]) -> Iterator[str]:
    left, right = _span([float(one.nbytes) for one in found])
    low, high = _span([one.tokens_per_s for one in found])
    floor, end = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    yield f'<path d="M{_LEFT} {_TOP}V{floor}H{end}" fill="none" stroke="#444"/>'
    for tick in range(_TICKS):
        share = tick / (_TICKS - 1)
        x, y = _LEFT + share * (end - _LEFT), floor - share * (floor - _TOP)
        yield f'<text x="{x:.0f}" y="{floor + 18}" text-anchor="middle">{format_bytes(int(left + share * (right - left)))}</text>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.0f}" text-anchor="end">{low + share * (high - low):,.4g}</text>'
    yield f'<text x="{(_LEFT + end) / 2:.0f}" y="{floor + 42}" text-anchor="middle">peak memory</text>'
    middle = (_TOP + floor) / 2
    yield f'<text x="18" y="{middle:.0f}" transform="rotate(-90 18 {middle:.0f})" text-anchor="middle">tokens/s</text>'


def _front(found: tuple[Mark, ...]) -> Iterator[str]:
    corners = [_at(one, found) for one in found if one.is_front]
    if len(corners) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        yield f'<polyline points="{path}" fill="none" stroke="#2a7" stroke-dasharray="4 3"/>'


def _dot(tuned: Tuned, mark: Mark, found: tuple[Mark, ...]) -> str:
    x, y = _at(mark, found)
    colour = "#d33" if mark.is_best else "#2a7" if mark.is_front else "#89a"
    numbers = ", ".join(map(str, mark.numbers))
    said = f"trial {numbers}: {mark.tokens_per_s:,.1f} tokens/s, {format_bytes(mark.nbytes)}, {dials_text(tuned, mark.trial)}"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{7 if mark.is_best else 5}" fill="{colour}"><title>{_escaped(said)}</title></circle>'
