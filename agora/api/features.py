"""Features: prompts as vectors, by words (TF-IDF and a truncated SVD, trained here) or by an embedding endpoint."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError, MalformedError, MissingError, ModelError

Floats = NDArray[np.float64]
LONGEST = 20_000  # characters of a prompt that count: its first and its last half of so many
_WORD = re.compile(r"(?u)\b\w+\b")


def clipped(prompt: str) -> str:
    """The part of a prompt that counts, so that one of a million characters costs no more than a page."""
    return prompt if len(prompt) <= LONGEST else f"{prompt[: LONGEST // 2]} {prompt[-LONGEST // 2 :]}"


def words(prompt: str) -> list[str]:
    """The words of a prompt, and of its numbers only that they are there: which number it is says little."""
    return ["0" if word.isdigit() else word for word in _WORD.findall(clipped(prompt).casefold())]


class Features(Protocol):
    """What makes vectors of prompts."""

    @property
    def spec(self) -> Mapping[str, Any]:
        """What a router file says of it, so that the same features are used again."""
        ...

    async def vectors(self, prompts: Sequence[str]) -> Floats:
        """(prompts, dimensions), each row of length 1, or 0 where nothing in the prompt is known."""
        ...


@dataclass(frozen=True)
class WordFeatures:
    """TF-IDF of words and pairs of words (logarithmic counts, smooth idf), then a truncated SVD: latent semantic
    analysis (Deerwester et al. 1990).

    Attributes:
        vocabulary: term -> column.
        idf: (terms,).
        components: (dimensions, terms).
    """

    vocabulary: Mapping[str, int]
    idf: Floats
    components: Floats

    @property
    def spec(self) -> Mapping[str, Any]:
        return {"kind": "words"}

    def transform(self, prompts: Sequence[str]) -> Floats:
        """As `vectors`, at once."""
        out = np.zeros((len(prompts), len(self.components)))
        for row, prompt in enumerate(prompts):
            counts = Counter(column for term in _terms(prompt) if (column := self.vocabulary.get(term)) is not None)
            if not counts:
                continue
            columns = np.fromiter(counts, int, len(counts))
            weights = (1 + np.log(np.fromiter(counts.values(), float, len(counts)))) * self.idf[columns]
            out[row] = self.components[:, columns] @ (weights / np.linalg.norm(weights))
        return unit(out)

    async def vectors(self, prompts: Sequence[str]) -> Floats:
        return self.transform(prompts)


def _terms(prompt: str) -> list[str]:
    found = words(prompt)
    return found + [f"{a} {b}" for a, b in pairwise(found)]


def rounded(array: NDArray[Any]) -> Floats:
    """To single precision."""
    return array.astype(np.float32).astype(np.float64)


def unit(vectors: Floats) -> Floats:
    """Rows of length 1; rows of zeros stay."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Floats = vectors / np.where(norms > 0, norms, 1.0)
    return scaled


def fit_words(prompts: Sequence[str], dimensions: int = 128, terms: int = 8192, seed: int = 0) -> WordFeatures:
    """Fit word features to prompts.

    Args:
        prompts: at least one with a word in it.
        dimensions: at most so many; fewer where there are fewer prompts or terms.
        terms: the most frequent ones that are kept.
        seed: of the SVD.

    Raises:
        MissingError: without scikit-learn.
        InputError: if no prompt has a word.
    """
    try:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        raise MissingError("training a router needs scikit-learn.", hint="pip install 'agora-debate[route]'") from error
    vectorizer = TfidfVectorizer(
        analyzer=_terms, sublinear_tf=True, max_features=terms, min_df=2 if len(prompts) > 50 else 1, dtype=np.float64
    )
    try:
        weighted = vectorizer.fit_transform(prompts)
    except ValueError as error:
        raise InputError("no prompt has a word that another has too, so there is nothing to tell them by.") from error
    vocabulary = {term: int(column) for term, column in vectorizer.vocabulary_.items()}
    d = min(dimensions, min(weighted.shape) - 1)
    if d < 1:
        components = np.eye(1, len(vocabulary))
    else:
        with np.errstate(divide="ignore", invalid="ignore"):  # prompts that are all alike have no variance to explain
            components = TruncatedSVD(d, n_iter=4, random_state=seed).fit(weighted).components_
    # rounded as a router file rounds: what is saved is what was trained on
    return WordFeatures(vocabulary, rounded(np.asarray(vectorizer.idf_)), rounded(np.asarray(components)))


class EndpointFeatures:
    """Vectors of an embeddings endpoint that speaks OpenAI's protocol.

    Args:
        model: the embedding model's name.
        base_url: another server than OpenAI's.
        api_key_env: the environment variable that holds the key.
    """

    def __init__(self, model: str, base_url: str | None = None, api_key_env: str | None = None) -> None:
        self.model, self.base_url, self.api_key_env = model, base_url, api_key_env
        self._client: Any = None

    @property
    def spec(self) -> Mapping[str, Any]:
        given = {"model": self.model, "base_url": self.base_url, "api_key_env": self.api_key_env}
        return {"kind": "endpoint", **{key: value for key, value in given.items() if value is not None}}

    def _open(self) -> Any:
        import os

        from openai import AsyncOpenAI  # late: slow to import

        variable = self.api_key_env or "OPENAI_API_KEY"
        key = (os.environ.get(variable) or "").strip()
        if not key and self.base_url is None:
            raise MissingError(f"the embeddings of {self.model} need a key in {variable}, which is not set.")
        return AsyncOpenAI(api_key=key or "none", base_url=self.base_url, max_retries=4, timeout=60)

    async def vectors(self, prompts: Sequence[str]) -> Floats:
        """As of `Features`.

        Raises:
            ModelError: if the endpoint does not answer.
        """
        from agora.models.endpoint import hide

        self._client = self._client or self._open()
        rows: list[Any] = []
        for start in range(0, len(prompts), 256):
            given = [clipped(prompt) or " " for prompt in prompts[start : start + 256]]
            try:
                reply = await self._client.embeddings.create(model=self.model, input=given, encoding_format="float")
                rows += [item.embedding for item in sorted(reply.data, key=lambda item: item.index)]
            except Exception as error:
                said = hide(" ".join(str(error).split()), self._client.api_key)[:200]
                raise ModelError(f"the embeddings endpoint failed: {said}", model=self.model) from error
        try:
            made = np.asarray(rows, dtype=float)
        except ValueError:
            made = np.empty(0)
        if made.ndim != 2 or len(made) != len(prompts) or not np.isfinite(made).all():
            raise MalformedError("the embeddings endpoint gave no vectors, or not one for each text.", model=self.model)
        return unit(made)
