"""Fetch files in one way and say what it took: ``land HOW FOLDER URL=SIZE [URL=SIZE …]``.

Imports are not in the figures. HOW is

* ``hook``: what a task does, ``ExportHook.land_export``;
* ``transfer``: the same transfer of one file without its hash;
* ``read``: only what reads the answer, into /dev/null;
* ``hook_s3``: what a task does whose destination is a bucket;
* ``publish``: the same, but only its last step is in the figures, for which the files have been fetched;
* ``s3transfer``: what boto3's ``upload_file`` does with files that lie here; URL is a path;
* ``http_operator``, ``http_to_s3``: operators of other providers.

In the bucket all is put below the name of FOLDER.
"""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import sys
import tempfile
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
from airflow_provider_exports.landing.target import StoreTarget

BUCKET = "bench"


def files(arguments: list[str]) -> tuple[ExportFile, ...]:
    """Return the files as an export has them; no vendor announced their size."""
    urls = [argument.rpartition("=")[0] for argument in arguments]
    return tuple(ExportFile(name=f"{number}.bin", url=url) for number, url in enumerate(urls))


def by_hook(folder: Path, wanted: tuple[ExportFile, ...]) -> Callable[[], object]:
    """Land all of them."""
    return landing(f"file://{folder}", wanted)


def by_hook_s3(folder: Path, wanted: tuple[ExportFile, ...]) -> Callable[[], object]:
    """Land all of them in a bucket."""
    load_boto3()
    # Where files are gathered before.
    tempfile.tempdir = str(folder)
    return landing(in_bucket(folder), wanted)


def landing(destination: str, wanted: tuple[ExportFile, ...]) -> Callable[[], object]:
    """Return what lands them."""
    hook = MewsHook("bench_mews")
    export = Export(vendor="mews", export_id="bench", state=ExportState.READY, files=wanted)
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


def by_s3transfer(folder: Path, wanted: tuple[ExportFile, ...]) -> Callable[[], object]:
    """Upload all of them, one after the other, as boto3 does by itself."""
    client = s3_client()

    def upload() -> None:
        for file in wanted:
            client.upload_file(file.url, BUCKET, f"{folder.name}/{file.name}")

    return upload


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


def by_http_to_s3(folder: Path, wanted: tuple[ExportFile, ...]) -> Callable[[], object]:
    """Let the Amazon provider's operator write its answer to a bucket."""
    from airflow.providers.amazon.aws.transfers.http_to_s3 import HttpToS3Operator

    operator = HttpToS3Operator(
        task_id="bench",
        http_conn_id="bench_http",
        endpoint=urlsplit(wanted[0].url).path,
        aws_conn_id="bench_aws",
        s3_bucket=BUCKET,
        s3_key=f"{folder.name}/{wanted[0].name}",
        replace=True,
    )
    load_boto3()
    return lambda: operator.execute(Context())


WAYS = {
    "hook": by_hook,
    "transfer": by_transfer,
    "read": by_reading,
    "hook_s3": by_hook_s3,
    "publish": by_hook_s3,
    "s3transfer": by_s3transfer,
    "http_operator": by_http_operator,
    "http_to_s3": by_http_to_s3,
}

IN_BUCKET = frozenset({"hook_s3", "publish", "s3transfer", "http_to_s3"})


def file_host() -> FileHost:
    """Return a host as the hook makes it, which asks Airflow nothing."""
    return FileHost(requests.Session(), MewsHook("bench_mews").vendor, dict, lambda _: None, 16)


def in_bucket(folder: Path) -> str:
    """Return the URI below which all is put."""
    return f"s3://bench_aws@{BUCKET}/{folder.name}"


def load_boto3() -> None:
    """Import what the Amazon provider needs for S3."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    S3Hook("bench_aws").get_conn()


def s3_client() -> Any:
    """Return Amazon's own client, with nothing of Airflow."""
    import boto3

    connection = json.loads(os.environ["AIRFLOW_CONN_BENCH_AWS"])
    return boto3.client(
        "s3",
        aws_access_key_id=connection["login"],
        aws_secret_access_key=connection["password"],
        **connection["extra"],
    )


def came(how: str, folder: Path, wanted: tuple[ExportFile, ...]) -> list[int]:
    """Return the sizes of what has arrived."""
    if how not in IN_BUCKET:
        return [(folder / file.name).stat().st_size for file in wanted]
    client, keys = s3_client(), [f"{folder.name}/{file.name}" for file in wanted]
    return [client.head_object(Bucket=BUCKET, Key=key)["ContentLength"] for key in keys]


def memory(what: str) -> int:
    """Return a line of this process's status, bytes."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def measured(run: Callable[[], object]) -> dict[str, float]:
    """Do it, and return what it took."""
    # From here on the kernel's high-water mark is that of the transfer.
    Path("/proc/self/clear_refs").write_text("5")
    idle, used, started = memory("VmRSS"), resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    run()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return {"wall": wall, "cpu": cpu, "memory": memory("VmHWM") - idle}


def measured_publishing(run: Callable[[], object]) -> dict[str, float]:
    """Do it, and return what the last step of it took."""
    publish, took = StoreTarget.publish, {}

    def watched(*arguments: Any) -> None:
        took.update(measured(lambda: publish(*arguments)))

    StoreTarget.publish = watched  # type: ignore[assignment]
    run()
    return took


def main() -> None:
    """Fetch and report."""
    logging.disable(logging.CRITICAL)
    how, where, *arguments = sys.argv[1:]
    folder, wanted = Path(where), files(arguments)
    run = WAYS[how](folder, wanted)
    took = measured_publishing(run) if how == "publish" else measured(run)
    if how != "read":
        expected = [int(argument.rpartition("=")[2]) for argument in arguments]
        if (found := came(how, folder, wanted)) != expected:
            raise RuntimeError(f"{how}: files of {found} bytes came instead of {expected}")
    print()
    print(json.dumps(took))


if __name__ == "__main__":
    main()
