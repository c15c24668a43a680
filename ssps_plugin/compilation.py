"""`torch.compile` for the encoders, where it pays: in training steps."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ssps_plugin.frameworks.embedding_model import EmbeddingModel


def compile_encoders(framework: nn.Module, backend: str) -> int:
    """Compile the encoder of every embedding model in a framework, in place.

    Student and teacher, queries and keys. What is compiled keeps its class
    and the names of its parameters, so checkpoints are the same with and
    without; the code is made when an encoder is first called.

    Arguments
    ---------
    framework : torch.nn.Module
        What holds `EmbeddingModel`s, at any depth.
    backend : str
        `inductor` (which needs a C++ compiler on a CPU), or another one that
        `torch.compile` knows.

    Returns
    -------
    int
        How many encoders are compiled.

    Raises
    ------
    ValueError
        An unknown backend.

    Example
    -------
    >>> model = EmbeddingModel(nn.Identity(), nn.Identity(), nn.Linear(3, 2))
    >>> compile_encoders(nn.ModuleList([model]), "eager")
    1
    """
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in known:
        raise ValueError(
            f"Expected a backend of torch.compile ({', '.join(known)}), got "
            f"{backend!r}: change compile_backend"
        )
    models = [
        module
        for module in framework.modules()
        if isinstance(module, EmbeddingModel)
    ]
    for model in models:
        model.encoder.compile(backend=backend)
    return len(models)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run what is compiled as it was written.

    For whole utterances: each of another length would compile anew.
    """
    with torch.compiler.set_stance("force_eager"):
        yield
