"""Fetch files in one way and say what it took: ``land HOW FOLDER URL=SIZE [URL=SIZE …]``.

Imports are not in the figures. HOW is

* ``hook``: what a task does, ``ExportHook.land_export``;
* ``transfer``: the same transfer of one file without its hash;
* ``read``: only what reads the answer, into /dev/null;
* ``http_operator``, ``http_to_s3``: operators of other providers.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from airflow.sdk import ObjectStoragePath
from airflow.sdk.definitions.context import Context

from airflow_provider_exports.core.model import Export, ExportFile, ExportState
from airflow_provider_exports.hooks.mews import MewsHook
from airflow_provider_exports.landing import transfer
from airflow_provider_exports.landing.host import FileHost


def files(arguments: list[str]) -> tuple[ExportFile, ...]:
    """Return the files as an export has them; no vendor announced their size."""
    urls = [argument.rpartition("=")[0] for argument in arguments]
    return tuple(ExportFile(name=f"{number}.bin", url=url) for number, url in enumerate(urls))


def by_hook(folder: Path, wanted: tuple[ExportFile, ...]) -> Callable[[], object]:
    """Land all of them."""
    hook = MewsHook("bench_mews")
    export = Export(vendor="mews", export_id="bench", state=ExportState.READY, files=wanted)
    destination = f"file://{folder}"
    # Loads the file system, as any task that touches its destination has done.
    ObjectStoragePath(destination).exists()
    return lambda: hook.land_export(export, destination)


def by_transfer(folder: Path, wanted: tuple[ExportFile, ...]) -> Callable[[], object]:
    """Fetch the first of them, and nobody hashes it."""

    class NoHasher:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def finish(self, _: int) -> dict[str, Any]:
            return {"sha256": "", "lines": 0}

        def end(self) -> None: ...

    transfer._Hasher = NoHasher  # type: ignore[assignment,misc]
    one = transfer.Transfer(
        file_host(),
        lambda: wanted[0],
        lambda _: None,
        folder / wanted[0].name,
        threading.Event(),
        lambda *_: None,
    )
    return one.run


def by_reading(_: Path, wanted: tuple[ExportFile, ...]) -> Callable[[], object]:
    """Read the first of them, and throw it away as curl does."""
    host = file_host()

    def read() -> None:
        body = host.open(wanted[0])
        with open(os.devnull, "wb", buffering=0) as sink:
            while chunk := body.read(transfer.CHUNK):
                sink.write(chunk)
        body.close()

    return read


def by_http_operator(folder: Path, wanted: tuple[ExportFile, ...]) -> Callable[[], object]:
    """Let the HTTP provider's operator write its answer to a file."""
    from airflow.providers.http.operators.http import HttpOperator

    def save(response: requests.Response) -> None:
        (folder / wanted[0].name).write_bytes(response.content)

    operator = HttpOperator(
        task_id="bench",
        http_conn_id="bench_http",
        method="GET",
        endpoint=urlsplit(wanted[0].url).path,
        response_filter=save,
    )
    return lambda: operator.execute(Context())


def by_http_to_s3(_: Path, wanted: tuple[ExportFile, ...]) -> Callable[[], object]:
    """Let the Amazon provider's operator write its answer to a bucket."""
    # Not in our environments, so nothing that mypy could find.
    module = importlib.import_module("airflow.providers.amazon.aws.transfers.http_to_s3")
    operator = module.HttpToS3Operator(
        task_id="bench",
        http_conn_id="bench_http",
        endpoint=urlsplit(wanted[0].url).path,
        aws_conn_id="bench_aws",
        s3_bucket="bench",
        s3_key="file",
        replace=True,
    )
    # Loads boto3 and what it knows about S3.
    operator.s3_hook.get_conn()
    return lambda: operator.execute(Context())


WAYS = {
    "hook": by_hook,
    "transfer": by_transfer,
    "read": by_reading,
    "http_operator": by_http_operator,
    "http_to_s3": by_http_to_s3,
}


def file_host() -> FileHost:
    """Return a host as the hook makes it, which asks Airflow nothing."""
    return FileHost(requests.Session(), MewsHook("bench_mews").vendor, dict, lambda _: None, 16)


def memory(what: str) -> int:
    """Return a line of this process's status, bytes."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def main() -> None:
    """Fetch and report."""
    logging.disable(logging.CRITICAL)
    how, folder, *arguments = sys.argv[1:]
    run = WAYS[how](Path(folder), files(arguments))
    # From here on the kernel's high-water mark is that of the transfer.
    Path("/proc/self/clear_refs").write_text("5")
    idle, used, started = memory("VmRSS"), resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    run()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    if how != "read" and how != "http_to_s3":
        expected = [int(argument.rpartition("=")[2]) for argument in arguments]
        found = [(Path(folder) / file.name).stat().st_size for file in files(arguments)]
        if found != expected:
            raise RuntimeError(f"{how}: files of {found} bytes came instead of {expected}")
    print()
    print(json.dumps({"wall": wall, "cpu": cpu, "memory": memory("VmHWM") - idle}))


if __name__ == "__main__":
    main()
