"""The audio files below a folder, to draw stretches from."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from speechbrain.utils.distributed import get_local_rank, if_main_process
from speechbrain.utils.logger import get_logger
from tqdm import tqdm

from ssps_plugin.dataio.audio import SAMPLE_RATE, read_audio
from ssps_plugin.dataio.audio_check import check_audio
from ssps_plugin.dataio.audio_file import AudioError
from ssps_plugin.dataio.header_cache import HeaderCache
from ssps_plugin.dataio.speaker_folders import SUFFIXES

logger = get_logger(__name__)


class AudioFolder:
    """The audio files at any depth below a folder, and their lengths.

    Scanned once; files that cannot be read whole are left out with a warning.
    Lengths are kept in a `HeaderCache`, for the next start.

    Arguments
    ---------
    folder : str or os.PathLike
        The folder.
    yaml_key : str
        The key that errors name.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        It holds no audio.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "hum.wav", [0.5] * 16000, 16000)
    >>> rng = np.random.default_rng(0)
    >>> AudioFolder(folder, "noise_folder").draw_stretch(100, rng).shape
    torch.Size([100])
    """

    def __init__(self, folder: str | os.PathLike[str], yaml_key: str) -> None:
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                f"Expected a folder of audio, got none at {folder}: change "
                f"{yaml_key}"
            )
        paths = sorted(
            os.path.join(root, name)
            for root, _, names in os.walk(folder, followlinks=True)
            for name in names
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        )
        seconds = _lengths(paths, folder, yaml_key)
        usable = [(p, s) for p, s in zip(paths, seconds, strict=True) if s > 0]
        if len(usable) < len(paths):
            logger.warning(
                "Left out %d of %d files below %s: they cannot be read whole",
                len(paths) - len(usable),
                len(paths),
                folder,
            )
        if not usable:
            raise ValueError(
                f"Expected audio ({', '.join(SUFFIXES)}) below {folder}, got "
                f"{len(paths)} such files and none to read: change {yaml_key}"
            )
        self.paths = [path for path, _ in usable]
        self.seconds = np.array([length for _, length in usable])

    def __len__(self) -> int:
        return len(self.paths)

    def draw_stretch(
        self,
        num_samples: int,
        rng: np.random.Generator,
        sample_rate: int = SAMPLE_RATE,
    ) -> torch.Tensor:
        """Read a stretch at a random place of a random file.

        Arguments
        ---------
        num_samples : int
            Its length; a shorter file is repeated.
        rng : numpy.random.Generator
            Draws the file and the place.
        sample_rate : int
            Samples per second of the stretch.

        Returns
        -------
        torch.Tensor
            float32, (num_samples,).
        """
        index = int(rng.integers(len(self.paths)))
        seconds = num_samples / sample_rate
        start = rng.random() * max(self.seconds[index] - seconds, 0.0)
        return read_audio(
            self.paths[index], start, seconds, sample_rate=sample_rate
        )

    def draw_file(
        self, rng: np.random.Generator, sample_rate: int = SAMPLE_RATE
    ) -> torch.Tensor:
        """Read a random file's first channel, whole.

        Arguments
        ---------
        rng : numpy.random.Generator
            Draws the file.
        sample_rate : int
            Samples per second of what is returned.

        Returns
        -------
        torch.Tensor
            float32, (samples,).
        """
        path = self.paths[int(rng.integers(len(self.paths)))]
        return read_audio(path, sample_rate=sample_rate, channel=0)


def _lengths(
    paths: Sequence[str], folder: str | os.PathLike[str], label: str
) -> list[float]:
    """Seconds of each file, 0 where it cannot be read whole."""
    headers = HeaderCache(folder)

    def seconds_or_zero(path: str) -> float:
        name = os.path.relpath(path, folder)
        try:
            # The cache holds a name in a line.
            if not name.isprintable():
                return check_audio(path)
            return headers.seconds(name)
        except AudioError:
            return 0.0

    with ThreadPoolExecutor(max_workers=16) as pool:
        lengths = pool.map(seconds_or_zero, paths)
        quiet = not if_main_process()
        seconds = list(tqdm(lengths, label, len(paths), disable=quiet))
    if get_local_rank() in (None, 0):  # the others found the same
        headers.save()
    return seconds
