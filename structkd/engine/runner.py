"""mmengine's Runner with checkpoints that hold tensors and plain data only, and exact resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmengine.runner
import torch
from mmengine.dist import get_rank, master_only
from mmengine.logging import HistoryBuffer
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from torch import nn

from structkd import __version__
from structkd.engine.checkpoint import load, load_weights, save
from structkd.engine.hooks import bare
from structkd.engine.registry import building
from structkd.errors import CheckpointError

FORMAT = "structkd-training-1"
#: What a training checkpoint holds beside `meta` and what hooks add.
PARTS = ("state_dict", "optimizer", "param_schedulers", "scalars", "random")


class Runner(mmengine.runner.Runner):
    """Differs from mmengine's in what is written and read: `weights_only` checkpoints, atomically.

    mmengine pickles logging objects into its checkpoints, which torch no longer loads without executing code
    from the file; here they are turned into numbers. The environment report is left to `tools/info.py`.
    """

    resumed_random_state: dict[str, Any] | None = None
    _has_loaded: bool

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        """Nothing: a report for each stage and seed would bury the results."""

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """As mmengine's, and on CPUs too, where DDP must not be given a device id."""
        if not self.distributed or torch.cuda.is_available() or is_model_wrapper(model):
            return super().wrap_model(model_wrapper_cfg, model)
        return MMDistributedDataParallel(model, **(model_wrapper_cfg or {}))

    @master_only
    def save_checkpoint(  # type: ignore[override]
        self, out_dir: str, filename: str, meta: dict[str, Any] | None = None, by_epoch: bool = True, **_unused: Any
    ) -> None:
        """Write everything that training needs to go on. `meta` may set `epoch` and `iter`."""
        meta = dict(meta or {})
        meta.setdefault("epoch", self.epoch + int(by_epoch))
        meta.setdefault("iter", self.iter)
        meta |= {"format": FORMAT, "version": __version__, "seed": self.seed, **self._identity}
        checkpoint = {
            "meta": meta,
            "state_dict": bare(self.model).state_dict(),
            "optimizer": self.optim_wrapper.state_dict(),
            "param_schedulers": self._scheduler_states(),
            "scalars": {
                name: {"values": buffer.data[0].tolist(), "counts": buffer.data[1].tolist()}
                for name, buffer in self.message_hub.log_scalars.items()
                if isinstance(buffer, HistoryBuffer)
            },
        }
        self.call_hook("before_save_checkpoint", checkpoint=checkpoint)
        save(checkpoint, Path(out_dir) / filename)

    @property
    def _identity(self) -> dict[str, str]:
        """What a checkpoint must agree with to be taken up again."""
        return dict(self.cfg.get("identity", {}))

    def build_param_scheduler(self, scheduler: Any) -> Any:
        with building(f"{self.cfg.get('where', 'stage')}.param_scheduler", Exception):
            return super().build_param_scheduler(scheduler)

    def _scheduler_states(self) -> Any:
        schedulers = self.param_schedulers
        if isinstance(schedulers, dict):
            return {name: [_plain_scheduler(s) for s in several] for name, several in schedulers.items()}
        return [_plain_scheduler(s) for s in schedulers or ()]

    def load_or_resume(self) -> None:
        if self._has_loaded:
            return
        path = Path(self._load_from or Path(self.work_dir) / "last.pth")
        if self._resume and path.is_file():
            self.resume(str(path))
        elif self._load_from is not None:
            raise CheckpointError(f"There is no checkpoint at {path} to resume from.")
        self._has_loaded = True

    def resume(self, filename: str, *_args: Any, **_kwargs: Any) -> None:
        """Go on from a checkpoint written by `save_checkpoint`; ends as an unbroken run would."""
        checkpoint = load(filename)
        meta = checkpoint.get("meta", {})
        if meta.get("format") != FORMAT:
            raise CheckpointError(f"{filename} is no training checkpoint of structkd (format {meta.get('format')!r}).")
        if any(meta.get(key, text) != text for key, text in self._identity.items()):
            raise CheckpointError(
                f"{filename} was written with another config of this stage or of its data, so it cannot be resumed "
                "with this one. Choose another --work-dir, or restore the config."
            )
        missing = [key for key in PARTS if key not in checkpoint]
        if missing:
            raise CheckpointError(f"{filename} is damaged: it holds no {', '.join(missing)}.")
        load_weights(bare(self.model), checkpoint["state_dict"], filename)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        self.optim_wrapper.load_state_dict(checkpoint["optimizer"])
        self._load_schedulers(checkpoint["param_schedulers"])
        for name, scalar in checkpoint["scalars"].items():
            self.message_hub.log_scalars[name] = HistoryBuffer(scalar["values"], scalar["counts"])
        self.train_loop._epoch, self.train_loop._iter = meta["epoch"], meta["iter"]
        states = [checkpoint["random"], *checkpoint.get("random_of_others", ())]
        self.resumed_random_state = states[get_rank() if get_rank() < len(states) else 0]
        self._has_loaded = True

    def _load_schedulers(self, states: Any) -> None:
        schedulers = self.param_schedulers
        pairs = (
            [(s, state) for name, several in schedulers.items() for s, state in zip(several, states[name])]
            if isinstance(schedulers, dict)
            else list(zip(schedulers or (), states))
        )
        for scheduler, state in pairs:
            scheduler.load_state_dict(state)


def _plain_scheduler(scheduler: Any) -> dict[str, Any]:
    """A scheduler's numbers; bound methods that mmengine keeps among them are rebuilt on construction."""
    kept = (bool, int, float, str, list, tuple, dict, torch.Tensor, type(None))
    return {key: value for key, value in scheduler.state_dict().items() if isinstance(value, kept)}
