"""Corpora on disk: their folders, files, lengths and manifests."""

from ssps_plugin.dataio.corpus.corpus import (
    Corpus,
    CorpusFile,
    UnlabelledCorpus,
)
from ssps_plugin.dataio.corpus.header_cache import HeaderCache
from ssps_plugin.dataio.corpus.manifest import Summary, prepare_manifest

__all__ = [
    "Corpus",
    "CorpusFile",
    "HeaderCache",
    "Summary",
    "UnlabelledCorpus",
    "prepare_manifest",
]
