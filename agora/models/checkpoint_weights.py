"""Weights and tokenizers of checkpoint folders, loaded by transformers and peft."""

from __future__ import annotations

import copy
import re
import threading
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agora.errors import AgoraError, InputError, MissingError
from agora.models import checkpoint_files, endpoint

if TYPE_CHECKING:
    from agora.models.torchnetwork import Network

# marks between messages that a template writes in words, without tokens of their own: [INST], <<SYS>>, <|user|>
_WRITTEN = re.compile(r"<{1,2}[/|]?[A-Za-z_][\w ]{0,40}[|]?>{1,2}|\[/?[A-Z_]{2,40}\]")


class Weights:
    """Weights and tokenizer of a checkpoint.

    Args:
        files: of the checkpoint.
        adapters: on it, and the factor of each one's change.
        dtype, device: as `HuggingFaceModel` takes them.
        base: those of the checkpoint alone, which are then shared: the adapters stay beside them.
    """

    def __init__(
        self,
        files: checkpoint_files.CheckpointFiles,
        adapters: Sequence[tuple[checkpoint_files.CheckpointFiles, float]],
        dtype: str,
        device: str,
        base: Weights | None = None,
    ) -> None:
        self.tokenizer: Any
        self._base = base  # held, as it is found by whoever else shares it
        with _explained(str(files.folder)), _quiet():
            import torch
            from transformers import AutoTokenizer

            from agora.models.torchnetwork import Network

            where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
            if base is not None:
                self.tokenizer = base.tokenizer
                model = _beside(base.network.model, adapters)
            else:
                self.tokenizer = AutoTokenizer.from_pretrained(
                    str(files.folder), local_files_only=True, trust_remote_code=False
                )
                model = _model(files.folder, dtype, where)
                for one, factor in adapters:
                    model = _adapted(model, one.folder, factor)
            self.network: Network = Network(model.to(where).eval().requires_grad_(False), files.context)
            if self.network.context < 1:
                raise InputError("its configuration does not say how long its context is.")
        self._lock = threading.Lock()  # a tokenizer keeps options of a call in itself
        added = self.tokenizer.added_tokens_decoder.values()
        marks = {str(token) for token in added if token.special or str(token).startswith(("<", "["))}
        marks |= set(self.tokenizer.all_special_tokens)
        marks |= set(_WRITTEN.findall(str(self.tokenizer.chat_template or "")))
        self._marks = re.compile(
            "|".join(re.escape(m) for m in sorted(marks, key=len, reverse=True) if len(m.strip()) > 1) or r"(?!)"
        )
        self._folds = any(token.normalized for token in added)

    def harmless(self, text: str) -> str:
        """A text in which nothing reads as a special token or as a mark of the template."""
        text = endpoint.clean(text)
        if self._folds and self._marks.search(folded := unicodedata.normalize("NFKC", text)):
            text = folded  # wide letters may be made plain ones before tokens are looked for
        while self._marks.search(text):
            text = self._marks.sub(_apart, text)
        return text

    def ids(self, text: str, *, special: bool) -> list[int]:
        """Token ids of a prompt, with what the tokenizer puts around a text if `special`."""
        with self._lock:
            ids = list(self.tokenizer(text, add_special_tokens=special)["input_ids"])
        begin, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        if special and len(ids) > 1 and ids[-1] == end and end != begin:
            ids.pop()  # an answer is to follow
        return ids[1:] if special and ids[:2] == [begin, begin] and begin is not None else ids

    def text(self, tokens: Sequence[int], *, special: bool) -> str:
        """The text of token ids."""
        with self._lock:
            out: str = self.tokenizer.decode(
                list(tokens), skip_special_tokens=not special, clean_up_tokenization_spaces=False
            )
        return out

    def within(self, text: str) -> list[int]:
        """Token ids of a text that stands after another, as letters may be cut otherwise where a text begins."""
        text = endpoint.clean(text)
        options = {"add_special_tokens": False, "split_special_tokens": True}
        with self._lock:
            alone = list(self.tokenizer(text, **options)["input_ids"])
            before = self.tokenizer("\n", **options)["input_ids"]
            after = list(self.tokenizer("\n" + text, **options)["input_ids"])
        if "".join(map(self.vocabulary.__getitem__, alone)) == text or after[: len(before)] != before:
            return alone
        return after[len(before) :]

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The text of each id: what it adds to a text before it, as the first of a text may lose its space."""
        known, width = len(self.tokenizer), self.network.width
        with self._lock:
            anchor = self.tokenizer("a", add_special_tokens=False)["input_ids"][-1:]
        backend = getattr(self.tokenizer, "backend_tokenizer", None)

        def decoded(rows: list[list[int]]) -> list[str]:
            if backend is not None:
                found: list[str] = backend.decode_batch(rows, skip_special_tokens=False)
                return found
            return [self.text(row, special=True) for row in rows]

        before = decoded([anchor])[0]
        texts = decoded([[*anchor, i] for i in range(min(known, width))])
        texts = [text[len(before) :] if text.startswith(before) else text for text in texts]
        return (*texts, *[""] * (width - len(texts)))


def _apart(mark: re.Match[str]) -> str:
    """A mark with a space after its first letter."""
    begin = len(mark[0]) - len(mark[0].lstrip()) + 1
    return f"{mark[0][:begin]} {mark[0][begin:]}"


def _model(folder: Path, dtype: str, device: str) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    saved = getattr(config, "dtype", None)
    if dtype == "auto" and saved in (torch.float16, "float16") and device == "cpu":
        dtype = "float32"
    load: Callable[..., Any] = AutoModelForCausalLM.from_pretrained
    options = {"config": config, "dtype": dtype, "local_files_only": True, "use_safetensors": True}
    config._attn_implementation = None  # whatever the file asks for, which may be something to download
    model, found = load(str(folder), trust_remote_code=False, output_loading_info=True, **options)
    if missing := sorted(found["missing_keys"]):
        raise InputError(f"its weights lack {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""))
    return model


def _adapted(model: Any, folder: Path, factor: float) -> Any:
    """A model with an adapter merged into its weights; on the CPU, where PEFT multiplies in float32."""
    with _explained(str(folder)):
        return _with_adapter(model, folder, factor, "default").merge_and_unload()


def _beside(model: Any, adapters: Sequence[tuple[checkpoint_files.CheckpointFiles, float]]) -> Any:
    """A model with adapters beside its weights, which it shares with the model as it was: that is not changed."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    made, names = copy.deepcopy(model, shared), []
    wrapped: Any = None
    for number, (one, factor) in enumerate(adapters):
        with _explained(str(one.folder)):
            config = checkpoint_files.read_json(one.folder / "adapter_config.json")
            if config.get("bias", "none") != "none" or config.get("init_lora_weights") not in _HARMLESS:
                raise InputError("it changes the base's own weights, so it cannot share them")
            names.append(f"adapter{number}")
            wrapped = _with_adapter(made if wrapped is None else wrapped, one.folder, factor, names[-1])
            wrapped.base_model.set_adapter(names)  # all of them
    return wrapped.get_base_model()


# ways in which an adapter was begun with that leave the base's weights as they are
_HARMLESS = (None, True, False, "gaussian", "eva", "orthogonal")


def _with_adapter(model: Any, folder: Path, factor: float, name: str) -> Any:
    """PEFT's model around a model, or one of PEFT's with another adapter more."""
    from peft import PeftModel, get_peft_model_state_dict

    there = {key for key in checkpoint_files.header(folder / "adapter_model.safetensors") if ".lora_" in key}
    options = {"adapter_name": name, "is_trainable": False, "local_files_only": True}
    if isinstance(model, PeftModel):
        wrapped = model
        wrapped.load_adapter(str(folder), **options)
    else:
        wrapped = PeftModel.from_pretrained(model, str(folder), **options)
    state = get_peft_model_state_dict(wrapped, adapter_name=name, save_embedding_layers=False)
    if strangers := sorted(there ^ {key for key in state if ".lora_" in key}):
        raise InputError(f"the adapter does not fit the base model, at {strangers[0]}")
    if factor != 1:
        if wrapped.peft_config[name].use_dora or any(".lora_" not in key for key in state):
            raise InputError("only an adapter that is a plain sum of factors can be weighted")
        for module in wrapped.modules():
            scaling = getattr(module, "scaling", None)
            if isinstance(scaling, dict) and name in scaling:
                scaling[name] *= factor
    return wrapped


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Failures of loading as one sentence about a folder."""
    try:
        yield
    except MissingError:
        raise
    except AgoraError as error:
        if what in error.message:
            raise
        raise InputError(f"{what} cannot be loaded: {error.message.rstrip('.')}.", hint=error.hint) from error
    except Exception as error:  # whatever transformers raises
        said = " ".join(str(error).split())
        said = said[:200].rstrip(".") or type(error).__name__
        raise InputError(f"{what} cannot be loaded: {said}.") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it transformers draws no progress and tells of errors alone."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():  # of one library about another, which nobody here can heed
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
