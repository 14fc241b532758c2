"""Where a figure is from, in words."""

from ullage.domain.provenance import Assumed, Cited, Measured, Source


def said(source: Source) -> str:
    """One line for people and programs."""
    match source:
        case Measured(record=record):
            return f"measured: {record}"
        case Cited(at=at):
            return at
        case Assumed(why=why):
            return f"assumed: {why}"
