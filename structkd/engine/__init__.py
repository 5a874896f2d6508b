"""The engine: tasks, stages, teacher cache and the runner. mmengine lives here and above only."""

from structkd.engine.cache import TeacherCache
from structkd.engine.config import load_config
from structkd.engine.experiment import build_data, run_experiment
from structkd.engine.stages import StageRun, Switches
from structkd.engine.student import load_student, test_student
from structkd.engine.task import Comparison, DistillTask
from structkd.engine.teachers import LiveTeacher, StoredTeacher, Teacher

__all__ = [
    "Comparison",
    "DistillTask",
    "LiveTeacher",
    "StageRun",
    "StoredTeacher",
    "Switches",
    "Teacher",
    "TeacherCache",
    "build_data",
    "load_config",
    "load_student",
    "run_experiment",
    "test_student",
]
