"""Claims about a step of the optimiser in a run, and what follows it."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from ssps_plugin.frameworks import DINO, MoCo
from tests.recipes.running import ROOT, run
from tests.recipes.test_frameworks import FRAMEWORKS

MOMENTUM = 0.99  # the overlay's
MAX_NORM = 1e-3
TAUGHT = {
    "dino": (DINO, "teacher_model"),
    "moco": (MoCo, "key_embedding_model"),
}


@pytest.fixture(scope="module", params=TAUGHT)
def steps(request, corpus, tmp_path_factory):
    """Each step of two epochs, of two batches a step, four an epoch."""
    kind, teacher = TAUGHT[request.param]
    taken, update = [], kind.update

    def parameters(model):
        return {
            name: value.detach().clone()
            for name, value in model.named_parameters()
        }

    def noting(framework, progress):
        before = parameters(getattr(framework, teacher))
        norms = [
            parameter.grad.norm().item()
            for parameter in framework.parameters()
            if parameter.grad is not None
        ]
        update(framework, progress)
        taken.append(
            SimpleNamespace(
                name=request.param,
                progress=progress,
                norms=norms,
                before=before,
                after=parameters(getattr(framework, teacher)),
                student=parameters(framework.embedding_model),
            )
        )

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kind, "update", noting)
        run(
            f"{request.param}.yaml",
            tmp_path_factory.mktemp("run"),
            "--grad_accumulation_factor=2",
            data_folder=corpus,
            num_epochs=2,
            verify_interval=9,
            num_made_trials=4,
            **FRAMEWORKS[request.param],
            **({"max_parameter_grad_norm": MAX_NORM} if kind is DINO else {}),
        )
    return taken


def test_a_momentum_network_moves_once_a_real_step(steps):
    assert len(steps) == 4
    if steps[0].name == "dino":  # whose momentum goes by a schedule of 3 epochs
        passed = [step.progress * 3 for step in steps]
        assert passed == pytest.approx([0.25, 0.75, 1.25, 1.75])


def test_a_momentum_network_is_the_average_of_what_was_trained(steps):
    for step in steps:
        momentum = MOMENTUM
        if step.name == "dino":
            cosine = (1 + math.cos(math.pi * step.progress)) / 2
            momentum = 1 - (1 - MOMENTUM) * cosine
        moved = 0.0
        for name, after in step.after.items():
            before, student = step.before[name], step.student[name]
            expected = momentum * before + (1 - momentum) * student
            torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-7)
            moved = max(moved, (after - before).abs().max().item())
        assert moved > 0


@pytest.mark.parametrize("steps", ["dino"], indirect=True)
def test_dino_clips_each_parameters_gradient(steps):
    norms = [norm for step in steps for norm in step.norms]
    assert max(norms) <= MAX_NORM * (1 + 1e-4)
    at_limit = sum(norm > 0.999 * MAX_NORM for norm in norms)
    assert at_limit > len(norms) / 2


@pytest.mark.parametrize("name", ["dino", "sdpn"])
def test_the_gradient_of_all_parameters_is_clipped_by_one_norm(
    name, corpus, tmp_path
):
    norms = []

    def note(optimizer, *_):
        groups = [group["params"] for group in optimizer.param_groups]
        gradients = [
            [one.grad for one in group if one.grad is not None]
            for group in groups
        ]
        assert sum(map(bool, gradients)) > 1
        norms.append(torch.nn.utils.get_total_norm(sum(gradients, [])).item())

    handle = register_optimizer_step_post_hook(note)
    try:
        run(
            f"{name}.yaml",
            tmp_path,
            "--max_grad_norm=0.001",
            data_folder=corpus,
            num_epochs=1,
            num_made_trials=4,
            **FRAMEWORKS[name],
        )
    finally:
        handle.remove()
    assert norms == pytest.approx([0.001] * len(norms), rel=1e-3)


@pytest.mark.parametrize(("name", "undecayed"), [("dino", 0), ("sdpn", 6 * 6)])
def test_no_bias_no_norm_and_no_prototype_of_sdpn_decays(
    name, undecayed, corpus, tmp_path
):
    optimizers = []
    handle = register_optimizer_step_post_hook(
        lambda optimizer, *_: optimizers.append(optimizer)
    )
    try:
        run(
            f"{name}.yaml",
            tmp_path,
            data_folder=corpus,
            num_epochs=1,
            num_made_trials=4,
            **FRAMEWORKS[name],
        )
    finally:
        handle.remove()
    matrices = {0.0: 0, 5e-5: 0}
    for group in optimizers[0].param_groups:
        for parameter in group["params"]:
            if parameter.dim() > 1:
                matrices[group["weight_decay"]] += parameter.numel()
            else:
                assert group["weight_decay"] == 0.0
    assert matrices[0.0] == undecayed and matrices[5e-5] > 1000


def test_what_would_not_be_saved_is_not_trained(corpus, tmp_path):
    text = (ROOT / "hparams" / "dino.yaml").read_text()
    before, recoverables = text.split("    recoverables:\n")
    lacking = recoverables.replace("        centering: !ref <centering>\n", "")
    assert lacking != recoverables
    path = tmp_path / "dino.yaml"
    path.write_text(f"{before}    recoverables:\n{lacking}")
    options = {"data_folder": corpus, **FRAMEWORKS["dino"]}
    with pytest.raises(ValueError, match="add centering to recoverables"):
        run(str(path), tmp_path / "run", **options)


def test_as_many_global_crops_as_one_likes_go_with_ssps(corpus, tmp_path):
    run(
        "dino_ssps.yaml",
        tmp_path,
        data_folder=corpus,
        num_epochs=2,
        ssps_start_epoch=2,
        num_global_crops=3,
        verify_interval=9,
        num_made_trials=4,
        **FRAMEWORKS["dino"],
    )
