"""What a study says of its trainings as jobs of Slurm."""

from __future__ import annotations

from dataclasses import dataclass

from flops_fit.basics.arguments import LEFT_OUT, TEXT, check_fields, matching, number, several, whole
from flops_fit.errors import StudyError

_WORD = matching(r"[A-Za-z0-9_.,:+*|&\[\]()=-]+", "one word as sbatch takes it")
FIELD_RULES = {
    **dict.fromkeys(("partition", "account", "qos", "constraint"), _WORD | LEFT_OUT),
    "time": matching(r"\d+|\d+:\d\d(:\d\d)?|\d+-\d+(:\d\d){0,2}", 'minutes, or as "12:00:00" or "2-00:00:00"')
    | LEFT_OUT,
    "gpu_type": matching(r"[A-Za-z0-9_.-]+", 'a name as in "--gres=gpu:h100:8"') | LEFT_OUT,
    "memory_per_node": matching(r"\d+[KMGT]?", 'as "64G"') | LEFT_OUT,
    **dict.fromkeys(("devices_per_node", "cpus_per_device"), whole()),
    "save_seconds": whole(10),
    "poll_seconds": number(above=0),
    "options": several(matching(r"--[a-z][a-z0-9-]*(=\S+)?", 'such as "--exclusive"'), 'a list such as ["--exclusive"]',
                       least=0),
    "setup": several(TEXT, 'a list of shell lines, such as ["module load cuda"]', least=0),
    "study_file": TEXT | LEFT_OUT,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """Each training is a job of Slurm, which whoever trains the study submits and waits for (docs/cluster.md).

    Attributes:
        partition, account, qos, constraint: as of `sbatch`.
        time: of one job at most; a training that takes longer saves and goes on in the next.
        devices_per_node: devices of one node that a job may take; a training that takes more takes several nodes.
        gpu_type: of its GPUs, where the cluster has several.
        cpus_per_device: cores for each device's process.
        memory_per_node: of main memory.
        save_seconds: before the end of its time at which a training saves.
        poll_seconds: between two looks at the queue.
        options: further options of `sbatch`, each one word.
        setup: shell lines that a job begins with.
        study_file: path of the study that a job reads; the file that this section stands in.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: str | None = None
    devices_per_node: int = 8
    gpu_type: str | None = None
    cpus_per_device: int = 1
    memory_per_node: str | None = None
    save_seconds: int = 120
    poll_seconds: float = 10.0
    options: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    study_file: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, FIELD_RULES, StudyError, prefix="slurm.")
        for name in ("options", "setup"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def usable(self, devices: int) -> int:
        """The most devices, of so many, that fill whole nodes, or one in part."""
        most = self.devices_per_node
        return devices if devices <= most else devices - devices % most

    def refuse_uneven(self, devices: int) -> None:
        """Raise `StudyError` for a number of devices that would leave some of the last node idle."""
        if self.usable(devices) != devices:
            most = self.devices_per_node
            raise StudyError(
                f"hardware.devices_per_training = {devices} on nodes of slurm.devices_per_node = {most} leaves some of "
                f"the last node idle; set {self.usable(devices)} or {devices + most - devices % most}"
            )
