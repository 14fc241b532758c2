"""A guard under mixed requests for as long as is said, gently: whether its memory grows.

``python tools/bench/guard_soak.py [--minutes 60] [--rate 12] [--most-mib-per-hour 4]``: streams, plain answers, clients that leave in
the middle, requests too long and bodies that are none, against the engine of the guard's benchmark, all on loopback. Memory is read
every two seconds. What grows is the slope over all readings from the first sixth on (two minutes at least, as the last requests are kept);
the run fails where that is more than stated and it is more than a MiB.
"""

import argparse
import asyncio
import os
import random
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress
from typing import Final

from guard import command, cpu_s, free_port, rss_mib, running
from streams import request

CHUNKS, GAP_S = 12, 0.02
LOOK_S: Final = 2.0
WORDS = "Say in a few words how much memory a long conversation takes. "
KINDS = ("stream",) * 5 + ("models",) * 2 + ("leave",) * 2 + ("too long", "broken")
FILLED_S, MORE_MIB = 120.0, 1.0


def body_of(kind: str, port: int, numbers: random.Random) -> bytes:
    """One request of a kind, as bytes of HTTP."""
    if kind == "models":
        return b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    if kind == "broken":
        return request(port, "x").replace(b'{"model"', b'["model"')
    made = request(port, WORDS * numbers.randint(1, 40))
    return made.replace(b'"max_tokens":64', b'"max_tokens":9999') if kind == "too long" else made


async def one(port: int, kind: str, numbers: random.Random, ends: Counter[str]) -> None:
    """A request of a client of its own, from its connection to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(body_of(kind, port, numbers))
        head = await reader.readuntil(b"\r\n\r\n")
        status = head.split(b" ", 2)[1].decode()
        if kind == "leave":
            await reader.readuntil(b"T")
        elif b"chunked" in head:
            await reader.readuntil(b"\r\n0\r\n\r\n")
        ends[f"{kind} {status}"] += 1
    except (asyncio.IncompleteReadError, ConnectionError):
        ends[f"{kind} cut"] += 1
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def drive(port: int, rate: float, until: float, ends: Counter[str]) -> None:
    """Requests at a rate, each a task, until then."""
    numbers = random.Random(1)  # noqa: S311 - the same requests in every run
    running_now = set[asyncio.Task[None]]()
    while time.monotonic() < until:
        task = asyncio.create_task(one(port, numbers.choice(KINDS), numbers, ends))
        running_now.add(task)
        task.add_done_callback(running_now.discard)
        await asyncio.sleep(numbers.expovariate(rate))
    await asyncio.gather(*running_now)


def slope_per_hour(readings: list[tuple[float, float]]) -> float:
    """Least squares of (seconds, MiB), for an hour."""
    count = len(readings)
    middle_s, middle = sum(at for at, _ in readings) / count, sum(mib for _, mib in readings) / count
    spread = sum((at - middle_s) ** 2 for at, _ in readings)
    return 3600 * sum((at - middle_s) * (mib - middle) for at, mib in readings) / spread if spread else 0.0


def read_arguments() -> argparse.Namespace:
    """How long, how fast, and what is too much."""
    said = argparse.ArgumentParser(description=__doc__)
    said.add_argument("--minutes", type=float, default=60.0)
    said.add_argument("--rate", type=float, default=12.0, help="requests a second")
    said.add_argument("--most-mib-per-hour", type=float, default=4.0)
    return said.parse_args()


async def soak(wanted: argparse.Namespace) -> bool:
    """Whether the guard's memory stays as it is; prints what was seen."""
    engine_port, port = free_port(), free_port()
    readings, ends = list[tuple[float, float]](), Counter[str]()
    with ExitStack() as stack:
        stack.enter_context(running(command("streams.py", engine_port, CHUNKS, GAP_S), engine_port))
        guard = stack.enter_context(running(command("guarded.py", port, engine_port), port))
        begun = time.monotonic()
        driving = asyncio.create_task(drive(port, wanted.rate, begun + 60 * wanted.minutes, ends))
        shown = begun
        while not driving.done():
            await asyncio.wait({driving}, timeout=LOOK_S)
            now = time.monotonic()
            readings.append((now - begun, rss_mib(guard)))
            if now - shown >= 60:  # noqa: PLR2004 - a line a minute
                shown = now
                print(f"{now - begun:6.0f} s  {readings[-1][1]:.1f} MiB  {ends.total():,} requests", flush=True)
        await driving
        used = cpu_s(guard.pid) / (time.monotonic() - begun)
    whole_s = readings[-1][0]
    settled = [reading for reading in readings if reading[0] >= max(whole_s / 6, min(FILLED_S, whole_s / 2))]
    slope = slope_per_hour(settled)
    print(", ".join(f"{kind}: {count:,}" for kind, count in sorted(ends.items())))
    print(
        f"soak: {ends.total():,} requests in {wanted.minutes:g} min, {used:.2f} of a core; resident {readings[0][1]:.1f} MiB at the start, "
        f"{settled[0][1]:.1f} settled, {readings[-1][1]:.1f} at the end, {slope:+.2f} MiB an hour, load average {os.getloadavg()[0]:.2f}"
    )
    odd = [end for end in ends if end not in {"stream 200", "models 200", "leave 200", "too long 400", "broken 400"}]
    if odd:
        print(f"unlooked for: {odd}")
    grows = slope > wanted.most_mib_per_hour and settled[-1][1] - settled[0][1] > MORE_MIB
    print("it grows" if grows else "it does not grow")
    return not (odd or grows)


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(soak(read_arguments())) else 1)
