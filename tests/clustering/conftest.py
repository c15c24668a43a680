"""Points on the unit sphere, with and without cluster structure."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize


def draw_unit_vectors(num_points: int, dim: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(num_points, dim, generator=generator), dim=1)


def draw_mixture(num_points: int, dim: int, num_centers: int) -> Tensor:
    centers = draw_unit_vectors(num_centers, dim, seed=1)
    own = torch.arange(num_points) % num_centers
    noise = draw_unit_vectors(num_points, dim, seed=2)
    return normalize(centers[own] + noise, dim=1)


def at_degrees(*degrees: float) -> Tensor:
    radians = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([radians.cos(), radians.sin()], dim=1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads would only wait for each other over tensors this small."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture
def unit_vectors() -> Callable[..., Tensor]:
    """(num_points, dim, seed) → points spread evenly over the sphere."""
    return draw_unit_vectors


@pytest.fixture
def mixture() -> Callable[..., Tensor]:
    """(num_points, dim, num_centers) → points around common centres."""
    return draw_mixture


@pytest.fixture
def on_circle() -> Callable[..., Tensor]:
    """Degrees → points on the unit circle."""
    return at_degrees
