"""Time to embed one hour of speech on one core.

    python benchmarks/embedding.py [--minutes 6] [--repeats 5]

Files of noise (16 kHz, 16 bits) in a temporary folder, of 2 to 3 s as MiniVox
and of 4 to 12 s as most of VoxCeleb has, lengths in steps of 40 ms. Encoders
with weights that are not trained: hparams/simclr_ssps.yaml's for VoxCeleb, and
with hparams/minivox.yaml over it. Each is exported, and embeds the same files
by `SpeakerEncoder.embed` (files of equal length share a batch), by the same one
file after the other, by SpeechBrain's `encode_batch` loop over the exported
folder, by the program of torch.export and by onnxruntime; reading is included.
The methods take turns, and their embeddings are compared.

Processor time of one process, medians, as seconds per hour of speech: compare
within a table. Fewer minutes have fewer files of equal length than an hour has.
"""

import argparse
import logging
import pathlib
import tempfile
from collections.abc import Callable

import numpy as np
import onnxruntime
import soundfile
import torch
from hyperpyyaml import load_hyperpyyaml
from one_core import median_cpu_seconds, use_one_core
from speechbrain.inference.speaker import EncoderClassifier

from ssps_plugin.pretrained import SpeakerEncoder, export_onnx, export_torch
from ssps_plugin.pretrained.export import write_export

RATE = 16000
STEP_SECONDS = 0.04
CORPORA = {"2 to 3 s": (2.0, 3.0), "4 to 12 s": (4.0, 12.0)}
# As in hparams/simclr_ssps.yaml, and in hparams/minivox.yaml.
SIZES = {
    "VoxCeleb's, 1024 channels": ([1024, 1024, 1024, 1024, 3072], 128, 512),
    "MiniVox's, 32 channels": ([32, 32, 32, 32, 96], 32, 128),
}
# The large one takes 40 times as long: it embeds every tenth file.
STRIDES = (10, 1)
MODEL = """
features: !new:ssps_plugin.frameworks.Fbank {{n_fft: 512, n_mels: 40}}
normalization: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
encoder: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: 40
    channels: {}
    attention_channels: {}
    lin_neurons: {}
embedding_model: !new:ssps_plugin.frameworks.EmbeddingModel
    features: !ref <features>
    normalization: !ref <normalization>
    encoder: !ref <encoder>
"""

Embed = Callable[[], np.ndarray]


def write_files(
    folder: pathlib.Path, lengths: tuple[float, float], minutes: float
) -> list[str]:
    """Write files of noise."""
    folder.mkdir()
    rng = np.random.default_rng(1986)
    files, seconds = [], 0.0
    while seconds < 60 * minutes:
        steps = rng.integers(*(round(one / STEP_SECONDS) for one in lengths))
        num_samples = round(steps * STEP_SECONDS * RATE)
        path = folder / f"{len(files)}.wav"
        soundfile.write(path, rng.normal(0, 0.1, num_samples), RATE)
        files.append(str(path))
        seconds += num_samples / RATE
    return files


class Methods:
    """Ways to embed files with one model, by name."""

    def __init__(self, description: str, folder: pathlib.Path) -> None:
        torch.manual_seed(1986)
        model = load_hyperpyyaml(description)["embedding_model"].eval()
        export = write_export(folder / "export", model, description, {})
        self.encoder = SpeakerEncoder.from_export(export, device="cpu")
        self.speechbrain = EncoderClassifier.from_hparams(
            str(export), savedir=str(folder / "links")
        )
        path = export_torch(self.encoder, folder / "encoder.pt2")
        self.program = torch.export.load(path).module()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(export_onnx(self.encoder, folder / "encoder.onnx")),
            options,
            providers=["CPUExecutionProvider"],
        )

    def of(self, files: list[str]) -> dict[str, Embed]:
        """Return what embeds files: `() -> (files, dim)`."""

        def one_by_one(embed: Callable[[str], np.ndarray]) -> Embed:
            return lambda: np.concatenate([embed(file) for file in files])

        return {
            "embed(files)": lambda: self.encoder.embed(files).numpy(),
            "embed(file), one by one": one_by_one(
                lambda file: self.encoder.embed(file).numpy()
            ),
            "SpeechBrain's encode_batch loop": one_by_one(self._speechbrain),
            "torch.export, one by one": one_by_one(self._torch),
            "onnxruntime, one by one": one_by_one(self._onnx),
        }

    def _speechbrain(self, file: str) -> np.ndarray:
        wav = self.speechbrain.load_audio(file)
        return self.speechbrain.encode_batch(wav[None])[0].numpy()

    def _torch(self, file: str) -> np.ndarray:
        wav, _ = soundfile.read(file, dtype="float32")
        with torch.no_grad():
            return self.program(torch.from_numpy(wav[None])).numpy()

    def _onnx(self, file: str) -> np.ndarray:
        wav, _ = soundfile.read(file, dtype="float32")
        return self.session.run(None, {"waveform": wav[None]})[0]


def print_table(methods: Methods, files: list[str], repeats: int) -> None:
    """Print seconds an hour of speech, and ratios to the first method."""
    lengths = [soundfile.info(file).frames / RATE for file in files]
    hours = sum(lengths) / 3600
    print(
        f"{len(files)} of {len(set(lengths))} lengths, {3600 * hours:.0f} s\n"
    )
    calls = methods.of(files)
    embeddings = [embed() for embed in calls.values()]
    seconds = median_cpu_seconds(list(calls.values()), repeats)
    scale = np.abs(embeddings[0]).max()
    print("| method | s per hour | of embed(files) | largest difference |")
    print("| --- | --- | --- | --- |")
    for name, one, found in zip(calls, seconds, embeddings, strict=True):
        difference = np.abs(found - embeddings[0]).max() / scale
        ratio = one / seconds[0]
        print(
            f"| {name} | {one / hours:.1f} | {ratio:.2f} | {difference:.0e} |"
        )


def main() -> None:
    """Print a table for each encoder and each corpus."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    use_one_core()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        corpora = {
            title: write_files(folder / f"{number}", lengths, options.minutes)
            for number, (title, lengths) in enumerate(CORPORA.items())
        }
        for (size, numbers), stride in zip(SIZES.items(), STRIDES, strict=True):
            place = folder / str(numbers[-1])
            place.mkdir()
            methods = Methods(MODEL.format(*numbers), place)
            for title, corpus in corpora.items():
                print(f"\n{size}, files of {title}: ", end="")
                print_table(methods, corpus[::stride], options.repeats)


if __name__ == "__main__":
    main()
