"""Corpora on disk: their folders, files, lengths and manifests."""

from ssps_plugin.dataio.corpus.corpus import AudioTree, Corpus, CorpusFile
from ssps_plugin.dataio.corpus.header_cache import HeaderCache
from ssps_plugin.dataio.corpus.manifest import Summary, prepare_manifest

__all__ = [
    "AudioTree",
    "Corpus",
    "CorpusFile",
    "HeaderCache",
    "Summary",
    "prepare_manifest",
]
