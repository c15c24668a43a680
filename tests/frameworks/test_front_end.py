"""Claims about pre-trained front ends, and about x-vectors' pooling."""

import copy

import pytest
import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.lobes.models.Xvector import Xvector
from speechbrain.processing.features import InputNormalization

from ssps_plugin.frameworks import (
    DINO,
    EmbeddingModel,
    Fbank,
    MoCo,
    MomentumSchedule,
)
from ssps_plugin.heads import DINOHead
from ssps_plugin.training.checks import pretrained_parameters
from ssps_plugin.training.optimisation import give_own_group

transformers = pytest.importorskip("transformers")
WIDTH = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A WavLM of ten thousand parameters, with all that is random on."""
    torch.manual_seed(0)
    config = transformers.WavLMConfig(
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16, 16, 16),
        conv_stride=(5, 8, 8),
        conv_kernel=(10, 8, 8),
        num_feat_extract_layers=3,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        vocab_size=4,
        hidden_dropout=0.5,
        layerdrop=0.5,
        mask_time_prob=0.5,
        mask_time_length=2,
    )
    path = tmp_path_factory.mktemp("wavlm")
    transformers.WavLMModel(config).save_pretrained(path)
    return path


def model_of(folder, freeze=False):
    from speechbrain.integrations.huggingface.weighted_ssl import (
        WeightedSSLModel,
    )

    features = WeightedSSLModel(str(folder), freeze=freeze, layernorm=True)
    return EmbeddingModel(
        features,
        InputNormalization(norm_type="sentence", std_norm=False),
        ECAPA_TDNN(
            WIDTH,
            lin_neurons=4,
            channels=[8, 8, 8, 8, 24],
            attention_channels=4,
        ),
    )


def wavs(*shape):
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(*shape, generator=generator)


@pytest.mark.parametrize("freeze", [True, False])
def test_features_have_no_dropout_and_no_masks_in_training(folder, freeze):
    model = model_of(folder, freeze).train()
    assert model.encoder.training and not model.features.model.training
    one, _ = model.compute_features(wavs(2, 6400))
    other, _ = model.compute_features(wavs(2, 6400))
    assert torch.equal(one, other)


@pytest.mark.parametrize("freeze", [True, False])
def test_every_parameter_that_is_trained_has_a_gradient(folder, freeze):
    model = model_of(folder, freeze).train()
    model(wavs(3, 6400)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert model.features.weights.requires_grad
    layer = model.features.model.encoder.layers[0].attention.k_proj.weight
    assert layer.requires_grad is not freeze


def test_a_momentum_network_has_features_of_its_own_front_end(folder):
    schedule = MomentumSchedule(0.9)
    head = DINOHead([4, 8, 3], num_outputs=5)
    for framework, kind in (
        (MoCo(model_of(folder), schedule), "key_embedding_model"),
        (DINO(model_of(folder), head, schedule), "teacher_model"),
    ):
        framework.train()
        views = wavs(4, 2, 6400)
        torch.manual_seed(0)
        _, before = framework(views)
        # Only the momentum network's front end changes, and so its outputs.
        copied = getattr(framework, kind)
        with torch.no_grad():
            copied.features.weights.copy_(torch.tensor([9.0, 0.0, 0.0]))
        torch.manual_seed(0)
        _, after = framework(views)
        assert not torch.allclose(before, after, atol=1e-4)


def test_features_without_trained_parameters_are_shared():
    model = EmbeddingModel(
        Fbank(n_mels=WIDTH),
        InputNormalization(norm_type="sentence"),
        ECAPA_TDNN(WIDTH, lin_neurons=4, channels=[8] * 5),
    )
    assert model.has_fixed_features
    calls = []
    framework = MoCo(model, MomentumSchedule(0.9)).train()
    for one in (framework.embedding_model, framework.key_embedding_model):
        one.features.register_forward_hook(lambda *_: calls.append(1))
    framework(wavs(4, 2, 6400))
    assert len(calls) == 1


def test_the_front_end_is_a_group_of_its_own_and_its_layer_weights_are_not(
    folder,
):
    framework = MoCo(model_of(folder), MomentumSchedule(0.9))
    optimizer = torch.optim.AdamW(
        framework.parameters(), lr=0.1, weight_decay=0.3
    )
    parameters = pretrained_parameters(framework)
    give_own_group(optimizer, parameters, 0.01)
    main, front_end = optimizer.param_groups
    assert front_end["lr"] == pytest.approx(0.001)
    assert front_end["weight_decay"] == 0.3
    own = {id(parameter) for parameter in front_end["params"]}
    assert own == {id(parameter) for parameter in parameters}
    features = framework.embedding_model.features
    assert id(features.weights) not in own
    assert len(own) + len(main["params"]) == len(list(framework.parameters()))


def test_a_frozen_front_end_has_nothing_to_tune(folder):
    framework = MoCo(model_of(folder, freeze=True), MomentumSchedule(0.9))
    with pytest.raises(ValueError, match="got WeightedSSLModel with none"):
        pretrained_parameters(framework)


def test_the_pooling_of_x_vectors_adds_the_mean_of_its_noise():
    torch.manual_seed(0)
    noisy = Xvector(in_channels=8, tdnn_channels=[8] * 5, lin_neurons=4).eval()
    encoder = copy.deepcopy(noisy)
    model = EmbeddingModel(
        Fbank(n_mels=8), InputNormalization(norm_type="sentence"), encoder
    )
    features, lengths = torch.randn(2, 40, 8), torch.ones(2)
    state = torch.get_rng_state()
    one = model.encode(features, lengths)
    assert torch.equal(torch.get_rng_state(), state)
    # Copies, too, as momentum networks are.
    assert torch.equal(one, copy.deepcopy(model).encode(features, lengths))
    theirs = torch.stack([noisy(features, lengths) for _ in range(200)])
    assert not torch.equal(theirs[0], theirs[1])
    mean = theirs.mean(0).squeeze(1)
    torch.testing.assert_close(one, mean, atol=1e-5, rtol=1e-3)
