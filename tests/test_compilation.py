"""Claims about the compilation of encoders."""

import copy

import pytest
import torch
from torch import nn

from ssps_plugin.compilation import compile_encoders, uncompiled
from ssps_plugin.frameworks import EmbeddingModel


class Pair(nn.Module):
    """A student and its teacher, as frameworks hold them."""

    def __init__(self):
        super().__init__()
        self.student = EmbeddingModel(Frames(), Keep(), Encoder())
        self.teacher = copy.deepcopy(self.student)


class Frames(nn.Module):
    def forward(self, wavs):
        return wavs.unflatten(1, (-1, 4))


class Keep(nn.Module):
    def forward(self, features, lengths):
        return features


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, features, lengths):
        return self.layer(features).mean(1, keepdim=True)


@pytest.fixture
def compiled_calls(monkeypatch):
    """Counts the calls of compiled code: of a backend of the test's own."""
    torch.compiler.reset()
    calls = []

    def backend(graph, inputs):
        def run(*arguments):
            calls.append(len(arguments))
            return graph.forward(*arguments)

        return run

    compile_module = nn.Module.compile
    monkeypatch.setattr(
        nn.Module,
        "compile",
        lambda module, backend_name=None, **_: compile_module(
            module, backend=backend
        ),
    )
    yield calls
    torch.compiler.reset()


def test_student_and_teacher_run_compiled_and_give_what_they_gave(
    compiled_calls,
):
    pair, wavs = Pair(), torch.randn(2, 8)
    expected = pair.student(wavs)
    assert not compiled_calls
    assert compile_encoders(pair, "eager") == 2
    for model in (pair.student, pair.teacher):
        before = len(compiled_calls)
        torch.testing.assert_close(model(wavs), expected)
        assert len(compiled_calls) > before


def test_parameters_keep_their_names(compiled_calls):
    pair = Pair()
    names = list(pair.state_dict())
    compile_encoders(pair, "eager")
    assert list(pair.state_dict()) == names


def test_uncompiled_runs_it_as_it_was_written(compiled_calls):
    pair, wavs = Pair(), torch.randn(2, 8)
    compile_encoders(pair, "eager")
    pair.student(wavs)
    before = len(compiled_calls)
    with uncompiled():
        pair.student(torch.randn(2, 12))
    assert len(compiled_calls) == before


def test_an_unknown_backend_is_refused_by_name():
    with pytest.raises(ValueError, match="inductr.*compile_backend"):
        compile_encoders(Pair(), "inductr")
