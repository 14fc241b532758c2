"""The real world, opened only as far as a question asks for it."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ullage.domain.machine import Device
from ullage.errors import WorldError
from ullage.ports import Counter, DataSet, ModelFolder, World
from ullage.world.meters import RealMeters, RealOutlets

if TYPE_CHECKING:
    from ullage.domain.admission import State as Admission
    from ullage.domain.baseline import Run, Trial
    from ullage.domain.guard import Guard, GuardOptions, Step
    from ullage.domain.load import IsEnough, Load, Loading
    from ullage.domain.supervision import Launch, State
    from ullage.ports import Care


class RealModels:
    """Models on disk and on the Hub."""

    def __init__(self, *, offline: bool) -> None:
        self._offline = offline

    def local(self, word: str) -> ModelFolder | None:
        """As the port says."""
        from ullage.world import files

        return files.open_model(word)

    def remote(self, word: str) -> ModelFolder:
        """As the port says; refused offline."""
        if self._offline:
            raise WorldError(
                f"{word} is neither bundled nor on this disk, and --offline forbids asking the Hub: "
                "drop --offline, or give a local directory, a config.json or a bundled name (`ullage models`)"
            )
        from ullage.world import hub

        return hub.open_model(word)


class RealHardware:
    """The drivers of this machine."""

    def devices(self) -> tuple[Device, ...]:
        """As the port says."""
        from ullage.world import drivers

        return drivers.devices()

    def host(self) -> Device:
        """As the port says."""
        from ullage.world.drivers import host

        return host.read()


class RealDesk:
    """The file system."""

    def write(self, path: str, text: str, *, into: str = "") -> None:
        """As the port says."""
        from ullage.world import files

        if into:
            files.write_into(into, path, text)
        else:
            files.write_whole(path, text)

    def read(self, path: str) -> bytes:
        """As the port says."""
        from ullage.world import files

        return files.read_whole(path)


class RealStore:
    """The store of this user. Nothing of SQLite is loaded where nothing was ever stored."""

    def runs(self, *, engine: str = "", prefix: str = "", most: int = -1) -> "tuple[Run, ...]":
        """As the port says."""
        from ullage.world._state_path import store_exists

        if not store_exists():
            return ()
        from ullage.world import store

        return store.runs(engine, prefix, most)

    def append(self, run: "Run") -> None:
        """As the port says."""
        from ullage.world import store

        store.append(run)

    def add(self, runs: "tuple[Run, ...]") -> int:
        """As the port says."""
        from ullage.world import store

        return store.add(runs)

    def delete(self, run_id: str) -> bool:
        """As the port says; nothing is made where nothing was ever stored."""
        from ullage.world import store
        from ullage.world._state_path import store_exists

        return store_exists() and store.delete(run_id)

    def new_id(self) -> str:
        """As the port says."""
        from ullage.world import store

        return store.new_id()

    def append_trial(self, trial: "Trial") -> None:
        """As the port says."""
        from ullage.world import store

        store.append_trial(trial)

    def hold_study(self, study: str) -> None:
        """As the port says."""
        from ullage.world import _study_lock

        _study_lock.hold_study(study)

    def trials_of(self, study: str) -> "tuple[Trial, ...]":
        """As the port says."""
        from ullage.world import store

        return store.trials_of(study)

    def as_export(self, runs: "tuple[Run, ...]") -> str:
        """As the port says."""
        from ullage.world import store

        return store.as_export(runs)

    def read_export(self, path: str) -> "tuple[Run, ...]":
        """As the port says."""
        from ullage.world import store

        return store.read_export(path)


class RealData:
    """Files of requests on disk, and tokenisers on disk and on the Hub."""

    def __init__(self, *, offline: bool) -> None:
        self._offline = offline

    def open(self, path: str) -> DataSet | None:
        """As the port says."""
        from ullage.world import datasets

        return datasets.open_data(path)

    def place(self, path: str) -> str:
        """As the port says."""
        from ullage.world import datasets

        return datasets.place(path)

    def tokenizer_files(self, word: str) -> Mapping[str, bytes] | None:
        """As the port says."""
        from ullage.world import tokenizer_files

        return tokenizer_files.find(word, offline=self._offline)

    def counter(self, name: str, opened: Callable[[], Any], *, nbytes: int) -> Counter:
        """As the port says."""
        from ullage.world import counting

        return counting.PooledCounter(name, opened, nbytes=nbytes)


class RealProcesses:
    """Engines behind their keepers."""

    def find(self, argv: tuple[str, ...], folder: str | None) -> tuple[str, ...] | None:
        """As the port says."""
        from ullage.world import installed

        return installed.find(argv, folder)

    def release(self, program: str, packages: tuple[str, ...]) -> str:
        """As the port says."""
        from ullage.world import installed

        return installed.release(program, packages)

    def whole(self, path: str) -> str:
        """As the port says."""
        from ullage.world import installed

        return installed.whole(path)

    def free_port(self) -> int:
        """As the port says."""
        from ullage.world import installed

        return installed.free_port()

    def keep(self, launch: "Launch", care: "Care") -> "State":
        """As the port says."""
        from ullage.world import supervisor

        return supervisor.keep(launch, care)


class RealGuards:
    """Proxies on this machine."""

    def open(
        self, options: "GuardOptions", state: "Admission", step: "Step", documents: Mapping[str, bytes], metadata: Mapping[str, object]
    ) -> "Guard":
        """As the port says."""
        try:
            from ullage.world.proxy import guard
        except ImportError as error:
            raise WorldError(f"the guard needs {error.name}, which is not installed: pip install 'ullage[serve]'") from error
        return guard.open_guard(options, state, step, documents, metadata)


class RealLogs:
    """Files and standard input."""

    def lines(self, word: str) -> Iterator[str]:
        """As the port says."""
        from ullage.world import logs

        return logs.lines(word)

    def process(self, pid: int) -> tuple[tuple[str, ...], Iterator[str]]:
        """As the port says."""
        from ullage.world import logs

        return logs.process(pid)


def _bench(url: str, key: str | None, load: "Load", is_enough: "IsEnough") -> "Loading":
    """As the port says."""
    from ullage.world import bench

    return bench.Loader(url, key, load, is_enough)


def world(*, offline: bool = False) -> World:
    """Everything outside."""
    return World(
        models=RealModels(offline=offline),
        hardware=RealHardware(),
        desk=RealDesk(),
        store=RealStore(),
        data=RealData(offline=offline),
        meters=RealMeters(),
        outlets=RealOutlets(),
        processes=RealProcesses(),
        guards=RealGuards(),
        logs=RealLogs(),
        bench=_bench,
    )
