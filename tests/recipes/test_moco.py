"""Claims about MoCo's YAML pair with what is off by default."""

import pytest
import torch

from tests.recipes.corpora import write_corpus
from tests.recipes.running import history, newest_checkpoint, run


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Two epochs in bfloat16, SSPS, masks and a margin in the second."""
    folder = tmp_path_factory.mktemp("moco")
    run(
        "moco_ssps.yaml",
        folder / "run",
        "--precision=bf16",
        data_folder=write_corpus(folder / "corpus"),
        num_epochs=2,
        ssps_start_epoch=2,
        negatives_size=24,
        mask_false_negatives=True,
        margin="!new:ssps_plugin.losses.CurricularMargin",
    )
    return folder / "run"


def saved(output, name):
    return torch.load(newest_checkpoint(output) / f"{name}.ckpt")


def test_a_margin_given_on_the_command_line_reaches_loss_and_checkpoint(
    output,
):
    t = saved(output, "margin")["t"].item()
    assert history(output)[-1]["curricular_t"] == t != 0


def test_negatives_are_fed_with_every_steps_keys_and_know_their_clusters(
    output,
):
    negatives = saved(output, "negatives")
    # 4 steps of 8 utterances in each of two epochs, in 24 slots.
    assert negatives["cursor"] == 64 % 24
    assert negatives["is_filled"].all()
    # All of the last epoch, in which a few utterances are new.
    assert (negatives["groups"] >= 0).sum() > 18
    norms = negatives["keys"].norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones(2, 24))
    assert history(output)[-1]["negatives_fill"] == 1.0


def test_a_steps_own_keys_are_no_negatives_of_it(tmp_path):
    run(
        "moco.yaml",
        tmp_path / "run",
        data_folder=write_corpus(tmp_path / "corpus"),
        num_epochs=1,
        global_batch_size=32,
        negatives_size=32,
    )
    # One step, on an empty queue: were it fed before, no less than log 2.
    assert history(tmp_path / "run")[0]["loss"] == 0.0
