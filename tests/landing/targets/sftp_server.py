"""An SFTP server on this machine that can be stopped, or stalled, in the middle of an upload."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncssh

USER, PASSWORD = "lander", "let-me-land"


class SftpServer:
    """A server in a thread of its own.

    :param root: folder that clients see as ``/``; below its ``/locked`` nobody may write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = 0
        self.logins = 0
        self.stall_after: int | None = None
        """Blocks that are still written before :attr:`on_stall` is called."""
        self.on_stall: Callable[[], None] = lambda: None
        self.posix_rename = True
        """Whether it has OpenSSH's rename, which replaces."""
        self._going_on = asyncio.Event()
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._connections: list[asyncssh.SSHServerConnection] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()

    def start(self) -> None:
        """Listen, at the same port as before."""

        async def listen() -> asyncssh.SSHAcceptor:
            return await asyncssh.listen(
                "127.0.0.1",
                self.port,
                server_factory=lambda: _Login(self),
                sftp_factory=lambda channel: _Files(self, channel),
                server_host_keys=[self._key],
            )

        self._listener = self._run(listen())
        self.port = self._listener.get_port()

    def die(self) -> None:
        """Stop listening, and drop all connections in the middle of whatever they do."""

        async def drop() -> None:
            self._listener.close()
            for connection in self._connections:
                connection.abort()
            self._connections.clear()

        self._run(drop())

    def go_on(self) -> None:
        """Let the blocks after the stall be written."""
        self._loop.call_soon_threadsafe(self._going_on.set)

    def stop(self) -> None:
        """End the thread, too."""
        self.go_on()
        self.die()
        self._run(asyncio.sleep(0.05))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


class _Login(asyncssh.SSHServer):
    def __init__(self, server: SftpServer) -> None:
        self._server = server

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._server._connections.append(conn)

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        self._server.logins += 1
        return (username, password) == (USER, PASSWORD)


class _Files(asyncssh.SFTPServer):
    def __init__(self, server: SftpServer, channel: Any) -> None:
        super().__init__(channel, chroot=str(server.root))
        self._server = server

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        if pflags & asyncssh.FXF_WRITE and path.startswith(b"/locked/"):
            raise asyncssh.SFTPPermissionDenied("Permission denied")
        return super().open(path, pflags, attrs)

    def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> Any:
        if path.startswith(b"/locked/"):
            raise asyncssh.SFTPPermissionDenied("Permission denied")
        return super().mkdir(path, attrs)

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> Any:
        if not self._server.posix_rename:
            raise asyncssh.SFTPOpUnsupported("Operation unsupported")
        return super().posix_rename(oldpath, newpath)

    async def write(self, file_obj: Any, offset: int, data: bytes) -> int:
        server = self._server
        if server.stall_after is not None:
            server.stall_after -= 1
            if server.stall_after < 0:
                first, server.stall_after = server.stall_after == -1, max(server.stall_after, -2)
                if first:
                    await asyncio.to_thread(server.on_stall)
                await server._going_on.wait()
        written: int = super().write(file_obj, offset, data)
        return written
