"""``python -m airflow_provider_exports.simulator``: the simulator as a process of its own."""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from airflow_provider_exports.simulator.app import Simulator


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    options = _parser().parse_args(arguments)
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        simulator = Simulator(
            options.port,
            options.files_port,
            options.speed,
            host=options.host,
            public_host=options.public_host,
        )
        _configure(simulator, options)
        simulator.start()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    try:
        _announce(simulator, options.ready_file)
        ended.wait()
    finally:
        simulator.stop()
        if options.ready_file is not None:
            options.ready_file.unlink(missing_ok=True)
    return 0


def _configure(simulator: Simulator, options: argparse.Namespace) -> None:
    if options.ready_after_seconds is not None:
        for vendor in simulator.vendors:
            simulator.configure(vendor, ready_after_seconds=options.ready_after_seconds)
    for vendor, switch, value in options.vendor_option:
        simulator.configure(vendor, **{switch: value})


def _announce(simulator: Simulator, ready_file: Path | None) -> None:
    for vendor in simulator.vendors:
        print(f"{vendor}: {simulator.base_url(vendor)}")
    print(f"files: {simulator.files_origin}")
    for vendor in simulator.vendors:
        print(f"AIRFLOW_CONN_{vendor.upper()}_DEFAULT='{simulator.connection_json(vendor)}'")
    if ready_file is not None:
        connections = {vendor: simulator.connection(vendor) for vendor in simulator.vendors}
        state = {"api": simulator.api_origin, "files": simulator.files_origin, "connections": connections}
        # Whoever waits for the file must not see half of it.
        partial = ready_file.with_name(f"{ready_file.name}.part")
        partial.write_text(json.dumps(state))
        partial.replace(ready_file)
    print("ready", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_exports.simulator",
        description="Stand in for the vendors' export APIs, with made-up credentials and data.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback)")
    parser.add_argument("--public-host", help="name of this host in the addresses handed out")
    parser.add_argument("--port", type=int, default=8765, help="port of the APIs; 0: any free one")
    parser.add_argument("--files-port", type=int, default=8766, help="port of the file host; 0: any free one")
    parser.add_argument("--speed", type=float, default=1.0, help="virtual seconds per real second")
    parser.add_argument("--ready-after-seconds", type=float, help="age at which exports are ready")
    parser.add_argument(
        "--vendor-option",
        type=_vendor_option,
        action="append",
        default=[],
        metavar="VENDOR.SWITCH=VALUE",
        help="a switch, such as mews.busy_status=403; may be repeated",
    )
    parser.add_argument("--ready-file", type=Path, help="write the addresses here once listening")
    return parser


def _vendor_option(text: str) -> tuple[str, str, Any]:
    name, equals, value = text.partition("=")
    vendor, dot, switch = name.partition(".")
    if not (equals and dot and vendor and switch):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form vendor.switch=value")
    try:
        return vendor, switch, json.loads(value)
    except ValueError:
        return vendor, switch, value  # a word needs no quotes


if __name__ == "__main__":
    sys.exit(main())
