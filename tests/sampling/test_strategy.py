"""What strategies share: whitening, against a float64 SVD."""

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin.sampling.strategy import Whitening


def stretched(num=200, dim=8, seed=0):
    """Unit vectors with a few dominant axes and a mean."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(num, dim, generator=generator, dtype=torch.double)
    points = points * torch.logspace(0, -1, dim).double() + 0.3
    return F.normalize(points, dim=1)


def fitted(power, references):
    whitening = Whitening(power)
    whitening.allocate(references.shape[1])
    whitening.fit(references)
    return whitening


def cosines(rows):
    rows = F.normalize(rows.double(), dim=1)
    return rows @ rows.T


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0])
def test_cosines_equal_those_of_an_svd(power):
    references = stretched()
    centred = references - references.mean(0)
    _, singular, axes = torch.linalg.svd(centred, full_matrices=False)
    expected = cosines(centred @ axes.T / singular**power)
    ours = fitted(power, references.float())(references.float())
    torch.testing.assert_close(cosines(ours), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("num", [1, 2, 500])
def test_references_that_are_all_the_same_stay_as_they_are(power, dtype, num):
    row = F.normalize(torch.randn(512, generator=torch.Generator()), dim=0)
    references = row.repeat(num, 1).to(dtype)
    whitened = fitted(power, references)(references)
    torch.testing.assert_close(whitened, references.float(), atol=1e-3, rtol=0)
    zeros = torch.zeros(num, 512, dtype=dtype)
    assert torch.equal(fitted(power, zeros)(zeros), zeros.float())


def test_a_variance_along_one_axis_alone_gives_finite_numbers():
    references = F.normalize(torch.eye(1, 8) + torch.zeros(40, 8), dim=1)
    references[:, 1] = torch.linspace(-1e-3, 1e-3, 40)
    whitened = fitted(1.0, references)(references)
    assert whitened.isfinite().all()
    assert torch.equal(whitened[:20, 1] < 0, torch.ones(20).bool())


def test_zero_leaves_references_as_they_are():
    references = stretched().float()
    assert torch.equal(fitted(0.0, references)(references), references)


def test_full_whitening_gives_identity_covariance_before_normalisation():
    references = stretched().float()
    whitening = fitted(1.0, references)
    rows = (references - whitening.mean) @ whitening.transform
    covariance = rows.T @ rows / len(rows)
    torch.testing.assert_close(covariance, torch.eye(8), atol=1e-3, rtol=0)
    assert rows.mean(0).abs().max() < 1e-4


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_a_rotation_of_the_references_changes_no_cosine(power):
    references = stretched()
    generator = torch.Generator().manual_seed(1)
    square = torch.randn(8, 8, generator=generator, dtype=torch.double)
    rotation = torch.linalg.qr(square).Q
    turned = (references @ rotation).float()
    references = references.float()
    torch.testing.assert_close(
        cosines(fitted(power, turned)(turned)),
        cosines(fitted(power, references)(references)),
        atol=1e-4,
        rtol=0,
    )


def test_full_whitening_is_blind_to_any_invertible_map():
    references = stretched()
    generator = torch.Generator().manual_seed(1)
    square = torch.randn(8, 8, generator=generator, dtype=torch.double)
    mapped = (references @ (square + 4 * torch.eye(8)) + 2.0).float()
    references = references.float()
    torch.testing.assert_close(
        cosines(fitted(1.0, mapped)(mapped)),
        cosines(fitted(1.0, references)(references)),
        atol=1e-3,
        rtol=0,
    )


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_results_are_unit_vectors(power):
    references = stretched().float()
    norms = fitted(power, references)(references).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(200))


@pytest.mark.parametrize("power", [0.5, 1.0])
@pytest.mark.parametrize(
    "references",
    [
        torch.tensor([[0.6, 0.8, 0.0]]),
        torch.tensor([[0.6, 0.8, 0.0]] * 5),
        torch.tensor([[0.6, 0.8, 0.0], [0.8, 0.6, 0.0]]),
    ],
    ids=["one", "all the same", "on a line"],
)
def test_references_without_variance_stay_finite(power, references):
    whitening = fitted(power, references)
    assert whitening(references).isfinite().all()
    assert whitening(torch.eye(3)).isfinite().all()


def test_half_precision_references_are_whitened_in_float32():
    references = stretched().half()
    expected = fitted(0.5, references.float())(references.float())
    assert torch.equal(fitted(0.5, references)(references), expected)


def test_references_are_read_in_chunks(monkeypatch):
    references = stretched().float()
    whole = fitted(0.5, references)
    monkeypatch.setattr("ssps_plugin.sampling.strategy._CHUNK_ROWS", 7)
    torch.testing.assert_close(
        fitted(0.5, references).transform, whole.transform
    )


@pytest.mark.parametrize("power", [-0.1, 1.1, float("nan")])
def test_a_power_outside_the_unit_interval_is_an_error(power):
    with pytest.raises(
        ValueError, match=r"Expected whitening in \[0, 1\], got"
    ):
        Whitening(power)
