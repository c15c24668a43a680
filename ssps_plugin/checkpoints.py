"""A checkpointer whose half-written checkpoints are never taken for whole."""

import os
import pathlib
import shutil
from typing import Any

from speechbrain.utils.checkpoints import (
    CKPT_PREFIX,
    METAFNAME,
    Checkpoint,
    Checkpointer,
)
from speechbrain.utils.distributed import ddp_barrier, if_main_process

# What torch says of a state that is another module's.
_MISFIT = "Error(s) in loading state_dict"
_SHOWN_CHARACTERS = 300
_UNFINISHED = METAFNAME + ".unfinished"


class AtomicCheckpointer(Checkpointer):
    """SpeechBrain's Checkpointer, safe against a process killed while saving.

    SpeechBrain writes the file that marks a folder as a checkpoint first, so a
    process killed while saving leaves a newest checkpoint that cannot be
    loaded. Here that file gets its name last.
    """

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> Checkpoint | None:
        """Save as SpeechBrain does, then mark the checkpoint as whole."""
        checkpoint = super().save_checkpoint(*args, **kwargs)
        ddp_barrier()
        if checkpoint is not None:  # the main process
            folder = pathlib.Path(checkpoint.path)
            os.replace(folder / _UNFINISHED, folder / METAFNAME)
        ddp_barrier()
        return checkpoint

    def recover_if_possible(self, *args: Any, **kwargs: Any) -> Checkpoint:
        """Remove what a killed process left, then load as SpeechBrain does.

        Raises
        ------
        RuntimeError
            A checkpoint of other modules, or of other sizes.
        """
        if if_main_process():
            pattern = f"{CKPT_PREFIX}*/{_UNFINISHED}"
            for marker in pathlib.Path(self.checkpoints_dir).glob(pattern):
                shutil.rmtree(marker.parent)
        ddp_barrier()
        try:
            return super().recover_if_possible(*args, **kwargs)
        except (KeyError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and _MISFIT not in str(error):
                raise
            first = " ".join(str(error).split())[:_SHOWN_CHARACTERS]
            raise RuntimeError(
                f"Expected checkpoints in {self.checkpoints_dir} that fit what "
                f"the configuration builds, got: {first} ... Go on with the "
                "settings that they were made with (hyperparams.yaml beside "
                "that folder), or change output_folder."
            ) from error

    def _save_checkpoint_metafile(
        self, fpath: pathlib.Path, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        meta: dict[str, Any] = super()._save_checkpoint_metafile(
            fpath.with_name(_UNFINISHED), *args, **kwargs
        )
        return meta
