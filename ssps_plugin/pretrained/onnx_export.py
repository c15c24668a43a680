"""Export a speaker encoder to ONNX or to a program of torch.export.

Both take waveforms and return embeddings, and run without this package and
without SpeechBrain. A program for numpy, soundfile and onnxruntime alone:

    import numpy as np, onnxruntime, soundfile

    session = onnxruntime.InferenceSession(
        "speaker_encoder.onnx", providers=["CPUExecutionProvider"]
    )
    about = session.get_modelmeta().custom_metadata_map

    def embed(file):
        wav, rate = soundfile.read(file, dtype="float32", always_2d=True)
        assert rate == int(about["sample_rate"]), "resample it first"
        return session.run(None, {"waveform": wav.mean(1)[None]})[0][0]

    a, b = embed("A.wav"), embed("B.wav")
    score = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    print(score)
    if "threshold" in about:  # not where the run had no trials
        print(score >= float(about["threshold"]), about["threshold_source"])

The program of torch.export needs torch alone:

    program = torch.export.load("speaker_encoder.pt2").module()
    embeddings = program(waveforms)  # (batch, samples) to (batch, dim)
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import itertools
import json
import logging
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from ssps_plugin.atomic_write import flush
from ssps_plugin.dataio.audio import SAMPLE_RATE
from ssps_plugin.evaluation.results import package_version
from ssps_plugin.frameworks import EmbeddingModel
from ssps_plugin.pretrained.speaker_encoder import SpeakerEncoder
from ssps_plugin.pretrained.traceable import TraceableModel
from ssps_plugin.pretrained.trained_run import kept_random_states

#: Names of the input, `(batch, samples)`, and of the output, `(batch, dim)`.
INPUT, OUTPUT = "waveform", "embedding"
#: Of ONNX's operators: PyTorch's exporter starts at 18, and every onnxruntime
#: since 1.14 (2023) reads it.
OPSET = 18
#: Name of the file of JSON inside a program of torch.export.
METADATA_FILE = "speaker_encoder.json"

_NEEDED = ("onnx", "onnxruntime", "onnxscript")
# onnxruntime 1.18 reads no newer format.
_LARGEST_IR_VERSION = 10
# Batch sizes and seconds for which a file is compared with the model.
_CHECKED = tuple(itertools.product((1, 3), (0.3, 1.37)))
# Largest difference, as a fraction of the largest number in an embedding.
_TOLERANCE = 1e-4


def export_onnx(
    encoder: SpeakerEncoder | EmbeddingModel,
    path: str | os.PathLike[str],
    *,
    opset: int = OPSET,
) -> pathlib.Path:
    """Write an encoder with its features as one ONNX file.

    Input `waveform`, `(batch, samples)` float32 at the model's sample rate, of
    any length from 0.1 s on and in a batch of any size; output `embedding`,
    `(batch, dim)`, as `SpeakerEncoder.embed` returns it (not scaled to norm 1).

    All waveforms of a batch are of *one length*: pad nothing. Padding would
    change the embeddings at the ends of the shorter ones, as it does in any
    convolutional encoder. Other lengths are other calls. An hour in one piece
    takes gigabytes: `embed` cuts what is longer than 10 minutes, this does not.

    The file's metadata, text all: `sample_rate`, `embedding_dim`,
    `ssps_plugin_version`, `threshold_source`, and, if the encoder has one,
    `threshold`. Before it is written, it is compared with the model.

    Arguments
    ---------
    encoder : SpeakerEncoder or EmbeddingModel
        It is not changed. An EmbeddingModel has no threshold.
    path : str or os.PathLike
        The file, replaced if it is there. It appears whole or not at all.
    opset : int
        Version of ONNX's operators, 18 or above.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ValueError
        A part of the encoder cannot be traced (the message says which), or
        the opset is not one that can be written.
    RuntimeError
        The extra `onnx` is not installed, or the file computes something else.
    """
    check_onnx_installed()
    import onnx
    import onnxruntime

    newest = onnx.defs.onnx_opset_version()
    if not OPSET <= opset <= newest:
        raise ValueError(
            f"Expected an opset from {OPSET} to {newest}, got {opset}: change "
            "opset."
        )
    model, metadata = _traceable(encoder)
    program = trace(model, int(metadata["sample_rate"]))
    with _quiet(), kept_random_states():
        try:
            written: Any = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=opset,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # of whatever kind the exporter has
            raise _untraceable(model, "ONNX", error) from error
    _rename_clashes(written.model.graph)
    proto = written.model_proto
    _remove_traces(proto)
    _name_dimensions(proto)
    proto.ir_version = min(proto.ir_version, _LARGEST_IR_VERSION)
    proto.producer_name = "ssps_plugin"
    onnx.helper.set_model_props(
        proto, {key: str(value) for key, value in metadata.items()}
    )
    content = proto.SerializeToString()
    session = onnxruntime.InferenceSession(
        content, providers=["CPUExecutionProvider"]
    )
    _check_same_embeddings(
        encoder,
        lambda wavs: torch.from_numpy(
            session.run(None, {INPUT: wavs.numpy()})[0]
        ),
        metadata,
    )
    return _write(path, content)


def export_torch(
    encoder: SpeakerEncoder | EmbeddingModel, path: str | os.PathLike[str]
) -> pathlib.Path:
    """Write an encoder with its features as a program of torch.export.

    `torch.export.load(path).module()` maps waveforms, `(batch, samples)` at
    the model's sample rate, to embeddings, `(batch, dim)`, as in `export_onnx`:
    of any length from 0.1 s on, of one length in a batch. Nothing but torch is
    needed to load and run it. What ONNX has as metadata is in the file, as
    JSON:

        about = {"speaker_encoder.json": ""}
        program = torch.export.load(path, extra_files=about)
        json.loads(about["speaker_encoder.json"])["threshold"]

    Arguments
    ---------
    encoder : SpeakerEncoder or EmbeddingModel
        It is not changed.
    path : str or os.PathLike
        The file, usually `.pt2`, replaced if it is there. It appears whole or
        not at all.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ValueError
        A part of the encoder cannot be traced; the message says which.
    RuntimeError
        The program computes something else.
    """
    model, metadata = _traceable(encoder)
    program = trace(model, int(metadata["sample_rate"]))
    content = io.BytesIO()
    extra_files = {METADATA_FILE: json.dumps(metadata)}
    with _quiet():
        torch.export.save(program, content, extra_files=extra_files)
        content.seek(0)
        loaded = torch.export.load(content)
    _check_same_embeddings(encoder, loaded.module(), metadata)
    return _write(path, content.getvalue())


def check_onnx_installed() -> None:
    """Check that the extra `onnx` is installed.

    Raises
    ------
    RuntimeError
        It is not.
    """
    missing = [name for name in _NEEDED if not importlib.util.find_spec(name)]
    if missing:
        raise RuntimeError(
            f"Expected {', '.join(missing)}, to write and check ONNX: pip "
            "install 'ssps_plugin[onnx]'."
        )


def trace(model: TraceableModel, sample_rate: int) -> ExportedProgram:
    """Trace a model for any number and length of waveforms.

    Arguments
    ---------
    model : TraceableModel
        The model.
    sample_rate : int
        Samples per second of the waveforms.

    Returns
    -------
    torch.export.ExportedProgram
        `(batch, samples) -> (batch, dim)`.

    Raises
    ------
    ValueError
        A part of it cannot be traced; the message says which parts it has.
    """
    # Numbers that no layer has, or a tracer could take one for the other.
    example = torch.zeros(3, sample_rate + 7)
    with _quiet(), kept_random_states(), torch.no_grad():
        try:
            program = torch.export.export(
                model,
                (example,),
                dynamic_shapes=({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},),
                strict=False,
            )
        except Exception as error:  # of whatever kind the tracer has
            raise _untraceable(model, "torch.export", error) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program


def _traceable(
    encoder: SpeakerEncoder | EmbeddingModel,
) -> tuple[TraceableModel, dict[str, Any]]:
    """Return what is traced, and what the file says about it."""
    metadata: dict[str, Any] = {}
    if isinstance(encoder, SpeakerEncoder):
        model, rate = encoder.embedding_model, encoder.sample_rate
        if encoder.threshold is not None:
            metadata["threshold"] = encoder.threshold
        metadata["threshold_source"] = encoder.threshold_source
    elif isinstance(encoder, EmbeddingModel):
        model, rate = encoder, _find_sample_rate(encoder)
    else:
        raise ValueError(
            "Expected a SpeakerEncoder or an EmbeddingModel, got "
            f"{type(encoder).__name__}: change encoder."
        )
    traceable = TraceableModel(model)
    with torch.no_grad():
        dim = traceable(torch.zeros(1, rate)).shape[1]
    version = package_version()
    return traceable, {
        "sample_rate": rate,
        "embedding_dim": dim,
        **metadata,
        "ssps_plugin_version": "unknown" if version is None else version,
    }


def _find_sample_rate(model: EmbeddingModel) -> int:
    """Return the sample rate that the features name, else the usual one."""
    rates = [
        int(rate)
        for module in model.features.modules()
        if isinstance(rate := getattr(module, "sample_rate", None), int)
    ]
    return rates[0] if rates else SAMPLE_RATE


def _untraceable(
    model: TraceableModel, program: str, error: Exception
) -> ValueError:
    parts = ", ".join(
        f"{name} {type(part).__name__}" for name, part in model.named_children()
    )
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ValueError(
        f"Expected parts that {program} can trace, got {parts}: "
        f"{lines[0][:300]}. "
        "Use SpeakerEncoder for this model, or another features or encoder."
    )


def _rename_clashes(graph: Any) -> None:
    """Rename what inside a model has the name of its input or output."""
    ends = {id(value) for value in (*graph.inputs, *graph.outputs)}
    for node in graph:
        for value in node.outputs:
            if value.name in (INPUT, OUTPUT) and id(value) not in ends:
                value.name = f"inner_{value.name}"


def _remove_traces(proto: Any) -> None:
    """Remove what the exporter noted of its own work: half of a small file."""
    graph = proto.graph
    parts = (graph.node, graph.input, graph.output, graph.initializer)
    for part in (*itertools.chain(*parts), graph):
        part.ClearField("metadata_props")
    graph.ClearField("value_info")


def _name_dimensions(proto: Any) -> None:
    """Name the dimensions that vary by what they are."""
    for value, names in (
        (proto.graph.input[0], ("batch", "samples")),
        (proto.graph.output[0], ("batch", None)),
    ):
        dims = value.type.tensor_type.shape.dim
        for dim, name in zip(dims, names, strict=True):
            if name is not None:
                dim.dim_param = name


def _check_same_embeddings(
    encoder: SpeakerEncoder | EmbeddingModel,
    program: Callable[[Tensor], Tensor],
    metadata: dict[str, Any],
) -> None:
    """Compare a program with the model, for several lengths and batches.

    Raises
    ------
    RuntimeError
        They differ by more than rounding.
    """
    model = encoder
    if isinstance(encoder, SpeakerEncoder):
        model = encoder.embedding_model
    model = copy.deepcopy(model).cpu().float().eval()
    rng = np.random.default_rng(0)  # leaves torch's generator alone
    for num, seconds in _CHECKED:
        samples = round(seconds * int(metadata["sample_rate"]))
        noise = rng.normal(0, 0.1, (num, samples)).astype(np.float32)
        wavs = torch.from_numpy(noise)
        with torch.no_grad(), kept_random_states():
            expected, found = model(wavs), program(wavs)
        difference = float((found - expected).abs().max())
        if not difference <= _TOLERANCE * max(1, float(expected.abs().max())):
            raise RuntimeError(
                "Expected the embeddings of the model, got others from the "
                f"exported program, which differ by {difference:.2g} for {num} "
                f"waveforms of {seconds} s. Nothing was written: use "
                "SpeakerEncoder for this model."
            )


def _write(path: str | os.PathLike[str], content: bytes) -> pathlib.Path:
    """Write a file that appears whole or not at all."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        flush(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return path


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporters say about themselves off the screen."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
