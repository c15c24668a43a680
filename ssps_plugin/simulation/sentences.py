"""Varied sentences for synthetic speakers to say."""

from numpy.random import Generator

_DETERMINERS = """the a this that every some another one my your our their his
her no any each"""
_ADJECTIVES = """quiet yellow ancient careful broken gentle northern hungry
frozen clever empty bitter golden narrow patient heavy curious distant foolish
bright shallow wooden loyal famous rough purple sudden tiny generous rainy
modern silent southern crooked thirsty useful jealous plain"""
_NOUNS = """teacher river window garden engine village doctor orange mountain
pencil captain kitchen shadow farmer bridge letter camel station bottle winter
neighbour island mirror judge ticket forest hammer pilot sandwich tiger church
violin market cousin blanket lawyer harbour pumpkin chair valley journey fox
cloud singer cottage thunder basket museum officer feather"""
_VERBS = """carries follows paints remembers finds watches answers breaks
borrows cooks describes enjoys forgets gathers hides imagines joins keeps
loves measures needs opens pushes questions reaches sells throws understands
visits washes chooses delivers explains fixes"""
_ADVERBS = """slowly yesterday often quickly perhaps again never carefully
together sometimes today gladly badly early outside there almost usually
upstairs by chance at noon in spring without warning"""
_PREPOSITIONS = """behind near above under beside without around through
towards beyond inside after before"""
_CONJUNCTIONS = """and but because while although so until when"""
_NUMBERS = """seven thirty twelve five forty nineteen eleven sixty hundred two
thousand eighteen"""


def draw_sentence(rng: Generator, min_words: int = 12) -> str:
    """Draw a grammatical, mostly meaningless English sentence.

    Arguments
    ---------
    rng : numpy.random.Generator
        Source of randomness.
    min_words : int
        Clauses are added until the sentence has at least this many words.

    Returns
    -------
    str
        The sentence.

    Example
    -------
    >>> import numpy as np
    >>> sentence = draw_sentence(np.random.default_rng(0), min_words=20)
    >>> len(sentence.split()) >= 20 and sentence.endswith(".")
    True
    """
    words = _draw_clause(rng)
    while len(words) < min_words:
        words += [_pick(_CONJUNCTIONS, rng), *_draw_clause(rng)]
    return " ".join(words).capitalize() + "."


def _draw_clause(rng: Generator) -> list[str]:
    clause = [*_draw_noun_phrase(rng), _pick(_VERBS, rng)]
    clause += _draw_noun_phrase(rng)
    if rng.random() < 0.5:
        clause += [_pick(_PREPOSITIONS, rng), *_draw_noun_phrase(rng)]
    if rng.random() < 0.5:
        clause.append(_pick(_ADVERBS, rng))
    return clause


def _draw_noun_phrase(rng: Generator) -> list[str]:
    noun = _pick(_NOUNS, rng)
    if rng.random() < 0.15:
        return [_pick(_NUMBERS, rng), _pick(_ADJECTIVES, rng), noun + "s"]
    phrase = [_pick(_DETERMINERS, rng)]
    if rng.random() < 0.6:
        phrase.append(_pick(_ADJECTIVES, rng))
    return [*phrase, noun]


def _pick(vocabulary: str, rng: Generator) -> str:
    words = vocabulary.split()
    return words[int(rng.integers(len(words)))]
