"""Verification shared by two ranks against one that does it alone."""

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from ssps_plugin.dataio.audio import AudioError
from ssps_plugin.distributed import broadcast_state
from ssps_plugin.evaluation.embeddings import extract_over_ranks
from ssps_plugin.evaluation.verification import Verification

NUM_FILES = 7


@pytest.fixture
def corpus(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"{number}.wav" for number in range(NUM_FILES)]
    for name in names:
        samples = 0.1 * rng.standard_normal(1600 + rng.integers(800))
        soundfile.write(tmp_path / name, samples, 16000)
    lines = [
        f"{(i + j) % 2} {names[i]} {names[j]}"
        for i in range(NUM_FILES)
        for j in range(i)
    ]
    (tmp_path / "trials.txt").write_text("\n".join(lines))
    return str(tmp_path)


def embed(wavs, lengths):
    return torch.stack([wavs.mean(1), wavs.std(1), wavs[:, 0]], dim=1)


def verify(folder):
    num_embedded = []

    def counting(wavs, lengths):
        num_embedded.append(len(wavs))
        return embed(wavs, lengths)

    verification = Verification(f"{folder}/trials.txt", folder)
    result = verification.run(counting, progress=False)
    scores = result and (result.scores.tolist(), result.eer)
    return scores, sum(num_embedded)


def on_a_rank(_, folder):
    return verify(folder)


def test_ranks_embed_a_share_each_and_the_first_scores_as_one_alone(
    run_ranks, corpus
):
    scores, num_embedded = verify(corpus)
    assert num_embedded == NUM_FILES and len(scores[0]) == 21
    assert run_ranks(on_a_rank, corpus) == [(scores, 4), (None, 3)]


def extract_few(_, num_files):
    def extract(files):
        return torch.tensor([[float(file)] for file in files])

    return extract_over_ranks(extract, list(range(num_files))).tolist()


@pytest.mark.parametrize("num_files", [1, 2, 3])
def test_fewer_files_than_ranks_will_do(run_ranks, num_files):
    expected = [[float(number)] for number in range(num_files)]
    assert run_ranks(extract_few, num_files) == [expected] * 2


def extract_what_one_rank_cannot_read(_, unreadable):
    def extract(files):
        if unreadable in files:
            raise AudioError(f"{unreadable} is damaged")
        return torch.ones(len(files), 1)

    try:
        extract_over_ranks(extract, list(range(4)))
    except AudioError as error:
        return str(error)


def test_a_file_that_one_rank_cannot_read_is_an_error_on_both(run_ranks):
    one, other = run_ranks(extract_what_one_rank_cannot_read, 3)
    assert one == "Another rank cannot read a file of its own."
    assert other == "3 is damaged"


def state_after_broadcast(rank):
    torch.manual_seed(rank)
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[1].running_mean.fill_(rank + 1.0)
    model[1].num_batches_tracked.fill_(rank + 5)
    broadcast_state(model)
    return [value.tolist() for value in model.state_dict().values()]


def test_the_first_ranks_state_is_everybodys(run_ranks):
    one, other = run_ranks(state_after_broadcast)
    assert one == other
    torch.manual_seed(0)
    assert one[0] == nn.Linear(2, 2).weight.tolist()
    assert one[-1] == 5
