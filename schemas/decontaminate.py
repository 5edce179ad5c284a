"""The section `decontaminate` of a recipe."""

from pydantic import Field, model_validator

from septet.schemas.section import Section


class EvaluationList(Section):
    """A set of evaluation images, of evaluation texts, or of both."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="What reject rows call it."
    )
    images: str | None = Field(
        default=None,
        description="A folder of images; or a list of perceptual hashes, as ImageHash's `phash` "
        "makes them: `.npy` of uint64, or a column `phash` of 16 hex digits of Parquet, CSV or "
        "JSON lines. With hashes alone only images within 4 bits are found.",
    )
    texts: str | None = Field(
        default=None,
        description="A list of texts: `.txt`, one a line, or a column of Parquet, CSV, TSV or "
        "JSON lines.",
    )
    text_col: str = Field(default="text", description="The column of the texts.")

    @model_validator(mode="after")
    def _has_something(self) -> "EvaluationList":
        if self.images is None and self.texts is None:
            raise ValueError(f"{self.name}: name `images` or `texts` of the evaluation set")
        return self


class Decontaminate(Section):
    """Evaluation sets whose images and texts are kept out of the corpus. Changing this fetches
    nothing again. `septet stats` and the report say what was dropped for each set. Relative paths
    start at the recipe's folder."""

    against: list[EvaluationList] = Field(
        default=[], description="The sets, see `decontaminate.against` below."
    )

    @model_validator(mode="after")
    def _no_name_twice(self) -> "Decontaminate":
        names = [one.name for one in self.against]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"evaluation set {twice[0]!r} twice; give one of them another `name`")
        return self
