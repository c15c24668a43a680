"""Packaging of ssps_plugin."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
PACKAGE = (ROOT / "ssps_plugin" / "__init__.py").read_text(encoding="utf-8")
VERSION = re.search(r'^__version__ = "(.+)"$', PACKAGE, flags=re.M)[1]
DEMO = [
    "espeakng-loader>=0.2.4",  # voices of MiniVox, library and data included
    "pyroomacoustics>=0.8",  # rooms of MiniVox
    "matplotlib>=3.7",  # curves.png
    "tensorboard>=2.14",  # use_tensorboard: True
]
M4A = ["av>=12"]  # converts .m4a where ffmpeg is not installed
DEV = [
    "build",
    "codespell",
    "hypothesis",  # property-based tests and fuzzes
    "mypy",
    "pre-commit",
    "pytest>=8",
    "ruff",
    "scikit-learn>=1.3",  # an independent reference for metrics, in tests
    "yamllint",
]


def files_below(folder: str, *patterns: str) -> list[tuple[str, list[str]]]:
    """List recipes and YAML files, to be installed under share/."""
    found: dict[str, list[str]] = {}
    for pattern in patterns:
        for path in sorted((ROOT / folder).rglob(pattern)):
            relative = path.relative_to(ROOT)
            place = pathlib.Path("share/ssps_plugin") / relative.parent
            found.setdefault(place.as_posix(), []).append(relative.as_posix())
    return list(found.items())


setup(
    name="ssps_plugin",
    version=VERSION,
    description="Self-Supervised Positive Sampling (SSPS) for SpeechBrain",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["ssps_plugin", "ssps_plugin.*"]),
    package_data={"ssps_plugin": ["py.typed"]},
    data_files=[
        *files_below("hparams", "*.yaml"),
        *files_below("recipes", "*.py", "*.yaml", "*.md"),
    ],
    install_requires=[
        "speechbrain>=1.1,<1.2",
        # The last torchaudio (2.11) refuses a torch of another release.
        "torch>=2.7.1,<2.12",
        "torchaudio>=2.7.1,<2.12",
        "hyperpyyaml>=1.2.3",
        "faiss-cpu>=1.8",  # tests compare k-means with it
        "pyyaml",  # a checkpoint's meta file, as SpeechBrain writes it
        "ruamel.yaml>=0.17.28",  # overlays; HyperPyYAML's own parser
        "sentencepiece",  # SpeechBrain imports it
        "numpy>=1.26",
        "scipy>=1.11",  # FFT of float32 in augmentation, resampling in MiniVox
        "soundfile>=0.13",  # partial reads, resampled in torchaudio
        "tqdm",
    ],
    extras_require={"demo": DEMO, "m4a": M4A, "dev": DEMO + M4A + DEV},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
    ],
)
