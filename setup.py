"""Packaging of ssps_plugin."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
# The only place that says where the repository is, but for CITATION.cff, which
# a test compares with it.
REPOSITORY = "https://github.com/ssps-plugin/ssps_plugin"
PACKAGE = (ROOT / "ssps_plugin" / "__init__.py").read_text(encoding="utf-8")
VERSION = re.search(r'^__version__ = "(.+)"$', PACKAGE, flags=re.M)[1]
DEMO = [
    "espeakng-loader>=0.2.4",  # voices of MiniVox, library and data included
    "pyroomacoustics>=0.8",  # rooms of MiniVox
    "matplotlib>=3.7",  # curves.png
    "tensorboard>=2.14",  # use_tensorboard: True
]
M4A = ["av>=12"]  # converts .m4a where ffmpeg is not installed
REPORT = [
    "jinja2>=3.1",  # the page
    "matplotlib>=3.7",  # the same charts as PNGs
    "plotly>=6",  # charts to zoom into
    "scikit-learn>=1.3",  # the map of embeddings
]
ONNX = ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.3"]
HUB = ["huggingface_hub>=0.23"]  # push an export; a self-supervised front end
SSL = [  # a wav2vec-like front end before ECAPA-TDNN
    "safetensors>=0.4",  # foreign weights, too
    "transformers>=4.40",
]
WANDB = [
    "wandb>=0.16",  # use_wandb: True
]
DOCS = [
    "furo",
    "ipykernel",  # runs the notebook
    "myst-nb>=1.1",
    "sphinx>=7.3",
    "sphinx-copybutton",
    "sphinx-design",
]
DEV = [
    "build",
    "codespell",
    "hypothesis",  # property-based tests and fuzzes
    "kaldiio",  # reads embeddings back, in tests
    "lightning>=2.2",  # recipes/lightning
    "mypy",
    "pre-commit",
    "pytest>=8",
    "pytest-xdist>=3.5",  # .ci/run shares the tests out
    "ruff",
    "scikit-learn>=1.3",  # an independent reference for metrics, in tests
    "selenium>=4.15",  # the report in a real browser
    "twine",
    "yamllint",
]


def long_description() -> str:
    """Return the README with links and images that hold outside a checkout.

    Those that are relative start from the tag of this version.
    """
    tag = f"v{VERSION}"

    def absolute(match: re.Match[str]) -> str:
        before, target = match["before"], match["target"]
        if re.match(r"[a-z]+:|#|//", target):  # an address, a heading
            return match[0]
        path = target.partition("#")[0]
        image = pathlib.Path(path).suffix in {".png", ".svg", ".gif"}
        kind = "raw" if image else "tree" if (ROOT / path).is_dir() else "blob"
        return f"{before}{REPOSITORY}/{kind}/{tag}/{target}"

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    markdown = r"(?P<before>\]\()(?P<target>[^)\s]+)"
    html = r"(?P<before>\b(?:src|srcset|href)=\")(?P<target>[^\"]+)"
    text = re.sub(markdown, absolute, text)
    return re.sub(html, absolute, text)


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
    long_description=long_description(),
    long_description_content_type="text/markdown",
    author="The ssps_plugin developers",
    url=REPOSITORY,
    project_urls={
        "Documentation": f"{REPOSITORY}/tree/main/docs",
        "Source": REPOSITORY,
        "Issues": f"{REPOSITORY}/issues",
        "Changelog": f"{REPOSITORY}/blob/main/CHANGELOG.md",
        "Paper": "https://arxiv.org/abs/2501.17772",
    },
    keywords=[
        "speaker verification",
        "speaker embeddings",
        "self-supervised learning",
        "positive sampling",
        "contrastive learning",
        "SpeechBrain",
        "PyTorch",
    ],
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    entry_points={
        "console_scripts": ["ssps = ssps_plugin.commands.command_line:main"]
    },
    packages=find_packages(include=["ssps_plugin", "ssps_plugin.*"]),
    package_data={
        "ssps_plugin": ["py.typed"],
        "ssps_plugin.training": ["log_config.yaml"],
        "ssps_plugin.report": ["report.css", "report.html.jinja", "report.js"],
    },
    data_files=[
        *files_below("hparams", "*.yaml"),
        *files_below("recipes", "*.py", "*.yaml", "*.md"),
    ],
    install_requires=[
        "speechbrain>=1.1,<1.2",
        # The last torchaudio (2.11) refuses a torch of another release.
        "torch>=2.7.1,<2.12",
        "torchaudio>=2.7.1,<2.12",
        "click>=8.1",  # the command `ssps`
        "hyperpyyaml>=1.2.3",
        "faiss-cpu>=1.9",  # search: faiss; before, it fails beside numpy 2
        "rich>=13",  # the line an epoch
        "pyyaml",  # a checkpoint's meta file, as SpeechBrain writes it
        "ruamel.yaml>=0.17.28",  # overlays; HyperPyYAML's own parser
        "sentencepiece",  # SpeechBrain imports it
        "numpy>=1.26",
        "scipy>=1.11",  # FFT of float32 in augmentation, resampling in MiniVox
        "soundfile>=0.13",  # partial reads, resampled in torchaudio
        "tqdm",
    ],
    extras_require={
        "demo": DEMO,
        "m4a": M4A,
        "report": REPORT,
        "onnx": ONNX,
        "hub": HUB,
        "wandb": WANDB,
        "ssl": SSL,
        "docs": DOCS,
        "dev": DEMO + M4A + REPORT + ONNX + HUB + SSL + DOCS + DEV,
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
