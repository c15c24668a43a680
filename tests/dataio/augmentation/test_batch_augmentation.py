"""Claims that a batch is augmented on the device as its crops are by workers.

On the CPU; `tests/cuda` has the same on a GPU.
"""

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from ssps_plugin.dataio import (
    Augmentation,
    BatchAugmentation,
    CropGroup,
    OracleViewSampler,
    PartnerViewSampler,
    SharedEpoch,
    ViewSampler,
    add_crop_groups,
    add_views,
)
from ssps_plugin.dataio.audio import AudioError
from ssps_plugin.dataio.augmentation.augmentation import reverberate
from ssps_plugin.dataio.augmentation.batch_augmentation import (
    read_responses,
    reverberate_all,
    views_of,
)
from ssps_plugin.dataio.augmentation.folders import AudioFolder
from ssps_plugin.dataio.dataset import load_manifest
from ssps_plugin.dataio.loading import collate_views

NUM = 10
GROUPS = [
    CropGroup("global_views", 0.4, 2),
    CropGroup("local_views", 0.2, 3),
    CropGroup("single", 0.1),
    CropGroup("reference", 0.3, augmented=False),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Speech, MUSAN's categories, and responses of several shapes."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)

    def write(name, samples, rate=16000, **options):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate, **options)

    rows = ["ID,wav,duration,speaker,recording"]
    for number in range(NUM):
        speech = 0.1 * rng.standard_normal(8000)
        write(f"speech/{number}.wav", 0 * speech if number == 3 else speech)
        path = folder / "speech" / f"{number}.wav"
        rows.append(f"u{number},{path},0.5,s{number % 2},r{number}")
    (folder / "train.csv").write_text("\n".join(rows))
    for level, category in enumerate(("noise", "speech", "music"), 1):
        noise = 0.1 * level * rng.standard_normal(16000)
        write(f"musan/{category}/a.wav", noise)
        write(f"musan/{category}/silent.wav", np.zeros(4000))
    for number, direct in enumerate((0, 57, 300)):
        response = rng.standard_normal(1500) * np.exp(-np.arange(1500) / 200)
        response = np.append(0.1 * rng.standard_normal(direct), response)
        response[direct] = (-1) ** number * 6
        write(f"rirs/{number}.wav", 0.15 * response)
    write("rirs/silent.wav", np.zeros(100))
    write("rirs/long.wav", np.append(1.0, 0.01 * rng.standard_normal(20000)))
    return folder


def batches(files, device_options, make=ViewSampler, **options):
    """Views by the workers and by the device, of two batches and a rest."""
    results = []
    for augment_on in ("workers", "device"):
        augmentation = Augmentation(augment_on=augment_on, **device_options)
        dataset = load_manifest(files / "train.csv")
        given = dict(options)
        if make is not ViewSampler:
            given["dataset"] = dataset
        sampler = make(
            groups=GROUPS,
            seed=7,
            epoch=SharedEpoch(2),
            augmentation=augmentation,
            **given,
        )
        add_crop_groups(dataset, sampler)
        on_device = BatchAugmentation.of(augmentation, GROUPS, "cpu")
        assert (on_device is None) == (
            augment_on == "workers" or augmentation.drawn_names == ()
        )
        groups: dict[str, list] = {group.key: [] for group in GROUPS}
        for first in range(0, NUM, 4):
            items = [dataset[n] for n in range(first, min(first + 4, NUM))]
            views = views_of(collate_views(items), GROUPS, on_device)
            for group, view in zip(GROUPS, views, strict=True):
                groups[group.key].append(view)
        results.append({key: torch.cat(one) for key, one in groups.items()})
    return results


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, views in one.items():
        assert views.shape == other[key].shape
        assert torch.allclose(views, other[key], rtol=0, atol=1e-5), key
    assert torch.equal(one["reference"], other["reference"])


def test_a_group_without_crops_is_not_augmented(files):
    options = {"noise_folder": files / "musan", "augment_on": "device"}
    augmentation = Augmentation(**options)
    empty = CropGroup("local", 9.0, num_crops=0)
    assert BatchAugmentation.of(augmentation, [*GROUPS, empty], "cpu")
    assert BatchAugmentation.of(augmentation, [empty], "cpu") is None


@pytest.mark.parametrize(
    ("noise", "rirs", "reverb_probability", "noise_probability"),
    [
        *((True, True, 1.0, 1.0), (True, True, 0.5, 0.5)),
        *((True, True, 0.0, 1.0), (True, True, 1.0, 0.0)),
        *((True, True, 0.0, 0.0), (False, True, 1.0, 1.0)),
        *((True, False, 1.0, 0.5), (False, False, 1.0, 1.0)),
    ],
)
def test_views_are_those_of_the_workers(
    files, noise, rirs, reverb_probability, noise_probability
):
    options = {
        "noise_folder": files / "musan" if noise else None,
        "rir_folder": files / "rirs" if rirs else None,
        "reverb_probability": reverb_probability,
        "noise_probability": noise_probability,
    }
    by_workers, on_device = batches(files, options)
    assert_same(by_workers, on_device)
    clean, _ = batches(files, {})
    is_clean = torch.isclose(clean["global_views"], on_device["global_views"])
    changed = bool((~is_clean).any())
    assert changed == (
        (noise and noise_probability > 0) or (rirs and reverb_probability > 0)
    )


def test_views_that_are_read_from_partners_are_those_of_the_workers(files):
    folders = {"noise_folder": files / "musan", "rir_folder": files / "rirs"}
    partners = torch.tensor([4, -1, 0, 0, 0, 1, 2, 3, 4, 5])
    options = {"make": PartnerViewSampler, "partners": partners}
    one, other = batches(files, folders, **options)
    assert_same(one, other)
    plain, _ = batches(files, folders)
    assert not torch.equal(one["global_views"], plain["global_views"])


def test_views_of_true_positives_are_those_of_the_workers(files):
    folders = {"noise_folder": files / "musan", "rir_folder": files / "rirs"}
    assert_same(*batches(files, folders, make=OracleViewSampler))


def test_other_rates_and_lost_responses_are_those_of_the_workers(
    files, tmp_path
):
    rirs = tmp_path / "rirs"
    rirs.mkdir()
    rng = np.random.default_rng(1)
    for number in range(8):
        response = rng.standard_normal(900) * np.exp(-np.arange(900) / 100)
        soundfile.write(rirs / f"{number}.wav", 0.1 * response, 8000)
    results = []
    augmentations = [
        Augmentation(None, rirs, augment_on=on) for on in ("workers", "device")
    ]
    (rirs / "2.wav").unlink()  # once they were counted
    samples = torch.randn(25, 1600, generator=torch.Generator().manual_seed(0))
    seeds = range(len(samples))
    by_workers, device = augmentations
    expected = torch.stack(
        [by_workers(samples[n], np.random.default_rng(n)) for n in seeds]
    )
    on_device = BatchAugmentation(device, 1600)
    assert on_device.responses.dtype == torch.float32  # resampled
    drawn = [device.draw(1600, np.random.default_rng(n))["rir"] for n in seeds]
    assert {int(number) for number in drawn} == set(range(8)) - {2}
    results = on_device.augment(samples, torch.stack(drawn))
    assert torch.allclose(results, expected, rtol=0, atol=1e-5)


def test_where_all_responses_are_lost_it_ends_soon(files):
    folder = AudioFolder(files / "rirs", "rir_folder")
    folder.failures._epoch_of.fill_(1)
    with pytest.raises(AudioError, match="change rir_folder"):
        folder.draw_number(np.random.default_rng(0))


def test_responses_of_16_bits_are_kept_as_they_are(files):
    rirs = AudioFolder(files / "rirs", "rir_folder")
    table, direct = read_responses(rirs, 16000, longest=2000)
    assert table.dtype == torch.int16
    assert direct == 300
    # Of the long one, what the longest crop does not hear is left out.
    assert table.shape == (5, 300 + 2000)
    for row, path in zip(table, rirs.paths, strict=True):
        samples, _ = soundfile.read(path, dtype="int16")
        peak = int(np.abs(samples.astype(int)).argmax())
        kept = samples[:2000]
        start = direct - peak
        assert row[start : start + len(kept)].tolist() == kept.tolist()
        assert int(row.abs().argmax()) in (direct, 0)


def test_what_is_scaled_as_32_bit_integers_is_reverberated_as_well():
    rng = torch.Generator().manual_seed(0)
    samples = torch.randn(3, 4000, generator=rng)
    response = torch.randn(3, 600, generator=rng).sign()
    response[1] *= -1
    expected = reverberate_all(samples, response, direct=0)
    scaled = reverberate_all(samples * 2.0**29, response, direct=0)
    assert torch.allclose(scaled / 2.0**29, expected, atol=1e-4)
    for row, one, other in zip(samples, response, expected, strict=True):
        # Where the product is beyond float32, the sign is kept as well.
        by_worker = reverberate(row * 2.0**29, one * 2.0**31) / 2.0**29
        assert torch.allclose(by_worker, other, atol=1e-3)


def test_mixed_precision_does_not_reach_it(files):
    augmentation = Augmentation(
        files / "musan", files / "rirs", augment_on="device"
    )
    on_device = BatchAugmentation(augmentation, 1600)
    drawn = augmentation.draw(1600, np.random.default_rng(0))
    samples = torch.randn(1600)
    expected = on_device.augment(samples, **drawn)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(on_device.augment(samples, **drawn), expected)
    assert expected.dtype == torch.float32


def test_the_crops_of_a_batch_are_left_as_they_are(files):
    augmentation = Augmentation(
        files / "musan", files / "rirs", augment_on="device"
    )
    samples = torch.randn(2, 1600)
    kept = samples.clone()
    drawn = [augmentation.draw(1600, np.random.default_rng(n)) for n in (0, 1)]
    stacked = {k: torch.stack([one[k] for one in drawn]) for k in drawn[0]}
    mixed = BatchAugmentation(augmentation, 1600).augment(samples, **stacked)
    assert torch.equal(samples, kept) and not torch.equal(mixed, kept)


def test_a_pipeline_of_ones_own_gets_what_was_drawn_beside_the_views(files):
    augmentation = Augmentation(files / "musan", augment_on="device")
    dataset = load_manifest(files / "train.csv")
    add_views(dataset, 0.2, 0.3, 1, SharedEpoch(), augmentation=augmentation)
    item = dataset[0]
    assert list(item) == [
        *("id", "views", "views_noise", "views_snr_db", "reference")
    ]
    assert item["views_noise"].shape == item["views"].shape == (2, 3200)
    # A worker stacks what was drawn in shared memory.
    options = {"num_workers": 1, "collate_fn": collate_views}
    (batch,) = DataLoader(dataset, batch_size=NUM, **options)
    assert torch.equal(batch.views_snr_db.data[0], item["views_snr_db"])
    views = BatchAugmentation(augmentation, 3200)(batch, "views")
    assert views.shape == (NUM, 2, 3200)
    assert not torch.equal(views, batch.views.data)


def test_an_augmentation_of_ones_own_is_left_to_the_workers():
    assert BatchAugmentation.of(lambda s, rng: s, GROUPS, "cpu") is None
    assert BatchAugmentation.of(None, GROUPS, "cpu") is None


def test_where_no_view_is_augmented_the_device_does_nothing(files):
    augmentation = Augmentation(
        noise_folder=files / "musan", augment_on="device"
    )
    clean = [CropGroup("views", 0.2, 2, augmented=False)]
    assert BatchAugmentation.of(augmentation, GROUPS, "cpu") is not None
    assert BatchAugmentation.of(augmentation, clean, "cpu") is None


def test_another_place_is_an_error_that_names_the_key():
    with pytest.raises(ValueError, match="got gpu: change augment_on"):
        Augmentation(augment_on="gpu")
