"""Views that are read from a partner: another utterance, given by a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.logger import get_logger

from ssps_plugin.dataio.audio import SAMPLE_RATE, AudioError, audio_seconds
from ssps_plugin.dataio.dataset import Table
from ssps_plugin.dataio.views.view_sampler import (
    Augment,
    CropGroup,
    SharedEpoch,
    ViewSampler,
    cut_crops,
)

logger = get_logger(__name__)


class PartnerViewSampler(ViewSampler):
    """Cut the crops of an utterance, some of them from its partner's file.

    An utterance without a partner has the crops that `ViewSampler` cuts, bit
    for bit. So has one whose partner cannot be read, which is counted in
    `failures`.

    Arguments
    ---------
    dataset : DynamicItemDataset
        The training set; its rows have `wav` and `duration`.
    groups, seed, epoch, augmentation, sample_rate
        As for `ViewSampler`.
    partners : torch.Tensor
        `(num_utterances,)` int64 on the CPU, the place in the dataset of each
        utterance's partner, -1 for none: `PositiveSampler.partners`. In shared
        memory, workers see its changes.
    partner_crops : mapping of str to int, optional
        How many of a group's crops, its last ones, are the partner's, by the
        group's key. By default one of the first group.

    Raises
    ------
    ValueError
        As `ViewSampler`; partners of another number than the utterances; or
        `partner_crops` that name no group, or leave all crops to one of both,
        or all of the first group to the partner. The latter may be where it is
        a single crop (SDPN's global one), which is compared with those of
        other groups.
    """

    def __init__(
        self,
        dataset: DynamicItemDataset,
        groups: Sequence[CropGroup],
        seed: int,
        epoch: SharedEpoch,
        partners: torch.Tensor,
        partner_crops: Mapping[str, int] | None = None,
        augmentation: Augment | None = None,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        super().__init__(groups, seed, epoch, augmentation, sample_rate)
        self.partners = Partners(dataset, partners)
        self._is_partners = assign_crops(self.groups, partner_crops)

    def cut(
        self, utterance_id: str, wav: str, seconds: float, epoch: int
    ) -> list[torch.Tensor]:
        """Cut the crops of all groups, in their order, not augmented."""
        partner = self.partners.find(utterance_id)
        if partner is None:
            return super().cut(utterance_id, wav, seconds, epoch)
        partner_id, row = partner
        rng = self.generator(utterance_id, epoch, "crops")
        cuts = {}
        for is_partners, (file_id, file, duration) in (
            (False, (utterance_id, wav, seconds)),
            (True, (partner_id, row["wav"], float(row["duration"]))),
        ):
            lengths = [
                length
                for length, whose in zip(
                    self.lengths(), self._is_partners, strict=True
                )
                if whose == is_partners
            ]
            try:
                crops = cut_crops(
                    file,
                    duration,
                    lengths,
                    rng,
                    self.sample_rate,
                    self.reader(file_id),
                )
            except AudioError as error:
                if self.failures is None or not is_partners:
                    raise
                self.failures.lose(file_id, epoch, error)
                return super().cut(utterance_id, wav, seconds, epoch)
            cuts[is_partners] = iter(crops)
        return [next(cuts[whose]) for whose in self._is_partners]


class Partners:
    """Look up an utterance's partner: its id and its row of the manifest.

    Arguments
    ---------
    dataset : DynamicItemDataset
        The training set.
    partners : torch.Tensor
        As for `PartnerViewSampler`.
    wav_key : str
        The column of the files.

    Raises
    ------
    ValueError
        Another number of partners than of utterances, partners that are not
        among them, or a row without file.

    Example
    -------
    >>> rows = {name: {"wav": f"{name}.wav"} for name in "ab"}
    >>> table = torch.tensor([1, -1])
    >>> partners = Partners(DynamicItemDataset(rows), table)
    >>> partners.find("a"), partners.find("b")
    (('b', {'wav': 'b.wav'}), None)
    """

    def __init__(
        self,
        dataset: DynamicItemDataset,
        partners: torch.Tensor,
        wav_key: str = "wav",
    ) -> None:
        self._rows, self._ids = dataset.data, dataset.data_ids
        if partners.dtype != torch.long or partners.dim() != 1:
            raise ValueError(
                "Expected partners of int64, (num_utterances,), got "
                f"{partners.dtype} of shape {tuple(partners.shape)}: change "
                "partners to the sampler, or to sampler.partners"
            )
        if len(partners) != len(self._ids):
            raise ValueError(
                f"Expected a partner for each of {len(self._ids)} utterances, "
                f"got {len(partners)}: bind the sampler to this dataset"
            )
        if not bool(((partners >= -1) & (partners < len(partners))).all()):
            raise ValueError(
                "Expected partners as places in the dataset, from 0 to "
                f"{len(partners) - 1}, or -1 for none, got from "
                f"{int(partners.min())} to {int(partners.max())}: change "
                "partners to the sampler, or to sampler.partners"
            )
        if wav_key not in self._rows[self._ids[0]]:
            raise ValueError(
                f"Expected a manifest with the column {wav_key}, got "
                f"{', '.join(self._rows[self._ids[0]])}: change wav_key"
            )
        self._table = partners
        is_table = isinstance(self._rows, Table) and self._rows.ids is self._ids
        self._places = (
            None if is_table else {name: n for n, name in enumerate(self._ids)}
        )

    def find(self, utterance_id: str) -> tuple[str, Mapping[str, Any]] | None:
        """Return the partner's id and row; None for none."""
        if self._places is None:
            place = self._rows.place(utterance_id)
        else:
            place = self._places[utterance_id]
        partner = int(self._table[place])
        if partner < 0:
            return None
        name = self._ids[partner]
        return name, self._rows[name]

    def __deepcopy__(self, memo: dict[int, object]) -> "Partners":
        # SpeechBrain deep-copies a dataset's pipeline when it filters or
        # sorts it: a copied table would not be shared any more.
        return self


def add_partner_view(
    dataset: DynamicItemDataset,
    partners: Any,
    seconds: float,
    key: str = "partner",
    wav_key: str = "wav",
    seed: int = 0,
    epoch: SharedEpoch | None = None,
    sample_rate: int = SAMPLE_RATE,
) -> None:
    """Add a random crop of each utterance's partner to a dataset's output.

    For a recipe of one's own, with a sampler of `pseudo_positives="read"`: its
    positives are embeddings of this view. Without a partner, it is a crop of
    the utterance itself; so it is where the partner's file cannot be read, of
    which a warning tells once. Call it after `set_output_keys`, which would
    drop the new key again.

    Arguments
    ---------
    dataset : DynamicItemDataset
        The dataset that is trained on; its rows have the file.
    partners : PositiveSampler or torch.Tensor
        The sampler, which is bound to this dataset; or `sampler.partners` of
        one that is bound to it already, in the same order.
    seconds : float
        Length of the crop in seconds; shorter utterances are repeated.
    key : str
        The new item's key: `batch.partner.data` is `(batch, samples)`.
    wav_key : str
        The column that is the audio file's path.
    seed, epoch, sample_rate
        As for `add_reference_view`. Without an epoch, an utterance has the
        same crop in all epochs in which it has the same partner.

    Raises
    ------
    ValueError
        `seconds` is not above 0, the dataset has an item `key` already or is
        none of SpeechBrain's, or partners of another dataset, or of a sampler
        that reads none.
    RuntimeError
        The sampler is in use with other utterances, or in another order.

    Example
    -------
    >>> import numpy, soundfile
    >>> folder = getfixture("tmp_path")
    >>> data = {name: {"wav": str(folder / f"{name}.wav")} for name in "ab"}
    >>> for row, sample in zip(data.values(), (0.25, 0.5)):
    ...     soundfile.write(row["wav"], numpy.full(16000, sample), 16000)
    >>> dataset = DynamicItemDataset(data, output_keys=["id"])
    >>> add_partner_view(dataset, torch.tensor([1, -1]), seconds=0.5)
    >>> [float(dataset[n]["partner"].mean()) for n in (0, 1)]
    [0.5, 0.5]
    """
    if not isinstance(dataset, DynamicItemDataset):
        raise ValueError(
            "Expected a DynamicItemDataset of SpeechBrain's, got a "
            f"{type(dataset).__name__}: read the file of utterance "
            "sampler.partners[n], where it is not -1, in the dataset's own "
            "__getitem__"
        )
    if key in dataset.pipeline.key_to_node:
        raise ValueError(
            f"Expected a new item's key, got '{key}', which the dataset has "
            "already: change key"
        )
    if not isinstance(partners, torch.Tensor):
        partners = _partners_of(partners, dataset)
    crop = _PartnerCrop(
        ViewSampler(
            [CropGroup(key, seconds, augmented=False)],
            seed,
            epoch if epoch is not None else SharedEpoch(),
            sample_rate=sample_rate,
        ),
        Partners(dataset, partners, wav_key),
        wav_key,
    )
    dataset.add_dynamic_item(crop, ["id", wav_key], [key])
    output_keys = dict(dataset.pipeline.output_mapping)
    dataset.set_output_keys({**output_keys, key: key})


class _PartnerCrop:
    """Cut a crop of the partner of an utterance: a dynamic item.

    Who share a partner have crops of their own, as have two such items.
    """

    def __init__(
        self, sampler: ViewSampler, partners: Partners, wav_key: str
    ) -> None:
        self.sampler, self.partners = sampler, partners
        self._wav_key = wav_key
        self._has_warned = False

    def __call__(self, utterance_id: str, wav: str) -> Any:
        try:
            found = self.partners.find(utterance_id)
            if found is not None:
                return self._cut(utterance_id, found[1][self._wav_key])
        except AudioError as error:
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "The partner of %s cannot be read (%s): the utterance "
                    "itself is read in its place, here and where it happens "
                    "again.",
                    utterance_id,
                    error,
                )
        return self._cut(utterance_id, wav)

    def _cut(self, utterance_id: str, file: str) -> torch.Tensor:
        (group,) = self.sampler.groups
        rng = self.sampler.generator(
            utterance_id, self.sampler.epoch.value, f"crops of {group.key}"
        )
        (crop,) = cut_crops(
            file,
            # Not the manifest's: its duration may be in any unit.
            audio_seconds(file),
            self.sampler.lengths(),
            rng,
            self.sampler.sample_rate,
        )
        return crop


def _partners_of(sampler: Any, dataset: DynamicItemDataset) -> torch.Tensor:
    """Return the table of a sampler, after it is bound to the dataset."""
    if not getattr(sampler, "reads_partners", False):
        raise ValueError(
            "Expected a PositiveSampler with pseudo_positives read, or its "
            f"partners, got a {type(sampler).__name__}: change "
            "pseudo_positives, or partners"
        )
    sampler.bind(dataset)
    partners: torch.Tensor = sampler.partners
    return partners


def assign_crops(
    groups: Sequence[CropGroup], partner_crops: Mapping[str, int] | None = None
) -> list[bool]:
    """Say which crops are cut from the partner's file.

    Arguments
    ---------
    groups : sequence of CropGroup
        Those that have crops.
    partner_crops : mapping of str to int, optional
        As for `PartnerViewSampler`.

    Returns
    -------
    list of bool
        Whether each crop is the partner's, in the groups' order.

    Raises
    ------
    ValueError
        As `PartnerViewSampler`, of `partner_crops`.

    Example
    -------
    >>> assign_crops([CropGroup("views", seconds=2.0, num_crops=2)])
    [False, True]
    """
    if partner_crops is None:
        partner_crops = {groups[0].key: 1}
    sizes = {group.key: group.num_crops or 1 for group in groups}
    if not isinstance(partner_crops, Mapping) or not all(
        isinstance(num, int) and not isinstance(num, bool)
        for num in partner_crops.values()
    ):
        raise ValueError(
            "Expected partner_crops as numbers of crops by group, such as "
            f"{{{groups[0].key}: 1}}, got {partner_crops!r}: change "
            "partner_crops"
        )
    references = {group.key for group in groups if group.is_reference}
    for key, num in partner_crops.items():
        if key not in sizes or key in references:
            raise ValueError(
                "Expected partner_crops of the groups "
                f"{', '.join(sizes.keys() - references)}, got {key!r}: change "
                "partner_crops"
            )
        if not 0 <= num <= sizes[key]:
            raise ValueError(
                f"Expected from 0 to {sizes[key]} partner_crops of {key!r}, "
                f"got {num}: change partner_crops"
            )
    first = groups[0].key
    takes_first = partner_crops.get(first, 0) == sizes[first]
    leaves_others = sizes[first] == 1 and any(
        partner_crops.get(key, 0) < sizes[key]
        for key in sizes.keys() - {first} - references
    )
    if not any(partner_crops.values()) or (takes_first and not leaves_others):
        raise ValueError(
            "Expected partner_crops that leave crops of both the utterance "
            f"and its partner, got {dict(partner_crops)} of {sizes}: change "
            "partner_crops, or num_crops of crop_groups"
        )
    return [
        position >= size - partner_crops.get(key, 0)
        for key, size in sizes.items()
        for position in range(size)
    ]
