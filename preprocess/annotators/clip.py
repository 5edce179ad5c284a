"""The column `clip`: embeddings of a CLIP model, computed by the package `open_clip`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image
from pydantic import Field

from septet.preprocess import files
from septet.preprocess.columns.base import IMAGE, Item, NamesFile, NoValue, Value
from septet.preprocess.columns.base import Settings as ColumnSettings
from septet.preprocess.columns.image_column import ImageColumn, ImageSettings
from septet.preprocess.columns.members import pack_arrays
from septet.preprocess.columns.weights import need, weights_digest
from septet.schemas.columns import ArrayFormat, MemberFormat

_LOCAL = "local-dir:"
_LONGEST_CAPTION = 4000
"""Characters that are looked at; a context of 77 tokens has some 300."""


class ClipSettings(ImageSettings):
    """Settings of `clip`."""

    model: Annotated[str, NamesFile(after=_LOCAL)] = Field(
        default="ViT-B-32",
        description="One of open_clip's models by name (`ViT-B-32-quickgelu` for OpenAI's "
        "weights), or `local-dir:FOLDER` with an `open_clip_config.json`, as an export "
        "writes it, or with the `config.json` of a CLIP of transformers.",
    )
    text: bool = Field(default=False, description="Embed the caption too.")


class ClipEmbeddings(ImageColumn):
    """The column of CLIP embeddings of the image, and of the caption if asked for.

    Reasons for no value: `no_image`, `image` (it cannot be decoded, or has more than 100 million
    pixels), `no_caption` (it is empty or missing, where it is asked for), `not_finite` (the
    network's answer is no number).
    """

    version: ClassVar[int] = 1
    Settings: ClassVar[type[ColumnSettings]] = ClipSettings
    facts: ClassVar[pa.Schema] = pa.schema([("similarity", pa.float32())])
    """Cosine of image and caption, where the caption is embedded."""

    settings: ClipSettings

    def __init__(self, settings: ClipSettings):
        super().__init__(settings)
        self.members = (IMAGE, "txt") if settings.text else (IMAGE,)  # type: ignore[misc]
        self._model: Any = None

    def models(self) -> dict[str, str]:
        """The digests of the file of weights, and of the model's description where it is a file."""
        need("open_clip", "vision")
        found = {"weights": weights_digest(self.settings.weights, "clip")}
        if self.settings.model.startswith(_LOCAL):
            folder = self.settings.model.removeprefix(_LOCAL)
            name = "open_clip_config.json" if self._theirs() is None else "config.json"
            found["config"] = weights_digest(files.join(folder, name), "clip's model")
            images = files.join(folder, "preprocessor_config.json")
            if name == "config.json" and files.exists(images):
                found["preprocessor"] = weights_digest(images, "clip's model")
        return found

    def _theirs(self) -> dict[str, Any] | None:
        """The configuration of a model in the form of `transformers`; None for one of open_clip."""
        from septet.preprocess.annotators.transformers_clip import model_config

        folder = self.settings.model.removeprefix(_LOCAL)
        own = files.exists(files.join(folder, "open_clip_config.json"))
        return None if folder == self.settings.model or own else model_config(folder)

    def _config(self) -> dict[str, Any]:
        import open_clip

        if theirs := self._theirs():
            return theirs
        try:
            found = open_clip.get_model_config(self.settings.model)
        except (OSError, ValueError) as error:
            raise ValueError(f"model {self.settings.model!r} cannot be read: {error}") from error
        if found is None:
            raise ValueError(
                f"open_clip has no model {self.settings.model!r}; open_clip.list_models() has all"
            )
        return dict(found)

    @property
    def member(self) -> MemberFormat:
        """`image`, and `text` if asked for: float16 [width], of length 1.

        Raises:
            ValueError: open_clip has no such model.
        """
        width = int(self._config()["embed_dim"])
        form = ArrayFormat(dtype="float16", shape=(width,), least=-1, greatest=1)
        names = ("image", "text") if self.settings.text else ("image",)
        return MemberFormat(
            ext="clip.safetensors",
            kind="safetensors",
            arrays=dict.fromkeys(names, form),
            notes={
                "model": self.settings.deciding()["model"],
                "normalised": "L2, before rounding to float16",
            },
        )

    def setup(self) -> None:
        """Load the model.

        Raises:
            ValueError: the weights are not the model's.
        """
        import open_clip

        from septet.preprocess.annotators.transformers_clip import preprocessing, renamed
        from septet.preprocess.codes.batches import usable_device
        from septet.preprocess.weights import read_state

        s = self.settings
        config, theirs = self._config(), self._theirs() is not None
        device = usable_device(s.device)
        if theirs:
            model = open_clip.CLIP(**config)
            images = open_clip.transform.PreprocessCfg(
                **preprocessing(s.model.removeprefix(_LOCAL))
            )
        else:
            model = open_clip.create_model(
                s.model, load_weights=False, pretrained_image=False, pretrained_text=False
            )
            images = open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg)
        with _local_file(s.weights) as path:
            try:
                if theirs:
                    model.load_state_dict(renamed(read_state(str(path))), strict=True)
                else:
                    open_clip.load_checkpoint(model, str(path))
            except Exception as error:  # of as many kinds as there are formats
                raise ValueError(
                    f"{s.weights} does not load as open_clip's {s.model}: {error}\nOpenAI's own "
                    'files load after torch.save(torch.jit.load(PATH, map_location="cpu")'
                    '.state_dict(), "weights.pt")'
                ) from error
        self._model = model.eval().requires_grad_(False).float().to(device)
        self._transform = open_clip.transform.image_transform_v2(images, is_train=False)
        if s.text and theirs:
            context = config["text_cfg"]["context_length"]
            self._tokenize = open_clip.SimpleTokenizer(context_length=context)
        else:
            self._tokenize = open_clip.get_tokenizer(s.model) if s.text else None

    def prepare(self, item: Item, image: Image.Image) -> Any:
        """Normalised pixels float32 [3, h, w], and token ids int64 [context] or None."""
        ids = None
        if self._tokenize is not None:
            caption = item.caption[:_LONGEST_CAPTION].strip()
            if not caption:
                return NoValue("no_caption")
            ids = self._tokenize([caption])[0]
        return self._transform(image), ids

    def values(self, prepared: Sequence[Any]) -> list[Value | NoValue]:
        """The embeddings."""
        import torch

        pixels = torch.stack([one[0] for one in prepared])
        found = {"image": self._embed(self._model.encode_image, pixels)}
        if self._tokenize is not None:
            ids = torch.stack([one[1] for one in prepared])
            found["text"] = self._embed(self._model.encode_text, ids)
        values: list[Value | NoValue] = []
        for i in range(len(prepared)):
            vectors = {name: rows[i] for name, rows in found.items()}
            if not all(np.isfinite(vector).all() for vector in vectors.values()):
                values.append(NoValue("not_finite"))
                continue
            cosine = float(vectors["image"] @ vectors["text"]) if "text" in vectors else None
            halves = {name: vector.astype("<f2") for name, vector in vectors.items()}
            values.append(Value(pack_arrays(halves), {"similarity": cosine}))
        return values

    def _embed(self, encode: Any, rows: Any) -> Any:
        import torch
        import torch.nn.functional as F

        from septet.preprocess.codes.batches import in_batches
        from septet.preprocess.codes.tokenizer import exact

        device = torch.device(self.settings.device)
        with exact(device):
            return in_batches(
                lambda x: F.normalize(encode(x), dim=-1), rows, device, self.settings.batch_size
            ).numpy()


@contextmanager
def _local_file(path: str) -> Iterator[Path]:
    """The path of a file that open_clip can open, wherever the file lies."""
    if files.is_local(path):
        yield files.local_path(path)
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder) / path.rsplit("/", 1)[-1]
        copy.write_bytes(files.read_bytes(path))
        yield copy
