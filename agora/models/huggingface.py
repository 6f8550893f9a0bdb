"""Checkpoints on this machine as models: a folder with safetensors, run by transformers, with or without adapters."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakValueDictionary

from agora.errors import ContextError, InputError, MissingError, RequestError
from agora.models import checkpoint_files
from agora.models.completions import ChatFormat, chat_format
from agora.models.local import LocalModel
from agora.records import Message

if TYPE_CHECKING:
    from agora.models.batching import Decoder
    from agora.models.checkpoint_weights import Weights
    from agora.models.torchsession import Session

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
_loading = threading.RLock()  # transformers changes global state while it loads
_sharing = threading.Lock()  # not that one, which an event loop must not wait for
_loaded: WeakValueDictionary[object, Weights] = WeakValueDictionary()
_decoders: WeakValueDictionary[object, Decoder] = WeakValueDictionary()


class HuggingFaceModel(LocalModel):
    """A causal language model of transformers from a folder. Nothing is downloaded, no code of the folder is run, and
    pickles are not read.

    Weights are loaded when they are first needed, once in a process for all models that share them.

    Args:
        folder: the checkpoint: config.json, safetensors, the tokenizer's files.
        adapter: folders of LoRA adapters as PEFT saves them, which are merged into the weights in turn; or, by folder,
            the factor of each one's change: {"law": 0.7, "code": 0.3}.
        shared: adapters stay beside the weights, which are then those of all models in the process of this folder, type
            and device: ten adapters take little more memory than one, and a token some more time. To rounding the
            answers are the same.
        dtype: of the weights; 'auto' is that of the checkpoint, but float32 for float16 on a CPU, which is slow at it.
        device: 'auto' is the first GPU if there is one, else the CPU.
        chat: how a conversation is written ('plain', 'chatml', 'llama3', or a format's parts); default: the
            tokenizer's own template, or 'plain' where it has none.
        name: what users call it; default: 'hf:' and the folder.

    Raises:
        InputError: if a file is missing, damaged, or would run code.
        MissingError: if torch, transformers or peft is not installed.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        adapter: str | Path | Sequence[str | Path] | Mapping[str, float] | Mapping[Path, float] | None = None,
        shared: bool = False,
        dtype: Dtype = "auto",
        device: str = "auto",
        chat: str | Mapping[str, Any] | ChatFormat | None = None,
        name: str | None = None,
    ) -> None:
        if dtype not in ("auto", "float32", "bfloat16", "float16"):
            raise InputError(f"there is no dtype '{str(dtype)[:40]}'; there are auto, float32, bfloat16 and float16.")
        self._name = name or f"hf:{folder}"
        self._files = checkpoint_files.checkpoint(folder)
        given = () if adapter is None else (adapter,) if isinstance(adapter, (str, Path)) else adapter
        pairs = given.items() if isinstance(given, Mapping) else ((one, 1.0) for one in given)
        adapters = [(Path(one), float(factor)) for one, factor in pairs]
        if any(not math.isfinite(factor) for _, factor in adapters):
            raise InputError(f"{self._name}: the factor of an adapter is a number.")
        self._adapters = tuple((checkpoint_files.adapter(one), factor) for one, factor in adapters)
        self._shared = shared and bool(adapters)
        own = chat is None and self._files.template
        self.format = None if own else chat_format("plain" if chat is None else chat)
        for module in ("torch", "transformers", *(["peft"] if adapters else ())):
            if find_spec(module) is None:
                raise MissingError(
                    f"{self._name} needs {module}, which is not installed.", hint="pip install 'agora-debate[local]'"
                )
        base = f"{self._files.folder} {self._files.stamp}"
        added = [
            ("" if factor == 1 else f"{factor!r} * ") + f"{files.folder} {files.stamp}"
            for files, factor in self._adapters
        ]
        beside = ("beside",) if self._shared else ()
        self._base_key = (base, dtype, device)
        self._key = (base, *added, *beside, dtype, device)
        written = "its own" if self.format is None else str(asdict(self.format))
        self.identity = f"hf:{' + '.join((base, *added, *beside))} {dtype}, chat {written}"

    @property
    def name(self) -> str:
        """What users call it."""
        return self._name

    @property
    def context(self) -> int:  # type: ignore[override]
        """Most tokens of a sequence, its prompt included."""
        return self._files.context or self._weights.network.context

    @property
    def vocabulary(self) -> Sequence[str]:
        """The text of each token id as it stands in running text."""
        return self._weights.vocabulary

    @property
    def vocabulary_key(self) -> str:
        """The same for checkpoints whose vocabularies are, which says so without loading them."""
        return self._files.tokenizer

    @cached_property
    def stop_tokens(self) -> frozenset[int]:
        """Ids that end an answer."""
        tokenizer = self._weights.tokenizer
        ends = {tokenizer.eos_token_id, *self._files.eos}
        if self.format is not None:  # a mark that is a token would not be in the text
            added = {str(token): i for i, token in tokenizer.added_tokens_decoder.items()}
            ends |= {added.get(stop) for stop in self.format.stop}
        return frozenset(i for i in ends if i is not None and 0 <= i < self._weights.network.width)

    @property
    def decoder(self) -> Decoder:
        """What decodes its answers; models of the same weights that are asked in the same way share one."""
        from agora.models.batching import Decoder

        with _sharing:
            if self._decoder is None:
                key = (self._name, self.identity, self._key)
                self._decoder = _decoders.setdefault(key, Decoder(self))
            return self._decoder

    @property
    def ends(self) -> tuple[str, ...]:  # type: ignore[override]
        """Texts of its chat format that end an answer."""
        return self.format.stop if self.format is not None else ()

    @property
    def folder(self) -> Path | None:
        """Where its weights are, if an adapter has not been merged into them."""
        return None if self._adapters else self._files.folder

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The prompt of a conversation; one that ends with the assistant's message is gone on with.

        Special tokens that are spelt out in a message are broken up, so that they are read as text.

        Raises:
            ContextError: if the prompt is longer than the context.
            RequestError: if the template cannot write such a conversation.
        """
        weights = self._weights
        said = [Message(message.role, weights.harmless(message.content)) for message in messages]
        if self.format is None:
            ids = weights.ids(self._written(said), special=False)  # the template writes the beginning itself
        else:
            answer = said.pop().content if said and said[-1].role == "assistant" else ""
            ids = weights.ids(self.format.prompt(said, answer), special=True)
        if len(ids) > self.context:
            raise ContextError(
                f"its prompt has {len(ids)} tokens, and its context holds {self.context}.",
                model=self._name,
                hint="Show it less: fewer peers, or `view: {text: answer}`.",
            )
        return ids

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, without special tokens."""
        return self._weights.text(tokens, special=False)

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text that stands in an answer; special tokens in it are text."""
        return self._weights.within(text)

    def session(self) -> Session:
        """A new, empty batch of sequences."""
        from agora.models.torchsession import Session

        return Session(self._weights.network)

    def states(self, conversations: Sequence[Sequence[Message]]) -> Any:
        """What the model makes of conversations: the mean over a prompt's tokens of their states halfway through it.

        Halfway, as what a text is about is lost again towards the last layer, where the next token is told: of the
        pocket models' questions the skill is read off there 97 times in 100, and off the last layer 87 times.

        Args:
            conversations: each is written as the prompt of an answer is.

        Returns:
            (conversations, hidden), float32.

        Raises:
            ContextError: if a prompt is longer than the context.
            RequestError: if the template cannot write such a conversation.
        """
        import numpy as np
        import torch

        network, out = self._weights.network, []
        with torch.inference_mode():
            for messages in conversations:
                ids = torch.tensor([self.encode(messages)], device=network.device)
                read = network.model(input_ids=ids, use_cache=False, output_hidden_states=True)
                states = read.hidden_states[len(read.hidden_states) // 2]
                out.append(states[0].float().mean(0).cpu().numpy())
        return np.stack(out)

    @cached_property
    def _weights(self) -> Weights:
        with _loading:
            found = _loaded.get(self._key)
            if found is None:
                from agora.models.checkpoint_weights import Weights

                base = None
                if self._shared:
                    base = _loaded.get(self._base_key)
                    base = base or Weights(self._files, (), *self._base_key[-2:])
                    _loaded[self._base_key] = base
                found = Weights(self._files, self._adapters, self._key[-2], self._key[-1], base)
                _loaded[self._key] = found
            return found

    def _written(self, said: list[Message]) -> str:
        """A conversation as the tokenizer's template writes it; where it takes no system message, that stands before
        the first of the user's."""
        system = said[0].content.strip() if said and said[0].role == "system" else ""
        failure: Exception | None = None
        for turns in (said, _merged(said)):
            going = bool(turns) and turns[-1].role == "assistant"
            try:
                text = self._weights.tokenizer.apply_chat_template(
                    [{"role": message.role, "content": message.content} for message in turns],
                    tokenize=False,
                    add_generation_prompt=not going,
                    continue_final_message=going,
                )
            except Exception as error:  # a template can raise anything
                failure = failure or error
                continue
            if isinstance(text, str) and system in text:  # some leave it out without a word
                return text
        why = f": {' '.join(str(failure).split())[:200]}" if failure else ""
        raise RequestError(f"its chat template cannot write this conversation{why}.", model=self._name) from failure


def _merged(said: Sequence[Message]) -> list[Message]:
    """A conversation of users and assistants in turns alone."""
    out: list[Message] = []
    for message in said:
        role = "user" if message.role == "system" else message.role
        if out and out[-1].role == role:
            out[-1] = Message(role, f"{out[-1].content}\n\n{message.content}")
        else:
            out.append(Message(role, message.content))
    return out
