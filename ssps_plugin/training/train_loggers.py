"""Where metrics go besides `history.json`: TensorBoard, Weights & Biases."""

import os
import pathlib
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from speechbrain.utils.distributed import if_main_process

from ssps_plugin.atomic_write import atomic_write
from ssps_plugin.training.console import import_train_loggers

if TYPE_CHECKING:
    from speechbrain.utils import train_logger
else:
    train_logger = import_train_loggers()

# The history's names of what trials say, and those in a log: an epoch is
# verified, so no figure of them is of the training.
_VERIFICATION = {
    "eer": "verification EER",
    "eer_threshold": "verification threshold of the EER",
    "min_dcf_0.01": "verification minDCF(0.01)",
    "min_dcf_0.05": "verification minDCF(0.05)",
}
_WANDB_PROJECT = "ssps_plugin"


def split_metrics(
    row: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell an epoch and its verification apart from its training.

    Arguments
    ---------
    row : mapping
        The epoch's metrics, as in `history.json`.

    Returns
    -------
    dict
        `stats_meta` of SpeechBrain's train loggers: the epoch, and the error
        rates by names that say what they are of.
    dict
        `train_stats`: the other metrics.

    Example
    -------
    >>> split_metrics({"epoch": 5, "loss": 2.5, "eer": 15.46})
    ({'epoch': 5, 'verification EER': 15.46}, {'loss': 2.5})
    """
    meta = {"epoch": row["epoch"]}
    meta |= {
        _VERIFICATION[key]: row[key] for key in _VERIFICATION if key in row
    }
    train = {
        key: value
        for key, value in row.items()
        if key != "epoch" and key not in _VERIFICATION
    }
    return meta, train


class EpochTensorboard(train_logger.TensorboardLogger):
    """Curves for TensorBoard, over epochs.

    SpeechBrain's own counts calls: what is not logged in every epoch, or after
    a resume, would be drawn at another place.

    Arguments
    ---------
    save_dir : str or os.PathLike
        Where TensorBoard's files are written.
    """

    def log_stats(
        self,
        stats_meta: Mapping[str, Any],
        train_stats: Mapping[str, Any] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Log an epoch; see SpeechBrain's `TrainLogger`."""
        before = stats_meta["epoch"] - 1
        self.global_step["meta"] = before
        self.global_step["train"] = dict.fromkeys(train_stats or (), before)
        super().log_stats(stats_meta, train_stats, *args, **kwargs)


def check_use_wandb(use_wandb: Any) -> None:
    """Check that what is asked for by `use_wandb` is there.

    Arguments
    ---------
    use_wandb : object
        The key's value.

    Raises
    ------
    RuntimeError
        It is true, and wandb is not installed.
    """
    if use_wandb is True:
        _import_wandb()


def make_wandb_logger(
    use_wandb: Any,
    folder: str | os.PathLike[str],
    settings: Mapping[str, Any],
) -> Any:
    """Make the logger for Weights & Biases, None where none is asked for.

    A run that goes on is the same run there. `WANDB_PROJECT`, `WANDB_MODE` and
    wandb's other variables have their usual meaning.

    Arguments
    ---------
    use_wandb : bool or object
        True; or a logger of one's own, SpeechBrain's `WandBLogger`, which is
        returned as it is.
    folder : str or os.PathLike
        The output folder, for wandb's files and the run's identity.
    settings : mapping
        The run's, of which plain values are shown; `experiment` names it.

    Returns
    -------
    object or None
        With `log_stats`, as SpeechBrain's train loggers.

    Raises
    ------
    RuntimeError
        wandb is not installed.
    ValueError
        `use_wandb` is something else.
    """
    if use_wandb is False or use_wandb is None:
        return None
    if hasattr(use_wandb, "log_stats"):
        return use_wandb
    if use_wandb is not True:
        raise ValueError(
            "Expected use_wandb True, False or a train logger "
            f"(!new:speechbrain.utils.train_logger.WandBLogger), got "
            f"{use_wandb!r}: change use_wandb."
        )
    wandb = _import_wandb()
    plain = (str, int, float, list, type(None))
    options = {
        "project": os.environ.get("WANDB_PROJECT", _WANDB_PROJECT),
        "name": settings.get("experiment"),
        "dir": os.fspath(folder),
        "resume": "allow",
        "config": {
            key: value
            for key, value in settings.items()
            if isinstance(value, plain)
        },
    }
    run = None
    if if_main_process():
        options["id"] = _read_or_make_id(pathlib.Path(folder, "wandb_id.txt"))
        run = wandb.init(**options)
    # SpeechBrain's would hide an error of wandb's behind a TypeError.
    return train_logger.WandBLogger(lambda: run)


def _read_or_make_id(path: pathlib.Path) -> str:
    """Return the run's id there, the same one after a resume."""
    if path.is_file():
        return path.read_text(encoding="utf-8").strip()
    name = uuid.uuid4().hex[:12]
    with atomic_write(path) as file:
        file.write(f"{name}\n")
    return name


def _import_wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise RuntimeError(
            "Expected the package wandb, since use_wandb is True, got "
            f"{error}: pip install 'ssps_plugin[wandb]', or set use_wandb to "
            "False."
        ) from None
    return wandb
