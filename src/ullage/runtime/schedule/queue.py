"""Who waits, in the order they are let in: clients take turns, and each client's own requests come in their order."""

from ullage.frozen import dataclass, replace


@dataclass(frozen=True, slots=True)
class Queue:
    """``lines`` holds each client's waiting requests, whose turn is next in front; ``returned`` were running once and come first."""

    lines: tuple[tuple[str, tuple[int, ...]], ...] = ()
    returned: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.returned) + sum(len(ids) for _, ids in self.lines)

    def put(self, client: str, id: int) -> "Queue":  # noqa: A002 - what it is
        """At the end of its client's line; a client without one is the last whose turn comes."""
        lines = list(self.lines)
        for index, (name, ids) in enumerate(lines):
            if name == client:
                lines[index] = (name, (*ids, id))
                return replace(self, lines=tuple(lines))
        return replace(self, lines=(*self.lines, (client, (id,))))

    def put_back(self, id: int) -> "Queue":  # noqa: A002 - as above
        """Before all that never ran, and before what was put back earlier: the last to be put back is the most senior."""
        return replace(self, returned=(id, *self.returned))

    def head(self) -> int | None:
        """Whose turn it is."""
        if self.returned:
            return self.returned[0]
        return self.lines[0][1][0] if self.lines else None

    def pop(self) -> "Queue":
        """Without the head; its client's next turn comes after everybody else's."""
        if self.returned:
            return replace(self, returned=self.returned[1:])
        (client, ids), *others = self.lines
        return replace(self, lines=(*others, (client, ids[1:])) if len(ids) > 1 else tuple(others))

    def without(self, id: int) -> "Queue":  # noqa: A002 - as above
        """The same, but for one request that is in it or not."""
        lines = tuple((client, left) for client, ids in self.lines if (left := tuple(other for other in ids if other != id)))
        return Queue(lines, tuple(other for other in self.returned if other != id))
