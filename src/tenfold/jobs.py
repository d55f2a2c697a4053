"""Many independent tasks: here, or on Ray."""

from tenfold.machines import Place
from tenfold.parallel import check_place, run_tasks
from tenfold.processes import Task

__all__ = ["Place", "Task", "check_place", "run_tasks"]
