"""Expensive outputs on disk: complete and verified, or absent.

Apart from the database because they are large and because their name is the hash of what
they were made of: whoever wants one asks by its inputs. A directory is written beside its
place, its manifest last, and renamed into it, so that a kill or a full disk leaves nothing
that could be taken for an artifact.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from storage.errors import ArtifactDamaged, StoreUnavailable, UnknownName
from storage.records import Artifact

MANIFEST = "manifest.json"
KEY_LENGTH = 24
ABANDONED = 24 * 3600.0
"""Seconds after which an unfinished directory is taken for one of a killed process."""
REPAIR = "recsys doctor --repair"

Arrays = Mapping[str, npt.NDArray[Any]]
Verify = Literal["sizes", "full"]


class Artifacts:
    """A directory of artifacts: `<root>/<kind>/<key>/`.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     artifacts = Artifacts(Path(folder))
    ...     with artifacts.writing("plan", {"minutes": 5}) as path:
    ...         artifacts.write_json(path / "plan.json", {"requests": 40})
    ...     found = artifacts.find("plan", {"minutes": 5})
    ...     artifacts.read_json(found, "plan.json"), artifacts.find("plan", {"minutes": 6})
    ({'requests': 40}, None)
    """

    def __init__(self, root: Path) -> None:
        """Stand on a directory; it is made when something is written."""
        self.root = root

    @staticmethod
    def key(kind: str, inputs: Mapping[str, object]) -> str:
        """Return the key of what is made of these inputs: the hash of their canonical JSON.

        >>> Artifacts.key("plan", {"a": 1, "b": 2}) == Artifacts.key("plan", {"b": 2, "a": 1})
        True
        """
        text = json.dumps([kind, inputs], sort_keys=True, ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:KEY_LENGTH]

    def find(
        self, kind: str, inputs: Mapping[str, object], *, verify: Verify = "sizes"
    ) -> Artifact | None:
        """Return the artifact made of these inputs, None where there is none.

        Raises:
            ArtifactDamaged: it is there, and is not what its manifest promises.
        """
        folder = self.root / kind / self.key(kind, inputs)
        return self._verified(folder, verify) if folder.is_dir() else None

    def open(self, key: str, *, verify: Verify = "sizes") -> Artifact:
        """Return an artifact by its key.

        Raises:
            UnknownName: there is none.
            ArtifactDamaged: it is there, and is not what its manifest promises.
        """
        for folder in self.root.glob(f"*/{key}"):
            return self._verified(folder, verify)
        raise UnknownName(f"no artifact {key!r} in {str(self.root)!r}", next_step="recsys doctor")

    def keys(self) -> Iterator[str]:
        """Yield the keys of all artifacts, damaged ones included, in order of their paths."""
        for folder in sorted(self.root.glob(f"*/{'[0-9a-f]' * KEY_LENGTH}")):
            yield folder.name

    def damaged(self) -> Iterator[tuple[str, ArtifactDamaged]]:
        """Read every byte of every artifact; yield key and error of each that is damaged."""
        for key in self.keys():
            try:
                self.open(key, verify="full")
            except ArtifactDamaged as error:
                yield key, error

    def remove(self, key: str) -> None:
        """Remove an artifact; the stage that made it will make it again."""
        for folder in self.root.glob(f"*/{key}"):
            with _refusals(folder):
                shutil.rmtree(folder)

    @contextmanager
    def writing(
        self,
        kind: str,
        inputs: Mapping[str, object],
        *,
        meta: Mapping[str, object] | None = None,
    ) -> Iterator[Path]:
        """Yield a directory to write into; it becomes the artifact when the block ends well.

        Where two processes write the same one, the first to end wins and the second's is
        dropped: they were made of the same inputs.

        Raises:
            StoreUnavailable: the disk is full or the directory cannot be written.
        """
        key = self.key(kind, inputs)
        place = self.root / kind / key
        with _refusals(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            _clear_abandoned(place)
            work = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=place.parent))
        try:
            with _refusals(place):
                yield work
                _write_manifest(work, kind, key, inputs, meta or {})
                _into_place(work, place)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def scratch(self, kind: str, inputs: Mapping[str, object]) -> Path:
        """Return a directory for the checkpoints of what will be made of these inputs."""
        folder = self.root / "scratch" / f"{kind}-{self.key(kind, inputs)}"
        with _refusals(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def forget_scratch(self, kind: str, inputs: Mapping[str, object]) -> None:
        """Remove those checkpoints, once the artifact is there."""
        shutil.rmtree(self.scratch(kind, inputs), ignore_errors=True)

    @staticmethod
    def save_arrays(path: Path, arrays: Arrays) -> None:
        """Write arrays as safetensors."""
        save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, path)

    @staticmethod
    def load_arrays(artifact: Artifact, file: str) -> dict[str, npt.NDArray[Any]]:
        """Read the arrays of one of an artifact's files.

        Raises:
            ArtifactDamaged: the file is missing or no safetensors.
        """
        path = Path(artifact.path, file)
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise ArtifactDamaged(
                f"the artifact file {str(path)!r} cannot be read: {error}", next_step=REPAIR
            ) from error

    @staticmethod
    def write_json(path: Path, value: object) -> None:
        """Write a value as JSON."""
        path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")

    @staticmethod
    def read_json(artifact: Artifact, file: str) -> Any:
        """Read one of an artifact's JSON files.

        Raises:
            ArtifactDamaged: the file is missing or no JSON.
        """
        path = Path(artifact.path, file)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArtifactDamaged(
                f"the artifact file {str(path)!r} cannot be read: {error}", next_step=REPAIR
            ) from error

    def _verified(self, folder: Path, verify: Verify) -> Artifact:
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            files: dict[str, dict[str, Any]] = manifest["files"]
            wrong = [n for n, promised in files.items() if not _is(folder / n, promised, verify)]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactDamaged(
                f"the artifact {str(folder)!r} has no readable manifest", next_step=REPAIR
            ) from error
        if wrong:
            raise ArtifactDamaged(
                f"the artifact {str(folder)!r} is damaged: {wrong[0]!r} is not what its manifest "
                f"promises",
                next_step=REPAIR,
            )
        size = sum(promised["size"] for promised in files.values())
        return Artifact(folder.name, manifest["kind"], str(folder), manifest["meta"], size)


def _is(path: Path, promised: Mapping[str, Any], verify: Verify) -> bool:
    if not path.is_file() or path.stat().st_size != promised["size"]:
        return False
    return verify == "sizes" or _hash(path) == promised["sha256"]


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_manifest(
    work: Path,
    kind: str,
    key: str,
    inputs: Mapping[str, object],
    meta: Mapping[str, object],
) -> None:
    files = {}
    for path in sorted(p for p in work.rglob("*") if p.is_file()):
        _sync(path)
        name = path.relative_to(work).as_posix()
        files[name] = {"size": path.stat().st_size, "sha256": _hash(path)}
    manifest = {"kind": kind, "key": key, "inputs": inputs, "meta": meta, "files": files}
    Artifacts.write_json(work / MANIFEST, manifest)
    _sync(work / MANIFEST)


def _clear_abandoned(place: Path) -> None:
    """Remove what killed processes left of the same artifact, once nobody can be at it still."""
    for left in place.parent.glob(f".{place.name}-*"):
        if time.time() - left.stat().st_mtime > ABANDONED:
            shutil.rmtree(left, ignore_errors=True)


def _into_place(work: Path, place: Path) -> None:
    """Rename, unless a complete artifact is there already; a damaged one is replaced."""
    if place.is_dir():
        try:
            Artifacts(place.parent.parent)._verified(place, "full")
        except ArtifactDamaged:
            shutil.rmtree(place)
        else:
            return
    work.chmod(0o755)
    try:
        work.rename(place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return  # another process was a moment faster, with the same inputs
    _sync(place.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _refusals(place: Path) -> Iterator[None]:
    """Turn what a file system refuses into a sentence."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        code = _errno(error)
        if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreUnavailable(
                f"{str(place)!r} was not written, and nothing was lost: {os.strerror(code)}",
                next_step="free some space and run the same command again",
            ) from error
        if code in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise StoreUnavailable(
                f"{str(place)!r} cannot be written: {os.strerror(code)}",
                next_step="set RECSYS_HOME to a directory you may write to",
            ) from error
        raise


def _errno(error: OSError | SafetensorError) -> int | None:
    """Return the system's error number; safetensors only has it in its text.

    >>> _errno(SafetensorError("I/O error: No space left on device (os error 28)"))
    28
    """
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None
