"""A rehearsal: all stages are built before the first one trains, so that a mistake in the last shows at once."""

from __future__ import annotations

from mmengine.optim import build_optim_wrapper
from mmengine.registry import OPTIMIZERS, PARAM_SCHEDULERS
from mmengine.runner import EpochBasedTrainLoop
from torch import nn

from structkd.engine.registry import DATASETS, HOOKS, building, check_arguments, find_part
from structkd.engine.stages import StageRun, Switches
from structkd.engine.teachers import Teacher
from structkd.errors import ConfigError, located


class Rehearsal(StageRun):
    """A stage while nothing is trained yet: earlier stages give untrained models, and teachers without outputs."""

    def load_model(self) -> nn.Module:
        return self.build_model().eval()

    def stage_teacher(self, name: str) -> Teacher:
        teacher = Teacher()
        teacher.provides = self.earlier(name).build_adapter().provides
        return teacher

    def check(self, switches: Switches) -> None:
        """Build what the stage consists of, and throw it away; raises what building it raises."""
        with located(self.where):
            task = self.build_task()
            if "train_cfg" in self.config:
                self._check_training(task, switches.amp)

    def _check_training(self, task: nn.Module, amp: bool) -> None:
        self.build_selection()
        wrapper, loader = self.config["optim_wrapper"], self.config.get("train_dataloader", {})
        find_part(OPTIMIZERS, wrapper.get("optimizer"), f"{self.where}.optim_wrapper.optimizer")
        if "type" in loader:  # what it takes besides is the data module's business
            find_part(DATASETS, loader, f"{self.where}.train_dataloader")
        with building(f"{self.where}.optim_wrapper", Exception):  # mmengine and torch raise whatever they raise
            build_optim_wrapper(task, self.optim_config(amp))
        training = self.config["train_cfg"]
        check_arguments(EpochBasedTrainLoop, training, f"{self.where}.train_cfg")
        epochs = training.get("max_epochs")
        if not isinstance(epochs, int) or epochs < 0:
            raise ConfigError(f"{self.where}.train_cfg.max_epochs is {epochs!r}; expected a number of epochs.")
        for number, hook in enumerate(self.config.get("custom_hooks", [])):
            find_part(HOOKS, hook, f"{self.where}.custom_hooks.{number}")
        schedulers = self.schedulers(steps=epochs) or []
        for number, scheduler in enumerate(schedulers if isinstance(schedulers, list) else [schedulers]):
            find_part(PARAM_SCHEDULERS, scheduler, f"{self.where}.param_scheduler.{number}")
