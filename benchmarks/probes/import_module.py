"""Import what nearly every DAG file imports, then measure the import of one more module."""

import sys
import time

from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator, conf  # noqa: F401 - what is compared with

sockets = 0


def audit(event: str, _: object) -> None:
    """Count what opens or uses a socket."""
    global sockets
    sockets += event in ("socket.__new__", "socket.connect", "socket.getaddrinfo")


if __name__ == "__main__":
    sys.addaudithook(audit)
    before = set(sys.modules)
    wall, cpu = time.perf_counter(), time.process_time()
    __import__(sys.argv[1])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    modules = sorted(set(sys.modules) - before)
    import json

    print(json.dumps({"wall": wall, "cpu": cpu, "modules": modules, "sockets": sockets}))
