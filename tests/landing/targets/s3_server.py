"""An S3 API server as a process of its own: it prints its port, and ends when its input does."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from typing import Any

import boto3
from botocore.config import Config

LOGIN, SECRET = "lander", "let-me-land-too"
_SERVE = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", int(sys.argv[1]), verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


class S3Server:
    """A server; it knows nothing after it was stopped.

    :param port: 0 for any that is free.
    """

    def __init__(self, port: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=LOGIN,
            aws_secret_access_key=SECRET,
            config=Config(retries={"max_attempts": 0}),
        )

    def check_credentials(self, check: bool) -> None:
        """Refuse everybody whom the server does not know, which it does not by itself."""
        count = b"0" if check else b"inf"
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth", data=count, headers={"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(request, timeout=10).close()

    def keys(self, bucket: str) -> list[str]:
        """Return what lies in a bucket."""
        return [item["Key"] for item in self.client.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def uploads(self, bucket: str) -> list[Any]:
        """Return what was begun in parts and neither ended nor taken back."""
        return list(self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", []))

    def die(self) -> None:
        """End the process, in the middle of whatever it does."""
        self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def connection(self, secret: str = SECRET) -> str:
        """Return the connection, as JSON."""
        extra = {
            "endpoint_url": self.url,
            "region_name": "us-east-1",
            "config_kwargs": {"retries": {"max_attempts": 0}},
        }
        return json.dumps({"conn_type": "aws", "login": LOGIN, "password": secret, "extra": extra})
