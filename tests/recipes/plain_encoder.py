"""An encoder without batch statistics, for runs shared by ranks."""

from torch import Tensor, nn


class PlainEncoder(nn.Module):
    """Frame by frame through one hidden layer, then the mean over time."""

    def __init__(self, input_size: int, lin_neurons: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(input_size, 16), nn.Tanh(), nn.Linear(16, lin_neurons)
        )

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """`(batch, frames, bands)` to `(batch, 1, dim)`."""
        return self.layers(features).mean(1, keepdim=True)
