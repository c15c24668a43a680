"""One utterance's crops, cut and augmented for one epoch."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ssps_plugin.dataio.audio import SAMPLE_RATE
from ssps_plugin.dataio.crops import CropGroup, cut_crops
from ssps_plugin.dataio.generator import utterance_generator
from ssps_plugin.dataio.shared_epoch import SharedEpoch

Augment = Callable[[torch.Tensor, np.random.Generator], torch.Tensor]


class ViewSampler:
    """Cuts and augments an utterance's crops: the function behind the items.

    Arguments
    ---------
    groups : sequence of CropGroup
        What to cut; those of no crops are left out. The positions are drawn
        in this order, so a group added at the end leaves the crops of the
        others as they were.
    seed : int
        The experiment's seed.
    epoch : SharedEpoch
        The present epoch.
    augmentation : callable, optional
        `augment(samples, rng) -> samples`, applied to each augmented crop.
    sample_rate : int
        Samples per second of the crops.

    Raises
    ------
    ValueError
        No crops at all.

    Example
    -------
    >>> import soundfile
    >>> path = str(getfixture("tmp_path") / "noise.wav")
    >>> soundfile.write(path, np.random.randn(48000) / 9, 16000)
    >>> groups = [CropGroup("views", 2.0, 2), CropGroup("local", 1.0, 4)]
    >>> views, local = ViewSampler(groups, 1, SharedEpoch())("a", path, 3.0)
    >>> views.shape, local.shape
    (torch.Size([2, 32000]), torch.Size([4, 16000]))
    """

    def __init__(
        self,
        groups: Sequence[CropGroup],
        seed: int,
        epoch: SharedEpoch,
        augmentation: Augment | None = None,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        self.groups = [group for group in groups if group.num_crops != 0]
        if not self.groups:
            raise ValueError(
                "Expected at least 1 crop, got none: change num_crops of "
                "crop_groups"
            )
        self.seed = seed
        self.epoch = epoch
        self.augmentation = augmentation
        self.sample_rate = sample_rate

    def __call__(
        self, utterance_id: str, wav: str, duration: float | str
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Cut one utterance's crops.

        Arguments
        ---------
        utterance_id : str
            Its id: with seed and epoch, all that the randomness depends on.
        wav : str
            Its file.
        duration : float or str
            Its length in seconds.

        Returns
        -------
        torch.Tensor or tuple of torch.Tensor
            The item of each group; SpeechBrain wants a lone one unwrapped.
        """
        epoch = self.epoch.value
        crops = iter(self.cut(utterance_id, wav, float(duration), epoch))
        items, position = [], 0
        for group in self.groups:
            members = []
            for _ in range(group.num_crops or 1):
                crop = next(crops)
                if group.augmented and self.augmentation is not None:
                    rng = self.generator(
                        utterance_id, epoch, f"augmentation {position}"
                    )
                    crop = self.augmentation(crop, rng)
                members.append(crop)
                position += 1
            items.append(group.stack(members))
        return items[0] if len(items) == 1 else tuple(items)

    def cut(
        self, utterance_id: str, wav: str, seconds: float, epoch: int
    ) -> list[torch.Tensor]:
        """Cut the crops of all groups, in their order, un-augmented."""
        rng = self.generator(utterance_id, epoch, "crops")
        return cut_crops(wav, seconds, self.lengths(), rng, self.sample_rate)

    def lengths(self) -> list[int]:
        """Return the length in samples of every crop of every group."""
        return [n for g in self.groups for n in g.lengths(self.sample_rate)]

    def generator(
        self, utterance_id: str, epoch: int, purpose: str
    ) -> np.random.Generator:
        """Return the generator of one utterance, epoch and purpose."""
        return utterance_generator(self.seed, epoch, utterance_id, purpose)
