"""A study as a Dagster component: declared in a `defs.yaml`, listed by `dg list components`.

Dagster reads the annotations of a component, so this module keeps them as objects.
"""

from pathlib import Path

import dagster as dg
from pydantic import Field

from flops_fit.errors import StudyError
from flops_fit.study.vary import file_of
from flops_fit_assets.definitions import build_comparison_definitions, build_study_definitions


class _StudyScaffolder(dg.Scaffolder):
    """`dg scaffold defs flops_fit_assets.component.StudyComponent <folder>`."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        """A `defs.yaml` that names the study.toml beside it, which is the user's to write."""
        dg.scaffold_component(request, {"study": "study.toml"})


@dg.scaffold_with(_StudyScaffolder)
class StudyComponent(dg.Component, dg.Model, dg.Resolvable):
    """An IsoFLOP scaling-law study of a PyTorch model: its assets, checks, schedule and sensors.

    Relative paths are relative to the component's folder.
    """

    study: str = Field(description="Path of the study.toml.", examples=["study.toml"])
    key_prefix: str | list[str] = Field(
        default_factory=list, description="Put before every asset key; give each of several studies its own."
    )
    home: str | None = Field(
        default=None, description="Directory for <study name>/; default: FLOPS_FIT_HOME, or flops_fit_data."
    )
    storage: str | None = Field(
        default=None,
        description="Directory or URL (s3://bucket/folder) in which <study name>/ is kept for machines that share no "
        "disk; default: FLOPS_FIT_STORAGE, or none.",
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """`build_study_definitions`; raises `FlopsFitError` for a study or storage that is not valid."""
        folder = Path(context.path)
        study = folder / self.study
        if not file_of(study).is_file():
            raise StudyError(
                f"study {self.study!r} of the component in {folder} is not a file; give the path of a study.toml"
            )
        return build_study_definitions(
            study,
            key_prefix=self.key_prefix,
            home=None if self.home is None else folder / self.home,
            storage=self.storage if self.storage is None or "://" in self.storage else folder / self.storage,
        )


class LawComparisonComponent(dg.Component, dg.Model, dg.Resolvable):
    """Which of several studies in this code location has the best scaling law, and how sure that is.

    Relative paths are relative to the component's folder.
    """

    studies: dict[str, str] = Field(
        description="Path of each study.toml by the key_prefix that its component has, with / between its parts.",
        examples=[{"gpt": "../gpt/study.toml", "mamba": "../mamba/study.toml"}],
    )
    name: str = Field(default="comparison", description="Of its folder in the home, its group and its sensor.")
    key_prefix: str | list[str] = Field(default_factory=list, description="Put before its asset key, law_comparison.")
    at: list[float | str] = Field(
        default_factory=list, description="FLOPs to compare at; default: the largest run, and ten times as much."
    )
    home: str | None = Field(default=None, description="Directory of the studies, as their components have it.")
    storage: str | None = Field(default=None, description="Storage of the studies, as their components have it.")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """`build_comparison_definitions`; raises `FlopsFitError` for a study or storage that is not valid."""
        folder = Path(context.path)
        return build_comparison_definitions(
            {prefix: folder / path for prefix, path in self.studies.items()},
            name=self.name,
            key_prefix=self.key_prefix,
            at=self.at,
            home=None if self.home is None else folder / self.home,
            storage=self.storage if self.storage is None or "://" in self.storage else folder / self.storage,
        )
