"""Run a whole Airflow, the simulated vendors and the example DAGs on this machine, without internet.

``make demo`` runs a DAG of each vendor once, shows what happened and ends. ``make ui`` leaves Airflow and its
web interface running until Ctrl-C. Everything lies in one folder, ``.demo``, which the next run makes anew.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import signal
import sys
import time
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from airflow_processes import (
    AIRFLOW_3,
    AIRFLOW_VERSION,
    DemoError,
    LocalAirflow,
    Processes,
    clean_environment,
    tail,
)
from observation import Observation, Run, as_json

CHECKOUT = Path(__file__).resolve().parent.parent
# Each with its connection; all but one have a schedule, and start by themselves.
DAGS = {
    "mews_nightly_increment": "mews",
    "giosg_rooms_bulk": "giosg",
    "onna_slack_weekly": "onna",
    "connhex_channel_daily": "connhex",
    "medable_objects_daily": "medable",
}
STARTED_BY_HAND = "giosg_rooms_bulk"
# An export takes longer than the operator's first look, so tasks defer, and is ready when the trigger looks.
READY_AFTER_SECONDS = 9
# The windows of the example DAGs end at midnight, and no vendor should be asked soon after that. So that the
# demo takes no longer then, the connections ask for no patience and the simulator's clock is ahead.
CONNECTION_SETTINGS: dict[str, dict[str, Any]] = {
    "mews": {"client": "Airflow demo 1.0", "settle_delay": 0, "update_lag": 0},
    "giosg": {"settle_delay": 0},
    "onna": {"settle_delay": 0},
    "connhex": {"settle_delay": 0},
    # Medable makes one export of an org at a time: the demo shows tasks that wait for their turn.
    "medable": {"settle_delay": 0, "conflict_interval": 10},
}
CLOCK_AHEAD_SECONDS = 600
RUN_SECONDS = 280
_MARKER = ".airflow-exports-demo"


class Demo:
    """One run of the demo.

    :param options: see :func:`main`.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.started = time.monotonic()
        self.home: Path = options.home.resolve()
        self.landed = self.home / "exports"
        self.dags = {options.dag} if options.dag else set(DAGS)
        self.processes = Processes(self.home / "logs")
        self.simulator: dict[str, Any] = {}

    def run(self) -> int:
        """Run the demo; returns the exit status."""
        self.say(f"Airflow {AIRFLOW_VERSION} in {self.home}")
        self.make_home()
        airflow_home = self.home / "airflow"
        self.start_simulator()
        airflow = LocalAirflow(
            airflow_home,
            self.dags_folder(),
            self.processes,
            port=self.options.port,
            # On a busy machine a turn takes seconds; in the interface a quick error beats a long wait.
            patience=5 if self.options.ui else 30,
            settings=self.settings(),
        )
        self.say("making the database")
        airflow.run("db-migrate", "db", "migrate")
        if self.options.ui:
            self.import_connections(airflow)
        self.say("starting Airflow")
        airflow.start()
        observation = Observation(airflow.database)

        def imported() -> bool:
            # What has a schedule may run before the others are imported.
            self.tell_changes(observation)
            return observation.dags() >= self.dags

        self.processes.wait_until("the import of the DAGs", imported, 90)
        return self.stay(airflow) if self.options.ui else self.watch(airflow, observation)

    def make_home(self) -> None:
        """Make the folder of everything anew."""
        if self.home.exists() and any(self.home.iterdir()) and not (self.home / _MARKER).exists():
            raise DemoError(f"{self.home} is not empty, and not of an earlier demo")
        shutil.rmtree(self.home, ignore_errors=True)
        for folder in (self.home / "airflow", self.home / "logs", self.landed):
            folder.mkdir(parents=True)
        (self.home / _MARKER).touch()

    def dags_folder(self) -> Path:
        """Return the folder of the DAG files; for --ui the checkout's own, to be edited and watched."""
        source = CHECKOUT / "example_dags"
        if self.options.ui:
            return source
        folder = self.home / "dags"
        folder.mkdir()
        for name in self.dags:
            shutil.copy(source / f"{name}.py", folder)
        return folder

    def start_simulator(self) -> None:
        """Start the simulated vendors and learn their addresses."""
        ready_file = self.home / "simulator.json"
        command = [
            *(
                shlex.split(self.options.simulator)
                or [sys.executable, "-m", "airflow_provider_exports.simulator"]
            ),
            *("--port", "0", "--files-port", "0"),
            *("--ready-after-seconds", str(READY_AFTER_SECONDS)),
            *("--ready-file", str(ready_file)),
        ]
        self.processes.start("simulator", command, clean_environment(), self.home)
        self.processes.wait_until("the simulator's start", ready_file.exists, 30)
        self.simulator = json.loads(ready_file.read_text())
        self.control("advance", {"seconds": CLOCK_AHEAD_SECONDS})

    def control(self, name: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call one of the simulator's own controls."""
        url = f"{self.simulator['api']}/_control/{name}"
        data = None if body is None else json.dumps(body).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(url, data), timeout=10) as answer:
            return json.loads(answer.read())

    def connections(self) -> dict[str, dict[str, Any]]:
        """Return the Airflow connections by id."""
        connections = {}
        for vendor, connection in self.simulator["connections"].items():
            # In the place of the vendor's web interface the simulator shows what it has.
            page = f"{self.simulator['api']}/_control/exports?vendor={vendor}&export_id={{export_id}}"
            extra = {**connection["extra"], **CONNECTION_SETTINGS[vendor], "export_page": page}
            connections[f"{vendor}_default"] = {**connection, "extra": extra}
        return connections

    def settings(self) -> dict[str, str]:
        """Return what this demo adds to Airflow's configuration."""
        settings = {
            "AIRFLOW_VAR_EXPORTS_DESTINATION": f"file://{self.landed}",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": str(bool(self.options.ui)),
        }
        if self.options.ui:
            # The Test button of the connection form.
            return {**settings, "AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}
        environment = {f"AIRFLOW_CONN_{name.upper()}": value for name, value in self.connections().items()}
        return {**settings, **{name: json.dumps(value) for name, value in environment.items()}}

    def import_connections(self, airflow: LocalAirflow) -> None:
        """Put the connections into the database, where the web interface shows them."""
        file = self.home / "connections.json"
        file.write_text(json.dumps(self.connections(), indent=2))
        airflow.run("connections-import", "connections", "import", str(file))

    def stay(self, airflow: LocalAirflow) -> int:
        """Leave Airflow running until Ctrl-C."""
        self.say(
            f"ready: {airflow.url}\n\n"
            f"  Dags                 press Trigger at {', '.join(DAGS)}\n"
            "  Admin > Connections  one connection per vendor, with its form\n"
            f"  Files                {self.landed}\n\n"
            "Ctrl-C ends it."
        )
        try:
            while True:
                self.processes.check()
                time.sleep(1)
        except KeyboardInterrupt:
            self.say("stopping")
            return 0

    def watch(self, airflow: LocalAirflow, observation: Observation) -> int:
        """Wait until the DAGs have run, and tell what happened."""
        if STARTED_BY_HAND in self.dags:
            # The others run already, and the command takes a while.
            airflow.trigger(STARTED_BY_HAND, meanwhile=lambda: self.tell_changes(observation))

        def ended() -> bool:
            self.tell_changes(observation)
            return observation.finished(self.dags)

        self.processes.wait_until("the end of the DAG runs", ended, RUN_SECONDS)
        runs = observation.runs()
        exports = {vendor: self.control(f"exports?vendor={vendor}") for vendor in sorted(DAGS.values())}
        problems = list(find_problems(runs, observation, exports))
        show(runs, exports)
        for run in runs:
            for task in run.tasks:
                if task.state == "failed":
                    self.show_task_log(run.dag_id, run.run_id, task.task_id, task.map_index)
        seconds = time.monotonic() - self.started
        if self.options.json:
            report = {
                "airflow": AIRFLOW_VERSION,
                "seconds": round(seconds, 1),
                "home": str(self.home),
                "problems": problems,
                "runs": [as_json(run) for run in runs],
                "triggers": [as_json(trigger) for trigger in observation.triggers.values()],
                "requests": [
                    {name: request[name] for name in ("vendor", "origin", "operation", "status", "at")}
                    for request in self.control("requests")
                ],
                "exports": exports,
            }
            self.options.json.write_text(json.dumps(report, indent=2))
        for problem in problems:
            print(f"PROBLEM: {problem}")
        self.say(
            "failed"
            if problems
            else "done: every file landed and was verified, every export was waited for"
            " in the triggerer, and none was created twice"
        )
        return 1 if problems else 0

    def show_task_log(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> None:
        """Print the end of the logs of one task."""
        folder = (
            self.home / "airflow" / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        )
        if map_index >= 0:
            folder /= f"map_index={map_index}"
        for file in sorted(folder.glob("attempt=*.log")):
            show_log(file)

    def tell_changes(self, observation: Observation) -> None:
        """Look at the tasks, and print what has changed."""
        for change in observation.look():
            self.say(change)

    def say(self, message: str) -> None:
        """Print a line with the time since the start."""
        print(f"[{time.monotonic() - self.started:5.1f} s] {message}", flush=True)


def find_problems(
    runs: Iterable[Run], observation: Observation, exports: Mapping[str, list[Any]]
) -> Iterable[str]:
    """Yield what is not as it should be, in words."""
    created = {export["name"] for of_vendor in exports.values() for export in of_vendor}
    for run in runs:
        if run.state != "success":
            yield f"{run.dag_id}: the run ended as {run.state}"
        for task in run.tasks:
            where = f"{run.dag_id}: {task.name}"
            if task.state != "success":
                yield f"{where} ended as {task.state}"
            elif task.is_export:
                created.discard(str(task.export_id))
                if not task.files:
                    yield f"{where} landed no file"
                yield from (
                    f"{where}: {file.uri} is not what was landed" for file in task.files if not file.verified
                )
                if not any(observation.triggers[number].triggerer_id for number in task.triggers):
                    yield f"{where} was never seen in the triggerer"
    if created:
        yield f"{len(created)} exports were created that no successful task reports"


def show(runs: Iterable[Run], exports: Mapping[str, list[Any]]) -> None:
    """Print the tasks and files of all runs."""
    for run in runs:
        print(f"\n{run.dag_id}  {run.run_id}  {run.state}")
        for task in run.tasks:
            waited = f"deferred for {task.deferred_seconds:.1f} s" if task.triggers else ""
            print(f"  {task.name:<36} {task.state:<8} {waited}".rstrip())
            for file in task.files:
                print(f"      {file.uri}")
                verdict = "verified" if file.verified else "DIFFERS"
                print(f"      {file.size} bytes, sha256 {file.sha256}, {verdict}")
    counts = ", ".join(f"{len(created)} at {vendor}" for vendor, created in exports.items())
    print(f"\nExports created: {counts}\n")


def show_log(file: Path) -> None:
    """Print the end of a log file."""
    print(f"\n--- the end of {file}")
    for line in tail(file):
        print(f"    {line}")


def main() -> int:
    """Read the command line and run the demo; returns the exit status."""
    parser = argparse.ArgumentParser(description="Run Airflow, the simulated vendors and the example DAGs.")
    parser.add_argument(
        "--ui", action="store_true", help="leave Airflow's web interface running until Ctrl-C"
    )
    parser.add_argument(
        "--port", type=int, help="port of the web interface (default: any free one; --ui: 8080)"
    )
    parser.add_argument("--dag", choices=DAGS, help="run only this DAG")
    parser.add_argument(
        "--home", type=Path, default=CHECKOUT / ".demo", help="folder of everything, made anew"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write what happened as JSON")
    parser.add_argument(
        "--simulator", default="", metavar="COMMAND", help="command that starts the simulator instead"
    )
    options = parser.parse_args()
    if options.ui and not AIRFLOW_3:
        parser.error("--ui needs Airflow 3")
    options.port = options.port or (8080 if options.ui else 0)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # SIGINT too: a shell starts background commands with it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    demo = Demo(options)
    try:
        return demo.run()
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        # Whose fault it is, or else everybody's log and what the tasks wrote last.
        tasks = (demo.home / "airflow" / "logs").glob("dag_id=*/**/attempt=*.log")
        written_last = sorted(tasks, key=lambda file: file.stat().st_mtime)[-3:]
        everybody = [*sorted((demo.home / "logs").glob("*.log")), *written_last]
        for file in [error.log] if error.log else everybody:
            show_log(file)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        demo.processes.stop()


if __name__ == "__main__":
    sys.exit(main())
