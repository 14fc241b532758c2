"""A command made ready to be served: where it listens, and a command somebody wrote with one setting changed."""

from collections.abc import Callable, Mapping
from itertools import chain

from ullage.domain.case import Version
from ullage.domain.engine import Engine, Profile, Server, checked_port
from ullage.domain.plan import Command
from ullage.errors import InputError
from ullage.frozen import replace

LOCAL = "127.0.0.1"
_USUAL = Server(port=8000)


def server_of(profile: Profile, argv: tuple[str, ...]) -> Server:
    """How the command serves; an engine that says nothing of it listens as most do. Raises InputError for one that only answers once."""
    for server in profile.servers or (_USUAL,):
        if not server.program or any(word.endswith(server.program) for word in argv[:4]):
            return server
    raise InputError(f"{' '.join(argv)[:80]!r} is no server of {profile.title}: it answers once and ends; run it as it is")


def listen(command: Command, server: Server, host: str, port: int, *, is_private: bool = False, version: Version | None = None) -> Command:
    """The command told where to listen; ``is_private`` adds what is right where only this machine reaches a release."""
    if server.variable:
        environment = (*(pair for pair in command.environment if pair[0] != server.variable), (server.variable, f"{host}:{port}"))
        return replace(command, environment=environment)
    argv = with_option(command.argv, server.host_flag, host)
    argv = with_option(argv, server.port_flag, str(port))
    said = {word.partition("=")[0] for word in argv} | set(dict(command.environment))
    extras = server.behind if is_private else ()
    known = version.parts if version is not None else ()
    private = (extra.words for extra in extras if known >= extra.since and not said & {extra.words[0], *extra.instead})
    return replace(command, argv=(*argv, *chain.from_iterable(private)))


def address_of(command: Command, server: Server) -> tuple[str, int]:
    """Host and port a command says, or the engine's own. Raises InputError for what is no port."""
    if server.variable:
        host, _, said = dict(command.environment).get(server.variable, "").rpartition(":")
    else:
        host, said = option(command.argv, server.host_flag) or "", option(command.argv, server.port_flag) or ""
    if not said:
        return host or LOCAL, server.port
    if not (said.isascii() and said.isdigit()):
        raise InputError(f"{server.port_flag} {said}: a port is a whole number")
    return host or LOCAL, checked_port(int(said), server.port_flag)


def option(words: tuple[str, ...], flag: str) -> str | None:
    """The value of a flag, the last one said, or None."""
    found = None
    for index, word in enumerate(words):
        name, sign, value = word.partition("=")
        if name == flag:
            found = value if sign else (words[index + 1] if index + 1 < len(words) else "")
    return found


def with_option(words: tuple[str, ...], flag: str, value: str) -> tuple[str, ...]:
    """The words with a flag's value replaced where it stands, or said at the end."""
    return (*_without(words, flag, 1), flag, value)


def _without(words: tuple[str, ...], flag: str, values: int) -> tuple[str, ...]:
    kept: list[str] = []
    skip = 0
    for word in words:
        if skip and not (values < 0 and word.startswith("--")):
            skip -= 1
            continue
        skip = 0
        name, sign, _ = word.partition("=")
        if name == flag:
            skip = 0 if sign else (len(words) if values < 0 else values)
            continue
        kept.append(word)
    return tuple(kept)


def patched(engine: Engine, theirs: Command, before: Command, after: Command) -> Command | None:
    """A command somebody wrote with what differs between two of ours; None where the engine does not read the change back from it.

    A flag said twice is read by its last, so what is changed is taken out and said at the end.
    """
    was, now = _options(before.argv), _options(after.argv)
    argv = theirs.argv
    for flag in was:
        if now.get(flag) != was[flag]:
            argv = _without(argv, flag, -1)
    for flag, values in now.items():
        if was.get(flag) != values:
            argv = (*_without(argv, flag, -1), flag, *values)
    old, new = dict(before.environment), dict(after.environment)
    environment = {**dict(theirs.environment), **{name: value for name, value in new.items() if old.get(name) != value}}
    made = replace(theirs, argv=argv, environment=tuple(environment.items()))
    return made if _reads_alike(engine, made, theirs, after, before) else None


def _reads_alike(engine: Engine, made: Command, theirs: Command, after: Command, before: Command) -> bool:
    """Whether what changed between theirs and the new one is what changed between ours."""
    read: Callable[[Command], Mapping[str, object]] = lambda command: _settings(engine, command)  # noqa: E731 - one word for four readings
    new, old, wanted, had = read(made), read(theirs), read(after), read(before)
    changed = {name for name in {*wanted, *had} if wanted.get(name) != had.get(name)}
    return bool(changed) and all(new.get(name) == wanted.get(name) for name in changed) and new != old


def _settings(engine: Engine, command: Command) -> Mapping[str, object]:
    request = engine.read_command(command.argv, dict(command.environment), None)
    if request is None:
        return {}
    parallel = request.parallel
    return {**dict(request.settings.items), "tensor": parallel.tensor, "pipeline": parallel.pipeline}


def _options(words: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The flags of a command of ours and the words after each."""
    found: dict[str, tuple[str, ...]] = {}
    flag = ""
    for word in words:
        if word.startswith("--") or (word.startswith("-") and not word[1:2].isdigit() and len(word) > 1):
            flag = word
            found[flag] = ()
        elif flag:
            found[flag] = (*found[flag], word)
    return found
