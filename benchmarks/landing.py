"""Landing files from this machine's own file host, beside curl, aria2c and operators of other providers.

curl and aria2c are used where they are installed; so is nginx, see :mod:`benchmarks.file_server`. In a round
the clients take turns, in another order each time, and a ratio is that of two turns in one round. CPU is the
client's alone. Files come from the page cache; they go to /dev/null, to memory (/dev/shm) or to a disk
(``TMPDIR``); or to an S3 store, see :mod:`benchmarks.file_server`, that keeps nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.file_server import file_host, ours
from benchmarks.process import ROOT, airflow_home, connections, probe
from benchmarks.report import Report

KIB, MIB, GIB = 1024, 1024**2, 1024**3
MEMORY = Path("/dev/shm")
MAXIMUM_CPU_READ = 0.6
"""Of curl's CPU, to /dev/null without a hash."""
MAXIMUM_CPU_WRITE = 1.0
"""Of curl's CPU, to memory without a hash."""
MAXIMUM_WALL = 1.25
"""Of curl's time, with SHA-256, which curl does not do."""
MAXIMUM_WALL_PARALLEL = 1.0
"""Of aria2c's time."""
MAXIMUM_WALL_S3 = 1.11
"""Of the time of boto3's ``upload_file``: nine tenths of its throughput."""
MAXIMUM_MEMORY = 64.0
"""MiB above the idle process."""
PEER_RUNS = 3
_SPARE = 2 * GIB
"""What the machine keeps for everything else."""


@dataclass(frozen=True)
class Sizes:
    """How much is moved, bytes and counts."""

    large: int = 2 * GIB
    """The one file that curl fetches as well."""
    count: int = 16
    """Files that are fetched together."""
    each: int = 128 * MIB
    """Size of each of them, and of the file for other operators."""
    slow: int = GIB
    """The file whose host limits each connection."""
    rate: int = 32 * MIB
    """That limit, bytes per second."""
    huge: int = 10 * GIB
    """The file that must not fill the memory."""
    many: int = 1000
    """The files that must not."""
    small: int = 64 * KIB
    """Size of each of the many."""
    some: int = 100
    """How many of them go to S3."""


SMALL = Sizes(
    large=64 * MIB,
    count=4,
    each=8 * MIB,
    slow=64 * MIB,
    rate=16 * MIB,
    huge=256 * MIB,
    many=50,
    small=4 * KIB,
    some=10,
)
"""For trying whether it works."""


@dataclass(frozen=True)
class Took:
    """What one client took once."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds."""
    memory: float | None = None
    """MiB above the idle process, where the process could tell."""


Turn = Callable[[Path], Took]
"""Fetches into an empty folder."""


@dataclass(frozen=True)
class Race:
    """Clients that do the same thing."""

    name: str
    """What they do."""
    place: Path | None
    """Below which folder the files go; None where nothing is written."""
    anchor: str
    """The client that the others are compared with; empty for none."""
    turns: Mapping[str, Turn]
    """The clients."""
    targets: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Client and measure to the highest ratio that is good enough."""
    runs: int = 100
    """Most rounds."""


def measure(report: Report, runs: int, only: str = "") -> None:
    """Measure ``runs`` rounds, the clients of each race taking turns.

    :param only: text in the names of the races that are measured.
    """
    _measure(report, runs, Sizes(), only)


def try_out(report: Report, runs: int, only: str = "") -> None:
    """Do the same with small files: quick, and no figure of it means anything."""
    _measure(report, runs, SMALL, only)
    # A start-up that is nothing beside 2 GiB is most of the time here.
    report.rows[:] = [replace(row, target=None) for row in report.rows]


def _measure(report: Report, runs: int, sizes: Sizes, only: str) -> None:
    with contextlib.ExitStack() as stack:
        disk = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-landing-")))
        shared = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-landing-", dir=MEMORY)))
        source = disk / "source"
        source.mkdir()
        sizes, place = _fit(report, sizes, disk, shared)
        _make_files(source, sizes)
        url, server = stack.enter_context(file_host(source, sizes.rate))
        report.notes.append(f"file host: {server}")
        store = stack.enter_context(ours(source, 0))
        environment = stack.enter_context(airflow_home())
        environment |= connections(url) | _store_connection(store)
        bench = Bench(report, url, environment, sizes, source)
        for race in bench.races(disk, shared):
            if only in race.name:
                _run(report, race, min(runs, race.runs))
        bench.measure_memory(place, only)
    if not report.rows:
        raise RuntimeError(f"no race has {only!r} in its name")


@dataclass
class Bench:
    """What all turns need."""

    report: Report
    """Where notes go."""
    url: str
    """Of the file host."""
    environment: dict[str, str]
    """For clients."""
    sizes: Sizes
    """How much is moved."""
    source: Path
    """Where the files are that the host serves."""

    def races(self, disk: Path, shared: Path) -> Iterator[Race]:
        """Return all comparisons, without the clients that are not installed."""
        sizes = self.sizes
        large = {f"{self.url}/fast/large": sizes.large}
        together = {f"{self.url}/fast/each-{number}": sizes.each for number in range(sizes.count)}
        slow = {f"{self.url}/slow/slow": sizes.slow}
        one = {f"{self.url}/fast/each-0": sizes.each}
        curl = {"curl": self._curl(large)} if self._has("curl") else {}
        hook = self._probe("hook", large)
        hook_16 = "exports, 16 connections"
        yield Race(
            f"{_size(sizes.large)} to /dev/null",
            None,
            "curl",
            {**curl, "exports, no hash": self._probe("read", large)},
            {("exports, no hash", "CPU"): MAXIMUM_CPU_READ},
        )
        yield Race(
            f"{_size(sizes.large)} to memory",
            shared,
            "curl",
            {**curl, "exports, no hash": self._probe("transfer", large), "exports": hook},
            {("exports, no hash", "CPU"): MAXIMUM_CPU_WRITE, ("exports", "wall"): MAXIMUM_WALL},
        )
        yield Race(
            f"{_size(sizes.large)} to disk",
            disk,
            "curl",
            {**curl, "exports": hook},
            {("exports", "wall"): MAXIMUM_WALL},
        )
        limited = f"{_size(sizes.slow)}, {_size(sizes.rate)}/s per connection"
        for name, files in ((f"{sizes.count} × {_size(sizes.each)}", together), (limited, slow)):  # noqa: RUF001
            aria = {"aria2c -x16 -s16 -j16": self._aria(files)} if self._has("aria2c") else {}
            yield Race(
                f"{name}, to memory",
                shared,
                "aria2c -x16 -s16 -j16",
                {
                    **aria,
                    hook_16: self._probe("hook", files, parallel_files=16, parallel_ranges=16),
                    "exports": self._probe("hook", files),
                },
                {(hook_16, "wall"): MAXIMUM_WALL_PARALLEL},
            )
        yield Race(
            f"{_size(sizes.each)} by a task",
            shared,
            "exports",
            {"exports": self._probe("hook", one), "HttpOperator": self._probe("http_operator", one)},
            runs=PEER_RUNS,
        )
        if not all(map(importlib.util.find_spec, ("airflow.providers.amazon", "s3fs"))):
            self.report.notes.append("not measured, the Amazon provider is not installed: S3")
            return
        publish = "exports, publishing only"
        small = [f"small-{number}" for number in range(sizes.some)]
        for name, size, names in (
            (_size(sizes.large), sizes.large, ["large"]),
            (f"{sizes.some} × {_size(sizes.small)}", sizes.small, small),  # noqa: RUF001
        ):
            here = {str(self.source / one): size for one in names}
            there = {f"{self.url}/fast/{one}": size for one in names}
            yield Race(
                f"{name} to S3",
                shared,
                "s3transfer",
                {
                    "s3transfer": self._probe("s3transfer", here),
                    publish: self._probe("publish", there),
                    "exports": self._probe("hook_s3", there),
                },
                {(publish, "wall"): MAXIMUM_WALL_S3},
            )
        yield Race(
            f"{_size(sizes.each)} to S3 by a task",
            shared,
            "exports",
            {"exports": self._probe("hook_s3", one), "HttpToS3Operator": self._probe("http_to_s3", one)},
            runs=PEER_RUNS,
        )

    def measure_memory(self, place: Path, only: str) -> None:
        """Measure once what many bytes and many files do to the memory."""
        sizes = self.sizes
        many = {f"{self.url}/fast/small-{number}": sizes.small for number in range(sizes.many)}
        for name, files in (
            (f"{_size(sizes.huge)} in one file", {f"{self.url}/fast/huge": sizes.huge}),
            (f"{sizes.many} files of {_size(sizes.small)}", many),
        ):
            if only not in name:
                continue
            took = _in_folder(place, self._probe("hook", files))
            self.report.add(f"{name}: exports", "wall", [took.wall], "s")
            self.report.add(f"{name}: exports", "memory", [took.memory or 0.0], "MiB", MAXIMUM_MEMORY)

    def _has(self, program: str) -> bool:
        if shutil.which(program):
            return True
        note = f"not measured, it is not installed: {program}"
        if note not in self.report.notes:
            self.report.notes.append(note)
        return False

    def _curl(self, files: Mapping[str, int]) -> Turn:
        (url,) = files

        def turn(folder: Path) -> Took:
            out = os.devnull if folder == Path(os.devnull) else str(folder / "0.bin")
            return self._program(["curl", "-q", "-sS", "--fail", "-o", out, url], folder, files)

        return turn

    def _aria(self, files: Mapping[str, int]) -> Turn:
        def turn(folder: Path) -> Took:
            lines = [f"{url}\n  out={number}.bin\n" for number, url in enumerate(files)]
            (folder / "list").write_text("".join(lines))
            options = ["-x16", "-s16", "-j16", "--no-conf", "-q", "--file-allocation=none"]
            return self._program(["aria2c", *options, "-d", str(folder), "-i", "list"], folder, files)

        return turn

    def _program(self, command: Sequence[str], folder: Path, files: Mapping[str, int]) -> Took:
        started = time.perf_counter()
        working = ROOT if folder == Path(os.devnull) else folder
        process = subprocess.Popen(command, cwd=working, env=self.environment)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{command[0]} failed with {process.returncode}")
        if working is folder:
            found = [(folder / f"{number}.bin").stat().st_size for number in range(len(files))]
            if found != list(files.values()):
                raise RuntimeError(f"{command[0]}: files of {found} bytes came")
        return Took(wall, used.ru_utime + used.ru_stime)

    def _probe(self, how: str, files: Mapping[str, int], **settings: int) -> Turn:
        environment = {**self.environment}
        if settings:
            connection = json.loads(environment["AIRFLOW_CONN_BENCH_MEWS"])
            connection["extra"] |= settings
            environment["AIRFLOW_CONN_BENCH_MEWS"] = json.dumps(connection)
        wanted = [f"{url}={size}" for url, size in files.items()]

        def turn(folder: Path) -> Took:
            seen = probe("land", how, str(folder), *wanted, environment=environment, timeout=600.0)
            return Took(seen["wall"], seen["cpu"], seen["memory"] / MIB)

        return turn


def _run(report: Report, race: Race, runs: int) -> None:
    seen: dict[str, list[Took]] = defaultdict(list)
    for number in range(runs):
        clients = list(race.turns)
        random.Random(number).shuffle(clients)
        for client in clients:
            seen[client].append(_in_folder(race.place, race.turns[client]))
    for client in race.turns:
        name, took = f"{race.name}: {client}", seen[client]
        report.add(name, "wall", [one.wall for one in took], "s")
        report.add(name, "CPU", [one.cpu for one in took], "s")
        if (memory := [one.memory for one in took if one.memory is not None]) != []:
            report.add(name, "memory", memory, "MiB")
        if client == race.anchor or race.anchor not in seen:
            continue
        pairs = list(zip(took, seen[race.anchor], strict=True))
        for quantity, ratios in (
            ("wall", [one.wall / other.wall for one, other in pairs]),
            ("CPU", [one.cpu / other.cpu for one, other in pairs]),
        ):
            target = race.targets.get((client, quantity))
            report.add(name, f"{quantity}, as a multiple of {race.anchor}", ratios, target=target)


def _in_folder(place: Path | None, turn: Turn) -> Took:
    if place is None:
        return turn(Path(os.devnull))
    with tempfile.TemporaryDirectory(dir=place) as folder:
        # What the turn before has left to be written would be written during this one.
        os.sync()
        return turn(Path(folder))


def _make_files(folder: Path, sizes: Sizes) -> None:
    """Make what is served: random bytes, but the huge file is a hole."""
    block = random.Random(0).randbytes(16 * MIB)
    plain = {"large": sizes.large, "slow": sizes.slow}
    plain |= {f"each-{number}": sizes.each for number in range(sizes.count)}
    plain |= {f"small-{number}": sizes.small for number in range(sizes.many)}
    for name, size in plain.items():
        with (folder / name).open("wb", buffering=0) as stream:
            for at in range(0, size, len(block)):
                stream.write(memoryview(block)[: size - at])
    with (folder / "huge").open("wb") as stream:
        stream.truncate(sizes.huge)


def _fit(report: Report, sizes: Sizes, disk: Path, shared: Path) -> tuple[Sizes, Path]:
    """Return sizes that the machine holds, and where the huge file goes."""
    source = sizes.large + sizes.slow + sizes.count * sizes.each + sizes.many * sizes.small
    _, _, after = Path("/proc/meminfo").read_text().partition("MemAvailable:")
    available = int(after.split()[0])
    in_memory = min(available * KIB, shutil.disk_usage(shared).free) - source - _SPARE
    on_disk = shutil.disk_usage(disk).free - source - _SPARE
    if min(in_memory, on_disk) < sizes.large:
        needed = _size(source + sizes.large + _SPARE)
        raise RuntimeError(f"the benchmark needs {needed} in {MEMORY} and in {disk.parent}; try --quick")
    place = shared if in_memory >= sizes.huge else disk
    room = max(in_memory, on_disk)
    if room < sizes.huge:
        place = shared if in_memory >= on_disk else disk
        sizes = replace(sizes, huge=room // GIB * GIB)
        report.notes.append(f"the huge file has {_size(sizes.huge)}, more does not fit on this machine")
    report.notes.append(f"the huge file goes to {'memory' if place == shared else 'disk'}")
    return sizes, place


def _store_connection(url: str) -> dict[str, str]:
    """Return the environment of a connection to an S3 store that only swallows."""
    extra = {"endpoint_url": url, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "benchmark", "password": "benchmark", "extra": extra}
    return {"AIRFLOW_CONN_BENCH_AWS": json.dumps(connection)}


def _size(number: int) -> str:
    for unit, size in (("GiB", GIB), ("MiB", MIB)):
        if number >= size:
            return f"{number / size:.0f} {unit}"
    return f"{number / KIB:.0f} KiB"
