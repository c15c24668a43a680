"""A trained speaker encoder in use: embed audio, compare two recordings."""

from __future__ import annotations

import itertools
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import speechbrain.lobes.features
import torch
import torch.nn.functional as F
from hyperpyyaml import load_hyperpyyaml
from speechbrain.processing.features import STFT
from speechbrain.utils.distributed import infer_device
from torch import Tensor, nn

from ssps_plugin.dataio.audio import (
    SAMPLE_RATE,
    AudioError,
    check_audio,
    read_audio,
    tile,
)
from ssps_plugin.dataio.resampling import resample
from ssps_plugin.evaluation.embeddings import MAX_SECONDS, extract_embeddings
from ssps_plugin.frameworks import EmbeddingModel, Fbank
from ssps_plugin.pretrained.thresholds import Thresholds, find_thresholds
from ssps_plugin.pretrained.trained_run import (
    CONFIGURATION,
    EXPORT_DETAILS,
    FRONT_END,
    FRONT_END_KEY,
    Weights,
    is_run_folder,
    kept_random_states,
    load_run,
)

#: One input: a file, or a waveform.
Audio = str | os.PathLike[str] | Tensor | np.ndarray

#: Verification repeats audio shorter than this. Encoders cannot pad less than
#: about 40 ms, and nobody is told by so little.
SHORTEST_SECONDS = 0.1
# As in verification: most audio in a batch.
_BATCH_SECONDS = 100.0
_NUM_THREADS = 8
_NUM_SHOWN = 3  # files in an error message
_LOWEST_SAMPLE_RATE = 1000  # as of files


@dataclass(frozen=True)
class Comparison:
    """Whether two recordings are of one speaker.

    Arguments
    ---------
    score : float
        The cosine of the two embeddings, in [-1, 1].
    threshold : float or None
        What the score is compared with; None if the encoder has none.
    same_speaker : bool or None
        Whether the score reaches the threshold; None without one.
    threshold_source : str
        How the threshold was chosen, or why there is none.
    """

    score: float
    threshold: float | None
    same_speaker: bool | None
    threshold_source: str


class SpeakerEncoder(nn.Module):
    """A trained encoder: files or waveforms to embeddings and decisions.

    Make it with `from_run` or `from_export`. It is in eval mode, and its
    parameters take no gradient.

    Arguments
    ---------
    embedding_model : EmbeddingModel
        Features, normalisation and encoder.
    sample_rate : int
        Samples per second that the model takes.
    thresholds : Thresholds, optional
        For decisions.
    details : mapping, optional
        What is known about the model: its settings and results.
    device : torch.device or str, optional
        A GPU if there is one, by default.

    Example
    -------
    >>> from speechbrain.lobes.features import Fbank
    >>> from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
    >>> from speechbrain.processing.features import InputNormalization
    >>> model = EmbeddingModel(
    ...     Fbank(n_mels=40),
    ...     InputNormalization(norm_type="sentence"),
    ...     ECAPA_TDNN(40, lin_neurons=8, channels=[16] * 5),
    ... )
    >>> encoder = SpeakerEncoder(model, device="cpu")
    >>> wav = torch.randn(8000)
    >>> encoder.embed([wav, wav[:4000]]).shape
    torch.Size([2, 8])
    >>> comparison = encoder.compare(wav, wav, threshold=0.5)
    >>> round(comparison.score, 4), comparison.same_speaker
    (1.0, True)
    """

    def __init__(
        self,
        embedding_model: EmbeddingModel,
        sample_rate: int = SAMPLE_RATE,
        thresholds: Thresholds | None = None,
        details: Mapping[str, Any] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.embedding_model = embedding_model
        self.sample_rate = sample_rate
        self.thresholds = Thresholds({}) if thresholds is None else thresholds
        self.details = dict(details or {})
        self.eval().requires_grad_(False)
        self.to(_check_device(device))

    @classmethod
    def from_run(
        cls,
        folder: str | os.PathLike[str],
        *,
        weights: Weights = "averaged",
        device: torch.device | str | None = None,
    ) -> SpeakerEncoder:
        """Load the encoder of a trained run, and change nothing else.

        No folder is made, no seed is set, nothing is written. The run may have
        moved; neither its corpus nor its noise need be there.

        Arguments
        ---------
        folder : str or os.PathLike
            The run's output folder, such as `results/simclr_ssps/1986`.
        weights : str or int
            `"averaged"` over the last epochs, as the run's results are;
            `"best"`, the epoch with the lowest error rate in training;
            `"last"`; or an epoch whose snapshot was kept.
        device : torch.device or str, optional
            A GPU if there is one, by default.

        Returns
        -------
        SpeakerEncoder

        Raises
        ------
        FileNotFoundError
            The folder is no run's, has no checkpoint, or has no snapshot of
            the epoch that is asked for.
        ValueError
            The weights have no such name, or the model cannot be built.
        RuntimeError
            All checkpoints are damaged, or the device is not there.
        """
        run = load_run(folder, weights)
        loaded = run.loaded
        thresholds = find_thresholds(
            run.folder, loaded.epochs, loaded.averaged_epochs
        )
        details = {
            "weights": loaded.weights,
            "epochs": loaded.epochs,
            "averaged_epochs": loaded.averaged_epochs,
            "framework": run.framework,
            "true_positives": bool(run.settings.get("true_positives")),
        }
        return cls(
            run.embedding_model, run.sample_rate, thresholds, details, device
        )

    @classmethod
    def from_export(
        cls,
        folder: str | os.PathLike[str],
        *,
        device: torch.device | str | None = None,
    ) -> SpeakerEncoder:
        """Load a folder that `export_run` or `ssps export` has written.

        Its `hyperparams.yaml` says which objects are built, as anywhere in
        SpeechBrain: load only folders that you trust.

        Arguments
        ---------
        folder : str or os.PathLike
            The export, a local folder.
        device : torch.device or str, optional
            A GPU if there is one, by default.

        Returns
        -------
        SpeakerEncoder

        Raises
        ------
        FileNotFoundError
            The folder is no export.
        ValueError
            It is a run's, or a file in it is damaged.
        RuntimeError
            Its weights are of another model, or the device is not there.
        """
        path = find_export_folder(folder)
        details = _read_details(path)
        with kept_random_states():
            model = _load_export(path)
        thresholds = Thresholds(
            details.get("results") or {},
            details.get("missing_threshold") or Thresholds({}).missing,
        )
        rate = int(details.get("sample_rate", SAMPLE_RATE))
        return cls(model, rate, thresholds, details, device)

    @classmethod
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        *,
        weights: Weights | None = None,
        device: torch.device | str | None = None,
    ) -> SpeakerEncoder:
        """Load the encoder of a run or an export, whichever a folder is.

        Arguments
        ---------
        folder : str or os.PathLike
            The folder, or the `hyperparams.yaml` in it.
        weights : str or int, optional
            Of a run: as for `from_run`.
        device : torch.device or str, optional
            A GPU if there is one, by default.

        Returns
        -------
        SpeakerEncoder

        Raises
        ------
        FileNotFoundError, ValueError, RuntimeError
            As `from_run` and `from_export`; a ValueError also if weights are
            asked for by name, of an export.
        """
        path = pathlib.Path(folder)
        if path.name == CONFIGURATION:
            path = path.parent
        has_weights = (path / "embedding_model.ckpt").is_file()
        if not has_weights or is_run_folder(path):
            which = "averaged" if weights is None else weights
            return cls.from_run(path, weights=which, device=device)
        if weights is not None:
            raise ValueError(
                f"Expected no weights to choose from, since {path} is an "
                f"export and has one set of them, got {weights}: leave weights "
                "out."
            )
        return cls.from_export(path, device=device)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        # The first: a list of all would take as long as a short recording.
        tensors = itertools.chain(self.parameters(), self.buffers())
        first = next(tensors, None)
        return torch.device("cpu") if first is None else first.device

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding."""
        second = torch.zeros(1, self.sample_rate, device=self.device)
        with torch.no_grad():
            return int(self.embedding_model(second).shape[1])

    @property
    def threshold(self) -> float | None:
        """The cosine from which on two recordings are of one speaker."""
        return self.thresholds.value()

    @property
    def threshold_source(self) -> str:
        """How the threshold was chosen, or why there is none."""
        return self.thresholds.source()

    def forward(self, wavs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute embeddings of a batch, as the embedding model does.

        Arguments
        ---------
        wavs : torch.Tensor
            `(batch, samples)` float, at `sample_rate`.
        lengths : torch.Tensor, optional
            `(batch,)`, relative to the longest; all 1 by default.

        Returns
        -------
        torch.Tensor
            `(batch, dim)`.
        """
        embeddings: Tensor = self.embedding_model(wavs, lengths)
        return embeddings

    def embed(
        self,
        inputs: Audio | Sequence[Audio],
        *,
        sample_rate: int | None = None,
        progress: bool = False,
    ) -> Tensor:
        """Embed files or waveforms, each at its full length.

        The embeddings are those of `verify.py`: the encoder's output, *not*
        scaled to norm 1 (the cosine is what compares them). They do not depend
        on what else is embedded: only inputs of as many frames share a batch,
        which holds 100 seconds at most. An input of more than 600 seconds is
        embedded in pieces, and the mean of their directions is returned.

        Arguments
        ---------
        inputs : path, torch.Tensor, numpy.ndarray, or a sequence of them
            Files that libsndfile reads, at any sample rate; channels are
            averaged. Waveforms are `(samples,)` float, usually in [-1, 1].
        sample_rate : int, optional
            Of the waveforms, in Hz; the model's own by default. Files say
            theirs.
        progress : bool
            Show a progress bar.

        Returns
        -------
        torch.Tensor
            `(inputs, dim)` float32 on the CPU; one input gives one row.

        Raises
        ------
        ValueError
            There are no inputs, or one is too short, not finite, or of another
            shape or type.
        AudioError
            Files cannot be read; the message says which.
        """
        rate = self._check_rate(sample_rate)
        sources = [
            _make_source(one, number, rate, self.sample_rate)
            for number, one in enumerate(_as_list(inputs))
        ]
        if not sources:
            raise ValueError(
                "Expected at least one file or waveform to embed, got none: "
                "change inputs."
            )
        _measure(sources)
        with _full_precision(self.device):
            embeddings = extract_embeddings(
                lambda wavs, lengths: self.embedding_model(wavs),
                cast(Any, sources),  # files of a kind, read by themselves
                batch_seconds=_BATCH_SECONDS * self.sample_rate / SAMPLE_RATE,
                device=self.device,
                read=_Source.read_from,
                seconds=lambda source: cast(_Source, source).seconds,
                progress=progress,
                max_seconds=MAX_SECONDS,
                frame_samples=_frame_samples(self.embedding_model.features),
            )
        _check_embeddings(embeddings, sources)
        return embeddings

    def compare(
        self,
        a: Audio,
        b: Audio,
        *,
        threshold: float | str | None = None,
        sample_rate: int | None = None,
    ) -> Comparison:
        """Compare two recordings: are they of the same speaker?

        SpeechBrain's `verify_files` has one threshold, 0.25, for all models,
        which is wrong for this one: cosines of different encoders lie in
        different ranges.

        Arguments
        ---------
        a, b : path, torch.Tensor or numpy.ndarray
            As for `embed`.
        threshold : float or str, optional
            A score, or which of the encoder's thresholds to take: that of a
            rate of `"false_acceptance"`, of the `"eer"`, of `"min_dcf_p01"` or
            `"min_dcf_p05"`. By default the encoder's own (`threshold`).
        sample_rate : int, optional
            Of waveforms, in Hz.

        Returns
        -------
        Comparison
            Without a decision where the encoder has no threshold and none is
            given.

        Raises
        ------
        ValueError
            A threshold is asked for by name, and the encoder has no such one;
            or an input is not as `embed` takes it.
        """
        if threshold is None:
            value, source = self.threshold, self.threshold_source
        elif isinstance(threshold, str):
            value = self.thresholds.value(threshold)
            source = self.thresholds.source(threshold)
        else:
            value, source = float(threshold), "as given"
            if not math.isfinite(value):
                raise ValueError(
                    f"Expected a finite threshold, got {value}: change it."
                )
        pair = F.normalize(self.embed([a, b], sample_rate=sample_rate), dim=1)
        score = float(pair[0] @ pair[1])
        same = None if value is None else score >= value
        return Comparison(score, value, same, source)

    def _check_rate(self, sample_rate: int | None) -> int:
        if sample_rate is None:
            return self.sample_rate
        rate = int(sample_rate)
        if rate != sample_rate or rate < _LOWEST_SAMPLE_RATE:
            raise ValueError(
                f"Expected a sample rate of at least {_LOWEST_SAMPLE_RATE} Hz, "
                f"a whole number, got {sample_rate}: change sample_rate."
            )
        return rate


# -- loading an export -----------------------------------------------------


def find_export_folder(folder: str | os.PathLike[str]) -> pathlib.Path:
    """Return the folder of an export.

    Raises
    ------
    FileNotFoundError
        The folder is none.
    ValueError
        It is a run's.
    """
    path = pathlib.Path(folder)
    if is_run_folder(path):
        raise ValueError(
            f"Expected the folder of an export, got {path}, which is a run's: "
            "load it by SpeakerEncoder.from_run, or export it."
        )
    lacking = [
        name
        for name in (CONFIGURATION, "embedding_model.ckpt")
        if not (path / name).is_file()
    ]
    if lacking:
        found = f"without {' and '.join(lacking)}"
        if not path.is_dir():
            found = "which is a file" if path.exists() else "which is not there"
        raise FileNotFoundError(
            "Expected the folder of an export, as ssps export writes it, got "
            f"{path}, {found}: change the folder."
        )
    return path


def _load_export(folder: pathlib.Path) -> EmbeddingModel:
    """Build the model of an export, and load its weights."""
    overrides = {}
    if (folder / FRONT_END).is_dir():  # wherever it was when it was written
        overrides[FRONT_END_KEY] = str(folder / FRONT_END)
    with open(folder / CONFIGURATION, encoding="utf-8") as file:
        hparams = load_hyperpyyaml(file, overrides)
    try:
        modules = hparams["modules"]
        names = ("compute_features", "mean_var_norm", "embedding_model")
        parts = [modules[name] for name in names]
        pretrainer = hparams["pretrainer"]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"Expected modules and pretrainer in {folder / CONFIGURATION}, as "
            f"SpeechBrain's speaker encoders have them, got none: {error!r}. "
            "Export again."
        ) from None
    for name, module in pretrainer.loadables.items():
        path = folder / f"{name}.ckpt"
        load = getattr(module, "_load", None)  # of statistics
        if load is not None:
            load(path)
        else:
            state = torch.load(path, "cpu", weights_only=True)
            module.load_state_dict(state)
    return EmbeddingModel(*parts)


def _read_details(folder: pathlib.Path) -> dict[str, Any]:
    """Read what an export says about itself; nothing if it is another's."""
    path = folder / EXPORT_DETAILS
    if not path.is_file():
        return {}
    try:
        details = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        details = str(error)
    if not isinstance(details, dict):
        raise ValueError(
            f"Expected a JSON object in {path}, got {str(details)[:80]}: the "
            "file is damaged, export again."
        )
    return details


def _check_device(device: torch.device | str | None) -> torch.device:
    """Return a device that is there.

    Raises
    ------
    RuntimeError
        It is not.
    """
    try:
        checked = torch.device(infer_device() if device is None else device)
        torch.empty(1, device=checked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise RuntimeError(
            f"Expected a device that is there, such as cpu, got {device}: "
            f"{reason} Change device."
        ) from error
    return checked


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Multiply in float32, which SpeechBrain gives up on a GPU (TF32).

    Else an embedding would depend, in the third digit, on its batch.
    """
    if device.type != "cuda":
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def _frame_samples(features: nn.Module) -> int:
    """Return how many samples zeros may lengthen a waveform to.

    Where a Fourier transform pads by zeros itself, those behind a waveform
    change nothing, unless they make one more frame.
    """
    stft: Any = getattr(features, "compute_STFT", None)
    if (
        type(features) in (Fbank, speechbrain.lobes.features.Fbank)
        and type(stft) is STFT
        and (stft.center, stft.pad_mode) == (True, "constant")
    ):
        return int(stft.hop_length)
    return 1


# -- inputs ----------------------------------------------------------------


class _Source:
    """One input, which is read when its turn comes."""

    def __init__(
        self,
        name: str,
        measure: Callable[[], float],
        read: Callable[..., Tensor],
    ) -> None:
        self.name = name
        self.measure = measure
        self.read = read
        self.seconds = 0.0  # until it is measured

    def read_from(
        self, start_seconds: float = 0.0, seconds: float | None = None
    ) -> Tensor:
        return self.read(start_seconds, seconds)


def _as_list(inputs: Audio | Iterable[Audio]) -> list[Audio]:
    single = (str, os.PathLike, Tensor, np.ndarray)
    if isinstance(inputs, single):
        return [inputs]
    return list(inputs)


def _make_source(
    one: Audio, number: int, from_rate: int, to_rate: int
) -> _Source:
    if isinstance(one, (str, os.PathLike)):
        path = os.fspath(one)

        def read_file(start: float, seconds: float | None) -> Tensor:
            return read_audio(path, start, seconds, sample_rate=to_rate)

        return _Source(path, lambda: check_audio(path), read_file)
    name = f"waveform {number}"
    wav = _check_waveform(one, name)

    def read_waveform(start: float, seconds: float | None) -> Tensor:
        stretch = wav[_place(len(wav), from_rate, start, seconds)]
        if from_rate != to_rate:
            stretch = resample(stretch, from_rate, to_rate)
        if seconds is not None:
            stretch = tile(stretch, round(seconds * to_rate))
        return stretch

    return _Source(name, lambda: len(wav) / from_rate, read_waveform)


def _place(
    num_samples: int, rate: int, start: float, seconds: float | None
) -> slice:
    """Return where a stretch is, as of a file."""
    if seconds is None:
        return slice(None)
    count = min(math.ceil(round(seconds * rate, 3)), num_samples)
    first = min(round(start * rate), num_samples - count)
    return slice(first, first + count)


def _check_waveform(one: Any, name: str) -> Tensor:
    """Return a waveform as float32 on the CPU.

    Raises
    ------
    ValueError
        It is none, or is not finite.
    """
    wav = torch.as_tensor(one) if isinstance(one, np.ndarray) else one
    if not isinstance(wav, Tensor):
        raise ValueError(
            "Expected paths, or waveforms as torch.Tensor or numpy.ndarray, "
            f"got {type(one).__name__} as {name}: change inputs."
        )
    if wav.ndim != 1:
        raise ValueError(
            f"Expected a waveform of shape (samples,), got {tuple(wav.shape)} "
            f"as {name}: average its channels by .mean(0), or give a batch as "
            "a list of waveforms."
        )
    if not wav.is_floating_point():
        raise ValueError(
            "Expected a waveform of floats between -1 and 1, got "
            f"{wav.dtype} as {name}: divide by the largest number of its type "
            "(32768 for int16)."
        )
    wav = wav.detach().to("cpu", torch.float32)
    num_bad = int((~wav.isfinite()).sum())
    if num_bad:
        raise ValueError(
            f"Expected finite samples, got {num_bad} of {len(wav)} that are "
            f"nan or infinite in {name}: repair it, or leave it out."
        )
    return wav


def _measure(sources: Sequence[_Source]) -> None:
    """Note the seconds of all inputs.

    Raises
    ------
    AudioError
        Files cannot be read.
    ValueError
        An input is too short.
    """
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        found = list(threads.map(_error_of_measuring, sources))
    errors = [str(error) for error in found if error is not None]
    if errors:
        more = len(errors) - _NUM_SHOWN
        raise AudioError(
            f"Expected audio that can be read, got {len(errors)} of "
            f"{len(sources)} inputs that cannot be: "
            f"{'; '.join(errors[:_NUM_SHOWN])}"
            f"{f'; and {more} more' if more > 0 else ''}."
        )
    short = [one for one in sources if one.seconds < SHORTEST_SECONDS]
    if short:
        named = ", ".join(
            f"{one.seconds:.3f} s in {one.name}" for one in short[:_NUM_SHOWN]
        )
        more = len(short) - _NUM_SHOWN
        raise ValueError(
            f"Expected at least {SHORTEST_SECONDS} s of audio to embed, got "
            f"{named}{f' and {more} more' if more > 0 else ''}: leave it out, "
            "or record more (from a few seconds on, embeddings are reliable)."
        )


def _error_of_measuring(source: _Source) -> AudioError | None:
    try:
        source.seconds = float(source.measure())
    except AudioError as error:
        return error
    return None


def _check_embeddings(embeddings: Tensor, sources: Sequence[_Source]) -> None:
    bad = (~embeddings.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if bad:
        named = ", ".join(sources[n].name for n in bad[:_NUM_SHOWN])
        raise RuntimeError(
            f"Expected finite embeddings, got {len(bad)} of {len(sources)} "
            f"that are not, of {named}: check the audio, and the weights."
        )
