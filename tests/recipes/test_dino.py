"""Claims about DINO's YAML pair, trained on a tiny corpus."""

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin.frameworks import DINO
from tests.recipes.corpora import write_corpus
from tests.recipes.running import history, newest_checkpoint, run
from tests.recipes.test_frameworks import FRAMEWORKS


@pytest.fixture(scope="module")
def output_layers(tmp_path_factory):
    """The student's output layer at the start, after one and two epochs."""
    folder = tmp_path_factory.mktemp("dino")
    layers = []
    begin_epoch = DINO.begin_epoch

    def noting(framework, epoch):
        layers.append(framework.head.output.weight.detach().clone())
        return begin_epoch(framework, epoch)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(DINO, "begin_epoch", noting)
        run(
            "dino.yaml",
            folder / "run",
            data_folder=write_corpus(folder / "corpus"),
            verify_interval=9,
            num_epochs=2,
            **FRAMEWORKS["dino"],
        )
    state = torch.load(newest_checkpoint(folder / "run") / "framework.ckpt")
    return [*layers, state["head.output.weight"]]


def test_it_trains_without_local_views(tmp_path):
    options = {**FRAMEWORKS["dino"], "num_epochs": 2, "verify_interval": 9}
    run(
        "dino_ssps.yaml",
        tmp_path / "run",
        data_folder=write_corpus(tmp_path / "corpus"),
        ssps_start_epoch=2,
        **options,
        num_local_crops=0,
    )
    rows = history(tmp_path / "run")
    assert [0 < row["loss"] < 9 for row in rows] == [True, True]
    assert rows[1]["coverage"] > 0


def test_the_output_layer_is_frozen_in_the_first_epoch_bit_for_bit(
    output_layers,
):
    assert torch.equal(output_layers[0], output_layers[1])


def test_the_output_layer_turns_from_the_second_epoch_on(output_layers):
    before, after = output_layers[1:]
    cosines = F.cosine_similarity(before, after, dim=1)
    degrees = cosines.clamp(-1, 1).arccos().rad2deg()
    # 21 in four steps; 3 where rows start with the norm sqrt(dim).
    assert degrees.mean() > 10
