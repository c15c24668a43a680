"""Spherical k-means against the bare matrix products, on one core.

    python benchmarks/clustering.py [--small] [--faiss]

The floor is what an exhaustive search cannot do without: the product of all
points with all centroids, once per iteration and once for the last
assignment, by `torch.mm` in the fastest of several chunk sizes. One such
product is timed before and after everything that is compared with it.

The points are a mixture on the sphere, as references are of utterances:
speaker + 0.7 recording + 0.8 utterance, each a random unit vector, normalised.
There are K / 4 speakers with 24 recordings each. Two utterances have a
cosine of about 0.70 within a recording, 0.47 within a speaker and 0 else.
One row is measured on points without any structure, where nothing can be
pruned.

A warm start begins at the centroids of the same points before they drifted
(a random unit vector times 0.1 or 0.3 was added, and the sum normalised), as
an encoder moves them in an epoch. The last table is how the default of one
warm iteration was chosen.
"""

import argparse
import statistics
from typing import Any

import torch
from one_core import cpu_seconds, use_one_core
from torch import Tensor
from torch.nn.functional import normalize

from ssps_plugin.clustering import (
    Clustering,
    SphericalKMeans,
    nearest_clusters,
)

NUM_ITERATIONS = 10
SIZES = [(100_000, 192, 2_500), (200_000, 512, 5_000)]
SMALL_SIZES = [(20_000, 192, 500)]
DRIFTS = (0.1, 0.3)


def unit_vectors(
    num_vectors: int, dim: int, seed: int, device: str = "cpu"
) -> Tensor:
    generator = torch.Generator(device).manual_seed(seed)
    vectors = torch.randn(num_vectors, dim, generator=generator, device=device)
    return normalize(vectors, dim=1)


def utterances(
    num_points: int, dim: int, num_clusters: int, device: str = "cpu"
) -> Tensor:
    """Speakers, recordings of theirs, and utterances of these."""
    num_speakers = num_clusters // 4
    speakers = unit_vectors(num_speakers, dim, 0, device)
    recordings = unit_vectors(num_speakers * 24, dim, 1, device)
    generator = torch.Generator().manual_seed(2)
    own = torch.randint(num_speakers * 24, (num_points,), generator=generator)
    own = own.to(device)
    points = speakers[own // 24] + 0.7 * recordings[own]
    noise = unit_vectors(num_points, dim, 3, device)
    return normalize(points + 0.8 * noise, dim=1)


class Floor:
    """The bare products, timed again and again beside the rest."""

    def __init__(self, points: Tensor, centroids: Tensor) -> None:
        self.points = points
        self.columns = centroids.t()
        part = points[: len(points) // 10]
        chunks = (128, 256, 512, 1024)
        self._product(part, chunks[0])
        self.chunk = min(
            chunks,
            key=lambda rows: cpu_seconds(lambda: self._product(part, rows))[0],
        )
        self.passes: list[float] = []

    def _product(self, points: Tensor, chunk: int) -> None:
        tile = torch.empty(chunk, self.columns.shape[1])
        for rows in points.split(chunk):
            torch.mm(rows, self.columns, out=tile[: len(rows)])

    def measure(self) -> None:
        """Time one product of all points with all centroids."""
        self.passes.append(
            cpu_seconds(lambda: self._product(self.points, self.chunk))[0]
        )

    def seconds(self) -> float:
        """Time of the products of a whole run from scratch."""
        return statistics.median(self.passes) * (NUM_ITERATIONS + 1)


def report(name: str, seconds: float, floor: Floor, objective: float) -> None:
    ratio = seconds / floor.seconds()
    print(f"  {name:38s}{seconds:9.2f}{ratio:9.3f}{objective:11.5f}")


def timed_fit(
    floor: Floor, points: Tensor, kmeans: SphericalKMeans, **start: Any
) -> tuple[float, Clustering]:
    """Time a fit between two measurements of the floor."""
    floor.measure()
    timed = cpu_seconds(lambda: kmeans.fit(points, **start))
    floor.measure()
    return timed


def faiss_fit(points: Tensor, num_clusters: int) -> tuple[float, float]:
    """The same iterations by faiss, over all points: seconds, objective."""
    import faiss

    kmeans = faiss.Kmeans(
        points.shape[1],
        num_clusters,
        niter=NUM_ITERATIONS,
        spherical=True,
        max_points_per_centroid=points.shape[0],
        seed=0,
    )

    def fit() -> float:
        kmeans.train(points.numpy())
        return float(kmeans.index.search(points.numpy(), 1)[0].mean())

    return cpu_seconds(fit)


def compare_with_floor(
    points: Tensor, num_clusters: int, with_faiss: bool
) -> float:
    """Print the table of one size; return the seconds of a cold fit."""
    floor = Floor(points, points[:num_clusters].clone())
    rows: dict[str, dict[str, Any]] = {
        "exhaustive (pruning: False)": {"pruning": False},
        "float32": {},
        "bfloat16": {"assignment_dtype": "bfloat16"},
    }
    timed = {
        name: timed_fit(
            floor,
            points,
            SphericalKMeans(num_clusters, NUM_ITERATIONS, **arguments),
            seed=0,
        )
        for name, arguments in rows.items()
    }
    print(f"  {'':38s}{'seconds':>9s}{'x floor':>9s}{'objective':>11s}")
    report("bare products (floor)", floor.seconds(), floor, float("nan"))
    for name, (seconds, clustering) in timed.items():
        report(name, seconds, floor, clustering.objective)
    labels = [clustering.labels for _, clustering in timed.values()]
    same = (labels[0] == labels[1]).double().mean().item()
    print(f"  labels that exhaustive and float32 share: {same:.6f}")
    if with_faiss:
        seconds, objective = faiss_fit(points, num_clusters)
        report("faiss.Kmeans over all points", seconds, floor, objective)
    return timed["float32"][0]


def compare_without_structure(
    num_points: int, dim: int, num_clusters: int
) -> None:
    points = unit_vectors(num_points, dim, seed=0)
    floor = Floor(points, points[:num_clusters].clone())
    kmeans = SphericalKMeans(num_clusters, NUM_ITERATIONS)
    seconds, clustering = timed_fit(floor, points, kmeans, seed=0)
    report(
        "float32, points without structure",
        seconds,
        floor,
        clustering.objective,
    )


def compare_warm_with_cold(points: Tensor, num_clusters: int) -> None:
    """Print what warm iterations cost and reach after two drifts."""
    kmeans = SphericalKMeans(num_clusters, NUM_ITERATIONS)
    before = kmeans.fit(points, seed=0).centroids
    for drift in DRIFTS:
        noise = unit_vectors(len(points), points.shape[1], seed=9)
        drifted = normalize(points + drift * noise, dim=1)
        floor = Floor(drifted, before)
        cold_seconds, cold = timed_fit(floor, drifted, kmeans, seed=1)
        print(
            f"  drift {drift}: cold, {NUM_ITERATIONS} iterations: "
            f"{cold_seconds:.2f} s, objective {cold.objective:.5f}"
        )
        for num_iterations in range(4):
            seconds, warm = timed_fit(
                floor,
                drifted,
                kmeans,
                seed=1,
                initial_centroids=before,
                num_iterations=num_iterations,
            )
            print(
                f"    warm, {num_iterations} iterations: {seconds:7.2f} s, "
                f"{cold_seconds / seconds:5.2f} x faster than cold, "
                f"{floor.seconds() / seconds:5.2f} x than the cold floor, "
                f"objective {warm.objective:.5f} "
                f"({warm.objective - cold.objective:+.5f})"
            )


def measure_neighbors(num_clusters: int, dim: int) -> None:
    centroids = unit_vectors(num_clusters, dim, seed=0)
    seconds, _ = cpu_seconds(lambda: nearest_clusters(centroids, 1))
    print(
        f"nearest_clusters, {num_clusters} x {num_clusters}, dim {dim}: "
        f"{seconds:.2f} s"
    )


def measure_bfloat16_product() -> None:
    """Why bfloat16 is not what makes a CPU faster."""
    left, right = unit_vectors(256, 512, 0), unit_vectors(2048, 512, 1).t()
    full, _ = cpu_seconds(lambda: left @ right)
    half_left, half_right = left.bfloat16(), right.bfloat16()
    half, _ = cpu_seconds(lambda: half_left @ half_right)
    print(f"a bfloat16 product on this CPU takes {half / full:.1f} x float32's")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="in a minute")
    parser.add_argument("--faiss", action="store_true", help="compare with it")
    options = parser.parse_args()
    use_one_core()
    measure_bfloat16_product()
    for num_points, dim, num_clusters in (
        SMALL_SIZES if options.small else SIZES
    ):
        print(f"N {num_points}, dim {dim}, K {num_clusters}")
        points = utterances(num_points, dim, num_clusters)
        compare_with_floor(points, num_clusters, options.faiss)
        compare_without_structure(num_points, dim, num_clusters)
        compare_warm_with_cold(points, num_clusters)
    measure_neighbors(2_500 if options.small else 25_000, 512)


if __name__ == "__main__":
    main()
