"""Where files land: staged out of sight, then published together, the manifest last."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_exports.core.model import file_stem
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.exceptions import DestinationTaken, DownloadError, ExportError
from airflow_provider_exports.landing.manifest import LandedFile, Manifest
from airflow_provider_exports.landing.names import own_stem

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

_LOCAL = ("file", "local", "")
_JOURNAL, _BEGUN = "._export", ".begun"
"""How the names of journals begin and end."""
_MOST_RACES = 100
_FLUSHERS = 8
_LOOKS = 50
_LOOK_SECONDS = 0.2
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
        found = self._read(self._manifest_name)
        if found is None or not self._same(found):
            return None
        sizes = self._sizes(_names(found))
        if not all(sizes[file.name] == file.size for file in found.files):
            return None
        begun = self._read(self._journal)
        if begun is not None and begun.owner == found.owner:
            # A try that died after its manifest, or before it had replaced anything.
            self._clear_up(found, _names(begun))
        return found

    def _read(self, name: str) -> Manifest | None:
        """Return the manifest that lies here under ``name``, None if there is none that we know."""
        path = self.folder / name
        try:
            # Not the path's own read_bytes: where a connection does not work, some versions of Airflow would
            # go on there without it, to another machine or with other credentials.
            return Manifest.from_json(path.fs.cat_file(path.path))
        except (FileNotFoundError, NotADirectoryError) as error:
            if _lacks_bucket(error):
                raise
            return None

    def make_way(self, owner: str | None, names: Sequence[str]) -> set[str]:
        """Return the files that the same task has landed here before, which go when the new ones have come.

        :raises DestinationTaken: what lies here is somebody else's.
        """
        found = self._found(owner)
        self._check_free(names, found)
        # Another task that landed the same export may still want files of its own.
        return {name for one in found if one and one.owner == owner for name in _names(one)}

    def _found(self, owner: str | None) -> tuple[Manifest | None, Manifest | None]:
        """Return the manifest and the journal that lie here, each if it is ours.

        :raises DestinationTaken: the manifest is somebody else's.
        """
        earlier, begun = self._read(self._manifest_name), self._read(self._journal)
        if earlier is not None and not self._ours(earlier, owner):
            whose = earlier.owner or "somebody else"
            raise DestinationTaken(f"{self.shown} already holds export {earlier.export_id} of {whose}.")
        return earlier, begun if begun is not None and self._ours(begun, owner) else None

    def _check_free(self, names: Collection[str], found: Sequence[Manifest | None]) -> None:
        """Check that no file of somebody else has one of the names.

        :param found: manifests that are ours.
        :raises DestinationTaken: one has.
        """
        ours = {name for one in found if one for name in _names(one)}
        for name, size in self._sizes([name for name in names if name not in ours]).items():
            if size is not None and not self._is_leftover(name):
                raise DestinationTaken(f"{self.shown} already holds a file called {name}.")

    def _hold(self, manifest: Manifest, found: Sequence[Manifest | None]) -> None:
        """Look once more, now that our journal tells the others which names we are about to take.

        Of two that want the same names at once, one at least sees the other's journal. Where both do, the
        one whose journal comes last in the alphabet gives way, and the other waits until it has.

        :raises DestinationTaken: somebody else has landed under these names since we looked.
        :raises DownloadError: somebody else is doing so right now.
        """
        for _ in range(_LOOKS):
            rivals = self._rivals(manifest)
            if not rivals or min(rivals) < self._journal:
                break
            time.sleep(_LOOK_SECONDS)
        if rivals:
            raise DownloadError(
                f"another task is landing files of the same names in {self.shown} right now.",
                next_step=f"Let it retry. If that task has died and will not come again, remove {rivals[0]}.",
            )
        self._check_free([file.name for file in manifest.files], found)

    def _rivals(self, manifest: Manifest) -> list[str]:
        """Return the journals of other exports that want some of the same names."""
        wanted, rivals = _names(manifest), []
        for name in sorted(self._journals() - {self._journal}):
            other = self._read(name)
            if other is not None and not self._same(other) and _names(other) & wanted:
                rivals.append(name)
        return rivals

    def _journals(self) -> set[str]:
        """Return the names of all journals in the folder."""
        raise NotImplementedError

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

    def publish(self, staged: Path, manifest: Manifest, replaced: set[str]) -> None:
        """Make the staged files visible under their names, the manifest last.

        A hidden journal comes before the first of them. Where somebody dies in the middle, it tells the next
        try which files are ours; and no manifest stands beside files that it does not fit.

        :param replaced: earlier files of the same task, which go at the end.
        :raises OSError: it cannot be done; nothing new is visible then.
        """
        raise NotImplementedError

    def _begin(self, staged: Path, manifest: Manifest, replaced: set[str]) -> Path:
        """Write the journal, to be moved to its place: a manifest of all that may lie here for a while."""
        earlier = tuple(LandedFile(name, 0, "") for name in sorted(replaced - _names(manifest)))
        journal = staged / "files" / self._journal
        journal.write_bytes(replace(manifest, files=(*manifest.files, *earlier)).to_json())
        return journal

    def _take_back(self, staged: Path, begun: Manifest | None) -> None:
        """Make the journal again what it was: none, or that of an earlier try, which names files of ours."""
        if begun is None:
            self._remove(self._journal)
            return
        journal = staged / "files" / self._journal
        journal.write_bytes(begun.to_json())
        self._place(journal, self._journal)

    def _place(self, local: Path, name: str) -> None:
        """Make a staged file visible under a name, in the place of what is there."""
        raise NotImplementedError

    def _clear_up(self, manifest: Manifest, replaced: set[str]) -> None:
        """Remove what the manifest's files have replaced, then the journal."""
        for name in sorted(replaced - _names(manifest)):
            self._remove(name)
        self._remove(self._journal)

    @property
    def _journal(self) -> str:
        return f".{self._manifest_name}{_BEGUN}"

    def _ours(self, manifest: Manifest, owner: str | None) -> bool:
        return self._same(manifest) or (owner is not None and manifest.owner == owner)

    def _remove(self, name: str) -> bool:
        """Remove a file, if it is there; return whether it has gone."""
        raise NotImplementedError

    def _staging(self) -> Path:
        raise NotImplementedError

    def _same(self, manifest: Manifest) -> bool:
        return (manifest.vendor, manifest.identity) == (self._vendor, self._identity)

    def _size(self, name: str) -> int | None:
        """Return a file's size; None if there is none."""
        raise NotImplementedError

    def _sizes(self, names: Collection[str]) -> dict[str, int | None]:
        """Return the sizes of several files."""
        return {name: self._size(name) for name in names}

    def _is_leftover(self, name: str) -> bool:
        """Return whether a file that no manifest names is of this export, by its name or its folder's."""
        stem = own_stem(self._identity)
        below = self.folder.path.removeprefix(self._destination.path).split("/")
        return name.startswith((f"{stem}-", f"{stem}.")) or stem in below


class LocalTarget(Target):
    """A folder on a disk of this machine."""

    @property
    def _path(self) -> Path:
        return Path(self.folder.path)

    def _staging(self) -> Path:
        # Below the target itself, so that publishing is one rename.
        name = f".{file_stem(self._vendor)}-{own_stem(self._identity)}.landing"
        return Path(self._destination.path) / name

    def _size(self, name: str) -> int | None:
        with contextlib.suppress(OSError):
            return (self._path / name).stat().st_size
        return None

    def _journals(self) -> set[str]:
        return {name for name in os.listdir(self._path) if _is_journal(name)}

    def _place(self, local: Path, name: str) -> None:
        os.rename(local, self._path / name)

    def _remove(self, name: str) -> bool:
        place = self._path / name
        with contextlib.suppress(OSError):
            place.unlink(missing_ok=True)
            # The folder of an archive that was unpacked goes with the last of its files.
            while (place := place.parent) != self._path:
                place.rmdir()
        return not place.is_file()

    def publish(self, staged: Path, manifest: Manifest, replaced: set[str]) -> None:
        files = staged / "files"
        wanted = {file.name.partition("/")[0] for file in manifest.files}
        for left in files.iterdir():
            # An earlier try, with another layout, may have left it there.
            if left.name not in wanted:
                left.unlink() if left.is_file() else shutil.rmtree(left)
        (files / self._manifest_name).write_bytes(manifest.to_json())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _sync_all(files)
        try:
            # One rename, if the folder is new: everything appears at the same moment.
            os.rename(files, self._path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.EXDEV, errno.ENOTDIR):
                raise
        else:
            _sync(self._path.parent)
            return
        earlier, begun = self._found(manifest.owner)
        # Where what is replaced waits, until it is known whether it comes back.
        aside = staged / "aside"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        undo: list[Callable[[], object]] = []
        try:
            undo.append(lambda: self._take_back(staged, begun))
            self._place(self._begin(staged, manifest, replaced), self._journal)
            _sync(self._path)
            self._hold(manifest, (earlier, begun))
            if _collide(earlier, manifest):
                self._set_aside(self._manifest_name, aside / "manifest", undo)
                _sync(self._path)
            for number, file in enumerate(manifest.files):
                place = self._path / file.name
                place.parent.mkdir(parents=True, exist_ok=True)
                self._set_aside(file.name, aside / str(number), undo)
                os.replace(files / file.name, place)
            for folder in {(self._path / file.name).parent for file in manifest.files}:
                _sync(folder)
            os.replace(files / self._manifest_name, self._path / self._manifest_name)
            _sync(self._path)
        except BaseException:
            # The other way round. Where that fails, no manifest has come back, and the journal stays.
            with contextlib.suppress(OSError):
                for step in reversed(undo):
                    step()
                aside.rmdir()
            raise
        self._clear_up(manifest, replaced)
        shutil.rmtree(aside, ignore_errors=True)

    def _set_aside(self, name: str, aside: Path, undo: list[Callable[[], object]]) -> None:
        """Make room for a file, and note how it becomes again what it was."""
        place = self._path / name
        was = place.exists()

        def back() -> None:
            if aside.exists():
                os.rename(aside, place)
            elif not was:
                place.unlink(missing_ok=True)

        undo.append(back)
        if was:
            os.rename(place, aside)


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

    def _read(self, name: str) -> Manifest | None:
        with self._told():
            return super()._read(name)

    def make_way(self, owner: str | None, names: Sequence[str]) -> set[str]:
        replaced = super().make_way(owner, names)
        if self.folder.protocol not in _S3 | _WHOLE_OBJECTS:
            # Where there are folders, one that cannot be made is told before anything is transferred.
            with self._told():
                self.folder.fs.makedirs(self.folder.path, exist_ok=True)
        return replaced

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

    def publish(self, staged: Path, manifest: Manifest, replaced: set[str]) -> None:
        with self._told():
            self._publish(staged, manifest, replaced)
        self._clear_up(manifest, replaced)

    def _publish(self, staged: Path, manifest: Manifest, replaced: set[str]) -> None:
        earlier, begun = self._found(manifest.owner)
        lost, done = False, []
        try:
            self._place(self._begin(staged, manifest, replaced), self._journal)
            self._hold(manifest, (earlier, begun))
            if _collide(earlier, manifest):
                lost = True
                if not self._remove(self._manifest_name):
                    raise OSError(errno.EIO, "the earlier manifest cannot be removed")
            for names in self._at_once([file.name for file in manifest.files]):
                done += names
                self._put([(staged / "files" / name, name) for name in names])
            sizes = self._sizes(done)
            for file in manifest.files:
                # Of a file that a listing does not show as yet, the store is asked by its name.
                if sizes[file.name] != file.size and self._size(file.name) != file.size:
                    raise OSError(errno.EIO, f"{file.name} has another size there than here")
            own = staged / "files" / self._manifest_name
            own.write_bytes(manifest.to_json())
            self._place(own, self._manifest_name)
        except BaseException:
            with contextlib.suppress(Exception):
                # It may have come although we were interrupted.
                if done and self._read(self._manifest_name) == manifest:
                    lost = earlier is not None
                    self._remove(self._manifest_name)
            gone = [self._remove(name) for name in done]
            # Else the next try needs it: to know what is ours, or what was before.
            if all(gone) and not lost:
                with contextlib.suppress(Exception):
                    self._take_back(staged, begun)
            raise

    def _at_once(self, names: list[str]) -> list[list[str]]:
        """Return the names in groups that are put together: no client but Amazon's is made for that."""
        return [names] if self.folder.protocol in _S3 else [[name] for name in names]

    def _place(self, local: Path, name: str) -> None:
        self._put([(local, name)])

    def _put(self, files: Sequence[tuple[Path, str]]) -> None:
        """Put local files, each under its name."""
        if self.folder.protocol in _S3:
            _upload(self._s3, [(local, (self.folder / name).path) for local, name in files])
            return
        for local, name in files:
            self._put_one(local, self.folder / name)

    def _put_one(self, local: Path, path: ObjectStoragePath) -> None:
        if path.protocol in _WHOLE_OBJECTS:
            path.fs.put_file(str(local), path.path)
            return
        # Elsewhere a file is seen while it grows; a rename is what shows it at once.
        hidden = path.parent / _hidden(path.name)
        path.fs.makedirs(path.parent.path, exist_ok=True)
        try:
            path.fs.put_file(str(local), hidden.path)
            with contextlib.suppress(FileNotFoundError):
                # Some servers do not rename onto an existing file.
                path.fs.rm_file(path.path)
            _move(path.fs, hidden.path, path.path)
        except BaseException:
            with contextlib.suppress(Exception):
                path.fs.rm_file(hidden.path)
            raise

    @cached_property
    def _s3(self) -> Any:
        """Amazon's own client; to make one takes longer than to upload many a file."""
        from airflow.providers.amazon.aws.hooks.s3 import (  # type: ignore[import-not-found,unused-ignore]
            S3Hook,
        )

        path = self.folder
        # Airflow 2 keeps it among the options.
        conn_id = path.conn_id if hasattr(path, "conn_id") else path.storage_options.get("conn_id")
        return S3Hook(aws_conn_id=conn_id).get_conn()

    def _sizes(self, names: Collection[str]) -> dict[str, int | None]:
        if self.folder.protocol not in _S3 or len(names) < 2:
            return super()._sizes(names)
        with self._told():
            found = self._listed(names)
        return {name: found[name] if name in found else self._size(name) for name in names}

    def _listed(self, names: Collection[str]) -> dict[str, int | None]:
        """Return what a listing says of the names, in fewer requests than it takes to ask for each.

        A folder may hold far more than that: then the names that were not reached are missing here.
        """
        bucket, _, folder = (self.folder / "x").path[:-1].partition("/")
        start = folder + os.path.commonprefix(list(names))  # noqa: RUF071 - of keys, not of paths
        found: dict[str, int | None] = {}
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=start)
        for page in itertools.islice(pages, max(1, len(names) // 2)):
            found |= {item["Key"].removeprefix(folder): item["Size"] for item in page.get("Contents", ())}
            if not page["IsTruncated"]:
                return dict.fromkeys(names) | found
        return found

    def _journals(self) -> set[str]:
        fs, path = self.folder.fs, self.folder.path
        # Another client may have written, which a listing from before does not show.
        fs.invalidate_cache()
        if self.folder.protocol in _S3 | _WHOLE_OBJECTS:
            found = fs.find(path, prefix=_JOURNAL)
        else:
            found = fs.ls(path, detail=False)
        names = {str(one).rpartition("/")[2] for one in found}
        return {name for name in names if _is_journal(name)}

    def _remove(self, name: str) -> bool:
        path = self.folder / name
        found = [path]
        if path.protocol not in _S3 | _WHOLE_OBJECTS:
            # Of an upload whose server went away.
            found.append(path.parent / _hidden(path.name))
        gone = True
        for one in found:
            try:
                one.fs.rm_file(one.path)
            except FileNotFoundError:
                pass
            except Exception:  # noqa: BLE001 - each client library has its own; it is only told
                gone = False
        return gone


def _move(store: Any, old: str, new: str) -> None:
    """Rename a file.

    Where an SFTP server lacks OpenSSH's rename, sshfs copies with a command of the server's shell, if it has
    one, and everybody sees the copy grow. The rename of the protocol does, as nothing is in its way.
    """
    if not (hasattr(store, "client") and hasattr(store.client, "start_sftp_client")):
        store.mv(old, new)
        return
    from fsspec.asyn import sync

    async def rename() -> None:
        async with store.client.start_sftp_client() as sftp:
            await sftp.rename(old, new)

    sync(store.loop, rename)


def _upload(client: Any, files: Sequence[tuple[Path, str]]) -> None:
    """Upload files to S3, several at once and large ones in parts, with Amazon's own client.

    The put_file of s3fs runs on in its thread when an exception interrupts the task, such as its time-out:
    the object would appear later, or its parts stay for good. This one ends and takes them back. It also is
    the quicker one.

    :param files: each with the bucket and the key that it gets.
    """
    from boto3.s3.transfer import (  # type: ignore[import-untyped,import-not-found,unused-ignore]
        TransferConfig,
        create_transfer_manager,
    )

    with create_transfer_manager(client, TransferConfig()) as manager:
        uploads = []
        for local, place in files:
            bucket, _, key = place.partition("/")
            uploads.append(manager.upload(str(local), bucket, key))
        for upload in uploads:
            upload.result()


def _lacks_bucket(error: OSError) -> bool:
    """Return whether it is not only the file that is missing, where the store tells (S3 does)."""
    answer = getattr(error.__cause__, "response", None)
    return isinstance(answer, dict) and answer.get("Error", {}).get("Code") == "NoSuchBucket"


def _names(manifest: Manifest) -> set[str]:
    return {file.name for file in manifest.files}


def _collide(earlier: Manifest | None, manifest: Manifest) -> bool:
    """Return whether an earlier manifest would not fit any more when the files have come."""
    return earlier is not None and bool(_names(earlier) & _names(manifest))


def _is_journal(name: str) -> bool:
    return name.startswith(_JOURNAL) and name.endswith(_BEGUN)


def _hidden(name: str) -> str:
    return f".{name}.landing"


def _sync_all(folder: Path) -> None:
    """Have all files below a folder on the disk, so that no power failure makes them empty."""
    paths = [folder, *folder.rglob("*")]
    # The disk takes what several ask for in one go.
    with ThreadPoolExecutor(_FLUSHERS, thread_name_prefix="flush") as pool:
        list(pool.map(_sync, paths))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot do it, most often for folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


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
