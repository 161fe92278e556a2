"""Thousands of waiting triggers in Airflow's own ``TriggerRunner``, against APIs whose exports take time."""

from __future__ import annotations

import contextlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from airflow_provider_exports.core.polling import PollRule
from airflow_provider_exports.core.registry import vendor_class
from benchmarks.process import ROOT, airflow_home, listening, probe
from benchmarks.report import Report
from benchmarks.status_server import GIOSG_PAGE, ROWS_TOLD

EXPORTS = "airflow_provider_exports.triggers.export.ExportTrigger"
HTTP = "HttpSensorTrigger"
AIRBYTE = "AirbyteSyncTrigger"
OTHERS = {
    HTTP: "airflow.providers.http.triggers.http.HttpSensorTrigger",
    AIRBYTE: "airflow.providers.airbyte.triggers.airbyte.AirbyteSyncTrigger",
}
VENDORS = ("mews", "giosg", "medable", "connhex", "onna")
OTHERS_EVERY_10_S: dict[str, dict[str, Any]] = {
    HTTP: {"poke_interval": 10},
    AIRBYTE: {"poll_interval": 10, "end_time": time.time() + 86400},
}
NEVER = 10_000.0
"""Seconds after which an export is ready that only is to be waited for."""
MOST_AIRBYTE = 50
"""More of its triggers do not come to look every 10 s: each look holds up all others."""
READS = {"batch", "list", "single", "link", "login", "other read", "hung", "refused", ROWS_TOLD}
"""What whoever waits may ask for."""

Trigger = tuple[int, str, dict[str, Any]]


class Fleet:
    """Accounts at vendors, their exports, and the triggers that wait for them.

    :param url: the server.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.environment: dict[str, str] = {}
        self.triggers: list[Trigger] = []
        self.ready_at: dict[int, float] = {}
        """Trigger to the moment its export is ready, seconds after the server's clock was started."""
        self.vendor_of: dict[int, str] = {}
        self._accounts: dict[str, tuple[str, list[str]]] = {}

    def add(
        self, vendor: str, ready_at: Iterable[float], *, behaviour: str = "good", **arguments: Any
    ) -> list[int]:
        """Add a connection with one export per moment and return the numbers of their triggers."""
        account = str(len(self._accounts))
        conn_id = f"bench_{account}"
        self.environment[f"AIRFLOW_CONN_{conn_id.upper()}"] = connection(vendor, f"{self.url}/{account}")
        ids, numbers = [], []
        for moment in ready_at:
            trigger_id = len(self.triggers) + 1
            if vendor in OTHERS:
                export_id = str(trigger_id)
                values = {"endpoint": "job"} if vendor == HTTP else {"job_id": trigger_id}
                name = {HTTP: "http_conn_id", AIRBYTE: "conn_id"}[vendor]
                self.triggers.append((trigger_id, OTHERS[vendor], {name: conn_id, **values, **arguments}))
            else:
                export_id = export_id_of(vendor, trigger_id, moment)
                values = {"conn_id": conn_id, "vendor": vendor, "export_id": export_id}
                self.triggers.append((trigger_id, EXPORTS, {**values, **arguments}))
            self.ready_at[trigger_id] = moment
            self.vendor_of[trigger_id] = vendor
            ids.append(export_id)
            numbers.append(trigger_id)
        self._accounts[account] = (behaviour, ids)
        return numbers

    def shuffle(self) -> None:
        """Mix the triggers of all connections, always in the same way."""
        random.Random(7).shuffle(self.triggers)

    def register(self) -> None:
        """Tell the server."""
        body = json.dumps(self._accounts).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/-/accounts", data=body, headers=headers)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request):
            pass

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how often each account was asked for what."""
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"{self.url}/-/counts"
        ) as answer:
            return dict(json.loads(answer.read()))


def connection(vendor: str, url: str) -> str:
    """Return an Airflow connection to a vendor's account at the server, as JSON."""
    common = {"conn_type": vendor, "host": url, "login": "bench", "password": "benchmark"}
    extra: dict[str, Any] = {
        "mews": {"client_token": "benchmark"},
        "giosg": {"organization_id": "bench", "user_id": "bench"},
        "connhex": {"apis_url": url, "accounts_url": url},
        "onna": {"account": "bench"},
        AIRBYTE: {"timeout": 30},
    }.get(vendor, {})
    if vendor == "onna":
        common["login"] = "bench@bench.example"
    if vendor in OTHERS:
        common = {"conn_type": "airbyte" if vendor == AIRBYTE else "http", "host": url}
    return json.dumps({**common, "extra": extra})


def export_id_of(vendor: str, number: int, ready_at: float) -> str:
    """Return an id of the vendor's kind, which tells the server when the export is ready."""
    end = f"{int(ready_at * 1000):012x}"
    created = f"{int(time.time()) - 60:08x}"
    if vendor == "medable":
        # The vendor's ids begin with the second of their creation.
        return f"{created}{number % 2**16:04x}{end}"
    return f"{created}-0000-4000-{number % 2**16:04x}-{end}"


def times(count: int, begin: float, end: float) -> list[float]:
    """Return so many moments, evenly spread."""
    return [begin + (end - begin) * (number + 0.5) / count for number in range(count)]


@contextlib.contextmanager
def plan_file(fleet: Fleet, **details: Any) -> Iterator[str]:
    """Yield the path of a plan for the probe."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan.json"
        plan = {"url": fleet.url, "triggers": fleet.triggers, **details}
        file.write_text(json.dumps(plan), encoding="utf-8")
        yield str(file)


@contextlib.contextmanager
def fleet(seconds: float = 1200.0) -> Iterator[Fleet]:
    """Yield a fleet at a server of its own."""
    with listening("benchmarks.status_server", str(seconds)) as url:
        yield Fleet(url)


def run(ships: Fleet, environment: Mapping[str, str], **details: Any) -> dict[str, Any]:
    """Let the triggers wait in a fresh process and return what the probe saw."""
    ships.register()
    with plan_file(ships, **details) as file:
        timeout = details.get("end", 0.0) + 240.0
        seen: dict[str, Any] = probe(
            "wait_exports", file, environment={**environment, **ships.environment}, timeout=timeout
        )
    return seen


# -- one connection ------------------------------------------------------------------------------------


def one_connection(report: Report, runs: int, environment: Mapping[str, str], count: int) -> None:
    """Count the requests for a thousand looks at exports of one connection."""
    for subject, arguments in {
        "mews": {"poll_interval": 10, "first_poll_delay": 0},
        "giosg": {"poll_interval": 10, "first_poll_delay": 0},
        **OTHERS_EVERY_10_S,
    }.items():
        waiting = min(count, MOST_AIRBYTE) if subject == AIRBYTE else count
        told: list[float] = []
        singles: list[float] = []
        cpu: list[float] = []
        for _ in range(runs):
            with fleet() as ships:
                ships.add(subject, [NEVER] * waiting, **arguments)
                window = only_waiting(ships, environment)
            counts = difference(window["counts"])["0"]
            requests = requests_of(counts)
            told.append(1000 * requests / (counts.get(ROWS_TOLD) or requests))
            singles.append(counts.get("single", 0))
            cpu.append(100 * window["cpu"] / window["seconds"])
        name = f"{waiting} on one connection: {shown(subject)}"
        target = {"mews": 1000 / count, "giosg": 1000 / GIOSG_PAGE}.get(subject)
        report.add(name, "requests for 1,000 looks", told, target=target)
        if subject in VENDORS:
            report.add(name, "reads of one export", singles, target=0)
        report.add(name, "CPU of one core", cpu, "%")


def only_waiting(ships: Fleet, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what 30 s are like in which nothing becomes ready."""
    seen = run(ships, environment, window=(20.0, 30.0), wait_for_all=False)
    if seen["fired"]:
        raise RuntimeError(f"{len(seen['fired'])} have fired: {seen['bad'][:3]}")
    return dict(seen["window"])


def requests_of(counts: Mapping[str, int]) -> int:
    """Return how many requests an account got."""
    return sum(number for name, number in counts.items() if name != ROWS_TOLD)


def difference(counts: list[dict[str, dict[str, int]]]) -> dict[str, dict[str, int]]:
    """Return what was asked for between two counts, by account and operation."""
    before, after = counts
    return {
        account: {name: number - before.get(account, {}).get(name, 0) for name, number in operations.items()}
        for account, operations in after.items()
    }


def shown(subject: str) -> str:
    """Return the name of a subject in the table."""
    return subject if subject in OTHERS else f"exports, {vendor_class(subject).display_name}"


# -- all vendors ---------------------------------------------------------------------------------------

MAXIMUM_CPU = 20.0
"""Per cent of one core."""
MAXIMUM_MEMORY = 20.0
"""KiB of each waiter above the first thousand."""
MAXIMUM_P99 = 50.0
"""Milliseconds between two ticks that are 20 ms apart on an idle loop, 99 of 100 times."""
MAXIMUM_GAP = 200.0
"""Milliseconds between two such ticks."""


def all_vendors(
    report: Report, runs: int, environment: Mapping[str, str], count: int, profile: str = ""
) -> None:
    """Let exports of five vendors wait at the pace of their connections, two connections each."""
    subject = f"{count} waiting, 10 connections"
    first = min(1000, count // 2)
    seen, idle, multiples = [], [], []
    for _ in range(runs):
        with fleet() as ships, fleet() as nobody:
            for vendor in VENDORS * 2:
                ships.add(vendor, times(count // 10, 70.0, 120.0))
            ships.shuffle()
            nobody.register()
            details = {"window": (15.0, 20.0), "end": 420.0}
            with ThreadPoolExecutor(2) as together:
                beside = together.submit(run, nobody, environment, **{**details, "end": 120.0})
                one = run(ships, environment, first=first, rest_from=17.0, profile=profile, **details)
                idle.append(beside.result())
            refuse_bad(one, subject)
            seen.append(one)
            multiples.append(statistics.median(lateness(ships, one)))
            writes = {name for operations in ships.counts().values() for name in operations} - READS
            if writes:
                raise RuntimeError(f"waiting asked for {', '.join(sorted(writes))}")
    for phase, name in (("window", "waiting"), ("overall", "from start to last event")):
        used = [100 * one[phase]["cpu"] / one[phase]["seconds"] for one in seen]
        report.add(subject, f"CPU of one core, {name}", used, "%", MAXIMUM_CPU)
    rest = count - first
    report.add(subject, "CPU to start one", [1000 * one["starting"]["cpu"] / rest for one in seen], "ms")
    grown = [(max(one["memory_waiting"], one["memory_last"]) - one["memory_first"]) / 1024 for one in seen]
    report.add(subject, "memory of a waiter", [size / rest for size in grown], "KiB", MAXIMUM_MEMORY)
    for phase, name in (("starting", "starting"), ("window", "waiting"), ("overall", "overall")):
        p99 = [1000 * one[phase]["p99"] for one in seen]
        longest = [1000 * one[phase]["longest"] for one in seen]
        bound = phase != "starting"
        report.add(subject, f"gap, p99, {name}", p99, "ms", MAXIMUM_P99 if bound else None)
        report.add(subject, f"longest gap, {name}", longest, "ms", MAXIMUM_GAP if bound else None)
        own = [1000 * one[phase]["longest_own"] for one in seen]
        report.add(subject, f"longest gap without garbage collection, {name}", own, "ms")
    collection = [1000 * one["overall"]["longest_collection"] for one in seen]
    report.add(subject, "longest garbage collection", collection, "ms")
    for key, name in (("p99", "gap, p99, overall"), ("longest", "longest gap, overall")):
        report.add("no trigger, beside it", name, [1000 * one["overall"][key] for one in idle], "ms")
    report.add(subject, "wake-up after ready, median, as a multiple of the interval", multiples, target=1)


def refuse_bad(seen: Mapping[str, Any], subject: str) -> None:
    """Raise if a trigger fired with an error, twice or not at all."""
    missing = set(seen["started"]) - set(seen["fired"])
    twice = [one for one, moments in seen["fired"].items() if len(moments) > 1]
    if seen["bad"] or missing or twice:
        raise RuntimeError(
            f"{subject}: {len(missing)} have not fired, {len(twice)} twice, "
            f"{len(seen['bad'])} with an error: {seen['bad'][:3]}"
        )


def lateness(ships: Fleet, seen: Mapping[str, Any]) -> list[float]:
    """Return how long after its export was ready each trigger fired, as a multiple of its interval then."""
    found = []
    for key, moments in seen["fired"].items():
        trigger_id = int(key)
        ready_at = ships.ready_at[trigger_id]
        rule: PollRule = vendor_class(ships.vendor_of[trigger_id]).settings_class().poll
        # The mean delay before the first look.
        look, looks = seen["started"][key] + 12.5, 0
        while look < ready_at:
            look, looks = look + rule.interval(looks, 0.5), looks + 1
        found.append((moments[0] - ready_at) / rule.interval(max(0, looks - 1), 0.5))
    return found


# -- growth --------------------------------------------------------------------------------------------

MAXIMUM_OF_HTTP = 0.1
"""CPU of a waiter as a multiple of what it takes with the HTTP provider's trigger."""


def growth(report: Report, runs: int, environment: Mapping[str, str], counts: tuple[int, ...]) -> None:
    """See what each waiter takes, for more and more of them on one connection."""
    used: dict[tuple[str, int], list[float]] = {}
    asked: dict[tuple[str, int], list[float]] = {}
    subjects = {"mews": {"poll_interval": 10, "first_poll_delay": 0}, **OTHERS_EVERY_10_S}
    for subject, arguments in subjects.items():
        for count in counts:
            if subject == AIRBYTE and count > MOST_AIRBYTE:
                continue
            for _ in range(runs):
                with fleet() as ships:
                    ships.add(subject, [NEVER] * count, **arguments)
                    window = only_waiting(ships, environment)
                minutes = window["seconds"] / 60
                requests = requests_of(difference(window["counts"])["0"])
                used.setdefault((subject, count), []).append(1000 * window["cpu"] / minutes)
                asked.setdefault((subject, count), []).append(requests / minutes)
    for (subject, count), values in used.items():
        name = f"{count} waiting every 10 s: {shown(subject)}"
        report.add(name, "requests in a minute", asked[subject, count])
        report.add(name, "CPU in a minute", values, "ms")
        report.add(name, "CPU of a waiter in a minute", [value / count for value in values], "ms")
        if subject == "mews":
            multiples = [mine / its for mine, its in zip(values, used[HTTP, count], strict=True)]
            target = MAXIMUM_OF_HTTP if count == counts[-1] else None
            report.add(name, f"CPU, as a multiple of {HTTP}", multiples, target=target)
    for subject in subjects:
        counted = [count for name, count in used if name == subject]
        few, many = counted[0], counted[-1]
        if few == many:
            continue
        pairs = zip(used[subject, many], used[subject, few], strict=True)
        slopes = [(most - least) / (many - few) for most, least in pairs]
        report.add(f"one waiter more: {shown(subject)}", "CPU in a minute", slopes, "ms")


# -- bad neighbours ------------------------------------------------------------------------------------

MAXIMUM_DELAY = 250.0
"""Milliseconds by which the median wake-up of a good connection may come later beside bad ones."""


def neighbours(report: Report, runs: int, environment: Mapping[str, str], count: int) -> None:
    """See whether a slow, a silent and a broken vendor hold up a good one."""
    bad = {"giosg": "slow:20", "medable": "hang", "onna": "500"}
    late: dict[str, list[list[float]]] = {"alone": [], "beside bad ones": []}
    for _ in range(runs):
        for name, found in late.items():
            with fleet() as ships:
                good = ships.add("mews", times(count, 15.0, 55.0), poll_interval=2)
                for vendor, behaviour in bad.items() if name != "alone" else ():
                    ships.add(vendor, [NEVER] * count, behaviour=behaviour, poll_interval=2)
                ships.shuffle()
                seen = run(ships, environment, end=70.0, wait_for_all=name == "alone")
            fired = seen["fired"]
            if any(len(fired.get(str(one), ())) != 1 for one in good):
                raise RuntimeError(f"not every export of the good vendor woke its trigger {name}")
            found.append([fired[str(one)][0] - ships.ready_at[one] for one in good])
    for name, found in late.items():
        subject = f"{count} on a good connection, {name}"
        medians = [1000 * statistics.median(one) for one in found]
        p99 = [1000 * statistics.quantiles(one, n=100)[98] for one in found]
        report.add(subject, "wake-up after ready, median", medians, "ms")
        report.add(subject, "wake-up after ready, p99", p99, "ms")
    moved = [
        1000 * (statistics.median(beside) - statistics.median(alone))
        for alone, beside in zip(late["alone"], late["beside bad ones"], strict=True)
    ]
    report.add(f"{count} on a good connection", "median later beside bad ones", moved, "ms", MAXIMUM_DELAY)


# -- a triggerer that dies -----------------------------------------------------------------------------


def killed(report: Report, runs: int, environment: Mapping[str, str], count: int) -> None:
    """Kill the process that waits, start it again with the same triggers, and count what happens."""
    seen: dict[str, list[float]] = {"not woken": [], "woken twice": [], "asked for more than a look": []}
    seconds = []
    for _ in range(runs):
        with fleet() as ships, tempfile.TemporaryDirectory() as folder:
            for vendor in VENDORS:
                ships.add(vendor, times(count // 5, 15.0, 60.0), poll_interval=5)
            ships.shuffle()
            ships.register()
            file = Path(folder) / "events"
            file.touch()
            full = {**environment, **ships.environment}
            with plan_file(ships, events=str(file), end=300.0) as plan:
                process = subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.probes.wait_exports", plan],
                    cwd=ROOT,
                    env=full,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
                try:
                    assert process.stdout is not None
                    while "waiting" not in process.stdout.readline():
                        if process.poll() is not None:
                            raise RuntimeError("the probe ended before its triggers waited")
                    time.sleep(25.0)
                finally:
                    process.kill()
                    process.wait()
            # The metadata database keeps the triggers whose event it has not got.
            done = [int(line) for line in file.read_text(encoding="ascii").split()]
            ships.triggers = [one for one in ships.triggers if one[0] not in set(done)]
            with plan_file(ships, events=str(file), end=300.0, restarted=True) as plan:
                again = probe("wait_exports", plan, environment=full, timeout=420.0)
            if again["bad"]:
                raise RuntimeError(f"a trigger fired with an error: {again['bad'][0]}")
            woken = [int(line) for line in file.read_text(encoding="ascii").split()]
            seen["not woken"].append(count - len(set(woken)))
            seen["woken twice"].append(len(woken) - len(set(woken)))
            operations = [item for counts in ships.counts().values() for item in counts.items()]
            seen["asked for more than a look"].append(sum(n for name, n in operations if name not in READS))
            seconds.append(again["overall"]["seconds"])
            report.notes.append(f"killed when {len(done)} of {count} had fired")
    for measure_name, values in seen.items():
        report.add(f"{count} waiting, killed and started again", measure_name, values, target=0)
    report.add(f"{count} waiting, killed and started again", "all woken after the start", seconds, "s")


def measure(report: Report, runs: int, only: str = "") -> None:
    """Measure ``runs`` times; what takes minutes, and what others are compared with, as often as the rest."""
    _measure(report, runs, only, few=1000, most=10_000, counts=(50, 500, 5000), neighbours_of=500)


def try_out(report: Report, runs: int, only: str = "") -> None:
    """See whether everything works, with a tenth of the waiters."""
    _measure(report, runs, only, few=100, most=1000, counts=(10, 100), neighbours_of=100)


def _measure(
    report: Report,
    runs: int,
    only: str,
    *,
    few: int,
    most: int,
    counts: tuple[int, ...],
    neighbours_of: int,
) -> None:
    with airflow_home() as environment:
        for name, part in {
            "one connection": lambda: one_connection(report, runs, environment, few),
            "all vendors": lambda: all_vendors(report, runs, environment, most),
            "growth": lambda: growth(report, runs, environment, counts),
            "neighbours": lambda: neighbours(report, runs, environment, neighbours_of),
            "killed": lambda: killed(report, runs, environment, few),
        }.items():
            if only in name:
                part()
