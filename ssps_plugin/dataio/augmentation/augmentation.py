"""Augment waveforms in the dataset: reverberation, then noise."""

import os
from collections.abc import Mapping, Sequence
from math import inf, isfinite

import numpy as np
import torch
from scipy.fft import irfft, next_fast_len, rfft
from speechbrain.utils.logger import get_logger

from ssps_plugin.dataio.audio import SAMPLE_RATE
from ssps_plugin.dataio.augmentation.folders import (
    SIMULATED_ROOMS,
    SYNTHETIC_NOISE,
    AudioFolder,
    check_impulse_responses,
    describe_noise,
    find_noise_folders,
    find_rir_folder,
)
from ssps_plugin.dataio.augmentation.made_folders import (
    check_cache,
    check_can_make_rooms,
    make_noise,
    make_rooms,
)

logger = get_logger(__name__)

# MUSAN's categories with the paper's ranges of signal-to-noise ratio, in dB.
SNR_DB = {"noise": (0.0, 15.0), "speech": (13.0, 20.0), "music": (5.0, 15.0)}


class Augmentation:
    """Reverberate a waveform, then add noise of one category.

    The result depends on the waveform and the generator alone, unlike that of
    SpeechBrain's `AddNoise` and `AddReverb`, whose state is in no checkpoint.
    Of a noise file only the stretch that is added is read.

    Source: Lepage and Dehak, arXiv 2505.14561: a random room impulse
    response, then one of MUSAN's categories at equal probability.

    Arguments
    ---------
    noise_folder : str or os.PathLike, optional
        MUSAN (`noise`, `speech` and `music`, or some of them) or a folder that
        holds it; or any folder of noise, which then is of the category
        `noise`. The string `"synthetic"` has noise made, without a download,
        see `prepare` (a folder of this name is `"./synthetic"`). None adds no
        noise.
    rir_folder : str or os.PathLike, optional
        OpenSLR-28 (`RIRS_NOISES`, of which the simulated ones are used) or a
        folder that holds it; or any folder of room impulse responses, at any
        depth. The string `"simulated"` has them simulated, see `prepare` (a
        folder of this name is `"./simulated"`). None does not reverberate.
    reverb_probability : float
        Probability of reverberation, 0 to 1.
    noise_probability : float
        Probability of noise, 0 to 1. With 0.5 for both, a waveform gets
        nothing, reverberation, noise or both equally often (DINO's choice).
    snr_db : mapping of str to sequence of float, optional
        The lowest and highest ratio in dB for each category (a sub-folder of
        `noise_folder`); None takes the paper's.
    sample_rate : int
        Samples per second.
    augment_on : str
        `"workers"`: a view is augmented where it is cut. `"device"`: it is
        only drawn there with what (see `draw`), and `BatchAugmentation`
        augments the batch on the device that trains, to the same numbers.

    Attributes
    ----------
    notes : list of str
        Where noise and impulse responses come from, for the log.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        A folder holds no audio, or noise where impulse responses are expected
        or the reverse; or a number is out of its range; or there is no cache
        to keep in what is to be made.
    RuntimeError
        Rooms are to be simulated, and pyroomacoustics is not installed.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "hum.wav", [0.5] * 16000, 16000)
    >>> augment = Augmentation(noise_folder=folder)
    >>> augment(torch.ones(100), np.random.default_rng(0)).shape
    torch.Size([100])
    """

    def __init__(
        self,
        noise_folder: str | os.PathLike[str] | None = None,
        rir_folder: str | os.PathLike[str] | None = None,
        reverb_probability: float = 1.0,
        noise_probability: float = 1.0,
        snr_db: Mapping[str, Sequence[float]] | None = None,
        sample_rate: int = SAMPLE_RATE,
        augment_on: str = "workers",
    ) -> None:
        self.reverb_probability = reverb_probability
        self.noise_probability = noise_probability
        self.sample_rate = sample_rate
        self.augment_on = augment_on
        self.snr_db = dict(SNR_DB if snr_db is None else snr_db)
        self._check_ranges()
        self.notes: list[str] = []
        self.rirs: AudioFolder | None = None
        self.noises: dict[str, AudioFolder] = {}
        # A path object is a folder, whatever its name.
        self._makes_rooms = rir_folder == SIMULATED_ROOMS
        self._makes_noise = noise_folder == SYNTHETIC_NOISE
        if self._makes_rooms:
            check_cache("rir_folder")
            check_can_make_rooms(sample_rate)
            self._note_namesake("rir_folder", SIMULATED_ROOMS)
        elif rir_folder is not None:
            self.rirs = self._find_rirs(rir_folder)
        if self._makes_noise:
            check_cache("noise_folder")
            self._note_namesake("noise_folder", SYNTHETIC_NOISE)
        elif noise_folder is not None:
            self.noises = self._find_noises(noise_folder)

    def __call__(
        self, samples: torch.Tensor, rng: np.random.Generator
    ) -> torch.Tensor:
        """Augment one waveform.

        Arguments
        ---------
        samples : torch.Tensor
            float32, `(samples,)`; not changed.
        rng : numpy.random.Generator
            The only source of randomness.

        Returns
        -------
        torch.Tensor
            float32, `(samples,)`.

        Raises
        ------
        RuntimeError
            There is noise or there are rooms to make first, by `prepare`.
        """
        self._check_prepared()
        if self.rirs is not None and self._draws_reverberation(rng):
            rir = self.rirs.draw_file(rng, self.sample_rate)
            samples = reverberate(samples, rir)
        drawn = self._draw_noise(len(samples), rng)
        return samples if drawn is None else add_noise(samples, *drawn)

    @property
    def drawn_names(self) -> tuple[str, ...]:
        """The names of what `draw` returns."""
        self._check_prepared()
        reverberation = () if self.rirs is None else ("rir",)
        return reverberation + (("noise", "snr_db") if self.noises else ())

    def draw(
        self, num_samples: int, rng: np.random.Generator
    ) -> dict[str, torch.Tensor]:
        """Draw what a call would augment a waveform with, and read the noise.

        Arguments
        ---------
        num_samples : int
            The waveform's length.
        rng : numpy.random.Generator
            The only source of randomness.

        Returns
        -------
        dict of str to torch.Tensor
            With impulse responses: `rir`, int64, `()`, the number of one among
            `rirs.paths`, -1 for none. With noise: `noise`, float32,
            `(num_samples,)`, and `snr_db`, float32, `()`, infinite for none.

        Raises
        ------
        RuntimeError
            There is noise or there are rooms to make first, by `prepare`.
        """
        self._check_prepared()
        drawn: dict[str, torch.Tensor] = {}
        if self.rirs is not None:
            is_wet = self._draws_reverberation(rng)
            number = self.rirs.draw_number(rng) if is_wet else -1
            drawn["rir"] = torch.tensor(number)
        if self.noises:
            noise, snr_db = self._draw_noise(num_samples, rng) or (
                torch.zeros(num_samples),
                inf,
            )
            drawn |= {"noise": noise, "snr_db": torch.tensor(snr_db)}
        return drawn

    @property
    def is_prepared(self) -> bool:
        """Whether there is nothing to make, or it is made."""
        return not (self._makes_rooms or self._makes_noise)

    def prepare(self, files: Sequence[str | os.PathLike[str]]) -> None:
        """Make noise and rooms, where they are to be made and are not there.

        They are kept in the user's cache folder (`SSPS_PLUGIN_CACHE` names
        another one), for all runs. Of several processes one makes them, and
        the others wait. `add_views` and `add_crop_groups` call it; a pipeline
        of one's own does before it starts its workers.

        Arguments
        ---------
        files : sequence of str or os.PathLike
            The training utterances, of which babble is made.

        Raises
        ------
        ValueError
            There is no utterance.
        AudioError
            None of them can be read and is not silent.
        OSError
            The cache cannot be written.
        """
        num_known = len(self.notes)
        if self._makes_rooms:
            self.rirs = self._find_rirs(make_rooms(self.sample_rate))
            self._makes_rooms = False
        if self._makes_noise:
            self.noises = self._find_noises(make_noise(files, self.sample_rate))
            self._makes_noise = False
        for note in self.notes[num_known:]:
            logger.info(note)

    def _draws_reverberation(self, rng: np.random.Generator) -> bool:
        return bool(rng.random() < self.reverb_probability)

    def _draw_noise(
        self, num_samples: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, float] | None:
        """Draw a stretch of noise and a ratio in dB, or nothing."""
        if not self.noises or rng.random() >= self.noise_probability:
            return None
        category = list(self.noises)[rng.integers(len(self.noises))]
        noise = self.noises[category].draw_stretch(
            num_samples, rng, self.sample_rate
        )
        lowest, highest = self.snr_db[category]
        return noise, rng.uniform(lowest, highest)

    def _check_prepared(self) -> None:
        if not self.is_prepared:
            raise RuntimeError(
                f"Expected noise_folder {SYNTHETIC_NOISE!r} and rir_folder "
                f"{SIMULATED_ROOMS!r} to be made before they are used, got a "
                "waveform: call augmentation.prepare(files) with the training "
                "files first, before workers are started"
            )

    def _note_namesake(self, yaml_key: str, word: str) -> None:
        if os.path.isdir(word):
            self.notes.append(
                f"{yaml_key} {word} is what is made; the folder of this name "
                f"here is ./{word}."
            )

    def _find_rirs(self, rir_folder: str | os.PathLike[str]) -> AudioFolder:
        folder = find_rir_folder(rir_folder)
        self.notes.append(f"Room impulse responses come from {folder}.")
        rirs = AudioFolder(folder, "rir_folder")
        check_impulse_responses(rirs, folder)
        return rirs

    def _find_noises(
        self, noise_folder: str | os.PathLike[str]
    ) -> dict[str, AudioFolder]:
        categories = list(self.snr_db)
        folders = find_noise_folders(noise_folder, categories)
        self.notes.append(describe_noise(noise_folder, folders, categories))
        return {
            category: AudioFolder(folder, "noise_folder")
            for category, folder in folders.items()
        }

    def _check_ranges(self) -> None:
        if self.augment_on not in ("workers", "device"):
            raise ValueError(
                f"Expected workers or device, got {self.augment_on}: change "
                "augment_on"
            )
        for key in ("reverb_probability", "noise_probability"):
            value = getattr(self, key)
            if not 0.0 <= value <= 1.0:
                raise ValueError(
                    f"Expected a probability from 0 to 1, got {value}: change "
                    f"{key}"
                )
        for category, bounds in self.snr_db.items():
            if len(bounds) != 2 or bounds[0] > bounds[1]:
                raise ValueError(
                    f"Expected [lowest, highest] in dB for {category}, got "
                    f"{bounds}: change snr_db"
                )
        if not self.snr_db:
            raise ValueError(
                "Expected at least one category of noise, got none: change "
                "snr_db"
            )


def reverberate(
    samples: torch.Tensor, impulse_response: torch.Tensor
) -> torch.Tensor:
    """Convolve a waveform with a room's impulse response.

    Its length and power are kept, and so is the position of the speech: the
    direct path (the response's largest peak) takes no time.

    Arguments
    ---------
    samples : torch.Tensor
        float32, `(samples,)`.
    impulse_response : torch.Tensor
        float32, `(taps,)`.

    Returns
    -------
    torch.Tensor
        `(samples,)`; `samples` itself where either is silent.

    Example
    -------
    >>> delayed_echo = torch.tensor([0.0, 0.0, 1.0, 0.5])
    >>> reverberate(torch.tensor([1.0, 0.0, 0.0, 0.0]), delayed_echo)[:2]
    tensor([0.8944, 0.4472])
    """
    num_samples, num_taps = len(samples), len(impulse_response)
    direct = int(impulse_response.abs().argmax())
    size = next_fast_len(num_samples + num_taps - 1, real=True)
    # SciPy's transform of float32 takes half the time of PyTorch's on a CPU.
    spectrum = rfft(samples.numpy(), size)
    spectrum *= rfft(impulse_response.numpy(), size)
    full = irfft(spectrum, size, overwrite_x=True)
    wet = torch.from_numpy(full[direct : direct + num_samples])
    dry_power, wet_power = power(samples), power(wet)
    if not isfinite(wet_power):
        # Both are scaled as 32-bit integers: only the response's shape counts.
        peak = impulse_response[direct].abs()
        return reverberate(samples, impulse_response / peak)
    if dry_power == 0.0 or wet_power == 0.0:
        return samples
    return wet * (dry_power / wet_power) ** 0.5


def add_noise(
    samples: torch.Tensor, noise: torch.Tensor, snr_db: float
) -> torch.Tensor:
    """Add noise at a signal-to-noise ratio.

    Arguments
    ---------
    samples : torch.Tensor
        float32, `(samples,)`.
    noise : torch.Tensor
        float32, `(samples,)`.
    snr_db : float
        10 log10 of the ratio of powers, over the whole waveform.

    Returns
    -------
    torch.Tensor
        `(samples,)`; `samples` itself where the noise is silent.

    Example
    -------
    >>> add_noise(torch.ones(2), torch.tensor([8.0, -8.0]), snr_db=0.0)
    tensor([2., 0.])
    """
    noise_power = power(noise)
    if noise_power == 0.0:
        return samples
    gain = (power(samples) / noise_power) ** 0.5 * 10 ** (-snr_db / 20)
    return samples + gain * noise


def power(samples: torch.Tensor) -> float:
    """Return a waveform's mean square.

    Arguments
    ---------
    samples : torch.Tensor
        `(samples,)`.

    Returns
    -------
    float
        The mean square, not below 0.

    Example
    -------
    >>> power(torch.tensor([1.0, -1.0, 2.0, 0.0]))
    1.5
    """
    return float(torch.dot(samples, samples)) / len(samples)
