"""Where files land: staged out of sight, then published together, the manifest last."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_exports.core.model import file_stem
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.exceptions import DestinationTaken, DownloadError, ExportError
from airflow_provider_exports.landing.manifest import Manifest

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

_LOCAL = ("file", "local", "")
_MOST_RACES = 100
_S3 = frozenset({"s3", "s3a", "s3n"})
# Stores in which a put or a completed multi-part upload makes an object appear whole or not at all.
_WHOLE_OBJECTS = frozenset({"gs", "gcs", "abfs", "abfss", "az", "adl", "wasb", "wasbs", "oss"})


def open_target(
    destination: ObjectStoragePath, folder: str, vendor: str, identity: str, manifest_name: str
) -> Target:
    """Return the target for an export.

    :param destination: what the user named.
    :param folder: where the files go below it, empty for itself.
    :param vendor: vendor name.
    :param identity: what tells the export from all others of the vendor.
    :param manifest_name: what its manifest is called.
    """
    kind = LocalTarget if destination.protocol in _LOCAL else StoreTarget
    return kind(destination, folder, vendor, identity, manifest_name)


class Target:
    """A folder in which the files of one export land.

    :param destination: what the user named.
    :param folder: where the files go below it.
    :param vendor: vendor name.
    :param identity: what tells the export from all others of the vendor.
    :param manifest_name: what its manifest is called.
    """

    def __init__(
        self, destination: ObjectStoragePath, folder: str, vendor: str, identity: str, manifest_name: str
    ) -> None:
        self._destination = destination
        self.folder = destination / folder if folder else destination
        """Where the files land."""
        self._vendor, self._identity, self._manifest_name = vendor, identity, manifest_name

    def landed(self) -> Manifest | None:
        """Return the manifest if the export has landed here before, and all of it is still here."""
        found = self.manifest()
        if found is None or not self._same(found):
            return None
        whole = all(self._size(file.name) == file.size for file in found.files)
        return found if whole else None

    def manifest(self) -> Manifest | None:
        """Return the manifest that lies here, None if there is none that we know."""
        path = self.folder / self._manifest_name
        try:
            # Not the path's own read_bytes: where a connection does not work, some versions of Airflow would
            # go on there without it, to another machine or with other credentials.
            return Manifest.from_json(path.fs.cat_file(path.path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def make_way(self, owner: str | None, names: Sequence[str]) -> Manifest | None:
        """Return the manifest of an earlier export of the same task, which the new one replaces.

        :raises DestinationTaken: what lies here is somebody else's.
        """
        earlier = self.manifest()
        another = earlier if earlier is not None and not self._same(earlier) else None
        if another is not None and (owner is None or another.owner != owner):
            whose = another.owner or "somebody else"
            raise DestinationTaken(f"{self.shown} already holds export {another.export_id} of {whose}.")
        ours = {file.name for file in earlier.files} if earlier is not None else set()
        for name in names:
            if name not in ours and self._size(name) is not None and not self._is_leftover(name):
                raise DestinationTaken(f"{self.shown} already holds a file called {name}.")
        return another

    @property
    def shown(self) -> str:
        """The folder, for people."""
        return redact(str(self.folder))

    def uri(self, name: str) -> str:
        """Return the URI of a file."""
        return str(self.folder / name)

    def staged(self, *, fresh: bool) -> contextlib.AbstractContextManager[Path]:
        """Return the local folder in which the files are gathered, for as long as it is ours alone.

        :param fresh: whether to throw away what an earlier try left in it.
        :raises DownloadError: another task is landing this export here right now.
        """
        return _locked(self._staging(), fresh=fresh)

    def publish(self, staged: Path, manifest: Manifest, replaces: Manifest | None) -> None:
        """Make the staged files visible under their names, the manifest last.

        :raises OSError: it cannot be done; nothing new is visible then.
        """
        raise NotImplementedError

    def _staging(self) -> Path:
        raise NotImplementedError

    def _same(self, manifest: Manifest) -> bool:
        return (manifest.vendor, manifest.identity) == (self._vendor, self._identity)

    def _size(self, name: str) -> int | None:
        """Return a file's size; None if there is none."""
        raise NotImplementedError

    def _is_leftover(self, name: str) -> bool:
        """Return whether an earlier try of ours may have put the file there, and died."""
        stem = file_stem(self._identity)
        return stem in name or stem in str(self.folder)


class LocalTarget(Target):
    """A folder on a disk of this machine."""

    @property
    def _path(self) -> Path:
        return Path(self.folder.path)

    def _staging(self) -> Path:
        # Below the target itself, so that publishing is one rename.
        return Path(self._destination.path) / f".{file_stem(self._identity)}.landing"

    def _size(self, name: str) -> int | None:
        with contextlib.suppress(OSError):
            return (self._path / name).stat().st_size
        return None

    def publish(self, staged: Path, manifest: Manifest, replaces: Manifest | None) -> None:
        files = staged / "files"
        wanted = {file.name.partition("/")[0] for file in manifest.files}
        for left in files.iterdir():
            # An earlier try, with another layout, may have left it there.
            if left.name not in wanted:
                left.unlink() if left.is_file() else shutil.rmtree(left)
        (files / self._manifest_name).write_bytes(manifest.to_json())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # One rename, if the folder is new: everything appears at the same moment.
            os.rename(files, self._path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.EXDEV, errno.ENOTDIR):
                raise
        else:
            return
        done: list[Path] = []
        try:
            for file in manifest.files:
                place = self._path / file.name
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(files / file.name, place)
                done.append(place)
            os.replace(files / self._manifest_name, self._path / self._manifest_name)
        except BaseException:
            for place in done:
                place.unlink(missing_ok=True)
            raise
        for name in _superseded(replaces, manifest):
            (self._path / name).unlink(missing_ok=True)


class StoreTarget(Target):
    """A folder, or what looks like one, in an object store or on another machine."""

    def _staging(self) -> Path:
        key = hashlib.sha256(f"{self.folder}\n{self._identity}".encode()).hexdigest()[:24]
        ours = Path(tempfile.gettempdir()) / f"airflow-exports-{os.getuid()}"
        ours.mkdir(mode=0o700, exist_ok=True)
        found = ours.lstat()
        if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
            # Its name can be foretold, and what lies in it is published: nobody else may write there.
            raise DownloadError(
                f"{ours} is not a folder of this user alone.",
                next_step="Remove it, or name another temporary folder with TMPDIR.",
            )
        return ours / key

    def manifest(self) -> Manifest | None:
        """Return the manifest that lies here, None if there is none that we know."""
        with self._told():
            return super().manifest()

    def _size(self, name: str) -> int | None:
        path = self.folder / name
        with self._told(), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            # Another client may have written, which a listing from before does not show.
            path.fs.invalidate_cache()
            size = path.fs.info(path.path).get("size")
            return None if size is None else int(size)
        return None

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Raise what the client libraries raise, each in its own way, as an error that names the place."""
        try:
            yield
        except ExportError:
            raise
        except Exception as error:
            said = redact(str(error)).rstrip(".") or type(error).__name__
            raise DownloadError(
                f"{self.shown} cannot be used: {said}.",
                next_step="Check that the place exists, and its connection: address, credentials, rights.",
            ) from error

    def publish(self, staged: Path, manifest: Manifest, replaces: Manifest | None) -> None:
        with self._told():
            self._publish(staged, manifest)
        for name in _superseded(replaces, manifest):
            self._remove(name)

    def _publish(self, staged: Path, manifest: Manifest) -> None:
        done: list[str] = []
        try:
            for file in manifest.files:
                done.append(file.name)
                self._put(staged / "files" / file.name, file.name)
                if self._size(file.name) != file.size:
                    raise OSError(errno.EIO, f"{file.name} has another size there than here")
            own = staged / "files" / self._manifest_name
            own.write_bytes(manifest.to_json())
            self._put(own, self._manifest_name)
        except BaseException:
            for name in done:
                self._remove(name)
            raise

    def _put(self, local: Path, name: str) -> None:
        path = self.folder / name
        if path.protocol in _S3:
            _upload(local, path)
            return
        if path.protocol in _WHOLE_OBJECTS:
            path.fs.put_file(str(local), path.path)
            return
        # Elsewhere a file is seen while it grows; a rename is what shows it at once.
        hidden = path.parent / f".{path.name}.landing"
        path.fs.makedirs(path.parent.path, exist_ok=True)
        try:
            path.fs.put_file(str(local), hidden.path)
            with contextlib.suppress(FileNotFoundError):
                # Some servers do not rename onto an existing file.
                path.fs.rm_file(path.path)
            path.fs.mv(hidden.path, path.path)
        except BaseException:
            with contextlib.suppress(Exception):
                path.fs.rm_file(hidden.path)
            raise

    def _remove(self, name: str) -> None:
        path = self.folder / name
        with contextlib.suppress(Exception):
            path.fs.rm_file(path.path)


def _upload(local: Path, path: ObjectStoragePath) -> None:
    """Upload a file to S3 in parts, with Amazon's own client.

    The put_file of s3fs runs on in its thread when an exception interrupts the task, such as its time-out:
    the object would appear later, or its parts stay for good. This one ends and takes them back. It also is
    the quicker one.
    """
    from airflow.providers.amazon.aws.hooks.s3 import (  # type: ignore[import-not-found,unused-ignore]
        S3Hook,
    )

    # Airflow 2 keeps it among the options.
    conn_id = path.conn_id if hasattr(path, "conn_id") else path.storage_options.get("conn_id")
    bucket, _, key = path.path.partition("/")
    S3Hook(aws_conn_id=conn_id).get_conn().upload_file(str(local), bucket, key)


def _superseded(earlier: Manifest | None, now: Manifest) -> set[str]:
    if earlier is None:
        return set()
    return {file.name for file in earlier.files} - {file.name for file in now.files}


@contextlib.contextmanager
def _locked(staging: Path, *, fresh: bool) -> Iterator[Path]:
    """Hold a folder that one process at a time uses; it stays only if it holds what helps another try."""
    failures = 0
    while True:
        try:
            staging.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(staging / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except (FileExistsError, FileNotFoundError):
            # Whoever had it before may have just removed it.
            failures += 1
            if failures == _MOST_RACES:
                raise
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it before may have removed it between the two calls.
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(lock).st_ino == os.stat(staging / "lock").st_ino:
                    break
        except BlockingIOError:
            os.close(lock)
            raise DownloadError(
                "another task is landing this export at the same place right now.",
                next_step="Let it retry: once the other one has ended, nothing needs to be transferred.",
            ) from None
        os.close(lock)
    files = staging / "files"
    try:
        if fresh:
            shutil.rmtree(files, ignore_errors=True)
        files.mkdir(exist_ok=True)
        yield staging
    finally:
        if not any(files.glob("*.state")):
            shutil.rmtree(files, ignore_errors=True)
            # Last: from here on the folder is somebody else's.
            (staging / "lock").unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                staging.rmdir()
        os.close(lock)
