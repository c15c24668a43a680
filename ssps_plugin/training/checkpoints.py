"""Checkpoints that are whole, or passed over.

A large checkpoint is written by a thread of its own from a copy of the state,
so that training waits for the copy only. Every file is flushed to the disk and
its SHA-256 kept; the file that marks the folder as a checkpoint gets its name
last, and only then are older checkpoints deleted.
"""

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
import yaml
from speechbrain.utils.checkpoints import (
    CKPT_PREFIX,
    DEFAULT_SAVE_HOOKS,
    METAFNAME,
    Checkpoint,
    Checkpointer,
    get_default_hook,
    torch_save,
)
from speechbrain.utils.distributed import ddp_barrier, if_main_process
from speechbrain.utils.logger import get_logger
from torch import Tensor

from ssps_plugin.atomic_write import flush

logger = get_logger(__name__)

# The name of the file that marks a checkpoint, until all others are written.
_UNFINISHED = METAFNAME + ".unfinished"
_CHECKSUMS = "checksums.json"
_DAMAGED_PREFIX = "DAMAGED+"
# In the meta file: how many saves into the folder came before, and this one.
_NUMBER = "number"
# How PyTorch's message begins when a state is of another module.
_MISFIT = "Error(s) in loading state_dict"
# How it begins, or goes on, where an optimiser's groups are others.
_GROUPS_MISFIT = "loaded state dict"
# Its message names every entry, of which the first few say what is wrong.
_SHOWN_CHARACTERS = 300
_BLOCK_BYTES = 1 << 20
# Above this a state is written by a thread; below, writing takes no time.
_BACKGROUND_BYTES = 1 << 26


class DamagedFileError(RuntimeError):
    """A saved file is not what was written; its message says which and how."""


class AtomicCheckpointer(Checkpointer):
    """SpeechBrain's Checkpointer, safe against kills, faults and clocks.

    Differs from SpeechBrain's:

    - A checkpoint is complete or no checkpoint: a process killed while saving
      leaves the one before, and files are flushed to the disk first.
    - States of more than 64 MiB are copied, then written by a thread; the next
      save, a recovery and `wait` wait for it, and raise its error.
    - Every file has a checksum, verified before anything is loaded. A damaged
      checkpoint is named, set aside as `DAMAGED+…`, and the next older one is
      taken.
    - The newest is the one that was saved last, whatever the clock says.
    - What is loaded is data, never code.

    In any recipe it takes the place of
    `speechbrain.utils.checkpoints.Checkpointer`, with the same arguments.

    Example
    -------
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> folder = getfixture("tmp_path")
    >>> checkpointer = AtomicCheckpointer(folder, {"model": model})
    >>> for weight in (1.0, 2.0):
    ...     _ = torch.nn.init.constant_(model.weight, weight)
    ...     checkpointer.save_and_keep_only(num_to_keep=2)
    >>> checkpointer.wait()
    >>> newest = checkpointer.find_checkpoint().paramfiles["model"]
    >>> _ = newest.write_bytes(b"damaged")
    >>> _ = checkpointer.recover_if_possible()
    >>> model.weight.item()
    1.0
    """

    custom_save_hooks: dict[str, Any]  # SpeechBrain's
    custom_load_hooks: dict[str, Any]
    # By folder, so that another checkpointer of this process waits too.
    _writers: ClassVar[dict[pathlib.Path, threading.Thread]] = {}
    _failures: ClassVar[dict[pathlib.Path, BaseException]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._copies: dict[str, Any] = {}

    @property
    def _folder(self) -> pathlib.Path:
        return pathlib.Path(self.checkpoints_dir).resolve()

    # -- saving ------------------------------------------------------------

    def save_checkpoint(
        self,
        meta: Mapping[str, Any] | None = None,
        end_of_epoch: bool = True,
        name: str | None = None,
        verbosity: int = logging.INFO,
        then: Callable[[], None] | None = None,
    ) -> Checkpoint | None:
        """Save the state; a large one is copied, and written by a thread.

        Arguments
        ---------
        meta : mapping, optional
            Added to the checkpoint's meta file: plain numbers and text.
        end_of_epoch : bool
            Whether an epoch has ended.
        name : str, optional
            Instead of a name by the time.
        verbosity : int
            Level of the log line.
        then : callable, optional
            Called once the checkpoint is whole.

        Returns
        -------
        Checkpoint or None
            None on all processes but the main one.

        Raises
        ------
        RuntimeError
            The checkpoint before could not be written by its thread.
        """
        self.wait()
        states: list[tuple[pathlib.Path, Any]] = []

        def copy_state(obj: Any, path: pathlib.Path) -> None:
            if if_main_process():
                before = self._copies.pop(path.name, None)
                states.append((path, _copied(obj.state_dict(), before)))

        own_hooks = self.custom_save_hooks
        self.custom_save_hooks = {**self._hooks(copy_state), **own_hooks}
        meta = {_NUMBER: self._next_number(), **(meta or {})}
        try:
            checkpoint = super().save_checkpoint(
                meta, end_of_epoch, name, verbosity
            )
        finally:
            self.custom_save_hooks = own_hooks
        if checkpoint is not None:  # the main process
            self._write(pathlib.Path(checkpoint.path), states, then)
        return checkpoint

    def save_and_keep_only(
        self,
        meta: Mapping[str, Any] | None = None,
        end_of_epoch: bool = True,
        name: str | None = None,
        num_to_keep: int = 1,
        keep_recent: bool = True,
        importance_keys: Sequence[Callable[[Checkpoint], Any]] = (),
        max_keys: Sequence[str] = (),
        min_keys: Sequence[str] = (),
        ckpt_predicate: Callable[[Checkpoint], bool] | None = None,
        verbosity: int = logging.INFO,
    ) -> None:
        """Save, and delete the least important ones once that is whole.

        Arguments
        ---------
        meta, end_of_epoch, name, verbosity
            As for `save_checkpoint`.
        num_to_keep : int
            How many are kept for each order of importance.
        keep_recent : bool
            Whether to keep the most recent ones.
        importance_keys, max_keys, min_keys, ckpt_predicate
            Other orders of importance, and which may be deleted at all, as for
            SpeechBrain's Checkpointer.
        """
        keys: list[Callable[[Checkpoint], Any]] = [*importance_keys]
        keys += [recency] if keep_recent else []
        keys += [partial(_meta_value, key=key) for key in max_keys]
        keys += [partial(_meta_value, key=key, sign=-1) for key in min_keys]
        needed = {*max_keys, *min_keys}

        def delete_obsolete() -> None:
            candidates = [
                c
                for c in self.list_checkpoints()
                if needed <= set(c.meta)
                and (ckpt_predicate is None or ckpt_predicate(c))
            ]
            kept = {
                c.path
                for key in keys
                for c in sorted(candidates, key=key)[-num_to_keep:]
                if num_to_keep
            }
            for checkpoint in candidates:
                if checkpoint.path not in kept:
                    _delete(pathlib.Path(checkpoint.path))

        self.save_checkpoint(
            meta, end_of_epoch, name, verbosity, then=delete_obsolete
        )

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk.

        Raises
        ------
        RuntimeError
            It could not be written.
        """
        writer = self._writers.pop(self._folder, None)
        if writer is not None:
            writer.join()
        failure = self._failures.pop(self._folder, None)
        if failure is not None:
            raise make_write_error(self.checkpoints_dir, failure) from failure

    def _write(
        self,
        folder: pathlib.Path,
        states: list[tuple[pathlib.Path, Any]],
        then: Callable[[], None] | None,
    ) -> None:
        """Write copied states, here or by a thread, and finish the folder."""

        def write() -> None:
            for path, state in states:
                torch.save(state, path)
            _finish(folder)
            if then is not None:
                then()

        def write_and_note() -> None:
            try:
                write()
            except BaseException as error:  # raised by the next `wait`
                self._failures[self._folder] = error
                logger.error("%s could not be written: %r", folder, error)

        if sum(_num_bytes(state) for _, state in states) < _BACKGROUND_BYTES:
            try:
                write()
            except (OSError, RuntimeError) as error:
                raise make_write_error(folder, error) from error
            return
        # Copied over by the next save: new memory costs more than the copy.
        self._copies = {path.name: state for path, state in states}
        # Not a daemon: the interpreter waits for it before it ends.
        writer = threading.Thread(
            target=write_and_note, name=f"writes {folder.name}"
        )
        self._writers[self._folder] = writer
        writer.start()

    def _save_checkpoint_metafile(
        self, fpath: pathlib.Path, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        meta: dict[str, Any] = super()._save_checkpoint_metafile(
            fpath.with_name(_UNFINISHED), *args, **kwargs
        )
        return meta

    def _hooks(self, hook: Callable[..., None]) -> dict[str, Any]:
        """Return a hook for everything that is saved as a `state_dict`."""
        return {
            name: hook
            for name, obj in self.recoverables.items()
            if get_default_hook(obj, DEFAULT_SAVE_HOOKS) is torch_save
        }

    def _next_number(self) -> int:
        folders = self._list_checkpoint_dirs()
        numbers = [_read_meta(folder).get(_NUMBER, 0) for folder in folders]
        return 1 + max(numbers, default=0)

    # -- loading -----------------------------------------------------------

    def list_checkpoints(self) -> list[Checkpoint]:
        """List the checkpoints whose meta file can be read."""
        checkpoints = []
        for folder in self._list_checkpoint_dirs():
            meta = _read_meta(folder)
            if meta:
                paths = {p.stem: p for p in folder.glob("*.ckpt")}
                # SpeechBrain goes by this where it asks for the newest.
                meta["unixtime"] = _order(meta)
                checkpoints.append(Checkpoint(folder, meta, paths))
        return checkpoints

    def recover_if_possible(
        self, *args: Any, **kwargs: Any
    ) -> Checkpoint | None:
        """Load the newest checkpoint that is whole, None where there is none.

        What a killed process left is removed, damaged checkpoints are named
        and set aside.

        Raises
        ------
        DamagedFileError
            There are checkpoints, and all of them are damaged.
        RuntimeError
            A checkpoint of other modules, or of other sizes.
        """
        self.wait()
        if if_main_process():
            pattern = f"{CKPT_PREFIX}*/{_UNFINISHED}"
            for marker in pathlib.Path(self.checkpoints_dir).glob(pattern):
                shutil.rmtree(marker.parent)
            self._set_damaged_aside(*args, **kwargs)
        ddp_barrier()
        self._check_any_left()
        chosen = self.find_checkpoint(*args, **kwargs)
        if chosen is None:
            logger.info("There is no checkpoint to load yet.")
        else:
            self.load_checkpoint(chosen)
        return chosen

    def load_newest(self) -> Checkpoint | None:
        """Load the newest checkpoint that is whole, and change no file.

        For a folder of somebody else's, which may be in use: a run that is
        verified, or that another one starts from.

        Returns
        -------
        Checkpoint or None
            None where there is no checkpoint.

        Raises
        ------
        DamagedFileError
            There are checkpoints, and all of them are damaged.
        RuntimeError
            A checkpoint of other modules, or of other sizes.
        """
        self.wait()
        checkpoints = self.list_checkpoints()
        for checkpoint in sorted(checkpoints, key=recency, reverse=True):
            if _is_whole(checkpoint):
                self.load_checkpoint(checkpoint)
                return checkpoint
        if checkpoints:
            raise DamagedFileError(
                f"Expected a whole checkpoint in {self.checkpoints_dir}, got "
                f"{len(checkpoints)} damaged ones only: copy one back from a "
                "backup, or train again."
            )
        return None

    def load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Load a checkpoint as SpeechBrain does, and as data only.

        Raises
        ------
        RuntimeError
            It is of other modules, or of other sizes.
        """
        own_hooks = self.custom_load_hooks
        self.custom_load_hooks = {**self._hooks(_load_data), **own_hooks}
        try:
            super().load_checkpoint(checkpoint)
        except (KeyError, RuntimeError, ValueError) as error:
            told_by = (_MISFIT, _GROUPS_MISFIT)
            if not isinstance(error, KeyError) and not any(
                words in str(error) for words in told_by
            ):
                raise
            first = " ".join(str(error).split())[:_SHOWN_CHARACTERS]
            if _GROUPS_MISFIT in str(error):
                first += (
                    " (which depends on prototypes_weight_norm, frontend_lr "
                    "and remove_vector_weight_decay)"
                )
            raise RuntimeError(
                f"Expected checkpoints in {self.checkpoints_dir} that fit what "
                f"the configuration builds, got: {first} ... Go on with the "
                "settings that they were made with (hyperparams.yaml beside "
                "that folder), or change output_folder."
            ) from error
        finally:
            self.custom_load_hooks = own_hooks

    def _set_damaged_aside(self, *args: Any, **kwargs: Any) -> None:
        """Rename damaged checkpoints until the one to be loaded is whole."""
        for folder in self._list_checkpoint_dirs():
            # Of all of them, since it says which one is the newest.
            if not _read_meta(folder):
                _set_aside(folder, f"{folder / METAFNAME} cannot be read")
                continue
            try:
                verify_files(folder, only=METAFNAME)
            except DamagedFileError as error:
                _set_aside(folder, str(error))
        while (chosen := self.find_checkpoint(*args, **kwargs)) is not None:
            folder = pathlib.Path(chosen.path)
            try:
                verify_files(folder)
            except DamagedFileError as error:
                _set_aside(folder, str(error))
            else:
                return

    def _check_any_left(self) -> None:
        folder = pathlib.Path(self.checkpoints_dir)
        damaged = sorted(folder.glob(f"{_DAMAGED_PREFIX}*"))
        if damaged and not self._list_checkpoint_dirs():
            raise DamagedFileError(
                f"Expected a whole checkpoint in {folder}, got damaged ones "
                f"only: {', '.join(path.name for path in damaged)}. Copy one "
                "back from a backup, or change output_folder to start anew "
                "(or move them away)."
            )


def make_write_error(
    folder: str | os.PathLike[str], failure: BaseException
) -> RuntimeError:
    """Make the error that says what to do where a file cannot be written."""
    return RuntimeError(
        f"Expected to write to {os.fspath(folder)}, got {failure!r}: make room "
        "there (a full disk, or a quota, above all). What was saved before is "
        "whole, and the same command goes on from it."
    )


def recency(checkpoint: Checkpoint) -> float:
    """Return a number that grows with every save of a folder."""
    return float(checkpoint.meta["unixtime"])


def _meta_value(checkpoint: Checkpoint, key: str, sign: int = 1) -> Any:
    return sign * checkpoint.meta[key]


def _order(meta: Mapping[str, Any]) -> float:
    """Number of the save; below 1, by the clock, where another saver wrote."""
    return float(meta.get(_NUMBER, meta["unixtime"] * 1e-12))


def _read_meta(folder: pathlib.Path) -> dict[str, Any]:
    """Read a checkpoint's meta file, empty where it is damaged."""
    try:
        text = (folder / METAFNAME).read_text(encoding="utf-8")
        meta = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    known = isinstance(meta, dict) and {"unixtime", "end-of-epoch"} <= set(meta)
    return meta if known else {}


def _copied(state: Any, before: Any = None) -> Any:
    """Copy a state into the host's memory, tensors and what holds them.

    Arguments
    ---------
    state : object
        A `state_dict`, or a part of it.
    before : object, optional
        An earlier copy, whose tensors are written over where they fit.
    """
    if isinstance(state, Tensor):
        fits = (
            isinstance(before, Tensor)
            and (before.shape, before.dtype) == (state.shape, state.dtype)
            and before.is_contiguous()
        )
        if fits:
            return before.copy_(state.detach())
        return state.detach().to("cpu", copy=True).contiguous()
    if isinstance(state, dict):
        old = before if isinstance(before, dict) else {}
        copied = type(state)(
            (key, _copied(value, old.get(key))) for key, value in state.items()
        )
        if hasattr(state, "_metadata"):  # the versions of a module's parts
            copied.__dict__["_metadata"] = state._metadata
        return copied
    if isinstance(state, (list, tuple)):
        return type(state)(_copied(value) for value in state)
    return state


def _num_bytes(state: Any) -> int:
    if isinstance(state, Tensor):
        return state.nbytes
    if isinstance(state, Mapping):
        return sum(map(_num_bytes, state.values()))
    if isinstance(state, (list, tuple)):
        return sum(map(_num_bytes, state))
    return 0


def _load_data(obj: Any, path: pathlib.Path, end_of_epoch: bool) -> None:
    """Load a state; by name, so that no environment makes it run code."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    obj.load_state_dict(state)


def _finish(folder: pathlib.Path) -> None:
    """Make a written folder a checkpoint: flushed, with checksums, named."""
    checksums = {}
    for path in sorted(folder.iterdir()):
        flush(path)
        name = METAFNAME if path.name == _UNFINISHED else path.name
        checksums[name] = sha256_of(path)
    with open(folder / _CHECKSUMS, "w", encoding="utf-8") as file:
        json.dump(checksums, file, indent=1)
    flush(folder / _CHECKSUMS)
    os.replace(folder / _UNFINISHED, folder / METAFNAME)
    flush(folder)
    flush(folder.parent)


def verify_files(folder: pathlib.Path, only: str | None = None) -> None:
    """Check a checkpoint's files against their checksums.

    One that SpeechBrain's Checkpointer wrote has none, and passes.

    Arguments
    ---------
    folder : pathlib.Path
        The checkpoint.
    only : str, optional
        Name of the one file to check; all of them by default.

    Raises
    ------
    DamagedFileError
        A file is missing, or is not what was written.
    """
    if not (folder / _CHECKSUMS).exists():
        if _NUMBER in _read_meta(folder):
            raise DamagedFileError(f"{folder / _CHECKSUMS} is missing")
        return
    try:
        text = (folder / _CHECKSUMS).read_text(encoding="utf-8")
        checksums = dict(json.loads(text))
    except (OSError, ValueError, TypeError) as error:
        raise DamagedFileError(
            f"{folder / _CHECKSUMS} cannot be read: {error}"
        ) from error
    for name, expected in checksums.items():
        if only not in (None, name):
            continue
        path = folder / name
        try:
            found = sha256_of(path)
        except OSError as error:
            raise DamagedFileError(f"{path} cannot be read: {error}") from error
        if found != expected:
            raise DamagedFileError(
                f"{path} is not what was written: its SHA-256 is "
                f"{found[:12]}…, {expected[:12]}… was saved"
            )


def _is_whole(checkpoint: Checkpoint) -> bool:
    try:
        verify_files(pathlib.Path(checkpoint.path))
    except DamagedFileError as error:
        logger.warning("A damaged checkpoint is passed over: %s", error)
        return False
    return True


def _set_aside(folder: pathlib.Path, reason: str) -> None:
    target = folder.with_name(f"{_DAMAGED_PREFIX}{folder.name}")
    number = 0
    while target.exists():
        number += 1
        target = folder.with_name(f"{_DAMAGED_PREFIX}{number}+{folder.name}")
    folder.rename(target)
    logger.warning(
        "A checkpoint is damaged: %s. It is set aside as %s, and the next "
        "older one is taken.",
        reason,
        target.name,
    )


def _delete(folder: pathlib.Path) -> None:
    """Delete a checkpoint; a kill on the way leaves none, not half of one."""
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder / METAFNAME, folder / _UNFINISHED)
    shutil.rmtree(folder, ignore_errors=True)


def sha256_of(path: pathlib.Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
