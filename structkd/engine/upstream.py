"""What a stage builds on: the weights of stages that it needs, noted in what it writes, compared when that is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook

from structkd.engine.checkpoint import weights_checksum
from structkd.engine.checks import needs
from structkd.errors import CheckpointError


class BuiltOn(Hook):
    """Keeps a stage from being taken up again beside other weights than it was made from.

    A stage's config names the stages that it needs, but any of them may have been trained anew in the meantime. Each
    stage looks at those that it names itself; as they do the same, that is enough.

    Args:
        stage: its name.
        config: its config.
        seed_folder: where each stage of the seed has its folder.

    Attributes:
        weights: stage that it needs -> checksum of the weights that lie there now, if any do.
    """

    def __init__(self, stage: str, config: Mapping[str, Any], seed_folder: Path) -> None:
        self.stage, self.seed_folder = stage, seed_folder
        files = {name: seed_folder / name / "student.pth" for _, name in needs(config)}
        self.weights = {name: weights_checksum(file) for name, file in files.items() if file.is_file()}

    def compare(self, record: Mapping[str, Any], source: str | Path) -> None:
        """Raise a `CheckpointError` where `source`, with what it holds of its `record`, was made from other weights.

        What was written before there were such notes holds none, and is taken as it is.
        """
        for name, checksum in record.get("built_on", {}).items():
            if self.weights.get(name, checksum) != checksum:
                raise CheckpointError(
                    f"{source}: stage '{self.stage}' was made from other weights of stage '{name}' than lie in "
                    f"{self.seed_folder / name} now: '{name}' has been trained anew since. Train '{self.stage}' anew "
                    f"too, without --resume (--cfg-options run=[{self.stage}]), or delete "
                    f"{self.seed_folder / self.stage} and resume; then the stages that build on it."
                )

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["meta"]["built_on"] = self.weights

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        self.compare(checkpoint["meta"], f"The checkpoint in {runner.work_dir}")
